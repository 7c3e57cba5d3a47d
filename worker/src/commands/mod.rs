//! The operator commands, one per file: each a thin shell that parses, calls a function and shows its result.

pub mod clock;
pub mod migrate;

mod connect;

pub use connect::{open_db, stripe_mode};
