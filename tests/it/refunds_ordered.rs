//! Refunds that are ordered here: given back once, to the card or as credit and never both, never more than was paid, and
//! never beside a chargeback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::world::{CliOutput, World, WorldOptions};

use crate::{acme, credits::assert_credit_adds_up};

/// Orders a refund of a client's first invoice.
async fn order(world: &World, client: &str, amount: &str, to: &str, more: &[&str]) -> CliOutput {
    let invoice = format!("{client}-1");
    let mut args = vec![
        "invoice", "refund", &invoice, "--amount", amount, "--to", to, "--reason", "unused", "--json",
    ];
    args.extend(more);
    world.cli(&args).await
}

/// A refund that must be done at once: its rows.
async fn refund(world: &World, client: &str, amount: &str, to: &str) -> Vec<Value> {
    let output = order(world, client, amount, to, &[]).await;
    assert_eq!(output.code, 0, "{output}");
    output.json().unwrap()["refunds"].as_array().unwrap().clone()
}

/// A refund that a guard must refuse: its code.
async fn refused(world: &World, client: &str, amount: &str, to: &str) -> String {
    let output = order(world, client, amount, to, &[]).await;
    assert_eq!(output.code, 4, "{output}");
    output.json().unwrap()["error"]["code"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Clients who have paid an invoice of a thousand dollars.
async fn paid(world: &World, clients: &[&str]) {
    let accounts: Vec<(&str, &[&str])> = clients.iter().map(|client| (*client, &[][..])).collect();
    acme::open_accounts(world, &accounts).await;
    acme::bill(world, clients, "usd", "1000.00").await;
    world.settle().await;
    acme::wait_for(world, clients, "paid").await;
}

/// The refunds of a client: destination, state and amount.
async fn states(world: &World, client: &str) -> Vec<String> {
    let refunds = format!(
        "select concat_ws(' ', r.destination, r.state, r.amount_minor, r.failure_code) from refunds r join payments p on p.id = r.payment_id
           join clients c on c.id = p.client_id where c.external_id = '{client}' order by r.created_at, r.id"
    );
    world.texts(&refunds).await
}

/// The calls that asked Stripe for a refund.
async fn asked(world: &World) -> Vec<Value> {
    let calls = world.sim.requests().await.unwrap();
    let asks = |call: &Value| call["method"] == "POST" && call["path"] == "/v1/refunds";
    calls.into_iter().filter(asks).collect()
}

/// The SQLSTATE with which the database refuses statements of Acme's, at the latest when they commit.
async fn database_refuses(world: &World, statements: &[&str]) -> String {
    let mut tx = world.db.begin().await.unwrap();
    let firm = "select set_config('app.firm_id', id::text, true) from firms where external_id = 'acme'";
    let mut ended = Ok(());
    for sql in [&[firm], statements, &["set constraints all immediate"]].concat() {
        ended = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *tx)
            .await
            .map(drop);
        if ended.is_err() {
            break;
        }
    }
    let fault = ended.unwrap_err().into_database_error().unwrap();
    fault
        .constraint()
        .map_or_else(|| fault.code().unwrap().into_owned(), str::to_owned)
}

/// A statement that writes a refund of a client's payment.
fn insert_refund(client: &str, id: &str, to: &str, state: &str, minor: i64) -> String {
    format!(
        "insert into refunds (firm_id, id, payment_id, amount_minor, currency, destination, state, created_at)
         select p.firm_id, {id}, p.id, {minor}, 'usd', '{to}', '{state}', app.now() from payments p join clients c on c.id = p.client_id
          where c.external_id = '{client}' order by p.received_at limit 1"
    )
}

/// P9 as far as refunds and disputes go: Stripe's balance is what the ledger says, fees of payments aside; and of no payment
/// more went out, or is on its way out, than it brought.
async fn assert_nothing_is_lost_twice(world: &World) {
    let books = world.sim.books().await.unwrap();
    let of = |name: &str| books[name]["usd"].as_i64().unwrap_or(0);
    let cleared =
        "select coalesce(sum(p.amount_minor), 0) from postings p join journals j on j.id = p.journal_id
                    where p.account = 'stripe_clearing' and p.currency = 'usd' and j.kind <> 'processor_fee'";
    assert_eq!(
        world.count(cleared).await,
        of("captured_minor") - of("refunded_minor") + of("disputed_net_minor")
    );
    let twice = world
        .texts(
            "select format('%s: %s captured, %s refunded, %s disputed', p.stripe_charge_id, p.amount_minor, r.minor, d.minor)
               from payments p
               cross join lateral (select coalesce(sum(amount_minor), 0) as minor from refunds
                                    where payment_id = p.id and state not in ('failed', 'canceled')) r
               cross join lateral (select coalesce(sum(amount_minor), 0) as minor from disputes
                                    where payment_id = p.id and kind = 'chargeback' and coalesce(outcome, 'lost') = 'lost') d
              where r.minor + d.minor > p.amount_minor",
        )
        .await;
    assert_eq!(twice, Vec::<String>::new());
}

/// R075, A-20: in parts, until nothing is left; every event of it comes twice, under two ids, and changes nothing more.
#[tokio::test]
async fn r075_a20_money_goes_back_to_the_card_in_parts_and_never_more_than_was_paid() {
    let world = World::start(WorldOptions::default()).await;
    paid(&world, &["globex"]).await;
    world
        .sim
        .webhooks(json!({ "double": true, "duplicate": 1 }))
        .await
        .unwrap();
    let first = refund(&world, "globex", "300.00", "card").await;
    assert_eq!(first.len(), 1);
    let row = ["to", "state", "amount_minor", "reason"].map(|name| first[0][name].clone());
    assert_eq!(
        row,
        [json!("card"), json!("succeeded"), json!(30_000), json!("unused")]
    );
    assert!(
        first[0]["stripe_refund_id"].as_str().unwrap().starts_with("re_"),
        "{first:?}"
    );
    refund(&world, "globex", "250", "card").await;
    assert_eq!(
        refused(&world, "globex", "450.01", "card").await,
        "above_what_is_left"
    );
    let too_much = insert_refund("globex", "gen_random_uuid()", "card", "requested", 45_001);
    assert_eq!(database_refuses(&world, &[&too_much]).await, "QT016");
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;
    refund(&world, "globex", "450.00", "card").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "refunded succeeded: auto 0 succeeded")]).await;
    assert_eq!(
        refused(&world, "globex", "0.01", "card").await,
        "above_what_is_left"
    );
    assert_eq!(
        states(&world, "globex").await,
        [
            "card succeeded 30000",
            "card succeeded 25000",
            "card succeeded 45000"
        ]
    );
    assert_eq!(asked(&world).await.len(), 3);
    let shown = world.json(&["invoice", "show", "globex-1"]).await;
    assert_eq!(
        (
            &shown["refunded_minor"],
            shown["refunds"].as_array().unwrap().len()
        ),
        (&json!(100_000), 3)
    );
    let told = |action: &str| format!("select count(*) from audit_events where action = '{action}'");
    assert_eq!(world.count(&told("refund.requested")).await, 3);
    assert_eq!(world.count(&told("refund.succeeded")).await, 3);
    assert_eq!(
        world
            .count("select count(*) from decisions where kind = 'refund' and outcome = 'refund_to_card'")
            .await,
        1
    );
    // What was given back is not collected again.
    world.advance("20d").await;
    acme::assert_nothing_is_due(&world).await;
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// S13: credit instead of money, not credit beside money.
#[tokio::test]
async fn s13_a_refund_to_credit_sends_no_money_and_one_to_a_card_gives_no_credit() {
    let world = World::start(WorldOptions::default()).await;
    paid(&world, &["globex"]).await;
    let given = refund(&world, "globex", "400.00", "credit").await;
    let row = ["to", "state", "amount_minor", "stripe_refund_id"].map(|name| given[0][name].clone());
    assert_eq!(
        row,
        [json!("credit"), json!("succeeded"), json!(40_000), Value::Null]
    );
    assert_eq!(asked(&world).await, Vec::<Value>::new());
    let balance = || world.json(&["credit", "balance", "globex"]);
    assert_eq!(
        balance().await["balances"],
        json!([{"currency": "usd", "minor": 40_000}])
    );
    refund(&world, "globex", "100.00", "card").await;
    assert_eq!(
        balance().await["balances"],
        json!([{"currency": "usd", "minor": 40_000}])
    );
    assert_eq!(
        refused(&world, "globex", "500.01", "card").await,
        "above_what_is_left"
    );
    assert_eq!(
        refused(&world, "globex", "500.01", "credit").await,
        "above_what_is_left"
    );
    world.settle().await;
    assert_eq!(world.sim.books().await.unwrap()["refunded_minor"]["usd"], 10_000);

    // The database will not have the one without the other.
    let id = "'00000000-0000-4000-8000-000000000001'";
    let alone = insert_refund("globex", id, "credit", "succeeded", 100);
    assert_eq!(database_refuses(&world, &[&alone]).await, "QT016");
    let pending = insert_refund("globex", id, "credit", "pending", 100);
    assert_eq!(
        database_refuses(&world, &[&pending]).await,
        "credit_is_given_at_once"
    );
    let lot = |of: &str, minor: i64| {
        format!(
            "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, refund_id, issued_at, cause)
             select r.firm_id, gen_random_uuid(), p.client_id, 'usd', {minor}, 'refund_to_credit', r.id, app.now(), 'test'
               from refunds r join payments p on p.id = r.payment_id where {of}"
        )
    };
    assert_eq!(
        database_refuses(&world, &[&lot("r.destination = 'card'", 10_000)]).await,
        "QT017"
    );
    let of_it = format!("r.id = {id}");
    assert_eq!(
        database_refuses(&world, &[&alone, &lot(&of_it, 101)]).await,
        "QT017"
    );

    // The next invoice is paid with it.
    acme::bill_again(&world, "globex", "400.00").await;
    world.settle().await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 100_000);
    assert_eq!(
        balance().await["balances"],
        json!([{"currency": "usd", "minor": 0}])
    );
    assert_credit_adds_up(&world).await;
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// what came by bank does not go back to a card; a refund that one payment does not cover comes from several.
#[tokio::test]
async fn a20_only_what_came_by_card_goes_back_to_one_and_several_payments_share_a_refund() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds"])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    assert_eq!(refused(&world, "globex", "1", "card").await, "nothing_paid");
    acme::pay_by_bank(&world, "globex", 40_000).await;
    assert_eq!(refused(&world, "globex", "1", "card").await, "not_paid_by_card");
    let by_bank = insert_refund("globex", "gen_random_uuid()", "card", "requested", 1);
    assert_eq!(database_refuses(&world, &[&by_bank]).await, "QT016");
    world.advance("3d").await;
    world.settle().await;
    assert_eq!(
        refused(&world, "globex", "600.01", "card").await,
        "not_paid_by_card"
    );
    refund(&world, "globex", "50", "card").await;
    let parts = refund(&world, "globex", "700", "credit").await;
    assert_eq!(
        parts
            .iter()
            .map(|part| part["amount_minor"].clone())
            .collect::<Vec<_>>(),
        [55_000, 15_000]
    );
    assert_eq!(
        refused(&world, "globex", "0.01", "card").await,
        "not_paid_by_card"
    );
    assert_eq!(
        refused(&world, "globex", "250.01", "credit").await,
        "above_what_is_left"
    );
    world.settle().await;
    assert_credit_adds_up(&world).await;
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// R075: a refund is on its way for days, and it may come back; the books follow, and the amount can be given back again.
#[tokio::test]
async fn r075_a_refund_that_comes_back_is_taken_back_in_the_books() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["arrives", "fails", "returns", "is_called_off"];
    paid(&world, &clients).await;
    let booked = "select coalesce(sum(p.amount_minor), 0) from postings p where p.account = 'refunds_contra'";
    for client in clients {
        let slow = json!({ "payment_method": format!("pm_{client}"), "refunds": "pending" });
        world.sim.post("/cards", slow).await.unwrap();
        let rows = refund(&world, client, "600", "card").await;
        assert_eq!(rows[0]["state"], "pending");
    }
    assert_eq!(world.count(booked).await, 0);
    assert_eq!(
        refused(&world, "arrives", "400.01", "card").await,
        "above_what_is_left"
    );
    move_on(&world, "arrives", "succeeded").await;
    move_on(&world, "returns", "succeeded").await;
    world.settle().await;
    assert_eq!(world.count(booked).await, 120_000);
    move_on(&world, "fails", "failed").await;
    move_on(&world, "returns", "failed").await;
    move_on(&world, "is_called_off", "canceled").await;
    world.settle().await;
    assert_eq!(world.count(booked).await, 60_000);
    for (client, wanted) in [
        ("arrives", "card succeeded 60000"),
        ("fails", "card failed 60000 expired_or_canceled_card"),
        ("returns", "card failed 60000 expired_or_canceled_card"),
        ("is_called_off", "card canceled 60000"),
    ] {
        assert_eq!(states(&world, client).await, [wanted], "{client}");
    }
    let reversed = "select count(*) from journals where kind = 'refund_failed' and reverses is not null";
    assert_eq!(world.count(reversed).await, 1);
    refund(&world, "returns", "1000", "credit").await;
    assert_credit_adds_up(&world).await;
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// The bank moves the one refund of a client on.
async fn move_on(world: &World, client: &str, status: &str) {
    let ids = world
        .texts(&format!(
            "select r.stripe_refund_id from refunds r join payments p on p.id = r.payment_id join clients c on c.id = p.client_id
              where c.external_id = '{client}' and r.stripe_refund_id is not null"
        ))
        .await;
    assert_eq!(ids.len(), 1, "{client}");
    world
        .sim
        .post(&format!("/refunds/{}", ids[0]), json!({ "status": status }))
        .await
        .unwrap();
}

