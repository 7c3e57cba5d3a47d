//! SIGTERM under load: no request is cut off, no job is lost or run twice, and both programs end with 0 in time.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::json;
use tests::world::{World, WorldOptions};
use tokio::time::Instant;

use crate::{
    cast::{self, AMOUNT_MINOR, Payer},
    deliveries::{self, Deliveries},
};

/// Senders of webhooks at a time.
const SENDERS: usize = 8;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn load_sigterm_to_the_ingress_cuts_no_request_off_and_forgets_none() {
    let mut world = World::start(WorldOptions {
        workers: 1,
        grace_secs: 10,
        ..WorldOptions::default()
    })
    .await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let stream = Deliveries::begin(&world, SENDERS);
        stream.pass(200, PATIENCE).await;
        let asked = Instant::now();
        assert_eq!(world.sigterm_ingress().await, 0);
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        told.extend(stream.end().await);
        world.start_ingress().await;
    }
    for told in &told {
        match &told.answer {
            Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
            // Not a byte of it was sent.
            Err(tests::world::Error::Http(fault)) if fault.is_connect() => {}
            Err(fault) => panic!("{} was cut off: {fault:?}", told.id()),
        }
    }
    let acknowledged = deliveries::assert_acknowledged_is_stored(&world, &told).await;
    assert!(acknowledged >= 400, "only {acknowledged}");
    world.settle_within(PATIENCE).await;
    assert_eq!(
        world.count("select count(*) from stripe_events").await,
        i64::try_from(acknowledged).unwrap(),
        "what is stored was acknowledged"
    );
    deliveries::assert_every_event_ended(&world).await;
}

#[tokio::test]
async fn load_sigterm_to_workers_loses_no_job_and_runs_none_twice() {
    let mut world = World::start(WorldOptions {
        workers: 2,
        grace_secs: 15,
        ..WorldOptions::default()
    })
    .await;
    // Charges take their time, so that each worker has some in hand whenever it is asked to stop.
    let slow = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "delay_after_effect", "ms": 300, "times": 1000 });
    world.sim.fault(slow).await.unwrap();
    let payers = Payer::crowd("acme", 60);
    let stream = Deliveries::begin(&world, 2);
    cast::enter(&world, &payers, &[]).await;
    // One after the other is asked to stop, and the next takes its place: a rolling deployment.
    for old in 0..3 {
        stream.pass(50, PATIENCE).await;
        assert_eq!(world.sigterm(old).await, 0);
        world.add_worker().await;
    }
    let told = stream.end().await;
    world.settle_within(PATIENCE).await;

    deliveries::assert_acknowledged_is_stored(&world, &told).await;
    deliveries::assert_every_event_ended(&world).await;
    deliveries::assert_every_job_ran_once(&world).await;
    let count = i64::try_from(payers.len()).unwrap();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        count * AMOUNT_MINOR
    );
    for table in ["payments", "payment_attempts"] {
        assert_eq!(
            world.count(&format!("select count(*) from {table}")).await,
            count,
            "{table}"
        );
    }
}

/// A job that does not end within the grace time is cut off and given back: it costs no attempt, and its charge, which
/// Stripe has made, is looked up by the next worker and not made again.
#[tokio::test]
async fn load_sigterm_gives_back_what_does_not_end_in_time() {
    let mut world = World::start(WorldOptions {
        grace_secs: 2,
        stripe_timeout_secs: 60,
        ..WorldOptions::default()
    })
    .await;
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    let held = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_after" });
    world.sim.fault(held).await.unwrap();
    let payer = Payer::of("acme", "globex");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.until_held(1).await;
    let asked = Instant::now();
    assert_eq!(world.sigterm(0).await, 0);
    assert!(
        asked.elapsed() < Duration::from_secs(2 + 5),
        "{:?}",
        asked.elapsed()
    );
    let given_back = "select format('%s attempt %s crashes %s', state, attempt, crashes) from jobs where kind = 'collect_invoice'";
    assert_eq!(world.texts(given_back).await, ["available attempt 0 crashes 0"]);
    assert_eq!(world.count("select count(*) from workers").await, 0);

    world.add_worker().await;
    world.settle_within(PATIENCE).await;
    assert_eq!(world.texts(given_back).await, ["completed attempt 1 crashes 0"]);
    assert_eq!(payer.status(&world).await, "paid");
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), AMOUNT_MINOR);
    assert_eq!(world.count("select count(*) from payment_attempts").await, 1);
}
