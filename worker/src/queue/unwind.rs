//! Bounds a run: in time, in silence, and against panics. Time and panics are failures of the job and of nothing else.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::sync::watch;

use super::{
    job::JobError,
    silence::{self, Silent},
};

/// A run that fell silent is made again after this long.
const AFTER_SILENCE: Duration = Duration::from_secs(1);

/// What a run may take.
pub struct Bounds {
    /// Longest run.
    pub time: Duration,
    /// Longest wait for one answer.
    pub silence: Duration,
    /// See [`silence::heard`].
    pub returned: watch::Receiver<()>,
}

/// Runs it within its bounds. A panic or an overrun is an error to be retried; silence is not the job's fault.
///
/// # Errors
/// What the run returns, or one of the three above.
pub async fn within<T>(
    bounds: Bounds,
    run: impl Future<Output = Result<T, JobError>>,
) -> Result<T, JobError> {
    let Bounds {
        time,
        silence,
        returned,
    } = bounds;
    let run = silence::heard(silence, returned, AssertUnwindSafe(run).catch_unwind());
    match tokio::time::timeout(time, run).await {
        Ok(Ok(Ok(ended))) => ended,
        Ok(Ok(Err(panic))) => Err(JobError::retry(format!("panicked: {}", message_of(&*panic)))),
        Ok(Err(Silent(limit))) => Err(JobError::RetryAfter {
            delay: AFTER_SILENCE,
            message: format!("nothing answered it for {} s", limit.as_secs()),
        }),
        Err(_) => Err(JobError::retry(format!("took longer than {} s", time.as_secs()))),
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(secs: u64) -> Bounds {
        Bounds {
            time: Duration::from_secs(secs),
            silence: silence::LIMIT,
            returned: watch::Sender::new(()).subscribe(),
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let ended = within::<()>(bounds(1), async { panic!("out of {}", "luck") }).await;
        assert_eq!(ended, Err(JobError::retry("panicked: out of luck")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_overrun_is_an_error() {
        let ended = within::<()>(bounds(3), std::future::pending()).await;
        assert_eq!(ended, Err(JobError::retry("took longer than 3 s")));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_the_jobs_fault() {
        let ended = within::<()>(bounds(3600), std::future::pending()).await;
        assert!(matches!(ended, Err(JobError::RetryAfter { .. })), "{ended:?}");
    }
}
