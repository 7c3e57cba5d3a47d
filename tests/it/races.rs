//! Something changes between the decision to charge and the charge: at every step of it, the last word wins.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::json;
use tests::world::{Switch, World, WorldOptions};

use crate::acme::{self, Autopay};

/// Stops the next such call after it took effect.
async fn hold_after(world: &World, method: &str, path: &str) {
    let hold = json!({ "method": method, "path": path, "kind": "hold_after" });
    world.sim.fault(hold).await.unwrap();
}

#[tokio::test]
async fn b10_what_was_paid_or_switched_off_while_the_intent_was_made_is_not_charged() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["fully", "partly", "off"];
    acme::open_alike(&world, &clients, &[]).await;
    for _ in clients {
        hold_after(&world, "POST", "/v1/payment_intents").await;
    }
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.until_held(3).await;
    acme::pay_by_bank(&world, "fully", 100_000).await;
    acme::pay_by_bank(&world, "partly", 40_000).await;
    acme::switch_autopay(&world, "off", Autopay::Off).await;
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("fully", "paid canceled: auto 0 canceled"),
            ("partly", "paid succeeded: auto 0 canceled, auto 0 succeeded"),
            ("off", "sent canceled: auto 0 canceled"),
        ],
    )
    .await;
    for client in ["fully", "off"] {
        assert_eq!(
            acme::intent(&world, client).await.1["status"],
            "canceled",
            "{client}"
        );
        assert!(acme::confirmations(&world, client).await.is_empty(), "{client}");
    }
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 60_000);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn b10_a_customer_who_pays_while_a_retry_is_being_made_pays_once() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["at_read", "at_confirm", "in_between"];
    acme::bill_in_vain(&world, &clients).await;
    world.sim.pause_webhooks().await.unwrap();
    // One pays after the intent was read for the retry, one before the confirmation takes effect, one is at it.
    let (at_read, _) = acme::intent(&world, "at_read").await;
    let (at_confirm, _) = acme::intent(&world, "at_confirm").await;
    let (in_between, _) = acme::intent(&world, "in_between").await;
    hold_after(&world, "GET", &format!("/v1/payment_intents/{at_read}")).await;
    acme::spoil_confirmation(&world, "at_confirm", json!({ "kind": "hold_before" })).await;
    pay(&world, &in_between, "authenticate").await;
    world.advance("3d").await;
    world.until_held(2).await;
    pay(&world, &at_read, "succeed").await;
    pay(&world, &at_confirm, "succeed").await;
    world.sim.release().await.unwrap();
    acme::wait_for(&world, &["at_read", "at_confirm"], "paid").await;
    assert!(
        acme::outcome(&world, "in_between")
            .await
            .contains("retry 1 created")
    );
    pay(&world, &in_between, "succeed").await;
    world.sim.resume_webhooks().await.unwrap();
    world.settle().await;
    for client in clients {
        let paid = "paid succeeded: auto 0 declined, retry 1 succeeded";
        acme::assert_outcomes(&world, &[(client, paid)]).await;
        assert_eq!(
            acme::intent(&world, client).await.1["captured"],
            100_000,
            "{client}"
        );
    }
    acme::assert_books_agree(&world).await;
}

/// The customer pays on-session.
async fn pay(world: &World, intent: &str, outcome: &str) {
    let path = format!("/payment_intents/{intent}/pay");
    let order = json!({ "payment_method": "pm_card_visa", "outcome": outcome });
    world.sim.post(&path, order).await.unwrap();
}

