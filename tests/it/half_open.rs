//! Connections that are cut without a word, between every two programs that talk to each other: nothing is forwarded, nobody
//! is told, and those that were there never work again. A few seconds in `tests/run`, twenty in `tests/soak --outages`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{Passage, World, WorldOptions};
use tokio::time::Instant;

use crate::{
    acme,
    cast::{self, AMOUNT_MINOR, Payer},
    deliveries::{self, Deliveries},
    simulation::{
        invariants,
        settings::{self, Figures},
    },
};

/// Senders of webhooks at a time.
const SENDERS: usize = 4;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it may take, after the network is well again, until the first piece of work is done and the probes say so.
const RESUMES_WITHIN: Duration = Duration::from_secs(30);

/// What it may take until everything is done that was due.
const DRAINS_WITHIN: Duration = Duration::from_secs(60);

/// Jobs that wait or run.
const OPEN: &str =
    "select count(*) from jobs where state in ('available', 'retryable', 'running') and run_at <= app.now()";
const FINISHED: &str = "select count(*) from jobs where state = 'completed'";

fn outage() -> Duration {
    settings::outage(4, 20)
}

async fn world(workers: usize) -> World {
    let world = World::start(WorldOptions {
        workers,
        gates: true,
        lease_secs: 5,
        ..WorldOptions::default()
    })
    .await;
    // Charges take their time, so that there are some in hand at any moment.
    let slow = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "delay_after_effect", "ms": 300, "times": 1000 });
    world.sim.fault(slow).await.unwrap();
    world
}

/// Webhooks come for this long.
async fn pass_for(stream: &Deliveries, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        stream.pass(1, PATIENCE).await;
    }
}

/// The check of a probe's answer.
fn check<'a>(answer: &'a Value, name: &str) -> &'a Value {
    &answer["checks"][name]
}

/// Since the network is well again, jobs are being finished, and once no more webhooks come, soon none is left that is due. Returns
/// how long each took, and the webhooks.
async fn assert_work_resumes(world: &World, stream: Deliveries) -> ([f64; 2], Vec<deliveries::Told>) {
    let (back, finished) = (Instant::now(), world.count(FINISHED).await);
    let more = format!("select (({FINISHED}) > {finished} or ({OPEN}) = 0)::int");
    world.until(&more, 1, RESUMES_WITHIN).await;
    let resumed = back.elapsed();
    let told = stream.end().await;
    world.until(OPEN, 0, DRAINS_WITHIN).await;
    ([resumed.as_secs_f64(), back.elapsed().as_secs_f64()], told)
}

/// What nobody knows is looked up; then everybody has paid once, and all that must hold does.
async fn assert_all_is_well(world: &mut World, payers: &[Payer], told: &[deliveries::Told]) {
    world.settle_within(PATIENCE).await;
    // What shows no effect is believed to have had none only after a while, and is made again a minute after that was found.
    for _ in 0..2 {
        acme::age_calls(world).await;
        world.advance("2h").await;
        world.settle_within(PATIENCE).await;
    }
    deliveries::assert_acknowledged_is_stored(world, told).await;
    let count = i64::try_from(payers.len()).unwrap();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        count * AMOUNT_MINOR
    );
    for sql in [
        "select count(*) from payments",
        "select count(*) from invoice_status where status = 'paid'",
    ] {
        assert_eq!(world.count(sql).await, count, "{sql}");
    }
    let given_up = "select format('%s %s', kind, last_error) from jobs where state = 'discarded'";
    assert_eq!(world.texts(given_up).await, Vec::<String>::new());
    let wrong = invariants::breaches(world).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn p1_half_open_connections_of_the_door_to_postgres_are_503s_and_end_by_themselves() {
    let mut world = world(1).await;
    let payers = Payer::crowd("acme", 4);
    let stream = Deliveries::begin(&world, SENDERS);
    stream.pass(50, PATIENCE).await;
    world
        .gates
        .as_ref()
        .unwrap()
        .ingress_postgres
        .set(Passage::HalfOpen);
    // Stripe delivers again what it is refused, of these payments too.
    cast::enter(&world, &payers, &[]).await;
    let told = world.until_ingress_says("/readyz", 503, RESUMES_WITHIN).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(check(&told, "database")["message"], "no answer", "{told}");
    stream.pass(2 * SENDERS, PATIENCE).await;
    pass_for(&stream, outage()).await;
    world.gates.as_ref().unwrap().ingress_postgres.set(Passage::Open);
    let back = Instant::now();
    world.until_ingress_says("/readyz", 200, RESUMES_WITHIN).await;
    // Whatever was being answered when the network came back was, and after it everything is taken.
    stream.pass(2 * SENDERS, RESUMES_WITHIN).await;
    let ready = back.elapsed();
    let mut told = stream.end().await;
    let after = Deliveries::begin(&world, SENDERS);
    after.pass(50, RESUMES_WITHIN).await;
    let after = after.end().await;
    assert!(
        after.iter().all(deliveries::Told::is_acknowledged),
        "refused after the door was ready again"
    );

    let refused: Vec<_> = told.iter().filter(|told| !told.is_acknowledged()).collect();
    assert!(
        refused.len() >= 2 * SENDERS,
        "only {} were refused",
        refused.len()
    );
    for told in &refused {
        let answer = told.answer.as_ref().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.retry_after.is_some_and(|secs| secs > 0), "{answer:?}");
    }
    let refusals = refused.len();
    for told in refused {
        world.deliver(&told.event).await;
    }
    told.extend(after);
    assert_all_is_well(&mut world, &payers, &told).await;
    let sent = "select count(*) from stripe_events where type = 'customer.updated'";
    assert_eq!(world.count(sent).await, i64::try_from(told.len()).unwrap());
    Figures::default().report(
        "half_open_ingress_postgres",
        json!({ "outage_secs": outage().as_secs(), "answered_503": refusals, "ready_secs_after": ready.as_secs_f64() }),
    );
}

