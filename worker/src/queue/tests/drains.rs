//! Stopping: what runs may finish; what does not is given back and costs no attempt.

use std::time::Duration;

use serde_json::json;
use shared::store::jobs::Queue;

use super::{
    bench::{Bench, Options},
    kinds::{APPLY, CALL},
};
use crate::queue::pool::Drained;

#[tokio::test]
async fn running_jobs_finish_within_the_grace_period() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    for (queue, kind) in [(Queue::Events, APPLY), (Queue::Charges, CALL)] {
        bench
            .enqueue(bench.job(queue, kind, "1", json!({ "door": "open" })).await)
            .await;
    }
    bench.until("select count(*) from waiting", 2).await;
    let draining = tokio::spawn(worker.drain());
    bench
        .until("select count(*) from workers where draining", 1)
        .await;
    let late = bench
        .enqueue(bench.job(Queue::Events, APPLY, "late", json!({})).await)
        .await;
    bench.execute("insert into doors values ('open')").await;
    assert_eq!(draining.await.unwrap(), Drained::Clean);
    assert_eq!(
        bench
            .count("select count(*) from jobs where state = 'completed'")
            .await,
        2
    );
    assert_eq!(bench.row(late).await.state, "available");
    assert_eq!(bench.count("select count(*) from workers").await, 0);
    bench.finish().await;
}

#[tokio::test]
async fn jobs_that_do_not_finish_in_time_are_given_back_without_costing_an_attempt() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options {
        grace: Duration::from_millis(300),
        ..Options::default()
    });
    let mut ids = Vec::new();
    for (queue, kind) in [(Queue::Events, APPLY), (Queue::Charges, CALL)] {
        ids.push(
            bench
                .enqueue(bench.job(queue, kind, "1", json!({ "door": "open" })).await)
                .await,
        );
    }
    bench.until("select count(*) from waiting", 2).await;
    assert_eq!(worker.drain().await, Drained::CutOff);
    for id in &ids {
        let row = bench.row(*id).await;
        assert_eq!(
            (row.state.as_str(), row.attempt, row.crashes, row.dispatched),
            ("available", 0, 0, false),
            "{row:?}"
        );
    }
    assert_eq!(bench.count("select count(*) from job_runs").await, 0);
    assert_eq!(bench.count("select count(*) from effects").await, 0);

    let next = bench.worker(Options::default());
    bench.execute("insert into doors values ('open')").await;
    bench
        .until(
            "select count(*) from jobs where state = 'completed' and attempt = 1",
            2,
        )
        .await;
    next.drain().await;
    bench.finish().await;
}
