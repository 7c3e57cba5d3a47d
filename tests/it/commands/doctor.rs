//! `doctor`: the usual reasons why nothing is charged, invoiced or delivered, each named with what to do.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme;

/// A schedule is looked at once a second.
const TICKS_WITHIN: Duration = Duration::from_secs(20);

/// What `doctor` says, and the exit code that goes with it.
async fn doctor(world: &World) -> (i32, Value) {
    let output = world.cli(&["doctor", "--json"]).await;
    let report = output.json().unwrap();
    assert_eq!(report["ok"], output.code == 0, "{output}");
    (output.code, report)
}

/// One check: how it came out, and whether it says what to do.
fn check(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {report}")).clone()
}

/// The names of what failed; each must say what to do.
fn failed(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["ok"] == false)
        .map(|check| {
            assert!(check["do"].is_string(), "{check}");
            check["name"].as_str().unwrap()
        })
        .collect()
}

/// Long after a schedule's only tick of the day it is not behind; it is when a tick has no row.
#[tokio::test]
async fn doctor_tells_a_schedule_that_is_behind_from_one_whose_next_tick_is_far() {
    let mut world = World::start(WorldOptions::default()).await;
    world.advance("25h").await;
    let ticks_without_a_row = "select count(*) from schedules where watermark_at <= app.now() -
                                 case split_part(cron, ' ', 2) when '*' then interval '1 hour' else interval '1 day' end";
    world.until(ticks_without_a_row, 0, TICKS_WITHIN).await;
    world.settle().await;
    let (code, report) = doctor(&world).await;
    assert_eq!(
        (code, check(&report, "schedules")["value"].as_str()),
        (0, Some("0 s behind")),
        "{report}"
    );
    for worker in 0..world.workers.len() {
        world.freeze(worker);
    }
    world.advance("2h").await;
    let (_, report) = doctor(&world).await;
    assert!(failed(&report).contains(&"schedules"), "{report}");
}

/// R067, R083, R076: all is well; then one thing after the other is taken away, and it is that one that is named.
#[tokio::test]
async fn r067_r083_doctor_names_what_is_in_the_way_of_charges_and_deliveries() {
    let mut world = World::start(WorldOptions::default()).await;
    world.import(&super::document()).await;
    world.settle().await;
    let (code, report) = doctor(&world).await;
    assert_eq!((code, failed(&report)), (0, vec![]), "{report}");
    assert_eq!(check(&report, "last_webhook")["ok"], Value::Null, "none came yet");

    world
        .texts("update firms set autopay_paused_at = now(), autopay_paused_reason = 'a check' returning external_id")
        .await;
    world
        .texts("update clients set parked_reason = 'looks odd' returning external_id")
        .await;
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 3);
    assert_eq!(
        failed(&report),
        ["paused_or_parked_firms", "paused_or_parked_clients"]
    );
    assert_eq!(check(&report, "paused_or_parked_firms")["value"], "acme");
    world
        .texts(
            "update firms set autopay_paused_at = null, autopay_paused_reason = null returning external_id",
        )
        .await;
    world
        .texts("update clients set parked_reason = null returning external_id")
        .await;

    // Stripe does not know where to send events, and nobody works.
    let endpoints = world.sim.get("/webhook_endpoints").await.unwrap();
    let endpoint = endpoints["data"][0]["id"].as_str().unwrap();
    let path = format!("/webhook_endpoints/{endpoint}");
    world.sim.call(Method::DELETE, &path, Value::Null).await.unwrap();
    for worker in 0..world.workers.len() {
        world.sigterm(worker).await;
    }
    let (_, report) = doctor(&world).await;
    assert_eq!(failed(&report), ["workers", "webhook_endpoint"]);
    let text = world.cli(&["doctor"]).await;
    assert_eq!(text.code, 3);
    assert!(text.stdout.contains("start `quittance worker`"), "{text}");

    // A Redis and a Stripe that do not answer; no key at all.
    let lost = world
        .command()
        .with_env("STRIPE_API_BASE", Some("http://127.0.0.1:1"))
        .with_env("REDIS_URL", Some("redis://127.0.0.1:1/0"));
    let report = lost.run(&["doctor", "--json"]).await.unwrap().json().unwrap();
    assert_eq!(failed(&report), ["workers", "redis", "stripe"]);
    let none = world.command().with_env("STRIPE_SECRET_KEY", None);
    let report = none.run(&["doctor", "--json"]).await.unwrap().json().unwrap();
    assert!(failed(&report).contains(&"stripe_settings"), "{report}");
    assert_eq!(json!(report["ok"]), false);
}

