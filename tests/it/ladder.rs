//! What follows a declined charge: retries on day 3, 7 and 14, or waiting for the one who can help.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme::{self, Autopay};

const DAY_SECS: i64 = 24 * 3600;

/// Steps of the retry policy with the day that each falls due.
const STEPS: [(i64, i64); 3] = [(1, 3), (2, 7), (3, 14)];

#[tokio::test]
async fn s8_s9_a_soft_decline_is_retried_on_day_3_7_and_14_exactly_and_never_again() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["umbrella", "initech", "stark"];
    acme::open_accounts(
        &world,
        &[
            ("umbrella", &["insufficient_funds", "..."]),
            ("initech", &["insufficient_funds", "generic_decline", "succeed"]),
            (
                "stark",
                &[
                    "insufficient_funds",
                    "do_not_honor",
                    "processing_error",
                    "succeed",
                ],
            ),
        ],
    )
    .await;
    // Every change is told twice under two ids, and every event comes twice.
    world
        .sim
        .webhooks(json!({ "double": true, "duplicate": 1 }))
        .await
        .unwrap();
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;

    for (step, day) in STEPS {
        let waiting = world
            .texts(
                "select distinct extract(epoch from next_attempt_at - first_failed_at)::bigint || ' ' || next_step
                   from collection_cycles where state = 'retry_wait'",
            )
            .await;
        assert_eq!(waiting, [format!("{} {step}", day * DAY_SECS)]);
        let before = confirmations(&world).await;
        acme::go_to(
            &world,
            &format!("(select min(first_failed_at) + interval '{day} days' - interval '1 minute' from collection_cycles)"),
        )
        .await;
        acme::assert_nothing_is_due(&world).await;
        assert_eq!(confirmations(&world).await, before, "a charge before day {day}");
        acme::go_to(
            &world,
            &format!("(select max(first_failed_at) + interval '{day} days' from collection_cycles)"),
        )
        .await;
        let due = if step == 3 { 2 } else { 3 };
        assert_eq!(confirmations(&world).await, before + due, "charges on day {day}");
    }

    let four = "failed exhausted: auto 0 declined, retry 1 declined, retry 2 declined, retry 3 declined";
    acme::assert_outcomes(
        &world,
        &[
            ("umbrella", four),
            (
                "initech",
                "paid succeeded: auto 0 declined, retry 1 declined, retry 2 succeeded",
            ),
            (
                "stark",
                "paid succeeded: auto 0 declined, retry 1 declined, retry 2 declined, retry 3 succeeded",
            ),
        ],
    )
    .await;
    world.advance("31d").await;
    acme::assert_nothing_is_due(&world).await;
    acme::assert_outcomes(&world, &[("umbrella", four)]).await;
    for (client, times) in [("umbrella", 4), ("initech", 3), ("stark", 4)] {
        acme::intent(&world, client).await;
        assert_eq!(acme::confirmations(&world, client).await.len(), times, "{client}");
    }
    assert_the_invoice_tells_it(&world).await;
    let exhausted = "select count(*) from audit_events where action = 'retry.exhausted'";
    assert_eq!(world.count(exhausted).await, 1);
    acme::assert_books_agree(&world).await;
}

/// `invoice show` of the one who paid on day 7.
async fn assert_the_invoice_tells_it(world: &World) {
    let invoice = world.json(&["invoice", "show", "initech-1"]).await;
    assert_eq!(invoice["status"], "paid");
    assert_eq!(
        (
            &invoice["total_minor"],
            &invoice["paid_minor"],
            &invoice["open_minor"]
        ),
        (&json!(100_000), &json!(100_000), &json!(0))
    );
    let autopay = &invoice["autopay"];
    assert_eq!(
        json!([autopay["opt_in"], autopay["state"], autopay["next_charge_at"]]),
        json!([true, "succeeded", null])
    );
    let (intent, _) = acme::intent(world, "initech").await;
    let attempts: Vec<Value> = invoice["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| {
            assert_eq!(attempt["stripe_payment_intent_id"], intent.as_str());
            json!([
                attempt["number"],
                attempt["trigger"],
                attempt["state"],
                attempt["failure_class"],
                attempt["decline_code"]
            ])
        })
        .collect();
    assert_eq!(
        attempts,
        [
            json!([0, "auto", "declined", "soft", "insufficient_funds"]),
            json!([1, "retry", "declined", "soft", "generic_decline"]),
            json!([2, "retry", "succeeded", null, null]),
        ]
    );
    assert_eq!(invoice["payments"].as_array().unwrap().len(), 1);
}

async fn confirmations(world: &World) -> usize {
    let calls = world.sim.requests().await.unwrap();
    let is_confirmation = |call: &&Value| call["path"].as_str().unwrap().ends_with("/confirm");
    calls.iter().filter(is_confirmation).count()
}

