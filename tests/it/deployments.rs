//! New versions under load: workers and portal are replaced one after the other, and the schema grows while the old ones still run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{path::Path, time::Duration};

use serde_json::json;
use sqlx::{Connection as _, PgConnection, migrate::Migrator};
use tests::world::{Login, World, WorldOptions};

use crate::{
    cast::{self, AMOUNT_MINOR, Payer},
    deliveries::{self, Deliveries},
    readers::{self, Readers},
    simulation::invariants,
};

/// Senders of webhooks at a time.
const SENDERS: usize = 2;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(90);

/// Charges take their time, so that each worker has some in hand whenever it is asked to stop.
pub async fn slow_charges(world: &World) {
    let slow = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "delay_after_effect", "ms": 300, "times": 1000 });
    world.sim.fault(slow).await.unwrap();
}

/// Everything was done once, at the first attempt, by workers of which none was held for dead.
pub async fn assert_nobody_noticed(world: &mut World, payers: &[Payer], told: &[deliveries::Told]) {
    world.settle_within(PATIENCE).await;
    assert!(
        told.iter().all(deliveries::Told::is_acknowledged),
        "webhooks were refused"
    );
    deliveries::assert_acknowledged_is_stored(world, told).await;
    deliveries::assert_every_event_ended(world).await;
    deliveries::assert_every_job_ran_once(world).await;
    let count = i64::try_from(payers.len()).unwrap();
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
}

#[tokio::test]
async fn load_p5_a_rolling_restart_of_three_workers_loses_no_job_and_burns_no_attempt() {
    let mut world = World::start(WorldOptions {
        workers: 3,
        grace_secs: 15,
        ..WorldOptions::default()
    })
    .await;
    slow_charges(&world).await;
    let payers = Payer::crowd("acme", 80);
    let stream = Deliveries::begin(&world, SENDERS);
    for (old, batch) in payers.chunks(20).enumerate() {
        cast::enter(&world, batch, &[]).await;
        let in_hand = "select (count(*) > 0)::int from jobs where state = 'running'";
        world.until(in_hand, 1, PATIENCE).await;
        if old < 3 {
            assert_eq!(world.sigterm(old).await, 0);
            world.add_worker().await;
        }
    }
    stream.pass(20, PATIENCE).await;
    let told = stream.end().await;
    assert_nobody_noticed(&mut world, &payers, &told).await;
    for new in 3..6 {
        assert_eq!(world.sigterm(new).await, 0);
    }
}

/// What a release may add (expand) while the build before it runs: a table and a trigger of its own, an index …
pub const EXPAND: &str = "
create table next_release (id uuid primary key default gen_random_uuid(), seen_at timestamptz default now());
grant insert on next_release to quittance_worker, quittance_ingress;
create function next_release_notes() returns trigger language plpgsql as $$
begin
  insert into next_release default values;
  return new;
end $$;
create trigger next_release_notes after insert on payments for each row execute function next_release_notes();
";
pub const EXPAND_INDEX: &str =
    "create index next_release_of_jobs on jobs (created_at) where state = 'available';";

/// … and, to every table of ours, columns and a constraint that all new rows keep. Each in a migration of its own, which holds
/// no other table's lock.
pub fn expand(table: &str) -> String {
    format!(
        "alter table {table} add column next_release text, add column next_number bigint default 7;
         alter table {table} add constraint next_release_short check (length(next_release) < 100) not valid;"
    )
}

/// What the release after it takes away again (contract), once nobody is left who knows of it.
const CONTRACT: &str = "
drop trigger next_release_notes on payments;
drop function next_release_notes();
drop table next_release;
";

fn contract(table: &str) -> String {
    format!("alter table {table} drop column next_release, drop column next_number;")
}

/// The migrations of later releases, by file name.
pub type Later = Vec<(String, String)>;

