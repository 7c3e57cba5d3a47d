//! The table of the public contract, row by row.

use serde_json::{Value, json};
use sqlx::Row;

use crate::{
    client::sign,
    house::{Database, Ingress, OTHER_SECRET, PATH, SECRET, event, now},
};

/// R080, A-03.
#[tokio::test]
async fn all_six_paths_take_events() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let paths = ["/webhooks/stripe", "/api/webhooks/stripe", "/api/stripe/webhook"];
    let mut client = ingress.client().await; // one connection for all: it is kept alive
    for (n, path) in paths
        .iter()
        .flat_map(|path| [path.to_string(), format!("{path}/")])
        .enumerate()
    {
        let body = event(&format!("evt_{n}"));
        let signature = sign(SECRET, now(), &body);
        let answer = client
            .request("POST", &path, &[("stripe-signature", &signature)], &body)
            .await
            .unwrap();
        assert!(answer.is_new(), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(database.stored().await, 6);
}

#[tokio::test]
async fn other_paths_are_404_and_other_methods_405() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    for path in [
        "/",
        "/webhooks",
        "/webhooks/stripe//",
        "/webhooks/stripe/x",
        "/metrics",
        "/livez",
        "/api/stripe/webhooks",
    ] {
        let answer = ingress
            .client()
            .await
            .request("POST", path, &[], b"{}")
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = ingress
            .client()
            .await
            .request(method, PATH, &[], b"")
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (405, "method_not_allowed"),
            "{method}"
        );
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let head = ingress
        .client()
        .await
        .request("HEAD", PATH, &[], b"")
        .await
        .unwrap();
    assert_eq!((head.status, head.header("allow")), (405, Some("POST")));
    assert_eq!(database.stored().await, 0);
}

#[tokio::test]
async fn p1_the_event_its_bytes_and_its_job_are_stored_as_they_came() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let mut body = event("evt_1");
    body.extend_from_slice(b" \r\n\t"); // whatever was signed, to the last byte
    assert!(ingress.deliver(&body).await.is_new());

    let row = sqlx::query("select * from stripe_events natural join stripe_event_bodies")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let text = |column: &str| row.get::<Option<String>, _>(column);
    assert_eq!(text("stripe_event_id").as_deref(), Some("evt_1"));
    assert_eq!(text("type").as_deref(), Some("charge.succeeded"));
    assert_eq!(text("api_version").as_deref(), Some("2024-06-20"));
    assert_eq!(
        (text("object_type").as_deref(), text("object_id").as_deref()),
        (Some("charge"), Some("ch_1"))
    );
    assert_eq!(
        (text("via").as_deref(), text("state").as_deref(), text("account")),
        (Some("webhook"), Some("pending"), None)
    );
    assert!(!row.get::<bool, _>("livemode"));
    assert_eq!(row.get::<Vec<u8>, _>("body"), body);
    assert_eq!(
        row.get::<Value, _>("facts"),
        json!({"id": "ch_1", "object": "charge", "customer": "cus_1", "payment_intent": "pi_1", "amount": 522_500,
               "currency": "usd", "status": "succeeded", "request": {"id": "req_1", "idempotency_key": "key_1"}})
    );
    let digest_holds = "select (body_sha256 = sha256(body))::int::bigint from stripe_events natural join stripe_event_bodies";
    assert_eq!(database.count(digest_holds).await, 1);

    let job = sqlx::query("select * from jobs")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let text = |column: &str| job.get::<Option<String>, _>(column);
    assert_eq!(
        (text("queue").as_deref(), text("kind").as_deref()),
        (Some("events"), Some("process_stripe_event"))
    );
    assert_eq!(
        (text("dedupe_key").as_deref(), text("order_key").as_deref()),
        (Some("evt_1"), Some("customer:cus_1"))
    );
    assert_eq!(job.get::<Value, _>("payload"), json!({"event_id": "evt_1"}));
    assert_eq!(text("state").as_deref(), Some("available"));
    assert_eq!(
        database
            .count("select count(*) from jobs where run_at <= app.now()")
            .await,
        1
    );
}

#[tokio::test]
async fn business_time_dates_the_job_and_real_time_the_event() {
    let Some(database) = Database::create().await else {
        return;
    };
    database.run("update clock set offset_ms = 86400000").await;
    let ingress = Ingress::start(&database).await;
    assert!(ingress.deliver(&event("evt_1")).await.is_new());
    let near = "select count(*) from stripe_events, jobs
                 where abs(extract(epoch from received_at - clock_timestamp())) < 60
                   and abs(extract(epoch from run_at - app.now())) < 60
                   and jobs.created_at = run_at";
    assert_eq!(database.count(near).await, 1);
}

#[tokio::test]
async fn s7_a_second_delivery_is_a_duplicate_whatever_its_bytes() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let body = event("evt_1");
    assert!(ingress.deliver(&body).await.is_new());
    assert!(ingress.deliver(&body).await.is_duplicate());
    // A-03: the same event from the other endpoint, in that endpoint's API version, under its secret.
    let other: Vec<u8> = String::from_utf8(body)
        .unwrap()
        .replace("2024-06-20", "2020-03-02")
        .into_bytes();
    assert!(
        ingress
            .deliver_with(&sign(OTHER_SECRET, now(), &other), &other)
            .await
            .is_duplicate()
    );
    assert_eq!(database.stored().await, 1);
    assert_eq!(
        ingress
            .metric(r#"quittance_webhook_requests_total{result="duplicate"}"#)
            .await,
        Some(2)
    );
}

