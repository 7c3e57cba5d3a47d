//! More workers and fewer: what the autoscaler is told, that a backlog drains faster with more of them, and that one which is taken
//! away in the middle of a job loses nothing.
//!
//! Charges wait for Stripe, and Stripe's answers wait for the story: how long a backlog takes is then counted in answers that one
//! had to wait for, whatever the machine is.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tests::world::{Login, World, WorldOptions};
use tokio::time::{Instant, interval};

use crate::{
    cast::{self, AMOUNT_MINOR, Payer},
    documents,
};

/// Jobs of a queue that a worker runs at a time.
const SLOTS: u32 = 2;

/// Charges in a backlog: a multiple of what four workers run at a time.
const BACKLOG: u32 = 16;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a full count of the table says to both questions.
const FULL_COUNT: &str = "
    select count(*), coalesce(extract(epoch from app.now() - min(run_at)), 0)::bigint from jobs
     where state in ('available', 'retryable') and run_at <= app.now() and queue not in (select queue from queue_pauses)";

/// The autoscaler: its own login, and the queries of its manifest.
struct Scaler {
    conn: PgConnection,
    due: String,
    oldest: String,
}

impl Scaler {
    async fn of(world: &World) -> Self {
        let manifest = documents::read("deploy/kubernetes/components/keda/scaled-object.yaml");
        let mut queries = manifest
            .lines()
            .filter_map(|line| line.trim().strip_prefix("query: ").map(str::to_owned));
        let (due, oldest) = (queries.next().unwrap(), queries.next().unwrap());
        assert_eq!(queries.next(), None);
        let url = world.database_url(Login::Scaler);
        Self {
            conn: PgConnection::connect(&url).await.unwrap(),
            due,
            oldest,
        }
    }

    async fn due(&mut self) -> i64 {
        let due = sqlx::query_scalar(AssertSqlSafe(self.due.clone()));
        due.fetch_one(&mut self.conn).await.unwrap()
    }

    async fn oldest_secs(&mut self) -> i64 {
        let oldest = sqlx::query_scalar(AssertSqlSafe(self.oldest.clone()));
        oldest.fetch_one(&mut self.conn).await.unwrap()
    }

    /// It is told that so many jobs are due, and so they are: both numbers are those of a full count at the same moment. Awaited, as a
    /// schedule may have a job of its own for a moment.
    async fn is_told(&mut self, world: &World, wanted: u32, when: &str) {
        let both = format!("select b.due, b.oldest_secs, f.* from app.backlog() b, ({FULL_COUNT}) f");
        let mut look = interval(Duration::from_millis(50));
        let deadline = Instant::now() + PATIENCE;
        loop {
            look.tick().await;
            let told = self.due().await;
            let query = sqlx::query_as(AssertSqlSafe(both.as_str()));
            let (due, oldest, all, age): (i64, i64, i64, i64) = query.fetch_one(&world.db).await.unwrap();
            // The age ends with the time of day, which each of the two reads for itself.
            assert!(
                due == all && (-1..=1).contains(&(age - oldest)),
                "{when}: {due} of {all}, {oldest} of {age} s"
            );
            if told == i64::from(wanted) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{when}: the scaler is told of {told} due jobs, not of {wanted}"
            );
        }
    }
}

/// Every call that moves money waits: with its effect already there (`hold_after`), for an answer that takes its time
/// (`delay_after_effect`) …
fn confirming(kind: &str) -> Value {
    json!({ "path": "/v1/payment_intents/*/confirm", "kind": kind, "ms": LATENCY.as_millis(), "times": 10_000 })
}

/// What Stripe takes for an answer where time is really taken.
const LATENCY: Duration = Duration::from_millis(1500);

/// Waits until so many calls wait for the story.
async fn until_held(world: &World, calls: u32) {
    let mut look = interval(Duration::from_millis(20));
    let deadline = Instant::now() + PATIENCE;
    loop {
        look.tick().await;
        let held = world.sim.held().await.unwrap();
        if held == u64::from(calls) {
            return;
        }
        assert!(Instant::now() < deadline, "{held} calls are held, not {calls}");
    }
}

/// Every payer has paid, once, by one call.
async fn assert_paid_once(world: &World, payers: u32) {
    let count = i64::from(payers);
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        count * AMOUNT_MINOR
    );
    for table in ["payments", "payment_attempts"] {
        assert_eq!(
            world.count(&format!("select count(*) from {table}")).await,
            count,
            "{table}"
        );
    }
    let calls = world.sim.requests().await.unwrap();
    let confirmed = calls.iter().filter(|call| {
        call["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("/confirm"))
    });
    assert_eq!(confirmed.count(), payers as usize);
    assert_eq!(
        world
            .count("select count(*) from invoice_status where status = 'paid'")
            .await,
        count
    );
    assert_eq!(
        world.count("select count(*) from jobs where crashes > 0").await,
        0
    );
}

/// A world without workers so far.
async fn deserted(grace_secs: u64) -> World {
    let world = World::start(WorldOptions {
        workers: 0,
        concurrency: SLOTS,
        grace_secs,
        stripe_timeout_secs: 60, // nobody gives up while the story goes on
        ..WorldOptions::default()
    })
    .await;
    world.sim.pause_webhooks().await.unwrap();
    world
}

