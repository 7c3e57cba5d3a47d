//! P9: the books balance at every commit, `ledger check` proves it on any database, and it can tell when they do not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::{
    domain::ledger::{Check, Severity},
    ids::FirmId,
    store::ledger,
};
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tests::world::{World, WorldOptions};

use crate::{
    acme,
    cast::{self, Payer},
};

/// How much there is left to do now.
const DUE_JOBS: &str =
    "select count(*) from jobs where state in ('available', 'running', 'retryable') and run_at <= app.now()";

/// What every client of these stories is billed.
const AMOUNT: &str = "1000.00";

/// Clients, what their cards do, and what becomes of their money in [`live`].
const CLIENTS: [(&str, &[&str]); 10] = [
    ("paid", &[]),
    ("recovered", &["insufficient_funds", "succeed"]),
    ("unpaid", &["lost_card"]),
    ("partly", &[]),
    ("bounced", &[]),
    ("lost", &[]),
    ("won", &[]),
    ("wonwithfee", &[]),
    ("asked", &[]),
    ("twice", &[]),
];

/// Real billing: charges, declines, refunds, disputes, and a transfer for an invoice that is paid.
async fn live(world: &World) {
    acme::open_accounts(world, &CLIENTS).await;
    acme::bill(world, &CLIENTS.map(|(client, _)| client), "usd", AMOUNT).await;
    world.settle().await;
    world.advance("3d").await;
    world.settle().await;

    at_stripe(world, "refunds", "partly", json!({ "amount": 30_000 })).await;
    let bounced = at_stripe(world, "refunds", "bounced", json!({ "outcome": "pending" })).await;
    let chargeback = json!({ "kind": "chargeback" });
    let lost = at_stripe(world, "disputes", "lost", chargeback.clone()).await;
    let won = at_stripe(world, "disputes", "won", chargeback.clone()).await;
    let won_with_fee = at_stripe(world, "disputes", "wonwithfee", chargeback).await;
    at_stripe(world, "disputes", "asked", json!({ "kind": "inquiry" })).await;
    world.settle().await;

    move_on(world, &bounced, json!({ "status": "succeeded" })).await;
    world.settle().await;
    move_on(world, &bounced, json!({ "status": "failed" })).await;
    move_on(world, &lost, json!({ "action": "lose" })).await;
    move_on(world, &won, json!({ "action": "win" })).await;
    move_on(
        world,
        &won_with_fee,
        json!({ "action": "win", "fee_returned": true }),
    )
    .await;
    acme::pay_by_bank(world, "twice", 25_000).await;
    world.settle().await;
}

/// Something that happens at Stripe to a client's one PaymentIntent; where to move it on from there.
async fn at_stripe(world: &World, what: &str, client: &str, mut order: Value) -> String {
    order["payment_intent"] = acme::intent(world, client).await.0.into();
    let made = world.sim.post(&format!("/{what}"), order).await.unwrap();
    format!("/{what}/{}", made["id"].as_str().unwrap())
}

async fn move_on(world: &World, path: &str, order: Value) {
    world.sim.post(path, order).await.unwrap();
}

