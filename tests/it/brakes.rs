//! Automatic charging can be stopped within a second, while webhooks go on, and stops by itself beyond a firm's limits.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::{
    acme,
    cast::{self, AMOUNT_MINOR, Payer},
};

/// Long enough for all of a crowd at the rate of these worlds, on a machine with two cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// Real milliseconds since 1970.
#[allow(clippy::disallowed_methods)] // what a real second is, is the question here
fn now_ms() -> i64 {
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(age.unwrap().as_millis()).unwrap()
}

/// The confirmations that reached Stripe, by the real time of their arrival.
async fn confirmations(world: &World) -> Vec<i64> {
    let calls = world.sim.requests().await.unwrap();
    calls
        .iter()
        .filter(|call| call["path"].as_str().unwrap().ends_with("/confirm"))
        .map(|call| call["arrived_ms"].as_i64().unwrap())
        .collect()
}

/// A world whose workers wait for their turn at Stripe, so that a pause finds charges at every step.
async fn busy() -> World {
    World::start(WorldOptions {
        workers: 3,
        env: vec![("STRIPE_RATE_PER_SEC".into(), "30".into())],
        ..WorldOptions::default()
    })
    .await
}

#[tokio::test]
async fn pause_stops_money_within_a_second_while_webhooks_go_on() {
    let world = busy().await;
    let crowd = Payer::crowd("firm", 120);
    let all = i64::try_from(crowd.len()).unwrap();
    cast::enter(&world, &crowd, &[]).await;
    let charged = "select least(20, count(*)) from payments";
    world.until(charged, 20, PATIENCE).await;

    let paused = world
        .json(&["pause", "autopay", "--all", "--reason", "checking the totals"])
        .await;
    let returned = now_ms();
    assert_eq!(
        json!([paused["scope"], paused["paused"], paused["changed"]]),
        json!(["all", true, true])
    );
    world.settle_within(PATIENCE).await;
    let sent = confirmations(&world).await;
    let late: Vec<i64> = sent
        .iter()
        .map(|at| at - returned)
        .filter(|after| *after > 1_000)
        .collect();
    assert_eq!(
        late, [0; 0],
        "confirmations so many milliseconds after the command returned"
    );
    let captured = world.sim.captured_minor("usd").await.unwrap();
    assert!(
        captured < all * AMOUNT_MINOR,
        "everything was charged before the pause"
    );

    // Nothing is charged later either, whatever is due and however often somebody sweeps.
    world.advance("10m").await;
    world.settle_within(PATIENCE).await;
    acme::assert_nothing_is_due(&world).await;
    assert_eq!(confirmations(&world).await.len(), sent.len());
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), captured);
    let skipped = world.json(&["process-recurring-charges", "--dry-run"]).await;
    assert_eq!(skipped["would_charge"], json!([]));
    assert_eq!(skipped["skipped"][0]["reason_code"], "autopay_paused");

    // What Stripe tells meanwhile is taken in and applied: payments made, and a refund.
    let paid = world
        .texts("select stripe_payment_intent_id from payments order by 1 limit 1")
        .await;
    world
        .sim
        .post("/refunds", json!({ "payment_intent": paid[0], "amount": 100 }))
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(world.count("select count(*) from refunds").await, 1);
    assert_eq!(
        world
            .count("select count(*) from stripe_events where state not in ('applied', 'ignored')")
            .await,
        0
    );
    for event in world.sim.events().await.unwrap() {
        let deliveries = event["attempts"].as_array().into_iter().flatten();
        for delivery in deliveries {
            assert_eq!(delivery["status"], 200, "{event}");
        }
    }

    // Again is no change; the first reason stands.
    let again = world
        .json(&["pause", "autopay", "--all", "--reason", "really"])
        .await;
    assert_eq!(again["changed"], false);
    assert_eq!(
        world
            .texts("select autopay_paused_reason from installation")
            .await,
        ["checking the totals"]
    );
    let unsaid = world.cli(&["resume", "autopay", "--all"]).await;
    assert_eq!(unsaid.code, 2, "whoever lets it go on says why: {unsaid}");
    let resumed = world
        .json(&["resume", "autopay", "--all", "--reason", "a story"])
        .await;
    assert!(resumed["enqueued"].as_u64().unwrap() > 0, "{resumed}");
    world.settle_within(PATIENCE).await;
    world.advance("10m").await;
    world.settle_within(PATIENCE).await;
    assert_eq!(world.count("select count(*) from payments").await, all);
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), all * AMOUNT_MINOR);
    let changes = "select action || ' by ' || (changed_by <> '')::text from installation_changes
                    where action like 'autopay.%' order by id";
    assert_eq!(
        world.texts(changes).await,
        ["autopay.paused by true", "autopay.resumed by true"]
    );
    let audited = "select meta ->> 'change' from audit_events where action = 'config.changed' order by id";
    assert_eq!(world.texts(audited).await, ["autopay.paused", "autopay.resumed"]);
}

