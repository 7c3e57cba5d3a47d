//! Acme, the firm of the money stories: its clients with their cards and invoices, and what became of them.
//!
//! A client is known by one name everywhere: `globex` has the customer `cus_globex`, the card `pm_globex`, the engagement
//! `globex-work` and the invoice `globex-1`. What a story asserts it reads in Stripe's books and in our rows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{Switch, World, WorldOptions};
use tokio::time::Instant;

/// Business time that passes between two looks of [`wait_for`]: longer than what a failed call waits for its next turn.
const STEP: &str = "2m";
/// Real time that [`wait_for`] takes at most: what comes late has long come by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// One second of patience with Stripe, so that calls which take longer are given up.
pub fn impatient() -> WorldOptions {
    WorldOptions {
        stripe_timeout_secs: 1,
        ..WorldOptions::default()
    }
}

/// Customers with a card each, at Stripe; the script says what the card does, charge by charge.
pub async fn open_accounts(world: &World, cards: &[(&str, &[&str])]) {
    for (client, script) in cards {
        let (customer, card) = (format!("cus_{client}"), format!("pm_{client}"));
        world
            .sim
            .customer_with_card(&customer, &card, script)
            .await
            .unwrap();
    }
}

/// As [`open_accounts`], with cards that all behave like this.
pub async fn open_alike(world: &World, clients: &[&str], script: &[&str]) {
    let cards: Vec<(&str, &[&str])> = clients.iter().map(|client| (*client, script)).collect();
    open_accounts(world, &cards).await;
}

/// A document with these clients, whose cards pay automatically, and nothing else.
pub fn document(clients: &[&str]) -> Value {
    json!({
        "firms": [{ "external_id": "acme", "name": "Acme Advisory", "timezone": "UTC", "currency": "usd" }],
        "clients": clients.iter().map(|client| self::client(client)).collect::<Vec<_>>(),
    })
}

/// A client of Acme's as a document has it.
pub fn client(client: &str) -> Value {
    let card = format!("pm_{client}");
    json!({
        "external_id": client, "firm": "acme", "name": client, "stripe_customer_id": format!("cus_{client}"),
        "payment_methods": [{ "stripe_payment_method_id": card }],
        "autopay": { "enabled": true, "payment_method": card },
    })
}

/// Imports an invoice for each of these clients, which is charged at once.
pub async fn bill(world: &World, clients: &[&str], currency: &str, amount: &str) {
    world
        .import(&with_invoices(document(clients), clients, currency, amount))
        .await;
}

/// The same, in dollars, for clients that are imported already and stay as they are.
pub async fn bill_as_known(world: &World, clients: &[&str], amount: &str) {
    world
        .import(&with_invoices(json!({}), clients, "usd", amount))
        .await;
}

/// A document with an engagement and an invoice for each of these clients.
fn with_invoices(mut document: Value, clients: &[&str], currency: &str, amount: &str) -> Value {
    let each =
        |item: &dyn Fn(&str) -> Value| Value::Array(clients.iter().map(|client| item(client)).collect());
    document["engagements"] = each(&|client| {
        json!({
            "external_id": format!("{client}-work"), "client": client, "pricing_mode": "hourly", "currency": currency,
            "hourly_rate": "100", "starts_on": "2020-01-01", "signed": true,
        })
    });
    document["invoices"] = each(&|client| invoice(client, 1, currency, amount));
    document
}

/// Clients who owe a thousand dollars each and had no funds when they were charged: the next try is due in three days, and
/// will succeed.
pub async fn bill_in_vain(world: &World, clients: &[&str]) {
    open_alike(world, clients, &["insufficient_funds"]).await;
    bill(world, clients, "usd", "1000.00").await;
    world.settle().await;
}

/// Imports a second invoice, in dollars, for a client that has one.
pub async fn bill_again(world: &World, client: &str, amount: &str) {
    world
        .import(&json!({ "invoices": [invoice(client, 2, "usd", amount)] }))
        .await;
}

fn invoice(client: &str, number: u32, currency: &str, amount: &str) -> Value {
    json!({
        "external_id": format!("{client}-{number}"), "client": client, "engagement": format!("{client}-work"),
        "currency": currency, "issue_date": "2020-01-01", "due_date": "2099-12-31", "autopay_opt_in": true,
        "lines": [{ "kind": "hourly", "amount": amount }],
    })
}

/// Nothing generates invoices but the story itself. A full hour that passes meanwhile would.
pub async fn bill_by_hand_only(world: &World) {
    world.switch("generate_package_invoices", Switch::Off).await;
}

/// Today by the business clock, in UTC.
pub async fn today(world: &World) -> String {
    let mut today = world
        .texts("select (app.now() at time zone 'UTC')::date::text")
        .await;
    today.remove(0)
}

