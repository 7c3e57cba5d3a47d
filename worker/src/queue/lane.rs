//! The lane: apalis on Redis carries ids of jobs to workers. The only file that names apalis.
//!
//! A lane is disposable. It decides nothing, retries nothing and remembers nothing: whatever it loses is handed over
//! again by the relay, and whatever it delivers twice is claimed once. The settings below avoid what was measured to
//! go wrong: one id per fetch (a prefetched batch starves heartbeats and acknowledgements), no lock per task (it
//! scans the whole backlog), an own poll strategy (the built-in ones can lose their wake-up), an own supervisor (the
//! built-in one restarts without pause), a fresh name per start (a reused one is refused), and jobs that run in tasks
//! of their own (an error of Redis drops the lane's futures, never a job).

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis::prelude::{
    BackendExt, BoxDynError, Event, EventListenerExt, PollSnapshot, PollStrategy, Task, TaskBuilder,
    TaskSink, WorkerBuilder,
};
use apalis_redis::{Config, RedisStorage};
use redis::aio::ConnectionManagerConfig;
use serde::{Deserialize, Serialize};
use shared::{
    failpoint::{self, Effect, Side},
    ids::JobId,
    store::jobs::Queue,
};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};
use tokio_util::sync::{CancellationToken, PollSemaphore};

use super::{
    bell::{Bell, Rhythm},
    gate::lane_name,
    runner::Runner,
};
use crate::redis_link::Redis;

/// apalis' own heartbeat, and how many may be missing before it hands a lane worker's ids to another.
const HEARTBEAT: Duration = Duration::from_secs(1);
const MISSED_HEARTBEATS: usize = 5;

/// Pause before a failed lane is started again, doubling up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Redis' answer may take this long before the connection counts as broken; the library's half second kills lanes.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// What travels: a pointer. Payload, attempts and times stay in Postgres.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Dispatch {
    job: JobId,
}

/// A connection to Redis that is made when it is first used, and made again whenever it breaks: Redis may be away now and
/// at any time. To be called inside a Tokio runtime.
///
/// # Errors
/// When the URL is malformed.
pub fn connect(url: &str) -> redis::RedisResult<Redis> {
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_connection_timeout(Some(CONNECTION_TIMEOUT))
        .set_max_delay(LONGEST_PAUSE)
        .set_number_of_retries(1);
    Redis::connect(url, config)
}

/// Asks Redis whether it is there.
///
/// # Errors
/// When it is not, or refuses.
pub async fn greet(redis: &Redis) -> redis::RedisResult<()> {
    redis::cmd("PING").query_async(&mut redis.clone()).await
}

/// Whether Redis is there and does not take this login, which no waiting mends.
#[must_use]
pub fn is_refusal(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}

fn storage(redis: Redis, queue: Queue) -> RedisStorage<Dispatch, Redis> {
    let config = Config::default()
        .queue(lane_name(queue))
        .batch_size(1)
        .lock_tasks(false)
        .emit_events(false)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(MISSED_HEARTBEATS);
    RedisStorage::new(redis).with_config(config)
}

/// Puts ids into a lane.
pub struct Sender {
    storage: RedisStorage<Dispatch, Redis>,
}

impl Sender {
    /// For this queue's lane.
    #[must_use]
    pub fn new(redis: Redis, queue: Queue) -> Self {
        Self {
            storage: storage(redis, queue),
        }
    }

    /// Pushes all of them in one call.
    ///
    /// # Errors
    /// When Redis is away; any number of them may have arrived.
    pub async fn push(&mut self, ids: &[JobId]) -> Result<(), String> {
        let tasks: Vec<Task<Dispatch>> = ids
            .iter()
            .map(|&job| TaskBuilder::new(Dispatch { job }).build())
            .collect();
        failpoint::around(Effect::Push, self.storage.push_all(futures::stream::iter(tasks)))
            .await
            .map_err(|e| e.to_string())
    }
}

/// Takes ids out of a lane and runs their jobs, until told to stop.
pub struct Receiver {
    redis: Redis,
    queue: Queue,
    runner: Arc<Runner>,
    worker_id: String,
    bell: Arc<Bell>,
    starts: AtomicU64,
}

