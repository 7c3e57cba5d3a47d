//! The queue: Postgres decides, Redis delivers. What a job is, and how one is claimed, run, retried and rescued.
pub mod job;
pub mod registry;
pub mod retry;

pub use job::{Claim, ExternalJob, Job, JobError, Outcome, TransactionalJob};
pub use registry::Registry;
pub use retry::{Attempts, Retry, hours, minutes, secs};
