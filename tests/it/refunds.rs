//! Refunds that the firm makes at Stripe's dashboard: recorded once each, by their own id, and nothing else follows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme;

/// R075.
#[tokio::test]
async fn s13_refunds_at_the_dashboard_are_recorded_once_and_have_no_second_effect() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["partly", "fully", "bounced", "moved"];
    acme::open_accounts(&world, &clients.map(|client| (client, &[][..]))).await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    // Every change is told under two ids, and every event comes twice.
    world
        .sim
        .webhooks(json!({ "double": true, "duplicate": 1 }))
        .await
        .unwrap();
    refund(&world, "partly", json!({ "amount": 30_000 })).await;
    refund(&world, "fully", json!({ "amount": 30_000 })).await;
    refund(&world, "fully", json!({ "amount": 70_000 })).await;
    refund(&world, "bounced", json!({ "outcome": "failed" })).await;
    let pending = refund(&world, "moved", json!({ "outcome": "pending" })).await;
    world.settle().await;
    assert_eq!(states(&world, "moved").await, ["pending 100000"]);
    let path = format!("/refunds/{}", pending["id"].as_str().unwrap());
    world
        .sim
        .post(&path, json!({ "status": "succeeded" }))
        .await
        .unwrap();
    world.settle().await;

    assert_eq!(states(&world, "partly").await, ["succeeded 30000"]);
    assert_eq!(
        states(&world, "fully").await,
        ["succeeded 30000", "succeeded 70000"]
    );
    assert_eq!(states(&world, "bounced").await, ["failed 100000"]);
    assert_eq!(states(&world, "moved").await, ["succeeded 100000"]);
    let paid = "paid succeeded: auto 0 succeeded";
    let refunded = "refunded succeeded: auto 0 succeeded";
    let outcomes = [
        ("partly", paid),
        ("fully", refunded),
        ("bounced", paid),
        ("moved", refunded),
    ];
    acme::assert_outcomes(&world, &outcomes).await;
    acme::assert_books_agree(&world).await;

    // What was given back is not collected again.
    world.advance("20d").await;
    acme::assert_nothing_is_due(&world).await;
    acme::assert_outcomes(&world, &outcomes).await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 400_000);
    let told = "select count(*) from audit_events where action = 'refund.succeeded'";
    assert_eq!(world.count(told).await, 4);
}

#[tokio::test]
async fn a_refund_that_is_told_before_its_payment_brings_the_payment_along() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    let lost = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "reset_after" });
    world.sim.fault(lost).await.unwrap();
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "processing unknown: auto 0 unknown")]).await;
    refund(&world, "globex", json!({ "amount": 100_000 })).await;
    for event in world.sim.events().await.unwrap() {
        if event["type"] == "charge.refunded" {
            let path = format!("/events/{}/deliver", event["id"].as_str().unwrap());
            world.sim.post(&path, json!({})).await.unwrap();
        }
    }
    world.settle().await;
    let refunded = [("globex", "refunded succeeded: auto 0 succeeded")];
    acme::assert_outcomes(&world, &refunded).await;
    acme::assert_books_agree(&world).await;

    world
        .sim
        .webhooks(json!({ "paused": false, "shuffle": true }))
        .await
        .unwrap();
    world.advance("10m").await;
    world.settle().await;
    acme::assert_outcomes(&world, &refunded).await;
    assert_eq!(states(&world, "globex").await, ["succeeded 100000"]);
    acme::assert_books_agree(&world).await;
}

/// A refund from the dashboard, for the one PaymentIntent of a client.
async fn refund(world: &World, client: &str, mut order: Value) -> Value {
    order["payment_intent"] = acme::intent(world, client).await.0.into();
    world.sim.post("/refunds", order).await.unwrap()
}

/// The refunds of a client's payments: state and amount.
async fn states(world: &World, client: &str) -> Vec<String> {
    let refunds = format!(
        "select r.state || ' ' || r.amount_minor from refunds r join payments p on p.id = r.payment_id
           join clients c on c.id = p.client_id where c.external_id = '{client}' order by r.amount_minor"
    );
    world.texts(&refunds).await
}
