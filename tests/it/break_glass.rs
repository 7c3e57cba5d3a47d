//! Break-glass (R092, A-22, A-30): the platform's people see nothing of a firm without an open session, and whatever they see
//! or end is on the record.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tests::world::{Cli, CliOutput, Login, World, WorldOptions};

use crate::{acme, cast::Payer};

/// Two firms with a paid invoice each.
async fn two_firms(world: &World) {
    let payers = [Payer::of("acme", "zebra"), Payer::of("other", "yak")];
    crate::cast::enter(world, &payers, &[]).await;
    world.settle().await;
}

/// The command as somebody runs it.
fn by(world: &World, name: &str) -> Cli {
    world.command().with_env("USER", Some(name))
}

async fn open(world: &World, operator: &str, expires_in: &str) -> String {
    let args = [
        "break-glass",
        "open",
        "--firm-id",
        "acme",
        "--reason",
        "ticket 17",
        "--expires-in",
        expires_in,
        "--by",
        operator,
    ];
    let session = by(world, "root").json(&args).await.unwrap();
    assert_eq!(
        (&session["state"], &session["firm"]),
        (&json!("open"), &json!("acme"))
    );
    session["id"].as_str().unwrap().to_owned()
}

/// What the log tells of break-glass, oldest first: action, who, subject.
async fn log(world: &World) -> Vec<String> {
    world
        .texts(
            "select concat_ws(' ', action, actor_kind, actor_id) from audit_events where category = 'break_glass' order by id",
        )
        .await
}

