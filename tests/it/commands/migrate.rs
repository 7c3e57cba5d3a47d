//! `migrate`: an empty database becomes ours; one that is behind or ahead is told apart.

use tests::world::{Binaries, Cli, Database, Login, Server, World, WorldOptions};

use super::{COMMANDS, assert_said, run};
use crate::acme;

/// A database without schema, and the command as its owner and its worker would run it.
struct Empty {
    database: Database,
    cli: Cli,
}

async fn empty() -> Empty {
    let server = Server::from_env().unwrap();
    let quittance = Binaries::find().unwrap().quittance;
    let database = server.create_empty_database(&quittance).await.unwrap();
    let url = |login| database.url(login, server.address().unwrap());
    let env = vec![
        ("MIGRATION_DATABASE_URL".to_owned(), url(Login::Owner)),
        ("DATABASE_URL".to_owned(), url(Login::Worker)),
    ];
    Empty {
        cli: Cli::new(quittance, env),
        database,
    }
}

#[tokio::test]
async fn a_schema_that_is_behind_is_found_brought_up_and_then_current() {
    let empty = empty().await;
    let behind = empty.cli.run(&["migrate", "--check", "--json"]).await.unwrap();
    assert_eq!(behind.code, 3, "{behind}");
    let missing = behind.json().unwrap()["missing"].as_u64().unwrap();
    assert!(missing > 0, "{behind}");
    let early = empty.cli.run(&["invoice", "list"]).await.unwrap();
    assert_eq!(early.code, 1, "{early}");
    assert!(early.stderr.contains("run `quittance migrate`"), "{early}");

    let migrated = empty.cli.json(&["migrate"]).await.unwrap();
    assert_eq!(migrated["applied"].as_u64(), Some(missing));
    assert_eq!(migrated["granted"][0]["role"], "worker");
    let again = empty.cli.json(&["migrate"]).await.unwrap();
    assert_eq!(again["applied"], 0);
    empty.cli.json(&["migrate", "--check"]).await.unwrap();
    // The login of DATABASE_URL became a worker by itself.
    assert_eq!(
        empty.cli.json(&["invoice", "list"]).await.unwrap()["data"],
        serde_json::json!([])
    );
}

/// Takes a migration out of a database's record, and returns the one below it.
async fn forget_migration(empty: &Empty, which: &str) -> (i64, i64) {
    let forget = format!("delete from _sqlx_migrations where version = ({which}) returning version");
    let gone: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(forget))
        .fetch_one(&empty.database.pool)
        .await
        .unwrap();
    let below: i64 = sqlx::query_scalar("select max(version) from _sqlx_migrations where version < $1")
        .bind(gone)
        .fetch_one(&empty.database.pool)
        .await
        .unwrap();
    (gone, below)
}

#[tokio::test]
async fn a_schema_that_lacks_the_newest_migration_is_refused_by_every_program_in_one_line() {
    let empty = empty().await;
    empty.cli.json(&["migrate"]).await.unwrap();
    let (want, have) = forget_migration(&empty, "select max(version) from _sqlx_migrations").await;
    let cli = [
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
        ("STRIPE_SECRET_KEY", "sk_test_1"),
        ("WORKER_ADMIN_ADDR", "127.0.0.1:0"),
    ]
    .into_iter()
    .fold(empty.cli.clone(), |cli, (name, value)| {
        cli.with_env(name, Some(value))
    });
    for args in COMMANDS {
        let message = format!(
            "the database has schema version {have}, this build needs {want}: run `quittance migrate`"
        );
        assert_said(&run(&cli, args).await, &message, &args);
    }
    let checked = cli.run(&["migrate", "--check"]).await.unwrap();
    assert_eq!(checked.code, 3, "{checked}");
    assert_eq!(
        checked.stdout,
        format!("schema version {have}, 1 migration(s) missing: run `quittance migrate`\n")
    );
    let doctor = cli.run(&["doctor", "--json"]).await.unwrap();
    assert_eq!(doctor.code, 3, "{doctor}");
    let checks = doctor.json().unwrap()["checks"].clone();
    let schema = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "schema");
    let schema = schema.unwrap();
    assert_eq!(schema["ok"], false);
    assert_eq!(schema["do"], "run `quittance migrate`");
}

#[tokio::test]
async fn a_schema_that_lacks_a_migration_below_the_newest_is_behind_too() {
    let empty = empty().await;
    let migrated = empty.cli.json(&["migrate"]).await.unwrap();
    let (_, have) = forget_migration(&empty, "3").await;
    let checked = empty.cli.run(&["migrate", "--check", "--json"]).await.unwrap();
    assert_eq!(checked.code, 3, "{checked}");
    let checked = checked.json().unwrap();
    assert_eq!(
        (&checked["version"], &checked["missing"]),
        (&have.into(), &1.into())
    );
    let message = format!(
        "the database has schema version {have}, this build needs {}: run `quittance migrate`",
        migrated["version"]
    );
    let list = ["invoice", "list"];
    assert_said(&run(&empty.cli, &list).await, &message, &list);
}

#[tokio::test]
async fn a_schema_that_is_ahead_stops_no_program() {
    let mut world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    add_later_migration(&world.db).await;
    world.start_ingress().await;
    let worker = world.add_worker().await;
    let printed = world.workers[worker].output();
    assert!(
        printed.contains("the database's schema is newer than this build knows"),
        "{printed}"
    );
    acme::open_accounts(&world, &[("globex", &[])]).await;
    acme::bill(&world, &["globex"], "usd", "100.00").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;
    let events = "select count(*) from stripe_events where state = 'applied'";
    assert!(world.count(events).await > 0);
}

/// As a newer build would have left it.
async fn add_later_migration(db: &sqlx::PgPool) {
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)",
    )
    .execute(db)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_schema_that_is_ahead_is_left_alone_and_used() {
    let empty = empty().await;
    empty.cli.json(&["migrate"]).await.unwrap();
    add_later_migration(&empty.database.pool).await;
    for args in [&["migrate", "--check"][..], &["migrate"]] {
        assert_eq!(empty.cli.json(args).await.unwrap()["state"], "ahead");
    }
    empty.cli.json(&["invoice", "list"]).await.unwrap();
}

#[tokio::test]
async fn two_migrations_at_once_both_succeed() {
    let (one, other) = (empty().await, empty().await);
    let twice = tokio::join!(
        one.cli.run(&["migrate"]),
        one.cli.run(&["migrate"]),
        other.cli.run(&["migrate"]),
    );
    for ended in [twice.0, twice.1, twice.2] {
        let ended = ended.unwrap();
        assert_eq!(ended.code, 0, "{ended}");
    }
}

#[tokio::test]
async fn a_role_is_granted_to_a_login_that_exists() {
    let empty = empty().await;
    let nobody = empty
        .cli
        .run(&["migrate", "--grant", "portal=nobody_of_that_name"])
        .await
        .unwrap();
    assert_eq!(nobody.code, 1, "{nobody}");
    assert!(
        nobody
            .stderr
            .contains("there is no login \"nobody_of_that_name\""),
        "{nobody}"
    );
    let unknown = empty.cli.run(&["migrate", "--grant", "emperor=x"]).await.unwrap();
    assert_eq!(unknown.code, 2, "{unknown}");
}
