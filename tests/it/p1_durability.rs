//! P1: a 2xx means that the event and its job are committed. And what was stored is not lost by whoever handles it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::json;
use tests::world::{Passage, World, WorldOptions};

use crate::{
    cast::{self, Payer},
    deliveries::{self, Deliveries},
};

/// Senders of webhooks at a time.
const SENDERS: usize = 8;

/// Longer than the five seconds that Postgres has to commit.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn load_p1_a_webhook_is_acknowledged_only_once_postgres_has_it() {
    let world = World::start(WorldOptions {
        postgres_gate: true,
        workers: 1,
        ..WorldOptions::default()
    })
    .await;
    let gate = world.gate.as_ref().unwrap();
    let stream = Deliveries::begin(&world, SENDERS);
    stream.pass(100, PATIENCE).await;
    // First the server is gone, then it hangs in the middle of whatever it was doing.
    for passage in [Passage::Refused, Passage::Frozen] {
        gate.set(passage);
        stream.pass(2 * SENDERS, PATIENCE).await;
        gate.set(Passage::Open);
        stream.pass(100, PATIENCE).await;
    }
    let told = stream.end().await;

    let refused: Vec<_> = told.iter().filter(|told| !told.is_acknowledged()).collect();
    assert!(refused.len() >= SENDERS, "only {} were refused", refused.len());
    for told in &refused {
        let answer = told.answer.as_ref().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.retry_after.is_some_and(|secs| secs > 0), "{answer:?}");
    }
    let acknowledged = deliveries::assert_acknowledged_is_stored(&world, &told).await;
    assert!(acknowledged >= 300, "only {acknowledged} were acknowledged");

    // Stripe delivers again what was refused. What Postgres had committed all the same is a duplicate by then.
    for told in refused {
        world.deliver(&told.event).await;
    }
    world.settle_within(PATIENCE).await;
    let sent = i64::try_from(told.len()).unwrap();
    assert_eq!(world.count("select count(*) from stripe_events").await, sent);
    deliveries::assert_every_event_ended(&world).await;
}

/// S6, B-04: a handler that fails has not handled. S7: a redelivery of what failed is a duplicate, and loses nothing.
#[tokio::test]
async fn s6_s7_an_event_whose_handler_fails_is_kept_and_tried_again() {
    let world = World::start(WorldOptions::default()).await;
    let payer = Payer::alone("globex");
    cast::enter(&world, std::slice::from_ref(&payer), &["insufficient_funds"]).await;
    world.settle().await;

    let fault =
        json!({ "method": "GET", "path": "/v1/payment_intents/*", "kind": "500_before", "times": 1000 });
    world.sim.fault(fault).await.unwrap();
    let intent = payer.intent(&world).await;
    let order = json!({ "payment_method": payer.card });
    world
        .sim
        .post(&format!("/payment_intents/{intent}/pay"), order)
        .await
        .unwrap();
    let failed = "select count(*) from jobs j join stripe_events e on e.stripe_event_id = j.dedupe_key
                   where e.type = 'payment_intent.succeeded' and e.state = 'pending' and j.state = 'retryable'
                     and j.attempt > 0 and j.last_error is not null";
    world.until(failed, 1, PATIENCE).await;
    assert_eq!(world.count("select count(*) from payments").await, 0);

    let events = cast::events_of(&world, &payer).await;
    let succeeded = events
        .iter()
        .find(|event| event["type"] == "payment_intent.succeeded")
        .unwrap();
    let mut again = succeeded.clone();
    again.as_object_mut().unwrap().remove("sim");
    let answer = world.door.deliver(&again).await.unwrap();
    assert_eq!(answer.body, json!({ "received": true, "duplicate": true }));
    assert_eq!(
        world.count(failed).await,
        1,
        "the duplicate has changed something"
    );

    world.sim.heal().await.unwrap();
    world.advance("2h").await;
    world.settle().await;
    assert_eq!(payer.status(&world).await, "paid");
    assert_eq!(world.count("select count(*) from payments").await, 1);
    assert_eq!(
        world
            .count("select count(*) from stripe_events where state = 'pending'")
            .await,
        0
    );
}
