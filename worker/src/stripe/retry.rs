//! Sending the same request again within one call, with the same key, where that can do no harm.
//!
//! Only after an answer that says that nothing happened, or after a failed read; an unknown outcome is never retried here
//! but looked up by the caller. The wait grows (about 0.25 s, 0.5 s, 1 s, with jitter so that a fleet does not come back
//! as one), is never shorter than Stripe's `Retry-After`, and the whole is bounded: beyond that the job waits, not the call.
use std::{future::Future, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;

use super::{
    classify::{Again, Failed},
    error::Error,
};

/// The last repetition starts within this time of the first attempt. A call so takes at most this long, plus one wait for
/// the rate limiter, plus one attempt; what needs longer is the queue's business.
pub(super) const RETRY_BUDGET: Duration = Duration::from_secs(8);
/// Repetitions after the first attempt.
const MAX_REPETITIONS: usize = 3;
/// The first wait.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Runs `attempt` until it succeeds, may not be repeated, or time is up.
pub(super) async fn bounded<T, Attempt, Running>(attempt: Attempt) -> Result<T, Error>
where
    Attempt: FnMut() -> Running,
    Running: Future<Output = Result<T, Failed>>,
{
    let deadline = Instant::now() + RETRY_BUDGET;
    let waits = ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_times(MAX_REPETITIONS)
        .with_jitter();
    attempt
        .retry(waits)
        .when(|failed| failed.again != Again::Never)
        .adjust(|failed, backoff| {
            next_wait(
                failed.again,
                backoff?,
                deadline.saturating_duration_since(Instant::now()),
            )
        })
        .await
        .map_err(|failed| failed.error)
}

/// How long to wait before the next attempt; none when it would start too late.
fn next_wait(again: Again, backoff: Duration, left: Duration) -> Option<Duration> {
    let wait = match again {
        Again::Never => return None,
        Again::AfterBackoff => backoff,
        // On top of what Stripe asks for, so that those who were refused together do not return together.
        Again::After(asked) => asked + backoff / 2,
    };
    (wait <= left).then_some(wait)
}
