//! Workers die; their jobs do not.

use std::time::Duration;

use serde_json::json;
use shared::store::jobs::Queue;
use tokio::time::Instant;

use super::{
    bench::{Bench, Options},
    kinds::{APPLY, CALL},
};
use crate::queue::rescue::{self, MOST_CRASHES};

/// The promise is twenty seconds.
const PROMISED: Duration = Duration::from_secs(20);

async fn a_killed_workers_job_runs_again(queue: Queue, kind: &'static str) {
    let Some(bench) = Bench::start().await else { return };
    let victim = bench.worker(Options::default());
    let id = bench
        .enqueue(bench.job(queue, kind, "1", json!({ "door": "open" })).await)
        .await;
    bench.until("select count(*) from waiting", 1).await;
    let heir = bench.worker(Options::default());
    let (killed_at, victim_id) = (Instant::now(), victim.id.clone());
    victim.kill();
    bench.until_gone(&victim_id).await;
    bench.execute("insert into doors values ('open')").await;
    bench
        .until_within("select count(*) from jobs where state = 'completed'", 1, PROMISED)
        .await;
    assert!(killed_at.elapsed() < PROMISED, "{:?}", killed_at.elapsed());
    let row = bench.row(id).await;
    assert_eq!((row.attempt, row.crashes), (1, 1));
    assert_eq!(bench.count("select count(*) from effects").await, 1);
    heir.drain().await;
    assert_eq!(bench.count("select count(*) from workers").await, 0);
    bench.finish().await;
}

#[tokio::test]
async fn p5_transactional_job_of_a_killed_worker_runs_again_within_20_s() {
    a_killed_workers_job_runs_again(Queue::Events, APPLY).await;
}

#[tokio::test]
async fn p5_external_job_of_a_killed_worker_runs_again_within_20_s() {
    a_killed_workers_job_runs_again(Queue::Charges, CALL).await;
}

/// A worker that died a while ago while it ran every job there is.
const DEAD_WORKER: &str = "
insert into workers (id, host, pid, version, queues, concurrency, started_at, heartbeat_at)
values ('dead', 'h', 1, '0', '{events}', 1, now() - interval '1 hour', clock_timestamp() - interval '1 minute');
insert into job_runs (job_id, worker_id) select id, 'dead' from jobs;";

#[tokio::test]
async fn a_job_that_kills_its_workers_is_quarantined() {
    let Some(bench) = Bench::start().await else { return };
    let id = bench
        .enqueue(bench.job(Queue::Events, APPLY, "1", json!({})).await)
        .await;
    for crash in 1..=MOST_CRASHES {
        assert_eq!(bench.row(id).await.state, "available");
        bench.execute(DEAD_WORKER).await;
        let found = rescue::once(&bench.db).await.unwrap().unwrap();
        assert_eq!(
            (found.transactional, found.quarantined),
            (1, i64::from(crash == MOST_CRASHES))
        );
        assert_eq!(bench.count("select count(*) from workers").await, 0);
    }
    let row = bench.row(id).await;
    assert_eq!((row.state.as_str(), row.attempt), ("discarded", 0));
    assert_eq!(
        row.last_error.as_deref(),
        Some("quarantined: 5 workers died while running it")
    );
    bench.finish().await;
}

#[tokio::test]
async fn a_job_whose_transaction_is_still_open_is_left_for_the_next_look() {
    let Some(bench) = Bench::start().await else { return };
    let id = bench
        .enqueue(bench.job(Queue::Events, APPLY, "1", json!({})).await)
        .await;
    bench.execute(DEAD_WORKER).await;
    let mut frozen = bench.admin.begin().await.unwrap();
    sqlx::query("select 1 from jobs for update")
        .execute(&mut *frozen)
        .await
        .unwrap();
    assert_eq!(rescue::once(&bench.db).await.unwrap().unwrap().transactional, 0);
    assert_eq!(bench.count("select count(*) from workers").await, 1);
    frozen.rollback().await.unwrap();
    assert_eq!(rescue::once(&bench.db).await.unwrap().unwrap().transactional, 1);
    assert_eq!(bench.row(id).await.crashes, 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_live_worker_is_left_alone() {
    let Some(bench) = Bench::start().await else { return };
    bench
        .enqueue(bench.job(Queue::Events, APPLY, "1", json!({})).await)
        .await;
    bench.execute(DEAD_WORKER).await;
    bench
        .execute("update workers set heartbeat_at = clock_timestamp()")
        .await;
    let found = rescue::once(&bench.db).await.unwrap().unwrap();
    assert_eq!(found, rescue::Rescued::default());
    assert_eq!(bench.count("select count(*) from job_runs").await, 1);
    bench.finish().await;
}