/// B-02, A-20: the event of a refund may come before the answer to the call that made it; both are about one row.
#[tokio::test]
async fn b02_a_refund_that_is_told_before_its_answer_has_one_row() {
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 60, // nobody gives up while the call is held
        ..WorldOptions::default()
    })
    .await;
    paid(&world, &["globex"]).await;
    let hold = json!({ "method": "POST", "path": "/v1/refunds", "kind": "hold_after" });
    world.sim.fault(hold).await.unwrap();
    let ordered = order(&world, "globex", "300", "card", &["--no-wait"])
        .await
        .json()
        .unwrap();
    assert_eq!(ordered["refunds"][0]["state"], "requested");
    world.until_held(1).await;
    let told = "select count(*) from refunds where state = 'succeeded' and stripe_refund_id is not null";
    world.until(told, 1, std::time::Duration::from_secs(20)).await;
    world.sim.release().await.unwrap();
    world.settle().await;
    assert_eq!(states(&world, "globex").await, ["card succeeded 30000"]);
    let shown = world.json(&["invoice", "show", "globex-1"]).await;
    assert_eq!(shown["refunds"][0]["id"], ordered["refunds"][0]["id"]);
    assert_eq!(asked(&world).await.len(), 1);
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// P3: a worker dies with the call under way, before or after it took effect; another one gives nothing back twice.
#[tokio::test]
async fn p3_kill_9_between_a_refund_and_its_record_gives_back_once() {
    let mut world = World::start(WorldOptions {
        lease_secs: 5,
        stripe_timeout_secs: 60, // the first worker is killed in the middle of its calls, and not after giving them up
        ..WorldOptions::default()
    })
    .await;
    let clients = ["before", "after"];
    paid(&world, &clients).await;
    // Nobody tells the second worker what the first one did.
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    for (nth, client) in clients.iter().enumerate() {
        let hold = json!({ "method": "POST", "path": "/v1/refunds", "kind": format!("hold_{client}"), "nth": nth + 1 });
        world.sim.fault(hold).await.unwrap();
    }
    for (nth, client) in (1..).zip(clients) {
        assert_eq!(order(&world, client, "300", "card", &["--no-wait"]).await.code, 0);
        world.until_held(nth).await;
    }
    world.add_worker().await;
    world.kill9(0).await;
    // The second worker finds the one that took effect; of the other it sees nothing, and its call is not answered by a second refund.
    world.settle().await;
    assert_eq!(states(&world, "after").await, ["card succeeded 30000"]);
    world.sim.release().await.unwrap();
    until_settled(&world).await;
    for client in clients {
        assert_eq!(states(&world, client).await, ["card succeeded 30000"], "{client}");
        assert_eq!(
            acme::intent(&world, client).await.1["refunded"],
            30_000,
            "{client}"
        );
    }
    assert_one_key_per_refund(&world).await;
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world.settle().await;
    assert_eq!(world.count("select count(*) from refunds").await, 2);
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// Business time passes until no refund waits for an outcome: minutes, then hours, then the day after which Stripe has
/// forgotten a key.
async fn until_settled(world: &World) {
    for step in ["1s", "30s", "2m", "10m", "2h", "7h", "1d", "1d"] {
        world.advance(step).await;
        world.settle().await;
        if world
            .count("select count(*) from refunds where state = 'requested'")
            .await
            == 0
        {
            return;
        }
    }
    panic!(
        "{:?}",
        world.texts("select id || ' ' || state from refunds").await
    );
}

/// S1: the key of a refund is made of its row, and there is no other.
async fn assert_one_key_per_refund(world: &World) {
    let rows = world
        .texts("select 'refund:' || id from refunds where sent_at is not null")
        .await;
    for call in asked(world).await {
        let key = call["idempotency_key"].as_str().unwrap().to_owned();
        assert!(rows.contains(&key), "a call with a key of its own: {key}");
        assert_eq!(
            call["params"]["metadata[q_refund]"],
            key.trim_start_matches("refund:")
        );
    }
}

/// P3, S1: whatever happens to the call, the money goes back once. A server error that Stripe keeps repeating for the key
/// costs a day.
#[tokio::test]
async fn p3_a_refund_gone_wrong_in_any_way_gives_back_once() {
    const FAULTS: [&str; 13] = [
        "500_before",
        "500_stored",
        "500_after",
        "502_html",
        "502_html_after",
        "429",
        "lock_timeout",
        "reset_before",
        "reset_after",
        "truncate_after",
        "trickle_after",
        "delay_after_effect",
        "delay_before_effect",
    ];
    let world = World::start(WorldOptions {
        stripe_timeout_secs: 1, // the delays below are longer
        ..WorldOptions::default()
    })
    .await;
    let clients: Vec<String> = FAULTS.iter().map(|fault| format!("of_{fault}")).collect();
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    paid(&world, &clients).await;
    // No webhook comes to our help. The first thirteen calls go wrong, each in its own way, whoever they are for.
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    for (at, kind) in FAULTS.iter().enumerate() {
        let fault = json!({ "method": "POST", "path": "/v1/refunds", "kind": kind, "nth": at + 1, "ms": 1500, "retry_after_secs": 1 });
        world.sim.fault(fault).await.unwrap();
    }
    for client in &clients {
        assert_eq!(order(&world, client, "300", "card", &["--no-wait"]).await.code, 0);
    }
    until_settled(&world).await;
    let rules = world.sim.get("/faults").await.unwrap();
    for rule in rules["data"].as_array().unwrap() {
        assert_eq!(rule["struck"], 1, "{rule}");
    }
    for client in &clients {
        assert_eq!(states(&world, client).await, ["card succeeded 30000"], "{client}");
        assert_eq!(
            acme::intent(&world, client).await.1["refunded"],
            30_000,
            "{client}"
        );
    }
    assert_one_key_per_refund(&world).await;
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world.settle().await;
    assert_eq!(world.count("select count(*) from refunds").await, 13);
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// B-09: a dispute that nobody has told us of is found before the refund is sent; one that we know of refuses it at once.
#[tokio::test]
async fn b09_nothing_is_refunded_beside_a_chargeback_not_even_one_that_nobody_told_us_of() {
    let world = World::start(WorldOptions::default()).await;
    paid(&world, &["globex", "initech"]).await;
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    let mut disputes = Vec::new();
    for (client, kind) in [("globex", "chargeback"), ("initech", "inquiry")] {
        let (intent, _) = acme::intent(&world, client).await;
        let opened = world
            .sim
            .post("/disputes", json!({ "payment_intent": intent, "kind": kind }))
            .await
            .unwrap();
        disputes.push(opened["id"].as_str().unwrap().to_owned());
    }
    let output = order(&world, "globex", "300", "card", &[]).await;
    assert_eq!(output.code, 4, "{output}");
    assert_eq!(
        states(&world, "globex").await,
        ["card canceled 30000 chargeback_open"]
    );
    assert_eq!(asked(&world).await, Vec::<Value>::new());
    acme::assert_outcomes(&world, &[("globex", "disputed succeeded: auto 0 succeeded")]).await;
    for to in ["card", "credit"] {
        assert_eq!(refused(&world, "globex", "300", to).await, "chargeback_open");
    }
    let beside = insert_refund("globex", "gen_random_uuid()", "card", "requested", 1);
    assert_eq!(database_refuses(&world, &[&beside]).await, "QT016");
    // An inquiry moves no money: a refund may end it.
    refund(&world, "initech", "300", "card").await;

    // Won: the money is back, and can be given back.
    let won = json!({ "action": "win" });
    world
        .sim
        .post(&format!("/disputes/{}", disputes[0]), won)
        .await
        .unwrap();
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world.settle().await;
    refund(&world, "globex", "1000", "card").await;
    world.settle().await;
    assert_nothing_is_lost_twice(&world).await;
    acme::assert_books_agree(&world).await;
}

/// What happens to a payment, besides its refund: an inquiry, which becomes a chargeback, which ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Order,
    Arrive,
    Inquire,
    Withdraw,
    End,
}

/// All orders of a refund's two steps and a dispute's three.
fn orders() -> Vec<Vec<Step>> {
    use Step::{Arrive, End, Inquire, Order, Withdraw};
    let mut orders = Vec::new();
    for first in 0..5 {
        for second in first + 1..5 {
            let (mut refund, mut dispute) =
                ([Order, Arrive].into_iter(), [Inquire, Withdraw, End].into_iter());
            let of = |at: usize| {
                if at == first || at == second {
                    refund.next()
                } else {
                    dispute.next()
                }
            };
            orders.push((0..5).filter_map(of).collect());
        }
    }
    orders
}

/// B-09: refund ordered, refund arrived, dispute opened, funds withdrawn, won or lost, in every order there is: never is more
/// lost than was paid, the refund is refused while the chargeback is open, and one that was there first is told to whoever
/// answers the dispute.
#[tokio::test]
async fn b09_refund_and_dispute_in_every_order_never_lose_the_money_twice() {
    let world = World::start(WorldOptions::default()).await;
    let orders = orders();
    assert_eq!(orders.len(), 10);
    let plays: Vec<(String, Vec<Step>, &str)> = ["win", "lose"]
        .into_iter()
        .flat_map(|end| {
            orders
                .iter()
                .enumerate()
                .map(move |(n, steps)| (format!("{end}{n}"), steps.clone(), end))
        })
        .collect();
    let clients: Vec<&str> = plays.iter().map(|(client, ..)| client.as_str()).collect();
    paid(&world, &clients).await;
    for client in &clients {
        let slow = json!({ "payment_method": format!("pm_{client}"), "refunds": "pending" });
        world.sim.post("/cards", slow).await.unwrap();
    }
    let mut disputes = vec![String::new(); plays.len()];
    let mut codes = vec![-1; plays.len()];
    for nth in 0..5 {
        for (at, (client, steps, end)) in plays.iter().enumerate() {
            let path = format!("/disputes/{}", disputes[at]);
            match steps[nth] {
                Step::Order => codes[at] = order(&world, client, "400", "card", &[]).await.code,
                Step::Arrive if codes[at] == 0 => move_on(&world, client, "succeeded").await,
                Step::Arrive => {}
                Step::Inquire => {
                    let (intent, _) = acme::intent(&world, client).await;
                    let inquiry = json!({ "payment_intent": intent, "kind": "inquiry" });
                    let opened = world.sim.post("/disputes", inquiry).await.unwrap();
                    disputes[at] = opened["id"].as_str().unwrap().to_owned();
                }
                Step::Withdraw => drop(
                    world
                        .sim
                        .post(&path, json!({ "action": "escalate" }))
                        .await
                        .unwrap(),
                ),
                Step::End => drop(world.sim.post(&path, json!({ "action": end })).await.unwrap()),
            }
        }
        world.settle().await;
        assert_nothing_is_lost_twice(&world).await;
    }
    let mut before = 0;
    for (at, (client, steps, end)) in plays.iter().enumerate() {
        let when = |step: Step| steps.iter().position(|s| *s == step).unwrap();
        let ordered_first = when(Step::Order) < when(Step::Withdraw);
        let beside = !ordered_first && when(Step::Order) < when(Step::End);
        let given_back = ordered_first || (!beside && *end == "win");
        before += i64::from(ordered_first);
        assert_eq!(codes[at], if given_back { 0 } else { 4 }, "{client} {steps:?}");
        let refunds = if given_back {
            vec!["card succeeded 40000"]
        } else {
            vec![]
        };
        assert_eq!(states(&world, client).await, refunds, "{client} {steps:?}");
        let status = if *end == "lose" { "charged_back" } else { "paid" };
        assert!(
            acme::outcome(&world, client).await.starts_with(status),
            "{client} {steps:?}"
        );
    }
    assert_eq!(before, 14);
    let told = "select count(*) from audit_events where severity = 'critical' and meta ->> 'note' = 'refunded_before_dispute'";
    assert_eq!(world.count(told).await, before);
    acme::assert_books_agree(&world).await;
}

/// What the command refuses before anything else looks at it.
#[tokio::test]
async fn a_refund_that_is_malformed_or_for_nothing_is_not_ordered() {
    let mut world = World::start(WorldOptions::default()).await;
    paid(&world, &["globex"]).await;
    for amount in ["0", "-1", "1.001", "all"] {
        let output = order(&world, "globex", amount, "card", &[]).await;
        assert_eq!(output.code, 2, "{output}");
    }
    assert_eq!(order(&world, "globex", "1", "cash", &[]).await.code, 2);
    assert_eq!(order(&world, "nobody", "1", "card", &[]).await.code, 1);
    let args = [
        "invoice", "refund", "globex-1", "--amount", "1", "--to", "card", "--reason", " ",
    ];
    assert_eq!(world.cli(&args).await.code, 2);
    acme::open_accounts(&world, &[("void", &["insufficient_funds"])]).await;
    acme::bill(&world, &["void"], "usd", "10.00").await;
    world.settle().await;
    world
        .json(&["invoice", "void", "void-1", "--reason", "billed twice"])
        .await;
    assert_eq!(refused(&world, "void", "1", "card").await, "invoice_not_issued");
    let credit = world.cli(&["credit", "apply", "void-1", "--json"]).await;
    assert_eq!(
        (credit.code, &credit.json().unwrap()["error"]["code"]),
        (4, &json!("invoice_not_issued"))
    );
    assert_eq!(world.count("select count(*) from refunds").await, 0);

    // With nobody to do it, it stays ordered, and says so.
    world.kill9(0).await;
    let output = order(&world, "globex", "1", "card", &["--wait-secs", "30"]).await;
    assert_eq!(output.code, 75, "{output}");
    let error = output.json().unwrap()["error"].clone();
    assert_eq!(error["code"], "no_worker");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("do not order it again"),
        "{error}"
    );
    world.add_worker().await;
    world.settle().await;
    assert_eq!(states(&world, "globex").await, ["card succeeded 100"]);
}
