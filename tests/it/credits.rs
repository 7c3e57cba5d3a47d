//! Client credit: given, used up by new invoices, applied by hand, expired; never more than there is, never more than is open.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::world::{CliOutput, World, WorldOptions};

use crate::acme;

/// For a scheduler that looks at the clock once a second.
const TICKS_WITHIN: Duration = Duration::from_secs(20);

/// Gives a client credit, in dollars.
async fn give(world: &World, client: &str, amount: &str, more: &[&str]) -> Value {
    let mut args = vec![
        "credit", "issue", client, "--amount", amount, "--reason", "spring",
    ];
    args.extend(more);
    world.json(&args).await
}

/// What a client may spend in dollars.
async fn balance(world: &World, client: &str) -> i64 {
    let shown = world.json(&["credit", "balance", client]).await;
    assert_eq!(shown["client"], client);
    let balances = shown["balances"].as_array().unwrap();
    let dollars = balances.iter().find(|balance| balance["currency"] == "usd");
    dollars.map_or(0, |balance| balance["minor"].as_i64().unwrap())
}

/// A command that a guard refuses: its code.
async fn refused(world: &World, args: &[&str]) -> String {
    let mut args = args.to_vec();
    args.push("--json");
    let output = world.cli(&args).await;
    assert_eq!(output.code, 4, "{output}");
    code(&output)
}

fn code(output: &CliOutput) -> String {
    output.json().unwrap()["error"]["code"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// R051: every balance is what is left of its lots, and what the ledger owes the client; none is negative; no lot and no
/// invoice was used beyond what it is.
pub async fn assert_credit_adds_up(world: &World) {
    let off = world
        .texts(
            "select format('%s %s: balance %s, lots %s, postings %s', b.client_id, b.currency, b.balance_minor, l.minor, p.minor)
               from credit_balances b
               cross join lateral (select coalesce(sum(remaining_minor), 0) as minor from credit_lot_balances l
                                    where l.client_id = b.client_id and l.currency = b.currency) l
               cross join lateral (select -coalesce(sum(p.amount_minor), 0) as minor from postings p join journals j on j.id = p.journal_id
                                    where j.client_id = b.client_id and p.currency = b.currency and p.account = 'client_credit') p
              where b.balance_minor < 0 or b.balance_minor <> l.minor or b.balance_minor <> p.minor
             union all
             select format('lot %s: %s is left', id, remaining_minor) from credit_lot_balances where remaining_minor < 0
             union all
             select format('invoice %s: %s is open', id, open_minor) from invoice_status where open_minor < 0",
        )
        .await;
    assert_eq!(off, Vec::<String>::new());
}

/// R050, A-17, S4, R113: an invoice is paid from credit when it is issued, imported or generated, and the card is charged for
/// the rest alone; where nothing is left, nothing is collected at all.
#[tokio::test]
async fn a17_s4_new_invoices_use_up_credit_and_the_card_pays_the_rest() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    let clients = ["part", "whole", "none"];
    acme::open_accounts(&world, &clients.map(|client| (client, &[][..]))).await;
    world.import(&acme::document(&clients)).await;
    give(&world, "part", "100.00", &[]).await;
    give(&world, "part", "200.00", &["--expires-on", "2099-01-01"]).await;
    give(&world, "part", "500.00", &["--currency", "eur"]).await;
    give(&world, "whole", "1200.00", &[]).await;
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.settle().await;
    let paid = "paid succeeded: auto 0 succeeded";
    acme::assert_outcomes(&world, &[("part", paid), ("whole", "paid none"), ("none", paid)]).await;
    assert_eq!(acme::intent(&world, "part").await.1["captured"], 70_000);
    assert_eq!(acme::intent(&world, "none").await.1["captured"], 100_000);
    assert!(acme::creations(&world, "whole").await.is_empty());
    assert_eq!(balance(&world, "part").await, 0, "euros pay no dollars");
    assert_eq!(balance(&world, "whole").await, 20_000);
    let shown = world.json(&["invoice", "show", "part-1"]).await;
    let amounts =
        ["total_minor", "paid_minor", "credited_minor", "open_minor"].map(|name| shown[name].clone());
    assert_eq!(amounts, [100_000, 70_000, 30_000, 0].map(|minor| json!(minor)));
    // What expires was used first.
    let lots = world.json(&["credit", "list", "part"]).await;
    let used: Vec<String> = lots["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lot| lot["remaining_minor"].to_string())
        .collect();
    assert_eq!(used, ["50000", "0", "0"], "{lots}");
    let order = world
        .texts(
            "select a.amount_minor::text from credit_applications a join invoices i on i.id = a.invoice_id
                 where i.external_id = 'part-1' order by a.id",
        )
        .await;
    assert_eq!(order, ["20000", "10000"]);

    // A generated invoice does the same.
    let retainer = json!([{
        "external_id": "whole-retainer", "client": "whole", "pricing_mode": "package", "currency": "usd", "package_fee": "500.00",
        "package_fee_schedule": "one_time", "starts_on": acme::today(&world).await, "signed": true,
    }]);
    world.import(&json!({ "engagements": retainer })).await;
    world.json(&["generate-package-invoices"]).await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("whole", &format!("paid none; {paid}"))]).await;
    assert_eq!(acme::intent(&world, "whole").await.1["captured"], 30_000);
    assert_eq!(balance(&world, "whole").await, 0);
    // …and says why.
    let reasons = world
        .texts("select d.outcome || ' ' || d.reason_code from decisions d where d.kind = 'apply_credit' order by 1")
        .await;
    assert_eq!(reasons, ["apply issued", "apply issued", "apply issued"]);
    let told = "select count(*) from audit_events where cause_id <> '' and action =";
    assert_eq!(world.count(&format!("{told} 'credit.issued'")).await, 4);
    assert_eq!(world.count(&format!("{told} 'credit.applied'")).await, 4);
    assert_credit_adds_up(&world).await;
    acme::assert_books_agree(&world).await;
}

