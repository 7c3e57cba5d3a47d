//! Replay: an event processed once more, for real, as a dry run, or with the whole history in disorder on a copy (P2).
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::{Switch, World, WorldOptions};

use crate::cast::{self, Payer};

/// Clients who are declined and pay themselves; one gets a part back, one goes to its bank and loses.
async fn a_story(world: &World) -> Vec<Payer> {
    let payers: Vec<Payer> = ["pays", "declined", "refunded", "contests"]
        .map(Payer::alone)
        .into();
    cast::enter(world, &payers, &["insufficient_funds"]).await;
    world.settle().await;
    for (payer, outcome) in payers
        .iter()
        .zip(["succeed", "card_velocity_exceeded", "succeed", "succeed"])
    {
        let path = format!("/payment_intents/{}/pay", payer.intent(world).await);
        world
            .sim
            .tell(&path, json!({ "payment_method": payer.card, "outcome": outcome }))
            .await;
    }
    let back = json!({ "payment_intent": payers[2].intent(world).await, "amount": 2_500 });
    world.sim.tell("/refunds", back).await;
    let order = json!({ "payment_intent": payers[3].intent(world).await, "kind": "chargeback" });
    let dispute = world.sim.tell("/disputes", order).await;
    let path = format!("/disputes/{}", dispute["id"].as_str().unwrap());
    for action in ["under_review", "lose"] {
        world.sim.tell(&path, json!({ "action": action })).await;
    }
    world.settle().await;
    payers
}

#[tokio::test]
async fn p2_replay_of_every_event_of_a_finished_story_changes_nothing() {
    let world = World::start(WorldOptions::default()).await;
    world.to_noon().await;
    a_story(&world).await;
    let (before, asked) = (world.state_text().await, world.sim.writes().await);
    let audit = "select count(*) from audit_events where action <> 'event.replayed'";
    let told = world.count(audit).await;
    let events = world.count("select count(*) from stripe_events").await;
    let ends = "select string_agg(stripe_event_id || state || applied_at, ',' order by stripe_event_id) from stripe_events";
    let ended = world.texts(ends).await;

    let dry = world
        .json(&["events", "replay", "--since", "30d", "--dry-run"])
        .await;
    assert_eq!(dry["events"].as_array().unwrap().len() as i64, events);
    assert_eq!(
        (&dry["with_effects"], &dry["failed"]),
        (&json!(0), &json!(0)),
        "{dry}"
    );

    let reason = "to see that nothing happens";
    let done = world
        .json(&["events", "replay", "--since", "30d", "--reason", reason])
        .await;
    assert_eq!(done["replayed"], events, "{done}");
    assert_eq!(
        (&done["not_applied"], &done["failed"]),
        (&json!(0), &json!(0)),
        "{done}"
    );
    world.settle().await;
    assert_eq!(world.state_text().await, before);
    assert_eq!(world.texts(ends).await, ended);
    assert_eq!(world.count(audit).await, told);
    assert_eq!(world.sim.writes().await, asked);
    // Who asked and why is on record, once for everybody and once per firm.
    assert_eq!(
        world
            .texts("select reason || ' ' || events from event_replays")
            .await,
        [format!("{reason} {events}")]
    );
    assert_eq!(
        world
            .texts("select distinct meta ->> 'reason' from audit_events where action = 'event.replayed'")
            .await,
        [reason]
    );
    assert_eq!(
        world
            .count("select count(distinct firm_id) from audit_events where action = 'event.replayed'")
            .await,
        4
    );
}

#[tokio::test]
async fn a_parked_event_is_healed_by_replay_once_its_cause_is_gone() {
    let world = World::start(WorldOptions::default()).await;
    // The daily backfill would find the dispute by itself: here a person does.
    world.switch("backfill_events", Switch::Off).await;
    let payers = [Payer::alone("contests")];
    cast::enter(&world, &payers, &["succeed"]).await;
    world.settle().await;
    let behind = json!({ "method": "GET", "path": "/v1/disputes/*", "kind": "404", "times": 1_000_000 });
    world.sim.fault(behind).await.unwrap();
    let order = json!({ "payment_intent": payers[0].intent(&world).await, "kind": "chargeback" });
    world.sim.tell("/disputes", order).await;
    world.settle().await;
    for _ in 0..4 {
        world.advance("1d").await;
        world.settle().await;
    }
    let parked = world
        .texts("select stripe_event_id from stripe_events where state = 'parked' and via = 'webhook' order by type")
        .await;
    assert_eq!(parked.len(), 2, "created, and funds withdrawn: {parked:?}");

    // The cause is still there: the event stays as it is, and the command says so.
    let still = world
        .cli(&["events", "replay", &parked[0], "--reason", "too early", "--json"])
        .await;
    assert_eq!(still.code, 3, "{still}");
    let event = &still.json().unwrap()["events"][0];
    assert_eq!(event["state"], "parked", "{event}");
    assert!(
        event["not_applied"].as_str().unwrap().contains("not at Stripe"),
        "{event}"
    );

    world.sim.heal().await.unwrap();
    let dry = world
        .json(&["events", "replay", "--state", "parked", "--dry-run"])
        .await;
    assert_eq!(
        payers[0].status(&world).await,
        "paid",
        "a dry run changes nothing"
    );
    let effects = dry["events"][0]["effects"].as_array().unwrap();
    let of = |table: &str| effects.iter().find(|effect| effect["table"] == table);
    assert_eq!(of("disputes").unwrap()["before"], Value::Null, "{dry}");
    assert_eq!(
        of("disputes").unwrap()["after"]["stripe_status"],
        "needs_response"
    );
    let invoice = of("invoices").unwrap();
    assert_eq!(
        (
            &invoice["before"]["fenced_reason"],
            &invoice["after"]["fenced_reason"]
        ),
        (&Value::Null, &json!("chargeback"))
    );
    assert!(of("postings").is_some(), "the ledger too: {dry}");
    let text = world
        .cli(&["events", "replay", &parked[0], "--dry-run"])
        .await
        .stdout;
    assert!(
        text.contains("  + disputes") && text.contains("fenced_reason: null -> \"chargeback\""),
        "{text}"
    );

    world
        .json(&["events", "replay", &parked[0], "--reason", "Stripe has it now"])
        .await;
    world.settle().await;
    assert_eq!(payers[0].status(&world).await, "disputed");
    let states = world
        .texts(&format!(
            "select state from stripe_events where stripe_event_id = '{}'",
            parked[0]
        ))
        .await;
    assert_eq!(states, ["applied"]);
}