/// What an account of Acme's holds.
fn balance(balances: &Value, account: &str) -> i64 {
    let of = |row: &&Value| row["account"] == account && row["currency"] == "usd";
    balances["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(of)
        .map_or(0, |row| row["balance_minor"].as_i64().unwrap())
}

/// B-20.
#[tokio::test]
async fn p9_real_billing_in_every_turn_leaves_no_finding_and_agrees_with_stripes_balance() {
    let world = World::start(WorldOptions::default()).await;
    live(&world).await;
    let wanted = [
        ("unpaid", "failed method_required: auto 0 declined"),
        ("recovered", "paid succeeded: auto 0 declined, retry 1 succeeded"),
        ("lost", "charged_back succeeded: auto 0 succeeded"),
        ("won", "paid succeeded: auto 0 succeeded"),
    ];
    acme::assert_outcomes(&world, &wanted).await;

    let checked = world.json(&["ledger", "check"]).await;
    assert_eq!(checked["findings"], json!([]));
    assert_eq!(checked["ok"], true);
    assert_eq!(checked["firms"], 1);
    assert_eq!(
        checked["journals"],
        world.count("select count(*) from journals").await
    );

    // The money is where Stripe says that it is, to the last cent: fees, refunds and disputes included.
    let balances = world.json(&["ledger", "balances", "--firm-id", "acme"]).await;
    let books = world.sim.books().await.unwrap();
    assert_eq!(
        balance(&balances, "stripe_clearing"),
        books["balance_net_minor"]["usd"].as_i64().unwrap()
    );
    assert_eq!(balance(&balances, "receivable"), 100_000, "what unpaid owes");
    assert_eq!(
        balance(&balances, "client_credit"),
        -25_000,
        "what was paid twice"
    );
    assert_eq!(balance(&balances, "external_cash"), 25_000);
    assert_eq!(balance(&balances, "revenue_hourly"), -1_000_000);
    assert_eq!(balance(&balances, "refunds_contra"), 30_000);
    assert_eq!(balance(&balances, "dispute_hold"), 0);
    assert_eq!(balance(&balances, "chargeback_receivable"), 100_000);
    let rows = balances["data"].as_array().unwrap();
    let sum: i64 = rows
        .iter()
        .map(|row| row["balance_minor"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, 0);
}

/// The check sees one state of the database, however busy it is.
#[tokio::test]
async fn p9_the_books_balance_at_every_moment_of_a_busy_day() {
    let world = World::start(WorldOptions {
        workers: 2,
        ..WorldOptions::default()
    })
    .await;
    world
        .sim
        .webhooks(json!({ "double": true, "duplicate": 1 }))
        .await
        .unwrap();
    let payers = Payer::crowd("busy", 40);
    cast::enter(&world, &payers, &["insufficient_funds", "succeed"]).await;
    for days in [None, Some("3d")] {
        if let Some(days) = days {
            world.advance(days).await;
        }
        let mut looks = 0;
        while world.count(DUE_JOBS).await > 0 || looks == 0 {
            world.assert_books_balance().await;
            looks += 1;
        }
        assert!(looks > 1, "the day was over before anyone looked");
        world.settle().await;
    }
    assert_eq!(world.count("select count(*) from payments").await, 40);
    assert_eq!(world.json(&["ledger", "check"]).await["ok"], true);
}

/// What somebody with the keys to the database did, and which comparison tells.
struct Forgery {
    did: &'static str,
    sql: &'static str,
    found_by: &'static [Check],
    about: &'static str,
}

const FORGERIES: [Forgery; 14] = [
    Forgery {
        did: "recorded a payment that nothing posted",
        sql: "insert into payments (firm_id, id, client_id, invoice_id, method, stripe_charge_id, amount_minor, currency,
                                    received_at, recorded_at, cause)
              select firm_id, gen_random_uuid(), client_id, invoice_id, 'stripe', 'ch_forged', 1, currency, now(), now(), 'test'
                from payments where method = 'stripe' limit 1",
        found_by: &[Check::FactsArePosted, Check::MoneyAddsUp],
        about: "journal ch:ch_forged (payment), stripe_clearing",
    },
    Forgery {
        did: "removed a payment from the facts",
        sql: "delete from payments where method = 'external'",
        found_by: &[Check::FactsArePosted, Check::MoneyAddsUp],
        about: "by twice (external_payment), external_cash",
    },
    Forgery {
        did: "doubled a payment on both sides",
        sql: "update postings set amount_minor = amount_minor * 2
               where journal_id = (select id from journals where kind = 'payment' order by seq limit 1)",
        found_by: &[Check::FactsArePosted, Check::MoneyAddsUp, Check::ReceivableIsOpen],
        about: "(payment), receivable",
    },
    Forgery {
        did: "changed one side of a journal",
        sql: "update postings set amount_minor = amount_minor + 1 where account = 'stripe_clearing'
                and journal_id = (select id from journals where kind = 'payment' order by seq limit 1)",
        found_by: &[Check::JournalBalances, Check::TrialBalance, Check::FactsArePosted, Check::MoneyAddsUp],
        about: "journal ch:",
    },
    Forgery {
        did: "gave credit in the books alone",
        sql: "with j as (insert into journals (firm_id, kind, source_key, client_id, effective_at)
                         select firm_id, 'credit_issued', 'lot:invented', id, now() from clients limit 1 returning firm_id, id)
              insert into postings select firm_id, id, 1, 'credits_granted', 500, 'usd' from j
              union all select firm_id, id, 2, 'client_credit', -500, 'usd' from j",
        found_by: &[Check::FactsArePosted, Check::CreditAgrees],
        about: "journal lot:invented (credit_issued), client_credit",
    },
    Forgery {
        did: "emptied a journal",
        sql: "delete from postings where journal_id = (select id from journals where kind = 'processor_fee' order by seq limit 1)",
        found_by: &[Check::JournalHasPostings, Check::FactsArePosted, Check::MoneyAddsUp],
        about: "journal txn:",
    },
    Forgery {
        did: "raised a client's credit",
        sql: "update credit_balances set balance_minor = balance_minor + 1",
        found_by: &[Check::CreditAgrees],
        about: "credit of client twice by its balance",
    },
    Forgery {
        did: "spent more of a lot than it has",
        sql: "insert into credit_applications (firm_id, id, lot_id, invoice_id, amount_minor, applied_at, cause)
              select l.firm_id, gen_random_uuid(), l.id, i.id, l.amount_minor + 1, now(), 'test'
                from credit_lots l join invoices i on i.firm_id = l.firm_id and i.external_id = 'unpaid-1'",
        found_by: &[Check::LotIsNotOverdrawn, Check::CreditAgrees, Check::FactsArePosted, Check::ReceivableIsOpen],
        about: "credit lot ",
    },
    Forgery {
        did: "voided an invoice without taking it back",
        sql: "update invoices set doc_state = 'void' where external_id = 'unpaid-1'",
        found_by: &[Check::FactsArePosted, Check::ReceivableIsOpen],
        about: "invoice INV-",
    },
    Forgery {
        did: "wrote an invoice off without a loss",
        sql: "update invoices set doc_state = 'written_off' where external_id = 'unpaid-1'",
        found_by: &[Check::WriteOffIsUnpaid, Check::ReceivableIsOpen],
        about: "invoice INV-",
    },
    Forgery {
        did: "forgot that a dispute is lost",
        sql: "delete from postings where journal_id in (select id from journals where kind = 'dispute_lost')",
        found_by: &[Check::DisputeHoldIsOver, Check::FactsArePosted, Check::JournalHasPostings],
        about: "dispute dp_",
    },
    Forgery {
        did: "took a refund back by more than it was",
        sql: "update postings set amount_minor = amount_minor * 2 where journal_id in (select id from journals where kind = 'refund_failed')",
        found_by: &[Check::ReversalIsExact, Check::FactsArePosted, Check::MoneyAddsUp],
        about: ":failed, refunds_contra",
    },
    Forgery {
        did: "lowered what Stripe kept",
        sql: "update processor_fees set amount_minor = amount_minor - 1
               where stripe_balance_transaction_id = (select min(stripe_balance_transaction_id) from processor_fees)",
        found_by: &[Check::FactsArePosted, Check::MoneyAddsUp],
        about: "(processor_fee), processor_fees",
    },
    Forgery {
        did: "booked a payment on another client",
        sql: "update journals set client_id = (select id from clients where external_id = 'unpaid')
               where id = (select id from journals where kind = 'payment' order by seq limit 1)",
        found_by: &[Check::FactsArePosted],
        about: "(payment), receivable",
    },
];

