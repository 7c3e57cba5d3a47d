//! What must hold when everything is well again, by SQL and against the simulator's books.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use tests::world::World;

use super::settings::Figures;
use crate::{
    acme,
    cast::{AMOUNT_MINOR, Payer},
};

/// Unpaid invoices that are asked why: each costs a process.
const ASKED: usize = 40;

/// How a program ends that was sent SIGKILL.
const KILLED: i32 = -9;

/// What was captured from each customer, in minor units.
fn captured(books: &Value) -> BTreeMap<&str, i64> {
    let mut captured = BTreeMap::new();
    for intent in books["by_payment_intent"].as_object().unwrap().values() {
        *captured
            .entry(intent["customer"].as_str().unwrap_or_default())
            .or_default() += intent["captured"].as_i64().unwrap();
    }
    captured
}

/// Counts at the simulator who was charged beyond the one invoice of each, and from whom nothing came although the card pays.
pub async fn count_harm(world: &World, paying: impl Iterator<Item = &Payer>, figures: &mut Figures) {
    let books = world.sim.books().await.unwrap();
    let captured = captured(&books);
    let beyond = captured.values().filter(|minor| **minor > AMOUNT_MINOR).count();
    let lost = paying
        .filter(|payer| {
            captured
                .get(payer.customer.as_str())
                .is_none_or(|minor| *minor < AMOUNT_MINOR)
        })
        .count();
    figures.count("double_charges", beyond as u64);
    figures.count("losses", lost as u64);
}

/// All of it; every breach is on the list.
pub async fn breaches(world: &mut World) -> Vec<String> {
    let mut wrong = Vec::new();
    let books = world.sim.books().await.unwrap();
    let intents = books["by_payment_intent"].as_object().unwrap();

    // Money: at Stripe, and here.
    let captured = captured(&books);
    let mut charges = BTreeSet::new();
    for intent in intents.values() {
        let of_intent = intent["charges"].as_array().unwrap();
        charges.extend(of_intent.iter().map(|c| c["id"].as_str().unwrap().to_owned()));
    }
    for (customer, minor) in captured.iter().filter(|(_, minor)| **minor > AMOUNT_MINOR) {
        wrong.push(format!("{customer} was charged {minor} for {AMOUNT_MINOR}"));
    }
    acme::assert_books_agree(world).await;
    let known: BTreeSet<String> = world
        .texts("select stripe_charge_id from payment_attempts where stripe_charge_id is not null")
        .await
        .into_iter()
        .collect();
    for charge in charges.symmetric_difference(&known) {
        wrong.push(format!(
            "the charge {charge} is not both at Stripe and in an attempt"
        ));
    }

    // Nobody is confirmed more often than attempts were marked as sent.
    let mut keys: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for call in world.sim.requests().await.unwrap() {
        let path = call["path"].as_str().unwrap_or_default();
        if let Some(id) = path
            .strip_prefix("/v1/payment_intents/")
            .and_then(|rest| rest.strip_suffix("/confirm"))
        {
            let customer = intents[id]["customer"].as_str().unwrap_or_default();
            let key = call["idempotency_key"].as_str().unwrap_or("no key").to_owned();
            keys.entry(customer).or_default().insert(key);
        }
    }
    let sent = world
        .texts(
            "select c.stripe_customer_id || ' ' || count(*) from payment_attempts a
               join collection_cycles y on y.id = a.cycle_id join invoices i on i.id = y.invoice_id
               join clients c on c.id = i.client_id where a.sent_at is not null group by c.stripe_customer_id",
        )
        .await;
    let sent: BTreeMap<&str, usize> = sent
        .iter()
        .filter_map(|row| row.split_once(' '))
        .map(|(customer, count)| (customer, count.parse().unwrap()))
        .collect();
    for (customer, keys) in &keys {
        let sent = sent.get(customer).copied().unwrap_or(0);
        if keys.len() > sent {
            wrong.push(format!(
                "{customer}: {} confirmations, {sent} attempts sent",
                keys.len()
            ));
        }
    }

    // Work: everything has an end.
    for (what, sql) in [
        (
            "attempt without an end",
            "select format('%s %s %s', id, trigger, state) from payment_attempts where state in ('created', 'sent', 'processing', 'unknown')",
        ),
        (
            "event without an end",
            "select format('%s %s', type, state) from stripe_events where state not in ('applied', 'ignored')",
        ),
        (
            "job that was given up",
            "select format('%s %s after %s crashes: %s', kind, dedupe_key, crashes, last_error) from jobs where state = 'discarded' and crashes < 5",
        ),
    ] {
        wrong.extend(world.texts(sql).await.iter().map(|row| format!("{what}: {row}")));
    }
    for command in [["ledger", "check"], ["audit", "verify"]] {
        let run = world.cli(&command).await;
        if run.code != 0 {
            wrong.push(format!("{run}"));
        }
    }

    // Whoever has not paid has a reason.
    let unpaid = world
        .texts("select i.number from invoices i join invoice_status s on s.id = i.id where s.status <> 'paid' order by 1")
        .await;
    for number in unpaid.iter().take(ASKED) {
        let why = world.json(&["why-not", "charge", number]).await;
        if why["reason_code"].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("nobody knows why {number} is not charged: {why}"));
        }
    }

    // Nobody died but those we killed.
    for worker in &mut world.workers {
        if worker.output().contains("panicked at") {
            wrong.push(format!("{} panicked", worker.name()));
        }
        if !worker.is_running() && worker.ended(Duration::ZERO).await.unwrap() != KILLED {
            wrong.push(format!("{} has ended by itself", worker.name()));
        }
    }
    if !world.ingress.as_mut().is_some_and(|ingress| ingress.is_running()) {
        wrong.push("the ingress has ended".into());
    }
    wrong
}
