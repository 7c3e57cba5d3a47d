//! Reads the rows that answers are made of ([`crate::domain::explain`]). Each function reads one thing with everything around
//! it; the firm must be set. Nothing here is locked: an answer is about a moment.
mod audit;
mod clients;
mod engagements;
mod facts;
mod invoices;
mod money;
mod records;

pub use clients::{client, client_of_card, time_entry, user};
pub use engagements::engagement;
pub use invoices::{invoice, invoice_of_attempt};
pub use money::{credit_lot, journal};
pub use records::{Thing, alert, effects_of, event, job, things};