/// A-17 is a policy: a firm that applies credit by hand keeps it until somebody does.
#[tokio::test]
async fn a17_a_firm_that_applies_credit_by_hand_charges_the_whole_amount_until_told() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds"])]).await;
    let mut document = acme::document(&["globex"]);
    document["firms"][0]["auto_apply_credit"] = false.into();
    world.import(&document).await;
    give(&world, "globex", "300.00", &[]).await;
    // A document that says nothing about it leaves it as it is.
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    assert_eq!(balance(&world, "globex").await, 30_000);
    let asked = world
        .texts("select amount_minor::text from payment_attempts")
        .await;
    assert_eq!(asked, ["100000"]);
    let decided = world
        .texts("select outcome || ' ' || reason_code from decisions where kind = 'apply_credit'")
        .await;
    assert_eq!(decided, ["skip auto_apply_off"]);
    let applied = world
        .json(&["credit", "apply", "globex-1", "--amount", "120.50"])
        .await;
    assert_eq!(
        (&applied["applied_minor"], &applied["open_minor"]),
        (&json!(12_050), &json!(87_950))
    );
    let applied = world.json(&["credit", "apply", "globex-1"]).await;
    assert_eq!(
        (&applied["applied_minor"], &applied["open_minor"]),
        (&json!(17_950), &json!(70_000))
    );
    world.advance("3d").await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[("globex", "paid succeeded: auto 0 declined, retry 1 succeeded")],
    )
    .await;
    assert_eq!(acme::intent(&world, "globex").await.1["captured"], 70_000);
    assert_credit_adds_up(&world).await;
    acme::assert_books_agree(&world).await;
}

