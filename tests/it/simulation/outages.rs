//! Redis and PostgreSQL are away while webhooks come at full rate: short in `tests/run`, in full length in `tests/soak --outages`.

use std::time::Duration;

use serde_json::json;
use tests::world::{Passage, World, WorldOptions};
use tokio::time::Instant;

use super::{
    invariants,
    settings::{self, Figures},
};
use crate::{
    cast::{self, AMOUNT_MINOR, Payer},
    deliveries::{self, Deliveries},
};

/// Senders of webhooks at a time, of fifty a second each.
const SENDERS: usize = 4;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// After Redis is back.
const PROCESSED_WITHIN: Duration = Duration::from_secs(30);

/// Jobs that wait or run.
const OPEN: &str =
    "select count(*) from jobs where state in ('available', 'retryable', 'running') and run_at <= app.now()";

/// Webhooks come for this long.
async fn pass_for(stream: &Deliveries, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        stream.pass(1, PATIENCE).await;
    }
}

/// Everybody has paid, and nobody twice.
async fn assert_paid_once(world: &World, payers: &[Payer]) {
    let count = i64::try_from(payers.len()).unwrap();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        count * AMOUNT_MINOR
    );
    assert_eq!(
        world
            .count("select count(*) from invoice_status where status = 'paid'")
            .await,
        count
    );
}

#[tokio::test]
async fn load_p4_redis_is_stopped_under_200_webhooks_a_second_and_each_is_answered_200() {
    let outage = settings::outage(8, 60);
    let mut world = World::start(WorldOptions {
        workers: 2,
        ..WorldOptions::default()
    })
    .await;
    let stream = Deliveries::begin(&world, SENDERS);
    stream.pass(100, PATIENCE).await;
    world.redis.stop().await.unwrap();
    let payers = Payer::crowd("acme", 20);
    cast::enter(&world, &payers, &[]).await;
    pass_for(&stream, outage).await;
    world.redis.start().await.unwrap();
    let back = Instant::now();
    let told = stream.end().await;
    world.until(OPEN, 0, PROCESSED_WITHIN).await;
    let drained = back.elapsed();

    let refused = told.iter().filter(|told| !told.is_acknowledged()).count();
    assert_eq!(refused, 0, "webhooks were refused while Redis was away");
    assert_eq!(
        deliveries::assert_acknowledged_is_stored(&world, &told).await,
        told.len()
    );
    world.settle_within(PATIENCE).await;
    deliveries::assert_every_event_ended(&world).await;
    assert_paid_once(&world, &payers).await;
    let mut figures = Figures::default();
    invariants::count_harm(&world, payers.iter(), &mut figures).await;
    figures.report(
        "redis_stopped",
        json!({
            "outage_secs": outage.as_secs(), "webhooks": told.len(), "refused": refused,
            "processed_secs_after_return": drained.as_secs_f64(),
        }),
    );
}

#[tokio::test]
async fn load_p1_postgres_is_stopped_under_webhooks_and_nothing_is_lost() {
    let outage = settings::outage(4, 20);
    let world = World::start(WorldOptions {
        workers: 2,
        postgres_gate: true,
        ..WorldOptions::default()
    })
    .await;
    let gate = world.gate.as_ref().unwrap();
    let payers = Payer::crowd("acme", 20);
    cast::enter(&world, &payers, &[]).await;
    let stream = Deliveries::begin(&world, SENDERS);
    stream.pass(50, PATIENCE).await;
    gate.set(Passage::Refused);
    pass_for(&stream, outage).await;
    gate.set(Passage::Open);
    stream.pass(100, PATIENCE).await;
    let told = stream.end().await;

    let (taken, refused): (Vec<_>, Vec<_>) = told.iter().partition(|told| told.is_acknowledged());
    assert!(
        !taken.is_empty() && refused.len() >= SENDERS,
        "{} refused",
        refused.len()
    );
    for told in &refused {
        let answer = told.answer.as_ref().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(
        deliveries::assert_acknowledged_is_stored(&world, &told).await,
        taken.len()
    );
    // Stripe delivers again what was refused.
    for told in &refused {
        world.deliver(&told.event).await;
    }
    world.settle_within(PATIENCE).await;
    // Stripe's own events of the payments come on top.
    assert_eq!(
        world
            .count("select count(*) from stripe_events where type = 'customer.updated'")
            .await,
        i64::try_from(told.len()).unwrap()
    );
    deliveries::assert_every_event_ended(&world).await;
    // A call whose record was lost with the connection is believed to have had no effect only after a while, and is made again
    // a minute after that was found.
    for _ in 0..2 {
        crate::acme::age_calls(&world).await;
        world.advance("2h").await;
        world.settle_within(PATIENCE).await;
    }
    assert_paid_once(&world, &payers).await;
    let mut figures = Figures::default();
    invariants::count_harm(&world, payers.iter(), &mut figures).await;
    figures.report(
        "postgres_stopped",
        json!({
            "outage_secs": outage.as_secs(), "webhooks": told.len(), "answered_503": refused.len(),
        }),
    );
}
