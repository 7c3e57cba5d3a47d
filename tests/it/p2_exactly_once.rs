//! P2: every event takes effect exactly once, whatever its order, however often it comes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::cast::{self, AMOUNT_MINOR, Payer};

/// Hundreds of jobs on a machine that may have two cores.
const MANY_JOBS: Duration = Duration::from_secs(90);

/// Payers that are played at a time.
const AT_A_TIME: usize = 8;

/// How much of a payment the customer gets back.
const REFUND_MINOR: i64 = 2_500;

/// What a payment is told by; everything else that Stripe says about it is beside the point.
const TELLING: [&str; 4] = [
    "payment_intent.payment_failed",
    "charge.succeeded",
    "payment_intent.succeeded",
    "charge.refunded",
];

/// Stripe's part of a payment, of which we hear nothing yet: on the hosted page the customer is declined, pays with the
/// second try, and is refunded a part later on.
async fn pay_and_refund(world: &World, payer: &Payer) {
    let intent = payer.intent(world).await;
    for outcome in ["card_velocity_exceeded", "succeed"] {
        pay(world, payer, &intent, outcome).await;
    }
    refund(world, &intent).await;
}

async fn pay(world: &World, payer: &Payer, intent: &str, outcome: &str) {
    let order = json!({ "payment_method": payer.card, "outcome": outcome });
    world
        .sim
        .post(&format!("/payment_intents/{intent}/pay"), order)
        .await
        .unwrap();
}

async fn refund(world: &World, intent: &str) {
    let order = json!({ "payment_intent": intent, "amount": REFUND_MINOR });
    world.sim.post("/refunds", order).await.unwrap();
}

/// The same, and every event is delivered and applied as soon as it is made.
async fn pay_and_refund_and_tell(world: &World, payer: &Payer) {
    let intent = payer.intent(world).await;
    let mut told = 0;
    for step in ["", "card_velocity_exceeded", "succeed", "refund"] {
        match step {
            "" => {}
            "refund" => refund(world, &intent).await,
            outcome => pay(world, payer, &intent, outcome).await,
        }
        let events = cast::events_of(world, payer).await;
        for event in &events[told..] {
            cast::deliver(world, event).await;
            world.settle().await;
        }
        told = events.len();
    }
}

/// The telling events of a payer in the nth of all orders; the others before them or after them. Every change has made
/// two events: the first ones in this order, then the second ones backwards, then the first ones once more.
fn disorder(events: Vec<Value>, n: usize) -> Vec<Value> {
    let orders = cast::permutations(&TELLING);
    let order = &orders[n % orders.len()];
    let (firsts, seconds): (Vec<_>, Vec<_>) = events.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).unzip();
    let arrange = |events: &[&Value]| -> Vec<Value> {
        let (telling, others): (Vec<&Value>, Vec<&Value>) = events
            .iter()
            .partition(|event| order.iter().any(|kind| event["type"] == *kind));
        let telling = order
            .iter()
            .flat_map(|kind| telling.iter().filter(move |event| event["type"] == *kind));
        let (before, after) = others.split_at(n % (others.len() + 1));
        before
            .iter()
            .chain(telling)
            .chain(after)
            .map(|&event| event.clone())
            .collect()
    };
    let (once, mut twice) = (arrange(&firsts), arrange(&seconds));
    twice.reverse();
    [&once[..], &twice, &once].concat()
}