/// A note that may be meant so: what it says now, and in JSON and text what to type where it is not meant so.
async fn noted(world: &World, name: &str, value: &str, to_type: &str) {
    let (_, report) = doctor(world).await;
    let note = check(&report, name);
    assert_eq!(note["ok"], Value::Null, "{note}");
    assert!(note["value"].as_str().unwrap().starts_with(value), "{note}");
    let remedy = note["do"]
        .as_str()
        .unwrap_or_else(|| panic!("it does not say what to do: {note}"));
    assert!(remedy.contains(to_type), "{note}");
    let text = world.cli(&["doctor"]).await.stdout;
    let mut lines = text.lines();
    lines
        .find(|line| line.starts_with(&format!("-    {name} ")))
        .unwrap();
    assert_eq!(lines.next().unwrap().trim(), format!("→ {remedy}"), "{text}");
}

/// It is gone, and so is what to do about it.
async fn is_gone(world: &World, name: &str, value: &str) {
    let (_, report) = doctor(world).await;
    let note = check(&report, name);
    assert_eq!(
        (&note["value"], &note["do"]),
        (&json!(value), &Value::Null),
        "{note}"
    );
}

/// R035, R067: what may be meant so and explains why nothing is invoiced or charged. Each note says what to type, and is gone once just
/// that was typed.
#[tokio::test]
async fn r035_r067_every_note_of_doctor_says_what_to_type_and_goes_away_with_it() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    let counts = [
        "unsigned_engagements",
        "engagements_on_demand",
        "clients_without_autopay",
        "clients_without_card",
        "invoices_not_opted_in",
        "waiting_for_a_card",
        "waiting_for_the_client",
        "cycles_held",
    ];
    for name in counts {
        is_gone(&world, name, "0").await;
    }
    noted(
        &world,
        "last_webhook",
        "none was ever received",
        "quittance events list",
    )
    .await;

    // One who comes to owe too little for a card, and two whose cards do not do.
    acme::open_accounts(
        &world,
        &[
            ("penny", &["insufficient_funds"]),
            ("lost", &["lost_card"]),
            ("shy", &["authenticate"]),
        ],
    )
    .await;
    acme::bill(&world, &["penny"], "usd", "0.60").await;
    world.settle().await;
    acme::pay_by_bank(&world, "penny", 20).await;
    world.advance("3d").await;
    acme::bill(&world, &["lost", "shy"], "usd", "100.00").await;
    world.settle().await;
    noted(&world, "last_webhook", "", "quittance events backfill --dry-run").await;
    for (client, note) in [("lost", "waiting_for_a_card"), ("shy", "waiting_for_the_client")] {
        noted(
            &world,
            note,
            "1 ",
            "quittance client payment-method add CLIENT PM --use",
        )
        .await;
        let (customer, card) = (format!("cus_{client}"), format!("pm_{client}_2"));
        world.sim.customer_with_card(&customer, &card, &[]).await.unwrap();
        world
            .json(&["client", "payment-method", "add", client, &card, "--use"])
            .await;
        world.settle().await;
        is_gone(&world, note, "0").await;
        let outcome = acme::outcome(&world, client).await;
        assert!(outcome.starts_with("paid"), "{client}: {outcome}");
    }
    noted(
        &world,
        "cycles_held",
        "1 amount_below_minimum",
        "quittance why-not charge INVOICE",
    )
    .await;
    let why = world.json(&["why-not", "charge", "penny-1"]).await;
    assert_eq!(why["reason_code"], "amount_below_minimum", "{why}");
    world
        .json(&["invoice", "write-off", "penny-1", "--reason", "not worth it"])
        .await;
    world.settle().await;
    is_gone(&world, "cycles_held", "0").await;

    // Work of hours is invoiced when somebody asks for it: three such engagements until they end.
    noted(
        &world,
        "engagements_on_demand",
        "3 ",
        "quittance engagement end ENGAGEMENT",
    )
    .await;
    let today = acme::today(&world).await;
    for client in ["lost", "shy", "penny"] {
        let engagement = format!("{client}-work");
        world
            .json(&[
                "engagement",
                "end",
                &engagement,
                "--on",
                &today,
                "--reason",
                "over",
            ])
            .await;
    }
    is_gone(&world, "engagements_on_demand", "0").await;

    // One whose terms nobody signed.
    world
        .import(&json!({ "engagements": [{
            "external_id": "draft", "client": "lost", "pricing_mode": "package", "currency": "usd", "package_fee": "10.00",
            "package_fee_schedule": "monthly", "starts_on": today, "signed": false,
        }] }))
        .await;
    noted(
        &world,
        "unsigned_engagements",
        "1 ",
        "quittance engagement sign ENGAGEMENT",
    )
    .await;
    let planned = world.json(&["generate-package-invoices", "--dry-run"]).await;
    let skipped = planned["skipped"].as_array().unwrap();
    assert!(
        skipped
            .iter()
            .any(|row| row["reason_code"] == "not_signed" && row["engagement"] == "draft"),
        "{planned}"
    );
    world.json(&["engagement", "sign", "draft"]).await;
    is_gone(&world, "unsigned_engagements", "0").await;

    // One who is not charged by itself, and one whose card is gone.
    world.json(&["client", "autopay", "off", "shy"]).await;
    noted(
        &world,
        "clients_without_autopay",
        "1 ",
        "quittance client autopay on CLIENT --payment-method PM",
    )
    .await;
    world
        .json(&["client", "autopay", "on", "shy", "--payment-method", "pm_shy_2"])
        .await;
    is_gone(&world, "clients_without_autopay", "0").await;
    let detached = "update payment_methods set status = 'detached' where stripe_payment_method_id = 'pm_shy_2' returning 'x'";
    assert_eq!(world.texts(detached).await.len(), 1);
    noted(
        &world,
        "clients_without_card",
        "1 ",
        "quittance client payment-method add CLIENT PM --use",
    )
    .await;
    world
        .sim
        .customer_with_card("cus_shy", "pm_shy_3", &[])
        .await
        .unwrap();
    world
        .json(&["client", "payment-method", "add", "shy", "pm_shy_3", "--use"])
        .await;
    is_gone(&world, "clients_without_card", "0").await;

    // An invoice of long ago that is not to be paid automatically.
    world
        .import(&json!({ "invoices": [{
            "external_id": "by-hand", "client": "shy", "engagement": "shy-work", "currency": "usd", "issue_date": "2020-01-01",
            "due_date": "2020-01-31", "autopay_opt_in": false, "lines": [{ "kind": "hourly", "amount": "20.00" }],
        }] }))
        .await;
    noted(
        &world,
        "invoices_not_opted_in",
        "1 ",
        "quittance invoice pay-external INVOICE --amount A --reference R",
    )
    .await;
    let overdue = world.json(&["invoice", "list", "--status", "overdue"]).await;
    assert_eq!(overdue["data"].as_array().unwrap().len(), 1, "{overdue}");
    let charge = world.cli(&["invoice", "charge", "by-hand", "--yes"]).await;
    assert_eq!(charge.code, 4, "no card is charged for it: {charge}");
    let came = [
        "invoice",
        "pay-external",
        "by-hand",
        "--amount",
        "20.00",
        "--reference",
        "transfer 7",
    ];
    world.json(&came).await;
    world.settle().await;
    is_gone(&world, "invoices_not_opted_in", "0").await;
    acme::assert_books_agree(&world).await;
}

