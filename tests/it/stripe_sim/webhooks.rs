//! Webhooks: what is delivered, how it is signed, and every way it can go wrong.
use std::collections::HashSet;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::listener::{Delivery, Listener};
use super::program::{Simulator, confirm};
use super::{text, until};

const SECRETS: [&str; 2] = ["whsec_one", "whsec_two"];
const OF_A_PAYMENT: [&str; 3] = [
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
];

async fn delivering_to(listener: &Listener) -> Simulator {
    let arguments = [
        "--webhook-url",
        &listener.url,
        "--webhook-secret",
        SECRETS[0],
        "--webhook-secret",
        SECRETS[1],
    ];
    Simulator::with(&arguments).await
}

async fn simulator_and_listener() -> (Simulator, Listener) {
    let listener = Listener::answering(&[]).await;
    (delivering_to(&listener).await, listener)
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|delivery| text(&delivery.event, "id"))
        .collect()
}

#[tokio::test]
async fn events_arrive_in_order_and_name_the_request_that_caused_them() {
    let (sim, listener) = simulator_and_listener().await;
    let intent = sim.intent().await;
    let paid = sim
        .post_with_key(&confirm(&intent), "payment_method=pm_1&off_session=true", "k")
        .await;
    let deliveries = listener.wait_for(3).await;
    assert_eq!(listener.types(), OF_A_PAYMENT);
    let last = &deliveries[2].event;
    assert_eq!(
        last["request"],
        json!({ "id": paid.header("request-id"), "idempotency_key": "k" })
    );
    assert_eq!(last["data"]["object"], paid.ok());
    assert_eq!(
        (text(last, "api_version"), &last["pending_webhooks"]),
        ("2026-09-30.endive", &json!(1))
    );
}

#[tokio::test]
async fn every_secret_signs_every_delivery() {
    let (sim, listener) = simulator_and_listener().await;
    sim.intent().await;
    let delivery = &listener.wait_for(1).await[0];
    assert_eq!(
        delivery.signatures(),
        SECRETS.map(|secret| delivery.expected_signature(secret))
    );
}

#[tokio::test]
async fn the_signature_is_made_at_real_time_whatever_day_it_plays() {
    let (sim, listener) = simulator_and_listener().await;
    let real = sim.look("/clock").await["now"].as_i64().unwrap();
    sim.control("/clock", json!({ "offset_ms": 40_i64 * 24 * 3600 * 1000 }))
        .await;
    sim.intent().await;
    let delivery = &listener.wait_for(1).await[0];
    assert!((delivery.signed_at() - real).abs() < 60);
    assert!(delivery.event["created"].as_i64().unwrap() >= real + 40 * 24 * 3600);
}

#[tokio::test]
async fn whatever_is_not_a_2xx_is_tried_again_with_a_fresh_signature() {
    let refusals = [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::FOUND,
        StatusCode::BAD_REQUEST,
    ];
    let listener = Listener::answering(&refusals).await;
    let sim = delivering_to(&listener).await;
    sim.intent().await;
    let deliveries = listener.wait_for(4).await;
    assert_eq!(
        ids(&deliveries).into_iter().collect::<HashSet<_>>().len(),
        1,
        "one event"
    );
    for delivery in &deliveries {
        assert_eq!(delivery.signatures()[0], delivery.expected_signature(SECRETS[0]));
    }
    let times: Vec<i64> = deliveries.iter().map(Delivery::signed_at).collect();
    assert!(
        times.first() < times.last(),
        "200 + 400 + 800 ms later the time is another: {times:?}"
    );
    let delivered = async || {
        let event = sim.look("/events").await["data"][0].clone();
        (event["pending_webhooks"] == 0).then_some(event)
    };
    let event = until("the event as delivered", delivered).await;
    let statuses: Vec<&Value> = event["sim"]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|try_| &try_["status"])
        .collect();
    assert_eq!(statuses, [500, 302, 400, 200]);
}

