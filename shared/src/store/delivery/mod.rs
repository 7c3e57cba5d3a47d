//! Destinations of alerts, and what each is told. The rows of deliveries and their jobs are written by a trigger of migration 0031,
//! in the transaction that raises an alert, whoever raises it.

pub mod deliveries;
pub mod destinations;
