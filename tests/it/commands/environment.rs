//! What a program says when its environment is not what it needs: one line that names the variable and the remedy.

use std::time::Duration;

use tests::world::{Binaries, Cli, Login, World, WorldOptions, free_port};

use super::{COMMANDS, assert_said, bare, run};

/// A worker has started long before.
const SOON: Duration = Duration::from_secs(20);

/// Nothing listens there: settings are judged before anything is connected to. Every secret says hush.
const SOUND: [(&str, &str); 5] = [
    ("DATABASE_URL", "postgres://billing:hush@127.0.0.1:1/quittance"),
    ("REDIS_URL", "redis://:hush@127.0.0.1:1/0"),
    ("STRIPE_SECRET_KEY", "sk_test_hush"),
    ("STRIPE_API_BASE", "http://127.0.0.1:1"),
    ("WORKER_ADMIN_ADDR", "127.0.0.1:0"),
];

/// The command in a sound environment with these variables changed, or taken out by an empty value: that counts as absent.
fn with(changes: &[(&str, &str)]) -> Cli {
    let env = SOUND.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sound = Cli::new(Binaries::find().unwrap().quittance, env.into());
    changes
        .iter()
        .fold(sound, |cli, (name, value)| cli.with_env(name, Some(value)))
}

const NO_DATABASE: &str = "DATABASE_URL is not set: give the Postgres URL of this program's login, postgres://user:password@host/db";
const NO_REDIS: &str = "REDIS_URL is not set: give the URL of Redis 6.2 or newer, redis://host:6379/0";
const NO_KEY: &str = "STRIPE_SECRET_KEY is not set: give the secret key, sk_test_… or sk_live_…";
const ODD_POSTGRES: &str = "DATABASE_URL is malformed: it is no usable Postgres URL: give postgres://user:password@host/db, special characters as %XX";
const ODD_REDIS: &str =
    "REDIS_URL is malformed: it is no usable Redis URL: give redis://user:password@host:6379/0";
const ODD_KEY: &str =
    "STRIPE_SECRET_KEY is malformed: it starts with none of sk_test_, sk_live_, rk_test_, rk_live_";
const PREFIX: &str = "STRIPE_SECRET_KEY is malformed: it is only a prefix: give the whole key";
const CONTRADICTION: &str = "STRIPE_MODE is malformed: it contradicts the prefix of STRIPE_SECRET_KEY: leave it out, or give the other key";
const ODD_ORIGIN: &str =
    "STRIPE_API_BASE is malformed: give an origin such as http://127.0.0.1:12111, without a path";
const ODD_ADDRESS: &str =
    "WORKER_ADMIN_ADDR is malformed: give an IP address with a port, such as 0.0.0.0:9081";

/// A change of the sound environment, and what the worker says to it.
type Row = (&'static [(&'static str, &'static str)], &'static str);

