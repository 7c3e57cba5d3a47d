//! Wakes a lane when something may have come: fast while there is work, slow while there is none.
//!
//! Looking into an empty lane costs a call of Redis and some of a core, so an idle lane looks rarely; the bell is rung
//! by the nudge that follows a commit and by this process' own relay.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Between two looks while there is work.
const BUSY: Duration = Duration::from_millis(15);

/// Between two looks while there is none: what a job waits at most when its nudge was lost.
const IDLE: Duration = Duration::from_millis(150);

/// For so long after the bell was rung or a job arrived there may be more.
const AFTERGLOW: Duration = Duration::from_secs(1);

/// One lane's bell.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Something may have come.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        let waker = self.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rhythm at which a lane looks.
pub struct Rhythm {
    bell: Arc<Bell>,
    busy_until: Instant,
    next: Pin<Box<Sleep>>,
}

impl Rhythm {
    /// Begins fast.
    #[must_use]
    pub fn new(bell: Arc<Bell>) -> Self {
        let now = Instant::now();
        Self {
            bell,
            busy_until: now + AFTERGLOW,
            next: Box::pin(sleep_until(now + BUSY)),
        }
    }

    /// A job arrived.
    pub fn found(&mut self) {
        self.busy_until = Instant::now() + AFTERGLOW;
    }

    /// Ready when it is time to look. Always leaves a waker behind: with the bell, and with a timer that is armed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *self.bell.lock() = Some(cx.waker().clone());
        let rung = self.bell.rung.swap(false, Ordering::SeqCst);
        if rung {
            self.found();
        }
        let mut due = rung;
        loop {
            if rung || self.next.as_mut().poll(cx).is_ready() {
                due = true;
                let now = Instant::now();
                let pause = if now < self.busy_until { BUSY } else { IDLE };
                self.next.as_mut().reset(now + pause);
            }
            if self.next.as_mut().poll(cx).is_pending() {
                return if due { Poll::Ready(()) } else { Poll::Pending };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn looks_within(rhythm: &mut Rhythm, span: Duration) -> usize {
        let end = Instant::now() + span;
        let mut looks = 0;
        while tokio::time::timeout_at(end, poll_fn(|cx| rhythm.poll(cx)))
            .await
            .is_ok()
        {
            looks += 1;
        }
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_looks_rarely_and_a_rung_one_at_once_and_often() {
        let bell = Arc::new(Bell::default());
        let mut rhythm = Rhythm::new(bell.clone());
        assert!(looks_within(&mut rhythm, AFTERGLOW).await > 50);
        let idle = looks_within(&mut rhythm, Duration::from_secs(3)).await;
        assert!((15..=25).contains(&idle), "{idle}");
        bell.ring();
        assert_eq!(looks_within(&mut rhythm, Duration::from_millis(1)).await, 1);
        assert!(looks_within(&mut rhythm, AFTERGLOW / 2).await > 25);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_wakes_a_sleeping_lane() {
        let bell = Arc::new(Bell::default());
        let mut rhythm = Rhythm::new(bell.clone());
        looks_within(&mut rhythm, Duration::from_secs(2)).await;
        let slept = Instant::now();
        let ringer = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            bell.ring();
        };
        poll_fn(|cx| rhythm.poll(cx)).await;
        let (_, ()) = tokio::join!(poll_fn(|cx| rhythm.poll(cx)), ringer);
        assert!(slept.elapsed() < IDLE * 2, "{:?}", slept.elapsed());
    }
}
