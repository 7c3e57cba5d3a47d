//! How the boundary reports what it does, without knowing Prometheus.
use std::time::Duration;

use super::Operation;

/// Told of every exchange with Stripe.
pub trait Observer: Send + Sync {
    /// One attempt of a call ended. `code` is the HTTP status, or why there was none: `not_sent`, `timed_out`, `lost`,
    /// `rate_limited` (it did not get its turn within our own limits), `too_late`
    /// (its permit had ended). A short, fixed set, fit for a metric's label.
    fn on_request(&self, operation: Operation, code: &str, elapsed: Duration);
}

/// Nobody listens.
impl Observer for () {
    fn on_request(&self, _: Operation, _: &str, _: Duration) {}
}
