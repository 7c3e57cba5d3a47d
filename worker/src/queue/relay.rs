//! The relay: moves ids of due jobs from Postgres to Redis. Every worker has one per queue; one at a time works.
//!
//! It is woken by a nudge and by its own timer; a lost nudge costs half a second. When Redis is away it waits, and
//! nothing is lost: what was stamped and not pushed is stamped again.

use std::{sync::Arc, time::Duration};

use shared::{
    failpoint,
    store::{
        self,
        jobs::Queue,
        silence::{ANSWER, answered},
    },
};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    bell::Bell,
    due::{self, Cursor},
    gate::{Entry, Gate},
    health::Pulse,
    lane::Sender,
};
use crate::{metrics::Metrics, redis_link::Redis};

/// Never more ids in a lane than this, whatever the number of workers: from about 8,000 on, apalis-redis fails for
/// good; we stay far below, with room for a second relay that thinks it is the first.
pub const LANE_BOUND: usize = 2000;

/// Ids kept ready per slot of all workers: enough to bridge two rounds of short jobs. The rest waits in Postgres,
/// where a firm that comes later is still treated fairly; in the lane it would queue behind them.
const READY_PER_SLOT: usize = 6;
const READY_AT_LEAST: usize = 60;

/// Shortest pause: a burst of nudges is one round, not one each.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// Pause after a round that moved something, and the longest pause when there is nothing to do.
const BUSY_PAUSE: Duration = Duration::from_millis(25);
const IDLE_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause while Redis or Postgres is away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// How often the number of live slots is asked for.
const SLOTS_EVERY: Duration = Duration::from_secs(2);

/// What a round could not do.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("Redis: {0}")]
    Push(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What a round did.
enum Round {
    /// Another worker's relay has this lane.
    Idle,
    /// Moved this many.
    Moved(usize),
}

/// One queue's relay in one worker.
pub struct Relay {
    pool: PgPool,
    gate: Gate,
    sender: Sender,
    queue: Queue,
    kinds: Vec<String>,
    nudged: watch::Receiver<()>,
    pulse: Arc<Pulse>,
    bell: Arc<Bell>,
    metrics: Arc<Metrics>,
    cursor: Cursor,
    slots: (usize, Option<Instant>),
}

impl Relay {
    /// For `queue`; moves jobs of `kinds` only: nobody here could run the others.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // each is a different thing and there is one caller
    pub fn new(
        pool: PgPool,
        redis: Redis,
        queue: Queue,
        kinds: Vec<String>,
        worker_id: &str,
        nudged: watch::Receiver<()>,
        pulse: Arc<Pulse>,
        bell: Arc<Bell>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            pool,
            gate: Gate::new(redis.clone(), queue, worker_id),
            sender: Sender::new(redis, queue),
            queue,
            kinds,
            nudged,
            pulse,
            bell,
            metrics,
            cursor: Cursor::START,
            slots: (0, None),
        }
    }

    /// Rounds until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let queue = self.queue.as_str();
        let (mut pause, mut away) = (BUSY_PAUSE, false);
        while !stop.is_cancelled() {
            match failpoint::within("relay", self.round()).await {
                Ok(round) => {
                    if away {
                        tracing::info!(queue, "relay works again");
                        away = false;
                    }
                    self.pulse.beat();
                    pause = match round {
                        Round::Moved(moved) if moved > 0 => BUSY_PAUSE,
                        Round::Moved(_) | Round::Idle => (pause * 2).min(IDLE_PAUSE),
                    };
                }
                Err(error) => {
                    if !away {
                        tracing::warn!(queue, "relay waits: {error}");
                        away = true;
                    }
                    pause = (pause * 2).min(AWAY_PAUSE);
                }
            }
            sleep(SHORTEST_PAUSE).await;
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.nudged.changed(), if !away => {
                    if changed.is_err() {
                        sleep(pause).await;
                    }
                }
                () = stop.cancelled() => {}
            }
        }
        if let Err(error) = self.gate.leave().await {
            tracing::debug!(queue, "the relay's lease runs out by itself: {error}");
        }
    }

    async fn round(&mut self) -> Result<Round, RoundError> {
        let queue = self.queue.as_str();
        let entry = self.gate.enter().await?;
        self.metrics
            .leader
            .with_label_values(&[queue])
            .set(i64::from(entry != Entry::Taken));
        let Entry::Ours { fresh, depth } = entry else {
            return Ok(Round::Idle);
        };
        if fresh {
            let again = answered(ANSWER, due::unstamp_all(&self.pool, self.queue)).await?;
            tracing::info!(
                queue,
                again,
                "Redis does not know this lane yet: handing over what is due"
            );
        }
        self.metrics
            .lane_depth
            .with_label_values(&[queue])
            .set(i64::try_from(depth).unwrap_or(i64::MAX));
        let room = self.target().await?.saturating_sub(depth);
        let moved = if room == 0 { 0 } else { self.fill(room).await? };
        self.gate.sweep().await?;
        Ok(Round::Moved(moved))
    }

    /// How many ids the lane should hold.
    async fn target(&mut self) -> Result<usize, RoundError> {
        let stale = self.slots.1.is_none_or(|at| at.elapsed() > SLOTS_EVERY);
        if stale {
            let slots = answered(ANSWER, due::live_slots(&self.pool, self.queue)).await?;
            self.slots = (usize::try_from(slots).unwrap_or(0), Some(Instant::now()));
        }
        Ok((self.slots.0 * READY_PER_SLOT).clamp(READY_AT_LEAST, LANE_BOUND))
    }

    /// Stamps, commits, pushes. A failed push takes the stamps back; failing that, they expire.
    async fn fill(&mut self, room: usize) -> Result<usize, RoundError> {
        let room = i64::try_from(room).unwrap_or(due::BATCH);
        let stamped = due::stamp(&self.pool, self.queue, &self.kinds, self.cursor, room);
        let due = answered(ANSWER, stamped).await?;
        self.cursor = due.next;
        if due.ids.is_empty() {
            return Ok(0);
        }
        if let Err(error) = self.sender.push(&due.ids).await {
            answered(ANSWER, due::unstamp(&self.pool, &due.ids)).await?;
            return Err(RoundError::Push(error));
        }
        self.bell.ring();
        self.metrics
            .dispatched
            .with_label_values(&[self.queue.as_str()])
            .inc_by(u64::try_from(due.ids.len()).unwrap_or(0));
        Ok(due.ids.len())
    }
}