#[rustfmt::skip] // a table
const WORKER: &[Row] = &[
    (&[("DATABASE_URL", "")], NO_DATABASE),
    (&[("DATABASE_URL", "  ")], NO_DATABASE),
    (&[("DATABASE_URL", "mysql://billing:hush@host/db")], "DATABASE_URL is malformed: it does not start with postgres://"),
    (&[("DATABASE_URL", "postgres://billing:hush@host:port/db")], ODD_POSTGRES),
    (&[("DATABASE_URL", "postgres://billing:hush/hush@host/db")], ODD_POSTGRES),
    (&[("DATABASE_URL_FILE", "/nowhere")], "DATABASE_URL and DATABASE_URL_FILE are both set: keep one of them"),
    (&[("DATABASE_URL", ""), ("DATABASE_URL_FILE", "/nowhere")],
     "DATABASE_URL_FILE cannot be read (/nowhere): No such file or directory (os error 2): name a file that this program may read"),
    (&[("REDIS_URL", "")], NO_REDIS),
    (&[("REDIS_URL", "http://hush@host")], "REDIS_URL is malformed: it does not start with redis://"),
    (&[("REDIS_URL", "rediss://:hush@host/0")],
     "REDIS_URL is malformed: it asks for TLS, which is not there yet: give redis://host:6379/0, over a private network"),
    (&[("REDIS_URL", "redis://:hush@host:port/0")], ODD_REDIS),
    (&[("REDIS_URL", "redis://:hush@host/zero")], ODD_REDIS),
    (&[("REDIS_URL_FILE", "/nowhere")], "REDIS_URL and REDIS_URL_FILE are both set: keep one of them"),
    (&[("REDIS_URL", ""), ("REDIS_URL_FILE", "/")],
     "REDIS_URL_FILE cannot be read (/): Is a directory (os error 21): name a file that this program may read"),
    (&[("STRIPE_SECRET_KEY", "")], NO_KEY),
    (&[("STRIPE_SECRET_KEY", "hush")], ODD_KEY),
    (&[("STRIPE_SECRET_KEY", "whsec_hush")], ODD_KEY),
    (&[("STRIPE_SECRET_KEY", "SK_TEST_hush")], ODD_KEY),
    (&[("STRIPE_SECRET_KEY", "pk_test_hush")],
     "STRIPE_SECRET_KEY is malformed: it is a publishable key: give the secret key, sk_test_… or sk_live_…"),
    (&[("STRIPE_SECRET_KEY", "sk_test_")], PREFIX),
    (&[("STRIPE_SECRET_KEY", "rk_live_")], PREFIX),
    (&[("STRIPE_SECRET_KEY", "sk_test_hush\nhush")], "STRIPE_SECRET_KEY is malformed: it must be one line of plain characters"),
    (&[("STRIPE_SECRET_KEY_FILE", "/nowhere")], "STRIPE_SECRET_KEY and STRIPE_SECRET_KEY_FILE are both set: keep one of them"),
    (&[("STRIPE_SECRET_KEY", ""), ("STRIPE_SECRET_KEY_FILE", "/nowhere")],
     "STRIPE_SECRET_KEY_FILE cannot be read (/nowhere): No such file or directory (os error 2): name a file that this program may read"),
    (&[("STRIPE_SECRET_KEY", ""), ("STRIPE_SECRET_KEY_FILE", "/dev/null")],
     "STRIPE_SECRET_KEY is malformed: the file /dev/null is empty: put the value there"),
    (&[("STRIPE_MODE", "live")], CONTRADICTION),
    (&[("STRIPE_SECRET_KEY", "rk_live_hush"), ("STRIPE_MODE", "test")], CONTRADICTION),
    (&[("STRIPE_MODE", "prod")], "STRIPE_MODE is malformed: \"prod\" is neither `test` nor `live`"),
    (&[("STRIPE_API_BASE", "stripe")], ODD_ORIGIN),
    (&[("STRIPE_API_BASE", "http://127.0.0.1:12111/v1")], ODD_ORIGIN),
    (&[("STRIPE_API_BASE", "http://127.0.0.1:12111/?key=hush")], ODD_ORIGIN),
    (&[("STRIPE_API_BASE", "http://user:hush@127.0.0.1:12111")], ODD_ORIGIN),
    (&[("STRIPE_API_BASE", "ftp://127.0.0.1")], "STRIPE_API_BASE is malformed: it starts with neither http:// nor https://"),
    (&[("STRIPE_SECRET_KEY", "sk_live_hush")],
     "STRIPE_API_BASE is malformed: a live key is only ever sent over https: give an https:// origin"),
    (&[("STRIPE_TIMEOUT_SECS", "20s")], "STRIPE_TIMEOUT_SECS is malformed: give a whole number from 1 to 60"),
    (&[("STRIPE_TIMEOUT_SECS", "0")], "STRIPE_TIMEOUT_SECS is malformed: give a whole number from 1 to 60"),
    (&[("STRIPE_TIMEOUT_SECS", "61")], "STRIPE_TIMEOUT_SECS is malformed: give a whole number from 1 to 60"),
    (&[("STRIPE_RATE_PER_SEC", "0")], "STRIPE_RATE_PER_SEC is malformed: give a whole number from 1 to 10000"),
    (&[("STRIPE_RATE_PER_SEC", "many")], "STRIPE_RATE_PER_SEC is malformed: give a whole number from 1 to 10000"),
    (&[("JOB_LEASE_SECS", "fifteen")], "JOB_LEASE_SECS is malformed: give a whole number from 5 to 300"),
    (&[("JOB_LEASE_SECS", "4")], "JOB_LEASE_SECS is malformed: give a whole number from 5 to 300"),
    (&[("JOB_LEASE_SECS", "301")], "JOB_LEASE_SECS is malformed: give a whole number from 5 to 300"),
    (&[("SHUTDOWN_GRACE_SECS", "-1")], "SHUTDOWN_GRACE_SECS is malformed: give a whole number from 0 to 3600"),
    (&[("SHUTDOWN_GRACE_SECS", "1.5")], "SHUTDOWN_GRACE_SECS is malformed: give a whole number from 0 to 3600"),
    (&[("WORKER_ADMIN_ADDR", "9081")], ODD_ADDRESS),
    (&[("WORKER_ADMIN_ADDR", "localhost:9081")], ODD_ADDRESS),
    (&[("WORKER_ADMIN_ADDR", "127.0.0.1:99999")], ODD_ADDRESS),
    (&[("LOG_FORMAT", "xml")], "LOG_FORMAT is malformed: \"xml\" is neither `text` nor `json`"),
];

