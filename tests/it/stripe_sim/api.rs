//! The API by itself: intents, declines, authentication, lists, shapes, the program.
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::program::{Simulator, confirm};
use super::text;

#[tokio::test]
async fn an_intent_is_created_then_confirmed_and_captures_once() {
    let sim = Simulator::start().await;
    let intent = sim.intent().await;
    assert_eq!(sim.captured().await, 0);

    let paid = sim
        .post(&confirm(&intent), "payment_method=pm_1&off_session=true")
        .await
        .ok();
    assert_eq!(
        (text(&paid, "status"), &paid["amount_received"]),
        ("succeeded", &json!(2000))
    );

    let (status, error) = sim.post(&confirm(&intent), "payment_method=pm_1").await.refused();
    assert_eq!(
        (status, text(&error, "code")),
        (400, "payment_intent_unexpected_state")
    );
    assert_eq!(text(&error["payment_intent"], "status"), "succeeded");
    assert_eq!(sim.captured().await, 2000);
}

#[tokio::test]
async fn a_decline_tells_everything_and_leaves_the_intent_open() {
    let sim = Simulator::start().await;
    sim.control(
        "/payment_methods",
        json!({ "id": "pm_1", "customer": "cus_1", "script": ["lost_card"] }),
    )
    .await;
    let intent = sim.intent().await;

    let answer = sim
        .post(&confirm(&intent), "payment_method=pm_1&off_session=true")
        .await;
    assert_eq!(answer.header("stripe-should-retry"), Some("false"));
    assert!(answer.header("request-id").unwrap().starts_with("req_"));
    let (status, error) = answer.refused();
    assert_eq!(status, 402);
    let told: Vec<&str> = [
        "type",
        "code",
        "decline_code",
        "advice_code",
        "network_decline_code",
    ]
    .iter()
    .map(|field| text(&error, field))
    .collect();
    assert_eq!(
        told,
        [
            "card_error",
            "card_declined",
            "lost_card",
            "do_not_try_again",
            "41"
        ]
    );
    assert!(text(&error, "request_log_url").contains("/logs/req_"));
    assert!(text(&error, "doc_url").ends_with("#card-declined"));
    assert_eq!(text(&error["payment_method"], "id"), "pm_1");

    let found = sim
        .get(&format!("/payment_intents/{intent}?expand[]=latest_charge"))
        .await
        .ok();
    assert_eq!(found, with_expanded_charge(&error, &found));
    assert_eq!(text(&found, "status"), "requires_payment_method");
    assert_eq!(text(&found["latest_charge"], "status"), "failed");
    assert_eq!(text(&found["latest_charge"], "id"), text(&error, "charge"));
    assert_eq!(
        text(&found["latest_charge"]["outcome"], "advice_code"),
        "do_not_try_again"
    );
    assert_eq!(text(&found["last_payment_error"], "decline_code"), "lost_card");

    sim.post(&confirm(&intent), "payment_method=pm_1&off_session=true")
        .await
        .ok();
    let books = sim.look("/books").await;
    let charges = &books["by_payment_intent"][&intent]["charges"];
    assert_eq!(
        [&charges[0]["status"], &charges[1]["status"]],
        ["failed", "succeeded"]
    );
    assert_eq!(books["captured_minor"], json!({ "usd": 2000 }));
}

/// The intent in the error is the intent as it is found afterwards, its charge apart.
fn with_expanded_charge(error: &Value, found: &Value) -> Value {
    let mut intent = error["payment_intent"].clone();
    assert_eq!(intent["latest_charge"], found["latest_charge"]["id"]);
    intent["latest_charge"] = found["latest_charge"].clone();
    intent
}

#[tokio::test]
async fn off_session_authentication_is_a_decline_that_the_customer_can_heal() {
    let sim = Simulator::start().await;
    let intent = sim.intent().await;
    let card = "payment_method=pm_card_authenticationRequired";

    let (status, error) = sim
        .post(&confirm(&intent), &format!("{card}&off_session=true"))
        .await
        .refused();
    assert_eq!((status, text(&error, "code")), (402, "authentication_required"));
    assert_eq!(
        text(&error["payment_intent"], "status"),
        "requires_payment_method"
    );

    let paid = sim
        .control(&format!("/payment_intents/{intent}/authenticate"), json!({}))
        .await;
    assert_eq!(text(&paid, "status"), "succeeded");
    assert_eq!(sim.captured().await, 2000);
}

