//! What follows a declined charge: retries on day 3, 7 and 14, or waiting for the one who can help.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme::{self, Autopay};

const DAY_SECS: i64 = 24 * 3600;

/// Steps of the retry policy with the day that each falls due.
const STEPS: [(i64, i64); 3] = [(1, 3), (2, 7), (3, 14)];

/// R065, R104.
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

/// R071.
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

/// R104.
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
    world.advance("13d").await;
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
    let busy = json!({ "kind": "429", "should_retry": false });
    acme::spoil_confirmation(&world, "wayne", busy).await;
    acme::replace_card(&world, "wayne", "pm_wayne_2", &[]).await;
    world.settle().await;
    acme::age_calls(&world).await;
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
    world.settle().await;
    world.advance("20d").await;
    until_exhausted(&world, 2).await;
    // Nobody asked the bank again: neither for the one who must authenticate, who has had two weeks, nor for the one who
    // paid. For the third all steps were due at once: that is one charge, not three in a row.
    acme::assert_outcomes(
        &world,
        &[
            ("secure", "failed exhausted: auto 0 declined"),
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

/// Until the sweep and the retries have brought so many cycles to their end.
async fn until_exhausted(world: &World, cycles: i64) {
    let exhausted = "select count(*) from collection_cycles where state = 'exhausted'";
    world
        .until(exhausted, cycles, std::time::Duration::from_secs(20))
        .await;
    world.settle().await;
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

/// R104, A-10.
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
    acme::hold_confirmations(&world, "hold_before", 1).await;
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

    // Switched on again after its last day, nothing is left of the retries: a person decides.
    acme::switch_autopay(&world, "soft", Autopay::On).await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("soft", "failed exhausted: auto 0 declined")]).await;
    assert_eq!(acme::confirmations(&world, "soft").await.len(), 1);
    acme::assert_books_agree(&world).await;
}

/// what a person has charged repeats the step that was made last, also where that was made before autopay was switched off
/// and on: no step comes twice for it.
#[tokio::test]
async fn a11_a_charge_by_hand_does_not_begin_a_ladder_again_that_was_taken_over() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("soft", &["insufficient_funds", "..."])]).await;
    acme::bill(&world, &["soft"], "usd", "1000.00").await;
    world.settle().await;
    let day = async |after: i64| {
        let first = "select min(first_failed_at) from collection_cycles";
        acme::go_to(&world, &format!("({first}) + interval '{after} days'")).await;
    };
    day(3).await;
    acme::switch_autopay(&world, "soft", Autopay::Off).await;
    world.settle().await;
    acme::switch_autopay(&world, "soft", Autopay::On).await;
    world.settle().await;
    let charged = world.json(&["invoice", "charge", "soft-1", "--yes"]).await;
    assert_eq!(charged["state"], "declined");
    world.settle().await;
    let tried = "auto 0 declined, retry 1 declined, manual 1 declined";
    acme::assert_outcomes(&world, &[("soft", &format!("failed retry_wait: {tried}"))]).await;
    for after in [7, 14, 30] {
        day(after).await;
    }
    let end = format!("failed exhausted: {tried}, retry 2 declined, retry 3 declined");
    acme::assert_outcomes(&world, &[("soft", &end)]).await;
    acme::assert_books_agree(&world).await;
}

