//! Workers are killed again and again while charges are on their way: nothing is lost or doubled, and what a dead worker had
//! in hand runs again soon.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use sqlx::PgPool;
use tests::world::{World, WorldOptions};
use tokio::{
    task::JoinHandle,
    time::{Instant, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    close, count, faults, invariants,
    plan::Draw,
    settings::{self, Figures},
};
use crate::cast::{self, AMOUNT_MINOR, Payer};

/// Invoices that come together.
const BATCH: usize = 30;

/// What the promise gives (P5), for 99 of 100.
const P99: Duration = Duration::from_secs(20);

/// Jobs that wait or run.
const OPEN: &str =
    "select count(*) from jobs where state in ('available', 'retryable', 'running') and run_at <= app.now()";

/// Jobs that workers have in hand.
const IN_HAND: &str =
    "select (select count(*) from jobs where state = 'running') + (select count(*) from job_runs)";

/// A job that a dead worker had in hand.
struct Held {
    job: Uuid,
    worker: String,
    fence: i64,
    since: Instant,
}

/// Looks after the jobs of dead workers until they run again.
struct Watch {
    held: Arc<Mutex<Vec<Held>>>,
    stop: CancellationToken,
    task: JoinHandle<Vec<Duration>>,
}

impl Watch {
    fn begin(pool: PgPool) -> Self {
        let (held, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let task = tokio::spawn(watch(pool, Arc::clone(&held), stop.clone()));
        Self { held, stop, task }
    }

    /// This process has just been killed: whatever the database says it has in hand is orphaned.
    async fn died(&self, pool: &PgPool, pid: u32, since: Instant) {
        let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
            "select j.id, j.lease_owner, j.fence from jobs j where j.state = 'running' and j.lease_owner like '%-' || $1 || '-%'
             union all
             select j.id, r.worker_id, j.fence from jobs j join job_runs r on r.job_id = j.id
              where r.worker_id like '%-' || $1 || '-%' and j.state in ('available', 'retryable')",
        )
        .bind(pid.to_string())
        .fetch_all(pool)
        .await
        .unwrap();
        let orphans = rows.into_iter().map(|(job, worker, fence)| Held {
            job,
            worker,
            fence,
            since,
        });
        self.held.lock().unwrap().extend(orphans);
    }

    /// How long each took, shortest first.
    async fn end(self) -> Vec<Duration> {
        self.stop.cancel();
        let mut delays = self.task.await.unwrap();
        delays.sort_unstable();
        delays
    }
}

async fn watch(pool: PgPool, held: Arc<Mutex<Vec<Held>>>, stop: CancellationToken) -> Vec<Duration> {
    let mut look = interval(Duration::from_millis(100));
    let mut delays = Vec::new();
    loop {
        look.tick().await;
        let (mut jobs, mut workers, mut fences) = (Vec::new(), Vec::new(), Vec::new());
        for row in held.lock().unwrap().iter() {
            jobs.push(row.job);
            workers.push(row.worker.clone());
            fences.push(row.fence);
        }
        if jobs.is_empty() && stop.is_cancelled() {
            return delays;
        }
        // A job that was given up is not run again: it is let go, and tells nothing of how long that takes.
        let settled: Vec<(Uuid, String, bool)> = sqlx::query_as(
            "select h.job, h.worker, j.state in ('discarded', 'canceled') from unnest($1::uuid[], $2::text[], $3::bigint[]) as h(job, worker, fence)
               join jobs j on j.id = h.job
              where j.state in ('completed', 'discarded', 'canceled') or j.run_at > app.now() or j.fence > h.fence
                 or exists (select from job_runs r where r.job_id = j.id and r.worker_id <> h.worker)",
        )
        .bind(&jobs)
        .bind(&workers)
        .bind(&fences)
        .fetch_all(&pool)
        .await
        .unwrap();
        let now = Instant::now();
        held.lock().unwrap().retain(|row| {
            let of_row = settled
                .iter()
                .find(|(job, worker, _)| *job == row.job && *worker == row.worker);
            if let Some((_, _, false)) = of_row {
                delays.push(now - row.since);
            }
            of_row.is_none()
        });
    }
}

#[tokio::test]
async fn load_p5_workers_killed_again_and_again_lose_nothing_and_charge_nobody_twice() {
    let (seed, kills) = (settings::seed(), settings::kills());
    eprintln!("seed {seed}; replay with: tests/soak --seed {seed} --kills {kills}");
    let mut world = World::start(WorldOptions {
        workers: 3,
        concurrency: 4,
        ..WorldOptions::default()
    })
    .await;
    // Charges take their time, so that workers have some in hand whenever they are killed.
    let slow = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "delay_after_effect", "ms": 300, "times": 1_000_000 });
    world.sim.fault(slow).await.unwrap();
    let watch = Watch::begin(world.db.clone());
    let (began, mut draw, mut payers) = (Instant::now(), Draw::new(seed), Vec::new());
    for _ in 0..kills {
        if world.count(OPEN).await < i64::try_from(BATCH).unwrap() {
            let batch: Vec<Payer> = (payers.len()..payers.len() + BATCH)
                .map(|n| Payer::of(&format!("firm{}", n % 3), &format!("payer{n:05}")))
                .collect();
            cast::enter(&world, &batch, &[]).await;
            payers.extend(batch);
        }
        let busy = async {
            let mut look = interval(Duration::from_millis(20));
            while world.count(IN_HAND).await < 4 {
                look.tick().await;
            }
        };
        drop(timeout(Duration::from_secs(5), busy).await);
        let since = Instant::now();
        let pid = faults::kill_one(&mut world, &mut draw).await;
        watch.died(&world.db, pid, since).await;
        world.add_worker().await;
    }
    let killing = began.elapsed();
    let given_up = close(&world, &payers, |_| Some(1)).await;
    assert!(given_up.is_empty(), "{given_up:?}");
    let delays = watch.end().await;
    let wrong = invariants::breaches(&mut world).await;
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        i64::try_from(payers.len()).unwrap() * AMOUNT_MINOR
    );

    let at = |per_cent: usize| {
        delays
            .get((delays.len() * per_cent).div_ceil(100).saturating_sub(1))
            .copied()
    };
    let mut figures = Figures::default();
    figures.fault("worker_killed", kills as u64);
    invariants::count_harm(&world, payers.iter(), &mut figures).await;
    count(&world, &mut figures).await;
    let secs = |delay: Option<Duration>| delay.map(|delay| delay.as_secs_f64());
    figures.report(
        "kills",
        json!({
            "seed": seed, "kills": kills, "killing_secs": killing.as_secs(), "charges": payers.len(), "in_hand": delays.len(),
            "p50_secs": secs(at(50)), "p99_secs": secs(at(99)), "max_secs": secs(at(100)),
        }),
    );
    assert!(
        !delays.is_empty(),
        "no worker had anything in hand when it was killed"
    );
    assert!(at(99).is_some_and(|p99| p99 <= P99), "{:?}", at(99));
}
