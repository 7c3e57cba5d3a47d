//! Postgres is there and not well: it throws connections out, has none left, is out of room, or somebody holds a lock.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tests::world::{World, WorldOptions};

use crate::{
    acme,
    cast::{self, AMOUNT_MINOR, Payer},
    deliveries::{self, Deliveries},
    simulation::invariants,
};

/// Senders of webhooks at a time.
const SENDERS: usize = 4;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a program may take to be well again after Postgres is.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);

/// Sessions of our programs in this world's database.
const OURS: &str = "from pg_stat_activity where datname = current_database() and usename in ('quittance_test_ingress', 'quittance_test_worker')";

async fn run(world: &World, sql: &str) {
    let statement = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(statement).execute(&world.db).await.unwrap();
}

/// Ends every session of our programs; returns how many there were.
async fn throw_out(world: &World) -> i64 {
    world
        .count(&format!(
            "select count(*) filter (where gone) from (select pg_terminate_backend(pid) as gone {OURS}) t"
        ))
        .await
}

/// Stripe delivers again what was refused. Then everybody has paid once, no job was given up, and all that must hold does.
async fn assert_all_is_well(world: &mut World, payers: &[Payer], told: &[deliveries::Told]) {
    for told in told.iter().filter(|told| !told.is_acknowledged()) {
        let answer = told.answer.as_ref().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.retry_after.is_some_and(|secs| secs > 0), "{answer:?}");
        world.deliver(&told.event).await;
    }
    deliveries::assert_acknowledged_is_stored(world, told).await;
    world.settle_within(PATIENCE).await;
    // What shows no effect is believed to have had none only after a while, and is made again a minute after that was found.
    for _ in 0..2 {
        acme::age_calls(world).await;
        world.advance("2h").await;
        world.settle_within(PATIENCE).await;
    }
    let count = i64::try_from(payers.len()).unwrap();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        count * AMOUNT_MINOR
    );
    for (sql, wanted) in [
        ("select count(*) from payments", count),
        ("select count(*) from invoice_status where status = 'paid'", count),
        ("select count(*) from jobs where state = 'discarded'", 0),
        (
            "select count(*) from stripe_events where type = 'customer.updated'",
            i64::try_from(told.len()).unwrap(),
        ),
    ] {
        assert_eq!(world.count(sql).await, wanted, "{sql}");
    }
    let wrong = invariants::breaches(world).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn load_p1_p5_backends_ended_again_and_again_lose_nothing_and_double_nothing() {
    let mut world = World::start(WorldOptions {
        workers: 2,
        lease_secs: 5,
        ..WorldOptions::default()
    })
    .await;
    let slow = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "delay_after_effect", "ms": 200, "times": 1000 });
    world.sim.fault(slow).await.unwrap();
    let payers = Payer::crowd("acme", 40);
    let stream = Deliveries::begin(&world, SENDERS);
    let mut thrown_out = 0;
    for batch in payers.chunks(4) {
        cast::enter(&world, batch, &[]).await;
        stream.pass(10, PATIENCE).await;
        thrown_out += throw_out(&world).await;
    }
    stream.pass(20, PATIENCE).await;
    let told = stream.end().await;
    eprintln!("{thrown_out} sessions were ended under {} webhooks", told.len());
    assert!(thrown_out > 50, "only {thrown_out} sessions were ended");
    assert_all_is_well(&mut world, &payers, &told).await;
}

