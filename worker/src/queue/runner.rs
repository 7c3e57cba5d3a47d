//! Runs the jobs of one queue in one worker: opens an id, calls its handler, and goes on with the next job of the
//! same order key, so that a customer's backlog does not pay for a trip through Redis per job.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use shared::{
    failpoint::{self, Effect, Side},
    ids::JobId,
    store::{self, Db, jobs::Queue},
    trace,
};
use sqlx::PgPool;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    claim::{self, Opened},
    external,
    job::Job,
    registry::{Contract, Handler, Registry},
    retry::Jitter,
    settle::{Settled, Verdict},
    transactional::{self, Ran},
    unwind::Bounds,
};
use crate::{context::Context, metrics::Metrics};

/// Jobs of one order key that are run in one go; then the slot is free for others.
const LONGEST_CHAIN: usize = 50;

/// A database that is away for longer than this is a new start for everybody.
const LET_GO_TRIES: usize = 600;
const LET_GO_PAUSE: Duration = Duration::from_secs(1);

/// Runs the jobs of one queue.
pub struct Runner {
    cx: Context,
    upkeep: Db,
    returned: watch::Receiver<()>,
    registry: Registry,
    queue: Queue,
    lease: Duration,
    transactional: Vec<String>,
    slots: Arc<Semaphore>,
    running: Mutex<HashSet<JobId>>,
    busy: watch::Sender<usize>,
    draining: CancellationToken,
    hard_stop: CancellationToken,
    job_ended: Arc<Notify>,
}

impl Runner {
    /// With this many slots. `upkeep`: connections that no job takes. `returned`: the database is back. `draining`: begin nothing
    /// more. `hard_stop`: give back what is running. `job_ended` is notified.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // each is a different thing and there is one caller
    pub fn new(
        cx: Context,
        upkeep: Db,
        returned: watch::Receiver<()>,
        registry: Registry,
        queue: Queue,
        concurrency: usize,
        lease: Duration,
        draining: CancellationToken,
        hard_stop: CancellationToken,
        job_ended: Arc<Notify>,
    ) -> Self {
        Self {
            transactional: registry.transactional_kinds(),
            cx,
            upkeep,
            returned,
            registry,
            queue,
            lease,
            slots: Arc::new(Semaphore::new(concurrency)),
            running: Mutex::default(),
            busy: watch::Sender::new(0),
            draining,
            hard_stop,
            job_ended,
        }
    }

    /// What handlers get.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// Connections for what keeps a claim alive, which jobs that wait must not use up.
    pub fn upkeep(&self) -> &PgPool {
        self.upkeep.pool()
    }

    /// What a run of this handler may take.
    pub fn bounds(&self, handler: &Handler) -> Bounds {
        Bounds {
            time: handler.time_limit,
            silence: handler.silence,
            returned: self.returned.clone(),
        }
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.cx.metrics
    }

    /// Unique per process start.
    pub fn worker_id(&self) -> &str {
        &self.cx.worker_id
    }

    /// How long an external job is ours without a sign of life.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// One permit per job that may run at a time.
    pub fn slots(&self) -> Arc<Semaphore> {
        self.slots.clone()
    }

    /// Resolves when running jobs are to be given back.
    pub async fn hard_stop(&self) {
        self.hard_stop.cancelled().await;
    }

    /// A random number for a backoff.
    #[must_use]
    pub fn jitter(&self) -> Jitter {
        Jitter::draw()
    }

    /// A failed run, logged once, here: a retry is business as usual, a discarded job waits for a person.
    pub fn log_failure(&self, job: &Job, verdict: &Verdict) {
        let error = verdict.error.as_deref().unwrap_or_default();
        if verdict.state == "discarded" {
            tracing::warn!(job.id = %job.id, job.kind = job.kind, job.attempt, "job discarded: {error}");
        } else {
            tracing::info!(job.id = %job.id, job.kind = job.kind, job.attempt, "job failed, will be retried: {error}");
        }
    }