/// B-03.
#[tokio::test]
async fn load_p2_a_payments_events_end_the_same_in_every_order_with_duplicates() {
    let world = World::start(WorldOptions {
        workers: 2,
        ..WorldOptions::default()
    })
    .await;
    // Every change makes two events, and none is delivered but by hand.
    world
        .sim
        .webhooks(json!({ "paused": true, "double": true }))
        .await
        .unwrap();
    let live = Payer::alone("live");
    let orders = cast::permutations(&TELLING).len();
    let payers: Vec<Payer> = (0..orders)
        .map(|n| Payer::alone(&format!("order{n:03}")))
        .collect();
    let everybody = [&payers[..], std::slice::from_ref(&live)].concat();
    cast::enter(&world, &everybody, &["insufficient_funds"]).await;
    world.settle_within(MANY_JOBS).await;

    pay_and_refund_and_tell(&world, &live).await;
    let wanted = live.state(&world).await;
    assert_eq!(live.status(&world).await, "paid");

    stream::iter(payers.iter().enumerate())
        .for_each_concurrent(AT_A_TIME, |(n, payer)| {
            let world = &world;
            async move {
                pay_and_refund(world, payer).await;
                for event in disorder(cast::events_of(world, payer).await, n) {
                    cast::deliver(world, &event).await;
                }
            }
        })
        .await;
    world.settle_within(MANY_JOBS).await;

    for (n, payer) in payers.iter().enumerate() {
        let order = &cast::permutations(&TELLING)[n];
        assert_eq!(payer.state(&world).await, wanted, "after {order:?}");
    }
    let everybody = i64::try_from(everybody.len()).unwrap();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        everybody * AMOUNT_MINOR
    );
    assert_eq!(
        world.count("select sum(amount_minor) from payments").await,
        everybody * AMOUNT_MINOR
    );
    assert_eq!(
        world.count("select sum(amount_minor) from refunds").await,
        everybody * REFUND_MINOR
    );

    // Stripe's own deliveries of everything, at last: all of it is known.
    let before = world.state_text().await;
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world.settle_within(MANY_JOBS).await;
    assert_eq!(world.state_text().await, before);
    assert_eq!(
        world
            .count("select count(*) from stripe_events where state not in ('applied', 'ignored')")
            .await,
        0
    );
}

/// Cards that decline, that are refused for good, that want the customer, that work.
const CARDS: [&[&str]; 5] = [
    &["succeed"],
    &["insufficient_funds", "succeed"],
    &["insufficient_funds", "do_not_honor", "succeed"],
    &["lost_card"],
    &["processing"],
];

/// A week in the life of a few payers, with refunds and disputes, under these webhooks.
async fn a_week(webhooks: Value) -> World {
    let world = World::start(WorldOptions {
        workers: 2,
        webhook_concurrency: 4,
        ..WorldOptions::default()
    })
    .await;
    world.sim.webhooks(webhooks).await.unwrap();
    let payers: Vec<Payer> = (0..2 * CARDS.len())
        .map(|n| Payer::alone(&format!("payer{n}")))
        .collect();
    for (n, payer) in payers.iter().enumerate() {
        let script = CARDS[n % CARDS.len()];
        world
            .sim
            .customer_with_card(&payer.customer, &payer.card, script)
            .await
            .unwrap();
    }
    world.import(&cast::document(&payers)).await;
    world.settle().await;
    for payer in payers.iter().filter(|payer| payer.name.ends_with('4')) {
        let settle = format!("/payment_intents/{}/settle", payer.intent(&world).await);
        world.sim.post(&settle, json!({})).await.unwrap();
    }
    world.settle().await; // what settled on day 0 is told on day 0, however the events are shuffled
    for day in 0..2 {
        world.advance(["3d", "4d"][day]).await;
        world.settle().await;
        let intent = payers[day].intent(&world).await;
        refund(&world, &intent).await;
        world.settle().await;
    }
    let intent = payers[CARDS.len()].intent(&world).await;
    let order = json!({ "payment_intent": intent, "kind": "chargeback" });
    let dispute = world.sim.post("/disputes", order).await.unwrap();
    let act = format!("/disputes/{}", dispute["id"].as_str().unwrap());
    for action in ["under_review", "lose"] {
        world.sim.post(&act, json!({ "action": action })).await.unwrap();
    }
    world.settle().await;
    world
}

#[tokio::test]
async fn load_p2_shuffled_tripled_and_doubled_events_end_where_quiet_ones_do() {
    let quiet = a_week(json!({})).await;
    let storm = a_week(json!({ "shuffle": true, "duplicate": 2, "double": true, "seed": 7 })).await;
    assert_eq!(storm.state_text().await, quiet.state_text().await);
    for world in [&quiet, &storm] {
        let booked = world.count("select sum(amount_minor) from payments").await;
        assert_eq!(world.sim.captured_minor("usd").await.unwrap(), booked);
        // Every event of Stripe's once in the inbox, whatever was delivered how often, and nothing given up. (The daily sweep may be
        // faster than a webhook, and then has one of its own beside it.)
        let events = i64::try_from(world.sim.events().await.unwrap().len()).unwrap();
        let of_stripe = "select count(*) from stripe_events where type not like 'sweep.%'";
        assert_eq!(world.count(of_stripe).await, events);
        assert_eq!(
            world
                .count("select count(*) from stripe_events where state not in ('applied', 'ignored')")
                .await,
            0
        );
        assert_eq!(
            world
                .count("select count(*) from jobs where state = 'discarded'")
                .await,
            0
        );
    }
}
