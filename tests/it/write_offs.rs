//! Writing off what is open on an invoice, and what becomes of money that comes all the same.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::json;
use tests::world::{World, WorldOptions};

use crate::{accounts, acme};

async fn write_off(world: &World, client: &str) -> serde_json::Value {
    let invoice = format!("{client}-1");
    world
        .json(&["invoice", "write-off", &invoice, "--reason", "insolvent"])
        .await
}

async fn pay(world: &World, client: &str) {
    let (intent, _) = acme::intent(world, client).await;
    let order = json!({ "payment_method": "pm_card_visa", "outcome": "succeed" });
    world
        .sim
        .post(&format!("/payment_intents/{intent}/pay"), order)
        .await
        .unwrap();
}

async fn document_states(world: &World) -> Vec<String> {
    world
        .texts(
            "select c.external_id || ' ' || i.doc_state || coalesce(' ' || i.fenced_reason, '') || ' ' || s.open_minor
               from invoices i join clients c on c.id = i.client_id join invoice_status s on s.id = i.id order by 1",
        )
        .await
}

/// A19, R115: what is written off is charged no more, and counts as paid by what comes later.
#[tokio::test]
async fn b11_money_that_comes_after_a_write_off_opens_the_invoice_again_and_pays_it() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["gone", "pays_late", "transfers", "transfers_more"];
    acme::open_accounts(
        &world,
        &clients.map(|client| (client, &["insufficient_funds", "succeed"][..])),
    )
    .await;
    acme::bill(&world, &clients, "usd", "100.00").await;
    world.settle().await;
    // The one who pays late does so before Stripe hears of the cancellation.
    let (pays_late, _) = acme::intent(&world, "pays_late").await;
    let path = format!("/v1/payment_intents/{pays_late}/cancel");
    world
        .sim
        .fault(json!({ "path": path, "kind": "hold_before" }))
        .await
        .unwrap();
    for client in clients {
        let ended = write_off(&world, client).await;
        assert_eq!(
            (&ended["state"], &ended["open_minor"]),
            (&json!("written_off"), &json!(0)),
            "{client}"
        );
    }
    world.until_held(1).await;
    accounts::assert_balances(&world, &[("revenue_hourly", -40_000), ("write_off", 40_000)]).await;

    pay(&world, "pays_late").await;
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::pay_by_bank(&world, "transfers", 4_000).await;
    acme::pay_by_bank(&world, "transfers_more", 12_000).await;
    // Nothing is charged again: not what was given up, and not what is left of what was opened again.
    world.advance("31d").await;
    world.settle().await;
    assert_eq!(
        document_states(&world).await,
        [
            "gone written_off written_off 0",
            "pays_late issued written_off 0",
            "transfers issued written_off 6000",
            "transfers_more issued written_off 0",
        ]
    );
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 10_000);
    for client in ["gone", "transfers"] {
        assert_eq!(
            acme::intent(&world, client).await.1["status"],
            "canceled",
            "{client}"
        );
    }
    accounts::assert_balances(
        &world,
        &[
            ("client_credit", -2_000),
            ("external_cash", 16_000),
            ("receivable", 6_000),
            ("revenue_hourly", -40_000),
            ("stripe_clearing", 10_000),
            ("write_off", 10_000),
        ],
    )
    .await;
    let told = world
        .texts("select action || ' ' || count(*) from audit_events where action in ('invoice.written_off', 'invoice.reopened') group by action order by 1")
        .await;
    assert_eq!(told, ["invoice.reopened 3", "invoice.written_off 4"]);
    // The rest can be given up again.
    assert_eq!(write_off(&world, "transfers").await["state"], "written_off");
    accounts::assert_sound(&world).await;
}

/// While a charge is under way it is given up first: what comes of it decides.
#[tokio::test]
async fn b11_a_write_off_waits_for_a_charge_that_is_under_way() {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60,
        ..WorldOptions::default()
    })
    .await;
    let clients = ["captured", "declined"];
    acme::open_accounts(
        &world,
        &[("captured", &[][..]), ("declined", &["insufficient_funds"])],
    )
    .await;
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_before", "times": 2 });
    world.sim.fault(hold).await.unwrap();
    acme::bill(&world, &clients, "usd", "100.00").await;
    world.until_held(2).await;
    let impatient = world
        .cli(&[
            "invoice",
            "write-off",
            "declined-1",
            "--reason",
            "insolvent",
            "--no-wait",
        ])
        .await;
    assert_eq!(impatient.code, 75, "{impatient}");
    let ask = |invoice| {
        let command = ["invoice", "write-off", invoice, "--reason", "insolvent", "--json"];
        let world = &world;
        async move { world.cli(&command).await }
    };
    let given_up = "select count(*) from collection_cycles where state = 'canceled'";
    let (captured, declined, ()) = tokio::join!(ask("captured-1"), ask("declined-1"), async {
        world.until(given_up, 2, std::time::Duration::from_secs(10)).await;
        world.sim.release().await.unwrap();
    });
    assert_eq!(captured.code, 4, "{captured}");
    assert_eq!(captured.json().unwrap()["error"]["code"], "money_arrived");
    assert_eq!(declined.code, 0, "{declined}");
    world.settle().await;
    assert_eq!(
        document_states(&world).await,
        ["captured issued 0", "declined written_off written_off 0"]
    );
    accounts::assert_sound(&world).await;
}

/// Every refusal is a sentence and exit code 4, and nothing has changed; the database refuses the same by itself.
#[tokio::test]
async fn r115_what_owes_nothing_or_has_ended_is_not_written_off() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["paid", "disputed", "gone", "void", "busy"];
    acme::open_accounts(
        &world,
        &[
            ("paid", &[][..]),
            ("disputed", &[]),
            ("gone", &["lost_card"]),
            ("void", &["lost_card"]),
            ("busy", &["processing"]),
        ],
    )
    .await;
    acme::bill(&world, &clients, "usd", "100.00").await;
    world.settle().await;
    let (disputed, _) = acme::intent(&world, "disputed").await;
    let order = json!({ "payment_intent": disputed, "kind": "chargeback", "reason": "product_not_received" });
    world.sim.post("/disputes", order).await.unwrap();
    write_off(&world, "gone").await;
    world
        .json(&["invoice", "void", "void-1", "--reason", "billed twice"])
        .await;
    world.settle().await;
    let before = world.state_text().await;
    for (client, code, word) in [
        ("paid", "nothing_open", "nothing open"),
        ("disputed", "open_chargeback", "chargeback"),
        ("gone", "already_written_off", "written off already"),
        ("void", "already_void", "void already"),
    ] {
        let invoice = format!("{client}-1");
        let refused = world
            .cli(&[
                "invoice",
                "write-off",
                &invoice,
                "--reason",
                "insolvent",
                "--json",
            ])
            .await;
        assert_eq!(refused.code, 4, "{refused}");
        let error = &refused.json().unwrap()["error"];
        assert_eq!(error["code"], code, "{client}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(world.state_text().await, before);
    for (client, guard) in [
        ("disputed", "a chargeback of this invoice is open"),
        ("void", "invoice cannot go from void to written_off"),
        ("busy", "a charge of this invoice is under way"),
    ] {
        let sql = format!("update invoices set doc_state = 'written_off' where external_id = '{client}-1'");
        let refused = accounts::run(&world, &sql).await.unwrap_err();
        assert!(refused.contains(guard), "{refused}");
    }
}