/// One, two and four workers on the same backlog: twice as many wait for half as many answers one after the other, and end sooner;
/// and at each step the autoscaler is told what is left.
#[tokio::test]
async fn load_a_backlog_drains_faster_with_more_workers_and_the_scaler_is_told_what_is_left() {
    let mut world = deserted(25).await;
    let mut scaler = Scaler::of(&world).await;
    scaler.is_told(&world, 0, "nothing to do").await;

    let (mut rounds, mut took) = (Vec::new(), Vec::new());
    let mut payers = 0;
    for workers in [1, 2, 4] {
        world.sim.fault(confirming("hold_before")).await.unwrap();
        cast::enter(
            &world,
            &Payer::crowd(&format!("held{workers}"), BACKLOG as usize),
            &[],
        )
        .await;
        payers += BACKLOG;
        if workers == 1 {
            scaler.is_told(&world, BACKLOG, "nobody works").await;
            world.advance("10m").await;
            let oldest = scaler.oldest_secs().await;
            assert!(
                (600..660).contains(&oldest),
                "the oldest has waited for {oldest} s"
            );
            world
                .json(&["queue", "pause", "charges", "--reason", "a story"])
                .await;
            scaler.is_told(&world, 0, "nobody may work").await;
            world
                .json(&["queue", "resume", "charges", "--reason", "a story"])
                .await;
            scaler.is_told(&world, BACKLOG, "everybody may").await;
        }
        while world.workers.len() < workers {
            world.add_worker().await;
        }
        // Each time as many calls are on their way as there are slots, and all are answered at once.
        let at_a_time = u32::try_from(workers).unwrap() * SLOTS;
        let (mut left, mut answers) = (BACKLOG, 0);
        while left > 0 {
            until_held(&world, at_a_time).await;
            left -= at_a_time;
            scaler
                .is_told(&world, left, &format!("{workers} workers, {answers} answers"))
                .await;
            answers += 1;
            world.sim.release().await.unwrap();
        }
        rounds.push(answers);
        world.settle_within(PATIENCE).await;
        scaler.is_told(&world, 0, "all is done").await;

        // The same by the clock.
        world.sim.heal().await.unwrap();
        world.sim.fault(confirming("delay_after_effect")).await.unwrap();
        cast::enter(
            &world,
            &Payer::crowd(&format!("timed{workers}"), BACKLOG as usize),
            &[],
        )
        .await;
        payers += BACKLOG;
        let began = Instant::now();
        world.settle_within(PATIENCE).await;
        took.push(began.elapsed());
        world.sim.heal().await.unwrap();
    }
    eprintln!(
        "{BACKLOG} charges with 1, 2 and 4 workers: {rounds:?} answers of Stripe one after the other, {took:?}"
    );
    assert_eq!(rounds, [8, 4, 2]);
    assert!(took.is_sorted_by(|fewer, more| more < fewer), "{took:?}");
    assert_paid_once(&world, payers).await;

    // What tells of it comes late and changes nothing.
    world.sim.resume_webhooks().await.unwrap();
    world.settle_within(PATIENCE).await;
    assert_paid_once(&world, payers).await;
}

/// Three of four workers are taken away while Stripe has made their charges and not answered yet. What they had in hand they give
/// back; the autoscaler is told of it again; and the one that is left finds every charge made, and makes none again.
#[tokio::test]
async fn load_a_worker_that_is_scaled_down_in_the_middle_of_a_job_loses_nothing() {
    let mut world = deserted(1).await;
    let mut scaler = Scaler::of(&world).await;
    world.sim.fault(confirming("hold_after")).await.unwrap();
    cast::enter(&world, &Payer::crowd("acme", BACKLOG as usize), &[]).await;
    for _ in 0..4 {
        world.add_worker().await;
    }
    until_held(&world, 4 * SLOTS).await;
    scaler.is_told(&world, BACKLOG - 4 * SLOTS, "four at work").await;
    // Those that go give their jobs back, and nobody has a slot for them.
    for gone in 1..=3 {
        assert_eq!(world.sigterm(gone).await, 0);
        let with_those_left = (4 - u32::try_from(gone).unwrap()) * SLOTS;
        scaler
            .is_told(&world, BACKLOG - with_those_left, &format!("{gone} gone"))
            .await;
    }
    assert_eq!(world.count("select count(*) from workers").await, 1);
    let charged = world.sim.captured_minor("usd").await.unwrap();
    assert_eq!(
        charged,
        i64::from(4 * SLOTS) * AMOUNT_MINOR,
        "Stripe has made them all"
    );

    world.sim.heal().await.unwrap();
    world.sim.release().await.unwrap();
    world.settle_within(PATIENCE).await;
    scaler.is_told(&world, 0, "all is done").await;
    assert_paid_once(&world, BACKLOG).await;
    world.sim.resume_webhooks().await.unwrap();
    world.settle_within(PATIENCE).await;
    assert_paid_once(&world, BACKLOG).await;
}

/// The autoscaler's role may ask for the two numbers, and for nothing else that is anybody's.
#[tokio::test]
async fn p8_the_scaler_may_ask_for_two_numbers_and_nothing_else() {
    let world = deserted(25).await;
    let tables = "select c.relname::text from pg_class c, unnest(array['select', 'insert', 'update', 'delete', 'truncate']) may
                   where c.relnamespace in ('public'::regnamespace, 'app'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm')
                     and has_table_privilege('quittance_scaler', c.oid, may)
                  union select c.relname::text from pg_class c
                   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and has_any_column_privilege('quittance_scaler', c.oid, 'select')";
    assert_eq!(world.texts(tables).await, Vec::<String>::new());
    let functions = "select p.proname::text from pg_proc p
                      where p.pronamespace = 'app'::regnamespace and p.prosecdef and p.prorettype <> 'trigger'::regtype
                        and has_function_privilege('quittance_scaler', p.oid, 'execute')";
    assert_eq!(world.texts(functions).await, ["backlog"]);
    let mut scaler = Scaler::of(&world).await;
    let refused = sqlx::query("select count(*) from jobs")
        .execute(&mut scaler.conn)
        .await
        .unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501");
}
