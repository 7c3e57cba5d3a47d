//! Everything that stops the start of a portal: one line that names it, exit code 1, and no word of a secret. And what `--help` says.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::{Command, Output},
};

use tests::world::{Login, World, WorldOptions};

use crate::documents;

/// Nothing listens there: settings are judged before anything is connected to.
const NOWHERE: &str = "postgres://portal:hush@127.0.0.1:1/quittance";

/// The portal with settings that do, but for these.
fn with(world: &World, changes: &[(&str, &str)]) -> Command {
    let mut command = Command::new(world.portal_binary());
    command
        .env_clear()
        .env("DATABASE_URL", NOWHERE)
        .env("PORTAL_ADDR", "127.0.0.1:0")
        .env("PORTAL_ADMIN_ADDR", "127.0.0.1:0")
        .envs(changes.iter().copied());
    command
}

/// It ended with 1, and said this in its only line, or in its last where it had got as far as to log.
fn assert_said(ended: &Output, message: &str, of: &dyn std::fmt::Debug) {
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{of:?}: {told}");
    let last = told.lines().last().unwrap_or_default();
    assert!(
        last.starts_with(&format!("quittance-portal: {message}")),
        "{of:?}: {told}"
    );
    assert!(!told.contains("hush"), "{of:?}: a secret was printed: {told}");
    assert!(ended.stdout.is_empty(), "{of:?}");
}

async fn bare() -> World {
    World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await
}

#[tokio::test]
async fn r212_a_portal_with_a_malformed_setting_stops_with_one_line_that_names_it() {
    let world = bare().await;
    #[rustfmt::skip] // a table
    let cases = [
        ("DATABASE_URL", "", "DATABASE_URL is not set: give the Postgres URL of this program's login"),
        ("DATABASE_URL", "mysql://portal:hush@host/db", "DATABASE_URL is malformed: it does not start with postgres://"),
        ("DATABASE_URL_FILE", "/nowhere", "DATABASE_URL and DATABASE_URL_FILE are both set: keep one of them"),
        ("STRIPE_PUBLISHABLE_KEY", "sk_test_hush", "STRIPE_PUBLISHABLE_KEY is malformed: it does not start with pk_test_ or pk_live_"),
        ("PORTAL_ADDR", "8082", "PORTAL_ADDR is malformed: give an IP address with a port"),
        ("PORTAL_ADMIN_ADDR", "localhost", "PORTAL_ADMIN_ADDR is malformed: give an IP address with a port"),
        ("PORTAL_PROXIES", "6", "PORTAL_PROXIES is malformed: give a whole number from 0 to 5"),
        ("PORTAL_RATE_PER_MIN", "1", "PORTAL_RATE_PER_MIN is malformed: give a whole number from 10 to 1000000"),
        ("SHUTDOWN_GRACE_SECS", "0", "SHUTDOWN_GRACE_SECS is malformed: give a whole number from 1 to 3600"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT is malformed: it asks for TLS"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT is malformed: \"xml\" is neither `text` nor `json`"),
    ];
    for case @ (name, value, message) in cases {
        let ended = with(&world, &[(name, value)]).output().unwrap();
        assert_said(&ended, message, &case);
        let lines = String::from_utf8_lossy(&ended.stderr).lines().count();
        assert_eq!(lines, 1, "{case:?}");
    }
}

/// A database that is away or behind, a login that could see more than a portal should, a port that is taken.
#[tokio::test]
async fn p8_a_portal_that_cannot_serve_safely_does_not_start_and_says_why() {
    let world = bare().await;
    let away = with(&world, &[]).output().unwrap();
    assert_said(&away, "the database of DATABASE_URL cannot be used: ", &"away");

    for login in [Login::Worker, Login::Owner] {
        let url = world.database_url(login);
        let mighty = with(&world, &[("DATABASE_URL", &url)]).output().unwrap();
        assert_said(
            &mighty,
            "the login of DATABASE_URL is not held to one firm",
            &login,
        );
    }

    let url = world.database_url(Login::Portal);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = with(&world, &[("DATABASE_URL", &url), ("PORTAL_ADDR", &address)])
        .output()
        .unwrap();
    assert_said(
        &ended,
        &format!("PORTAL_ADDR cannot be listened on ({address})"),
        &"taken",
    );

    let newest = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations) returning 'x'";
    assert_eq!(world.texts(newest).await.len(), 1);
    let behind = with(&world, &[("DATABASE_URL", &url)]).output().unwrap();
    assert_said(&behind, "the database has schema version ", &"behind");
    let told = String::from_utf8_lossy(&behind.stderr);
    assert!(told.trim_end().ends_with("run `quittance migrate`"), "{told}");
}

/// `--help` names every variable that docs/CONFIGURE.md says a portal reads, and no other; `--version` the version.
#[tokio::test]
async fn help_of_the_portal_names_what_it_reads() {
    let world = bare().await;
    let said = |argument: &str| {
        let ended = with(&world, &[]).arg(argument).output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{argument}");
        String::from_utf8(ended.stdout).unwrap()
    };
    assert_eq!(
        said("--version"),
        format!("quittance-portal {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = said("--help");
    let (_, listed) = help.split_once("Environment").unwrap();
    let is_variable = |word: &&str| {
        word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_') && *word != "NAME_FILE"
    };
    let listed: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(is_variable)
        .collect();
    let document = documents::read("docs/CONFIGURE.md");
    let described: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let readers = cells.get(2)?;
            readers
                .split_whitespace()
                .any(|reader| reader == "p")
                .then(|| cells[1].split('`').nth(1))?
        })
        // What OpenTelemetry's own library reads beside the endpoint.
        .filter(|name| *name != "OTEL_SERVICE_NAME")
        .collect();
    assert_eq!(listed, described);
}