#[tokio::test]
async fn p1_p5_when_no_connection_is_left_the_door_says_503_and_workers_wait() {
    let mut world = World::start(WorldOptions::default()).await;
    let payers = Payer::crowd("acme", 8);
    let (paid, paying) = payers.split_at(4);
    cast::enter(&world, paid, &[]).await;
    world.settle().await;
    acme::hold_confirmations(&world, "hold_after", 4).await;
    cast::enter(&world, paying, &[]).await;
    world.until_held(4).await;
    let stream = Deliveries::begin(&world, SENDERS);
    stream.pass(20, PATIENCE).await;

    // As if others had taken all that the server has.
    let name = world.texts("select current_database()::text").await.concat();
    run(&world, &format!("alter database {name} connection limit 0")).await;
    while throw_out(&world).await > 0 {}
    let told = world.until_ingress_says("/readyz", 503, RECOVERS_WITHIN).await;
    let full = format!("too many connections for database \"{name}\"");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["checks"]["database"]["message"], full, "{told}");
    let told = world.until_worker_says(0, "/readyz", 503, RECOVERS_WITHIN).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["checks"]["database"]["message"], full, "{told}");
    for (status, lines) in [
        world.ingress_admin("/readyz?verbose").await,
        world.worker_admin(0, "/readyz?verbose").await,
    ] {
        let line = format!("[-]database failed: {full}\n");
        assert!(
            status == 503 && lines.contains(&line) && lines.ends_with("readyz check failed\n"),
            "{lines}"
        );
    }
    // Stripe answers while there is nobody to write it down.
    world.sim.release().await.unwrap();
    stream.pass(2 * SENDERS, PATIENCE).await;

    run(&world, &format!("alter database {name} connection limit -1")).await;
    world.until_ingress_says("/readyz", 200, RECOVERS_WITHIN).await;
    world.until_worker_says(0, "/readyz", 200, RECOVERS_WITHIN).await;
    stream.pass(20, PATIENCE).await;
    let told = stream.end().await;
    let refused = told.iter().filter(|told| !told.is_acknowledged()).count();
    assert!(refused >= SENDERS, "only {refused} were refused");
    assert_all_is_well(&mut world, &payers, &told).await;
}

/// Jobs that wait for a lock take every connection there is for jobs. Their worker lives, says so, and keeps its claims.
#[tokio::test]
async fn p5_a_worker_whose_jobs_wait_for_a_lock_keeps_its_claims_and_is_not_held_for_dead() {
    let mut world = World::start(WorldOptions {
        concurrency: 40,
        lease_secs: 5,
        stripe_timeout_secs: 60, // nobody gives up while the story goes on
        ..WorldOptions::default()
    })
    .await;
    world.sim.pause_webhooks().await.unwrap();
    run(
        &world,
        "insert into queue_pauses (queue, paused_at, reason, by) values ('events', now(), 'test', 'test')",
    )
    .await;
    let stream = Deliveries::begin(&world, SENDERS);
    stream.pass(60, PATIENCE).await;
    let told = stream.end().await;
    // A charge is made, and Stripe takes its time.
    acme::hold_confirmations(&world, "hold_after", 1).await;
    let payer = Payer::of("acme", "globex");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.until_held(1).await;
    // Somebody at a console looks at events and forgets to commit.
    let mut held = world.db.begin().await.unwrap();
    sqlx::query("select from stripe_events for update")
        .execute(&mut *held)
        .await
        .unwrap();
    run(&world, "delete from queue_pauses").await;
    let waiting = format!("select (count(*) >= 28)::int {OURS} and wait_event_type = 'Lock'");
    world.until(&waiting, 1, PATIENCE).await;
    let since = world.texts("select clock_timestamp()::text").await.concat();
    // Longer than a worker may be silent, and than a lease holds.
    let lives = format!(
        "select count(*) from workers where heartbeat_at > '{since}'::timestamptz + interval '10 seconds'"
    );
    world.until(&lives, 1, PATIENCE).await;
    assert_eq!(world.count(&waiting).await, 1, "it was no test");
    held.rollback().await.unwrap();
    world.sim.release().await.unwrap();
    world.until_worker_says(0, "/readyz", 200, RECOVERS_WITHIN).await;
    world.sim.resume_webhooks().await.unwrap();
    world.settle_within(PATIENCE).await;
    let claims = "select format('%s fence %s attempt %s', state, fence, attempt) from jobs where kind = 'collect_invoice'";
    assert_eq!(world.texts(claims).await, ["completed fence 1 attempt 1"]);
    deliveries::assert_every_job_ran_once(&world).await;
    assert_all_is_well(&mut world, &[payer], &told).await;
}

/// The variable by which `tests/run` names a tablespace on a disk of its own that is soon full.
const SMALL_DISK: &str = "QUITTANCE_TEST_SMALL_TABLESPACE";

