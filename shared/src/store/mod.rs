//! The SQL. One file per table; functions take the connection first and never begin or commit.
pub mod audit;
pub mod audit_chain;
pub mod audit_read;
pub mod autopay;
pub mod business_clock;
pub mod collection_start;
pub mod cycles;
pub mod db;
pub mod decisions;
pub mod error;
pub mod generation;
pub mod health;
pub mod import;
pub mod inbox;
pub mod inbox_read;
pub mod invoices_read;
pub mod jobs;
pub mod jobs_read;
pub mod ledger;
pub mod migrations;
pub mod payment_methods;
pub mod payments;
pub mod resolve;
pub mod roles;
pub mod routes;

pub use db::{Db, DbOptions, Tx};
pub use error::{Error, Result};
