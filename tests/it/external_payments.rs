//! Money that comes by other means than the card while the card is being charged (B-10), and money that nothing was owed for.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::{accounts, acme};

async fn record(world: &World, client: &str, amount: &str, reference: &str) -> tests::world::CliOutput {
    let invoice = format!("{client}-1");
    world
        .cli(&[
            "invoice",
            "pay-external",
            &invoice,
            "--amount",
            amount,
            "--reference",
            reference,
            "--json",
        ])
        .await
}

#[tokio::test]
async fn s4_charges_only_what_is_open_after_an_external_part_payment() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["partly", "fully", "over"];
    acme::open_accounts(
        &world,
        &clients.map(|client| (client, &["insufficient_funds"][..])),
    )
    .await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    for (client, amount) in [("partly", "400.00"), ("fully", "1000"), ("over", "1000.01")] {
        let recorded = record(&world, client, amount, &format!("transfer of {client}")).await;
        assert_eq!(recorded.code, 0, "{recorded}");
    }
    world.settle().await;
    // Paid in full, its intent is canceled at once and not when the next step is due.
    for client in ["fully", "over"] {
        assert_eq!(
            acme::intent(&world, client).await.1["status"],
            "canceled",
            "{client}"
        );
    }
    world.advance("3d").await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("partly", "paid succeeded: auto 0 declined, retry 1 succeeded"),
            ("fully", "paid canceled: auto 0 declined"),
            ("over", "paid canceled: auto 0 declined"),
        ],
    )
    .await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 60_000);
    accounts::assert_balances(
        &world,
        &[
            ("client_credit", -1),
            ("external_cash", 240_001),
            ("revenue_hourly", -300_000),
            ("stripe_clearing", 60_000),
        ],
    )
    .await;
    accounts::assert_sound(&world).await;
}

/// A transfer of the whole amount meets the card at each step of a charge: what the card captures all the same is the
/// client's credit, and a person is told.
#[tokio::test]
async fn b10_a_transfer_at_each_step_of_a_charge_is_never_lost_and_never_doubled() {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60,
        concurrency: 16,
        ..WorldOptions::default()
    })
    .await;
    let confirm = "/v1/payment_intents/*/confirm";
    for (held, (client, path, kind)) in (1..).zip([
        ("before_create", "/v1/payment_intents", "hold_before"),
        ("created", "/v1/payment_intents", "hold_after"),
        ("before_confirm", confirm, "hold_before"),
        ("captured", confirm, "hold_after"),
        ("half", confirm, "hold_before"),
    ]) {
        let fault = json!({ "method": "POST", "path": path, "kind": kind });
        world.sim.fault(fault).await.unwrap();
        acme::open_accounts(&world, &[(client, &[][..])]).await;
        acme::bill(&world, &[client], "usd", "100.00").await;
        world.until_held(held).await;
    }
    for (client, amount) in [
        ("before_create", "100.00"),
        ("created", "100.00"),
        ("before_confirm", "100.00"),
        ("captured", "100.00"),
        ("half", "50.00"),
    ] {
        let recorded = record(&world, client, amount, &format!("transfer of {client}")).await;
        assert_eq!(recorded.code, 0, "{recorded}");
    }
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("before_create", "paid canceled: auto 0 canceled"),
            ("created", "paid canceled: auto 0 canceled"),
            ("before_confirm", "paid succeeded: auto 0 succeeded"),
            ("captured", "paid succeeded: auto 0 succeeded"),
            ("half", "paid succeeded: auto 0 succeeded"),
        ],
    )
    .await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 30_000);
    let credit = world
        .texts(
            "select c.external_id || ' ' || l.source || ' ' || l.amount_minor from credit_lots l join clients c on c.id = l.client_id order by 1",
        )
        .await;
    assert_eq!(
        credit,
        [
            "before_confirm overpayment 10000",
            "captured overpayment 10000",
            "half overpayment 5000"
        ]
    );
    let told = world
        .texts(
            "select c.external_id || ' ' || (a.meta ->> 'amount_minor') from audit_events a
               join invoices i on i.id = a.subject_id join clients c on c.id = i.client_id
              where a.action = 'payment.resolved' and a.severity = 'critical' and a.meta ->> 'note' = 'money_unapplied' order by 1",
        )
        .await;
    assert_eq!(told, ["before_confirm 10000", "captured 10000", "half 5000"]);
    let issued = "select count(*) from audit_events where action = 'credit.issued'";
    assert_eq!(world.count(issued).await, 3);
    let alerts = "select count(*) from alerts where dedupe_key like 'late\\_money:%' and severity = 'critical' and not is_resolved";
    assert_eq!(world.count(alerts).await, 3);
    accounts::assert_sound(&world).await;
}

