//! Reconciliation: what we have of the objects that Stripe shows, what we have that it should know, our tables beside each
//! other, and the findings that the daily job keeps. All but the last only read.
pub mod findings;
mod internal;
mod ours;
mod theirs;

pub use findings::{NewRun, Open, count_open, keep, lock_repairs, open, settle, take_time, times_of_open};
pub use internal::internal;
pub use ours::{OpenCycle, Recorded, What, open_cycles, recorded};
pub use theirs::{
    ChargeKey, DisputeKey, FeeKey, RefundKey, charges, client_subject, closed_cycles, disputes, fees,
    received_events, refunds,
};