async fn findings(
    tx: &mut Transaction<'_, Postgres>,
    firm: uuid::Uuid,
) -> Vec<shared::domain::ledger::Finding> {
    ledger::check(tx, &[FirmId(firm)]).await.unwrap().findings
}

/// R051.
#[tokio::test]
async fn p9_the_check_finds_every_way_to_break_the_books() {
    let world = World::start(WorldOptions::default()).await;
    live(&world).await;
    let firm: uuid::Uuid = sqlx::query_scalar("select id from firms")
        .fetch_one(&world.db)
        .await
        .unwrap();
    let mut unnoticed = Vec::new();
    for forgery in &FORGERIES {
        let mut tx = world.db.begin().await.unwrap();
        // As a superuser can: no trigger, no foreign key.
        sqlx::raw_sql("set local session_replication_role = replica")
            .execute(&mut *tx)
            .await
            .unwrap();
        assert_eq!(
            findings(&mut tx, firm).await,
            [],
            "before somebody {}",
            forgery.did
        );
        let done = sqlx::raw_sql(AssertSqlSafe(forgery.sql))
            .execute(&mut *tx)
            .await
            .unwrap();
        assert!(done.rows_affected() > 0, "nobody {}", forgery.did);
        let found = findings(&mut tx, firm).await;
        let by: BTreeSet<&str> = found.iter().map(|f| f.check.as_str()).collect();
        let wanted: BTreeSet<&str> = forgery.found_by.iter().map(|check| check.as_str()).collect();
        if by != wanted
            || !found.iter().any(|f| f.what.contains(forgery.about))
            || found.iter().any(|f| f.severity != Severity::Error)
        {
            unnoticed.push(format!("somebody {}: {found:#?}", forgery.did));
        }
        tx.rollback().await.unwrap();
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

/// The command: exit code 3, what was expected and what is there, and nothing changed by looking.
#[tokio::test]
async fn p9_ledger_check_ends_with_3_and_names_what_is_wrong() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    acme::bill(&world, &["globex"], "usd", AMOUNT).await;
    world.settle().await;
    let right = world.cli(&["ledger", "check"]).await;
    assert_eq!(right.code, 0, "{right}");
    assert!(
        right
            .stdout
            .starts_with("the books balance: 1 firm(s), 3 journal(s)"),
        "{right}"
    );

    sqlx::raw_sql(
        "set session_replication_role = replica;
         update postings set amount_minor = amount_minor + 1 where account = 'receivable' and amount_minor < 0;
         set session_replication_role = default",
    )
    .execute(&world.db)
    .await
    .unwrap();
    for _ in 0..2 {
        let wrong = world
            .cli(&["ledger", "check", "--firm-id", "acme", "--json"])
            .await;
        assert_eq!(wrong.code, 3, "{wrong}");
        let report = wrong.json().unwrap();
        assert_eq!(report["ok"], false);
        let receivable = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["check"] == "receivable_is_open")
            .unwrap();
        assert_eq!(
            receivable,
            &json!({ "firm": "acme", "severity": "error", "check": "receivable_is_open", "what": "invoice INV-0001-000001",
                     "currency": "usd", "expected_minor": 0, "found_minor": 1 })
        );
    }
    let text = world.cli(&["ledger", "check"]).await;
    assert!(
        text.stdout.starts_with("THE BOOKS ARE WRONG in 4 place(s)"),
        "{text}"
    );
    let none = world.cli(&["ledger", "check", "--firm-id", "nobody"]).await;
    assert_eq!(none.code, 1, "{none}");
}