/// R092, R104: activation, access, revocation and review, each in the firm's log.
#[tokio::test]
async fn r092_activation_access_revocation_and_review_are_in_the_log() {
    let world = World::start(WorldOptions::default()).await;
    two_firms(&world).await;
    let session = open(&world, "alice", "1h").await;
    let seen = by(&world, "alice")
        .json(&["invoice", "show", "inv-zebra"])
        .await
        .unwrap();
    assert_eq!(seen["status"], "paid");
    let revoke = ["break-glass", "revoke", &session, "--reason", "seen enough"];
    let revoked = by(&world, "carol").json(&revoke).await.unwrap();
    assert_eq!(
        (&revoked["state"], &revoked["accesses"]),
        (&json!("revoked"), &json!(1))
    );
    let review = [
        "break-glass",
        "review",
        &session,
        "--note",
        "one invoice, as the ticket says",
    ];
    let reviewed = by(&world, "bob").json(&review).await.unwrap();
    assert_eq!(reviewed["reviewed_by"], "bob");
    assert_eq!(
        log(&world).await,
        [
            "break_glass.activated operator root",
            "break_glass.accessed operator alice",
            "break_glass.revoked operator carol",
            "break_glass.reviewed operator bob",
        ]
    );
    let listed = world.json(&["audit", "list", "--category", "break_glass"]).await;
    let rows = listed["data"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(
        rows.iter()
            .all(|row| row["subject_id"] == session.as_str() && row["firm"] == "acme")
    );
    assert_eq!(rows[2]["meta"], json!({ "command": "invoice show" }));
    // Reasons are the session's, not the log's: it keeps metadata alone.
    assert!(
        rows.iter().all(|row| !row["meta"].to_string().contains("ticket")),
        "{rows:?}"
    );
}

/// R092, R104: a session ends by itself, at its time, whoever looks or not.
#[tokio::test]
async fn r092_a_session_expires_by_itself_and_the_log_says_so() {
    let world = World::start(WorldOptions::default()).await;
    two_firms(&world).await;
    let session = open(&world, "alice", "1h").await;
    world.advance("59m").await;
    world.settle().await;
    assert_eq!(log(&world).await, ["break_glass.activated operator root"]);
    world.advance("2m").await;
    world.settle().await;
    assert_eq!(
        log(&world).await,
        [
            "break_glass.activated operator root",
            "break_glass.expired system"
        ]
    );
    let listed = world
        .json(&["break-glass", "list", "--firm-id", "acme", "--unreviewed"])
        .await;
    assert_eq!(listed["data"][0]["id"], session.as_str());
    assert_eq!(listed["data"][0]["state"], "expired");
    assert!(listed["data"][0]["expired_at"].is_string());
    // What is over is neither announced nor an access.
    let quiet = by(&world, "alice")
        .run(&["invoice", "show", "inv-zebra"])
        .await
        .unwrap();
    assert!(!quiet.stderr.contains("BREAK-GLASS"), "{quiet}");
    assert_eq!(log(&world).await.len(), 2);
    // A revoked one does not expire as well.
    let revoked = open(&world, "alice", "1h").await;
    world
        .json(&["break-glass", "revoke", &revoked, "--reason", "done"])
        .await;
    world.advance("2h").await;
    world.settle().await;
    assert_eq!(
        world
            .count("select count(*) from audit_events where action = 'break_glass.expired'")
            .await,
        1
    );
}

/// R092, R104: everybody who touches the firm is told, and only the person of the session is under it.
#[tokio::test]
async fn r092_a_banner_stands_over_every_command_that_touches_the_firm() {
    let world = World::start(WorldOptions::default()).await;
    two_firms(&world).await;
    let session = open(&world, "alice", "1h").await;
    let banner = |output: &CliOutput| output.stderr.matches("*** BREAK-GLASS: alice").count();
    for (args, times) in [
        (&["invoice", "show", "inv-zebra"][..], 1),
        (&["invoice", "list"], 1),
        (&["invoice", "list", "--firm-id", "acme", "--client", "zebra"], 1),
        (&["ledger", "balances", "--firm-id", "acme"], 1),
        (&["invoice", "show", "inv-yak"], 0),
        (&["ledger", "balances", "--firm-id", "other"], 0),
        (&["clock", "show"], 0),
    ] {
        let output = by(&world, "bob").run(args).await.unwrap().success().unwrap();
        assert_eq!(banner(&output), times, "{output}");
        assert_eq!(output.stderr.contains(&session), times > 0, "{output}");
    }
    assert_eq!(log(&world).await.len(), 1, "bob is not under break-glass");
    let with_json = by(&world, "alice")
        .run(&["invoice", "list", "--json"])
        .await
        .unwrap();
    assert_eq!(banner(&with_json), 1);
    with_json.json().unwrap();
    assert_eq!(log(&world).await[1..], ["break_glass.accessed operator alice"]);
}

/// Every guard, met by the command first (4) and kept by the database all the same.
#[tokio::test]
async fn r092_what_is_refused_is_refused_by_the_command_and_by_the_database() {
    let world = World::start(WorldOptions::default()).await;
    two_firms(&world).await;
    let session = open(&world, "alice", "1h").await;
    let ended = open(&world, "alice", "1h").await;
    world
        .json(&["break-glass", "revoke", &ended, "--reason", "done"])
        .await;
    let reason = ["--reason", "x"];
    let opening = ["break-glass", "open", "--firm-id", "acme"];
    for (args, who, code, word) in [
        (
            [&opening[..], &reason, &["--expires-in", "25h"]].concat(),
            "root",
            4,
            "too_long",
        ),
        (
            [&opening[..], &["--expires-in", "1h"]].concat(),
            "root",
            2,
            "usage",
        ),
        (
            [&opening[..], &["--reason", " ", "--expires-in", "1h"]].concat(),
            "root",
            2,
            "usage",
        ),
        (
            [&opening[..], &reason, &["--expires-in", "soon"]].concat(),
            "root",
            2,
            "usage",
        ),
        (
            vec!["break-glass", "revoke", &ended, "--reason", "x"],
            "root",
            4,
            "session_over",
        ),
        (
            vec!["break-glass", "review", &session, "--note", "x"],
            "bob",
            4,
            "session_open",
        ),
        (
            vec!["break-glass", "review", &ended, "--note", "x"],
            "alice",
            4,
            "own_session",
        ),
        (
            vec!["break-glass", "review", &ended, "--note", "x"],
            "root",
            4,
            "own_session",
        ),
        (
            vec![
                "break-glass",
                "revoke",
                "01a1fda9-ea24-774d-b6db-b813fe0e38c4",
                "--reason",
                "x",
            ],
            "root",
            1,
            "not_found",
        ),
    ] {
        let args = [&args[..], &["--json"]].concat();
        let refused = by(&world, who).run(&args).await.unwrap();
        assert_eq!(refused.code, code, "{refused}");
        assert_eq!(refused.json().unwrap()["error"]["code"], word, "{refused}");
    }
    let of = |id: &str| format!("where id = '{id}' and set_config('app.firm_id', firm_id::text, true) <> ''");
    for (sql, state) in [
        (format!("update break_glass_sessions set reason = 'another' {}", of(&session)), "QT010"),
        (format!("update break_glass_sessions set expires_at = expires_at + interval '1h' {}", of(&session)), "QT010"),
        (format!("update break_glass_sessions set revoked_at = null, revoked_by = null, revoke_reason = null {}", of(&ended)), "QT010"),
        (format!("delete from break_glass_sessions {}", of(&ended)), "QT010"),
        (format!("update break_glass_sessions set expired_at = now() {}", of(&session)), "QT031"),
        (
            format!("update break_glass_sessions set reviewed_at = now(), reviewed_by = 'bob', review_note = 'x' {}", of(&session)),
            "QT031",
        ),
        (
            format!("update break_glass_sessions set reviewed_at = now(), reviewed_by = 'alice', review_note = 'x' {}", of(&ended)),
            "QT031",
        ),
        (
            "insert into break_glass_sessions (firm_id, id, operator, reason, opened_by, opened_at, expires_at)
             select id, gen_random_uuid(), 'a', 'b', 'c', now(), now() + interval '25h' from firms".to_owned(),
            "23514",
        ),
        ("truncate break_glass_sessions cascade".to_owned(), "QT010"),
    ] {
        let refused = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&world.db).await.unwrap_err();
        let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, state, "{sql}: {refused}");
    }
}