#[tokio::test]
async fn on_session_authentication_is_asked_for() {
    let sim = Simulator::start().await;
    let intent = sim.intent().await;
    let waiting = sim
        .post(&confirm(&intent), "payment_method=pm_card_authenticationRequired")
        .await
        .ok();
    assert_eq!(text(&waiting, "status"), "requires_action");
    assert_eq!(text(&waiting["next_action"], "type"), "use_stripe_sdk");
    let path = format!("/payment_intents/{intent}/authenticate");
    let refused = sim.control(&path, json!({ "outcome": "lost_card" })).await;
    assert_eq!(text(&refused, "status"), "requires_payment_method");
    assert_eq!(sim.captured().await, 0);
}

#[tokio::test]
async fn a_processing_payment_settles_later() {
    let sim = Simulator::start().await;
    sim.control("/cards", json!({ "customer": "cus_1", "script": ["processing"] }))
        .await;
    let intent = sim.intent().await;
    let waiting = sim
        .post(&confirm(&intent), "payment_method=pm_1&off_session=true")
        .await
        .ok();
    assert_eq!(text(&waiting, "status"), "processing");
    assert_eq!(
        sim.post(&format!("/payment_intents/{intent}/cancel"), "")
            .await
            .status,
        400
    );

    let settled = sim
        .control(&format!("/payment_intents/{intent}/settle"), json!({}))
        .await;
    assert_eq!(text(&settled, "status"), "succeeded");
    assert_eq!(
        settled["latest_charge"], waiting["latest_charge"],
        "the same charge"
    );
    assert_eq!(sim.captured().await, 2000);
}

#[tokio::test]
async fn the_amount_changes_only_before_the_payment() {
    let sim = Simulator::start().await;
    let intent = sim.intent().await;
    let path = format!("/payment_intents/{intent}");
    assert_eq!(sim.post(&path, "amount=1500").await.ok()["amount"], 1500);
    sim.post(&confirm(&intent), "payment_method=pm_1").await.ok();
    let (status, error) = sim.post(&path, "amount=100").await.refused();
    assert_eq!(
        (status, text(&error, "code")),
        (400, "payment_intent_unexpected_state")
    );
    assert_eq!(sim.captured().await, 1500);
}

#[tokio::test]
async fn a_canceled_intent_takes_no_money() {
    let sim = Simulator::start().await;
    let intent = sim.intent().await;
    let path = format!("/payment_intents/{intent}/cancel");
    assert_eq!(
        text(
            &sim.post(&path, "cancellation_reason=abandoned").await.ok(),
            "status"
        ),
        "canceled"
    );
    assert_eq!(
        sim.post(&confirm(&intent), "payment_method=pm_1").await.status,
        400
    );
    assert_eq!(sim.captured().await, 0);
}

#[tokio::test]
async fn what_stripe_would_refuse_is_refused() {
    let sim = Simulator::start().await;
    let cases = [
        ("amount=49&currency=usd", "amount_too_small"),
        ("amount=29&currency=gbp", "amount_too_small"),
        ("amount=20.5&currency=usd", "parameter_invalid_integer"),
        ("currency=usd", "parameter_missing"),
        ("amount=500&currency=usd&amuont=5", "parameter_unknown"),
        ("amount=500&currency=usd&customer=nobody", "resource_missing"),
    ];
    for (form, code) in cases {
        let (status, error) = sim.post("/payment_intents", form).await.refused();
        assert_eq!((status, text(&error, "code")), (400, code), "{form}");
    }
    let (status, error) = sim
        .post("/payment_intents", "amount=500&currency=xyz")
        .await
        .refused();
    assert_eq!((status, text(&error, "param")), (400, "currency"));
    assert_eq!(sim.get("/payment_intents/pi_unknown").await.status, 404);
    assert_eq!(sim.get("/quotes").await.status, 404);
}

#[tokio::test]
async fn a_card_pays_only_for_its_customer() {
    let sim = Simulator::start().await;
    sim.control(
        "/payment_methods",
        json!({ "id": "pm_1", "customer": "cus_other" }),
    )
    .await;
    let intent = sim.intent().await;
    let (status, error) = sim.post(&confirm(&intent), "payment_method=pm_1").await.refused();
    assert_eq!((status, text(&error, "param")), (400, "payment_method"));
    assert_eq!(sim.captured().await, 0);
}