// `journals` is left out: the functions that post make a row of its type, so that a column comes with new versions of them.
pub async fn later(world: &World, first: usize, once: &[&str], each: fn(&str) -> String) -> Later {
    let tables = world
        .texts(
            "select tablename::text from pg_tables
              where schemaname = 'public' and tablename not in ('_sqlx_migrations', 'next_release', 'journals') order by 1",
        )
        .await;
    assert!(tables.len() > 30, "{tables:?}");
    let each = tables.iter().map(|table| each(table));
    once.iter()
        .map(|sql| (*sql).to_owned())
        .chain(each)
        .enumerate()
        .map(|(n, sql)| (format!("{}_later.sql", first + n), sql))
        .collect()
}

/// Applies our migrations and these, as `quittance migrate` of a later build would: as the owner, each in one transaction.
pub async fn migrate(world: &World, later: &Later) {
    let folder = std::env::temp_dir().join(format!("quittance-later-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&folder).unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    for file in std::fs::read_dir(ours).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    for (name, sql) in later {
        std::fs::write(folder.join(name), sql).unwrap();
    }
    let migrator = Migrator::new(folder.as_path()).await.unwrap();
    let mut owner = PgConnection::connect(&world.database_url(Login::Owner))
        .await
        .unwrap();
    migrator.run(&mut owner).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn load_p5_old_and_new_workers_run_side_by_side_while_the_schema_grows_and_shrinks() {
    let mut world = World::start(WorldOptions {
        workers: 2,
        grace_secs: 15,
        // All come from one address here.
        env: vec![("PORTAL_RATE_PER_MIN".into(), "1000000".into())],
        ..WorldOptions::default()
    })
    .await;
    let old_portal = world.replica(Login::Portal, "portal-old", &[]).await;
    let portals = world.balance_portals(vec![old_portal.address()]);
    slow_charges(&world).await;
    let payers = Payer::crowd("acme", 80);
    let mut batches = payers.chunks(20);
    let mut enter = async |world: &World| cast::enter(world, batches.next().unwrap(), &[]).await;
    let stream = Deliveries::begin(&world, SENDERS);
    // The old build on its own schema; then the schema grows under its hands.
    enter(&world).await;
    stream.pass(20, PATIENCE).await;
    let people = Readers::begin(&world, "acme").await;
    people.pass(20, PATIENCE).await;
    let mut migrations = later(&world, 8000, &[EXPAND, EXPAND_INDEX], expand).await;
    migrate(&world, &migrations).await;
    enter(&world).await;
    stream.pass(20, PATIENCE).await;
    people.pass(20, PATIENCE).await;
    // The new ones beside them; then the old ones go.
    let new = world.add_worker().await;
    let printed = world.workers[new].output();
    assert!(
        printed.contains("the database's schema is newer than this build knows"),
        "{printed}"
    );
    let new_portal = world.replica(Login::Portal, "portal-new", &[]).await;
    let printed = new_portal.output();
    assert!(
        printed.contains("the database schema is newer than this build"),
        "{printed}"
    );
    portals.replace(old_portal.address(), new_portal.address());
    enter(&world).await;
    world.add_worker().await;
    assert_eq!(old_portal.stop().await, 0);
    people.pass(20, PATIENCE).await;
    for old in 0..2 {
        assert_eq!(world.sigterm(old).await, 0);
        stream.pass(20, PATIENCE).await;
    }
    // Nobody is left who could miss it.
    migrations.extend(later(&world, 9000, &[CONTRACT], contract).await);
    migrate(&world, &migrations).await;
    enter(&world).await;
    stream.pass(20, PATIENCE).await;
    people.pass(20, PATIENCE).await;
    let told = stream.end().await;
    let asked = people.end().await;
    assert_nobody_noticed(&mut world, &payers, &told).await;
    readers::assert_nobody_noticed(&world, &asked).await;
    let wrong = invariants::breaches(&mut world).await;
    assert!(
        wrong.iter().all(|what| what.ends_with("has ended by itself")),
        "{wrong:#?}"
    );
}
