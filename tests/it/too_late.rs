//! P3: a worker that is frozen right before it sends a confirmation sends it no more when it wakes too late, whoever has
//! looked meanwhile and whatever it can reach.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::json;
use sqlx::{PgConnection, pool::PoolConnection};
use tests::world::{Passage, World, WorldOptions};

use crate::acme;

/// The lock at which the transaction that marks an attempt sent stops, on its way to commit.
const BARRIER: &str = "hashtext('an attempt is about to be sent')";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets nobody past the commit that marks an attempt sent, while the returned connection holds the barrier.
async fn close_barrier(world: &World) -> PoolConnection<sqlx::Postgres> {
    let mut holder = world.db.acquire().await.unwrap();
    for statement in [
        format!("select pg_advisory_lock({BARRIER})"),
        format!(
            "create function at_the_barrier() returns trigger language plpgsql as
             $$ begin perform pg_advisory_xact_lock({BARRIER}); return null; end $$"
        ),
        "create constraint trigger at_the_barrier after update of state on payment_attempts
           deferrable initially deferred for each row when (new.state = 'sent') execute function at_the_barrier()"
            .into(),
    ] {
        run(&mut holder, statement).await;
    }
    holder
}

async fn run(conn: &mut PgConnection, statement: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(conn)
        .await
        .unwrap();
}

/// One client whose first charge stops between the commit of `mark_sent` and the confirmation, with the worker frozen
/// there; another worker takes over, and finds out that nobody knows. When `over` holds the first one wakes, and hears
/// nothing from Postgres: it has nothing to go by but its own clocks.
async fn wakes_too_late(lease_secs: u64, over: &str) {
    let mut world = World::start(WorldOptions {
        lease_secs,
        postgres_gate: true,
        ..WorldOptions::default()
    })
    .await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    let mut barrier = close_barrier(&world).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'";
    world.until(waiting, 1, PATIENCE).await;
    world.freeze(0);
    run(&mut barrier, format!("select pg_advisory_unlock({BARRIER})")).await;
    let sent = "select count(*) from payment_attempts where state = 'sent'";
    world.until(sent, 1, PATIENCE).await;
    assert!(
        acme::confirmations(&world, "globex").await.is_empty(),
        "it is frozen before it sends"
    );

    let heir = world.add_worker().await;
    let looked = "select count(*) from payment_attempts where state = 'unknown'";
    world.until(looked, 1, PATIENCE).await;
    world.until(over, 1, PATIENCE).await;
    let gate = world.gate.as_ref().unwrap();
    gate.set(Passage::Frozen);
    world.thaw(0);
    let refused = r#"quittance_stripe_requests_total{code="too_late",op="confirm_payment_intent"}"#;
    world.until_metric(0, refused, 1.0, PATIENCE).await;
    world.gate.as_ref().unwrap().set(Passage::Open);
    world.settle().await;
    assert!(acme::confirmations(&world, "globex").await.is_empty());
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 0);
    acme::assert_outcomes(&world, &[("globex", "processing unknown: auto 0 unknown")]).await;

    // Nothing stands in the way of the client's own payment.
    let (intent, _) = acme::intent(&world, "globex").await;
    let path = format!("/payment_intents/{intent}/pay");
    let paid = json!({ "payment_method": "pm_globex" });
    world.sim.post(&path, paid).await.unwrap();
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;
    acme::assert_books_agree(&world).await;
    for worker in [0, heir] {
        assert_eq!(world.sigterm(worker).await, 0);
    }
}

#[tokio::test]
async fn p3_a_worker_frozen_right_before_a_confirmation_sends_it_no_more_after_twenty_seconds() {
    // Its lease would hold for a minute: only the time since the attempt was marked sent is up.
    let over = "select (clock_timestamp() - max(sent_at) > interval '21 seconds')::int from payment_attempts";
    wakes_too_late(60, over).await;
}

#[tokio::test]
async fn p3_a_worker_frozen_right_before_a_confirmation_sends_it_no_more_without_its_lease() {
    let over = "select (clock_timestamp() - max(sent_at) > interval '6 seconds')::int from payment_attempts";
    wakes_too_late(5, over).await;
}
