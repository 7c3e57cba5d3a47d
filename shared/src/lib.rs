//! What ingress and worker share: the pure decisions of billing, the store, configuration, and the one clock.
//!
//! `domain` decides and does no IO; `store` holds the SQL; nothing here knows Stripe's HTTP API, apalis or axum.
pub mod domain;
pub mod money;
pub mod currency;