#[tokio::test]
async fn b13_autopay_switched_off_and_on_over_an_unknown_outcome_charges_once() {
    let world = World::start(acme::impatient()).await;
    // The daily sweep would find out what became of the charge before anybody switches anything.
    world.switch("backfill_events", Switch::Off).await;
    let clients = ["took", "lost"];
    acme::bill_in_vain(&world, &clients).await;
    for (client, kind) in [("took", "reset_after"), ("lost", "reset_before")] {
        acme::spoil_confirmation(&world, client, json!({ "kind": kind })).await;
    }
    world.sim.pause_webhooks().await.unwrap();
    world.advance("3d").await;
    world.settle().await;
    for client in clients {
        let unknown = "processing unknown: auto 0 declined, retry 1 unknown";
        acme::assert_outcomes(&world, &[(client, unknown)]).await;
        acme::switch_autopay(&world, client, Autopay::Off).await;
        acme::switch_autopay(&world, client, Autopay::On).await;
    }
    // What had taken effect is kept; what had not is canceled, and the invoice waits for the next step that lies ahead.
    acme::wait_for(&world, &["took"], "paid").await;
    let took = "paid succeeded: auto 0 declined, retry 1 succeeded";
    let lost = "auto 0 declined, retry 1 canceled";
    acme::assert_outcomes(
        &world,
        &[("took", took), ("lost", &format!("failed retry_wait: {lost}"))],
    )
    .await;
    acme::go_to(
        &world,
        "(select max(first_failed_at) + interval '7 days' from collection_cycles)",
    )
    .await;
    acme::assert_outcomes(
        &world,
        &[
            ("took", took),
            ("lost", &format!("paid succeeded: {lost}, retry 2 succeeded")),
        ],
    )
    .await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 200_000);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn b13_a_decline_that_comes_after_autopay_was_switched_off_counts_when_it_is_on_again() {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60, // nobody gives up while the story goes on
        ..WorldOptions::default()
    })
    .await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds", "succeed"])]).await;
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_before" });
    world.sim.fault(hold).await.unwrap();
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.until_held(1).await;
    acme::switch_autopay(&world, "globex", Autopay::Off).await;
    acme::switch_autopay(&world, "globex", Autopay::On).await;
    // What is under way must come to its end first.
    acme::assert_outcomes(&world, &[("globex", "sent canceled: auto 0 sent")]).await;
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "failed retry_wait: auto 0 declined")]).await;
    assert_eq!(acme::confirmations(&world, "globex").await.len(), 1);
    acme::go_to(
        &world,
        "(select max(first_failed_at) + interval '3 days' from collection_cycles)",
    )
    .await;
    let paid = "paid succeeded: auto 0 declined, retry 1 succeeded";
    acme::assert_outcomes(&world, &[("globex", paid)]).await;
    assert_eq!(acme::intents(&world, "globex").await.len(), 2);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn a_cards_update_waits_for_its_clients_invoices_before_it_touches_the_card() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["lost_card"])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    // Somebody is at the invoice, as a collection would be that will mark the card next.
    let mut collection = world.db.begin().await.unwrap();
    sqlx::query("select from invoices for update")
        .execute(&mut *collection)
        .await
        .unwrap();
    let renewed = json!({ "exp_month": 6, "exp_year": 2036, "last4": "1111" });
    world
        .sim
        .post("/payment_methods/pm_globex/update", renewed)
        .await
        .unwrap();
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock' and query ilike '%invoices%'";
    world.until(waiting, 1, std::time::Duration::from_secs(20)).await;
    // The card is free: the update holds nothing that the collection needs, so neither waits for the other for ever.
    sqlx::query("select from payment_methods where stripe_payment_method_id = 'pm_globex' for update nowait")
        .execute(&mut *collection)
        .await
        .unwrap();
    collection.commit().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[(
            "globex",
            "paid succeeded: auto 0 declined, method_updated 0 succeeded",
        )],
    )
    .await;
    let again = "select count(*) from jobs where attempt > 1";
    assert_eq!(world.count(again).await, 0);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn b04_an_event_whose_object_stripe_does_not_know_yet_is_looked_at_again_for_three_days() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds"])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    // The client pays, and the event about it is faster than the copy of Stripe's books that we read.
    let (intent, _) = acme::intent(&world, "globex").await;
    let path = format!("/v1/payment_intents/{intent}");
    let behind = json!({ "method": "GET", "path": path, "kind": "404", "times": 2 });
    world.sim.fault(behind).await.unwrap();
    pay(&world, &intent, "succeed").await;
    world.settle().await;
    // And one is about a dispute that is never there.
    let dispute = json!({ "id": "dp_nowhere", "object": "dispute", "payment_intent": intent });
    world
        .sim
        .post(
            "/events",
            json!({ "type": "charge.dispute.created", "object": dispute }),
        )
        .await
        .unwrap();
    world.settle().await;
    let waiting =
        "select e.type || ' ' || split_part(e.state_reason, ':', 1) || ' ' || (e.firm_id is not null)
                     from stripe_events e where e.state = 'unmatched' order by 1";
    assert_eq!(
        world.texts(waiting).await,
        [
            "charge.dispute.created its object is not at Stripe yet true",
            "payment_intent.succeeded its object is not at Stripe yet true",
        ]
    );
    acme::assert_outcomes(&world, &[("globex", "failed retry_wait: auto 0 declined")]).await;
    for (until, paid) in [("1m", false), ("5m", true)] {
        world.advance(until).await;
        world.settle().await;
        let status = acme::outcome(&world, "globex").await;
        assert_eq!(
            status == "paid succeeded: auto 0 declined",
            paid,
            "after {until}: {status}"
        );
    }
    assert_eq!(world.texts(waiting).await.len(), 1);

    world.advance("2d").await;
    world.settle().await;
    assert_eq!(world.texts(waiting).await.len(), 1, "it still waits");
    world.advance("1d").await;
    world.settle().await;
    let parked =
        "select type || ' ' || split_part(state_reason, ':', 1) from stripe_events where state = 'parked'";
    assert_eq!(
        world.texts(parked).await,
        ["charge.dispute.created its object was not at Stripe for 3 days"]
    );
    acme::assert_books_agree(&world).await;
}

/// a payment of one of our customers that none of our charges is about is not taken for one of theirs: it waits for its
/// owner, and is a person's after three days.
#[tokio::test]
async fn a02_whose_a_payment_is_is_never_guessed() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds"])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    let foreign = json!({
        "id": "pi_of_another_program", "object": "payment_intent", "customer": "cus_globex", "amount": 100_000,
        "amount_received": 100_000, "currency": "usd", "status": "succeeded", "latest_charge": "ch_of_another_program",
    });
    let told = json!({ "type": "payment_intent.succeeded", "object": foreign });
    world.sim.post("/events", told).await.unwrap();
    world.settle().await;
    let state = "select state || ' ' || (firm_id is null) from stripe_events where object_id = 'pi_of_another_program'";
    assert_eq!(world.texts(state).await, ["unmatched true"]);
    for days in ["2d", "1d"] {
        world.advance(days).await;
        world.settle().await;
    }
    assert_eq!(world.texts(state).await, ["parked true"]);
    acme::assert_outcomes(
        &world,
        &[("globex", "paid succeeded: auto 0 declined, retry 1 succeeded")],
    )
    .await;
    acme::assert_books_agree(&world).await;
}
