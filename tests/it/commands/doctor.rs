//! `doctor`: the usual reasons why nothing is charged, invoiced or delivered, each named with what to do.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

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
