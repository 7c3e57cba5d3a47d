//! Disputes: which ones move money, when, and how much of it comes back.
use serde_json::{Value, json};

use super::program::Simulator;
use super::text;

async fn act(sim: &Simulator, dispute: &Value, action: &str) -> Value {
    sim.control(
        &format!("/disputes/{}", text(dispute, "id")),
        json!({ "action": action }),
    )
    .await
}

async fn disputed_net(sim: &Simulator) -> Value {
    sim.look("/books").await["disputed_net_minor"]["usd"].clone()
}

#[tokio::test]
async fn a_chargeback_takes_amount_and_fee_and_a_win_gives_the_amount_back() {
    let sim = Simulator::start().await;
    let (intent, charge) = sim.paid().await;
    let dispute = sim
        .control(
            "/disputes",
            json!({ "payment_intent": intent, "kind": "chargeback" }),
        )
        .await;
    assert_eq!(
        (text(&dispute, "status"), text(&dispute, "charge")),
        ("needs_response", charge.as_str())
    );
    let withdrawal = &dispute["balance_transactions"][0];
    assert_eq!(
        (text(withdrawal, "type"), text(withdrawal, "reporting_category")),
        ("adjustment", "dispute")
    );
    assert_eq!(
        [&withdrawal["amount"], &withdrawal["fee"], &withdrawal["net"]],
        [-2000, 1500, -3500]
    );
    assert_eq!(disputed_net(&sim).await, -3500);

    let (status, error) = sim.post("/refunds", &format!("charge={charge}")).await.refused();
    assert_eq!((status, text(&error, "code")), (400, "charge_disputed"));

    assert_eq!(
        text(&act(&sim, &dispute, "under_review").await, "status"),
        "under_review"
    );
    let won = act(&sim, &dispute, "win").await;
    assert_eq!(text(&won, "status"), "won");
    assert_eq!(won["balance_transactions"].as_array().unwrap().len(), 2);
    assert_eq!(disputed_net(&sim).await, -1500, "the fee is kept");
    let expected = [
        "created",
        "funds_withdrawn",
        "updated",
        "closed",
        "funds_reinstated",
    ];
    assert_eq!(
        sim.event_types().await[3..],
        expected.map(|what| format!("charge.dispute.{what}"))
    );
    sim.post("/refunds", &format!("charge={charge}")).await.ok();
}

#[tokio::test]
async fn a_lost_chargeback_keeps_the_money_and_forbids_refunds() {
    let sim = Simulator::start().await;
    let (_, charge) = sim.paid().await;
    let order = json!({ "charge": charge, "kind": "chargeback", "amount": 800, "fee": 2000 });
    let dispute = sim.control("/disputes", order).await;
    assert_eq!(text(&act(&sim, &dispute, "lose").await, "status"), "lost");
    assert_eq!(disputed_net(&sim).await, -2800);
    assert_eq!(
        sim.post("/refunds", &format!("charge={charge}&amount=100"))
            .await
            .status,
        400
    );
    let path = format!("/disputes/{}", text(&dispute, "id"));
    assert_eq!(
        sim.control_refused(&path, json!({ "action": "win" })).await.0,
        400,
        "it is over"
    );
}

#[tokio::test]
async fn an_inquiry_moves_nothing_until_it_escalates() {
    let sim = Simulator::start().await;
    let (_, charge) = sim.paid().await;
    let inquiry = sim
        .control("/disputes", json!({ "charge": charge, "kind": "inquiry" }))
        .await;
    assert_eq!(text(&inquiry, "status"), "warning_needs_response");
    assert_eq!(
        (&inquiry["balance_transactions"], &inquiry["is_charge_refundable"]),
        (&json!([]), &json!(true))
    );
    sim.post("/refunds", &format!("charge={charge}&amount=300"))
        .await
        .ok();
    assert_eq!(disputed_net(&sim).await, Value::Null);

    let escalated = act(&sim, &inquiry, "escalate").await;
    assert_eq!(text(&escalated, "status"), "needs_response");
    assert_eq!(
        escalated["amount"], 1700,
        "what was refunded is not withdrawn again"
    );
    assert_eq!(disputed_net(&sim).await, -3200);
}

#[tokio::test]
async fn a_closed_inquiry_costs_nothing() {
    let sim = Simulator::start().await;
    let (_, charge) = sim.paid().await;
    let inquiry = sim
        .control("/disputes", json!({ "charge": charge, "kind": "inquiry" }))
        .await;
    assert_eq!(
        text(&act(&sim, &inquiry, "close_inquiry").await, "status"),
        "warning_closed"
    );
    assert_eq!(disputed_net(&sim).await, Value::Null);
    assert_eq!(
        sim.event_types().await[3..],
        ["charge.dispute.created", "charge.dispute.closed"]
    );
}

#[tokio::test]
async fn a_prevented_chargeback_gives_everything_back() {
    let sim = Simulator::start().await;
    let (_, charge) = sim.paid().await;
    let dispute = sim
        .control("/disputes", json!({ "charge": charge, "kind": "chargeback" }))
        .await;
    assert_eq!(text(&act(&sim, &dispute, "prevent").await, "status"), "prevented");
    assert_eq!(disputed_net(&sim).await, 0);
}

#[tokio::test]
async fn a_charge_can_be_disputed_again_but_not_for_money_that_is_gone() {
    let sim = Simulator::start().await;
    let (_, charge) = sim.paid().await;
    let order = json!({ "charge": charge, "kind": "chargeback", "amount": 1500 });
    let first = sim.control("/disputes", order.clone()).await;
    assert_eq!(
        sim.control_refused("/disputes", order).await.0,
        400,
        "only 500 are left"
    );
    let rest = sim
        .control("/disputes", json!({ "charge": charge, "kind": "chargeback" }))
        .await;
    assert_eq!(rest["amount"], 500);
    act(&sim, &first, "win").await;
    sim.control(
        "/disputes",
        json!({ "charge": charge, "kind": "chargeback", "amount": 1500 }),
    )
    .await;
    let listed = sim.get(&format!("/disputes?charge={charge}")).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_test_card_can_dispute_by_itself() {
    let sim = Simulator::start().await;
    let form = "amount=2000&currency=usd&payment_method=pm_card_createDispute&confirm=true";
    sim.post("/payment_intents", form).await.ok();
    assert_eq!(disputed_net(&sim).await, -3500);
}