/// a charge by hand is no step. Before the invoice is due, not even the first one is used up by it, nor do the days
/// count from it; neither when autopay is switched off and on meanwhile.
#[tokio::test]
async fn a11_a_charge_by_hand_before_the_due_date_leaves_the_whole_ladder() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("early", &["insufficient_funds", "..."])]).await;
    let due = world
        .texts("select ((app.now() at time zone 'UTC')::date + 10)::text")
        .await;
    let mut document = acme::document(&["early"]);
    document["engagements"] = json!([{
        "external_id": "early-work", "client": "early", "pricing_mode": "hourly", "currency": "usd",
        "hourly_rate": "100", "starts_on": "2020-01-01", "charge_timing": "on_due", "signed": true,
    }]);
    document["invoices"] = json!([{
        "external_id": "early-1", "client": "early", "engagement": "early-work", "currency": "usd",
        "issue_date": "2020-01-01", "due_date": due[0], "autopay_opt_in": true,
        "lines": [{ "kind": "hourly", "amount": "100.00" }],
    }]);
    world.import(&document).await;
    let next = "select next_step || ' ' || next_trigger || ' ' || (next_attempt_at at time zone 'UTC')::date
                  from collection_cycles order by seq desc limit 1";
    let first = [format!("0 auto {}", due[0])];
    for tried in ["manual 0 declined", "manual 0 declined, manual 0 declined"] {
        let charged = world.json(&["invoice", "charge", "early-1", "--yes"]).await;
        assert_eq!(charged["state"], "declined", "{charged}");
        world.settle().await;
        acme::assert_outcomes(&world, &[("early", &format!("sent scheduled: {tried}"))]).await;
        assert_eq!(world.texts(next).await, first);
        acme::switch_autopay(&world, "early", Autopay::Off).await;
        world.settle().await;
        acme::switch_autopay(&world, "early", Autopay::On).await;
        world.settle().await;
        assert_eq!(world.texts(next).await, first);
    }
    acme::go_to(&world, &format!("('{}'::timestamp at time zone 'UTC')", due[0])).await;
    let tried = "manual 0 declined, manual 0 declined, auto 0 declined";
    acme::assert_outcomes(&world, &[("early", &format!("failed retry_wait: {tried}"))]).await;
    for after in [3, 7, 14, 30] {
        let first = "select max(first_failed_at) from collection_cycles";
        acme::go_to(&world, &format!("({first}) + interval '{after} days'")).await;
    }
    let end = format!("failed exhausted: {tried}, retry 1 declined, retry 2 declined, retry 3 declined");
    acme::assert_outcomes(&world, &[("early", &end)]).await;
    acme::assert_books_agree(&world).await;
}

