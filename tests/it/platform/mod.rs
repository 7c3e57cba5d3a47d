//! Platform billing: what a firm pays for the platform, through the real programs, with Stripe Billing played by the simulator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod asking;
mod events;

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};
use tokio::time::{Instant, sleep};

/// The simulator follows the business clock within a second.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(15);

/// A call of Stripe's own API, as the dashboard or an administrator makes it.
pub async fn stripe(world: &World, path: &str, fields: &[(&str, &str)]) -> Value {
    let form = reqwest::Url::parse_with_params("sim:/", fields).unwrap();
    let answer = reqwest::Client::new()
        .post(format!("{}/v1{path}", world.sim.base()))
        .bearer_auth("sk_test_admin")
        .body(form.query().unwrap_or_default().to_owned())
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let answer: Value = answer.json().await.unwrap();
    assert!(status.is_success(), "{path}: {answer}");
    answer
}

/// Makes a product and a monthly price for each tier, and tells the product (R213).
pub async fn prices(world: &World) {
    for (tier, amount) in [("FREE", "0"), ("PRO", "2900"), ("ENTERPRISE", "9900")] {
        let product = stripe(world, "/products", &[("name", tier)]).await;
        let fields = [
            ("product", product["id"].as_str().unwrap()),
            ("unit_amount", amount),
            ("currency", "usd"),
            ("recurring[interval]", "month"),
        ];
        let price = stripe(world, "/prices", &fields).await;
        let price = price["id"].as_str().unwrap();
        world
            .json(&["platform", "set-price", tier, price, "--reason", "first prices"])
            .await;
    }
}

/// Firms without clients.
pub async fn firms(world: &World, names: &[&str]) {
    let firms: Vec<Value> = names
        .iter()
        .map(|name| json!({"external_id": name, "name": name, "timezone": "UTC", "currency": "usd"}))
        .collect();
    world.import(&json!({ "firms": firms })).await;
}

/// A firm that is a customer with a card; `script` says what the card does. Returns the customer.
pub async fn customer(world: &World, firm: &str, script: &[&str]) -> String {
    let email = format!("billing@{firm}.example");
    let create = [
        "platform", "customer", "create", firm, "--email", &email, "--reason", "signed",
    ];
    world.json(&create).await;
    let customer = format!(
        "select stripe_customer_id from platform_customers where firm_id = {}",
        id_of(firm)
    );
    let customer = world.texts(&customer).await.concat();
    let card = format!("pm_of_{firm}");
    let mut method = json!({ "id": card, "customer": customer });
    if !script.is_empty() {
        method["script"] = json!(script);
    }
    world.sim.tell("/payment_methods", method).await;
    let pays = format!("/customers/{customer}/card");
    world.sim.tell(&pays, json!({ "payment_method": card })).await;
    customer
}

/// Subscribes a firm by command.
pub async fn subscribe(world: &World, firm: &str, tier: &str) -> Value {
    let subscribed = world
        .json(&["platform", "subscribe", firm, tier, "--reason", "signed"])
        .await;
    world.settle().await;
    subscribed
}

/// A world with prices and these firms.
pub async fn stage(names: &[&str]) -> World {
    let world = World::start(WorldOptions::default()).await;
    prices(&world).await;
    firms(&world, names).await;
    world
}

/// SQL of a firm's id.
pub fn id_of(firm: &str) -> String {
    format!("(select id from firms where external_id = '{firm}')")
}

/// Lets time pass, at Stripe too, and waits until everything that follows is done.
pub async fn later(world: &World, duration: &str) {
    world.advance(duration).await;
    let deadline = Instant::now() + FOLLOWS_WITHIN;
    loop {
        let ours = world.count("select offset_ms from clock").await;
        let theirs = world.sim.get("/clock").await.unwrap();
        if theirs["offset_ms"] == ours {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the simulator's clock stands at {theirs}"
        );
        sleep(Duration::from_millis(20)).await;
    }
    world.settle_within(Duration::from_secs(90)).await;
}

/// `ACTIVE PRO active`: what we have of a firm's subscription.
pub async fn standing(world: &World, firm: &str) -> String {
    let sql = format!(
        "select status || ' ' || coalesce(tier, 'none') || ' ' || stripe_status from platform_subscriptions where firm_id = {}
          order by created_at desc limit 1",
        id_of(firm)
    );
    world.texts(&sql).await.concat()
}

/// A firm's alerts, oldest first: type, how often it was seen, and whether it is over.
pub async fn alerts(world: &World, firm: &str) -> Vec<String> {
    let sql = format!(
        "select alert_type || ' ' || occurrences || case when is_resolved then ' over' else '' end from alerts where firm_id = {}
          order by created_at, alert_type",
        id_of(firm)
    );
    world.texts(&sql).await
}

/// Our invoices of a firm against Stripe's: number, status, amounts, in one form.
pub async fn assert_invoices_are_stripes(world: &World, firm: &str) -> usize {
    let customer = format!(
        "select stripe_customer_id from platform_customers where firm_id = {}",
        id_of(firm)
    );
    let customer = world.texts(&customer).await.concat();
    let ours = format!(
        "select stripe_invoice_id || ' ' || stripe_status || ' ' || amount_due_minor || ' ' || amount_paid_minor || ' ' || currency
           from platform_invoices where firm_id = {} order by 1",
        id_of(firm)
    );
    let ours = world.texts(&ours).await;
    let billing = world.sim.get("/billing").await.unwrap();
    let of_firm = billing["invoices"].as_array().unwrap().iter();
    let mut theirs: Vec<String> = of_firm
        .filter(|invoice| invoice["customer"] == customer)
        .map(|invoice| {
            let text = |name: &str| invoice[name].as_str().unwrap();
            format!(
                "{} {} {} {} {}",
                text("id"),
                text("status"),
                invoice["amount_due"],
                invoice["amount_paid"],
                text("currency")
            )
        })
        .collect();
    theirs.sort();
    assert_eq!(ours, theirs, "{firm}");
    ours.len()
}