/// The same of what is about the installation: a clock that runs ahead, a mode that nobody has decided, a key that is not there, a
/// schema that is newer.
#[tokio::test]
async fn notes_about_the_installation_say_what_to_type_and_go_away_with_it() {
    let mut world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    noted(&world, "stripe_mode", "not decided", "quittance worker").await;
    world.add_worker().await;
    let (_, report) = doctor(&world).await;
    assert_eq!(check(&report, "stripe_mode")["ok"], true, "{report}");
    let keyless = world.command().with_env("STRIPE_SECRET_KEY", None);
    let report = keyless.run(&["doctor", "--json"]).await.unwrap().json().unwrap();
    let note = check(&report, "stripe_mode");
    assert_eq!(note["ok"], Value::Null);
    assert!(
        note["do"].as_str().unwrap().contains("STRIPE_SECRET_KEY"),
        "{note}"
    );

    is_gone(&world, "clock", "real time").await;
    world.advance("1h").await;
    noted(&world, "clock", "3600 s ahead", "quittance clock reset").await;
    world.json(&["clock", "reset"]).await;
    is_gone(&world, "clock", "real time").await;

    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'later', true, '', 0) returning 'x'";
    world.texts(newer).await;
    noted(&world, "schema", "version 9999", "quittance --version").await;
    world
        .texts("delete from _sqlx_migrations where version = 9999 returning 'x'")
        .await;
    let (_, report) = doctor(&world).await;
    assert_eq!(check(&report, "schema")["ok"], true, "{report}");
}