#[tokio::test]
async fn load_p1_p5_a_full_disk_is_a_503_and_a_wait_and_nothing_is_lost() {
    let Ok(tablespace) = std::env::var(SMALL_DISK) else {
        eprintln!("skipped: {SMALL_DISK} is not set (it takes root to make a small disk)");
        return;
    };
    let mut world = World::start(WorldOptions {
        tablespace: Some(tablespace.clone()),
        ..WorldOptions::default()
    })
    .await;
    let payers = Payer::crowd("acme", 24);
    let (first, second) = payers.split_at(4);
    cast::enter(&world, first, &[]).await;
    world.settle().await;
    let stream = Deliveries::begin_with(&world, SENDERS, large);
    stream.pass(20, PATIENCE).await;

    let filler = Filler::new(&tablespace);
    filler.fill().await;
    let full = "No space left on device";
    let refusals = async {
        while !world.ingress.as_ref().unwrap().output().contains(full) {
            stream.pass(SENDERS, PATIENCE).await;
            // What was free within the files is used up by what we store.
            filler.fill().await;
        }
    };
    tokio::time::timeout(PATIENCE, refusals)
        .await
        .expect("a full disk");
    // Charges are still made as far as there is room, and wait where there is none.
    world
        .sim
        .customer_with_card(&second[0].customer, &second[0].card, &[])
        .await
        .unwrap();
    let imported = world
        .command()
        .run_with_input(&["import", "-"], &cast::document(&second[..1]).to_string())
        .await
        .unwrap();
    eprintln!("an import into a full disk: {imported}");
    stream.pass(4 * SENDERS, PATIENCE).await;

    filler.remove().await;
    cast::enter(&world, second, &[]).await;
    stream.pass(20, PATIENCE).await;
    let told = stream.end().await;
    let refused = told.iter().filter(|told| !told.is_acknowledged()).count();
    eprintln!("{refused} of {} webhooks were refused", told.len());
    assert!(refused >= SENDERS, "only {refused} were refused");
    world.until_ingress_says("/readyz", 200, RECOVERS_WITHIN).await;
    world.until_worker_says(0, "/readyz", 200, RECOVERS_WITHIN).await;
    assert_all_is_well(&mut world, &payers, &told).await;
}

/// An event that needs pages of its own, of a type that nobody handles.
fn large(n: usize) -> Value {
    let mut event = deliveries::beside_the_point(n);
    event["data"]["object"]["metadata"] = json!({ "note": "0123456789".repeat(100 + n % 7) });
    event
}

/// A table that takes all the room there is, in a database whose catalogue is on another disk.
struct Filler {
    table: String,
    tablespace: String,
}

impl Filler {
    fn new(tablespace: &str) -> Self {
        Self {
            table: format!("filler_{}", std::process::id()),
            tablespace: tablespace.to_owned(),
        }
    }

    async fn connect(&self) -> PgConnection {
        let url = std::env::var(tests::world::SERVER_VARIABLE).unwrap();
        PgConnection::connect(&url).await.unwrap()
    }

    async fn fill(&self) {
        let mut conn = self.connect().await;
        let make = format!(
            "create table if not exists {table} (page text) tablespace {};
             alter table {table} alter column page set storage plain", // or it would be compressed to nothing
            self.tablespace,
            table = self.table
        );
        sqlx::raw_sql(AssertSqlSafe(make))
            .execute(&mut conn)
            .await
            .unwrap();
        // Page by page at the end, so that the last one is used too.
        for rows in [1000, 100, 10, 1] {
            let more = format!(
                "insert into {} select repeat('x', 8000) from generate_series(1, {rows})",
                self.table
            );
            loop {
                if let Err(fault) = sqlx::raw_sql(AssertSqlSafe(more.clone()))
                    .execute(&mut conn)
                    .await
                {
                    let code = fault
                        .as_database_error()
                        .and_then(|said| said.code().map(|code| code.into_owned()));
                    assert_eq!(code.as_deref(), Some("53100"), "{fault}");
                    break;
                }
            }
        }
    }

    async fn remove(&self) {
        let mut conn = self.connect().await;
        let drop_it = format!("drop table {}", self.table);
        sqlx::raw_sql(AssertSqlSafe(drop_it))
            .execute(&mut conn)
            .await
            .unwrap();
    }
}