#[tokio::test]
async fn without_auto_create_an_unknown_customer_is_missing() {
    let sim = Simulator::with(&["--auto-create", "false"]).await;
    let form = "amount=500&currency=usd&customer=cus_1";
    let (status, error) = sim.post("/payment_intents", form).await.refused();
    assert_eq!(
        (status, text(&error, "code"), text(&error, "param")),
        (400, "resource_missing", "customer")
    );
    sim.control("/customers", json!({ "id": "cus_1" })).await;
    sim.post("/payment_intents", form).await.ok();
}

#[tokio::test]
async fn only_test_keys_open_the_door() {
    let sim = Simulator::start().await;
    for key in ["", "sk_live_1", "rk_live_1", "whatever"] {
        let mut request = sim.request(Method::GET, "/account").build().unwrap();
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {key}").parse().unwrap());
        let answer = reqwest::Client::new().execute(request).await.unwrap();
        assert_eq!(answer.status(), 401, "{key}");
    }
    assert_eq!(sim.get("/account").await.status, 200);
}

#[tokio::test]
async fn an_old_version_gets_the_old_shape() {
    let sim = Simulator::start().await;
    let (intent, charge) = sim.paid().await;
    sim.post("/refunds", &format!("charge={charge}&amount=500"))
        .await
        .ok();
    let path = format!("/payment_intents/{intent}");
    let old = sim
        .send(
            sim.request(Method::GET, &path)
                .header("stripe-version", "2020-03-02"),
        )
        .await;
    assert_eq!(old.header("stripe-version"), Some("2020-03-02"));
    let old = old.ok();
    assert_eq!(old.get("latest_charge"), None);
    assert_eq!(text(&old["charges"]["data"][0], "id"), charge);
    assert_eq!(old["charges"]["data"][0]["refunds"]["data"][0]["amount"], 500);
    let new = sim.get(&path).await.ok();
    assert_eq!(
        (text(&new, "latest_charge"), new.get("charges")),
        (charge.as_str(), None)
    );
}

#[tokio::test]
async fn answers_can_have_the_old_shape_whatever_version_is_asked_for() {
    let sim = Simulator::start().await;
    let (intent, charge) = sim.paid().await;
    let ask = || {
        sim.request(
            Method::GET,
            &format!("/payment_intents/{intent}?expand[]=latest_charge"),
        )
    };
    let as_pinned = async || {
        let call = ask().header("stripe-version", "2026-09-30.endive");
        sim.send(call).await.ok()
    };
    sim.control("/answers", json!({ "shape": "old" })).await;
    let old = as_pinned().await;
    assert_eq!(old.get("latest_charge"), None);
    assert_eq!(text(&old["charges"]["data"][0], "id"), charge);
    sim.control("/answers", json!({ "shape": null })).await;
    let new = as_pinned().await;
    assert_eq!(new.get("charges"), None);
    assert_eq!(text(&new["latest_charge"], "id"), charge);
}

#[tokio::test]
async fn lists_page_in_both_directions() {
    let sim = Simulator::start().await;
    let (intent, charge) = sim.paid().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let refund = sim
            .post("/refunds", &format!("payment_intent={intent}&amount=10"))
            .await
            .ok();
        ids.insert(0, text(&refund, "id").to_owned());
    }
    let page = async |query: String| {
        let page = sim
            .get(&format!("/refunds?charge={charge}&limit=2{query}"))
            .await
            .ok();
        let rows: Vec<String> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| text(row, "id").to_owned())
            .collect();
        (rows, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page(String::new()).await, (ids[0..2].to_vec(), true));
    assert_eq!(
        page(format!("&starting_after={}", ids[1])).await,
        (ids[2..4].to_vec(), true)
    );
    assert_eq!(
        page(format!("&starting_after={}", ids[3])).await,
        (ids[4..5].to_vec(), false)
    );
    assert_eq!(
        page(format!("&ending_before={}", ids[4])).await,
        (ids[2..4].to_vec(), true)
    );
    assert_eq!(
        page(format!("&ending_before={}", ids[2])).await,
        (ids[0..2].to_vec(), false)
    );
}

