//! A claim is exclusive, ends when its lease does, and once lost can change nothing.

use std::time::Duration;

use serde_json::json;
use shared::{ids::JobId, store::jobs::Queue};
use tokio::time::sleep;

use super::{
    bench::{Bench, Options},
    kinds::CALL,
};
use crate::queue::{
    Claim, Job, JobError, Outcome,
    claim::{self, Opened},
    rescue,
    settle::{self, Settled},
};

const LEASE: Duration = Duration::from_secs(15);

async fn open(bench: &Bench, id: JobId, worker: &str) -> Option<Job> {
    match claim::open(bench.db.pool(), id, worker, &[]).await.unwrap() {
        Opened::Ready { job, .. } => Some(*job),
        Opened::Gone | Opened::NotNow => None,
    }
}

async fn take(bench: &Bench, id: JobId, worker: &str) -> Option<Claim> {
    let job = open(bench, id, worker).await?;
    claim::take(bench.db.pool(), job, worker, LEASE).await.unwrap()
}

#[tokio::test]
async fn of_two_workers_one_gets_the_claim() {
    let Some(bench) = Bench::start().await else { return };
    let id = bench
        .enqueue(bench.job(Queue::Charges, CALL, "1", json!({})).await)
        .await;
    // Both have opened it before either claims.
    let (first, second) = (
        open(&bench, id, "a").await.unwrap(),
        open(&bench, id, "b").await.unwrap(),
    );
    let pool = bench.db.pool();
    let (first, second) = tokio::join!(
        claim::take(pool, first, "a", LEASE),
        claim::take(pool, second, "b", LEASE)
    );
    assert_eq!(
        usize::from(first.unwrap().is_some()) + usize::from(second.unwrap().is_some()),
        1
    );
    let row = bench.row(id).await;
    assert_eq!((row.state.as_str(), row.attempt, row.fence), ("running", 1, 1));
    assert!(
        open(&bench, id, "c").await.is_none(),
        "a running job is not opened again"
    );
    bench.finish().await;
}

#[tokio::test]
async fn p5_a_worker_frozen_past_its_lease_can_change_nothing() {
    let Some(bench) = Bench::start().await else { return };
    let id = bench
        .enqueue(bench.job(Queue::Charges, CALL, "1", json!({})).await)
        .await;
    let frozen = take(&bench, id, "frozen").await.unwrap();
    bench
        .execute("update jobs set lease_until = clock_timestamp() - interval '1 second'")
        .await;
    assert_eq!(rescue::once(&bench.db).await.unwrap().unwrap().external, 1);
    let row = bench.row(id).await;
    assert_eq!(
        (row.state.as_str(), row.attempt, row.crashes, row.dispatched),
        ("available", 0, 1, false)
    );

    let heir = take(&bench, id, "heir").await.unwrap();
    assert_eq!((heir.fence, heir.job.attempt), (frozen.fence + 1, 1));
    let mut tx = bench.db.plain().await.unwrap();
    assert_eq!(frozen.guard(&mut tx).await, Err(JobError::Stale));
    heir.guard(&mut tx).await.unwrap();
    drop(tx);
    let pool = bench.db.pool();
    assert!(!claim::renew(pool, &frozen, LEASE).await.unwrap());
    assert!(!claim::give_back(pool, &frozen).await.unwrap());
    let done = settle::of_outcome(&frozen.job, Outcome::done());
    assert_eq!(
        settle::claimed(pool, &frozen, &done).await.unwrap(),
        Settled::Stale
    );
    assert_eq!(bench.row(id).await.state, "running");
    assert_eq!(
        settle::claimed(pool, &heir, &done).await.unwrap(),
        Settled::Written { next: None }
    );
    assert_eq!(bench.row(id).await.state, "completed");
    bench.finish().await;
}

#[tokio::test]
async fn a_lease_is_kept_alive_while_its_job_runs() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options {
        lease: Duration::from_millis(900),
        ..Options::default()
    });
    let id = bench
        .enqueue(
            bench
                .job(Queue::Charges, CALL, "1", json!({ "takes_ms": 4000 }))
                .await,
        )
        .await;
    bench
        .until("select count(*) from jobs where state = 'completed'", 1)
        .await;
    let row = bench.row(id).await;
    assert_eq!((row.attempt, row.crashes, row.fence), (1, 0, 1));
    assert_eq!(bench.count("select count(*) from effects").await, 1);
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_job_that_lost_its_claim_while_running_has_no_effect_from_then_on() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options {
        lease: Duration::from_millis(900),
        ..Options::default()
    });
    let id = bench
        .enqueue(
            bench
                .job(Queue::Charges, CALL, "1", json!({ "door": "open" }))
                .await,
        )
        .await;
    bench.until("select count(*) from waiting", 1).await;
    bench
        .execute("update jobs set state = 'canceled', finished_at = app.now(), lease_owner = null, lease_until = null")
        .await;
    // The next renewal notices; whether or not it does before the door opens, nothing may happen.
    bench.execute("insert into doors values ('open')").await;
    sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.count("select count(*) from effects").await, 0);
    assert_eq!(bench.row(id).await.state, "canceled");
    worker.drain().await;
    bench.finish().await;
}
