//! Who takes part in a story: clients with one card and one invoice each, which is collected as soon as it is imported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use chrono::DateTime;
use serde_json::{Value, json};
use tests::world::{World, wall_clock_secs};

/// What every invoice is about, in minor units.
pub const AMOUNT_MINOR: i64 = 10_000;

/// A client with a card and an invoice of 100.00 dollars, all named after it.
#[derive(Clone, Debug)]
pub struct Payer {
    /// Its name: letters and digits, part of all its ids.
    pub name: String,
    /// External id of its firm.
    pub firm: String,
    /// Its customer at Stripe.
    pub customer: String,
    /// Its card at Stripe.
    pub card: String,
}

impl Payer {
    /// The only client of a firm of its own, so that all that is known of it can be compared with another's.
    pub fn alone(name: &str) -> Self {
        Self::of(&format!("firm-{name}"), name)
    }

    /// A client of this firm.
    pub fn of(firm: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            firm: firm.to_owned(),
            customer: format!("cus_{name}"),
            card: format!("pm_{name}"),
        }
    }

    /// `count` clients of one firm.
    pub fn crowd(firm: &str, count: usize) -> Vec<Self> {
        (0..count)
            .map(|n| Self::of(firm, &format!("{firm}{n:04}")))
            .collect()
    }

    /// SQL that picks this payer's invoice id.
    pub fn invoice_sql(&self) -> String {
        format!(
            "(select id from invoices where external_id = 'inv-{}')",
            self.name
        )
    }

    /// The one-word status of its invoice.
    pub async fn status(&self, world: &World) -> String {
        let sql = format!(
            "select status from invoice_status where id = {}",
            self.invoice_sql()
        );
        world.texts(&sql).await.concat()
    }

    /// Everything that is known of a payer that is alone in its firm, with its name taken out.
    pub async fn state(&self, world: &World) -> String {
        world.state_text_of(&self.firm).await.replace(&self.name, "NAME")
    }

    /// Its PaymentIntent, which must be the only one.
    pub async fn intent(&self, world: &World) -> String {
        let books = world.sim.books().await.unwrap();
        let mut intents = books["by_payment_intent"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, intent)| intent["customer"] == self.customer)
            .map(|(id, _)| id.clone());
        let intent = intents.next().expect("a PaymentIntent");
        assert_eq!(intents.next(), None, "a second PaymentIntent of {}", self.name);
        intent
    }
}

/// The import document of these payers. Every invoice is dated today.
pub fn document(payers: &[Payer]) -> Value {
    let today = DateTime::from_timestamp(wall_clock_secs(), 0)
        .unwrap()
        .date_naive();
    let due = today + chrono::Days::new(30);
    let mut firms: Vec<&str> = payers.iter().map(|payer| payer.firm.as_str()).collect();
    firms.sort_unstable();
    firms.dedup();
    let rows = |row: &dyn Fn(&Payer) -> Value| payers.iter().map(row).collect::<Vec<_>>();
    json!({
        "firms": firms.iter().map(|firm| json!({
            "external_id": firm, "name": firm, "timezone": "UTC", "currency": "usd",
        })).collect::<Vec<_>>(),
        "clients": rows(&|payer| json!({
            "external_id": payer.name, "firm": payer.firm, "name": payer.name, "stripe_customer_id": payer.customer,
            "payment_methods": [{
                "stripe_payment_method_id": payer.card, "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2035,
            }],
            "autopay": { "enabled": true, "payment_method": payer.card },
        })),
        "engagements": rows(&|payer| json!({
            "external_id": format!("eng-{}", payer.name), "client": payer.name, "pricing_mode": "hourly", "currency": "usd",
            "hourly_rate": "150.00", "starts_on": today, "signed": true,
        })),
        "invoices": rows(&|payer| json!({
            "external_id": format!("inv-{}", payer.name), "client": payer.name,
            "engagement": format!("eng-{}", payer.name), "currency": "usd", "issue_date": today, "due_date": due,
            "autopay_opt_in": true,
            "lines": [{ "kind": "hourly", "description_code": "hours", "amount": "100.00" }],
        })),
    })
}

/// Gives all payers a card that behaves like this, and imports them: their invoices are being collected from now on.
pub async fn enter(world: &World, payers: &[Payer], script: &[&str]) {
    for payer in payers {
        world
            .sim
            .customer_with_card(&payer.customer, &payer.card, script)
            .await
            .unwrap();
    }
    world.import(&document(payers)).await;
}

/// Every event of Stripe's about a payer, oldest first.
pub async fn events_of(world: &World, payer: &Payer) -> Vec<Value> {
    let intent = payer.intent(world).await;
    let about = |event: &Value| {
        let object = &event["data"]["object"];
        object["id"] == intent.as_str() || object["payment_intent"] == intent.as_str()
    };
    let mut events = world.sim.events().await.unwrap();
    events.retain(about);
    events
}

/// Delivers an event once more, as Stripe would; it must be accepted.
pub async fn deliver(world: &World, event: &Value) {
    let id = event["id"].as_str().unwrap();
    let told = world
        .sim
        .post(&format!("/events/{id}/deliver"), json!({}))
        .await
        .unwrap();
    assert_eq!(told["attempts"][0]["status"], 200, "{told}");
}

/// All orders of `items`.
pub fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let head = rest.remove(first);
        all.extend(permutations(&rest).into_iter().map(|mut tail| {
            tail.insert(0, head.clone());
            tail
        }));
    }
    all
}
