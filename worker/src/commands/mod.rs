//! The operator commands, one per file: each a thin shell that parses, calls a function and shows its result.

pub mod alert;
pub mod audit;
pub mod brakes;
pub mod break_glass;
pub mod charge;
pub mod client;
pub mod clock;
pub mod credit;
pub mod dispute;
pub mod doctor;
pub mod engagement;
pub mod events;
pub mod explain;
pub mod generate;
pub mod import;
pub mod invoice;
pub mod jobs;
pub mod ledger;
pub mod migrate;
pub mod reconcile;
pub mod time;
pub mod worker;

mod acting;
mod client_show;
mod connect;
mod dispute_text;
mod engagement_text;
mod find;
pub(crate) mod firms;
mod glass;
mod invoice_charge;
mod invoice_end;
mod invoice_make;
mod invoice_report;
mod invoice_text;
mod list_args;
mod pay_external;
mod reason;
mod refund;
mod time_text;
mod wait;

pub use connect::{open_db, operator, operator_name, stripe_mode};
