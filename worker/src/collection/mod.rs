//! From a PaymentIntent that we saw to rows, audit and follow-up jobs: the same path for our own calls, for webhooks and
//! for lookups.
pub mod alerts;
mod apply;
mod seen;

pub use apply::{At, apply, hold, technical, unknown};
pub use seen::{declined_without_intent, intent_seen, method_gone};
