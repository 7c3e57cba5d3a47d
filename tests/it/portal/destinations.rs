//! Where alerts go, named by the API as by the command.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::receivers::Hook;

use super::{logged_in, token, two_firms};

/// R206, R211, R212: an admin names a place, tries it and takes it away; whoever may raise alerts for another system has it told, and
/// names none; nobody of another firm sees it, and the secret is in one answer and nowhere else.
#[tokio::test]
async fn r206_r212_where_alerts_go_is_named_by_the_api_and_an_alert_from_elsewhere_goes_there() {
    let world = two_firms().await;
    let hook = Hook::start().await.unwrap();
    let mut admin = logged_in(&world, "admin-acme").await;
    let path = "/api/v1/alert-destinations";
    let order =
        json!({"kind": "webhook", "target": hook.url(), "min_severity": "warning", "reason": "on-call"});
    assert_eq!(admin.post_keyed(path, "key-1", &order).await.status, 400);
    let added = admin.post(path, &order).await;
    assert_eq!(added.status, 201, "{}", added.text);
    let added = added.json();
    let (id, secret) = (added["id"].as_str().unwrap(), added["secret"].as_str().unwrap());
    assert_eq!(admin.post(path, &order).await.code(), "destination_exists");
    let inside = json!({"kind": "webhook", "target": "https://10.0.0.1/", "reason": "on-call"});
    assert_eq!(admin.post(path, &inside).await.code(), "private_address");
    let nobody = json!({"kind": "email", "target": "nobody", "reason": "on-call"});
    assert_eq!(admin.post(path, &nobody).await.status, 400);
    let listed = admin.get(path).await;
    assert_eq!(listed.json()["data"][0]["created_by"], "admin-acme");
    assert!(!listed.text.contains(secret));
    let mut stranger = logged_in(&world, "admin-other").await;
    assert_eq!(stranger.get(path).await.json()["data"], json!([]));
    let remove = format!("{path}/{id}/remove");
    assert_eq!(
        stranger.post(&remove, &json!({"reason": "mine"})).await.status,
        404
    );

    let mut agents = token(&world, Some("acme"), "alerts").await;
    assert_eq!(agents.post(path, &order).await.status, 403);
    let alert = json!({"type": "AGENT_OFFLINE", "severity": "warning", "title": "Agent offline", "message": "No sign of life.",
                       "dedupe_key": "agent:17"});
    assert_eq!(agents.post("/api/alerts", &alert).await.status, 201);
    world.settle().await;
    let told: Value = serde_json::from_str(&hook.posted()[0].body).unwrap();
    assert_eq!(
        (&told["dedupe_key"], &told["firm"]),
        (&json!("agent:17"), &json!("acme"))
    );
    let tried = admin.post_nothing(&format!("{path}/{id}/test")).await;
    assert_eq!(tried.status, 202, "{}", tried.text);
    world.settle().await;
    assert_eq!(hook.posted().len(), 2);
    let sent = admin.get("/api/v1/alert-deliveries?state=delivered").await.json();
    assert_eq!(sent["data"].as_array().unwrap().len(), 2, "{sent}");
    assert_eq!(
        admin.post(&remove, &json!({"reason": "closed"})).await.status,
        200
    );
    assert_eq!(admin.get(path).await.json()["data"], json!([]));
    // What a portal that was broken into would like to know.
    let reads = "select has_table_privilege('quittance_portal', 'alert_destination_secrets', 'select')::text";
    assert_eq!(world.texts(reads).await, ["false"]);
}
