//! What a fault does to a call: instead of it, in the middle of it, to its answer.
use std::time::Duration;

use super::answer::{Answer, Transfer};
use super::error::ApiError;
use super::faults::{Fault, Kind};
use super::state::Sim;

/// The longest that anybody waits at a barrier.
const MAX_HOLD: Duration = Duration::from_secs(60);

/// The answer that comes instead of the call, without any effect. None lets the call begin.
pub fn instead(fault: &Fault, request_id: &str) -> Option<(Answer, Transfer)> {
    let error = |error: ApiError| Answer::error(&error, request_id);
    let answer = match fault.kind {
        Kind::ServerErrorBefore => error(server_error()),
        Kind::BadGateway => Answer::bad_gateway(request_id),
        Kind::RateLimited => {
            let message = "Request rate limit exceeded. You can learn more about rate limits at \
                           https://docs.stripe.com/rate-limits.";
            let answer = error(ApiError::new(429, "invalid_request_error", message).code("rate_limit"));
            match &fault.reason {
                Some(reason) => answer.header("stripe-rate-limited-reason", reason),
                None => answer,
            }
        }
        Kind::LockTimeout => {
            let message = "This object cannot be accessed right now because another API request or Stripe process \
                           is currently accessing it.";
            error(ApiError::new(429, "invalid_request_error", message).code("lock_timeout"))
        }
        Kind::NotFound => error(ApiError::missing("object", "not there yet")),
        Kind::ResetBefore => return Some((Answer::bad_gateway(request_id), Transfer::Dropped)),
        Kind::ServerErrorStored | Kind::ServerErrorAfter | Kind::BadGatewayAfter => return None,
        Kind::ResetAfter | Kind::TruncateAfter | Kind::TrickleAfter => return None,
        Kind::DelayBefore | Kind::DelayAfter | Kind::HoldBefore | Kind::HoldAfter => return None,
    };
    Some((
        match fault.retry_after_secs {
            Some(seconds) => answer.header("retry-after", seconds.to_string()),
            None => answer,
        },
        Transfer::Whole,
    ))
}

/// What execution itself breaks with.
pub fn server_error() -> ApiError {
    ApiError::new(500, "api_error", "An unknown error occurred.")
}

/// Keeps the call from its effect for a while.
pub async fn before_effect(sim: &Sim, fault: &Fault) {
    match fault.kind {
        Kind::DelayBefore => tokio::time::sleep(Duration::from_millis(fault.ms)).await,
        Kind::HoldBefore => hold(sim).await,
        _ => {}
    }
}

/// What becomes of the answer to a call that took effect.
pub async fn after_effect(sim: &Sim, fault: &Fault, answer: Answer) -> (Answer, Transfer) {
    let pause = Duration::from_millis(fault.ms);
    match fault.kind {
        Kind::DelayAfter => tokio::time::sleep(pause).await,
        Kind::HoldAfter => hold(sim).await,
        Kind::BadGatewayAfter => return (Answer::bad_gateway(&answer.request_id), Transfer::Whole),
        Kind::ResetAfter => return (answer, Transfer::Dropped),
        Kind::TruncateAfter => return (answer, Transfer::Truncated),
        Kind::TrickleAfter => return (answer, Transfer::Trickle(pause)),
        _ => {}
    }
    (answer, Transfer::Whole)
}

async fn hold(sim: &Sim) {
    let released = sim.lock().faults.hold();
    if tokio::time::timeout(MAX_HOLD, released).await.is_err() {
        tracing::warn!(
            "nobody released a held call within {} s; letting it go on",
            MAX_HOLD.as_secs()
        );
    }
}
