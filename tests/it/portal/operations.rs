//! The portal for whoever runs it: its probes while Postgres goes and comes back, and its end.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tests::world::{Passage, World, WorldOptions};

use super::token;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// A portal, and a gate between Postgres and everybody.
async fn portal_alone() -> World {
    World::start(WorldOptions {
        workers: 0,
        ingress: false,
        portal: true,
        postgres_gate: true,
        ..WorldOptions::default()
    })
    .await
}

/// Postgres goes away: `/readyz` says no and names what fails, in JSON and in lines, once in the log and in the metrics; the process is
/// alive and was started all the same. Postgres comes back: so does the portal, by itself.
#[tokio::test]
async fn readyz_names_what_fails_while_postgres_is_away_and_is_well_once_it_is_back() {
    let world = portal_alone().await;
    let well = json!({"ok": true});
    let (status, body) = world.portal_admin("/readyz").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, body),
        (
            200,
            json!({"ok": true, "checks": {"database": well, "schema": well, "draining": well}})
        )
    );
    let lines = "[+]database ok\n[+]schema ok\n[+]draining ok\nreadyz check passed\n";
    assert_eq!(
        world.portal_admin("/readyz?verbose").await,
        (200, lines.to_owned())
    );
    let started =
        "[+]configuration ok\n[+]database ok\n[+]schema ok\n[+]login ok\nstartupz check passed\n".to_owned();
    assert_eq!(
        world.portal_admin("/startupz?verbose").await,
        (200, started.clone())
    );
    let (_, metrics) = world.portal_admin("/metrics").await;
    let open = metrics
        .lines()
        .find_map(|line| line.strip_prefix("quittance_db_pool_connections{state=\"open\"} "));
    assert!(open.unwrap().parse::<u32>().unwrap() >= 1, "{metrics}");

    let gate = world.gate.as_ref().unwrap();
    gate.set(Passage::Refused);
    let told = world.until_portal_says("/readyz", 503, PATIENCE).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        [
            &told["ok"],
            &told["checks"]["database"]["ok"],
            &told["checks"]["schema"]["ok"],
            &told["checks"]["draining"]["ok"],
        ],
        [&json!(false), &json!(false), &json!(false), &json!(true)],
        "{told}"
    );
    assert!(
        !told["checks"]["database"]["message"].as_str().unwrap().is_empty(),
        "{told}"
    );
    let (status, lines) = world.portal_admin("/readyz?verbose").await;
    assert_eq!(status, 503);
    assert!(
        lines.starts_with("[-]database failed: ") && lines.ends_with("readyz check failed\n"),
        "{lines}"
    );
    assert!(
        lines.contains("\n[-]schema failed: unknown while the database does not answer\n[+]draining ok\n"),
        "{lines}"
    );
    // A restart would help with nothing, so nobody is told to restart it.
    assert_eq!(world.portal_admin("/livez").await.0, 200);
    assert_eq!(world.portal_admin("/startupz?verbose").await, (200, started));
    let (_, metrics) = world.portal_admin("/metrics").await;
    for (check, failed) in [("database", true), ("draining", false)] {
        let name = format!("quittance_portal_not_ready_total{{check=\"{check}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        assert_eq!(count != "0", failed, "{metrics}");
    }
    let log = world.portal_output();
    assert_eq!(log.matches("not ready check=\"database\"").count(), 1, "{log}");

    gate.set(Passage::Open);
    world.until_portal_says("/readyz", 200, PATIENCE).await;
    assert!(world.portal_output().contains("ready again"));
}

/// SIGTERM while a request waits for a lock: `/readyz` says that the portal is shutting down, `/livez` that it lives, nobody new is let
/// in, and the request is answered before the process ends with 0.
#[tokio::test]
async fn a_portal_that_is_told_to_stop_says_so_and_answers_what_it_has_begun() {
    let mut world = portal_alone().await;
    let mut script = token(&world, None, "operator").await;
    assert_eq!(script.get("/api/v1/session").await.status, 200);

    let mut lock = world.db.begin().await.unwrap();
    sqlx::query("lock table api_tokens in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let held = script.request(Method::GET, "/api/v1/session").send();
    let held = tokio::spawn(held);
    let waits = "select count(*) from pg_stat_activity
                  where application_name = 'quittance-portal' and wait_event_type = 'Lock' and datname = current_database()";
    world.until(waits, 1, PATIENCE).await;

    world.tell_portal_to_stop();
    let told = world.until_portal_says("/readyz?verbose", 503, PATIENCE).await;
    assert_eq!(
        told,
        "[+]database ok\n[+]schema ok\n[-]draining failed: shutting down\nreadyz check failed\n"
    );
    assert_eq!(world.portal_admin("/livez").await.0, 200);
    assert_eq!(world.portal_admin("/startupz").await.0, 200);
    let port = world.portal_base().rsplit(':').next().unwrap().parse().unwrap();
    let closed = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
    assert!(!held.is_finished(), "it waits for the lock");
    assert_eq!(world.portal_admin("/readyz").await.0, 503, "probes go on");

    lock.rollback().await.unwrap();
    let answer = held.await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["connection"], "close");
    let (code, log) = world.portal_ended().await;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("every request was answered"), "{log}");
}