    /// Runs the job that an id from the lane points to, and those that follow it in order.
    pub async fn deliver(&self, id: JobId) {
        let _busy = Busy::begin(self);
        let mut next = Some(id);
        for _ in 0..LONGEST_CHAIN {
            let Some(id) = next else { break };
            next = match self.one(id).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(job.id = %id, "job not run to its end, it will come again: {error}");
                    self.let_go(id).await;
                    None
                }
            };
        }
    }

    /// Resolves when nothing runs.
    pub async fn idle(&self) {
        // The sender is `self`, so the channel cannot be closed.
        let mut busy = self.busy.subscribe();
        let waited = busy.wait_for(|&running| running == 0).await;
        drop(waited);
    }

    /// Takes back the note of a run that could not be ended properly: nobody else may run the job while it is there.
    async fn let_go(&self, id: JobId) {
        for _ in 0..LET_GO_TRIES {
            match claim::release(self.cx.db.pool(), id, self.worker_id()).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(job.id = %id, "still noted as running: {error}"),
            }
            tokio::select! {
                () = sleep(LET_GO_PAUSE) => {}
                () = self.hard_stop() => return,
            }
        }
    }

    async fn one(&self, id: JobId) -> Result<Option<JobId>, store::Error> {
        let pool = self.cx.db.pool();
        if self.draining.is_cancelled() {
            claim::put_back(pool, id, self.worker_id()).await?;
            return Ok(None);
        }
        // The same id twice at a time: the lane delivered it again while it runs here.
        let Some(_mine) = Running::enter(&self.running, id) else {
            return Ok(None);
        };
        let asked = Instant::now();
        match claim::open(pool, id, self.worker_id(), &self.transactional).await? {
            Opened::Gone => Ok(None),
            Opened::NotNow => {
                claim::put_back(pool, id, self.worker_id()).await?;
                Ok(None)
            }
            Opened::Ready { job, now } => self.run(*job, now, asked.elapsed()).await,
        }
    }

    async fn run(
        &self,
        job: Job,
        now: DateTime<Utc>,
        receiving: Duration,
    ) -> Result<Option<JobId>, store::Error> {
        let Some(handler) = self.registry.handler(&job.kind) else {
            tracing::warn!(job.id = %job.id, job.kind = job.kind, "no handler here: left for a newer worker");
            return Ok(None);
        };
        let (started, id, attempt) = (Instant::now(), job.id, job.attempt);
        let waited = (now - job.run_at).to_std().unwrap_or_default();
        let span = tracing::info_span!("process", job.id = %job.id, job.kind = job.kind, queue = handler.queue.as_str(), job.attempt);
        let traced = trace::consuming(trace::Consumed {
            id,
            kind: &job.kind,
            queue: handler.queue.as_str(),
            worker: self.worker_id(),
            attempt,
            times: (job.created_at, job.run_at),
            traceparent: job.traceparent.as_deref(),
            receiving,
        });
        let ran = async {
            failpoint::pass(Effect::Note, Side::After);
            match handler.contract {
                Contract::Transactional(prepare) => {
                    transactional::run(self, handler, prepare, &job, now).await
                }
                Contract::External(run) => external::run(self, handler, run, job).await,
            }
        };
        let ran = ran.instrument(traced.clone()).instrument(span);
        let ran = failpoint::within(handler.kind, ran).await?;
        trace::ran(&traced, ran.label());
        let (queue, kind) = (handler.queue.as_str(), handler.kind);
        match ran {
            Ran::PutBack | Ran::Gone => Ok(None),
            Ran::Ended(_, Settled::Stale) => {
                self.metrics().stale_completions.inc();
                tracing::warn!(job.id = %id, job.kind = kind, "the run was no longer ours; its end was not recorded");
                Ok(None)
            }
            Ran::Ended(label, Settled::Written { next }) => {
                self.job_ended.notify_one();
                let m = self.metrics();
                m.completed.with_label_values(&[queue, kind, label]).inc();
                m.wait_duration
                    .with_label_values(&[queue])
                    .observe(waited.as_secs_f64());
                m.run_duration
                    .with_label_values(&[queue, kind])
                    .observe(started.elapsed().as_secs_f64());
                if !matches!(label, "snoozed" | "retryable") {
                    m.attempts.with_label_values(&[kind]).observe(f64::from(attempt));
                }
                Ok(next)
            }
        }
    }
}

/// Counts a delivery as running for as long as it lives, even when its task is aborted.
struct Busy<'a>(&'a Runner);

impl<'a> Busy<'a> {
    fn begin(runner: &'a Runner) -> Self {
        runner.busy.send_modify(|running| *running += 1);
        runner
            .metrics()
            .slots_used
            .with_label_values(&[runner.queue.as_str()])
            .inc();
        Self(runner)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0
            .busy
            .send_modify(|running| *running = running.saturating_sub(1));
        self.0
            .metrics()
            .slots_used
            .with_label_values(&[self.0.queue.as_str()])
            .dec();
    }
}

/// Marks an id as running in this process for as long as it lives.
struct Running<'a> {
    set: &'a Mutex<HashSet<JobId>>,
    id: JobId,
}

impl<'a> Running<'a> {
    fn enter(set: &'a Mutex<HashSet<JobId>>, id: JobId) -> Option<Self> {
        let new = set.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        // Made only where it is needed: dropping it takes the lock and removes the id.
        new.then(|| Self { set, id })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}