/// S15, B-12, R051, R113: 64 commands at once, each wanting ten dollars of one lot of five hundred for one of several invoices: fifty get
/// them. Then as many that want whatever is open: each invoice is paid once.
#[tokio::test]
async fn s15_b12_64_concurrent_credit_applications_never_overdraw() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    let mut document = acme::document(&["globex"]);
    document["clients"][0]["autopay"] = json!({ "enabled": false });
    document["engagements"] = json!([{
        "external_id": "work", "client": "globex", "pricing_mode": "hourly", "currency": "usd", "hourly_rate": "100",
        "starts_on": "2020-01-01", "signed": true,
    }]);
    document["invoices"] = (0..8)
        .map(|n| {
            json!({
                "external_id": format!("inv-{n}"), "client": "globex", "engagement": "work", "currency": "usd",
                "issue_date": "2020-01-01", "due_date": "2099-12-31", "autopay_opt_in": false,
                "lines": [{ "kind": "hourly", "amount": "100.00" }],
            })
        })
        .collect();
    world.import(&document).await;
    give(&world, "globex", "500.00", &[]).await;
    let invoices: Vec<String> = (0..64).map(|n| format!("inv-{}", n % 8)).collect();
    let ten_each = invoices.iter().map(|invoice| {
        apply(
            &world,
            vec!["credit", "apply", invoice, "--amount", "10.00", "--json"],
        )
    });
    assert_eq!(
        ends(join_all(ten_each).await),
        (50, vec![("no_credit".to_owned(), 14)])
    );
    let applied = "select coalesce(sum(amount_minor), 0) from credit_applications";
    assert_eq!(world.count(applied).await, 50_000);
    assert_eq!(balance(&world, "globex").await, 0);
    assert_credit_adds_up(&world).await;

    // More credit than is open.
    give(&world, "globex", "1000.00", &[]).await;
    let all_of_it = invoices
        .iter()
        .map(|invoice| apply(&world, vec!["credit", "apply", invoice, "--json"]));
    assert_eq!(
        ends(join_all(all_of_it).await),
        (8, vec![("nothing_open".to_owned(), 56)])
    );
    assert_eq!(world.count(applied).await, 80_000);
    assert_eq!(
        world
            .count("select count(*) from invoice_status where status = 'paid'")
            .await,
        8
    );
    assert_eq!(balance(&world, "globex").await, 70_000);
    assert_credit_adds_up(&world).await;
}

/// One of many commands at once.
async fn apply(world: &World, args: Vec<&str>) -> CliOutput {
    world.cli(&args).await
}

/// How many commands did it, and how many were refused for which reason. Nothing else may happen to them.
fn ends(outputs: Vec<CliOutput>) -> (usize, Vec<(String, usize)>) {
    let mut refused = std::collections::BTreeMap::new();
    let mut done = 0;
    for output in outputs {
        match output.code {
            0 => done += 1,
            4 => *refused.entry(code(&output)).or_insert(0) += 1,
            _ => panic!("{output}"),
        }
    }
    (done, refused.into_iter().collect())
}

