//! The restore drill of `docs/BACKUP.md` as a story: a database is lost and comes back as it was weeks ago, and Stripe knows of charges
//! that it does not. `deploy/backup/drill` plays it on a server of its own, and there loses every role as well.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate};
use serde_json::{Value, json};
use tests::world::{Login, World, WorldOptions, wall_clock_secs};

/// Clients of the firm, and what their cards do: one has no funds on the first day, one never has any.
const CLIENTS: [(&str, &[&str]); 4] = [
    ("ada", &[]),
    ("bob", &[]),
    ("cyd", &["insufficient_funds"]),
    ("dan", &["insufficient_funds", "..."]),
];

/// A month's fee, in minor units.
const FEE_MINOR: i64 = 50_000;

/// The first day of next month: whatever today is, the story's days lie in the same two months.
fn next_month() -> NaiveDate {
    let today = DateTime::from_timestamp(wall_clock_secs(), 0)
        .unwrap()
        .date_naive();
    today.with_day(1).unwrap() + Months::new(1)
}

fn firm(start: NaiveDate) -> Value {
    let clients = CLIENTS.map(|(name, _)| {
        let card = format!("pm_{name}");
        json!({
            "external_id": name, "firm": "north", "name": name, "stripe_customer_id": format!("cus_{name}"),
            "payment_methods": [{ "stripe_payment_method_id": card }],
            "autopay": { "enabled": true, "payment_method": card },
        })
    });
    let engagements = CLIENTS.map(|(name, _)| {
        json!({
            "external_id": format!("{name}-retainer"), "client": name, "pricing_mode": "package", "currency": "usd",
            "package_fee": "500.00", "package_fee_schedule": "monthly", "starts_on": start, "signed": true,
        })
    });
    json!({
        "firms": [{ "external_id": "north", "name": "North Ltd", "timezone": "Europe/Berlin", "currency": "usd" }],
        "clients": clients, "engagements": engagements,
    })
}

/// Bills and charges what is due, and waits until all is quiet.
async fn bill(world: &World) {
    world.json(&["generate-package-invoices"]).await;
    world.json(&["process-recurring-charges"]).await;
    world.settle().await;
}

async fn assert_captured(world: &World, fees: i64) {
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), fees * FEE_MINOR);
}

/// Ledger and audit log are whole.
async fn assert_whole(world: &World, heads: &str) {
    world.json(&["ledger", "check"]).await;
    world.json(&["audit", "verify", "--head", heads]).await;
}

#[tokio::test]
async fn a_lost_database_is_restored_and_nobody_is_charged_twice() {
    let mut world = World::start(WorldOptions::default()).await;
    let start = next_month();
    world
        .json(&["clock", "set", &format!("{}T12:00:00Z", start + Days::new(9))])
        .await;
    for (name, script) in CLIENTS {
        let (customer, card) = (format!("cus_{name}"), format!("pm_{name}"));
        world
            .sim
            .customer_with_card(&customer, &card, script)
            .await
            .unwrap();
    }
    world.import(&firm(start)).await;
    bill(&world).await;
    assert_captured(&world, 2).await;

    // The backup, and what it does not know: a retry that succeeds, and a month in which everybody is billed and charged again.
    world.json(&["audit", "seal"]).await;
    let heads = world.json(&["audit", "head"]).await.to_string();
    let heads = world.keep("heads.json", &heads).display().to_string();
    let backup = world.dump();
    world.advance("3d").await;
    bill(&world).await;
    assert_captured(&world, 3).await;
    world.advance("25d").await;
    bill(&world).await;
    assert_captured(&world, 6).await;
    assert_eq!(world.count("select count(*) from invoices").await, 8);

    // The loss, and the restore.
    assert_eq!((world.sigterm(0).await, world.sigterm_ingress().await), (0, 0));
    world.lose_database().await;
    world.restore(&backup);
    let migrate = world
        .command()
        .with_env("MIGRATION_DATABASE_URL", Some(&world.database_url(Login::Owner)));
    let migrated = migrate.json(&["migrate"]).await.unwrap();
    assert_eq!(
        (&migrated["state"], &migrated["applied"]),
        (&json!("current"), &json!(0))
    );
    assert_eq!(world.count("select count(*) from invoices").await, 4);
    assert_whole(&world, &heads).await;

    // Money is stopped before any program runs; what Stripe knows comes back; the invoices that are lost are made again, and nothing
    // is charged for them. The clock went back with the database; a real one does not, and a restore takes its time.
    world
        .json(&["pause", "autopay", "--all", "--reason", "restored from a backup"])
        .await;
    world.start_ingress().await;
    world.add_worker().await;
    world.advance("29d").await;
    world.json(&["events", "backfill", "--since", "40d"]).await;
    world.json(&["generate-package-invoices"]).await;
    world.settle().await;
    assert_eq!(world.count("select count(*) from invoices").await, 8);
    assert_captured(&world, 6).await;
    // The retry is found and booked by itself: the backup held its invoice. The second month belongs to nothing that is known.
    let paid = "select count(*) from invoice_status where status = 'paid'";
    assert_eq!(world.count(paid).await, 3);
    let reconcile = ["reconcile", "--since", "40d", "--json"];
    let compared = world.cli(&reconcile).await;
    assert_eq!(compared.code, 3, "{compared}");
    let findings = compared.json().unwrap()["findings"].clone();
    let findings = findings.as_array().unwrap();
    let orphans: Vec<&Value> = findings
        .iter()
        .filter(|found| found["kind"] == "orphan_charge")
        .collect();
    assert_eq!((orphans.len(), findings.len()), (3, 3), "{findings:#?}");

    // A person says whose money it is.
    for orphan in orphans {
        let client = orphan["subject"].as_str().unwrap().trim_start_matches("client ");
        let invoices = world.json(&["invoice", "list", "--client", client]).await;
        let invoices = invoices["data"].as_array().unwrap();
        let open = invoices
            .iter()
            .find(|invoice| invoice["open_minor"] == FEE_MINOR)
            .unwrap();
        let (number, charge) = (
            open["number"].as_str().unwrap(),
            orphan["stripe"]["id"].as_str().unwrap(),
        );
        world
            .json(&[
                "invoice",
                "pay-external",
                number,
                "--amount",
                "500.00",
                "--reference",
                charge,
            ])
            .await;
    }
    world.json(&reconcile[..3]).await;

    // Money goes on: six charges for six invoices that could be paid, and not one more since the restore.
    world
        .json(&["resume", "autopay", "--all", "--reason", "a story"])
        .await;
    world.json(&["process-recurring-charges"]).await;
    world.settle().await;
    world.json(&reconcile[..3]).await;
    assert_whole(&world, &heads).await;
    assert_eq!(world.count(paid).await, 6);
    assert_captured(&world, 6).await;
}
