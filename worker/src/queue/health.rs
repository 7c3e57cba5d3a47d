//! Signs of life of a worker's loops, for `/readyz`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use shared::store::jobs::Queue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A loop that has not completed a round for this long counts as stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);

/// When a loop last completed a round.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    /// Milliseconds after `start`, plus one; 0 means never.
    last: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// A round was completed.
    pub fn beat(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// Whether a round was completed lately.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.has_beaten() && {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            self.start.elapsed().saturating_sub(last) < STUCK_AFTER
        }
    }

    /// Whether a round was ever completed.
    #[must_use]
    pub fn has_beaten(&self) -> bool {
        self.last.load(Ordering::Relaxed) > 0
    }
}

/// All the signs of one worker.
#[derive(Clone, Debug)]
pub struct Health {
    /// The row in `workers`.
    pub heartbeat: Arc<Pulse>,
    /// Told when the database answers again after this worker was held for dead.
    pub returned: watch::Sender<()>,
    /// The schedules.
    pub scheduler: Arc<Pulse>,
    /// Each queue's relay: it reaches both Postgres and Redis.
    pub relays: Vec<(Queue, Arc<Pulse>)>,
    /// Cancelled when the worker takes no more jobs.
    pub draining: CancellationToken,
}

impl Health {
    /// Of a worker that serves these queues.
    #[must_use]
    pub fn new(queues: &[Queue], draining: CancellationToken) -> Self {
        Self {
            heartbeat: Arc::default(),
            returned: watch::Sender::new(()),
            scheduler: Arc::default(),
            relays: queues.iter().map(|&queue| (queue, Arc::default())).collect(),
            draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_alive_only_after_its_first_round() {
        let pulse = Pulse::default();
        assert!(!pulse.is_alive());
        pulse.beat();
        assert!(pulse.is_alive());
    }
}