/// R082.
#[tokio::test]
async fn a_worker_with_a_missing_or_malformed_setting_stops_with_one_line_that_names_it() {
    for (changes, message) in WORKER {
        let ended = run(&with(changes), &["worker"]).await;
        assert_said(&ended, message, changes);
    }
    let ended = run(&with(&[("JOB_LEASE_SECS", "4")]), &["worker", "--json"]).await;
    let told = ended.json().unwrap();
    assert_eq!(told["error"]["code"], "configuration", "{ended}");
    assert_eq!(
        told["error"]["message"],
        "JOB_LEASE_SECS is malformed: give a whole number from 5 to 300"
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""), "{ended}");
}

#[tokio::test]
async fn a_secret_may_come_from_a_file() {
    let file = std::env::temp_dir().join(format!("quittance-key-{}", std::process::id()));
    std::fs::write(&file, "pk_test_hush\n").unwrap();
    let path = file.to_string_lossy();
    let from_file = with(&[("STRIPE_SECRET_KEY", ""), ("STRIPE_SECRET_KEY_FILE", &path)]);
    let ended = run(&from_file, &["worker"]).await;
    std::fs::remove_file(&file).unwrap();
    let message = "STRIPE_SECRET_KEY is malformed: it is a publishable key: give the secret key, sk_test_… or sk_live_…";
    assert_said(&ended, message, &"a key in a file");
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_worker() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&with(&[("WORKER_ADMIN_ADDR", &address)]), &["worker"]).await;
    let message = format!(
        "WORKER_ADMIN_ADDR cannot be listened on ({address}): Address already in use (os error 98): give another address"
    );
    assert_said(&ended, &message, &address);
}

#[tokio::test]
async fn a_command_without_its_database_says_so_in_one_line() {
    let nowhere = format!(
        "postgres://nobody:hush@127.0.0.1:{}/quittance",
        free_port().unwrap()
    );
    let migrations = [&["migrate"][..], &["migrate", "--check"]];
    for args in COMMANDS.into_iter().chain(migrations) {
        for (url, message) in [
            ("", NO_DATABASE),
            (
                "mysql://nobody:hush@host/db",
                "DATABASE_URL is malformed: it does not start with postgres://",
            ),
            ("postgres://nobody:hush@host:port/db", ODD_POSTGRES),
        ] {
            let ended = run(&with(&[("DATABASE_URL", url)]), args).await;
            assert_said(&ended, message, &args);
        }
    }
    // One that needs nothing else, and the worker: whoever supervises it starts it again, and sees why.
    for args in [&["invoice", "list"][..], &["worker"]] {
        let ended = run(&with(&[("DATABASE_URL", &nowhere)]), args).await;
        let message = "the database of DATABASE_URL cannot be reached: error communicating with database: Connection refused (os error 111)";
        assert_said(&ended, message, &args);
    }
}

#[tokio::test]
async fn a_login_that_postgres_refuses_is_told() {
    let world = bare().await;
    let url = world.database_url(Login::Worker);
    let nobody = url.replace("quittance_test_worker", "nobody_of_that_name");
    for args in [&["invoice", "list"][..], &["worker"]] {
        let cli = world
            .command()
            .with_env("DATABASE_URL", Some(&nobody))
            .with_env("WORKER_ADMIN_ADDR", Some("127.0.0.1:0"));
        let message = "Postgres refuses this login (password authentication failed for user \"nobody_of_that_name\"): check DATABASE_URL, and `quittance migrate --grant worker=LOGIN`";
        assert_said(&run(&cli, args).await, message, &args);
    }
}