/// Whoever compares books reads every list from its first page to its last, from some time on: nothing twice, nothing left out.
#[tokio::test]
async fn every_list_of_money_is_read_page_by_page_from_a_time_on() {
    let sim = Simulator::start().await;
    let long_ago = sim.paid().await.1;
    let now = sim.look("/clock").await["now"].as_i64().unwrap();
    sim.control("/clock", json!({ "now": now + 86_400 })).await;
    for _ in 0..5 {
        let (_, charge) = sim.paid().await;
        sim.post("/refunds", &format!("charge={charge}&amount=10"))
            .await
            .ok();
        let order = json!({ "charge": charge, "kind": "inquiry" });
        sim.control("/disputes", order).await;
    }
    let wanted = [
        ("payment_intents", 5),
        ("charges", 5),
        ("refunds", 5),
        ("disputes", 5),
        ("balance_transactions", 10),
    ];
    for (list, count) in wanted {
        let mut ids: Vec<String> = Vec::new();
        let mut created: Vec<i64> = Vec::new();
        loop {
            let after = ids
                .last()
                .map(|id| format!("&starting_after={id}"))
                .unwrap_or_default();
            let path = format!("/{list}?limit=2&created[gte]={}{after}", now + 43_200);
            let page = sim.get(&path).await.ok();
            let rows = page["data"].as_array().unwrap();
            assert!(!rows.is_empty() && rows.len() <= 2, "{path}: {page}");
            ids.extend(rows.iter().map(|row| text(row, "id").to_owned()));
            created.extend(rows.iter().map(|row| row["created"].as_i64().unwrap()));
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(ids.len(), count, "{list}: {ids:?}");
        let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), count, "{list} shows something twice");
        assert!(
            created.is_sorted_by(|a, b| a >= b),
            "{list} is not the newest first"
        );
        assert!(!ids.contains(&long_ago));
    }
    let path = format!("/charges?created[lt]={}", now + 43_200);
    assert_eq!(sim.get(&path).await.ok()["data"][0]["id"], long_ago.as_str());
}

#[tokio::test]
async fn an_update_clears_the_error_of_an_intent_and_leaves_the_charge_that_failed() {
    let sim = Simulator::start().await;
    let card = json!({ "id": "pm_1", "customer": "cus_1", "script": ["lost_card"] });
    sim.control("/payment_methods", card).await;
    let intent = sim.intent().await;
    sim.post(&confirm(&intent), "payment_method=pm_1&off_session=true")
        .await
        .refused();
    let path = format!("/payment_intents/{intent}");
    let updated = sim
        .post(&path, "metadata[note]=looked at&expand[]=latest_charge")
        .await
        .ok();
    assert_eq!(updated["last_payment_error"], json!(null));
    let charge = &updated["latest_charge"];
    assert_eq!(
        (text(charge, "status"), text(&charge["outcome"], "reason")),
        ("failed", "lost_card")
    );
}

#[tokio::test]
async fn the_card_updater_renews_a_card_and_says_what_it_was() {
    let sim = Simulator::start().await;
    sim.control(
        "/payment_methods",
        json!({ "id": "pm_1", "exp_year": 2026, "script": ["expired_card", "..."] }),
    )
    .await;
    let before = sim.get("/payment_methods/pm_1").await.ok();
    let update = json!({ "exp_year": 2031, "last4": "1881", "script": ["succeed"] });
    let after = sim.control("/payment_methods/pm_1/update", update).await;
    assert_eq!(
        (&after["card"]["exp_year"], text(&after["card"], "last4")),
        (&json!(2031), "1881")
    );
    assert_ne!(before["card"]["fingerprint"], after["card"]["fingerprint"]);
    let events = sim
        .look("/events?type=payment_method.automatically_updated")
        .await;
    assert_eq!(
        events["data"][0]["data"]["previous_attributes"]["card"]["exp_year"],
        2026
    );
    let intent = sim.intent().await;
    sim.post(&confirm(&intent), "payment_method=pm_1").await.ok();
}

#[tokio::test]
async fn it_stops_when_asked_and_never_starts_near_a_live_key() {
    assert_eq!(Simulator::start().await.terminate().await.code(), Some(0));
    let refused = Command::new(env!("CARGO_BIN_EXE_stripe-sim"))
        .env("STRIPE_SECRET_KEY", "rk_live_1")
        .output();
    assert_eq!(refused.await.unwrap().status.code(), Some(2));
}
