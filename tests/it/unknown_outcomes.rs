//! P3: whatever happens to a call, the customer is charged once; what is not known is looked up and never sent again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme;

/// Every way in which a call goes wrong, and whether it had its effect all the same.
const FAULTS: [(&str, Effect); 13] = [
    ("500_before", Effect::None),
    ("500_stored", Effect::None),
    ("500_after", Effect::Took),
    ("502_html", Effect::None),
    ("502_html_after", Effect::Took),
    ("429", Effect::Again),
    ("lock_timeout", Effect::Again),
    ("reset_before", Effect::None),
    ("reset_after", Effect::Took),
    ("truncate_after", Effect::Took),
    ("trickle_after", Effect::Took),
    ("delay_after_effect", Effect::Took),
    ("delay_before_effect", Effect::Late),
];

/// What the call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing happened.
    None,
    /// It happened, and we were not told.
    Took,
    /// It happened after we had stopped waiting.
    Late,
    /// Stripe said that nothing happened, and that it may be sent again.
    Again,
}

/// The client that a fault strikes.
fn victim(fault: &str) -> String {
    format!("of_{fault}")
}

/// The clients that the faults strike whose calls came to any of these.
fn victims_of(effects: &[Effect]) -> Vec<String> {
    let struck = FAULTS.iter().filter(|(_, effect)| effects.contains(effect));
    struck.map(|(kind, _)| victim(kind)).collect()
}

/// A fault that strikes one call. A delay is longer than [`acme::impatient`] programs wait.
fn fault(kind: &str) -> Value {
    json!({ "method": "POST", "kind": kind, "ms": 1500, "retry_after_secs": 1 })
}

/// The same, for calls to this path.
fn fault_at(path: &str, kind: &str) -> Value {
    let mut fault = fault(kind);
    fault["path"] = path.into();
    fault
}

/// S1, B-01.
#[tokio::test]
async fn p3_a_confirmation_gone_wrong_in_any_way_charges_once_and_is_looked_up_not_resent() {
    let world = World::start(acme::impatient()).await;
    let clients: Vec<String> = FAULTS.iter().map(|(kind, _)| victim(kind)).collect();
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    acme::bill_in_vain(&world, &clients).await;
    // No webhook comes to our help from here on.
    world.sim.pause_webhooks().await.unwrap();
    for (kind, _) in FAULTS {
        acme::spoil_confirmation(&world, &victim(kind), fault(kind)).await;
    }
    world.advance("3d").await;
    // What took effect is found, also where that happens after much business time and little real time has passed.
    let effective = victims_of(&[Effect::Took, Effect::Late, Effect::Again]);
    let effective: Vec<&str> = effective.iter().map(String::as_str).collect();
    acme::wait_for(&world, &effective, "paid").await;
    // And no business time proves of the others that nothing happened.
    world.advance("1d").await;
    world.settle().await;
    for client in victims_of(&[Effect::None]) {
        let unknown = "processing unknown: auto 0 declined, retry 1 unknown";
        acme::assert_outcomes(&world, &[(&client, unknown)]).await;
    }
    acme::age_calls(&world).await;
    acme::wait_for(&world, &clients, "paid").await;

    let once = "paid succeeded: auto 0 declined, retry 1 succeeded";
    let twice = "paid succeeded: auto 0 declined, retry 1 technical, retry 1 succeeded";
    for (kind, effect) in FAULTS {
        let client = victim(kind);
        let wanted = if effect == Effect::None { twice } else { once };
        acme::assert_outcomes(&world, &[(&client, wanted)]).await;
        let (_, intent) = acme::intent(&world, &client).await;
        assert_eq!(intent["captured"], 100_000, "{kind}");
        let calls = acme::confirmations(&world, &client).await;
        let mut times = BTreeMap::new();
        for call in &calls {
            *times.entry(call["idempotency_key"].to_string()).or_insert(0) += 1;
        }
        let same_key = times.values().max().copied();
        let allowed = if effect == Effect::Again { 2 } else { 1 };
        assert_eq!(same_key, Some(allowed), "{kind}: {calls:#?}");
    }
    assert_s1_every_key_names_an_attempt(&world).await;
    acme::assert_books_agree(&world).await;

    world.sim.resume_webhooks().await.unwrap();
    world.settle().await;
    assert_eq!(world.count("select count(*) from payments").await, 13);
    acme::assert_books_agree(&world).await;
}

/// No key holds a time or a random number: each is made of the attempt that the call was for.
async fn assert_s1_every_key_names_an_attempt(world: &World) {
    let attempts: BTreeSet<String> = world
        .texts("select id::text from payment_attempts")
        .await
        .into_iter()
        .collect();
    for call in world.sim.requests().await.unwrap() {
        if call["method"] == "POST" {
            let key = call["idempotency_key"].as_str().unwrap_or_default();
            let attempt = key.split(':').nth(1).unwrap_or_default();
            assert!(attempts.contains(attempt), "{call}");
        }
    }
}

