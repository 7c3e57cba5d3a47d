//! Every kind of fault: what the caller sees, and what happened to the money meanwhile.
use std::time::Duration;

use serde_json::json;

use super::program::{Simulator, confirm};
use super::{text, until};

const CONFIRM: &str = "payment_method=pm_1&off_session=true";

/// A simulator, an intent, and one fault waiting for its confirmation.
async fn struck_by(kind: &str, ms: u64) -> (Simulator, String) {
    let sim = Simulator::start().await;
    let intent = sim.intent().await;
    sim.trouble_confirming(kind, ms).await;
    (sim, intent)
}

#[tokio::test]
async fn before_means_that_nothing_happened_and_nothing_is_remembered() {
    for (kind, status) in [
        ("500_before", 500),
        ("502_html", 502),
        ("429", 429),
        ("lock_timeout", 429),
        ("404", 404),
    ] {
        let (sim, intent) = struck_by(kind, 0).await;
        assert_eq!(
            sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.status,
            status,
            "{kind}"
        );
        assert_eq!(sim.captured().await, 0, "{kind}");
        sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.ok();
        assert_eq!(sim.captured().await, 2000, "{kind}");
    }
}

#[tokio::test]
async fn after_means_that_the_money_is_taken_whatever_the_caller_sees() {
    for (kind, seen, replayed) in [("500_after", 500, 500), ("502_html_after", 502, 200)] {
        let (sim, intent) = struck_by(kind, 0).await;
        assert_eq!(
            sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.status,
            seen,
            "{kind}"
        );
        assert_eq!(sim.captured().await, 2000, "{kind}");
        let again = sim.post_with_key(&confirm(&intent), CONFIRM, "k").await;
        assert_eq!(
            (again.status, again.header("idempotent-replayed")),
            (replayed, Some("true")),
            "{kind}"
        );
        assert_eq!(sim.captured().await, 2000, "{kind}");
    }
}

#[tokio::test]
async fn a_stored_500_is_replayed_although_nothing_happened() {
    let (sim, intent) = struck_by("500_stored", 0).await;
    for _ in 0..2 {
        assert_eq!(
            sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.status,
            500
        );
    }
    assert_eq!(sim.captured().await, 0);
    sim.post_with_key(&confirm(&intent), CONFIRM, "k2").await.ok();
}

#[tokio::test]
async fn a_broken_connection_gives_no_answer() {
    for (kind, captured) in [("reset_before", 0), ("reset_after", 2000)] {
        let (sim, intent) = struck_by(kind, 0).await;
        let broken = sim
            .form(&confirm(&intent), CONFIRM)
            .header("idempotency-key", "k")
            .send()
            .await;
        assert!(broken.is_err(), "{kind}: {broken:?}");
        assert_eq!(sim.captured().await, captured, "{kind}");
        sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.ok();
        assert_eq!(sim.captured().await, 2000, "{kind}");
    }
}

#[tokio::test]
async fn a_truncated_answer_cannot_be_read() {
    let (sim, intent) = struck_by("truncate_after", 0).await;
    let answer = sim.form(&confirm(&intent), CONFIRM).send().await;
    if let Ok(answer) = answer {
        assert!(answer.text().await.is_err());
    }
    assert_eq!(sim.captured().await, 2000);
}

#[tokio::test]
async fn a_trickling_answer_arrives_whole_in_the_end() {
    let (sim, intent) = struck_by("trickle_after", 50).await;
    assert_eq!(
        text(&sim.post(&confirm(&intent), CONFIRM).await.ok(), "status"),
        "succeeded"
    );
}

#[tokio::test]
async fn a_caller_who_gives_up_is_charged_all_the_same() {
    for kind in ["delay_before_effect", "delay_after_effect"] {
        let (sim, intent) = struck_by(kind, 400).await;
        let impatient = sim
            .form(&confirm(&intent), CONFIRM)
            .timeout(Duration::from_millis(100));
        assert!(impatient.send().await.unwrap_err().is_timeout(), "{kind}");
        until("the charge", async || {
            (sim.captured().await == 2000).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_held_answer_comes_after_the_effect() {
    let (sim, intent) = struck_by("hold_after", 0).await;
    let call = tokio::spawn(sim.form(&confirm(&intent), CONFIRM).send());
    until("the answer at the barrier", async || {
        (sim.look("/faults").await["holding"] == 1).then_some(())
    })
    .await;
    assert_eq!(sim.captured().await, 2000);
    sim.control("/release", json!({})).await;
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_rate_limit_says_why_and_when_to_come_back() {
    let sim = Simulator::start().await;
    let fault =
        json!({ "path": "/v1/account", "kind": "429", "reason": "endpoint-rate", "retry_after_secs": 2 });
    sim.control("/faults", fault).await;
    let answer = sim.get("/account").await;
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(answer.header("stripe-rate-limited-reason"), Some("endpoint-rate"));
    assert_eq!(text(&answer.refused().1, "code"), "rate_limit");

    sim.control(
        "/faults",
        json!({ "path": "/v1/account", "kind": "lock_timeout" }),
    )
    .await;
    let answer = sim.get("/account").await;
    assert_eq!(
        (answer.header("retry-after"), answer.header("stripe-should-retry")),
        (None, Some("true"))
    );
    assert_eq!(text(&answer.refused().1, "code"), "lock_timeout");
}

#[tokio::test]
async fn the_log_tells_which_call_was_struck() {
    let (sim, intent) = struck_by("reset_after", 0).await;
    assert!(
        sim.form(&confirm(&intent), CONFIRM)
            .header("idempotency-key", "k")
            .send()
            .await
            .is_err()
    );
    sim.post_with_key(&confirm(&intent), CONFIRM, "k").await.ok();
    let log = sim.look("/requests?path=/v1/payment_intents/*/confirm").await;
    let calls = log["data"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (text(&calls[0], "fault"), &calls[0]["status"]),
        ("reset_after", &json!(null))
    );
    assert_eq!(
        (&calls[1]["replayed"], &calls[1]["status"]),
        (&json!(true), &json!(200))
    );
    assert_eq!(text(&calls[1]["params"], "off_session"), "true");
}

#[tokio::test]
async fn a_misspelt_fault_is_refused() {
    let sim = Simulator::start().await;
    for fault in [
        json!({ "path": "/v1/account", "kind": "500" }),
        json!({ "path": "/payment_intents", "kind": "429" }),
        json!({ "path": "/v1/account", "kind": "429", "retry_after": 3 }),
    ] {
        assert_eq!(sim.control_refused("/faults", fault).await.0, 400);
    }
}