/// Whoever pauses everybody and fails on the way has paused nobody; whoever succeeds has told every firm.
#[tokio::test]
async fn a_pause_of_everybody_is_whole_with_what_each_firm_is_told_of_it() {
    let world = World::start(WorldOptions::default()).await;
    let firms: Vec<Value> = ["one", "two", "three"]
        .map(|firm| json!({ "external_id": firm, "name": firm, "timezone": "UTC", "currency": "usd" }))
        .into();
    world.import(&json!({ "firms": firms })).await;
    for statement in [
        "create function refuse() returns trigger language plpgsql as $$
           begin raise exception 'no room for two' using errcode = '53100'; end $$",
        "create trigger refuse before insert on audit_events for each row
           when (new.action = 'config.changed' and new.meta ->> 'scope' = 'all') execute function refuse()",
    ] {
        sqlx::query(statement).execute(&world.db).await.unwrap();
    }
    let pause = ["pause", "autopay", "--all", "--reason", "checking"];
    let failed = world.cli(&pause).await;
    assert_ne!(failed.code, 0, "{failed:?}");
    let paused = "select count(*) from installation where autopay_paused_at is not null";
    assert_eq!(world.count(paused).await, 0, "it said that it failed");
    sqlx::query("drop trigger refuse on audit_events")
        .execute(&world.db)
        .await
        .unwrap();
    world.json(&pause).await;
    world
        .json(&["resume", "autopay", "--all", "--reason", "a story"])
        .await;
    let told = "select f.external_id || ' ' || string_agg(a.meta ->> 'change', ' ' order by a.id)
                  from audit_events a join firms f on f.id = a.firm_id and a.subject_id = f.id
                 where a.action = 'config.changed' group by f.external_id order by f.external_id";
    assert_eq!(
        world.texts(told).await,
        ["one", "three", "two"].map(|firm| format!("{firm} autopay.paused autopay.resumed"))
    );
}

#[tokio::test]
async fn a_pause_of_one_firm_or_client_stops_nobody_else() {
    let world = World::start(WorldOptions::default()).await;
    let payers = [
        Payer::of("one", "paused"),
        Payer::of("two", "held"),
        Payer::of("two", "free"),
    ];
    let firms: Vec<Value> = ["one", "two"]
        .map(|firm| json!({ "external_id": firm, "name": firm, "timezone": "UTC", "currency": "usd" }))
        .into();
    let mut document = cast::document(&payers);
    world
        .import(&json!({ "firms": firms, "clients": document["clients"].take() }))
        .await;
    for payer in &payers {
        world
            .sim
            .customer_with_card(&payer.customer, &payer.card, &[])
            .await
            .unwrap();
    }
    world
        .json(&["pause", "autopay", "--firm-id", "one", "--reason", "asked for"])
        .await;
    world
        .json(&["pause", "autopay", "--client-id", "held", "--reason", "asked for"])
        .await;
    world.import(&cast::document(&payers)).await;
    world.settle().await;
    let mut statuses = Vec::new();
    for payer in &payers {
        statuses.push(payer.status(&world).await);
    }
    assert_eq!(statuses, ["sent", "sent", "paid"]);
    world
        .json(&["resume", "autopay", "--firm-id", "one", "--reason", "a story"])
        .await;
    world.settle().await;
    assert_eq!(payers[0].status(&world).await, "paid");
    assert_eq!(payers[1].status(&world).await, "sent");
    world
        .json(&["resume", "autopay", "--client-id", "held", "--reason", "a story"])
        .await;
    world.settle().await;
    assert_eq!(payers[1].status(&world).await, "paid");
    let audited = "select subject_kind || ' ' || (meta ->> 'change') from audit_events where action = 'config.changed' order by at, id";
    assert_eq!(
        world.texts(audited).await,
        [
            "firm autopay.paused",
            "client autopay.paused",
            "firm autopay.resumed",
            "client autopay.resumed"
        ]
    );
    for wrong in [
        &["pause", "autopay", "--reason", "x"][..],
        &["pause", "autopay", "--all"],
        &["pause", "autopay", "--all", "--reason", ""],
    ] {
        let refused = world.cli(wrong).await;
        assert_eq!(refused.code, 2, "{refused}");
    }
}

