//! P4: Redis may forget everything, and be away, at any time: nothing is lost, nothing happens twice, webhooks are still
//! accepted, and work goes on soon after it is back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{World, WorldOptions, event};
use tokio::time::Instant;

use crate::{
    cast::{self, AMOUNT_MINOR, Payer},
    deliveries::{self, Deliveries},
};

/// Senders of webhooks at a time: about a hundred a second.
const SENDERS: usize = 2;

/// What the promise gives work to resume after Redis is back.
const RESUMES_WITHIN: Duration = Duration::from_secs(30);

/// For the backlog of the whole story, on a machine that may have two cores.
const DRAINS_WITHIN: Duration = Duration::from_secs(90);

/// Jobs that wait or run.
const OPEN: &str =
    "select count(*) from jobs where state in ('available', 'retryable', 'running') and run_at <= app.now()";
const FINISHED: &str = "select count(*) from jobs where state = 'completed'";

/// B-19.
#[tokio::test]
async fn load_p4_redis_is_emptied_and_stopped_under_load_and_nothing_is_lost_or_done_twice() {
    let mut world = World::start(WorldOptions {
        workers: 2,
        ..WorldOptions::default()
    })
    .await;
    let payers = Payer::crowd("acme", 40);
    let (first, rest) = payers.split_at(10);
    let (second, third) = rest.split_at(10);
    let stream = Deliveries::begin(&world, SENDERS);

    // Emptied, again and again, with charges on their way.
    cast::enter(&world, first, &[]).await;
    for _ in 0..5 {
        world.redis.flushall().await.unwrap();
        stream.pass(50, DRAINS_WITHIN).await;
    }
    // Gone, with charges on their way and more to come.
    cast::enter(&world, second, &[]).await;
    world.redis.stop().await.unwrap();
    cast::enter(&world, third, &[]).await;
    stream.pass(600, DRAINS_WITHIN).await;
    assert!(world.count(OPEN).await >= 500, "somebody works without Redis");

    // Back, and knows nothing any more: the append-only file is there, and emptied at once.
    world.redis.start().await.unwrap();
    world.redis.flushall().await.unwrap();
    let (back, finished) = (Instant::now(), world.count(FINISHED).await);
    while world.count(FINISHED).await == finished {
        assert!(back.elapsed() < RESUMES_WITHIN, "no work for {RESUMES_WITHIN:?}");
        stream.pass(1, RESUMES_WITHIN).await;
    }
    eprintln!("work resumed {:?} after Redis was back", back.elapsed());
    let told = stream.end().await;
    world.settle_within(DRAINS_WITHIN).await;

    let refused = told.iter().filter(|told| !told.is_acknowledged()).count();
    assert_eq!(refused, 0, "webhooks were refused while Redis was away");
    deliveries::assert_acknowledged_is_stored(&world, &told).await;
    deliveries::assert_every_event_ended(&world).await;
    let captured = i64::try_from(payers.len()).unwrap() * AMOUNT_MINOR;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), captured);
    assert_eq!(
        world.count("select sum(amount_minor) from payments").await,
        captured
    );
    assert_eq!(
        world.count("select count(*) from payment_attempts").await,
        i64::try_from(payers.len()).unwrap()
    );
}

#[tokio::test]
async fn p4_what_is_started_while_redis_is_away_loses_nothing_and_works_when_redis_is_back() {
    let mut world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    world.redis.stop().await.unwrap();
    // To the ingress it is nothing: this waits until it is ready.
    world.start_ingress().await;
    let worker = world.begin_worker();
    let leaver = world.begin_worker();
    for started in [worker, leaver] {
        world
            .until_worker_says(started, "/startupz", 200, RESUMES_WITHIN)
            .await;
    }

    let told = world
        .until_worker_says(worker, "/readyz", 503, RESUMES_WITHIN)
        .await;
    let checks = serde_json::from_str::<Value>(&told).unwrap()["checks"].clone();
    assert_eq!(checks["redis"]["ok"], false, "{told}");
    for unconcerned in ["database", "heartbeat", "scheduler", "not_draining"] {
        assert_eq!(checks[unconcerned]["ok"], true, "{unconcerned}: {told}");
    }
    assert_eq!(world.worker_admin(worker, "/livez").await.0, 200);
    let printed = world.workers[worker].output();
    let says = printed.matches("Redis of REDIS_URL cannot be reached").count();
    assert_eq!(says, 1, "{printed}");
    assert!(printed.contains(" waits for Redis, admin http://"), "{printed}");

    // All that comes now is taken in, and waits.
    let payers = Payer::crowd("acme", 10);
    cast::enter(&world, &payers, &[]).await;
    for n in 0..5 {
        let product = json!({ "object": "product", "id": format!("prod_{n}") });
        world.deliver(&event("product.created", product)).await;
    }
    assert_eq!(world.count(FINISHED).await, 0);
    assert!(world.count(OPEN).await >= 15);
    // A worker that never saw Redis stops as cleanly as any other.
    assert_eq!(world.sigterm(leaver).await, 0);

    world.redis.start().await.unwrap();
    let back = Instant::now();
    world.until(OPEN, 0, RESUMES_WITHIN).await;
    world
        .until_worker_says(worker, "/readyz", 200, RESUMES_WITHIN)
        .await;
    eprintln!(
        "ready with all work done {:?} after Redis was back",
        back.elapsed()
    );
    world.settle().await;
    let count = i64::try_from(payers.len()).unwrap();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        count * AMOUNT_MINOR
    );
    for table in ["payments", "payment_attempts"] {
        assert_eq!(world.count(&format!("select count(*) from {table}")).await, count);
    }
    deliveries::assert_every_event_ended(&world).await;
}
