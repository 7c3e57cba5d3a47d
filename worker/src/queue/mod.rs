//! The queue: Postgres decides, Redis delivers. What a job is, and how one is claimed, run, retried and rescued.
pub mod job;
pub mod registry;
pub mod retry;