#[tokio::test]
async fn replay_says_what_is_wrong_with_a_choice() {
    let world = World::start(WorldOptions {
        workers: 0,
        ..WorldOptions::default()
    })
    .await;
    for (args, code) in [
        (vec!["events", "replay"], 2),
        (vec!["events", "replay", "evt_nowhere"], 1),
        (vec!["events", "replay", "evt_1", "--type", "charge.refunded"], 2),
        (vec!["events", "replay", "--since", "1d", "--shuffle"], 2),
        (
            vec![
                "events",
                "replay",
                "--since",
                "1d",
                "--into",
                &world.database_url(tests::world::Login::Worker),
            ],
            4,
        ),
    ] {
        let run = world.cli(&args).await;
        assert_eq!(run.code, code, "{run}");
    }
    let live = world
        .command()
        .with_env("STRIPE_SECRET_KEY", Some("sk_live_world"))
        .run(&[
            "events",
            "replay",
            "--since",
            "1d",
            "--into",
            "postgres://nobody/",
        ])
        .await
        .unwrap();
    assert_eq!(live.code, 4, "{live}");
    assert!(live.stderr.contains("live mode"), "{live}");
}

/// The hash and the facts that a replay into a copy ends with.
async fn played_into(world: &World, url: &str, disorder: &[&str]) -> Value {
    let mut args = vec!["events", "replay", "--since", "30d", "--into", url];
    args.extend(disorder);
    let report = world.json(&args).await;
    assert_eq!(report["failed"], json!([]), "{report}");
    report
}

#[tokio::test]
async fn p2_b02_a_history_in_any_disorder_with_doubles_and_gaps_ends_in_one_state() {
    let world = World::start(WorldOptions::default()).await;
    // Nothing but the webhooks tells what happened, at whatever hour.
    world.switch("backfill_events", Switch::Off).await;
    world.to_noon().await;
    world
        .sim
        .webhooks(json!({ "paused": true, "double": true }))
        .await
        .unwrap();
    a_story(&world).await;
    // Copies of the moment at which Stripe has done all of it, and told nothing.
    let mut copies = Vec::new();
    for _ in 0..6 {
        copies.push(world.backup().await);
    }
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world.settle().await;

    let plain = played_into(&world, &copies[0].1, &[]).await;
    for (n, disorder) in [
        vec!["--shuffle", "--duplicate", "--seed", "1"],
        vec!["--shuffle", "--duplicate", "--seed", "2"],
        vec!["--shuffle", "--duplicate", "--drop", "--seed", "3"],
        vec!["--shuffle", "--duplicate", "--drop", "--seed", "4"],
        vec!["--shuffle", "--drop", "--seed", "5"],
    ]
    .into_iter()
    .enumerate()
    {
        let report = played_into(&world, &copies[n + 1].1, &disorder).await;
        assert_eq!(report["facts"], plain["facts"], "{disorder:?}: {report}");
        assert_eq!(report["state_hash"], plain["state_hash"], "{disorder:?}");
        if disorder.contains(&"--drop") {
            assert!(report["dropped"].as_u64().unwrap() > 5, "{report}");
        }
        if disorder.contains(&"--duplicate") {
            assert!(
                report["processed"].as_u64() > plain["processed"].as_u64(),
                "{report}"
            );
        }
    }
    // It is the state that the workers have come to as well, each event in its time.
    let lived = world
        .texts("select facts || ' ' || rows || ' ' || hash from app.state_hashes()")
        .await;
    let copied: Vec<String> = plain["facts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fact| {
            format!(
                "{} {} {}",
                fact["facts"].as_str().unwrap(),
                fact["rows"],
                fact["hash"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(lived, copied);
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        world.count("select sum(amount_minor) from payments").await
    );
}
