//! What the programs tell a collector: real OTLP, from a webhook to its last row, and nothing of anybody's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tests::world::{Collector, Span, World, WorldOptions, tree};

use crate::{
    acme,
    cast::{self, Payer},
};

/// A world whose programs send their spans to a collector.
async fn traced() -> (World, Collector) {
    let collector = Collector::start().await.unwrap();
    let world = World::start(WorldOptions {
        env: [collector.env(), vec![("LOG_FORMAT".into(), "json".into())]].concat(),
        ..WorldOptions::default()
    })
    .await;
    (world, collector)
}

/// Waits until a span like this has arrived.
async fn arrived(collector: &Collector, is_it: impl Fn(&Span) -> bool) -> Span {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let spans = collector.spans();
        if let Some(found) = spans.iter().find(|span| is_it(span)) {
            return found.clone();
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no such span: {:?}",
            spans
                .iter()
                .map(|span| span.name.as_str())
                .collect::<BTreeSet<_>>()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn parent_of<'a>(spans: &'a [Span], span: &Span) -> &'a Span {
    let found = spans
        .iter()
        .find(|other| other.id == span.parent && other.trace == span.trace);
    found.unwrap_or_else(|| panic!("no parent of {} has arrived", span.name))
}

/// The chain of one payment: the import's job, the call that moves money, the effect; and the webhook about it, its job, the
/// read. Each step is the child of the one before, and the run of each job is linked to what sent it.
#[tokio::test]
async fn one_payment_is_traced_from_the_webhook_to_its_effect() {
    let (mut world, collector) = traced().await;
    let payer = Payer::of("firm", "payer");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    // And a job that fails for good, for the line that the log then has.
    let hopeless = "insert into jobs (id, queue, kind, dedupe_key, payload, run_at, created_at)
                    values (gen_random_uuid(), 'maintenance', 'expire_credit', 'x', '{}', app.now(), app.now()) returning id::text";
    let hopeless = world.texts(hopeless).await;
    world.settle().await;
    world.sigterm(0).await;
    world.sigterm_ingress().await;
    let spans = collector.spans();

    // What charged: `quittance import` sent the job; it confirmed the intent under its own span; the payment is its effect.
    let charge = arrived(&collector, |span| span.name == "process collect_invoice").await;
    let send = parent_of(&spans, &charge);
    assert_eq!(
        (send.name.as_str(), send.service.as_str()),
        ("quittance import", "quittance")
    );
    assert_eq!(charge.links, [(send.trace.clone(), send.id.clone())]);
    assert_eq!(format!("{:?}", charge.kind), "Consumer");
    for (name, value) in [
        ("messaging.system", "quittance"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "collect_invoice"),
        ("quittance.queue", "charges"),
        ("quittance.job.outcome", "done"),
        ("quittance.job.attempt", "1"),
    ] {
        assert_eq!(charge.says(name), value, "{name}");
    }
    let job = world
        .texts("select id::text from jobs where kind = 'collect_invoice'")
        .await;
    assert_eq!(charge.says("messaging.message.id"), job[0]);
    let confirm = spans
        .iter()
        .find(|span| span.name == "POST /v1/payment_intents/{id}/confirm")
        .unwrap();
    assert_eq!(confirm.parent, charge.id);
    assert_eq!(format!("{:?}", confirm.kind), "Client");
    assert_eq!(confirm.says("http.request.method"), "POST");
    assert_eq!(confirm.says("http.response.status_code"), "200");
    assert!(
        confirm.says("quittance.stripe.request_id").starts_with("req_"),
        "{confirm:?}"
    );
    assert!(
        charge.events.iter().any(|event| event == "payment.succeeded"),
        "{:?}",
        charge.events
    );
    let committed = spans
        .iter()
        .filter(|span| span.parent == charge.id && span.says("db.system.name") == "postgresql");
    assert!(
        committed
            .filter(|span| span.says("quittance.db.outcome") == "committed")
            .count()
            >= 3
    );

    // What told of it: the delivery sent the job, which read the intent and found the payment there.
    let read = spans
        .iter()
        .find(|span| span.name == "GET /v1/payment_intents/{id}" && span.trace != charge.trace)
        .unwrap();
    let event = parent_of(&spans, read);
    assert_eq!(event.name, "process process_stripe_event");
    let send = parent_of(&spans, event);
    assert_eq!(
        (send.name.as_str(), format!("{:?}", send.kind).as_str()),
        ("send process_stripe_event", "Producer")
    );
    assert_eq!(event.links, [(send.trace.clone(), send.id.clone())]);
    let delivery = parent_of(&spans, send);
    assert_eq!(delivery.name, "POST /webhooks/stripe");
    assert_eq!(
        (delivery.service.as_str(), delivery.parent.as_str()),
        ("quittance-ingress", "")
    );
    assert_eq!(delivery.says("http.response.status_code"), "200");
    assert_eq!(delivery.says("quittance.webhook.result"), "accepted");
    let sent = (send.trace.clone(), send.id.clone());
    let mut inserts = spans.iter().filter(|span| span.name == "INSERT stripe_events");
    assert!(inserts.any(|insert| insert.links.contains(&sent)));
    let row = world
        .texts(&format!(
            "select traceparent from jobs where id = '{}'",
            event.says("messaging.message.id")
        ))
        .await;
    assert_eq!(row, [format!("00-{}-{}-01", send.trace, send.id)]);

    // Lines of the log that are written meanwhile name the trace that they belong to.
    let failed = spans
        .iter()
        .find(|span| span.says("messaging.message.id") == hopeless[0])
        .unwrap();
    assert!(failed.failed && failed.parent.is_empty(), "{failed:?}");
    assert_eq!(failed.says("quittance.job.outcome"), "failed");
    let log = world.workers[0].output();
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["job_id"] == hopeless[0].as_str()).unwrap();
    assert_eq!(
        (&line["trace_id"], &line["span_id"]),
        (&json!(failed.trace), &json!(failed.id)),
        "{line}"
    );
    assert_eq!(
        json!([line["kind"], line["queue"], line["attempt"], line["level"]]),
        json!(["expire_credit", "maintenance", 1, "warn"])
    );

    // Nothing of anybody is told.
    let told: String = spans.iter().map(|span| format!("{span:?}\n")).collect();
    for secret in [
        "4242",
        "whsec_",
        "sk_test_",
        "\"amount",
        "pm_payer",
        "cus_payer",
        "inv-payer",
    ] {
        assert!(!told.contains(secret), "{secret} is in a span");
    }

    for trace in [&charge.trace, &event.trace] {
        eprintln!("{}", tree(&spans, trace));
    }
}

