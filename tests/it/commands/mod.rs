//! The operator's commands: what they say, how they end, and what they leave alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod client;
mod credit;
mod doctor;
mod endings;
mod environment;
mod import;
mod lists;
mod migrate;

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{Cli, CliOutput, World, WorldOptions};

/// No programs of ours but the command.
async fn bare() -> World {
    let options = WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    };
    World::start(options).await
}

/// One firm with one client of each kind of engagement item.
fn document() -> Value {
    json!({
        "firms": [{"external_id": "acme", "name": "Acme Advisory", "timezone": "Europe/Berlin", "currency": "usd"}],
        "clients": [{"external_id": "globex", "firm": "acme", "name": "Globex", "stripe_customer_id": "cus_1",
            "payment_methods": [{"stripe_payment_method_id": "pm_1", "brand": "visa", "last4": "4242", "exp_month": 12,
                                 "exp_year": 2035}],
            "autopay": {"enabled": true, "payment_method": "pm_1"}}],
        "engagements": [{"external_id": "retainer", "client": "globex", "pricing_mode": "mixed", "currency": "usd",
            "package_fee": "1000.00", "package_fee_schedule": "monthly", "hourly_rate": "150.00",
            "starts_on": "2026-01-01", "ends_on": "2027-01-01", "signed": true}],
        "time_entries": [{"external_id": "t1", "engagement": "retainer", "worker": "w1", "worked_on": "2026-01-05",
            "minutes": 90, "state": "approved", "approved_by": "admin1"}],
        "invoices": [{"external_id": "legacy-1", "client": "globex", "engagement": "retainer", "currency": "usd",
            "issue_date": "2026-01-01", "due_date": "2026-01-31", "autopay_opt_in": true,
            "lines": [{"kind": "package_fee", "description_code": "retainer", "amount": "250.00"}]}],
    })
}

/// The document with other values at some places; places that are missing are made.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut document = document();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    document
}

/// A worker that does not stop at start would run for ever.
const START: Duration = Duration::from_secs(30);

async fn run(cli: &Cli, args: &[&str]) -> CliOutput {
    tokio::time::timeout(START, cli.run(args)).await.unwrap().unwrap()
}

/// It ended with 1, and with this one line.
fn assert_said(ended: &CliOutput, message: &str, of: &dyn std::fmt::Debug) {
    assert_eq!(ended.stderr, format!("error: {message}\n"), "{of:?}: {ended}");
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{of:?}: {ended}");
    assert!(
        !ended.stderr.contains("hush"),
        "{of:?}: a secret was printed: {ended}"
    );
}

/// Every program of `quittance` that works on a migrated database, in one or two of its forms.
const COMMANDS: [&[&str]; 16] = [
    &["worker"],
    &["import", "-"],
    &["generate-package-invoices", "--dry-run"],
    &["generate-package-invoices", "--no-wait"],
    &["process-recurring-charges", "--dry-run"],
    &["process-recurring-charges", "--no-wait"],
    &["invoice", "list"],
    &["invoice", "show", "x"],
    &["client", "autopay", "on", "x"],
    &["client", "payment-method", "add", "x", "pm_1"],
    &["events", "list"],
    &["events", "show", "x"],
    &["jobs", "list"],
    &["clock", "show"],
    &["clock", "advance", "1d"],
    &["clock", "reset"],
];
