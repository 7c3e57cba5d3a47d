//! What Redis does to us, and what we must not do to it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::json;
use shared::{ids::FirmId, store::jobs::Queue};

use super::{
    bench::{Bench, Options},
    kinds::APPLY,
};
use crate::queue::{gate::lane_name, relay::LANE_BOUND};

const COMPLETED: &str = "select count(*) from jobs where state = 'completed'";

/// The deepest that the lane was seen while something ran.
struct Depth {
    deepest: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    watcher: tokio::task::JoinHandle<()>,
}

impl Depth {
    async fn watch(bench: &Bench) -> Self {
        let mut redis = bench.redis().await;
        let (deepest, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, done) = (deepest.clone(), stop.clone());
        let lane = lane_name(Queue::Events);
        let watcher = tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let (scheduled, active): (usize, usize) = redis::pipe()
                    .zcard(format!("{lane}:scheduled"))
                    .llen(format!("{lane}:active"))
                    .query_async(&mut redis)
                    .await
                    .unwrap();
                seen.fetch_max(scheduled + active, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        });
        Self {
            deepest,
            stop,
            watcher,
        }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.await.unwrap();
        self.deepest.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_due_in_the_same_second_drain_without_filling_the_lane() {
    let Some(bench) = Bench::start().await else { return };
    bench.enqueue_many(None, "bulk", 10_000).await;
    let depth = Depth::watch(&bench).await;
    let workers = [bench.worker(Options::default()), bench.worker(Options::default())];
    bench
        .until_within(COMPLETED, 10_000, std::time::Duration::from_secs(180))
        .await;
    let deepest = depth.end().await;
    assert!(deepest > 0, "nobody watched");
    assert!(deepest <= LANE_BOUND, "{deepest} ids in the lane");
    assert_eq!(bench.count("select count(*) from effects").await, 10_000);
    assert_eq!(
        bench.count("select count(distinct job_id) from effects").await,
        10_000
    );
    for worker in workers {
        worker.drain().await;
    }
    // What apalis keeps of finished ids has been swept but for the last batches.
    let mut redis = bench.redis().await;
    let kept: usize = redis::cmd("HLEN")
        .arg(format!("{}:data", lane_name(Queue::Events)))
        .query_async(&mut redis)
        .await
        .unwrap();
    assert!(kept <= 1000, "{kept} finished ids kept");
    bench.finish().await;
}

/// B-19.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_redis_forgetting_everything_twice_loses_and_doubles_nothing() {
    let Some(bench) = Bench::start().await else { return };
    bench.enqueue_many(None, "bulk", 3000).await;
    let workers = [bench.worker(Options::default()), bench.worker(Options::default())];
    let mut redis = bench.redis().await;
    for reached in [300, 1200] {
        bench.until(COMPLETED, reached).await;
        let flushed: String = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
        assert_eq!(flushed, "OK");
    }
    bench.until(COMPLETED, 3000).await;
    assert_eq!(bench.count("select count(*) from effects").await, 3000);
    assert_eq!(
        bench.count("select count(distinct job_id) from effects").await,
        3000
    );
    assert_eq!(bench.count("select max(attempt)::bigint from jobs").await, 1);
    for worker in workers {
        worker.drain().await;
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_work_resumes_when_redis_comes_back_empty() {
    let Some(mut bench) = Bench::start().await else {
        return;
    };
    let worker = bench.worker(Options::default());
    bench.enqueue_many(None, "before", 100).await;
    bench.until(COMPLETED, 50).await;
    bench.restart_redis();
    bench.enqueue_many(None, "after", 100).await;
    bench
        .until_within(COMPLETED, 200, std::time::Duration::from_secs(30))
        .await;
    assert_eq!(bench.count("select count(*) from effects").await, 200);
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_firms_bulk_run_does_not_starve_another_firm() {
    let Some(bench) = Bench::start().await else { return };
    let (large, small) = (FirmId::new(), FirmId::new());
    bench.enqueue_many(Some(large), "large", 5000).await;
    let worker = bench.worker(Options::default());
    bench.until(COMPLETED, 100).await;
    bench.enqueue_many(Some(small), "small", 20).await;
    bench
        .until(
            "select count(*) from jobs j where j.state = 'completed' and j.dedupe_key like 'small%'",
            20,
        )
        .await;
    let of_large = bench
        .count("select count(*) from jobs j where j.state = 'completed' and j.dedupe_key like 'large%'")
        .await;
    assert!(of_large < 2500, "{of_large} jobs of the large firm came first");
    bench
        .execute("delete from jobs where state in ('available', 'retryable')")
        .await;
    worker.drain().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_paused_queue_rests_and_goes_on_when_resumed() {
    let Some(bench) = Bench::start().await else { return };
    bench
        .execute("insert into queue_pauses (queue, paused_at, reason, by) values ('events', now(), 'test', 'test')")
        .await;
    let worker = bench.worker(Options::default());
    let id = bench
        .enqueue(bench.job(Queue::Events, APPLY, "1", json!({})).await)
        .await;
    bench
        .enqueue(
            bench
                .job(Queue::Charges, super::kinds::CALL, "2", json!({}))
                .await,
        )
        .await;
    bench.until(COMPLETED, 1).await;
    assert_eq!(bench.row(id).await.state, "available");
    bench.execute("delete from queue_pauses").await;
    bench.until(COMPLETED, 2).await;
    worker.drain().await;
    bench.finish().await;
}