/// More went back than came in, as only Stripe can do: booked as it was, told as a warning, no error of the books.
#[tokio::test]
async fn p9_what_stripe_gave_back_beyond_the_payment_is_a_warning() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    acme::bill(&world, &["globex"], "usd", AMOUNT).await;
    world.settle().await;
    let reported = "insert into refunds (firm_id, id, payment_id, stripe_refund_id, amount_minor, currency, state, created_at)
                    select firm_id, gen_random_uuid(), id, 're_too_much', amount_minor + 1, currency, 'succeeded', now() from payments
                     where set_config('app.firm_id', firm_id::text, true) <> ''
                    returning stripe_refund_id";
    world.texts(reported).await;
    let report = world.json(&["ledger", "check"]).await;
    assert_eq!(report["ok"], true);
    let finding = &report["findings"][0];
    assert_eq!(
        (
            &finding["severity"],
            &finding["check"],
            &finding["expected_minor"],
            &finding["found_minor"]
        ),
        (
            &json!("warning"),
            &json!("captured_covers_returned"),
            &json!(100_000),
            &json!(100_001)
        )
    );
}

#[tokio::test]
async fn the_journals_of_an_invoice_and_of_a_client_are_shown_with_all_their_sides() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &[]), ("other", &[])]).await;
    acme::bill(&world, &["globex", "other"], "usd", AMOUNT).await;
    world.settle().await;
    at_stripe(&world, "refunds", "globex", json!({ "amount": 30_000 })).await;
    world.settle().await;

    let shown = world.json(&["ledger", "show", "globex-1"]).await;
    let kinds: Vec<&Value> = shown["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|j| &j["kind"])
        .collect();
    assert_eq!(kinds, ["invoice_issued", "payment", "processor_fee", "refund"]);
    for journal in shown["data"].as_array().unwrap() {
        let sides = journal["postings"].as_array().unwrap();
        let sum: i64 = sides.iter().map(|p| p["amount_minor"].as_i64().unwrap()).sum();
        assert_eq!((sum, &journal["client"]), (0, &json!("globex")));
    }
    assert_eq!(
        shown["data"][3]["postings"],
        json!([{ "account": "refunds_contra", "amount_minor": 30_000, "currency": "usd" },
               { "account": "stripe_clearing", "amount_minor": -30_000, "currency": "usd" }])
    );
    // By any id of either, page by page.
    let (intent, _) = acme::intent(&world, "globex").await;
    for id in ["globex", "cus_globex", &intent] {
        assert_eq!(world.json(&["ledger", "show", id]).await, shown, "{id}");
    }
    let first = world.json(&["ledger", "show", "globex", "--limit", "3"]).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = world
        .json(&["ledger", "show", "globex", "--cursor", cursor])
        .await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    let text = world.cli(&["ledger", "show", "globex-1"]).await;
    assert!(text.stdout.contains("refunds_contra"), "{text}");
    assert_eq!(world.cli(&["ledger", "show", "nothing"]).await.code, 1);
    let bad_cursor = world.cli(&["ledger", "show", "globex", "--cursor", "x"]).await;
    assert_eq!(bad_cursor.code, 2, "{bad_cursor}");
}