/// Moves the clock to the time that an SQL expression gives, and lets the world settle.
pub async fn go_to(world: &World, time: &str) {
    let format = r#"YYYY-MM-DD"T"HH24:MI:SS.US"Z""#;
    let mut times = world
        .texts(&format!(
            "select to_char(({time}) at time zone 'UTC', '{format}')"
        ))
        .await;
    world.json(&["clock", "set", &times.remove(0)]).await;
    world.settle().await;
}

/// Gives a client another card, by an import.
pub async fn replace_card(world: &World, client: &str, card: &str, script: &[&str]) {
    let customer = format!("cus_{client}");
    world
        .sim
        .customer_with_card(&customer, card, script)
        .await
        .unwrap();
    use_card(world, client, card).await;
}

/// Has a client's automatic payment use a card, whether or not Stripe knows it, by an import.
pub async fn use_card(world: &World, client: &str, card: &str) {
    let mut document = document(&[client]);
    document["clients"][0]["payment_methods"] = json!([{ "stripe_payment_method_id": card }]);
    document["clients"][0]["autopay"]["payment_method"] = card.into();
    world.import(&document).await;
}

/// Switches a client's automatic payment on or off, by an import.
pub async fn switch_autopay(world: &World, client: &str, autopay: Autopay) {
    let mut document = document(&[client]);
    if autopay == Autopay::Off {
        document["clients"][0]["autopay"] = json!({ "enabled": false });
    }
    world.import(&document).await;
}

/// What [`switch_autopay`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autopay {
    /// With the client's own card.
    On,
    /// Nothing is collected any more.
    Off,
}

/// A transfer to the firm's bank account, recorded by hand.
pub async fn pay_by_bank(world: &World, client: &str, minor: i64) {
    let (invoice, amount) = (
        format!("{client}-1"),
        format!("{}.{:02}", minor / 100, minor % 100),
    );
    let reference = format!("transfer of {minor} by {client}");
    let recorded = world
        .json(&[
            "invoice",
            "pay-external",
            &invoice,
            "--amount",
            &amount,
            "--reference",
            &reference,
        ])
        .await;
    assert_eq!(recorded["recorded"], true);
}

/// Has the workers charge whatever is due, which is nothing.
pub async fn assert_nothing_is_due(world: &World) {
    let run = world.json(&["process-recurring-charges"]).await;
    assert_eq!(run["charged"], json!([]));
    world.settle().await;
}

/// What became of a client's invoices: status, state of its collection, and every attempt by trigger, step and state:
/// `failed retry_wait: auto 0 declined`.
pub async fn outcome(world: &World, client: &str) -> String {
    let invoices = world
        .texts(&format!(
            "select s.status || ' ' || s.autopay_state || coalesce(': ' || (
                      select string_agg(format('%s %s %s', a.trigger, a.step, a.state), ', ' order by y.seq, a.seq)
                        from collection_cycles y join payment_attempts a on a.cycle_id = y.id
                       where y.invoice_id = i.id), '')
               from invoices i join invoice_status s on s.id = i.id join clients c on c.id = i.client_id
              where c.external_id = '{client}' order by i.issued_at, i.number"
        ))
        .await;
    invoices.join("; ")
}

/// Compares [`outcome`] for several clients at once, and shows all of them where one differs.
pub async fn assert_outcomes(world: &World, wanted: &[(&str, &str)]) {
    let mut found = Vec::new();
    for (client, _) in wanted {
        found.push((*client, outcome(world, client).await));
    }
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(client, text)| (*client, text.as_str()))
        .collect();
    assert_eq!(found, wanted);
}

/// Lets the world settle, and minutes of business time pass, until every one of these clients' invoices has this status.
pub async fn wait_for(world: &World, clients: &[&str], status: &str) {
    let listed = clients.join("', '");
    let others = format!(
        "select c.external_id || ' ' || s.status || ' ' || s.autopay_state from invoice_status s
           join invoices i on i.id = s.id join clients c on c.id = i.client_id
          where c.external_id in ('{listed}') and s.status <> '{status}' order by 1"
    );
    let deadline = Instant::now() + PATIENCE;
    loop {
        world.settle().await;
        let others = world.texts(&others).await;
        if others.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "not {status}: {others:?}");
        world.advance(STEP).await;
    }
}