#[tokio::test]
async fn p5_half_open_connections_of_workers_to_postgres_lose_nothing_and_double_nothing() {
    let mut world = world(2).await;
    let payers = Payer::crowd("acme", 20);
    let stream = Deliveries::begin(&world, SENDERS);
    stream.pass(20, PATIENCE).await;
    cast::enter(&world, &payers, &[]).await;
    let in_hand = "select (count(*) >= 4)::int from jobs where state = 'running'";
    world.until(in_hand, 1, PATIENCE).await;
    world
        .gates
        .as_ref()
        .unwrap()
        .worker_postgres
        .set(Passage::HalfOpen);
    for worker in 0..2 {
        let told = world
            .until_worker_says(worker, "/readyz", 503, RESUMES_WITHIN)
            .await;
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(check(&told, "database")["message"], "no answer", "{told}");
    }
    pass_for(&stream, outage()).await;
    world.gates.as_ref().unwrap().worker_postgres.set(Passage::Open);
    let ([resumed, drained], told) = assert_work_resumes(&world, stream).await;
    for worker in 0..2 {
        world
            .until_worker_says(worker, "/readyz", 200, RESUMES_WITHIN)
            .await;
    }
    let refused = told.iter().filter(|told| !told.is_acknowledged()).count();
    assert_eq!(refused, 0, "webhooks were refused while workers were cut off");
    assert_all_is_well(&mut world, &payers, &told).await;
    Figures::default().report(
        "half_open_worker_postgres",
        json!({ "outage_secs": outage().as_secs(), "resumed_secs_after": resumed, "drained_secs_after": drained }),
    );
}

#[tokio::test]
async fn p4_half_open_connections_to_redis_lose_nothing_and_work_resumes_by_itself() {
    let mut world = world(2).await;
    let payers = Payer::crowd("acme", 20);
    let (first, rest) = payers.split_at(10);
    let stream = Deliveries::begin(&world, SENDERS);
    cast::enter(&world, first, &[]).await;
    stream.pass(20, PATIENCE).await;
    world.gates.as_ref().unwrap().worker_redis.set(Passage::HalfOpen);
    for worker in 0..2 {
        let told = world
            .until_worker_says(worker, "/readyz", 503, RESUMES_WITHIN)
            .await;
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(check(&told, "redis")["ok"], false, "{told}");
        assert_eq!(check(&told, "database")["ok"], true, "{told}");
    }
    cast::enter(&world, rest, &[]).await;
    pass_for(&stream, outage()).await;
    assert!(world.count(OPEN).await > 0, "somebody works without Redis");
    world.gates.as_ref().unwrap().worker_redis.set(Passage::Open);
    let ([resumed, drained], told) = assert_work_resumes(&world, stream).await;
    for worker in 0..2 {
        world
            .until_worker_says(worker, "/readyz", 200, RESUMES_WITHIN)
            .await;
    }
    let refused = told.iter().filter(|told| !told.is_acknowledged()).count();
    assert_eq!(refused, 0, "webhooks were refused while Redis was cut off");
    assert_all_is_well(&mut world, &payers, &told).await;
    Figures::default().report(
        "half_open_worker_redis",
        json!({ "outage_secs": outage().as_secs(), "resumed_secs_after": resumed, "drained_secs_after": drained }),
    );
}

#[tokio::test]
async fn p3_half_open_connections_to_stripe_charge_once_whether_the_call_or_its_answer_was_lost() {
    let mut world = world(1).await;
    world.sim.heal().await.unwrap(); // the oldest fault strikes first, and the calls below are to be held
    // Nobody tells what became of a charge: it has to be looked up.
    world.sim.pause_webhooks().await.unwrap();
    let payers = Payer::crowd("acme", 8);
    let (answered, asked) = payers.split_at(4);
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_after", "times": 4 });
    world.sim.fault(hold).await.unwrap();
    cast::enter(&world, answered, &[]).await;
    world.until_held(4).await;
    let stripe = |passage| world.gates.as_ref().unwrap().worker_stripe.set(passage);
    // Of these Stripe has the money, and its answer is lost; of the others the call is.
    stripe(Passage::HalfOpen);
    world.sim.release().await.unwrap();
    cast::enter(&world, asked, &[]).await;
    let stream = Deliveries::begin(&world, SENDERS);
    pass_for(&stream, outage()).await;
    assert_eq!(world.count("select count(*) from payments").await, 0);
    assert_eq!(world.worker_admin(0, "/readyz").await.0, 200);
    stripe(Passage::Open);
    let ([resumed, _], told) = assert_work_resumes(&world, stream).await;
    world.settle_within(PATIENCE).await;
    for _ in 0..2 {
        acme::age_calls(&world).await;
        world.advance("2h").await;
        world.settle_within(PATIENCE).await;
    }
    assert_eq!(world.count("select count(*) from payments").await, 8);
    world.sim.resume_webhooks().await.unwrap();
    assert_all_is_well(&mut world, &payers, &told).await;
    for payer in &payers {
        let path = format!("/v1/payment_intents/{}/confirm", payer.intent(&world).await);
        let calls = world.sim.requests().await.unwrap();
        let sent = calls.iter().filter(|call| call["path"] == path.as_str()).count();
        assert_eq!(sent, 1, "{}", payer.name);
    }
    Figures::default().report(
        "half_open_worker_stripe",
        json!({ "outage_secs": outage().as_secs(), "resumed_secs_after": resumed }),
    );
}
