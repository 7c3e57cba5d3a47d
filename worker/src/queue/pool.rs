//! A worker: starts every loop, and stops them in the order that loses nothing.
//!
//! Drain: the relay and the scheduler stop; ids that still arrive are put back; what runs may finish within the grace
//! period, then it is cut off and given back without costing an attempt; the row in `workers` goes last, so that
//! nobody rescues what is still being finished.

use std::{sync::Arc, time::Duration};

use shared::store::Db;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    bell::Bell,
    depth,
    health::Health,
    heartbeat::{self, Identity},
    lane::Receiver,
    nudge,
    registry::Registry,
    relay::Relay,
    rescue,
    runner::Runner,
};
use crate::{context::Context, redis_link::Redis, scheduler};

/// Time for cut-off jobs to be given back, and for loops to notice that they are to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a worker is set up.
#[derive(Clone)]
pub struct Settings {
    /// Who it is.
    pub identity: Identity,
    /// Connections for what shows that this worker lives and keeps its claims: jobs that wait, for a lock for instance, may hold
    /// all others, and are no reason to hold their worker for dead.
    pub upkeep: Db,
    /// How long an external job is its own without a sign of life.
    pub lease: Duration,
    /// How long running jobs may take to finish after a drain began.
    pub grace: Duration,
}

/// A running worker.
pub struct Pool {
    settings: Settings,
    /// Signs of life, for the probes.
    pub health: Health,
    draining: CancellationToken,
    hard_stop: CancellationToken,
    runners: Vec<Arc<Runner>>,
    /// Loops that bring work; they end when draining begins.
    intake: JoinSet<()>,
    /// Lanes: they end when their jobs have.
    lanes: JoinSet<()>,
    /// Loops that keep us known and others rescued; they end last.
    upkeep: JoinSet<()>,
    upkeep_stop: CancellationToken,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything that was running finished.
    Clean,
    /// Something was cut off and given back.
    CutOff,
}

impl Pool {
    /// Starts everything. The first heartbeat is written before this returns.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn start(
        cx: Context,
        registry: Registry,
        redis: Redis,
        settings: Settings,
    ) -> shared::store::Result<Self> {
        let who = &settings.identity;
        let (draining, hard_stop, upkeep_stop) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let health = Health::new(&who.queues, draining.clone());
        heartbeat::beat(&settings.upkeep, who, false).await?;
        health.heartbeat.beat();
        scheduler::register(&cx.db).await?;

        let mut pool = Self {
            health,
            draining,
            hard_stop,
            runners: Vec::new(),
            intake: JoinSet::new(),
            lanes: JoinSet::new(),
            upkeep: JoinSet::new(),
            upkeep_stop,
            settings,
        };
        let clock_moved = Arc::new(Notify::new());
        pool.start_upkeep(&cx, clock_moved.clone());
        pool.start_queues(&cx, &registry, &redis, clock_moved);
        Ok(pool)
    }

    fn start_upkeep(&mut self, cx: &Context, clock_moved: Arc<Notify>) {
        let stop = &self.upkeep_stop;
        let db = &self.settings.upkeep;
        self.upkeep.spawn(heartbeat::run(
            db.clone(),
            self.settings.identity.clone(),
            self.draining.clone(),
            self.health.heartbeat.clone(),
            self.health.returned.clone(),
            stop.clone(),
        ));
        self.upkeep
            .spawn(rescue::run(db.clone(), cx.metrics.clone(), stop.clone()));
        self.upkeep
            .spawn(depth::run(cx.db.clone(), cx.metrics.clone(), stop.clone()));
        self.intake.spawn(scheduler::run(
            cx.db.clone(),
            cx.metrics.clone(),
            self.health.scheduler.clone(),
            clock_moved,
            self.health.returned.subscribe(),
            self.draining.clone(),
        ));
    }

    fn start_queues(&mut self, cx: &Context, registry: &Registry, redis: &Redis, clock_moved: Arc<Notify>) {
        let (mut nudges, mut bells) = (Vec::new(), Vec::new());
        let job_ended = Arc::new(Notify::new());
        let who = &self.settings.identity;
        for (queue, pulse) in &self.health.relays {
            let bell = Arc::new(Bell::default());
            bells.push(bell.clone());
            let (nudge, nudged) = watch::channel(());
            nudges.push((*queue, nudge));
            let relay = Relay::new(
                cx.db.pool().clone(),
                redis.clone(),
                *queue,
                registry.kinds(),
                &who.id,
                nudged,
                pulse.clone(),
                bell.clone(),
                cx.metrics.clone(),
            );
            self.intake.spawn(relay.run(self.draining.clone()));

            let runner = Arc::new(Runner::new(
                cx.clone(),
                self.settings.upkeep.clone(),
                self.health.returned.subscribe(),
                registry.clone(),
                *queue,
                who.concurrency,
                self.settings.lease,
                self.draining.clone(),
                self.hard_stop.clone(),
                job_ended.clone(),
            ));
            cx.metrics
                .slots_total
                .with_label_values(&[queue.as_str()])
                .set(i64::try_from(who.concurrency).unwrap_or(i64::MAX));
            self.runners.push(runner.clone());
            let receiver = Receiver::new(redis.clone(), *queue, runner, &who.id, bell);
            let stop = self.draining.clone();
            self.lanes.spawn(async move { receiver.run(stop).await });
        }
        let listeners = nudge::Listeners {
            relays: nudges,
            lanes: bells,
            scheduler: clock_moved,
            job_ended,
        };
        self.intake.spawn(nudge::listen(
            cx.db.pool().clone(),
            listeners,
            self.draining.clone(),
        ));
    }

    /// Stops. See the file's head for the order.
    ///
    /// # Errors
    /// When the database is away at the very end; rescue tidies up then.
    pub async fn drain(mut self) -> shared::store::Result<Drained> {
        self.draining.cancel();
        // A worker that is leaving says so, so that nobody waits for its slots.
        if let Err(error) = heartbeat::beat(&self.settings.upkeep, &self.settings.identity, true).await {
            tracing::warn!("could not announce the drain: {error}");
        }
        let drained = if timeout(self.settings.grace, self.idle()).await.is_ok() {
            Drained::Clean
        } else {
            self.hard_stop.cancel();
            if timeout(LAST_WORDS, self.idle()).await.is_err() {
                tracing::error!("jobs did not give way in time: rescue will find them");
            }
            Drained::CutOff
        };
        self.upkeep_stop.cancel();
        for loops in [&mut self.intake, &mut self.lanes, &mut self.upkeep] {
            let ended = async { while loops.join_next().await.is_some() {} };
            if timeout(LAST_WORDS, ended).await.is_err() {
                loops.abort_all();
            }
        }
        heartbeat::sign_off(&self.settings.upkeep, &self.settings.identity).await?;
        Ok(drained)
    }

    /// Waits until no job runs.
    async fn idle(&self) {
        for runner in &self.runners {
            runner.idle().await;
        }
    }
}
