//! What the programs count, as docs/METRICS.md says it: names, types and labels.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::{
    cast::{self, Payer},
    documents,
};

/// What waits for people is counted every half a minute.
const COUNTED_WITHIN: Duration = Duration::from_secs(60);

/// A metric's type and labels.
type Shape = (String, BTreeSet<String>);

/// What the document has of a program.
fn described(program: &str) -> BTreeMap<String, Shape> {
    let text = documents::read("docs/METRICS.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `quittance_"));
    let mut found = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, kind, labels, of, meaning, ..] = cells[..] else {
            unreachable!("not five cells: {row}")
        };
        assert!(!meaning.is_empty(), "{row}");
        if !of.contains(program) {
            continue;
        }
        let labels = documents::between(labels, '`', '`').map(str::to_owned).collect();
        let name = format!("quittance_{}", name.trim_end_matches('`'));
        let twice = found.insert(name, (kind.to_owned(), labels));
        assert_eq!(twice, None, "{row}");
    }
    found
}

/// What a scrape has.
fn scraped(text: &str) -> BTreeMap<String, Shape> {
    let mut found: BTreeMap<String, Shape> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            continue;
        }
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let (labels, _) = rest.rsplit_once('}').unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| {
                name.strip_suffix(part)
                    .filter(|family| found.contains_key(*family))
            })
            .unwrap_or(name);
        let labels = labels
            .split("\",")
            .map(|label| label.split('=').next().unwrap().to_owned());
        let shape = found.get_mut(family).unwrap();
        shape.1.extend(labels.filter(|label| label != "le"));
    }
    found
}

/// What dashboards and alerts ask for: each metric, and the labels that it is asked for by.
fn asked_for() -> Vec<(String, BTreeSet<String>)> {
    let mut files = Vec::new();
    documents::files(
        &documents::root().join("deploy/monitoring/dashboards"),
        ".json",
        &mut files,
    );
    assert!(files.len() > 3, "{files:?}");
    let mut asked = Vec::new();
    let mut expressions = vec![documents::read("deploy/monitoring/rules.yaml")];
    for file in files {
        let dashboard: Value = serde_json::from_str(&documents::read(file)).unwrap();
        let targets = dashboard["panels"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|panel| panel["targets"].as_array().unwrap());
        expressions.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    for expression in &expressions {
        for found in expression.split("quittance_").skip(1) {
            let end = found
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(found.len());
            let (name, rest) = found.split_at(end);
            let selector = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
            let labels = selector.into_iter().flat_map(|selector| selector.split(','));
            let labels = labels.filter_map(|label| Some(label.split_once(['=', '!'])?.0.trim().to_owned()));
            asked.push((format!("quittance_{name}"), labels.collect()));
        }
    }
    assert!(asked.len() > 80, "only {} metrics are asked for", asked.len());
    asked
}

fn assert_served(served: &[BTreeMap<String, Shape>]) {
    for (name, labels) in asked_for() {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part));
        let has = |shapes: &BTreeMap<String, Shape>| {
            let histogram = family
                .and_then(|family| shapes.get(family))
                .filter(|shape| shape.0 == "histogram");
            let shape = shapes.get(&name).or(histogram);
            shape.is_some_and(|shape| labels.is_subset(&shape.1))
        };
        assert!(served.iter().any(has), "no program serves {name} with {labels:?}");
    }
}

/// After a payment every metric has a value, also those that dashboards and alerts ask for.
#[tokio::test]
async fn docs_name_every_metric_that_the_programs_serve_and_no_other() {
    let world = World::start(WorldOptions {
        portal: true,
        ..WorldOptions::default()
    })
    .await;
    cast::enter(&world, &[Payer::of("firm", "payer")], &[]).await;
    world.settle().await;
    let form = reqwest::get(format!("{}/login", world.portal_base())).await;
    assert_eq!(form.unwrap().status(), 200);
    world.advance("25h").await;
    let swept = "quittance_schedule_fired_total{schedule=\"sweep_due_charges\"}";
    world.until_metric(0, swept, 1.0, COUNTED_WITHIN).await;
    world.settle().await;
    let (_, worker) = world.worker_admin(0, "/metrics").await;
    let (_, ingress) = world.ingress_admin("/metrics").await;
    assert_eq!(scraped(&worker), described("worker"));
    assert_eq!(scraped(&ingress), described("ingress"));
    let (_, portal) = world.portal_admin("/metrics").await;
    assert_eq!(scraped(&portal), described("portal"));
    assert_served(&[scraped(&worker), scraped(&ingress), scraped(&portal)]);
    for (text, line) in [
        (
            &worker,
            r#"quittance_audit_events_total{action="payment.succeeded"} 1"#,
        ),
        (&worker, r#"quittance_leader{queue="charges"} 1"#),
        (
            &worker,
            r#"quittance_build_info{component="worker",version="0.1.0"} 1"#,
        ),
        (&worker, r#"quittance_alerts_open{severity="critical"} 0"#),
        (
            &ingress,
            r#"quittance_webhook_requests_total{result="duplicate"} 0"#,
        ),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

/// What waits for people is counted over all firms: alerts by severity, an event that nobody has looked at, an open
/// difference of the ledger, an attempt whose end nobody knows.
#[tokio::test]
async fn r076_what_waits_for_people_is_counted() {
    let world = World::start(WorldOptions::default()).await;
    let payer = Payer::of("firm", "payer");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    let dispute =
        json!({ "payment_intent": payer.intent(&world).await, "kind": "chargeback", "reason": "fraudulent" });
    world.sim.post("/disputes", dispute).await.unwrap();
    world.settle().await;
    world
        .json(&["queue", "pause", "events", "--reason", "a story"])
        .await;
    world
        .deliver(&tests::world::event(
            "charge.updated",
            json!({ "id": "ch_x", "object": "charge" }),
        ))
        .await;
    // Rows that appear when something is wrong that this product keeps from happening.
    let made = world
        .texts(
            "with run as (insert into recon_runs (firm_id, id, since, until, objects, findings, run_at, cause)
                          select id, gen_random_uuid(), now(), now(), 0, 1, now(), 'x' from firms where external_id = 'firm' returning *)
             insert into recon_findings (firm_id, id, run_id, kind, layer, subject, ours, found_at, seen_at)
             select firm_id, gen_random_uuid(), id, 'ledger_imbalance', 'L4', 'x', '{}', now(), now() from run returning kind",
        )
        .await;
    assert_eq!(made, ["ledger_imbalance"]);
    for (metric, value) in [
        ("quittance_alerts_open{severity=\"critical\"}", 1.0),
        ("quittance_inbox_events{state=\"pending\"}", 1.0),
        ("quittance_webhook_inbox_unprocessed_age_seconds", 1.0),
        ("quittance_queue_paused{queue=\"events\"}", 1.0),
        ("quittance_ledger_imbalance", 1.0),
        ("quittance_recon_findings_open", 1.0),
    ] {
        world.until_metric(0, metric, value, COUNTED_WITHIN).await;
    }
}
