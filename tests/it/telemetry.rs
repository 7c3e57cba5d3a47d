//! What the programs tell a collector: real OTLP, from a webhook to its last row, and nothing of anybody's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tests::world::{Collector, Span, World, WorldOptions, tree};

use crate::{
    acme,
    cast::{self, Payer},
    documents, portal,
};

/// A world whose programs send their spans to a collector.
async fn traced() -> (World, Collector) {
    traced_with(WorldOptions::default()).await
}

async fn traced_with(options: WorldOptions) -> (World, Collector) {
    let collector = Collector::start().await.unwrap();
    let world = World::start(WorldOptions {
        env: [collector.env(), vec![("LOG_FORMAT".into(), "json".into())]].concat(),
        ..options
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
/// read; then the request to the portal that gave it back, its job, the call. Each step is the child of the one before, and receipt and
/// run of each job are linked to what sent it.
#[tokio::test]
async fn one_payment_is_traced_from_the_webhook_to_its_effect() {
    let (mut world, collector) = traced_with(WorldOptions {
        portal: true,
        ..WorldOptions::default()
    })
    .await;
    let payer = Payer::of("firm", "payer");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    // And a job that fails for good, for the line that the log then has.
    let hopeless = "insert into jobs (id, queue, kind, dedupe_key, payload, run_at, created_at)
                    values (gen_random_uuid(), 'maintenance', 'expire_credit', 'x', '{}', app.now(), app.now()) returning id::text";
    let hopeless = world.texts(hopeless).await;
    world.settle().await;
    let id = give_back(&world, &payer).await;
    world.settle().await;
    world.sigterm(0).await;
    world.sigterm_ingress().await;
    world.tell_portal_to_stop();
    world.portal_ended().await;
    let spans = collector.spans();

    // What charged: `quittance import` sent the job; it confirmed the intent under its own span; the payment is its effect.
    let charge = arrived(&collector, |span| span.name == "process collect_invoice").await;
    let receipt = parent_of(&spans, &charge);
    assert_is_messaging(receipt, "Client", "receive", "collect_invoice");
    let send = parent_of(&spans, receipt);
    assert_eq!(
        (send.name.as_str(), send.service.as_str()),
        ("quittance import", "quittance")
    );
    for linked in [&charge, receipt] {
        assert_eq!(linked.links, [(send.trace.clone(), send.id.clone())]);
    }
    assert_is_messaging(&charge, "Consumer", "process", "collect_invoice");
    let end = child_of(&spans, &charge, "settle collect_invoice");
    assert_is_messaging(end, "Client", "settle", "collect_invoice");
    assert_eq!(end.says("quittance.job.outcome"), "done");
    for (name, value) in [
        ("quittance.queue", "charges"),
        ("quittance.job.outcome", "done"),
        ("quittance.job.attempt", "1"),
    ] {
        assert_eq!(charge.says(name), value, "{name}");
    }
    let job = world
        .texts("select id::text from jobs where kind = 'collect_invoice'")
        .await;
    for span in [receipt, &charge, end] {
        assert_eq!(span.says("messaging.message.id"), job[0], "{span:?}");
    }
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
    // (A run that finds another event of the client under way, or its row locked, settles nothing: the job comes again.)
    let reads = spans
        .iter()
        .filter(|span| span.name == "GET /v1/payment_intents/{id}" && span.trace != charge.trace);
    let event = reads
        .map(|read| parent_of(&spans, read))
        .find(|event| event.says("quittance.job.outcome") == "done")
        .unwrap();
    assert_eq!(event.name, "process process_stripe_event");
    child_of(&spans, event, "settle process_stripe_event");
    let receipt = parent_of(&spans, event);
    assert_is_messaging(receipt, "Client", "receive", "process_stripe_event");
    let send = parent_of(&spans, receipt);
    assert_is_messaging(send, "Producer", "send", "process_stripe_event");
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

    let request = assert_request_led_to_its_refund(&world, &spans).await;

    // Lines of the log that are written meanwhile name the trace that they belong to.
    let failed = spans
        .iter()
        .find(|span| span.says("messaging.message.id") == hopeless[0] && span.name.starts_with("process "))
        .unwrap();
    assert!(failed.failed, "{failed:?}");
    assert_eq!(parent_of(&spans, failed).parent, "", "nobody sent it");
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
    // (Four digits may stand within an id by chance; told as digits of a card they stand for themselves.)
    let words = told.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let digits: Vec<_> = words
        .filter(|word| *word == "4242" || word.contains("42424242"))
        .collect();
    assert!(digits.is_empty(), "of a card: {digits:?}");
    for secret in [
        "whsec_",
        "sk_test_",
        "\"amount",
        "pm_payer",
        "cus_payer",
        "inv-payer",
        "asked for",
        id.as_str(),
    ] {
        assert!(!told.contains(secret), "{secret} is in a span");
    }

    let trees = [&charge.trace, &event.trace, &request.trace].map(|trace| tree(&spans, trace));
    eprintln!("{}", trees.join("\n"));
    assert_are_those_of_the_document(&spans, &trees.concat());
}

/// Through the portal's API, a part of what was paid is given back. The number of the invoice, as it stands in the paths of requests.
async fn give_back(world: &World, payer: &Payer) -> String {
    let invoice = format!("inv-{}", payer.name);
    let number = world.json(&["invoice", "show", &invoice]).await["number"].take();
    let number = number.as_str().unwrap().to_owned();
    let mut script = portal::token(world, Some("firm"), "owner").await;
    let path = format!("/api/v1/invoices/{number}");
    assert_eq!(script.get(&path).await.status, 200);
    let order = json!({ "amount": "1.00", "to": "card", "reason": "asked for" });
    let given = script.post(&format!("{path}/refunds"), &order).await;
    assert_eq!(given.status, 201, "{}", given.text);
    let nothing = script.get("/api/v1/invoices/nowhere").await;
    assert_eq!(nothing.status, 404, "{}", nothing.text);
    number
}

/// The request sent the job, in its own trace; the job asked Stripe. Requests say what OpenTelemetry's conventions have of HTTP servers.
async fn assert_request_led_to_its_refund(world: &World, spans: &[Span]) -> Span {
    let route = "/api/v1/invoices/{id}/refunds";
    let request = spans.iter().find(|span| span.name == format!("POST {route}"));
    let request = request.unwrap_or_else(|| panic!("no request has arrived"));
    assert_eq!(
        (
            format!("{:?}", request.kind).as_str(),
            request.service.as_str(),
            request.parent.as_str(),
            request.failed,
        ),
        ("Server", "quittance-portal", "", false)
    );
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", route),
        ("http.response.status_code", "201"),
        ("error.type", ""),
    ] {
        assert_eq!(request.says(name), value, "{name} of {request:?}");
    }
    assert_eq!(request.events, ["refund.requested"]);
    let send = child_of(spans, request, "send refund_payment");
    assert_is_messaging(send, "Producer", "send", "refund_payment");
    let receipt = child_of(spans, send, "receive refund_payment");
    let run = child_of(spans, receipt, "process refund_payment");
    assert_eq!(run.links, [(send.trace.clone(), send.id.clone())]);
    child_of(spans, run, "POST /v1/refunds");
    let row = world
        .texts("select traceparent from jobs where kind = 'refund_payment'")
        .await;
    assert_eq!(row, [format!("00-{}-{}-01", send.trace, send.id)]);

    let reads = spans
        .iter()
        .filter(|span| span.name == "GET /api/v1/invoices/{id}");
    let reads: Vec<_> = reads
        .map(|span| (span.says("http.response.status_code"), span.failed))
        .collect();
    assert_eq!(
        reads,
        [("200", false), ("404", false)],
        "what is not there is no fault of ours"
    );
    request.clone()
}

fn child_of<'a>(spans: &'a [Span], parent: &Span, name: &str) -> &'a Span {
    let found = spans
        .iter()
        .find(|span| span.parent == parent.id && span.trace == parent.trace && span.name == name);
    found.unwrap_or_else(|| panic!("no {name} of {parent:?} has arrived"))
}

