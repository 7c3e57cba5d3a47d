//! Pure decisions: no IO, no clock, no `await`.
pub mod audit_action;
pub mod audit_chain;
pub mod collection;
pub mod decline;
pub mod dispute;
pub mod document;
pub mod generate;
pub mod import;
pub mod ledger;
pub mod people;
pub mod period;
pub mod predicate;
pub mod refund;
pub mod renewal;
pub mod retry_policy;
pub mod time;
pub mod words;