/// Money that comes by card for an invoice that is void: recorded, and the client's to keep or to get back.
#[tokio::test]
async fn b11_money_for_a_void_invoice_is_the_clients_credit_and_a_person_is_told() {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60,
        ..WorldOptions::default()
    })
    .await;
    let hold = json!({ "method": "POST", "path": "/v1/payment_intents", "kind": "hold_after" });
    world.sim.fault(hold).await.unwrap();
    acme::open_accounts(&world, &[("globex", &[][..])]).await;
    acme::bill(&world, &["globex"], "usd", "100.00").await;
    world.until_held(1).await;
    // Void at once, as nothing was sent; and then the client pays the intent that we do not know of yet.
    let voided = world
        .json(&["invoice", "void", "globex-1", "--reason", "billed twice"])
        .await;
    assert_eq!(voided["state"], "void");
    let (intent, _) = acme::intent(&world, "globex").await;
    let order = json!({ "payment_method": "pm_card_visa", "outcome": "succeed" });
    world
        .sim
        .post(&format!("/payment_intents/{intent}/pay"), order)
        .await
        .unwrap();
    world.sim.release().await.unwrap();
    world.settle().await;
    assert_eq!(
        world.texts("select doc_state from invoices").await.concat()
            + &world.texts("select source from credit_lots").await.concat(),
        "voidpayment_unapplied"
    );
    accounts::assert_balances(&world, &[("client_credit", -10_000), ("stripe_clearing", 10_000)]).await;
    let alerts = world.json(&["alert", "list"]).await;
    let alerts = alerts["data"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "one failure, one alert: {alerts:?}");
    assert_eq!(alerts[0]["alert_type"], "DRIFT_DETECTED");
    let shown = world.json(&["client", "show", "globex"]).await;
    assert_eq!(shown["credit"], json!([{ "currency": "usd", "minor": 10_000 }]));
    assert_eq!(
        (
            &shown["unapplied"][0]["amount_minor"],
            &shown["unapplied"][0]["source"]
        ),
        (&json!(10_000), &json!("payment_unapplied"))
    );
    let told =
        "select count(*) from audit_events where severity = 'critical' and action = 'payment.resolved'";
    assert!(world.count(told).await > 0);
    acme::assert_books_agree_but_for(&world, &["globex"]).await;
    accounts::assert_sound(&world).await;
}

