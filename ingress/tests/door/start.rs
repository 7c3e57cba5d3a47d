//! Everything that stops a start: one line that names it, and an exit code.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::house::{Database, Ingress, command, event, run_to_end};

/// Nothing listens there: the settings are judged before anything is connected to.
const NOWHERE: &str = "postgres://ingress:hush@127.0.0.1:1/quittance";

/// R082.
#[tokio::test]
async fn a_missing_or_malformed_setting_is_one_line_that_names_it() {
    #[rustfmt::skip] // a table
    let cases = [
        ("DATABASE_URL", None,
         "DATABASE_URL is not set: give the Postgres URL of this program's login, postgres://user:password@host/db"),
        ("DATABASE_URL", Some(""),
         "DATABASE_URL is not set: give the Postgres URL of this program's login, postgres://user:password@host/db"),
        ("DATABASE_URL", Some("mysql://ingress:hush@host/db"), "DATABASE_URL is malformed: it does not start with postgres://"),
        ("DATABASE_URL", Some("postgres://ingress:hush@host:port/db"),
         "DATABASE_URL is malformed: it is no usable Postgres URL: give postgres://user:password@host/db, special characters as %XX"),
        ("DATABASE_URL_FILE", Some("/nowhere"), "DATABASE_URL and DATABASE_URL_FILE are both set: keep one of them"),
        ("STRIPE_WEBHOOK_SECRET", None, "STRIPE_WEBHOOK_SECRET is not set: give the endpoint's signing secret, whsec_…"),
        ("STRIPE_WEBHOOK_SECRET", Some("hush"),
         "STRIPE_WEBHOOK_SECRET is malformed: entry 1 of the list does not start with whsec_"),
        ("STRIPE_WEBHOOK_SECRET", Some("whsec_hush,"), "STRIPE_WEBHOOK_SECRET is malformed: entry 2 of the list is empty"),
        ("STRIPE_WEBHOOK_SECRET", Some("whsec_"),
         "STRIPE_WEBHOOK_SECRET is malformed: entry 1 of the list is only the prefix whsec_"),
        ("STRIPE_WEBHOOK_SECRET_FILE", Some("/nowhere"),
         "STRIPE_WEBHOOK_SECRET and STRIPE_WEBHOOK_SECRET_FILE are both set: keep one of them"),
        ("STRIPE_MODE", None, "STRIPE_MODE is not set: set it to `test` or `live`"),
        ("STRIPE_MODE", Some("prod"), "STRIPE_MODE is malformed: \"prod\" is neither `test` nor `live`"),
        ("STRIPE_SECRET_KEY", Some("sk_live_hush"),
         "STRIPE_MODE is malformed: it contradicts the prefix of STRIPE_SECRET_KEY: leave it out, or give the other key"),
        ("STRIPE_SECRET_KEY", Some("hush"),
         "STRIPE_SECRET_KEY is malformed: it starts with none of sk_test_, sk_live_, rk_test_, rk_live_"),
        ("STRIPE_SECRET_KEY", Some("pk_test_hush"),
         "STRIPE_SECRET_KEY is malformed: it is a publishable key: give the secret key, sk_test_… or sk_live_…"),
        ("STRIPE_SECRET_KEY_FILE", Some("/nowhere"),
         "STRIPE_SECRET_KEY_FILE cannot be read (/nowhere): No such file or directory (os error 2): name a file that this program may read"),
        ("INGRESS_ADDR", Some("8080"), "INGRESS_ADDR is malformed: give an IP address with a port, such as 0.0.0.0:8080"),
        ("INGRESS_ADMIN_ADDR", Some("localhost"),
         "INGRESS_ADMIN_ADDR is malformed: give an IP address with a port, such as 0.0.0.0:9080"),
        ("WEBHOOK_TOLERANCE_SECS", Some("5m"), "WEBHOOK_TOLERANCE_SECS is malformed: give a whole number from 1 to 86400"),
        ("WEBHOOK_TOLERANCE_SECS", Some("0"), "WEBHOOK_TOLERANCE_SECS is malformed: give a whole number from 1 to 86400"),
        ("SHUTDOWN_GRACE_SECS", Some("-1"), "SHUTDOWN_GRACE_SECS is malformed: give a whole number from 1 to 3600"),
        ("INGRESS_MAX_IN_FLIGHT", Some("0"), "INGRESS_MAX_IN_FLIGHT is malformed: give a whole number from 1 to 10000"),
        ("INGRESS_MAX_CONNECTIONS", Some("many"), "INGRESS_MAX_CONNECTIONS is malformed: give a whole number from 1 to 100000"),
        ("INGRESS_COMMITTERS", Some("9"), "INGRESS_COMMITTERS is malformed: give a whole number from 1 to 8"),
        ("INGRESS_THREADS", Some("65"), "INGRESS_THREADS is malformed: give a whole number from 1 to 64"),
        ("LOG_FORMAT", Some("xml"), "LOG_FORMAT is malformed: \"xml\" is neither `text` nor `json`"),
    ];
    for (name, value, message) in cases {
        let mut settings = command(NOWHERE);
        match value {
            Some(value) => settings.env(name, value),
            None => settings.env_remove(name),
        };
        let output = run_to_end(settings).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}={value:?}: {stderr}");
        assert_eq!(
            stderr,
            format!("quittance-ingress: {message}\n"),
            "{name}={value:?}"
        );
        assert!(!stderr.contains("hush"), "a secret was printed: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn help_lists_the_environment_and_an_unknown_flag_is_a_usage_error() {
    let with = async |flag| {
        let mut settings = command(NOWHERE);
        settings.arg(flag);
        run_to_end(settings).await
    };
    let help = with("--help").await;
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    for name in [
        "DATABASE_URL",
        "STRIPE_WEBHOOK_SECRET",
        "STRIPE_MODE",
        "INGRESS_ADDR",
        "SHUTDOWN_GRACE_SECS",
        "LOG_FORMAT",
    ] {
        assert!(text.contains(name), "{name}");
    }
    assert!(with("--version").await.stdout.starts_with(b"quittance-ingress "));
    assert_eq!(with("--port").await.status.code(), Some(2));
}

#[tokio::test]
async fn an_unreachable_postgres_is_told_within_seconds() {
    let started = Instant::now();
    let output = run_to_end(command(NOWHERE)).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("Postgres at 127.0.0.1:1 cannot be reached") && stderr.contains("DATABASE_URL"),
        "{stderr}"
    );
    assert!(!stderr.contains("hush"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        started.elapsed() < Duration::from_secs(7),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_login_that_postgres_refuses_is_told() {
    let Some(database) = Database::create().await else {
        return;
    };
    let absent = database
        .url()
        .replacen("postgres://door_", "postgres://nobody_", 1);
    let output = run_to_end(command(&absent)).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("Postgres refuses this login"), "{stderr}");

    database
        .run("revoke select on _sqlx_migrations from quittance_ingress")
        .await;
    let output = run_to_end(command(&database.url())).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("permission denied") && stderr.contains("--grant ingress=LOGIN"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_schema_that_is_behind_stops_the_start_and_one_ahead_does_not() {
    let Some(database) = Database::create().await else {
        return;
    };
    database
        .run(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
              values (99999999999999, 'from the future', true, '', 0)",
        )
        .await;
    let ahead = Ingress::start(&database).await;
    ahead.until_logged("newer than this build").await;
    assert!(ahead.deliver(&event("evt_1")).await.is_new());

    let want = shared::store::migrations::expected_version();
    for (lost, have) in [
        (
            format!("delete from _sqlx_migrations where version >= {want}"),
            below(want),
        ),
        ("delete from _sqlx_migrations where version = 3".to_owned(), 2),
        ("drop table _sqlx_migrations".to_owned(), 0),
    ] {
        database.run(&lost).await;
        let output = run_to_end(command(&database.url())).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{lost}: {stderr}");
        assert_eq!(
            stderr,
            format!(
                "quittance-ingress: the database schema is behind (version {have}, this build needs {want}): run `quittance migrate`\n"
            ),
            "{lost}"
        );
    }
}

/// The version before this one.
fn below(version: i64) -> i64 {
    let versions = shared::store::migrations::MIGRATOR.iter().map(|m| m.version);
    versions.filter(|known| *known < version).max().unwrap()
}

#[tokio::test]
async fn a_database_of_the_other_stripe_mode_stops_the_start() {
    let Some(database) = Database::create().await else {
        return;
    };
    database.run("update installation set livemode = true").await;
    let output = run_to_end(command(&database.url())).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("belongs to Stripe's live mode") && stderr.contains("STRIPE_MODE"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for name in ["INGRESS_ADDR", "INGRESS_ADMIN_ADDR"] {
        let mut settings = command(NOWHERE);
        settings.env(name, taken.local_addr().unwrap().to_string());
        let output = run_to_end(settings).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr.contains(&format!("{name} cannot be listened on")),
            "{stderr}"
        );
    }
}

#[tokio::test]
async fn the_secret_may_come_from_a_file_and_the_mode_from_a_key() {
    let Some(database) = Database::create().await else {
        return;
    };
    let file = std::env::temp_dir().join(format!("{}.secret", uuid::Uuid::now_v7()));
    std::fs::write(&file, format!("{}\n", crate::house::SECRET)).unwrap();
    let mut settings = command(&database.url());
    settings
        .env_remove("STRIPE_WEBHOOK_SECRET")
        .env("STRIPE_WEBHOOK_SECRET_FILE", &file);
    settings
        .env_remove("STRIPE_MODE")
        .env("STRIPE_SECRET_KEY", "sk_test_key");
    let ingress = Ingress::start_by(settings).await;
    std::fs::remove_file(file).unwrap();
    assert!(ingress.deliver(&event("evt_1")).await.is_new());
}
