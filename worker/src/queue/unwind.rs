//! Bounds a run: in time, and against panics. Both are failures of the job and of nothing else.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;

use super::job::JobError;

/// Runs it for at most `limit`. A panic or an overrun is an error to be retried.
///
/// # Errors
/// What the run returns, or one of the two above.
pub async fn within<T>(
    limit: Duration,
    run: impl Future<Output = Result<T, JobError>>,
) -> Result<T, JobError> {
    match tokio::time::timeout(limit, AssertUnwindSafe(run).catch_unwind()).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => Err(JobError::retry(format!("panicked: {}", message_of(&*panic)))),
        Err(_) => Err(JobError::retry(format!("took longer than {} s", limit.as_secs()))),
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

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let ended = within::<()>(Duration::from_secs(1), async { panic!("out of {}", "luck") }).await;
        assert_eq!(ended, Err(JobError::retry("panicked: out of luck")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_overrun_is_an_error() {
        let ended = within::<()>(Duration::from_secs(3), std::future::pending()).await;
        assert_eq!(ended, Err(JobError::retry("took longer than 3 s")));
    }
}