#[tokio::test]
async fn b10_a_reference_is_recorded_once_and_names_one_payment() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(
        &world,
        &[("globex", &["lost_card"][..]), ("initech", &["lost_card"])],
    )
    .await;
    acme::bill(&world, &["globex", "initech"], "usd", "100.00").await;
    world.settle().await;
    // 16 times at once, once on record.
    let again: Vec<Value> =
        futures::future::join_all((0..16).map(|_| record(&world, "globex", "60.00", "T-1")))
            .await
            .iter()
            .map(|output| output.json().unwrap()["recorded"].clone())
            .collect();
    assert_eq!(
        again.iter().filter(|recorded| **recorded == true).count(),
        1,
        "{again:?}"
    );
    for (client, amount) in [("globex", "60.01"), ("initech", "60.00")] {
        let refused = record(&world, client, amount, "T-1").await;
        assert_eq!(refused.code, 4, "{refused}");
        assert_eq!(refused.json().unwrap()["error"]["code"], "reference_taken");
    }
    assert_eq!(world.count("select sum(amount_minor) from payments").await, 6_000);
    let twice = accounts::run(
        &world,
        "insert into payments (firm_id, id, client_id, invoice_id, method, external_ref, amount_minor, currency, received_at, recorded_at, cause)
         select firm_id, gen_random_uuid(), client_id, invoice_id, method, external_ref, amount_minor, currency, received_at, recorded_at, cause from payments",
    )
    .await;
    assert!(twice.unwrap_err().contains("duplicate key"));

    let dated = world
        .json(&[
            "invoice",
            "pay-external",
            "globex-1",
            "--amount",
            "1",
            "--reference",
            "T-2",
            "--received-on",
            "2026-01-31",
        ])
        .await;
    assert_eq!(
        (&dated["credit_minor"], &dated["open_minor"]),
        (&json!(0), &json!(3_900))
    );
    let received = "select to_char(received_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') from payments where external_ref = 'T-2'";
    assert_eq!(world.texts(received).await, ["2026-01-31 00:00"]);
    for (name, arguments) in [
        (
            "future",
            [
                "--amount",
                "1",
                "--reference",
                "T-3",
                "--received-on",
                "2099-01-01",
            ],
        ),
        (
            "nothing",
            [
                "--amount",
                "0",
                "--reference",
                "T-3",
                "--received-on",
                "2026-01-01",
            ],
        ),
        (
            "fraction",
            [
                "--amount",
                "1.001",
                "--reference",
                "T-3",
                "--received-on",
                "2026-01-01",
            ],
        ),
        (
            "nameless",
            ["--amount", "1", "--reference", "", "--received-on", "2026-01-01"],
        ),
    ] {
        let mut command = vec!["invoice", "pay-external", "globex-1"];
        command.extend(arguments);
        assert_eq!(world.cli(&command).await.code, 2, "{name}");
    }
    world
        .json(&["invoice", "void", "initech-1", "--reason", "billed twice"])
        .await;
    let void = record(&world, "initech", "1", "T-4").await;
    assert_eq!(
        (void.code, &void.json().unwrap()["error"]["code"]),
        (4, &json!("already_void"))
    );
    accounts::assert_sound(&world).await;
}

/// A transfer that comes while the invoice is being voided: the void is taken back.
#[tokio::test]
async fn b11_a_transfer_comes_before_the_void() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["processing"][..])]).await;
    acme::bill(&world, &["globex"], "usd", "100.00").await;
    world.settle().await;
    world
        .json(&[
            "invoice",
            "void",
            "globex-1",
            "--reason",
            "billed twice",
            "--no-wait",
        ])
        .await;
    acme::pay_by_bank(&world, "globex", 10_000).await;
    assert_eq!(world.texts("select doc_state from invoices").await, ["issued"]);
    let rejected = "select count(*) from audit_events where action = 'invoice.void_rejected'";
    assert_eq!(world.count(rejected).await, 1);
    let (intent, _) = acme::intent(&world, "globex").await;
    let settle = format!("/payment_intents/{intent}/settle");
    world
        .sim
        .post(&settle, json!({ "outcome": "succeed" }))
        .await
        .unwrap();
    world.settle().await;
    // Both came: the invoice is paid once, and the rest is credit.
    accounts::assert_balances(
        &world,
        &[
            ("client_credit", -10_000),
            ("external_cash", 10_000),
            ("revenue_hourly", -10_000),
            ("stripe_clearing", 10_000),
        ],
    )
    .await;
    accounts::assert_sound(&world).await;
}