/// B-10: credit that is applied while an invoice is being collected changes what is charged, or is refused; it never comes on
/// top of a charge.
#[tokio::test]
async fn b10_credit_applied_on_the_way_changes_what_is_charged_or_is_refused() {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60, // nobody gives up while calls are held
        ..WorldOptions::default()
    })
    .await;
    let clients = ["written_down", "sent", "waiting", "covered"];
    let declined = &["insufficient_funds"][..];
    let cards = [&[][..], &[], declined, declined];
    let accounts: Vec<(&str, &[&str])> = clients.into_iter().zip(cards).collect();
    acme::open_accounts(&world, &accounts).await;
    acme::bill(&world, &["waiting", "covered"], "usd", "1000.00").await;
    world.settle().await;
    hold_after(&world, "/v1/payment_intents").await;
    acme::bill(&world, &["written_down"], "usd", "1000.00").await;
    world.until_held(1).await;
    hold_after(&world, "/v1/payment_intents/*/confirm").await;
    acme::bill(&world, &["sent"], "usd", "1000.00").await;
    world.until_held(2).await;

    for client in clients {
        let amount = if client == "covered" { "1000.00" } else { "400.00" };
        give(&world, client, amount, &[]).await;
    }
    for client in ["written_down", "waiting", "covered"] {
        world.json(&["credit", "apply", &format!("{client}-1")]).await;
    }
    assert_eq!(
        refused(&world, &["credit", "apply", "sent-1"]).await,
        "charge_under_way"
    );
    world.sim.release().await.unwrap();
    world.settle().await;
    assert_eq!(
        refused(&world, &["credit", "apply", "sent-1"]).await,
        "nothing_open"
    );
    world.advance("3d").await;
    world.settle().await;

    acme::assert_outcomes(
        &world,
        &[
            (
                "written_down",
                "paid succeeded: auto 0 canceled, auto 0 succeeded",
            ),
            ("sent", "paid succeeded: auto 0 succeeded"),
            ("waiting", "paid succeeded: auto 0 declined, retry 1 succeeded"),
            ("covered", "paid canceled: auto 0 declined"),
        ],
    )
    .await;
    for (client, captured) in [
        ("written_down", 60_000),
        ("sent", 100_000),
        ("waiting", 60_000),
        ("covered", 0),
    ] {
        assert_eq!(
            acme::intent(&world, client).await.1["captured"],
            captured,
            "{client}"
        );
    }
    assert_eq!(acme::intent(&world, "covered").await.1["status"], "canceled");
    assert_eq!(balance(&world, "sent").await, 40_000);
    assert_credit_adds_up(&world).await;
    acme::assert_books_agree(&world).await;
}

/// Stops the next such call after it took effect.
async fn hold_after(world: &World, path: &str) {
    let hold = json!({ "method": "POST", "path": path, "kind": "hold_after" });
    world.sim.fault(hold).await.unwrap();
}

/// a payment of more than is open pays what is open, and the rest is the client's credit, which the next invoice uses.
#[tokio::test]
async fn a17_what_a_payment_is_too_much_becomes_credit_and_pays_the_next_invoice() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds"])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    give(&world, "globex", "400.00", &[]).await;
    world.json(&["credit", "apply", "globex-1"]).await;
    // The customer pays on-session what the intent asked for before.
    let (intent, _) = acme::intent(&world, "globex").await;
    let order = json!({ "payment_method": "pm_card_visa", "outcome": "succeed" });
    world
        .sim
        .post(&format!("/payment_intents/{intent}/pay"), order)
        .await
        .unwrap();
    world.settle().await;
    let shown = world.json(&["invoice", "show", "globex-1"]).await;
    assert_eq!(
        (&shown["status"], &shown["open_minor"]),
        (&json!("paid"), &json!(0))
    );
    assert_eq!(balance(&world, "globex").await, 40_000);
    let lots = world.json(&["credit", "list", "globex", "--limit", "1"]).await;
    let lot = &lots["data"][0];
    assert_eq!(
        (&lot["source"], &lot["amount_minor"]),
        (&json!("overpayment"), &json!(40_000))
    );
    assert_eq!(lot["payment"], shown["payments"][0]["id"]);
    let rest = world
        .json(&[
            "credit",
            "list",
            "globex",
            "--cursor",
            lots["next_cursor"].as_str().unwrap(),
        ])
        .await;
    assert_eq!(
        (rest["data"].as_array().unwrap().len(), &rest["next_cursor"]),
        (1, &Value::Null)
    );
    let told = "select meta ->> 'source' from audit_events where action = 'credit.issued' order by id";
    assert_eq!(world.texts(told).await, ["promotional", "overpayment"]);

    acme::bill_again(&world, "globex", "500.00").await;
    world.settle().await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 110_000);
    assert_eq!(balance(&world, "globex").await, 0);
    assert_credit_adds_up(&world).await;
    acme::assert_books_agree(&world).await;
}