#[tokio::test]
async fn b14_a_failure_that_is_told_again_uses_up_no_step() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds", "..."])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    tell_failures_again(&world).await;
    acme::assert_outcomes(&world, &[("globex", "failed retry_wait: auto 0 declined")]).await;
    world.advance("3d").await;
    world.settle().await;
    // Of these, some are about the first failure: no news, however late.
    tell_failures_again(&world).await;
    acme::assert_outcomes(
        &world,
        &[("globex", "failed retry_wait: auto 0 declined, retry 1 declined")],
    )
    .await;
    let waits = "select extract(epoch from next_attempt_at - first_failed_at)::bigint from collection_cycles";
    assert_eq!(world.count(waits).await, 7 * DAY_SECS);
    assert_eq!(
        world
            .count("select count(*) from audit_events where action = 'payment.failed'")
            .await,
        2
    );
}

/// Delivers every event so far once more, and tells each failure under a new id too.
async fn tell_failures_again(world: &World) {
    for event in world.sim.events().await.unwrap() {
        let id = event["id"].as_str().unwrap();
        world
            .sim
            .post(&format!("/events/{id}/deliver"), json!({}))
            .await
            .unwrap();
        if event["type"] == "payment_intent.payment_failed" {
            let again = json!({ "type": event["type"], "object": event["data"]["object"] });
            world.sim.post("/events", again).await.unwrap();
        }
    }
    world.settle().await;
}

#[tokio::test]
async fn b24_a_hard_decline_waits_for_another_card_and_is_then_charged_at_once() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["hooli", "soylent", "stark", "wayne"];
    acme::open_accounts(
        &world,
        &[
            ("hooli", &["lost_card", "..."]),
            ("soylent", &["expired_card", "..."]),
            ("stark", &["stolen_card", "..."]),
            ("wayne", &["pickup_card", "..."]),
        ],
    )
    .await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    world.advance("15d").await;
    acme::assert_nothing_is_due(&world).await;
    let waiting = "failed method_required: auto 0 declined";
    acme::assert_outcomes(&world, &clients.map(|client| (client, waiting))).await;

    // Another card by import; the same card with a new number, by the network; another card that is no better; and one
    // whose first charge Stripe has no time for.
    acme::replace_card(&world, "hooli", "pm_hooli_2", &[]).await;
    let renewed = json!({ "exp_month": 6, "exp_year": 2036, "last4": "1111", "script": [] });
    world
        .sim
        .post("/payment_methods/pm_soylent/update", renewed)
        .await
        .unwrap();
    acme::replace_card(&world, "stark", "pm_stark_2", &["lost_card", "..."]).await;
    let (wayne, _) = acme::intent(&world, "wayne").await;
    let busy = json!({ "path": format!("/v1/payment_intents/{wayne}/confirm"), "kind": "429", "should_retry": false });
    world.sim.fault(busy).await.unwrap();
    acme::replace_card(&world, "wayne", "pm_wayne_2", &[]).await;
    acme::wait_for(&world, &["hooli", "soylent", "wayne"], "paid").await;
    let healed = "paid succeeded: auto 0 declined, method_updated 0 succeeded";
    acme::assert_outcomes(
        &world,
        &[
            ("hooli", healed),
            ("soylent", healed),
            (
                "stark",
                "failed method_required: auto 0 declined, method_updated 0 declined",
            ),
            (
                "wayne",
                "paid succeeded: auto 0 declined, method_updated 0 technical, method_updated 0 succeeded",
            ),
        ],
    )
    .await;
    for client in clients {
        acme::intent(&world, client).await;
    }
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn authentication_waits_for_the_customer_and_the_customers_own_payment_ends_the_retries() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["secure", "diligent", "late"];
    acme::open_accounts(
        &world,
        &[
            ("secure", &["authenticate", "..."]),
            ("diligent", &["insufficient_funds", "..."]),
            ("late", &["insufficient_funds", "..."]),
        ],
    )
    .await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    pay_by_hand(&world, "diligent").await;
    world.advance("20d").await;
    world.settle().await;
    // Nobody asked the bank again: neither for the one who must authenticate, nor for the one who paid. For the third
    // all steps were due at once: that is one charge, not three in a row.
    acme::assert_outcomes(
        &world,
        &[
            ("secure", "failed action_required: auto 0 declined"),
            ("diligent", "paid succeeded: auto 0 declined"),
            ("late", "failed exhausted: auto 0 declined, retry 1 declined"),
        ],
    )
    .await;
    pay_by_hand(&world, "secure").await;
    pay_by_hand(&world, "late").await;
    world.settle().await;
    world.advance("20d").await;
    acme::assert_nothing_is_due(&world).await;
    acme::assert_outcomes(
        &world,
        &[
            ("secure", "paid succeeded: auto 0 declined"),
            ("late", "paid succeeded: auto 0 declined, retry 1 declined"),
        ],
    )
    .await;
    assert_eq!(world.count("select count(*) from payments").await, 3);
    acme::assert_books_agree(&world).await;
}

