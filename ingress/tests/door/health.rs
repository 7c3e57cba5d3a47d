//! The admin port.

use serde_json::json;

use crate::house::{Database, Ingress, event};

#[tokio::test]
async fn probes_and_metrics_answer_on_the_admin_port_only() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    for path in ["/livez", "/startupz", "/readyz"] {
        let answer = ingress.get(path).await;
        assert_eq!(
            (answer.status, &answer.json()["ok"]),
            (200, &json!(true)),
            "{path}"
        );
    }
    let checks = &ingress.get("/readyz").await.json()["checks"];
    assert_eq!(
        checks,
        &json!({"database": {"ok": true}, "schema": {"ok": true}, "mode": {"ok": true}, "draining": {"ok": true}})
    );

    assert!(ingress.deliver(&event("evt_1")).await.is_new());
    let metrics = ingress.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for line in [
        r#"quittance_webhook_requests_total{result="accepted"} 1"#,
        r#"quittance_webhook_requests_total{result="db_unavailable"} 0"#,
        "quittance_webhook_ack_duration_seconds_count 1",
        "quittance_webhook_event_delay_seconds_count 1",
        r#"quittance_webhook_event_delay_seconds_bucket{le="5"} 1"#,
        "quittance_webhook_batch_events_count 1",
        "quittance_webhook_in_flight 0",
        r#"quittance_build_info{component="ingress",version="0.1.0"} 1"#,
    ] {
        assert!(
            metrics.body.lines().any(|l| l == line),
            "{line} is not in\n{}",
            metrics.body
        );
    }
    for name in [
        "quittance_db_pool_connections",
        "quittance_db_committer_connections",
    ] {
        assert!(metrics.body.contains(name));
    }
}

#[tokio::test]
async fn readiness_names_the_check_that_fails() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    database.run("update installation set livemode = true").await;
    let ready = ingress.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        (&ready.json()["ok"], &ready.json()["checks"]["mode"]["ok"]),
        (&json!(false), &json!(false))
    );
    assert!(ready.body.contains("live mode"), "{}", ready.body);
    ingress.until_logged("not ready").await;
    let failures = r#"quittance_readiness_failures_total{check="mode"}"#;
    assert_eq!(ingress.metric(failures).await, Some(1));
    database
        .run("alter table installation disable trigger installation_guard; update installation set livemode = null")
        .await;
    assert_eq!(ingress.get("/readyz").await.status, 200);
    ingress.until_logged("ready again").await;
}