impl Receiver {
    /// For this queue's lane, woken by `bell`; every id goes to `runner`.
    #[must_use]
    pub fn new(redis: Redis, queue: Queue, runner: Arc<Runner>, worker_id: &str, bell: Arc<Bell>) -> Self {
        Self {
            redis,
            queue,
            runner,
            worker_id: worker_id.to_owned(),
            bell,
            starts: AtomicU64::new(0),
        }
    }

    /// Receives until `stop`, starting again whenever Redis fails.
    pub async fn run(&self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let name = format!(
                "{}-{}",
                self.worker_id,
                self.starts.fetch_add(1, Ordering::Relaxed)
            );
            let ended = self.receive(&name, stop.clone()).await;
            self.forget(&name).await;
            if stop.is_cancelled() {
                return;
            }
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
                tracing::warn!(
                    queue = self.queue.as_str(),
                    "lane lost ({ended}); starting it again"
                );
            }
            self.runner
                .metrics()
                .lane_restarts
                .with_label_values(&[self.queue.as_str()])
                .inc();
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One life of the lane's worker, under a name of its own.
    async fn receive(&self, name: &str, stop: CancellationToken) -> String {
        let worker = WorkerBuilder::new(name.to_owned())
            .backend(
                storage(self.redis.clone(), self.queue)
                    .poll_with_strategy(Ticker(Rhythm::new(self.bell.clone()))),
            )
            .on_event(|_, event| {
                if matches!(event, Event::Success(_)) {
                    failpoint::pass(Effect::Ack, Side::After);
                }
            })
            .build(Slots {
                free: PollSemaphore::new(self.runner.slots()),
                held: None,
                runner: self.runner.clone(),
            });
        let stopped = async move {
            stop.cancelled().await;
            Ok::<(), std::io::Error>(())
        };
        match worker.run_until(stopped).await {
            Ok(()) => "it ended".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Removes what a lane's worker leaves behind: its registration, and ids that it had fetched. Those that have
    /// not ended are handed over again by the relay.
    async fn forget(&self, name: &str) {
        let lane = lane_name(self.queue);
        let forgotten: redis::RedisResult<()> = redis::pipe()
            .zrem(format!("{lane}:workers"), name)
            .ignore()
            .del(format!("{lane}:workers:metadata:{name}"))
            .ignore()
            .del(format!("{lane}:inflight:{name}"))
            .ignore()
            .query_async(&mut self.redis.clone())
            .await;
        if let Err(error) = forgotten {
            tracing::debug!("registration of {name} stays in Redis until it expires: {error}");
        }
    }
}

/// Runs one job per free slot: the lane is asked for an id only when a slot is free. The slots belong to the runner,
/// so they bound the jobs of one queue across restarts of the lane.
struct Slots {
    free: PollSemaphore,
    held: Option<OwnedSemaphorePermit>,
    runner: Arc<Runner>,
}

impl tower::Service<Task<Dispatch>> for Slots {
    type Response = ();
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxDynError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        if self.held.is_none() {
            match ready!(self.free.poll_acquire(cx)) {
                Some(slot) => self.held = Some(slot),
                None => return Poll::Ready(Err("the slots are closed".into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Always succeeds: how the job ended is Postgres' business. The job runs in a task of its own.
    fn call(&mut self, task: Task<Dispatch>) -> Self::Future {
        let (slot, runner) = (self.held.take(), self.runner.clone());
        let run = tokio::spawn(async move {
            failpoint::within("lane", runner.deliver(task.args.job)).await;
            drop(slot);
        });
        Box::pin(async move {
            if let Err(error) = run.await {
                tracing::error!("the task of a job ended abnormally: {error}");
            }
            failpoint::pass(Effect::Ack, Side::Before);
            Ok(())
        })
    }
}

/// Wakes the lane at our own rhythm.
struct Ticker(Rhythm);

impl PollStrategy for Ticker {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        self.0.poll(cx).map(Some)
    }

    fn on_poll(&mut self, snapshot: &PollSnapshot) {
        if snapshot.consecutive_ready > 0 {
            self.0.found();
        }
    }
}