/// B-24: a card that was refused for good and is renewed while nothing is collected, as an operator writes down or as the
/// network tells, is another card for whoever collects next. One that is as it was is not.
#[tokio::test]
async fn b24_a_card_renewed_while_autopay_was_off_is_tried_once_when_it_is_on_again() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["asked", "told", "same"];
    acme::open_alike(&world, &clients, &["expired_card", "succeed"]).await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    for client in clients {
        acme::switch_autopay(&world, client, Autopay::Off).await;
    }
    world.settle().await;
    let renewed = json!({ "id": "pm_asked", "customer": "cus_asked", "exp_month": 12, "exp_year": 2040 });
    world.sim.post("/payment_methods", renewed).await.unwrap();
    let update = json!({ "exp_month": 12, "exp_year": 2040 });
    world
        .sim
        .post("/payment_methods/pm_told/update", update)
        .await
        .unwrap();
    world.settle().await;
    let refused = "auto 0 declined";
    for client in clients {
        acme::assert_outcomes(&world, &[(client, &format!("sent canceled: {refused}"))]).await;
    }
    let added = world
        .json(&["client", "payment-method", "add", "asked", "pm_asked", "--use"])
        .await;
    assert_eq!(added["autopay_enabled"], true, "{added}");
    for client in ["told", "same"] {
        acme::switch_autopay(&world, client, Autopay::On).await;
    }
    world.settle().await;
    let paid = format!("paid succeeded: {refused}, method_updated 0 succeeded");
    acme::assert_outcomes(
        &world,
        &[
            ("asked", &paid),
            ("told", &paid),
            ("same", &format!("failed method_required: {refused}")),
        ],
    )
    .await;
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn b13_a11_autopay_off_and_on_again_charges_nothing_at_once_and_never_more_often() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["soft", "hard", "other"];
    acme::open_accounts(
        &world,
        &[
            ("soft", &["insufficient_funds", "do_not_honor", "succeed"]),
            ("hard", &["lost_card", "..."]),
            ("other", &["stolen_card", "..."]),
        ],
    )
    .await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    let failed = world
        .texts("select distinct first_failed_at::text from collection_cycles order by 1")
        .await;
    let hours = async |after: i64| {
        let first =
            "select min(first_failed_at) from collection_cycles c join invoices i on i.id = c.invoice_id
                      where i.external_id = 'soft-1'";
        acme::go_to(&world, &format!("({first}) + interval '{after} hours'")).await;
    };
    // On three days, twice each, with whatever is due in between.
    for day in [1, 2, 4] {
        hours(24 * day).await;
        for client in clients {
            for _ in 0..2 {
                acme::switch_autopay(&world, client, Autopay::Off).await;
                world.settle().await;
                acme::switch_autopay(&world, client, Autopay::On).await;
                world.settle().await;
            }
        }
        acme::assert_nothing_is_due(&world).await;
        let soft = if day < 3 {
            "failed retry_wait: auto 0 declined"
        } else {
            "failed retry_wait: auto 0 declined, retry 1 declined"
        };
        let hard = "failed method_required: auto 0 declined";
        acme::assert_outcomes(&world, &[("soft", soft), ("hard", hard), ("other", hard)]).await;
        let waits = "select extract(epoch from c.next_attempt_at - c.first_failed_at)::bigint from collection_cycles c
                      where c.state = 'retry_wait'";
        let next_day = if day < 3 { 3 } else { 7 };
        assert_eq!(world.count(waits).await, next_day * DAY_SECS, "on day {day}");
    }
    assert_eq!(
        world
            .texts("select distinct first_failed_at::text from collection_cycles order by 1")
            .await,
        failed,
        "every cycle counts from the first failure"
    );
    // Another card, named when it is switched on again, is tried once, as one that is replaced.
    acme::switch_autopay(&world, "other", Autopay::Off).await;
    world.settle().await;
    acme::replace_card(&world, "other", "pm_other_2", &["lost_card", "..."]).await;
    world.settle().await;
    hours(24 * 7).await;
    acme::assert_outcomes(
        &world,
        &[
            (
                "soft",
                "paid succeeded: auto 0 declined, retry 1 declined, retry 2 succeeded",
            ),
            ("hard", "failed method_required: auto 0 declined"),
            (
                "other",
                "failed method_required: auto 0 declined, method_updated 0 declined",
            ),
        ],
    )
    .await;
    // Each intent that was given up is canceled, and none but the last was charged more often than its steps.
    for (client, times) in [("soft", 3), ("hard", 1), ("other", 2)] {
        assert_eq!(acme::confirmations(&world, client).await.len(), times, "{client}");
    }
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn b01_b13_collection_begins_again_only_when_the_old_intent_is_known_to_be_canceled() {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60, // nobody gives up while the story goes on
        ..WorldOptions::default()
    })
    .await;
    let clients = ["slow", "lost"];
    acme::open_accounts(
        &world,
        &clients.map(|client| (client, &["insufficient_funds"][..])),
    )
    .await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    // Of one, the cancellation takes its time; of the other, it fails, and its job is lost.
    let (slow, _) = acme::intent(&world, "slow").await;
    let (lost, _) = acme::intent(&world, "lost").await;
    for (intent, kind) in [(&slow, "hold_before"), (&lost, "500_before")] {
        let path = format!("/v1/payment_intents/{intent}/cancel");
        world
            .sim
            .fault(json!({ "path": path, "kind": kind }))
            .await
            .unwrap();
    }
    for client in clients {
        acme::switch_autopay(&world, client, Autopay::Off).await;
    }
    world.until_held(1).await;
    let failed_once =
        "select count(*) from jobs where kind = 'cancel_payment_intent' and state = 'retryable'";
    world
        .until(failed_once, 1, std::time::Duration::from_secs(20))
        .await;
    let discarded = world
        .texts(
            "update jobs set state = 'discarded', finished_at = app.now()
              where kind = 'cancel_payment_intent' and state = 'retryable' returning kind",
        )
        .await;
    assert_eq!(discarded.len(), 1);
    for client in clients {
        acme::switch_autopay(&world, client, Autopay::On).await;
        acme::assert_outcomes(&world, &[(client, "sent canceled: auto 0 declined")]).await;
    }
    assert_eq!(world.count("select count(*) from collection_cycles").await, 2);
    world.sim.release().await.unwrap();
    world.settle().await;
    let waits = "failed retry_wait: auto 0 declined";
    acme::assert_outcomes(
        &world,
        &[("slow", waits), ("lost", "sent canceled: auto 0 declined")],
    )
    .await;
    // The sweep finds the one that nobody cancels.
    world.advance("10m").await;
    let begun = "select count(*) from collection_cycles where state = 'retry_wait'";
    world.until(begun, 2, std::time::Duration::from_secs(20)).await;
    acme::assert_outcomes(&world, &[("slow", waits), ("lost", waits)]).await;
    for intent in [&slow, &lost] {
        let books = world.sim.books().await.unwrap();
        assert_eq!(books["by_payment_intent"][intent]["status"], "canceled");
    }
    world.advance("3d").await;
    world.settle().await;
    let paid = "paid succeeded: auto 0 declined, retry 1 succeeded";
    acme::assert_outcomes(&world, &[("slow", paid), ("lost", paid)]).await;
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn who_must_act_and_does_not_within_two_weeks_is_left_to_a_person() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["hard", "secure", "old"];
    acme::open_accounts(
        &world,
        &[
            ("hard", &["lost_card", "..."]),
            ("secure", &["authenticate", "..."]),
            ("old", &["expired_card", "..."]),
        ],
    )
    .await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    // As a build left it that set no deadlines.
    let old = "update collection_cycles c set deadline_at = null from invoices i
                where i.id = c.invoice_id and i.external_id = 'old-1' returning i.external_id";
    assert_eq!(world.texts(old).await.len(), 1);
    let end = |minutes: i64| {
        format!(
            "(select max(first_failed_at) + interval '14 days' + interval '{minutes} minutes' from collection_cycles)"
        )
    };
    acme::go_to(&world, &end(-11)).await;
    // The sweep sets what is missing.
    let set =
        "select count(*) from collection_cycles where deadline_at = first_failed_at + interval '14 days'";
    world.until(set, 3, std::time::Duration::from_secs(20)).await;
    let action = "failed action_required: auto 0 declined";
    let method = "failed method_required: auto 0 declined";
    acme::assert_outcomes(&world, &[("hard", method), ("secure", action), ("old", method)]).await;
    let shown = world.json(&["invoice", "show", "old-1"]).await;
    assert!(shown["autopay"]["waits_until"].is_string(), "{shown}");

    acme::go_to(&world, &end(11)).await;
    until_exhausted(&world, 3).await;
    let over = "failed exhausted: auto 0 declined";
    acme::assert_outcomes(&world, &[("hard", over), ("secure", over), ("old", over)]).await;
    let told = "select i.external_id || ' ' || (a.meta ->> 'reason') || ' ' || a.severity from audit_events a
                  join invoices i on i.id = a.subject_id where a.action = 'retry.exhausted' order by 1";
    assert_eq!(
        world.texts(told).await,
        [
            "hard-1 method_deadline_passed critical",
            "old-1 method_deadline_passed critical",
            "secure-1 action_deadline_passed critical",
        ]
    );
    let shown = world.json(&["invoice", "show", "hard-1"]).await;
    assert_eq!(
        json!([
            shown["autopay"]["state"],
            shown["autopay"]["reason"],
            shown["autopay"]["waits_until"]
        ]),
        json!(["exhausted", "method_deadline_passed", null])
    );
    // Another card changes nothing any more; money that comes is taken all the same.
    acme::replace_card(&world, "hard", "pm_hard_2", &[]).await;
    pay_by_hand(&world, "secure").await;
    world.settle().await;
    world.advance("1d").await;
    acme::assert_nothing_is_due(&world).await;
    acme::assert_outcomes(
        &world,
        &[
            ("hard", over),
            ("secure", "paid succeeded: auto 0 declined"),
            ("old", over),
        ],
    )
    .await;
    for client in clients {
        assert_eq!(acme::confirmations(&world, client).await.len(), 1, "{client}");
    }
    acme::assert_books_agree(&world).await;
}

/// R066.
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
