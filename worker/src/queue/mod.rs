//! The queue: Postgres decides, Redis delivers.
//!
//! A job: `job` (the two contracts), `retry` (when again), `registry` (who runs what).
//! To Redis: `due` (what goes next), `relay` (takes it there), `gate` (one relay at a time, never too much), `nudge`.
//! From Redis: `lane` (apalis), `bell` (when it looks), `runner` (one job, then its successor), `claim`, `transactional`, `external`,
//! `unwind` (time limit, panics), `silence` (waits for nobody), `settle` (how it ended).
//! Around it: `pool` (starts and stops all of it), `heartbeat`, `rescue`, `depth`, `health`.
pub mod bell;
pub mod claim;
pub mod depth;
pub mod due;
pub mod external;
pub mod gate;
pub mod health;
pub mod heartbeat;
pub mod job;
pub mod lane;
pub mod nudge;
pub mod pool;
pub mod registry;
pub mod relay;
pub mod rescue;
pub mod retry;
pub mod runner;
pub mod settle;
pub mod silence;
pub mod transactional;
pub mod unwind;

pub use job::{Claim, ExternalJob, Job, JobError, Outcome, TransactionalJob};
pub use registry::Registry;
pub use retry::{Attempts, Retry, hours, minutes, secs};

#[cfg(test)]
pub(crate) mod tests;
