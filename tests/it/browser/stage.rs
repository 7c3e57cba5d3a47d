//! A firm with a year behind it, for pages that are looked at: every list has rows, every chart has something to show, and what waits for
//! a person waits. All of it comes about by an import, by commands and by what Stripe reports.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use chrono::{Datelike as _, Days, Months, NaiveDate};
use serde_json::{Value, json};
use tests::world::{World, WorldOptions, event};

use crate::{acme, jobs_by_hand, platform, population, portal};

/// Clients with a card: name, brand, last four digits, what the card does.
const CARDS: [(&str, &str, &str, &[&str]); 5] = [
    ("globex", "visa", "4242", &[]),
    ("initech", "mastercard", "4444", &["insufficient_funds", "..."]),
    ("hooli", "visa", "9987", &["do_not_honor", "succeed", "..."]),
    ("umbrella", "visa", "9995", &[]),
    ("stark", "amex", "0005", &[]),
];
/// Pays by transfer.
const WITHOUT_CARD: &str = "wayne";

/// What was billed: client, how many months ago, how much.
const BILLED: [(&str, u32, &str); 20] = [
    ("globex", 11, "1250.00"),
    ("globex", 10, "1250.00"),
    ("umbrella", 10, "480.00"),
    ("globex", 9, "1375.00"),
    ("stark", 8, "2100.00"),
    ("globex", 7, "1250.00"),
    ("wayne", 6, "640.00"),
    ("umbrella", 6, "960.00"),
    ("globex", 5, "1800.00"),
    ("stark", 5, "700.00"),
    ("wayne", 4, "320.00"),
    ("globex", 4, "1250.00"),
    ("umbrella", 3, "1440.00"),
    ("wayne", 3, "275.50"),
    ("globex", 2, "1250.00"),
    ("initech", 2, "890.00"),
    ("hooli", 1, "540.00"),
    ("stark", 1, "1325.00"),
    ("initech", 0, "410.00"),
    ("wayne", 0, "1120.00"),
];

/// Who may look.
pub const PEOPLE: [(&str, &str, &str); 4] = [
    ("olivia", "Olivia Owner", "owner"),
    ("max", "Max Manager", "manager"),
    ("sam", "Sam Staff", "staff"),
    ("gina", "Gina of Globex", "client"),
];
/// The operator.
pub const OPERATOR: &str = "alice";

/// What of it pages can name.
pub struct Things {
    /// An invoice that was declined and tried again.
    pub invoice: String,
    /// One of the client's whose user is among the people.
    pub own_invoice: String,
    /// A draft.
    pub draft: String,
    /// A dispute that was lost.
    pub dispute: String,
    /// A job that was given up.
    pub job: String,
    /// An event of the firm's.
    pub event: String,
    /// An event of no firm's.
    pub stray: String,
    /// The secret of the operator's second factor.
    pub secret: String,
}

/// The first day of the month so many months ago, as far into the month as today is at most.
fn months_ago(today: NaiveDate, months: u32) -> NaiveDate {
    today.with_day(1).unwrap() - Months::new(months)
}

fn document(today: NaiveDate) -> Value {
    let work = |client: &str| {
        json!({
            "external_id": format!("{client}-advice"), "client": client, "pricing_mode": "hourly", "currency": "usd", "hourly_rate": "160.00",
            "starts_on": months_ago(today, 12), "signed": true,
        })
    };
    let mut engagements: Vec<Value> = CARDS.iter().map(|(client, ..)| work(client)).collect();
    engagements.push(work(WITHOUT_CARD));
    engagements.push(json!({
        "external_id": "globex-retainer", "client": "globex", "pricing_mode": "package", "currency": "usd", "package_fee": "1000.00",
        "package_fee_schedule": "monthly", "starts_on": months_ago(today, 1), "ends_on": months_ago(today, 0) + Months::new(11), "signed": true,
    }));
    engagements.push(json!({
        "external_id": "wayne-retainer", "client": WITHOUT_CARD, "pricing_mode": "mixed", "currency": "usd", "package_fee": "450.00",
        "package_fee_schedule": "quarterly", "hourly_rate": "140.00", "starts_on": today, "signed": false,
    }));
    let invoices = BILLED.iter().enumerate().map(|(n, (client, months, amount))| {
        let issued = months_ago(today, *months);
        json!({
            "external_id": format!("{client}-{n}"), "client": client, "engagement": format!("{client}-advice"), "currency": "usd",
            "issue_date": issued, "due_date": issued + Days::new(30), "autopay_opt_in": *client != WITHOUT_CARD,
            "lines": [{"kind": "hourly", "description_code": "hours", "amount": amount}],
        })
    });
    let hour = |n: u64, minutes: u32, state: &str| {
        let mut entry = json!({
            "external_id": format!("t-{n}"), "engagement": "globex-advice", "worker": "sam", "worked_on": today - Days::new(n),
            "minutes": minutes, "state": state,
        });
        if state == "approved" {
            entry["approved_by"] = json!("max");
        }
        entry
    };
    let users = PEOPLE.iter().map(|(id, name, role)| {
        let mut user = json!({"external_id": id, "firm": "acme", "name": name, "role": role});
        if *role == "client" {
            user["client"] = json!("globex");
            user["can_view_billing"] = json!(true);
        }
        user
    });
    let mut clients: Vec<Value> = CARDS
        .iter()
        .map(|(client, brand, last4, _)| {
            let card = format!("pm_{client}");
            json!({
                "external_id": client, "firm": "acme", "name": client, "stripe_customer_id": format!("cus_{client}"),
                "payment_methods": [{"stripe_payment_method_id": card, "brand": brand, "last4": last4, "exp_month": 12, "exp_year": 2035}],
                "autopay": {"enabled": true, "payment_method": card},
            })
        })
        .collect();
    clients.push(json!({"external_id": WITHOUT_CARD, "firm": "acme", "name": WITHOUT_CARD}));
    json!({
        "firms": [{"external_id": "acme", "name": "Acme Advisory", "timezone": "UTC", "currency": "usd"}],
        "clients": clients, "users": users.collect::<Vec<_>>(), "engagements": engagements, "invoices": invoices.collect::<Vec<_>>(),
        "time_entries": [hour(1, 90, "submitted"), hour(2, 45, "draft"), hour(3, 240, "approved"), hour(4, 30, "rejected"),
                         hour(5, 120, "submitted"), hour(6, 75, "approved")],
    })
}

