//! The queue against a real Postgres and a real Redis.
//!
//! `bench` (a private database, a private Redis, workers that can be killed), `kinds` (jobs that leave effects to be
//! counted), then the stories: `claims`, `outcomes`, `ordering`, `lanes`, `lifecycle`, `nudges`, `rescues`, `drains`.
mod bench;
mod claims;
mod drains;
mod kinds;
mod lanes;
mod lifecycle;
mod nudges;
mod ordering;
mod outcomes;
mod rescues;

pub(crate) use bench::Bench;