#[tokio::test]
async fn a_pause_holds_events_back_and_a_flush_delivers_them() {
    let (sim, listener) = simulator_and_listener().await;
    sim.control("/webhooks", json!({ "paused": true })).await;
    sim.paid().await;
    assert_eq!(sim.look("/webhooks").await["queued"], 3);
    let flushed = sim.control("/webhooks/flush", json!({})).await;
    assert_eq!(flushed, json!({ "delivered": 3, "failed": 0, "left": 0 }));
    assert_eq!(listener.types(), OF_A_PAYMENT);
    sim.intent().await;
    assert_eq!(sim.look("/webhooks").await["queued"], 1, "still paused");
    sim.control("/webhooks", json!({ "paused": false })).await;
    listener.wait_for(4).await;
}

#[tokio::test]
async fn shuffled_events_all_arrive_in_some_other_order() {
    let (sim, listener) = simulator_and_listener().await;
    sim.control("/webhooks", json!({ "paused": true, "shuffle": true, "seed": 3 }))
        .await;
    for _ in 0..4 {
        sim.paid().await;
    }
    sim.control("/webhooks/flush", json!({})).await;
    let order = sim.event_types().await;
    let mut arrived = listener.types();
    assert_ne!(arrived, order);
    arrived.sort();
    let mut order = order;
    order.sort();
    assert_eq!(arrived, order);
}