async fn one(world: &World, sql: &str) -> String {
    world
        .texts(sql)
        .await
        .first()
        .unwrap_or_else(|| panic!("nothing: {sql}"))
        .clone()
}

/// A chargeback against a client's first payment; the dispute.
async fn charge_back(world: &World, client: &str, reason: &str) -> String {
    let books = world.sim.books().await.unwrap();
    let intents = books["by_payment_intent"].as_object().unwrap();
    let customer = format!("cus_{client}");
    let (intent, _) = intents
        .iter()
        .find(|(_, intent)| intent["customer"] == customer.as_str())
        .unwrap();
    let order = json!({"payment_intent": intent, "kind": "chargeback", "reason": reason});
    let dispute = world.sim.tell("/disputes", order).await;
    dispute["id"].as_str().unwrap().to_owned()
}

/// Has it all happen.
pub async fn set() -> (World, Things) {
    let world = World::start(WorldOptions {
        portal: true,
        env: vec![("PORTAL_RATE_PER_MIN".into(), "1000000".into())],
        ..WorldOptions::default()
    })
    .await;
    let today: NaiveDate = acme::today(&world).await.parse().unwrap();
    for (client, _, _, script) in CARDS {
        let (customer, card) = (format!("cus_{client}"), format!("pm_{client}"));
        world
            .sim
            .customer_with_card(&customer, &card, script)
            .await
            .unwrap();
    }
    world.import(&document(today)).await;
    world.settle().await;
    charge_back(&world, "umbrella", "product_not_received").await;
    let lost = charge_back(&world, "stark", "fraudulent").await;
    world
        .sim
        .tell(&format!("/disputes/{lost}"), json!({"action": "lose"}))
        .await;
    platform::prices(&world).await;
    platform::customer(&world, "acme", &[]).await;
    platform::subscribe(&world, "acme", "PRO").await;
    world
        .json(&["platform", "usage", "acme", "--report", "agents=43"])
        .await;
    // Retries of what was declined.
    platform::later(&world, "3d").await;

    let wire = [
        "invoice",
        "pay-external",
        "wayne-6",
        "--amount",
        "640.00",
        "--reference",
        "wire 4711",
    ];
    world.json(&wire).await;
    let refund = [
        "invoice",
        "refund",
        "globex-8",
        "--amount",
        "250.00",
        "--to",
        "card",
        "--reason",
        "hours not worked",
    ];
    world.json(&refund).await;
    let give = [
        "credit",
        "issue",
        WITHOUT_CARD,
        "--amount",
        "120.00",
        "--reason",
        "for the delay",
    ];
    world.json(&give).await;
    world
        .json(&["credit", "apply", "wayne-10", "--amount", "80.00"])
        .await;
    let until = (today + Months::new(6)).to_string();
    let give = [
        "credit",
        "issue",
        "globex",
        "--amount",
        "60.00",
        "--reason",
        "referral",
        "--expires-on",
        &until,
    ];
    world.json(&give).await;
    world
        .json(&["invoice", "create", "--engagement", "globex-advice"])
        .await;
    for (firm, reason) in [("acme", "ticket 4698: totals on an invoice")] {
        let open = [
            "break-glass",
            "open",
            "--firm-id",
            firm,
            "--reason",
            reason,
            "--expires-in",
            "1h",
            "--by",
            OPERATOR,
        ];
        let session = world.json(&open).await;
        let id = session["id"].as_str().unwrap();
        world
            .json(&["break-glass", "revoke", id, "--reason", "answered"])
            .await;
    }
    world.settle().await;
    let job = jobs_by_hand::hopeless(&world, "given-up").await;
    let stray = event(
        "customer.created",
        json!({"id": "cus_stray", "object": "customer"}),
    );
    world.deliver(&stray).await;
    world.settle().await;
    let firm = one(&world, "select id::text from firms").await;
    population::difference(&world, &firm).await;
    for (user, ..) in PEOPLE {
        portal::give_password(&world, user).await;
    }
    let secret = portal::enrol(&world, OPERATOR).await;
    let things = Things {
        invoice: one(&world, "select number from invoices where external_id = 'hooli-16'").await,
        own_invoice: one(&world, "select number from invoices where external_id = 'globex-8'").await,
        draft: one(&world, "select id::text from invoices where issued_at is null").await,
        dispute: lost,
        job,
        event: one(
            &world,
            "select stripe_event_id from stripe_events where type = 'payment_intent.payment_failed' order by received_at limit 1",
        )
        .await,
        stray: stray["id"].as_str().unwrap().to_owned(),
        secret,
    };
    (world, things)
}