/// B-01.
#[tokio::test]
async fn p3_a_creation_gone_wrong_in_any_way_charges_once() {
    let world = World::start(acme::impatient()).await;
    let clients: Vec<String> = FAULTS.iter().map(|(kind, _)| victim(kind)).collect();
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    acme::open_alike(&world, &clients, &[]).await;
    // The first thirteen creations go wrong, each in its own way, whoever they are for.
    for (at, (kind, _)) in FAULTS.iter().enumerate() {
        let mut fault = fault_at("/v1/payment_intents", kind);
        fault["nth"] = json!(at + 1);
        world.sim.fault(fault).await.unwrap();
    }
    acme::bill(&world, &clients, "usd", "1000.00").await;
    acme::wait_for(&world, &clients, "paid").await;
    let rules = world.sim.get("/faults").await.unwrap();
    for rule in rules["data"].as_array().unwrap() {
        assert_eq!(rule["struck"], 1, "{rule}");
    }
    for client in clients {
        let confirmed = acme::confirmations(&world, client).await;
        assert_eq!(confirmed.len(), 1, "{client}: {confirmed:#?}");
    }
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 1_300_000);
    assert_s1_every_key_names_an_attempt(&world).await;
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn s1_a_creation_that_fails_again_and_again_is_made_again_with_the_same_key() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    let mut down = fault_at("/v1/payment_intents", "500_before");
    down["times"] = json!(2);
    world.sim.fault(down).await.unwrap();
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    acme::wait_for(&world, &["globex"], "paid").await;
    let calls = acme::creations(&world, "globex").await;
    let keys: BTreeSet<String> = calls
        .iter()
        .map(|call| call["idempotency_key"].to_string())
        .collect();
    assert_eq!((calls.len(), keys.len()), (3, 1), "{calls:#?}");
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;
}

#[tokio::test]
async fn p3_patience_that_stripe_asks_for_uses_up_no_step() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["create", "confirm"];
    acme::open_alike(&world, &clients, &["insufficient_funds"]).await;
    // More often than one run of a job tries, and with a wait that it does not sit out.
    let busy = |path: &str| json!({ "path": path, "kind": "429", "times": 2, "retry_after_secs": 30 });
    world.sim.fault(busy("/v1/payment_intents")).await.unwrap();
    acme::bill(&world, &["create"], "usd", "1000.00").await;
    acme::wait_for(&world, &["create"], "failed").await;
    world
        .sim
        .fault(busy("/v1/payment_intents/*/confirm"))
        .await
        .unwrap();
    acme::bill(&world, &["confirm"], "usd", "1000.00").await;
    world.settle().await;
    acme::age_calls(&world).await;
    acme::wait_for(&world, &["confirm"], "failed").await;
    for client in clients {
        let attempts = acme::outcome(&world, client).await;
        assert!(
            attempts.ends_with("auto 0 technical, auto 0 declined"),
            "{client}: {attempts}"
        );
    }
    let next = world
        .texts("select distinct next_step::text from collection_cycles")
        .await;
    assert_eq!(next, ["1"]);
}

/// B-15.
#[tokio::test]
async fn p3_an_unknown_outcome_blocks_every_other_charge_until_it_is_seen() {
    let world = World::start(acme::impatient()).await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    world.sim.pause_webhooks().await.unwrap();
    acme::hold_confirmations(&world, "hold_before", 1).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    let unknown = "processing unknown: auto 0 unknown";
    acme::assert_outcomes(&world, &[("globex", unknown)]).await;
    // The call is still under way, however far the business clock is moved meanwhile.
    for later in ["1m", "1h", "2d"] {
        world.advance(later).await;
        world.settle().await;
        acme::assert_nothing_is_due(&world).await;
        acme::assert_outcomes(&world, &[("globex", unknown)]).await;
    }

    world.sim.release().await.unwrap();
    world.until_held(0).await;
    world.advance("10m").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;
    assert_eq!(acme::confirmations(&world, "globex").await.len(), 1);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn p3_a_call_that_takes_effect_long_after_we_gave_it_up_charges_nobody_twice() {
    let world = World::start(acme::impatient()).await;
    acme::open_alike(&world, &["between", "behind"], &[]).await;
    acme::hold_confirmations(&world, "hold_before", 2).await;
    acme::bill(&world, &["between"], "usd", "1000.00").await;
    world.settle().await;
    // After a minute and a half without a trace of it, the attempt counts as one without effect.
    acme::age_calls(&world).await;
    world.advance("100s").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("between", "sent scheduled: auto 0 technical")]).await;
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(&world, &[("between", "paid succeeded: auto 0 technical")]).await;

    acme::bill(&world, &["behind"], "usd", "1000.00").await;
    world.settle().await;
    acme::age_calls(&world).await;
    acme::wait_for(&world, &["behind"], "paid").await;
    world.sim.release().await.unwrap();
    world.until_held(0).await;
    world.advance("10m").await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("between", "paid succeeded: auto 0 technical"),
            ("behind", "paid succeeded: auto 0 technical, auto 0 succeeded"),
        ],
    )
    .await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 200_000);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn b20_a_payment_that_was_processing_is_looked_up_when_its_webhook_is_lost() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["cleared", "bounced", "called_off"];
    acme::open_accounts(
        &world,
        &[
            ("cleared", &["processing"]),
            ("bounced", &["processing"]),
            ("called_off", &["insufficient_funds"]),
        ],
    )
    .await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    let lost = json!({ "drop_types": ["payment_intent.succeeded", "payment_intent.payment_failed"] });
    world.sim.webhooks(lost).await.unwrap();
    for (client, outcome) in [("cleared", "succeed"), ("bounced", "generic_decline")] {
        acme::end_processing(&world, client, outcome).await;
    }
    // And one whose intent somebody cancels at the dashboard.
    let (intent, _) = acme::intent(&world, "called_off").await;
    let url = format!("{}/v1/payment_intents/{intent}/cancel", world.sim.base());
    let canceled = reqwest::Client::new()
        .post(url)
        .bearer_auth("sk_test_world")
        .send()
        .await
        .unwrap();
    assert_eq!(canceled.status(), 200);
    world.settle().await;
    world.advance("2h").await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("cleared", "paid succeeded: auto 0 succeeded"),
            ("bounced", "failed retry_wait: auto 0 declined"),
            ("called_off", "sent canceled: auto 0 declined"),
        ],
    )
    .await;
    acme::assert_books_agree(&world).await;
}