#[tokio::test]
async fn the_other_variables_of_commands_are_named_too() {
    let owner = with(&[("MIGRATION_DATABASE_URL", "mysql://owner:hush@host/db")]);
    let message = "MIGRATION_DATABASE_URL is malformed: it does not start with postgres://";
    assert_said(&run(&owner, &["migrate"]).await, message, &"migrate");
    let add = ["client", "payment-method", "add", "globex", "pm_1"];
    for (changes, message) in [
        (&[("STRIPE_SECRET_KEY", "")], NO_KEY),
        (
            &[("STRIPE_SECRET_KEY", "pk_live_hush")],
            "STRIPE_SECRET_KEY is malformed: it is a publishable key: give the secret key, sk_test_… or sk_live_…",
        ),
        (&[("STRIPE_MODE", "live")], CONTRADICTION),
        (&[("STRIPE_API_BASE", "stripe")], ODD_ORIGIN),
    ] {
        assert_said(&run(&with(changes), &add).await, message, changes);
    }
    for args in [["clock", "advance", "3d"], ["clock", "set", "2040-01-01"]] {
        for (changes, message) in [
            (&[("STRIPE_SECRET_KEY", "hush")], ODD_KEY),
            (&[("STRIPE_MODE", "live")], CONTRADICTION),
        ] {
            assert_said(&run(&with(changes), &args).await, message, changes);
        }
    }
}

#[tokio::test]
async fn a_redis_that_refuses_the_login_stops_the_worker() {
    let world = bare().await;
    let mut redis = world.redis.connect().await.unwrap();
    redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "secret"])
        .exec_async(&mut redis)
        .await
        .unwrap();
    let with_password = world.redis.url().replace("redis://", "redis://:hush@");
    for (url, reason) in [
        (world.redis.url(), "\"NOAUTH\": Authentication required."),
        (
            with_password,
            "Password authentication failed - AuthenticationFailed",
        ),
    ] {
        let worker = world
            .command()
            .with_env("REDIS_URL", Some(&url))
            .with_env("WORKER_ADMIN_ADDR", Some("127.0.0.1:0"));
        let ended = run(&worker, &["worker"]).await;
        let message = format!("Redis refuses this login ({reason}): check user and password in REDIS_URL");
        assert_said(&ended, &message, &url);
    }
}

#[tokio::test]
async fn clock_of_a_live_installation_stands() {
    let world = bare().await;
    let live = world
        .command()
        .with_env("STRIPE_SECRET_KEY", Some("sk_live_1"))
        .with_env("STRIPE_MODE", None);
    for args in [["clock", "advance", "3d"], ["clock", "set", "2040-01-01"]] {
        let refused = live.run(&args).await.unwrap();
        assert_eq!(refused.code, 4, "{refused}");
    }
    sqlx::query("update installation set livemode = true")
        .execute(&world.db)
        .await
        .unwrap();
    // The database says so too, whatever the key.
    let refused = world.cli(&["clock", "reset", "--json"]).await;
    assert_eq!(refused.code, 4, "{refused}");
    assert_eq!(refused.json().unwrap()["error"]["code"], "live_mode");
    assert_eq!(world.count("select offset_ms from clock").await, 0);
}

/// A worker's key decides the mode of a database, once; after that, every program with a key of the other mode is refused.
#[tokio::test]
async fn a_key_of_the_other_mode_is_refused_by_a_database_that_has_one() {
    let world = World::start(WorldOptions {
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    world
        .until(
            "select count(*) from installation where livemode = false",
            1,
            SOON,
        )
        .await;
    let live = world
        .command()
        .with_env("STRIPE_SECRET_KEY", Some("sk_live_1"))
        .with_env("STRIPE_API_BASE", Some("https://127.0.0.1:1"))
        .with_env("STRIPE_MODE", None);
    world.import(&crate::acme::document(&["globex"])).await;
    let said =
        "STRIPE_SECRET_KEY is a key of live mode, and this database belongs to test mode: give the other key";
    for args in [
        &["client", "payment-method", "add", "globex", "pm_1"][..],
        &["events", "backfill", "--dry-run"],
        &["events", "replay", "--since", "1d", "--dry-run"],
    ] {
        let refused = live.run(args).await.unwrap();
        assert_eq!(refused.code, 4, "{refused}");
        assert!(refused.stderr.contains(said), "{refused}");
    }
    let worker = live.with_env("WORKER_ADMIN_ADDR", Some("127.0.0.1:0"));
    let refused = worker.run(&["worker"]).await.unwrap();
    assert_ne!(refused.code, 0, "{refused}");
    assert!(
        refused.stderr.contains("belongs to the other Stripe mode"),
        "{refused}"
    );
}

#[tokio::test]
async fn logs_that_go_into_a_file_have_no_colours() {
    let world = bare().await;
    let loud = world.command().with_env("RUST_LOG", Some("debug"));
    let said = run(&loud, &["invoice", "list"]).await;
    assert!(said.stderr.contains("DEBUG"), "{said}");
    assert!(!said.stderr.contains('\u{1b}'), "{said}");
}
