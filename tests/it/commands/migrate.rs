//! `migrate`: an empty database becomes ours; one that is behind or ahead is told apart.

use tests::world::{Binaries, Cli, Database, Login, Server};

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

#[tokio::test]
async fn a_schema_that_is_ahead_is_left_alone_and_used() {
    let empty = empty().await;
    empty.cli.json(&["migrate"]).await.unwrap();
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)",
    )
    .execute(&empty.database.pool)
    .await
    .unwrap();
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
