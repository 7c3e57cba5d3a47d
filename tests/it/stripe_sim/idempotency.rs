//! Idempotency keys over HTTP.
use serde_json::json;

use super::program::{Simulator, confirm};
use super::{text, until};

const CONFIRM: &str = "payment_method=pm_1&off_session=true";

#[tokio::test]
async fn a_success_is_replayed_and_not_repeated() {
    let sim = Simulator::start().await;
    let form = "amount=2000&currency=usd&metadata[a]=1&metadata[b]=2";
    let first = sim.post_with_key("/payment_intents", form, "k").await;
    let again = sim
        .post_with_key(
            "/payment_intents",
            "metadata[b]=2&metadata[a]=1&currency=usd&amount=2000",
            "k",
        )
        .await;
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("original-request"), first.header("request-id"));
    assert_ne!(again.header("request-id"), first.header("request-id"));
    assert_eq!(first.ok(), again.ok());
    assert_eq!(sim.event_types().await, ["payment_intent.created"]);
}

#[tokio::test]
async fn a_decline_is_replayed_without_asking_the_card_again() {
    let sim = Simulator::start().await;
    sim.control(
        "/cards",
        json!({ "payment_method": "pm_1", "script": ["insufficient_funds"] }),
    )
    .await;
    let intent = sim.intent().await;
    for replayed in [None, Some("true")] {
        let answer = sim.post_with_key(&confirm(&intent), CONFIRM, "k1").await;
        assert_eq!(answer.header("idempotent-replayed"), replayed);
        assert_eq!(answer.status, 402);
    }
    sim.post_with_key(&confirm(&intent), CONFIRM, "k2").await.ok();
    let books = sim.look("/books").await;
    assert_eq!(
        books["by_payment_intent"][&intent]["charges"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn other_parameters_under_the_same_key_are_an_error() {
    let sim = Simulator::start().await;
    sim.post_with_key("/payment_intents", "amount=2000&currency=usd", "k")
        .await
        .ok();
    let (status, error) = sim
        .post_with_key("/payment_intents", "amount=2001&currency=usd", "k")
        .await
        .refused();
    assert_eq!((status, text(&error, "type")), (400, "idempotency_error"));
}

#[tokio::test]
async fn a_key_in_use_is_a_conflict_until_its_request_is_done() {
    let sim = Simulator::start().await;
    let intent = sim.intent().await;
    sim.trouble_confirming("hold_before", 0).await;
    let first = sim
        .form(&confirm(&intent), CONFIRM)
        .header("idempotency-key", "k");
    let first = tokio::spawn(first.send());
    until("the call at the barrier", async || {
        (sim.look("/faults").await["holding"] == 1).then_some(())
    })
    .await;

    let (status, error) = sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.refused();
    assert_eq!((status, text(&error, "code")), (409, "idempotency_key_in_use"));
    assert_eq!(sim.captured().await, 0);

    assert_eq!(sim.control("/release", json!({})).await["released"], 1);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    let again = sim.post_with_key(&confirm(&intent), CONFIRM, "k").await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (200, Some("true"))
    );
}

#[tokio::test]
async fn what_never_began_is_not_remembered() {
    let sim = Simulator::start().await;
    assert_eq!(
        sim.post_with_key("/payment_intents", "amount=1&currency=usd", "k")
            .await
            .status,
        400
    );
    sim.post_with_key("/payment_intents", "amount=2000&currency=usd", "k")
        .await
        .ok();
    let intent = sim.intent().await;
    sim.trouble_confirming("429", 0).await;
    assert_eq!(
        sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.status,
        429
    );
    sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.ok();
}

#[tokio::test]
async fn a_day_later_the_same_key_charges_again() {
    let sim = Simulator::start().await;
    let form = "amount=2000&currency=usd&payment_method=pm_1&confirm=true";
    sim.post_with_key("/payment_intents", form, "k").await.ok();
    sim.control("/clock", json!({ "offset_ms": 24 * 3600 * 1000 - 60_000 }))
        .await;
    sim.post_with_key("/payment_intents", form, "k").await.ok();
    assert_eq!(sim.captured().await, 2000, "still the first");
    sim.control("/clock", json!({ "offset_ms": 24 * 3600 * 1000 }))
        .await;
    sim.post_with_key("/payment_intents", form, "k").await.ok();
    assert_eq!(sim.captured().await, 4000, "a new request");
}