/// What Stripe keeps is known from the answer, from any event and from any lookup: recorded once, and exactly.
#[tokio::test]
async fn p2_what_stripe_kept_of_a_payment_is_recorded_once_whenever_it_is_seen() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["atonce", "later", "lostanswer"];
    acme::open_accounts(&world, &clients.map(|client| (client, &[][..]))).await;
    world
        .sim
        .post(
            "/cards",
            json!({ "payment_method": "pm_later", "clears": "later" }),
        )
        .await
        .unwrap();
    world
        .sim
        .webhooks(json!({ "double": true, "duplicate": 1, "shuffle": true }))
        .await
        .unwrap();
    acme::bill(&world, &["atonce", "later"], "usd", AMOUNT).await;
    world.settle().await;
    let fees =
        "select format('%s %s %s', p.stripe_charge_id, f.stripe_balance_transaction_id, f.amount_minor)
                  from processor_fees f join payments p on p.id = f.payment_id order by 1";
    assert_eq!(
        world.texts(fees).await.len(),
        1,
        "one of them is not on the balance yet"
    );

    // On the balance three days later, told by an event of its own; and a payment of which only the event told.
    world.advance("3d").await;
    let charge = acme::intent(&world, "later").await.1["charges"][0]["id"].clone();
    let path = format!("/charges/{}/clear", charge.as_str().unwrap());
    world.sim.post(&path, json!({})).await.unwrap();
    let lost = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "reset_after" });
    world.sim.fault(lost).await.unwrap();
    acme::bill(&world, &["lostanswer"], "usd", AMOUNT).await;
    acme::wait_for(&world, &clients, "paid").await;

    let told: Vec<String> = balance_transactions(&world).await;
    assert_eq!(world.texts(fees).await, told);
    assert_eq!(told.len(), 3);
    assert_eq!(
        world
            .count("select count(*) from journals where kind = 'processor_fee'")
            .await,
        3
    );
    assert_eq!(
        balance(&world.json(&["ledger", "balances"]).await, "stripe_clearing"),
        world.sim.books().await.unwrap()["balance_net_minor"]["usd"]
            .as_i64()
            .unwrap()
    );
}

/// Charges on Stripe's balance: charge, balance transaction, fee.
async fn balance_transactions(world: &World) -> Vec<String> {
    let list = reqwest::Client::new()
        .get(format!(
            "{}/v1/balance_transactions?type=charge&limit=100",
            world.sim.base()
        ))
        .bearer_auth("sk_test_world")
        .send()
        .await
        .unwrap()
        .json::<Value>()
        .await
        .unwrap();
    let mut rows: Vec<String> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{} {} {}",
                row["source"].as_str().unwrap(),
                row["id"].as_str().unwrap(),
                row["fee"]
            )
        })
        .collect();
    rows.sort();
    rows
}
