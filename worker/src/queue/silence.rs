//! Notices a run that waits for an answer which will never come, long before its time is up.
//!
//! A run waits for Postgres and for Stripe, and each of them has a limit: a statement is given up by Postgres, a call by
//! us. So a run that nothing has woken for longer than any of these limits waits on a connection that was cut without a
//! word (`shared/src/store/silence.rs`), and would hold its slot until its time limit, which may be hours. After an outage in which the
//! whole worker was cut off there is no need to wait that long: others have held it for dead and taken its jobs over, and
//! what has been silent since then may go at once.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::heartbeat::DEAD_AFTER;

/// The longest that a run waits for one answer: a statement of the worker, or one try of a call
/// ([`crate::stripe::LONGEST_TIMEOUT`]).
pub const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// Nothing has woken a run for so long: it will not be woken any more.
pub const LIMIT: Duration = Duration::from_secs(70);

/// Nothing has woken a run for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent(pub Duration);

/// Runs it until it ends or falls silent for `limit`; after a word from `returned`, which says that the database has come
/// back after an outage, until it has been silent for as long as a worker may be.
///
/// # Errors
/// [`Silent`], when it was given up.
pub async fn heard<F: Future>(
    limit: Duration,
    mut returned: watch::Receiver<()>,
    run: F,
) -> Result<F::Output, Silent> {
    returned.mark_unchanged();
    let line = Arc::new(Line::default());
    let waker = Waker::from(line.clone());
    let mut run = pin!(run);
    let mut woken = poll_fn(|cx| {
        *line.outer() = Some(cx.waker().clone());
        // The task has been woken for another reason, such as the timer below.
        if !line.woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        *line.heard_at() = Instant::now();
        run.as_mut().poll(&mut Context::from_waker(&waker))
    });
    loop {
        let heard_at = *line.heard_at();
        tokio::select! {
            biased;
            ended = &mut woken => return Ok(ended),
            () = sleep_until(heard_at + limit) => {
                if *line.heard_at() == heard_at {
                    return Err(Silent(limit));
                }
            }
            Ok(()) = returned.changed() => {
                if line.heard_at().elapsed() >= DEAD_AFTER {
                    return Err(Silent(DEAD_AFTER));
                }
            }
        }
    }
}

/// By what a run is woken, and when it last was.
struct Line {
    woken: AtomicBool,
    heard_at: Mutex<Instant>,
    outer: Mutex<Option<Waker>>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            woken: AtomicBool::new(true), // the first poll
            heard_at: Mutex::new(Instant::now()),
            outer: Mutex::default(),
        }
    }
}

// Both hold one value that is replaced whole, so a panic elsewhere cannot have left it half done.
impl Line {
    fn heard_at(&self) -> MutexGuard<'_, Instant> {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outer(&self) -> MutexGuard<'_, Option<Waker>> {
        self.outer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let outer = self.outer().clone();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_woken_now_and_then_may_take_its_time() {
        let (_database, returned) = watch::channel(());
        let run = async {
            for _ in 0..60 {
                sleep(MINUTE).await;
            }
            "done"
        };
        assert_eq!(heard(LIMIT, returned, run).await, Ok("done"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_nothing_wakes_is_given_up_however_busy_its_task_is() {
        let (_database, returned) = watch::channel(());
        let began = Instant::now();
        let run = heard(LIMIT, returned, std::future::pending::<()>());
        let beside = async {
            loop {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let ended = tokio::select! {
            ended = run => ended,
            () = beside => Ok(()),
        };
        assert_eq!(ended, Err(Silent(LIMIT)));
        assert!(
            began.elapsed() < LIMIT + Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_database_is_back_what_was_silent_goes_and_what_was_not_stays() {
        let (database, returned) = watch::channel(());
        let silent = heard(LIMIT, returned.clone(), std::future::pending::<()>());
        let lively = heard(LIMIT, returned, async {
            for _ in 0..20 {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let back = async {
            sleep(DEAD_AFTER + Duration::from_millis(1500)).await;
            database.send_replace(());
        };
        let began = Instant::now();
        let (silent, lively, ()) = tokio::join!(async { (silent.await, began.elapsed()) }, lively, back);
        assert_eq!(silent.0, Err(Silent(DEAD_AFTER)));
        assert!(silent.1 < DEAD_AFTER * 2, "{:?}", silent.1);
        assert_eq!(lively, Ok(()));
    }
}