/// As OpenTelemetry's conventions have it for whoever sends, receives, processes and settles messages.
fn assert_is_messaging(span: &Span, kind: &str, operation: &str, destination: &str) {
    assert_eq!(span.name, format!("{operation} {destination}"));
    assert_eq!(format!("{:?}", span.kind), kind, "{span:?}");
    for (name, value) in [
        ("messaging.system", "quittance"),
        ("messaging.operation.name", operation),
        ("messaging.operation.type", operation),
        ("messaging.destination.name", destination),
    ] {
        assert_eq!(span.says(name), value, "{name} of {span:?}");
    }
}

/// docs/TELEMETRY.md shows these trees: every line of theirs, and no other. And its table has a row for each span that arrived, of this
/// kind, and no row for one that never does.
fn assert_are_those_of_the_document(spans: &[Span], trees: &str) {
    let text = documents::read("docs/TELEMETRY.md");
    let shown = text
        .split("```text\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let lines = |text: &str| {
        text.lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(lines(&shown.collect::<String>()), lines(trees));

    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
    let mut unseen: BTreeSet<(String, String)> = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        unseen.extend(
            documents::between(cells[1], '`', '`').map(|name| (name.to_owned(), cells[2].to_owned())),
        );
    }
    let rows = unseen.clone();
    for span in spans {
        let kind = format!("{:?}", span.kind).to_lowercase();
        let is_it = |(name, of): &&(String, String)| {
            let begin = name
                .trim_end_matches("KIND")
                .trim_end_matches("COMMAND")
                .trim_end_matches('…');
            *of == kind && (span.name == *name || begin != name && span.name.starts_with(begin))
        };
        let row = rows.iter().find(is_it);
        let row = row.unwrap_or_else(|| panic!("docs/TELEMETRY.md has no {kind} {}", span.name));
        unseen.remove(row);
    }
    assert!(unseen.is_empty(), "nothing like this has arrived: {unseen:?}");
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
    let receipt = parent_of(&spans, second);
    assert_eq!(
        (receipt.name.as_str(), receipt.parent.as_str()),
        ("receive collect_invoice", ""),
        "it begins a trace"
    );
    assert_eq!(receipt.links, second.links);
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
