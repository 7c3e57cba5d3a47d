//! Receivers of alerts on loopback: what other people's webhooks and mail servers do, and a count of what came.

mod smtp;
mod webhook;

pub use smtp::{Mail, Mailbox};
pub use webhook::{Hook, Posted};