/// Makes every call so far older in real time: old enough for a lookup that shows nothing to prove that it had no effect.
/// No story waits for that, and the business clock does not bring it about.
pub async fn age_calls(world: &World) {
    let mut tx = world.db.begin().await.unwrap();
    for statement in [
        "set local session_replication_role = replica", // or the guard would refuse it
        "update payment_attempts set real_sent_at = real_sent_at - interval '2 minutes'",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Stops confirmations at Stripe, `hold_before` or `hold_after` they take effect, until they are released.
pub async fn hold_confirmations(world: &World, kind: &str, times: u32) {
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": kind, "times": times });
    world.sim.fault(hold).await.unwrap();
}

/// Makes the next confirmation of a client's PaymentIntent go wrong; the fault comes without its path.
pub async fn spoil_confirmation(world: &World, client: &str, mut fault: Value) {
    let (intent, _) = self::intent(world, client).await;
    fault["path"] = format!("/v1/payment_intents/{intent}/confirm").into();
    world.sim.fault(fault).await.unwrap();
}

/// Ends a payment that Stripe was processing.
pub async fn end_processing(world: &World, client: &str, outcome: &str) {
    let (intent, _) = self::intent(world, client).await;
    let settle = format!("/payment_intents/{intent}/settle");
    world
        .sim
        .post(&settle, json!({ "outcome": outcome }))
        .await
        .unwrap();
}

/// A client's PaymentIntents at Stripe, oldest first.
pub async fn intents(world: &World, client: &str) -> Vec<String> {
    let books = world.sim.books().await.unwrap();
    let customer = format!("cus_{client}");
    let all = books["by_payment_intent"].as_object().unwrap();
    all.iter()
        .filter(|(_, intent)| intent["customer"] == customer.as_str())
        .map(|(id, _)| id.clone())
        .collect()
}

/// A client's one PaymentIntent and what Stripe's books say of it.
pub async fn intent(world: &World, client: &str) -> (String, Value) {
    let mut ids = intents(world, client).await;
    assert_eq!(ids.len(), 1, "PaymentIntents of {client}: {ids:?}");
    let id = ids.remove(0);
    let intent = world.sim.books().await.unwrap()["by_payment_intent"][&id].clone();
    (id, intent)
}

/// The confirmations of a client's PaymentIntents that reached Stripe, oldest first.
pub async fn confirmations(world: &World, client: &str) -> Vec<Value> {
    let paths: Vec<String> = intents(world, client)
        .await
        .iter()
        .map(|intent| format!("/v1/payment_intents/{intent}/confirm"))
        .collect();
    let calls = world.sim.requests().await.unwrap();
    calls
        .into_iter()
        .filter(|call| paths.iter().any(|path| call["path"] == path.as_str()))
        .collect()
}

/// The creations of PaymentIntents for a client that reached Stripe, oldest first.
pub async fn creations(world: &World, client: &str) -> Vec<Value> {
    let customer = format!("cus_{client}");
    let calls = world.sim.requests().await.unwrap();
    calls
        .into_iter()
        .filter(|call| {
            call["path"] == "/v1/payment_intents" && call["params"]["customer"] == customer.as_str()
        })
        .collect()
}

/// Every charge that Stripe captured is a payment of ours and the other way round, no intent was captured twice, no
/// invoice was paid twice, and the refunds agree.
pub async fn assert_books_agree(world: &World) {
    assert_books_agree_but_for(world, &[]).await;
}

/// As [`assert_books_agree`], but these clients may have paid more than their invoices came to.
pub async fn assert_books_agree_but_for(world: &World, overpaid: &[&str]) {
    let books = world.sim.books().await.unwrap();
    let mut captured = Vec::new();
    for (id, intent) in books["by_payment_intent"].as_object().unwrap() {
        let charges = intent["charges"].as_array().unwrap();
        let succeeded: Vec<&Value> = charges
            .iter()
            .filter(|charge| charge["status"] == "succeeded")
            .collect();
        assert!(succeeded.len() <= 1, "{id} was captured twice: {charges:?}");
        captured.extend(succeeded.iter().map(|charge| {
            format!(
                "{} {} {}",
                charge["id"].as_str().unwrap(),
                charge["amount"],
                intent["currency"].as_str().unwrap()
            )
        }));
    }
    captured.sort();
    let recorded = world
        .texts("select format('%s %s %s', stripe_charge_id, amount_minor, currency) from payments where method = 'stripe' order by 1")
        .await;
    assert_eq!(recorded, captured, "payments here and charges at Stripe");
    let paid_twice = world
        .texts(&format!(
            "select i.number from invoices i join invoice_status s on s.id = i.id join clients c on c.id = i.client_id
              where s.paid_minor > i.total_minor and c.external_id <> all (string_to_array('{}', ' '))",
            overpaid.join(" ")
        ))
        .await;
    assert!(
        paid_twice.is_empty(),
        "paid more than their total: {paid_twice:?}"
    );
    let refunded: Vec<String> = books["refunded_minor"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(currency, minor)| format!("{currency} {minor}"))
        .collect();
    let recorded = world
        .texts("select format('%s %s', currency, sum(amount_minor)) from refunds where state = 'succeeded' and destination = 'card' group by currency order by 1")
        .await;
    assert_eq!(recorded, refunded, "refunds here and at Stripe");
}