#[tokio::test]
async fn a_duplicate_is_the_same_event_twice_and_a_double_is_two_events() {
    let (sim, listener) = simulator_and_listener().await;
    sim.control("/webhooks", json!({ "duplicate": 1 })).await;
    sim.intent().await;
    let deliveries = listener.wait_for(2).await;
    assert_eq!(ids(&deliveries)[0], ids(&deliveries)[1]);

    sim.control("/webhooks", json!({ "duplicate": 0, "double": true }))
        .await;
    sim.intent().await;
    let deliveries = listener.wait_for(4).await;
    assert_ne!(ids(&deliveries)[2], ids(&deliveries)[3]);
    assert_eq!(deliveries[2].event["data"], deliveries[3].event["data"]);
    assert_eq!(sim.look("/events").await["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_dropped_event_is_never_delivered_but_can_be_found() {
    let (sim, listener) = simulator_and_listener().await;
    sim.control(
        "/webhooks",
        json!({ "drop_next": 1, "drop_types": ["charge.succeeded"] }),
    )
    .await;
    sim.paid().await;
    sim.control("/webhooks/flush", json!({})).await;
    assert_eq!(listener.types(), ["payment_intent.succeeded"]);
    let missed = sim
        .get("/events?delivery_success=false&types[]=charge.*&types[]=payment_intent.created")
        .await
        .ok();
    let missed: Vec<&str> = missed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(event, "type"))
        .collect();
    assert_eq!(
        missed,
        ["charge.succeeded", "payment_intent.created"],
        "newest first"
    );
    let id = text(&sim.look("/events?type=charge.succeeded").await["data"][0], "id").to_owned();
    let delivered = sim.control(&format!("/events/{id}/deliver"), json!({})).await;
    assert_eq!(delivered["attempts"][0]["status"], 200);
    assert_eq!(
        sim.get("/events?delivery_success=false").await.ok()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn events_can_overtake_the_answer() {
    let (sim, listener) = simulator_and_listener().await;
    sim.control("/webhooks", json!({ "before_response": true })).await;
    sim.paid().await;
    assert_eq!(
        listener.types(),
        OF_A_PAYMENT,
        "all of them were there before the answer"
    );
}

#[tokio::test]
async fn the_old_shape_embeds_charges_and_refunds() {
    let (sim, listener) = simulator_and_listener().await;
    sim.control("/webhooks", json!({ "shape": "old" })).await;
    let (_, charge) = sim.paid().await;
    sim.control("/refunds", json!({ "charge": charge, "amount": 500 }))
        .await;
    let deliveries = listener.wait_for(5).await;
    let paid = &deliveries[2].event;
    assert_eq!(text(paid, "api_version"), "2020-03-02");
    assert_eq!(text(&paid["data"]["object"]["charges"]["data"][0], "id"), charge);
    assert_eq!(paid["data"]["object"].get("latest_charge"), None);
    let refunded = &deliveries[4].event;
    assert_eq!(text(refunded, "type"), "charge.refunded");
    assert_eq!(refunded["data"]["object"]["refunds"]["data"][0]["amount"], 500);
    assert_eq!(refunded["data"]["previous_attributes"]["amount_refunded"], 0);
}

#[tokio::test]
async fn an_event_of_ones_own_and_a_bad_signature_can_be_delivered() {
    let (sim, listener) = simulator_and_listener().await;
    let own = json!({ "type": "radar.early_fraud_warning.created", "object": { "id": "issfr_1" }, "livemode": true,
        "account": "acct_other", "deliver": false });
    let id = text(&sim.control("/events", own).await, "id").to_owned();
    sim.control(&format!("/events/{id}/deliver"), json!({ "signature": "bad" }))
        .await;
    sim.control(&format!("/events/{id}/deliver"), json!({ "signature": "stale" }))
        .await;
    sim.control(
        &format!("/events/{id}/deliver"),
        json!({ "signature": "missing" }),
    )
    .await;
    let deliveries = listener.wait_for(3).await;
    assert_ne!(
        deliveries[0].signatures()[0],
        deliveries[0].expected_signature(SECRETS[0])
    );
    assert_eq!(
        deliveries[1].signatures()[0],
        deliveries[1].expected_signature(SECRETS[0])
    );
    assert!(deliveries[0].signed_at() - deliveries[1].signed_at() >= 3599);
    assert_eq!(deliveries[2].signature, "");
    assert_eq!(
        (
            &deliveries[0].event["livemode"],
            text(&deliveries[0].event, "account")
        ),
        (&json!(true), "acct_other")
    );
}

#[tokio::test]
async fn after_thirty_days_an_event_is_gone() {
    let sim = Simulator::start().await;
    sim.intent().await;
    let id = text(&sim.get("/events").await.ok()["data"][0], "id").to_owned();
    sim.control("/clock", json!({ "offset_ms": 30_i64 * 24 * 3600 * 1000 + 1000 }))
        .await;
    assert_eq!(sim.get(&format!("/events/{id}")).await.status, 404);
    assert_eq!(sim.get("/events").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_list_of_events_is_picked_by_time_and_by_twenty_types_and_goes_on_while_events_are_made() {
    let sim = Simulator::start().await;
    for _ in 0..3 {
        sim.intent().await;
    }
    let now = sim.look("/clock").await["now"].as_i64().unwrap();
    let query = |more: &str| {
        format!(
            "/events?types[0]=payment_intent.created&created[gte]={}&limit=2{more}",
            now - 60
        )
    };
    let first = sim.get(&query("")).await.ok();
    assert_eq!(
        (first["data"].as_array().unwrap().len(), &first["has_more"]),
        (2, &json!(true))
    );
    sim.intent().await;
    let last = text(&first["data"][1], "id");
    let second = sim.get(&query(&format!("&starting_after={last}"))).await.ok();
    assert_eq!(
        (second["data"].as_array().unwrap().len(), &second["has_more"]),
        (1, &json!(false))
    );
    let later = format!("/events?created[gte]={}", now + 3600);
    assert_eq!(sim.get(&later).await.ok()["data"], json!([]));
    let many: String = (0..21).map(|n| format!("&types[{n}]=a.b{n}")).collect();
    assert_eq!(sim.get(&format!("/events?limit=1{many}")).await.status, 400);
}

#[tokio::test]
async fn an_endpoint_can_come_and_go() {
    let (first, second) = (Listener::answering(&[]).await, Listener::answering(&[]).await);
    let sim = delivering_to(&first).await;
    let added = sim
        .control(
            "/webhook_endpoints",
            json!({ "url": second.url, "secrets": ["whsec_own"] }),
        )
        .await;
    assert_eq!(
        sim.get("/webhook_endpoints").await.ok()["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    sim.intent().await;
    let delivery = &second.wait_for(1).await[0];
    assert_eq!(delivery.signatures(), [delivery.expected_signature("whsec_own")]);
    first.wait_for(1).await;
    sim.remove_endpoint(text(&added, "id")).await;
    sim.intent().await;
    first.wait_for(2).await;
    assert_eq!(second.deliveries().len(), 1);
}
