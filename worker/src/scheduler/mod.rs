//! Schedules: which there are, which ticks are due, and what becomes of each. Every tick gets a row.
//!
//! `schedule` (the list), `ticks` (pure: what to do with the ticks since the watermark), `fire` (the transaction),
//! `firms` (jobs per firm and local date).
mod fire;
mod firms;
mod schedule;
mod ticks;

pub use fire::{lag, register, run};

#[cfg(test)]
use fire::{Work, one_round};

#[cfg(test)]
mod tests;
