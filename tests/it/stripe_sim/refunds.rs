//! Refunds: how much, how often, and what comes back.
use serde_json::{Value, json};

use super::program::Simulator;
use super::text;

#[tokio::test]
async fn refunds_add_up_to_the_charge_and_not_beyond() {
    let sim = Simulator::start().await;
    let (intent, charge) = sim.paid().await;
    sim.post("/refunds", &format!("charge={charge}&amount=1500"))
        .await
        .ok();
    let (status, error) = sim
        .post("/refunds", &format!("charge={charge}&amount=501"))
        .await
        .refused();
    assert_eq!((status, text(&error, "param")), (400, "amount"));
    sim.post("/refunds", &format!("payment_intent={intent}"))
        .await
        .ok();
    let (status, error) = sim.post("/refunds", &format!("charge={charge}")).await.refused();
    assert_eq!((status, text(&error, "code")), (400, "charge_already_refunded"));
    let books = sim.look("/books").await;
    assert_eq!(books["refunded_minor"], json!({ "usd": 2000 }));
    let found = sim.get(&format!("/charges/{charge}")).await.ok();
    assert_eq!(
        (&found["amount_refunded"], &found["refunded"]),
        (&json!(2000), &json!(true))
    );
}

#[tokio::test]
async fn a_pending_refund_that_fails_gives_the_money_back() {
    let sim = Simulator::start().await;
    let (_, charge) = sim.paid().await;
    let before = sim.look("/books").await["balance_net_minor"].clone();
    let refund = sim
        .control(
            "/refunds",
            json!({ "charge": charge, "amount": 700, "outcome": "pending" }),
        )
        .await;
    let id = text(&refund, "id");
    let pending = sim.look("/books").await;
    assert_eq!(
        (&pending["refunded_minor"], &pending["refunds_pending_minor"]),
        (&json!({}), &json!({ "usd": 700 }))
    );

    let failed = sim
        .control(&format!("/refunds/{id}"), json!({ "status": "failed" }))
        .await;
    assert_eq!(text(&failed, "failure_reason"), "expired_or_canceled_card");
    let txn = text(&failed, "failure_balance_transaction");
    assert_eq!(
        sim.get(&format!("/balance_transactions/{txn}")).await.ok()["amount"],
        700
    );
    assert_eq!(sim.look("/books").await["balance_net_minor"], before);
    assert_eq!(
        sim.get(&format!("/charges/{charge}")).await.ok()["amount_refunded"],
        0
    );
    let types = sim.event_types().await;
    let expected = [
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "charge.refund.updated",
        "refund.failed",
    ];
    assert_eq!(types[3..], expected);
}

#[tokio::test]
async fn a_pending_refund_succeeds_once() {
    let sim = Simulator::start().await;
    sim.control(
        "/cards",
        json!({ "payment_method": "pm_1", "refunds": "pending" }),
    )
    .await;
    let (_, charge) = sim.paid().await;
    let refund: Value = sim
        .post("/refunds", &format!("charge={charge}&reason=duplicate"))
        .await
        .ok();
    assert_eq!(text(&refund, "status"), "pending");
    let path = format!("/refunds/{}", text(&refund, "id"));
    sim.control(&path, json!({ "status": "succeeded" })).await;
    assert_eq!(
        sim.control_refused(&path, json!({ "status": "canceled" }))
            .await
            .0,
        400
    );
    assert_eq!(sim.look("/books").await["refunded_minor"], json!({ "usd": 2000 }));
}

#[tokio::test]
async fn a_card_can_be_one_whose_refunds_fail() {
    let sim = Simulator::start().await;
    let form = "amount=2000&currency=usd&payment_method=pm_card_refundFail&confirm=true";
    let paid = sim.post("/payment_intents", form).await.ok();
    let refund = sim
        .post("/refunds", &format!("payment_intent={}", text(&paid, "id")))
        .await
        .ok();
    assert_eq!(text(&refund, "status"), "failed");
    assert_eq!(sim.look("/books").await["refunded_minor"], json!({}));
}
