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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn failed(again: Again) -> Failed {
        let error = Error::NotSent {
            reason: "refused".into(),
            retry_after: None,
            request_id: None,
        };
        Failed { error, again }
    }

    /// Fails as told, again and again; answers how often it was tried and in what (virtual) time.
    async fn exhaust(again: Again) -> (usize, Duration) {
        let tries = AtomicUsize::new(0);
        let started = Instant::now();
        let result: Result<(), Error> = bounded(|| {
            tries.fetch_add(1, Ordering::Relaxed);
            async move { Err(failed(again)) }
        })
        .await;
        assert!(result.is_err());
        (tries.into_inner(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_repeated_is_sent_once() {
        assert_eq!(exhaust(Again::Never).await, (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn repetitions_are_bounded_in_number_and_in_time() {
        let (tries, took) = exhaust(Again::AfterBackoff).await;
        assert_eq!(tries, 1 + MAX_REPETITIONS);
        assert!(
            took >= Duration::from_millis(1750) && took <= RETRY_BUDGET,
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_waited_for() {
        let (tries, took) = exhaust(Again::After(Duration::from_secs(2))).await;
        assert_eq!(tries, 1 + MAX_REPETITIONS);
        assert!(took >= Duration::from_secs(6), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_beyond_the_budget_is_left_to_the_queue() {
        assert_eq!(
            exhaust(Again::After(Duration::from_secs(30))).await,
            (1, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn success_after_a_refusal_is_a_success() {
        let tries = AtomicUsize::new(0);
        let result = bounded(|| {
            let first = tries.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first {
                    Err(failed(Again::AfterBackoff))
                } else {
                    Ok("charged")
                }
            }
        });
        assert_eq!(result.await, Ok("charged"));
        assert_eq!(tries.into_inner(), 2);
    }
}
