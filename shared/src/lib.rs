//! What ingress and worker share: the pure decisions of billing, the store, configuration, and the one clock.
//!
//! `domain` decides and does no IO; `store` holds the SQL; nothing here knows Stripe's HTTP API, apalis or axum.
pub mod actions;
pub mod clock;
pub mod config;
pub mod counts;
pub mod currency;
pub mod domain;
pub mod failpoint;
pub mod ids;
pub mod money;
mod otlp;
#[cfg(feature = "passwords")]
pub mod password;
pub mod probe;
pub mod sabotage;
#[cfg(feature = "serve")]
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod trace;