/// R050, A-08, R005, A-32: credit is worth nothing from the firm's own day on; the run of that day writes off what is left, once.
#[tokio::test]
async fn r050_what_is_left_of_credit_expires_on_the_firms_own_day_and_once() {
    const ZONE: &str = "Pacific/Kiritimati";
    let world = World::start(WorldOptions::default()).await;
    let mut document = acme::document(&["globex"]);
    document["firms"][0]["timezone"] = ZONE.into();
    document["clients"][0]["autopay"] = json!({ "enabled": false });
    world.import(&document).await;
    let day = format!("((app.now() at time zone '{ZONE}')::date + 3)");
    let last = world.texts(&format!("select {day}::text")).await.remove(0);
    let midnight = format!("timestamp '{last}' at time zone '{ZONE}'");
    give(&world, "globex", "100.00", &["--expires-on", &last]).await;
    give(&world, "globex", "7.00", &[]).await;
    document["engagements"] = json!([{
        "external_id": "globex-work", "client": "globex", "pricing_mode": "hourly", "currency": "usd", "hourly_rate": "100",
        "starts_on": "2020-01-01", "signed": true,
    }]);
    world.import(&document).await;
    acme::bill_again(&world, "globex", "30.00").await;
    assert_eq!(balance(&world, "globex").await, 7_700);

    acme::go_to(&world, &format!("{midnight} - interval '1 minute'")).await;
    // The run of the day before has been: whoever looks at the clock later would find it too early for this one.
    let run = "select count(*) from jobs where kind = 'expire_credit' and state = 'completed'";
    world.until(run, 1, TICKS_WITHIN).await;
    let before_midnight = json!({ "invoices": [later("globex-3", "10.00")] });
    world.import(&before_midnight).await;
    assert_eq!(balance(&world, "globex").await, 6_700);
    acme::go_to(&world, &format!("{midnight} + interval '1 minute'")).await;
    // Nothing is written off yet, and yet it pays nothing any more: seven dollars are all that there is.
    let after_midnight = json!({ "invoices": [later("globex-4", "20.00")] });
    world.import(&after_midnight).await;
    assert_eq!(balance(&world, "globex").await, 6_000);
    assert_eq!(
        refused(&world, &["credit", "apply", "globex-4"]).await,
        "no_credit"
    );

    acme::go_to(&world, &format!("{midnight} + interval '2 hours 16 minutes'")).await;
    world
        .until("select count(*) from credit_expiries", 1, TICKS_WITHIN)
        .await;
    world.settle().await;
    assert_eq!(balance(&world, "globex").await, 0);
    let lots = world.json(&["credit", "list", "globex"]).await;
    let left: Vec<String> = lots["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lot| {
            format!(
                "{} used, {} expired, {} left",
                lot["applications"].as_array().unwrap().len(),
                lot["expired_minor"],
                lot["remaining_minor"]
            )
        })
        .collect();
    assert_eq!(
        left,
        ["1 used, 0 expired, 0 left", "2 used, 6000 expired, 0 left"]
    );
    for _ in 0..2 {
        world.advance("1d").await;
        world.settle().await;
    }
    assert_eq!(
        world
            .count("select count(*) from journals where kind = 'credit_expired'")
            .await,
        1
    );
    assert_eq!(
        world
            .count("select count(*) from audit_events where action = 'credit.expired'")
            .await,
        1
    );
    assert_credit_adds_up(&world).await;
}

/// An invoice of Globex's that nobody collects.
fn later(name: &str, amount: &str) -> Value {
    json!({
        "external_id": name, "client": "globex", "engagement": "globex-work", "currency": "usd", "issue_date": "2020-01-01",
        "due_date": "2099-12-31", "autopay_opt_in": false, "lines": [{ "kind": "hourly", "amount": amount }],
    })
}
