//! How a run may end, and what is written down for each, for both contracts.

use serde_json::json;
use shared::{ids::JobId, store::jobs::Queue};

use super::{
    bench::{Bench, Options, Seen},
    kinds::{APPLY, CALL},
};

async fn run(bench: &Bench, queue: Queue, kind: &'static str, ends: &str) -> (JobId, Seen) {
    let id = bench
        .enqueue(bench.job(queue, kind, ends, json!({ "ends": ends })).await)
        .await;
    bench
        .until(
            "select count(*) from jobs where state in ('completed', 'canceled', 'discarded', 'retryable')
                or (state = 'available' and run_at > app.now())",
            bench.count("select count(*) from jobs").await,
        )
        .await;
    (id, bench.row(id).await)
}

#[tokio::test]
async fn a_failed_attempt_is_retried_after_its_backoff_and_has_no_effect() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    for (queue, kind) in [(Queue::Events, APPLY), (Queue::Charges, CALL)] {
        let (id, row) = run(&bench, queue, kind, "retry").await;
        assert_eq!(
            (row.state.as_str(), row.attempt, row.dispatched),
            ("retryable", 1, false)
        );
        assert_eq!(row.last_error.as_deref(), Some("the bank is asleep"));
        assert!((26.0..=33.5).contains(&row.due_in_secs), "{row:?}");

        // The second wait is twice the first.
        bench
            .execute("update jobs set run_at = app.now() where state = 'retryable'")
            .await;
        bench
            .until("select count(*) from jobs where attempt = 2", 1)
            .await;
        bench
            .until(
                "select count(*) from jobs where state = 'retryable' and attempt = 2",
                1,
            )
            .await;
        let row = bench.row(id).await;
        assert!((53.0..=66.5).contains(&row.due_in_secs), "{row:?}");

        // The third attempt is the last of its policy.
        bench
            .execute("update jobs set run_at = app.now() where state = 'retryable'")
            .await;
        bench
            .until("select count(*) from jobs where state = 'discarded'", 1)
            .await;
        assert_eq!(bench.row(id).await.attempt, 3);
        bench.execute("delete from jobs").await;
    }
    assert_eq!(
        bench.count("select count(*) from effects e where not exists (select from jobs where kind = 'test_call') and order_key is null and attempt = 0").await,
        0
    );
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_failed_transaction_leaves_nothing_behind() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    for ends in ["retry", "fail", "panic"] {
        run(&bench, Queue::Events, APPLY, ends).await;
    }
    assert_eq!(bench.count("select count(*) from effects").await, 0);
    assert_eq!(bench.count("select count(*) from job_runs").await, 0);
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_the_worker_lives_on() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    for (queue, kind) in [(Queue::Events, APPLY), (Queue::Charges, CALL)] {
        let (_, row) = run(&bench, queue, kind, "panic").await;
        assert_eq!(
            (row.state.as_str(), row.attempt, row.crashes),
            ("retryable", 1, 0)
        );
        assert_eq!(row.last_error.as_deref(), Some("panicked: out of luck"));
        let (_, row) = run(&bench, queue, kind, "applied").await;
        assert_eq!((row.state.as_str(), row.attempt), ("completed", 1));
    }
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn what_is_hopeless_is_discarded_at_once_and_what_is_unwanted_is_canceled() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    for (queue, kind) in [(Queue::Events, APPLY), (Queue::Charges, CALL)] {
        let (_, row) = run(&bench, queue, kind, "fail").await;
        assert_eq!((row.state.as_str(), row.attempt), ("discarded", 1));
        assert_eq!(row.last_error.as_deref(), Some("no such thing"));
        let (_, row) = run(&bench, queue, kind, "cancel").await;
        assert_eq!((row.state.as_str(), row.attempt), ("canceled", 1));
    }
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_snooze_does_not_count_as_an_attempt() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    for (queue, kind) in [(Queue::Events, APPLY), (Queue::Charges, CALL)] {
        let (_, row) = run(&bench, queue, kind, "snooze").await;
        assert_eq!(
            (row.state.as_str(), row.attempt, row.dispatched),
            ("available", 0, false)
        );
        assert!((3590.0..=3600.0).contains(&row.due_in_secs), "{row:?}");
    }
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_payload_that_does_not_parse_is_discarded_at_once() {
    let Some(bench) = Bench::start().await else { return };
    let worker = bench.worker(Options::default());
    let id = bench
        .enqueue(
            bench
                .job(Queue::Events, APPLY, "1", json!({ "takes_ms": "soon" }))
                .await,
        )
        .await;
    bench
        .until("select count(*) from jobs where state = 'discarded'", 1)
        .await;
    assert!(bench.row(id).await.last_error.unwrap().contains("does not parse"));
    worker.drain().await;
    bench.finish().await;
}
