//! The door, tried from outside: the real binary, a real Postgres, a login that has the ingress's role and no other.
//!
//! Needs `QUITTANCE_TEST_POSTGRES` (a superuser's URL; `tests/run` sets it). Without it these tests say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may, and says more by it
mod client;
mod commit;
mod contract;
mod drain;
mod health;
mod hostile;
mod house;
mod limits;
mod outage;
mod proxy;
mod start;
