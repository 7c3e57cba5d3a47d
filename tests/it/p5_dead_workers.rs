//! P5: a worker that is killed delays its jobs by at most twenty seconds; one that was frozen past its lease changes nothing
//! when it wakes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::cast::{self, AMOUNT_MINOR, Payer};

/// Jobs that the worker has in hand when it dies, of each contract.
const IN_HAND: u32 = 4;

/// The promise.
const DELAY_SECS: i64 = 20;

/// Longer than the promise: the database's own times say whether it was kept.
const PATIENCE: Duration = Duration::from_secs(60);

/// This many calls like this take effect, and whoever made them waits for the answer.
fn answers_held(method: &str, path: &str, times: u32) -> Value {
    json!({ "method": method, "path": path, "kind": "hold_after", "times": times })
}

/// A world whose only worker has transactional and external jobs in hand: events whose object it is fetching, and charges
/// that Stripe has made without anybody having heard of it.
async fn in_the_middle(options: WorldOptions) -> (World, Vec<Payer>) {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60, // nobody gives up while the story goes on
        ..options
    })
    .await;
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    let payers = Payer::crowd("acme", 2 * IN_HAND as usize);
    let (paying, told) = payers.split_at(IN_HAND as usize);
    cast::enter(&world, told, &[]).await;
    world.settle().await;
    let mut events = Vec::new();
    for payer in told {
        let of_payer = cast::events_of(&world, payer).await;
        events.extend(
            of_payer
                .into_iter()
                .filter(|e| e["type"] == "payment_intent.succeeded"),
        );
    }
    for fault in [
        answers_held("GET", "/v1/payment_intents/*", IN_HAND),
        answers_held("POST", "/v1/payment_intents/*/confirm", IN_HAND),
    ] {
        world.sim.fault(fault).await.unwrap();
    }
    for event in &events {
        cast::deliver(&world, event).await;
    }
    cast::enter(&world, paying, &[]).await;
    world.until_held(2 * u64::from(IN_HAND)).await;
    (world, payers)
}

/// Every payer has paid once, with one attempt.
async fn assert_paid_once(world: &World, payers: &[Payer]) {
    let count = i64::try_from(payers.len()).unwrap();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        count * AMOUNT_MINOR
    );
    assert_eq!(
        world.count("select sum(amount_minor) from payments").await,
        count * AMOUNT_MINOR
    );
    for table in ["payments", "payment_attempts"] {
        assert_eq!(world.count(&format!("select count(*) from {table}")).await, count);
    }
    assert_eq!(
        world
            .count("select count(*) from invoice_status where status = 'paid'")
            .await,
        count
    );
}

/// Jobs that are not finished.
const OPEN: &str =
    "select count(*) from jobs where state in ('available', 'retryable', 'running') and run_at <= app.now()";

/// B-19.
#[tokio::test]
async fn load_p5_jobs_of_a_killed_worker_are_finished_by_another_within_twenty_seconds() {
    let (mut world, payers) = in_the_middle(WorldOptions::default()).await;
    let heir = world.add_worker().await;
    world.kill9(0).await;
    let killed_at = world.texts("select clock_timestamp()::text").await.concat();
    world.sim.heal().await.unwrap();
    world.until(OPEN, 0, PATIENCE).await;

    let delays = world
        .texts(&format!(
            "select ceil(extract(epoch from finished_at - '{killed_at}'::timestamptz))::text from jobs
              where finished_at > '{killed_at}'::timestamptz and created_at < '{killed_at}'::timestamptz order by 1"
        ))
        .await;
    let longest = delays
        .iter()
        .map(|secs| secs.parse::<i64>().unwrap())
        .max()
        .unwrap();
    eprintln!("{} jobs finished, the last after {longest} s", delays.len());
    assert_eq!(delays.len(), 2 * IN_HAND as usize);
    assert!(longest <= DELAY_SECS, "{delays:?}");
    assert_paid_once(&world, &payers).await;

    // The webhooks of all that come at last and change nothing.
    let before = world.state_text().await;
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world.settle().await;
    assert_eq!(world.state_text().await, before);
    assert_eq!(world.sigterm(heir).await, 0);
}

#[tokio::test]
async fn load_p5_a_worker_frozen_past_its_lease_changes_nothing_when_it_wakes() {
    let (mut world, payers) = in_the_middle(WorldOptions {
        lease_secs: 5,
        ..WorldOptions::default()
    })
    .await;
    world.freeze(0);
    let heir = world.add_worker().await;
    world.until(OPEN, 0, PATIENCE).await;
    assert_paid_once(&world, &payers).await;
    let before = world.state_text().await;
    let fences = world
        .texts("select dedupe_key || ' ' || fence || ' ' || state from jobs order by 1")
        .await;

    // The frozen one wakes and finds the answers that it was waiting for.
    world.sim.heal().await.unwrap();
    world.sim.release().await.unwrap();
    world.thaw(0);
    world
        .until_metric(
            0,
            "quittance_jobs_stale_completions_total",
            IN_HAND.into(),
            PATIENCE,
        )
        .await;
    world.settle().await;
    assert_eq!(world.state_text().await, before);
    assert_eq!(
        world
            .texts("select dedupe_key || ' ' || fence || ' ' || state from jobs order by 1")
            .await,
        fences
    );
    assert_paid_once(&world, &payers).await;
    for worker in [0, heir] {
        assert_eq!(world.sigterm(worker).await, 0);
    }
}
