//! Jobs of one order key run one at a time, in the order of their enqueueing; keys run side by side.

use serde_json::json;
use shared::store::jobs::Queue;

use super::{
    bench::{Bench, Options},
    kinds::{APPLY, CALL},
};

const KEYS: usize = 5;
const JOBS_PER_KEY: usize = 30;

async fn all_keys_run_in_order(queue: Queue, kind: &'static str) {
    let Some(bench) = Bench::start().await else { return };
    let workers = [bench.worker(Options::default()), bench.worker(Options::default())];
    for n in 0..KEYS * JOBS_PER_KEY {
        let key = n % KEYS;
        let job = bench
            .job(queue, kind, &n.to_string(), json!({ "takes_ms": n % 7 }))
            .await
            .in_order_of(format!("customer:{key}"));
        bench.enqueue(job).await;
    }
    bench
        .until(
            "select count(*) from jobs where state = 'completed'",
            (KEYS * JOBS_PER_KEY) as i64,
        )
        .await;
    assert_eq!(
        bench
            .count(
                "select count(*) from (select j.seq, lag(j.seq) over (partition by e.order_key order by e.n) as before
                   from effects e join jobs j on j.id = e.job_id) x where before > seq"
            )
            .await,
        0,
        "some job ran before an earlier one of its key"
    );
    assert_eq!(
        bench.count("select count(*) from effects").await,
        (KEYS * JOBS_PER_KEY) as i64
    );
    assert_eq!(bench.count("select max(attempt)::bigint from jobs").await, 1);
    for worker in workers {
        worker.drain().await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn transactional_jobs_of_a_key_run_in_order() {
    all_keys_run_in_order(Queue::Events, APPLY).await;
}

#[tokio::test]
async fn external_jobs_of_a_key_run_in_order() {
    all_keys_run_in_order(Queue::Charges, CALL).await;
}

#[tokio::test]
async fn a_job_that_waits_for_its_retry_lets_the_next_one_pass() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    let first = bench
        .job(Queue::Events, APPLY, "1", json!({ "ends": "retry" }))
        .await
        .in_order_of("customer:1".to_owned());
    let first = bench.enqueue(first).await;
    let second = bench
        .job(Queue::Events, APPLY, "2", json!({}))
        .await
        .in_order_of("customer:1".to_owned());
    bench.enqueue(second).await;
    bench
        .until("select count(*) from jobs where state = 'completed'", 1)
        .await;
    assert_eq!(bench.row(first).await.state, "retryable");
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn an_early_delivery_is_put_back_and_costs_no_attempt() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    let mut ids = Vec::new();
    for n in ["1", "2"] {
        let job = bench
            .job(Queue::Charges, CALL, n, json!({ "door": n }))
            .await
            .in_order_of("customer:1".to_owned());
        ids.push(bench.enqueue(job).await);
    }
    bench.until("select count(*) from waiting", 1).await;
    // The lane brings the second one although the first is running.
    let mut early = crate::queue::lane::Sender::new(
        crate::queue::lane::connect(&bench.redis_url()).unwrap(),
        Queue::Charges,
    );
    early.push(&[ids[1]]).await.unwrap();
    bench.execute("insert into doors values ('1')").await;
    bench.until("select count(*) from waiting", 2).await;
    bench.execute("insert into doors values ('2')").await;
    bench
        .until("select count(*) from jobs where state = 'completed'", 2)
        .await;
    assert_eq!(bench.row(ids[1]).await.attempt, 1);
    assert_eq!(bench.count("select count(*) from effects").await, 2);
    worker.drain().await;
    bench.finish().await;
}