#[tokio::test]
async fn what_is_not_genuine_is_rejected_and_not_stored() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let body = event("evt_1");
    let genuine = sign(SECRET, now(), &body);
    let mut altered = body.clone();
    altered.push(b' ');
    let cases = [
        (String::new(), &body, "invalid_signature"),
        ("nonsense".to_owned(), &body, "invalid_signature"),
        (genuine.clone(), &altered, "invalid_signature"),
        (genuine.replace("v1=", "v0="), &body, "invalid_signature"),
        (sign("whsec_third", now(), &body), &body, "invalid_signature"),
        (sign("first", now(), &body), &body, "invalid_signature"),
        ("t=1,v1=\u{e9}".to_owned(), &body, "invalid_signature"),
        (sign(SECRET, now() - 310, &body), &body, "stale_timestamp"),
        (sign(SECRET, now() + 310, &body), &body, "stale_timestamp"),
    ];
    for (signature, body, code) in cases {
        let answer = ingress.deliver_with(&signature, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{signature}"
        );
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty());
    }
    let unsigned = ingress
        .client()
        .await
        .request("POST", PATH, &[], &body)
        .await
        .unwrap();
    assert_eq!(
        (unsigned.status, unsigned.code().as_str()),
        (400, "missing_signature")
    );
    assert_eq!(database.stored().await, 0);
    assert_eq!(
        ingress
            .metric(r#"quittance_webhook_requests_total{result="bad_signature"}"#)
            .await,
        Some(7)
    );
    assert_eq!(
        ingress
            .metric(r#"quittance_webhook_requests_total{result="stale_timestamp"}"#)
            .await,
        Some(2)
    );
}

#[tokio::test]
async fn a_genuine_signature_over_no_event_is_an_invalid_payload() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        "{\"id\":\"evt_1\"}",
        "{\"id\":1,\"type\":\"x\"}",
        "{\"id\":\"e\",\"type\":\"x\"} {}",
    ] {
        let answer = ingress.deliver(body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_payload"),
            "{body}"
        );
    }
    assert_eq!(ingress.deliver(b"\xff\xfe").await.code(), "invalid_payload");
    assert_eq!(database.stored().await, 0);
}

#[tokio::test]
async fn an_event_of_the_other_mode_is_rejected() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let live = br#"{"id":"evt_live","type":"charge.succeeded","livemode":true}"#;
    let answer = ingress.deliver(live).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "wrong_mode"));
    assert_eq!(database.stored().await, 0);
}

#[tokio::test]
async fn whatever_is_genuine_is_stored_however_odd() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let deep = format!(
        r#"{{"id":"evt_deep","type":"x","data":{{"object":{}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let bodies = [
        r#"{"id":"evt_bare","type":"x"}"#.to_owned(),
        r#"{"id":"evt_thin","object":"v2.core.event","type":"v1.billing.meter.no_meter_found","created":"2026-09-17T06:20:52.246Z","livemode":false,"related_object":{"id":"m","type":"billing.meter"}}"#.to_owned(),
        r#"{"id":"evt_nul","type":"a\u0000b","api_version":"\u0000","account":"\u0000","data":{"object":{"id":"\u0000","status":"\u0000","metadata":{"q_firm":"\u0000"}}}}"#.to_owned(),
        r#"{"id":"evt_surrogate","type":"x","data":{"object":{"id":"\ud800","\udfff":1}}}"#.to_owned(),
        r#"{"id":"evt_numbers","type":"x","created":1e999,"data":{"object":{"amount":1e999,"total":123456789012345678901234567890,"created":-1}}}"#.to_owned(),
        format!(r#"{{"id":"{}","type":"{}","data":{{"object":{{"id":"{}","status":"{}"}}}}}}"#, "e".repeat(255), "t".repeat(9000), "o".repeat(9000), "s".repeat(9000)),
        r#"{"id":"evt_shapes","type":"x","livemode":"no","created":[],"api_version":{},"data":[],"request":7,"related_object":[]}"#.to_owned(),
        r#"{"id":"évt 💶","type":"💶","created":253402300800}"#.to_owned(),
        deep,
    ];
    for body in &bodies {
        let answer = ingress.deliver(body.as_bytes()).await;
        assert!(answer.is_new(), "{:.80}: {answer:?}", body);
    }
    assert_eq!(database.stored().await, i64::try_from(bodies.len()).unwrap());
}

#[tokio::test]
async fn a_signature_header_may_have_spaces_and_several_signatures_and_any_content_type_will_do() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let body = event("evt_1");
    let rolled = sign(OTHER_SECRET, now(), &body).replace("v1=", &format!("v1={}, v1=", "0".repeat(64)));
    let headers = [
        ("Stripe-Signature", rolled.as_str()),
        ("Content-Type", "text/plain; charset=utf-16"),
    ];
    let answer = ingress
        .client()
        .await
        .request("POST", PATH, &headers, &body)
        .await
        .unwrap();
    assert!(answer.is_new(), "{answer:?}");
}
