//! Backfill: what Stripe told nobody is found, every day and by command, and processed by the jobs of the rest.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use serde_json::json;
use tests::world::{Switch, World, WorldOptions};

use crate::cast::{self, AMOUNT_MINOR, Payer};

/// Hundreds of jobs on a machine that may have two cores.
const MANY_JOBS: Duration = Duration::from_secs(90);

/// A call may wait for a page to be held, and for a lease to run out.
const PATIENCE: Duration = Duration::from_secs(60);

async fn pay(world: &World, payer: &Payer, outcome: &str) {
    let path = format!("/payment_intents/{}/pay", payer.intent(world).await);
    world
        .sim
        .tell(&path, json!({ "payment_method": payer.card, "outcome": outcome }))
        .await;
}

/// From now on every delivery is lost, or none.
async fn lose_webhooks(world: &World, lose: bool) {
    let drop_next = if lose { 1_000_000 } else { 0 };
    world
        .sim
        .webhooks(json!({ "drop_next": drop_next }))
        .await
        .unwrap();
}

/// The daily job.
const DAILY: &str = "backfill_events";

/// Moves the clock, and waits until Stripe's has followed: what happens there next has that time.
async fn advance(world: &World, duration: &str) {
    world.advance(duration).await;
    let now = world
        .count("select extract(epoch from app.now())::bigint - 60")
        .await;
    let deadline = Instant::now() + PATIENCE;
    while world.sim.get("/clock").await.unwrap()["now"].as_i64().unwrap() < now {
        assert!(Instant::now() < deadline, "Stripe's clock does not follow");
        tokio::task::yield_now().await;
    }
    world.settle().await;
}

/// Three days on which clients pay, fail, are refunded and go to their banks, all of it behind our back.
async fn three_days(lost: bool) -> World {
    let world = World::start(WorldOptions::default()).await;
    world.switch(DAILY, Switch::Off).await;
    // So that its hour passes once on each of these days, whenever this is run.
    world.to_noon().await;
    let payers: Vec<Payer> = ["pays", "fails", "refunded", "contests"].map(Payer::alone).into();
    cast::enter(&world, &payers, &["insufficient_funds"]).await;
    world.settle().await;
    lose_webhooks(&world, lost).await;

    pay(&world, &payers[0], "succeed").await;
    pay(&world, &payers[1], "card_velocity_exceeded").await;
    pay(&world, &payers[2], "succeed").await;
    pay(&world, &payers[3], "succeed").await;
    world.settle().await;
    advance(&world, "23h").await;
    let back = json!({ "payment_intent": payers[2].intent(&world).await, "amount": 2_500 });
    world.sim.tell("/refunds", back).await;
    world.settle().await;
    advance(&world, "1d").await;
    let order = json!({ "payment_intent": payers[3].intent(&world).await, "kind": "chargeback" });
    let dispute = world.sim.tell("/disputes", order).await;
    let path = format!("/disputes/{}", dispute["id"].as_str().unwrap());
    for action in ["under_review", "lose"] {
        world.sim.tell(&path, json!({ "action": action })).await;
    }
    world.settle().await;
    world
}