/// Gives Acme's limits another value by an import.
async fn limit(world: &World, key: &str, value: i64) {
    let mut document = acme::document(&[]);
    document["firms"][0][key] = value.into();
    world.import(&document).await;
}

/// A charge above the firm's limit waits for a person, whoever would have made it; so does one in a currency that the limit
/// says nothing about. What a retry, the sweep and a single job would do is the same.
#[tokio::test]
async fn a_charge_above_the_firms_limit_waits_for_a_person() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["small", "large", "foreign"];
    acme::open_accounts(&world, &clients.map(|client| (client, &[][..]))).await;
    limit(&world, "max_charge_minor", 50_000).await;
    acme::bill(&world, &["small"], "usd", "500.00").await;
    acme::bill(&world, &["large"], "usd", "500.01").await;
    acme::bill(&world, &["foreign"], "eur", "1.00").await;
    world.settle().await;
    let parked = [
        ("small", "paid succeeded: auto 0 succeeded"),
        ("large", "sent paused"),
        ("foreign", "sent paused"),
    ];
    acme::assert_outcomes(&world, &parked).await;
    let reasons = "select state_reason from collection_cycles where state = 'paused' order by 1";
    assert_eq!(
        world.texts(reasons).await,
        ["amount_above_limit", "limit_in_other_currency"]
    );
    let alerts = "select count(*) from alerts where alert_type = 'SYSTEM_ERROR' and severity = 'critical' and not is_resolved";
    assert_eq!(world.count(alerts).await, 2);
    world.advance("3d").await;
    acme::assert_nothing_is_due(&world).await;
    acme::assert_outcomes(&world, &parked).await;

    // A person says go on: what the limit still forbids is parked again; with a higher limit, it is charged.
    let resumed = world
        .json(&["resume", "autopay", "--firm-id", "acme", "--reason", "a story"])
        .await;
    assert_eq!(
        json!([resumed["released"], resumed["changed"]]),
        json!([2, false])
    );
    world.settle().await;
    acme::assert_outcomes(&world, &parked).await;
    limit(&world, "max_charge_minor", 50_001).await;
    world
        .json(&["resume", "autopay", "--firm-id", "acme", "--reason", "a story"])
        .await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("large", "paid succeeded: auto 0 succeeded"),
            ("foreign", "sent paused"),
        ],
    )
    .await;
    limit(&world, "max_charge_minor", 0).await;
    world
        .json(&["resume", "autopay", "--firm-id", "acme", "--reason", "a story"])
        .await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("foreign", "paid succeeded: auto 0 succeeded")]).await;
    assert_eq!(world.count(alerts).await, 0);
    acme::assert_books_agree(&world).await;
}

/// The firm's local day sees so many automatic charges, exactly, however many workers make them; the rest waits for a
/// person, under one alert.
#[tokio::test]
async fn charges_beyond_the_firms_number_wait_for_a_person() {
    let world = World::start(WorldOptions {
        workers: 2,
        ..WorldOptions::default()
    })
    .await;
    // The number is of a day: none ends while this goes on.
    world.to_noon().await;
    let crowd = Payer::crowd("firm", 12);
    let mut document = cast::document(&crowd);
    document["firms"][0]["max_charges_per_run"] = 5.into();
    for payer in &crowd {
        world
            .sim
            .customer_with_card(&payer.customer, &payer.card, &[])
            .await
            .unwrap();
    }
    world.import(&document).await;
    world.settle().await;
    let paid = "select count(*) from payments";
    assert_eq!(world.count(paid).await, 5);
    let waits =
        "select count(*) from collection_cycles where state = 'paused' and state_reason = 'too_many_charges'";
    assert_eq!(world.count(waits).await, 7);
    let alert = "select occurrences || ' ' || is_resolved from alerts where dedupe_key = 'too_many_charges' order by created_at";
    assert_eq!(world.texts(alert).await, ["7 false"]);

    // Neither a sweep nor another day lets them go on, but a person does, within the day's limit.
    world
        .json(&["resume", "autopay", "--firm-id", "firm", "--reason", "a story"])
        .await;
    world.settle().await;
    assert_eq!(world.count(paid).await, 5);
    world.advance("25h").await;
    acme::assert_nothing_is_due(&world).await;
    assert_eq!(world.count(paid).await, 5);
    world
        .json(&["resume", "autopay", "--firm-id", "firm", "--reason", "a story"])
        .await;
    world.settle().await;
    assert_eq!(world.count(paid).await, 10);
    assert_eq!(world.count(waits).await, 2);
    assert_eq!(world.texts(alert).await, ["7 true", "7 true", "2 false"]);
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 10 * AMOUNT_MINOR);
}
