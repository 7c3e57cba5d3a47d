//! The simulator by itself: whatever a story trusts it for is proved here, through the real program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod api;
mod disputes;
mod faults;
mod idempotency;
mod listener;
mod program;
mod refunds;
mod sdk;
mod webhooks;

use std::time::Duration;

use serde_json::Value;

/// The longest that anything asynchronous may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to see.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "never saw {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The text of a field.
fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text in {field} of {value}"))
}