/// A retry that falls due days later is a trace of its own, linked to the attempt before it.
#[tokio::test]
async fn every_attempt_of_dunning_is_a_trace_of_its_own_linked_to_the_one_before() {
    let (mut world, collector) = traced().await;
    acme::open_accounts(&world, &[("broke", &["insufficient_funds", "..."])]).await;
    acme::bill(&world, &["broke"], "usd", "100.00").await;
    world.settle().await;
    world.advance("3d").await;
    world.settle().await;
    world.sigterm(0).await;
    let spans = collector.spans();
    let mut attempts: Vec<&Span> = spans
        .iter()
        .filter(|span| {
            span.name == "process collect_invoice"
                && span.events.iter().any(|event| event == "payment.attempted")
        })
        .collect();
    attempts.sort_by_key(|span| span.start);
    let [first, second] = attempts[..] else {
        panic!("{} attempts", attempts.len())
    };
    assert_ne!(first.trace, second.trace);
    assert_eq!(second.parent, "", "it begins a trace");
    let (trace, sender) = &second.links[0];
    let sender = spans.iter().find(|span| span.id == *sender).unwrap();
    assert_eq!(
        (sender.name.as_str(), trace),
        ("send collect_invoice", &sender.trace)
    );
    assert!(
        sender.trace == first.trace || !sender.parent.is_empty(),
        "{sender:?}"
    );
    let declined = spans
        .iter()
        .find(|span| span.parent == first.id && span.name.ends_with("/confirm"))
        .unwrap();
    assert!(
        declined.failed && declined.says("error.type") == "402",
        "{declined:?}"
    );
}

/// Without a collector nothing is sent, nothing waits, and rows of jobs carry no context; log lines are there all the same.
#[tokio::test]
async fn without_a_collector_no_trace_is_made_and_one_that_is_away_holds_nothing_up() {
    let mut world = World::start(WorldOptions {
        env: vec![("LOG_FORMAT".into(), "json".into())],
        ..WorldOptions::default()
    })
    .await;
    cast::enter(&world, &[Payer::of("firm", "payer")], &[]).await;
    world.settle().await;
    assert_eq!(
        world
            .count("select count(*) from jobs where traceparent is not null")
            .await,
        0
    );
    world.sigterm(0).await;
    let log = world.workers[0].output();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(!lines.is_empty(), "{log}");
    for line in &lines {
        for key in ["ts", "level", "msg", "target"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
        assert_eq!(line["trace_id"], Value::Null, "{line}");
    }

    let away = World::start(WorldOptions {
        env: vec![("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "http://127.0.0.1:9".into())],
        ..WorldOptions::default()
    })
    .await;
    let payer = Payer::of("firm", "payer");
    cast::enter(&away, std::slice::from_ref(&payer), &[]).await;
    away.settle().await;
    assert_eq!(payer.status(&away).await, "paid");
    let wrong = away
        .command()
        .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", Some("https://collector:4318"));
    let refused = wrong.run(&["invoice", "list"]).await.unwrap();
    assert_eq!(refused.code, 1, "{refused}");
    assert!(
        refused
            .stderr
            .contains("OTEL_EXPORTER_OTLP_ENDPOINT is malformed: it asks for TLS"),
        "{refused}"
    );
}