/// The customer follows a link and pays, with whatever card.
async fn pay_by_hand(world: &World, client: &str) {
    let (intent, _) = acme::intent(world, client).await;
    let path = format!("/payment_intents/{intent}/pay");
    let paid = world
        .sim
        .post(&path, json!({ "payment_method": format!("pm_{client}") }))
        .await
        .unwrap();
    assert_eq!(paid["status"], "succeeded");
}

#[tokio::test]
async fn b13_autopay_switched_off_on_the_way_cancels_intent_and_retries() {
    let world = World::start(WorldOptions::default()).await;
    let waiting = ["soft", "hard", "secure"];
    acme::open_accounts(
        &world,
        &[
            ("soft", &["insufficient_funds"]),
            ("hard", &["lost_card"]),
            ("secure", &["authenticate"]),
            ("flying", &[]),
        ],
    )
    .await;
    acme::bill(&world, &waiting, "usd", "1000.00").await;
    world.settle().await;
    // The fourth is being charged at this very moment: what is on its way cannot be taken back.
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_before" });
    world.sim.fault(hold).await.unwrap();
    acme::bill(&world, &["flying"], "usd", "1000.00").await;
    world.until_held(1).await;
    for client in ["soft", "hard", "secure", "flying"] {
        acme::switch_autopay(&world, client, Autopay::Off).await;
    }
    world.sim.release().await.unwrap();
    world.settle().await;
    world.advance("20d").await;
    acme::assert_nothing_is_due(&world).await;
    for client in waiting {
        acme::assert_outcomes(&world, &[(client, "sent canceled: auto 0 declined")]).await;
        assert_eq!(
            acme::intent(&world, client).await.1["status"],
            "canceled",
            "{client}"
        );
        assert_eq!(acme::confirmations(&world, client).await.len(), 1, "{client}");
    }
    acme::assert_outcomes(&world, &[("flying", "paid succeeded: auto 0 succeeded")]).await;

    // Switched on again, what is open is collected from the start, by another intent.
    acme::switch_autopay(&world, "soft", Autopay::On).await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[("soft", "paid succeeded: auto 0 declined, auto 0 succeeded")],
    )
    .await;
    assert_eq!(acme::intents(&world, "soft").await.len(), 2);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn a_decline_is_classed_by_its_advice_its_code_and_by_what_became_of_the_card() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["unheard", "advised", "gone", "doubled", "twice"];
    acme::open_accounts(
        &world,
        &[
            ("advised", &[]),
            ("unheard", &[]),
            ("gone", &["insufficient_funds"]),
            ("doubled", &["duplicate_transaction"]),
            ("twice", &["lost_card"]),
        ],
    )
    .await;
    for (client, decline) in [
        ("unheard", json!({ "decline_code": "invented_next_year" })),
        (
            "advised",
            json!({ "decline_code": "insufficient_funds", "advice_code": "do_not_try_again" }),
        ),
    ] {
        let script = json!({ "payment_method": format!("pm_{client}"), "script": [decline] });
        world.sim.post("/cards", script).await.unwrap();
    }
    acme::bill(&world, &clients, "usd", "100.00").await;
    world.settle().await;
    let hard = "failed method_required: auto 0 declined";
    acme::assert_outcomes(
        &world,
        &[
            ("unheard", "failed retry_wait: auto 0 declined"),
            ("advised", hard),
            ("gone", "failed retry_wait: auto 0 declined"),
            // Somebody may have paid already: a person looks before it is tried again.
            ("doubled", "sent paused: auto 0 declined"),
            ("twice", hard),
        ],
    )
    .await;

    // The next invoice of a client whose card is gone is not even tried with it, and one new card pays for both.
    acme::bill_again(&world, "twice", "50.00").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("twice", &format!("{hard}; failed method_required"))]).await;
    assert_eq!(acme::confirmations(&world, "twice").await.len(), 1);
    acme::replace_card(&world, "twice", "pm_twice_2", &[]).await;
    world.settle().await;
    let both = "paid succeeded: auto 0 declined, method_updated 0 succeeded; paid succeeded: method_updated 0 succeeded";
    acme::assert_outcomes(&world, &[("twice", both)]).await;

    // A card that is not at Stripe any more is as good as lost.
    acme::use_card(&world, "gone", "card_of_old").await;
    world.advance("3d").await;
    world.settle().await;
    let gone = "failed method_required: auto 0 declined, retry 1 declined";
    acme::assert_outcomes(&world, &[("gone", gone)]).await;
    acme::assert_books_agree(&world).await;
}