/// Tables that have rows of firms, as the schema has them now: a new one is swept by itself.
async fn tables_of_firms(world: &World) -> Vec<String> {
    world
        .texts(
            "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'firm_id'
              where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v') and not a.attisdropped
                and has_table_privilege('quittance_operator', c.oid, 'select') order by 1",
        )
        .await
}

/// How many rows of which firms a connection sees in a table.
async fn seen(conn: &mut PgConnection, table: &str) -> Vec<(Option<uuid::Uuid>, i64)> {
    sqlx::query_as(AssertSqlSafe(format!(
        "select firm_id, count(*) from {table} group by firm_id"
    )))
    .fetch_all(conn)
    .await
    .unwrap()
}

async fn run(conn: &mut PgConnection, sql: &str) -> Result<(), String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await;
    done.map(drop)
        .map_err(|fault| fault.as_database_error().unwrap().to_string())
}

/// A-22, P8, R001, R104, B-18: as the operator role, every table of firms is empty; with an open session, entered and logged, it shows that
/// firm's rows and no other's; once the session is revoked or over, nothing again. It can never write.
#[tokio::test]
async fn r092_p8_the_operator_role_sees_nothing_without_a_session_and_one_firm_with_it() {
    let world = World::start(WorldOptions::default()).await;
    two_firms(&world).await;
    world.json(&["audit", "seal"]).await;
    let acme: uuid::Uuid = world
        .texts("select id::text from firms where external_id = 'acme'")
        .await[0]
        .parse()
        .unwrap();
    let tables = tables_of_firms(&world).await;
    assert!(tables.len() > 25, "{tables:?}");
    let mut conn = PgConnection::connect(&world.database_url(Login::Operator))
        .await
        .unwrap();
    let nothing = async |conn: &mut PgConnection, when: &str| {
        for table in &tables {
            assert_eq!(seen(conn, table).await, [], "{table}, {when}");
        }
        let firms: i64 = sqlx::query_scalar("select count(*) from firms")
            .fetch_one(conn)
            .await
            .unwrap();
        assert_eq!(firms, 0, "{when}");
    };
    nothing(&mut conn, "with no firm set").await;
    run(&mut conn, &format!("set app.firm_id = '{acme}'"))
        .await
        .unwrap();
    nothing(&mut conn, "with a firm set and no session").await;
    run(&mut conn, "set app.break_glass = 'let me in'").await.unwrap();
    nothing(&mut conn, "with a made-up key").await;

    let login = Login::Operator.name();
    let session = open(&world, login, "1h").await;
    nothing(&mut conn, "with an open session that was not entered").await;
    let enter = format!("select app.break_glass('{session}')");
    // In the transaction that enters nothing is seen: it could still be undone, and with it the log.
    run(&mut conn, "begin").await.unwrap();
    run(&mut conn, &enter).await.unwrap();
    nothing(&mut conn, "before the log entry is committed").await;
    run(&mut conn, "rollback").await.unwrap();
    nothing(&mut conn, "after entering was undone").await;
    assert_eq!(log(&world).await.len(), 1);

    run(&mut conn, &enter).await.unwrap();
    assert_eq!(
        log(&world).await[1..],
        [format!("break_glass.accessed operator {login}")]
    );
    let mut shown = 0;
    for table in &tables {
        let seen = seen(&mut conn, table).await;
        assert!(
            seen.iter().all(|(firm, _)| *firm == Some(acme)),
            "{table}: {seen:?}"
        );
        let there = world
            .count(&format!("select count(*) from {table} where firm_id = '{acme}'"))
            .await;
        assert_eq!(seen.iter().map(|(_, rows)| rows).sum::<i64>(), there, "{table}");
        shown += usize::from(there > 0);
    }
    assert!(shown > 15, "only {shown} tables had rows");
    for table in tables.iter().filter(|table| !table.ends_with("_status")) {
        for write in [
            format!("delete from {table}"),
            format!("update {table} set firm_id = firm_id"),
            format!("insert into {table} select * from {table}"),
        ] {
            let refused = run(&mut conn, &write).await.unwrap_err();
            assert!(
                refused.contains("permission denied") || refused.contains("cannot"),
                "{write}: {refused}"
            );
        }
    }
    for closed in ["stripe_event_bodies", "installation", "schedules"] {
        let refused = run(&mut conn, &format!("select * from {closed}"))
            .await
            .unwrap_err();
        assert!(refused.contains("permission denied"), "{closed}: {refused}");
    }
    // Another firm's setting on the same connection shows nothing.
    run(
        &mut conn,
        "set app.firm_id = '00000000-0000-4000-8000-000000000000'",
    )
    .await
    .unwrap();
    nothing(&mut conn, "with another firm set").await;
    run(&mut conn, &format!("set app.firm_id = '{acme}'"))
        .await
        .unwrap();
    assert!(!seen(&mut conn, "invoices").await.is_empty());
    let mut second = PgConnection::connect(&world.database_url(Login::Operator))
        .await
        .unwrap();
    run(&mut second, &format!("set app.firm_id = '{acme}'"))
        .await
        .unwrap();
    nothing(&mut second, "on a connection that did not enter").await;

    // R092, revocation: it takes effect at once, on a connection that is inside.
    world
        .json(&["break-glass", "revoke", &session, "--reason", "enough"])
        .await;
    nothing(&mut conn, "after the session was revoked").await;
    assert!(run(&mut conn, &enter).await.unwrap_err().contains("is over"));

    let expiring = open(&world, login, "1h").await;
    run(&mut conn, &format!("select app.break_glass('{expiring}')"))
        .await
        .unwrap();
    assert!(!seen(&mut conn, "invoices").await.is_empty());
    world.advance("61m").await;
    nothing(&mut conn, "after the session has expired").await;

    // Somebody else's session opens nothing.
    let anothers = open(&world, "alice", "1h").await;
    let refused = run(&mut conn, &format!("select app.break_glass('{anothers}')"))
        .await
        .unwrap_err();
    assert!(refused.contains("there is no break-glass session"), "{refused}");
    world.settle().await;
}