/// The whole state but for three times that tell when we heard of something, which is what the worlds differ in.
async fn state(world: &World) -> String {
    const HEARD_AT: [&str; 3] = ["autopay_paused_at=", "closed_at=", "received_at="];
    let heard_at = |word: &&str| HEARD_AT.iter().any(|name| word.starts_with(name));
    let text = world.state_text().await;
    let lines = text.lines().map(|line| {
        line.split(' ')
            .filter(|word| !heard_at(word))
            .collect::<Vec<_>>()
            .join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn p2_lost_webhooks_of_three_days_are_healed_by_the_daily_job_and_nothing_is_done_twice() {
    let quiet = three_days(false).await;
    let lossy = three_days(true).await;
    assert_eq!(quiet.count("select count(*) from payments").await, 3);
    assert_eq!(lossy.count("select count(*) from payments").await, 0);
    assert_ne!(lossy.state_text().await, quiet.state_text().await);

    lose_webhooks(&lossy, false).await;
    for world in [&quiet, &lossy] {
        world.switch(DAILY, Switch::On).await;
        world.advance("1d").await;
        let done = "select count(*) from jobs where kind = 'backfill_events' and state = 'completed'";
        world.until(done, 1, PATIENCE).await;
        world.settle().await;
    }
    assert_eq!(state(&lossy).await, state(&quiet).await);
    let found = "select (result -> 'events' ->> 'new')::bigint from jobs where kind = 'backfill_events'";
    assert_eq!(
        quiet.count(found).await,
        0,
        "what was delivered is not found again"
    );
    let backfilled = "select count(*) from stripe_events where via = 'backfill'";
    assert_eq!(lossy.count(found).await, lossy.count(backfilled).await);
    assert!(
        lossy.count(backfilled).await >= 10,
        "{}",
        lossy.count(backfilled).await
    );
    assert_eq!(
        lossy
            .count("select count(*) from stripe_events where state not in ('applied', 'ignored')")
            .await,
        0
    );
    for world in [&quiet, &lossy] {
        let books = world.sim.books().await.unwrap();
        assert_eq!(books["captured_minor"]["usd"], 3 * AMOUNT_MINOR);
        assert_eq!(books["refunded_minor"]["usd"], 2_500);
        assert_eq!(
            world
                .count("select count(*) from jobs where state = 'discarded'")
                .await,
            0
        );
    }

    // Stripe does deliver one of them in the end: it is known.
    let late = lossy
        .texts("select stripe_event_id from stripe_events where via = 'backfill' order by created_at limit 1")
        .await;
    let told = lossy
        .sim
        .tell(&format!("/events/{}/deliver", late[0]), json!({}))
        .await;
    assert_eq!(told["attempts"][0]["status"], 200, "{told}");
    lossy.settle().await;
    assert_eq!(state(&lossy).await, state(&quiet).await);
}

/// So many events of cards of nobody's, which are told to nobody.
async fn untold(world: &World, from: usize, to: usize) {
    for n in from..to {
        let card = json!({ "id": format!("pm_{n:04}"), "object": "payment_method" });
        let event =
            json!({ "type": "payment_method.automatically_updated", "object": card, "deliver": false });
        world.sim.tell("/events", event).await;
    }
}

const INBOX: &str = "select count(*) from stripe_events where via = 'backfill'";
const THEIR_JOBS: &str =
    "select count(*) from jobs where kind = 'process_stripe_event' and priority = 4 and state <> 'discarded'";

/// Holds the second page of the next backfill.
async fn hold_the_second_page(world: &World) {
    let fault = json!({ "method": "GET", "path": "/v1/events", "kind": "hold_before", "nth": 2 });
    world.sim.fault(fault).await.unwrap();
}

#[tokio::test]
async fn backfill_reads_every_page_while_events_arrive_between_them() {
    let world = World::start(WorldOptions::default()).await;
    untold(&world, 0, 260).await;
    let dry = world
        .json(&["events", "backfill", "--since", "1h", "--dry-run"])
        .await;
    // Three pages, and the empty one of the types that only platform billing has.
    assert_eq!(
        (&dry["events"]["new"], &dry["events"]["pages"]),
        (&json!(260), &json!(4)),
        "{dry}"
    );
    assert_eq!(world.count(INBOX).await, 0, "a dry run puts nothing down");

    hold_the_second_page(&world).await;
    world
        .json(&["events", "backfill", "--since", "1h", "--no-wait"])
        .await;
    world.until_held(1).await;
    untold(&world, 260, 265).await;
    world.sim.release().await.unwrap();
    world.settle_within(MANY_JOBS).await;
    assert_eq!(world.count(INBOX).await, 260, "what came meanwhile stands above");
    world.sim.heal().await.unwrap();
    let next = world.json(&["events", "backfill"]).await;
    assert_eq!(next["events"]["new"], 5, "{next}");
    let again = world.json(&["events", "backfill"]).await;
    assert_eq!(again["events"]["new"], 0, "{again}");
    world.settle_within(MANY_JOBS).await;
    assert_eq!(
        (world.count(INBOX).await, world.count(THEIR_JOBS).await),
        (265, 265)
    );
}

#[tokio::test]
async fn backfill_that_dies_between_two_pages_is_taken_up_again() {
    let mut world = World::start(WorldOptions {
        lease_secs: 5,
        ..WorldOptions::default()
    })
    .await;
    untold(&world, 0, 260).await;
    hold_the_second_page(&world).await;
    world
        .json(&["events", "backfill", "--since", "1h", "--no-wait"])
        .await;
    world.until_held(1).await;
    assert_eq!(
        world.count(INBOX).await,
        100,
        "a page is kept as soon as it is read"
    );
    world.kill9(0).await;
    world.sim.heal().await.unwrap();
    world.sim.release().await.unwrap();
    world.add_worker().await;
    world.until(INBOX, 260, PATIENCE).await;
    world.settle_within(MANY_JOBS).await;
    assert_eq!(world.count(THEIR_JOBS).await, 260);
    assert_eq!(
        world
            .count("select count(*) from backfill_progress where list = 'events'")
            .await,
        0,
        "an hour is not all that had to be read"
    );
}

#[tokio::test]
async fn what_is_older_than_stripes_list_of_events_is_found_by_its_object() {
    let world = World::start(WorldOptions::default()).await;
    let payers: Vec<Payer> = ["refunded", "contests", "keeps"].map(Payer::alone).into();
    cast::enter(&world, &payers, &["succeed"]).await;
    world.settle().await;
    world.switch(DAILY, Switch::Off).await;
    lose_webhooks(&world, true).await;
    let back = json!({ "payment_intent": payers[0].intent(&world).await, "amount": 2_500 });
    world.sim.tell("/refunds", back).await;
    let order = json!({ "payment_intent": payers[1].intent(&world).await, "kind": "chargeback" });
    world.sim.tell("/disputes", order).await;
    world.advance("31d").await;
    world.settle().await;
    lose_webhooks(&world, false).await;
    let statuses = async || {
        let mut all = Vec::new();
        for payer in &payers {
            all.push(payer.status(&world).await);
        }
        all
    };
    assert_eq!(statuses().await, ["paid", "paid", "paid"]);

    let found = world.json(&["events", "backfill", "--since", "60d"]).await;
    world.settle().await;
    assert_eq!(found["events"]["new"], 0, "{found}");
    assert_eq!(found["beyond_stripes_list"], true, "{found}");
    assert_eq!(
        (
            &found["objects"]["refunds"]["new"],
            &found["objects"]["disputes"]["new"]
        ),
        (&json!(1), &json!(1)),
        "{found}"
    );
    assert_eq!(statuses().await, ["paid", "disputed", "paid"]);
    assert_eq!(world.count("select sum(amount_minor) from refunds").await, 2_500);
    // What was found and mended is not found again, nor is what never differed.
    let again = world.json(&["events", "backfill", "--since", "60d"]).await;
    for list in ["charges", "refunds", "disputes", "payment_intents"] {
        assert_eq!(again["objects"][list]["new"], 0, "{list}: {again}");
    }
    world.settle().await;
}

/// What another program charges on the same account: nothing to us but pages to read.
async fn foreign_charges(world: &World, count: usize) {
    for _ in 0..count {
        let form = "amount=1000&currency=usd&customer=cus_foreign&payment_method=pm_foreign&confirm=true";
        let answer = reqwest::Client::new()
            .post(format!("{}/v1/payment_intents", world.sim.base()))
            .bearer_auth("sk_test_other")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

/// Two hundred and seventy charges in three batches, an hour apart, and a backfill that dies when it has read one page of three.
#[tokio::test]
async fn backfill_of_a_long_list_goes_on_with_the_page_at_which_it_was_broken_off() {
    let mut world = World::start(WorldOptions {
        lease_secs: 5,
        ..WorldOptions::default()
    })
    .await;
    world.switch(DAILY, Switch::Off).await;
    lose_webhooks(&world, true).await;
    for _ in 0..3 {
        foreign_charges(&world, 90).await;
        advance(&world, "1h").await;
    }
    advance(&world, "1h").await;
    let hold = json!({ "method": "GET", "path": "/v1/charges", "kind": "hold_before", "nth": 2 });
    world.sim.fault(hold).await.unwrap();
    world
        .json(&["events", "backfill", "--since", "1d", "--no-wait"])
        .await;
    world.until_held(1).await;
    let pass =
        "select count(*) from backfill_passes p join jobs j on j.id = p.of_job where p.list = 'charges'";
    assert_eq!(
        world.count(pass).await,
        1,
        "how far it came is noted, for its job"
    );
    world.kill9(0).await;
    world.sim.heal().await.unwrap();
    world.sim.release().await.unwrap();
    world.add_worker().await;
    let done = "select count(*) from jobs where kind = 'backfill_events' and state = 'completed'";
    world.until(done, 1, PATIENCE).await;
    let of_charges = |what: &str| {
        format!(
            "select (result -> 'objects' -> 'charges' ->> '{what}')::bigint from jobs where kind = 'backfill_events'"
        )
    };
    // The newest ninety were read before, and ten of the second batch: but for those of the same second they are not read again.
    let listed = world.count(&of_charges("listed")).await;
    assert!((170..=180).contains(&listed), "{listed} of 270");
    assert_eq!(world.count("select count(*) from backfill_passes").await, 0);
    assert_eq!(
        world
            .count("select count(*) from stripe_events where via = 'backfill' and type = 'sweep.charge'")
            .await,
        0,
        "nothing of it was ours"
    );
    // What was due to be read anyway is read from its beginning, as the pass above was its command's alone.
    let whole = world.json(&["events", "backfill"]).await;
    assert_eq!(whole["objects"]["charges"]["listed"], 270, "{whole}");
    world.settle_within(MANY_JOBS).await;
}

/// Payments that Stripe works on: the books say the same, so there is nothing to look at. One of them has come to its end unheard.
#[tokio::test]
async fn backfill_of_open_intents_puts_down_those_that_tell_more_than_the_books() {
    let world = World::start(WorldOptions::default()).await;
    let works = Payer::crowd("works", 104);
    cast::enter(&world, &works, &["processing"]).await;
    world.settle_within(MANY_JOBS).await;
    world.switch(DAILY, Switch::Off).await;
    lose_webhooks(&world, true).await;
    let (last, path) = (
        &works[103],
        format!("/payment_intents/{}/settle", works[103].intent(&world).await),
    );
    world.sim.tell(&path, json!({ "outcome": "succeed" })).await;
    // Past the age from which an attempt is looked at, and before the lookups of what is being processed.
    advance(&world, "20m").await;
    assert_eq!(last.status(&world).await, "processing");
    // What Stripe has an event of is not looked for among these: this event is older.
    let found = world.json(&["events", "backfill", "--since", "5m"]).await;
    let intents = &found["objects"]["payment_intents"];
    assert_eq!(
        intents["listed"], 104,
        "all of them, not only the oldest: {found}"
    );
    assert_eq!(intents["pages"], 2, "{found}");
    assert_eq!(intents["new"], 1, "{found}");
    world.settle_within(MANY_JOBS).await;
    assert_eq!(last.status(&world).await, "paid");
    assert_eq!(
        world.count(INBOX).await,
        1 + found["events"]["new"].as_i64().unwrap()
    );
}