/// the signed bytes of an event are shown under break-glass alone, and the log knows before anybody sees them.
#[tokio::test]
async fn r092_a30_a_signed_body_is_shown_under_an_open_session_of_its_firm_alone() {
    let world = World::start(WorldOptions::default()).await;
    two_firms(&world).await;
    let event_of = |client: &str| {
        format!(
            "select stripe_event_id from stripe_events where type = 'payment_intent.succeeded' and facts ->> 'customer' = 'cus_{client}'"
        )
    };
    let event = world.texts(&event_of("zebra")).await.remove(0);
    let others = world.texts(&event_of("yak")).await.remove(0);
    let refused = async |args: &[&str], word: &str| {
        let output = world
            .cli(&[&["events", "show"], args, &["--json"]].concat())
            .await;
        assert_eq!(output.code, 4, "{output}");
        assert_eq!(output.json().unwrap()["error"]["code"], word, "{output}");
    };
    refused(&[&event, "--body"], "break_glass_needed").await;
    let session = open(&world, "alice", "1h").await;
    refused(&[&others, "--body", "--break-glass", &session], "no_open_session").await;
    let shown = by(&world, "alice")
        .json(&["events", "show", &event, "--body", "--break-glass", &session])
        .await
        .unwrap();
    let body: Value = serde_json::from_str(shown["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["id"], &body["object"]), (&json!(event), &json!("event")));
    let access = world
        .json(&["audit", "list", "--category", "break_glass", "--limit", "1"])
        .await;
    assert_eq!(access["data"][0]["action"], "break_glass.accessed");
    assert_eq!(
        access["data"][0]["meta"],
        json!({ "event": event, "what": "signed body" })
    );
    let text = by(&world, "alice")
        .run(&["events", "show", &event, "--body", "--break-glass", &session])
        .await
        .unwrap();
    assert!(text.stdout.contains("\"payment_intent.succeeded\""), "{text}");

    world
        .json(&["break-glass", "revoke", &session, "--reason", "done"])
        .await;
    refused(&[&event, "--body", "--break-glass", &session], "no_open_session").await;
    // Without --body the facts are shown as ever.
    assert_eq!(
        world.json(&["events", "show", &event]).await["id"],
        event.as_str()
    );
}

/// A session of one firm changes nothing for the demo's own people: money goes on.
#[tokio::test]
async fn r092_an_open_session_does_not_hold_up_billing() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("zebra", &[])]).await;
    world.import(&acme::document(&["zebra"])).await;
    open(&world, "alice", "1h").await;
    acme::bill(&world, &["zebra"], "usd", "10.00").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("zebra", "paid succeeded: auto 0 succeeded")]).await;
}
