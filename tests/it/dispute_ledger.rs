//! What disputes do to the books, course by course; what a person decides about a lost one; and what a chargeback for
//! fraud does to the client's other charges.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::{accounts, acme};

/// One dispute: its order, and how the bank moves it on.
struct Course {
    client: &'static str,
    disputes: &'static [(&'static str, Option<i64>, &'static [&'static str])],
    /// Status of the invoice in the end, and whether it is fenced.
    ends: &'static str,
    /// What the ledger holds for its disputes, by account. Every invoice is 100.00, every fee 15.00.
    holds: &'static [(&'static str, i64)],
}

/// Nothing is left: what was taken came back, with the fee.
const NOTHING: &[(&str, i64)] = &[];
/// Came back but for the fee.
const FEE: &[(&str, i64)] = &[("processor_fees", 1_500), ("stripe_clearing", -1_500)];
/// With the bank until it decides.
const HELD: &[(&str, i64)] = &[
    ("dispute_hold", 10_000),
    ("processor_fees", 1_500),
    ("stripe_clearing", -11_500),
];
/// Taken for good, and owed by the client again until a person decides.
const LOST: &[(&str, i64)] = &[
    ("chargeback_receivable", 10_000),
    ("processor_fees", 1_500),
    ("stripe_clearing", -11_500),
];

const COURSES: [Course; 13] = [
    Course {
        client: "opened",
        disputes: &[("chargeback", None, &[])],
        ends: "disputed fenced",
        holds: HELD,
    },
    Course {
        client: "won",
        disputes: &[("chargeback", None, &["under_review", "win"])],
        ends: "paid",
        holds: FEE,
    },
    Course {
        client: "won_with_fee",
        disputes: &[("chargeback", None, &["win with fee"])],
        ends: "paid",
        holds: NOTHING,
    },
    Course {
        client: "lost",
        disputes: &[("chargeback", None, &["under_review", "lose"])],
        ends: "charged_back fenced",
        holds: LOST,
    },
    Course {
        client: "asked",
        disputes: &[("inquiry", None, &[])],
        ends: "paid",
        holds: NOTHING,
    },
    Course {
        client: "answered",
        disputes: &[("inquiry", None, &["under_review", "close_inquiry"])],
        ends: "paid",
        holds: NOTHING,
    },
    Course {
        client: "escalated",
        disputes: &[("inquiry", None, &["escalate"])],
        ends: "disputed fenced",
        holds: HELD,
    },
    Course {
        client: "escalated_lost",
        disputes: &[("inquiry", None, &["escalate", "lose"])],
        ends: "charged_back fenced",
        holds: LOST,
    },
    Course {
        client: "prevented",
        disputes: &[("chargeback", None, &["prevent"])],
        ends: "paid",
        holds: NOTHING,
    },
    Course {
        client: "withdrawn",
        disputes: &[("chargeback", None, &["withdraw"])],
        ends: "paid",
        holds: FEE,
    },
    Course {
        client: "partly_lost",
        disputes: &[("chargeback", Some(4_000), &["lose"])],
        ends: "charged_back fenced",
        holds: &[
            ("chargeback_receivable", 4_000),
            ("processor_fees", 1_500),
            ("stripe_clearing", -5_500),
        ],
    },
    Course {
        client: "one_lost_one_won",
        disputes: &[
            ("chargeback", Some(3_000), &["lose"]),
            ("chargeback", Some(5_000), &["win"]),
        ],
        ends: "charged_back fenced",
        holds: &[
            ("chargeback_receivable", 3_000),
            ("processor_fees", 3_000),
            ("stripe_clearing", -6_000),
        ],
    },
    Course {
        client: "one_lost_one_open",
        disputes: &[
            ("chargeback", Some(3_000), &["lose"]),
            ("chargeback", Some(7_000), &[]),
        ],
        ends: "disputed fenced",
        holds: &[
            ("chargeback_receivable", 3_000),
            ("dispute_hold", 7_000),
            ("processor_fees", 3_000),
            ("stripe_clearing", -13_000),
        ],
    },
];

async fn bill_all(world: &World, clients: &[&str]) {
    acme::open_accounts(
        world,
        &clients
            .iter()
            .map(|client| (*client, &[][..]))
            .collect::<Vec<_>>(),
    )
    .await;
    acme::bill(world, clients, "usd", "100.00").await;
    world.settle().await;
}

/// The bank opens a dispute of a client's payment, not for fraud.
async fn open(world: &World, client: &str, kind: &str, amount: Option<i64>) -> String {
    dispute(
        world,
        client,
        json!({ "kind": kind, "reason": "product_not_received", "amount": amount }),
    )
    .await
}

async fn dispute(world: &World, client: &str, mut order: Value) -> String {
    order["payment_intent"] = json!(acme::intent(world, client).await.0);
    if order["amount"].is_null() {
        order.as_object_mut().unwrap().remove("amount");
    }
    let opened = world.sim.post("/disputes", order).await.unwrap();
    opened["id"].as_str().unwrap().to_owned()
}

async fn act(world: &World, dispute: &str, action: &str) {
    let order = match action.strip_suffix(" with fee") {
        Some(action) => json!({ "action": action, "fee_returned": true }),
        None => json!({ "action": action }),
    };
    world
        .sim
        .post(&format!("/disputes/{dispute}"), order)
        .await
        .unwrap();
}

/// What the ledger holds for a client's disputes.
async fn holds(world: &World, client: &str) -> Vec<String> {
    let theirs = format!(
        "j.dispute_id is not null and j.client_id = (select id from clients where external_id = '{client}')"
    );
    accounts::balances(world, &theirs).await
}

async fn ends(world: &World, client: &str) -> String {
    let sql = format!(
        "select s.status || case when i.fenced_reason is null then '' else ' fenced' end
           from invoices i join invoice_status s on s.id = i.id where i.external_id = '{client}-1'"
    );
    world.texts(&sql).await.concat()
}

/// R070, R072, R073, R103, S11, S12, A-18, R115: whatever course a dispute takes, told live or by its last event alone, the books hold
/// what its balance transactions moved, the payment stands, and the invoice is not open again.
#[tokio::test]
async fn r073_a18_the_books_follow_a_disputes_money_and_nothing_else() {
    let world = World::start(WorldOptions::default()).await;
    let clients: Vec<&str> = COURSES.iter().map(|course| course.client).collect();
    bill_all(&world, &clients).await;
    for course in &COURSES {
        for (kind, amount, moves) in course.disputes {
            let id = open(&world, course.client, kind, *amount).await;
            world.settle().await;
            for action in *moves {
                act(&world, &id, action).await;
            }
        }
    }
    world.settle().await;
    for course in &COURSES {
        assert_eq!(
            ends(&world, course.client).await,
            course.ends,
            "{}",
            course.client
        );
        assert_eq!(
            holds(&world, course.client).await,
            accounts::lines(course.holds),
            "{}",
            course.client
        );
    }
    let payments = i64::try_from(COURSES.len()).unwrap() * 10_000;
    assert_eq!(
        world.count("select sum(amount_minor) from payments").await,
        payments
    );
    assert_eq!(world.count("select sum(open_minor) from invoice_status").await, 0);
    let asked = world
        .texts(
            "select distinct outcome || ' ' || reason_code || ' ' || count(*) over () from decisions
              where kind = 'dispute' and subject_kind = 'dispute'",
        )
        .await;
    assert_eq!(asked, ["needs_human dispute_lost_needs_choice 5"]);
    accounts::assert_sound(&world).await;
}

#[tokio::test]
async fn s11_s12_a_dispute_that_is_told_by_its_end_alone_is_booked_in_full() {
    let world = World::start(WorldOptions::default()).await;
    bill_all(&world, &["lost", "won"]).await;
    world
        .sim
        .webhooks(json!({ "drop_types": ["charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.updated"] }))
        .await
        .unwrap();
    for (client, end) in [("lost", "lose"), ("won", "win")] {
        let id = open(&world, client, "chargeback", None).await;
        act(&world, &id, end).await;
    }
    world.settle().await;
    assert_eq!(holds(&world, "lost").await, accounts::lines(LOST));
    assert_eq!(holds(&world, "won").await, accounts::lines(FEE));
    let told = world
        .texts("select action || ' ' || count(*) from audit_events where action like 'dispute.%' group by action order by 1")
        .await;
    assert_eq!(told, ["dispute.opened 2", "dispute.resolved 2"]);
    accounts::assert_sound(&world).await;
}

/// A19, R005, A-32: what a lost dispute took is a loss, or the client's debt again by a new invoice; the old one is left as it is.
#[tokio::test]
async fn a19_a_lost_dispute_is_written_off_or_billed_again_and_never_charged_by_itself() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["given_up", "again", "again_by_card", "partly"];
    bill_all(&world, &clients).await;
    let mut ids = Vec::new();
    for client in clients {
        let amount = (client == "partly").then_some(4_000);
        let id = open(&world, client, "chargeback", amount).await;
        world.settle().await;
        act(&world, &id, "lose").await;
        ids.push(id);
    }
    world.settle().await;
    let undecided = world.json(&["dispute", "list", "--status", "undecided"]).await;
    assert_eq!(undecided["data"].as_array().unwrap().len(), 4);
    assert_eq!(undecided["data"][0]["decision"], "needed");

    let resolve = |dispute: String, how: &'static [&'static str]| {
        let world = &world;
        async move {
            let mut command = vec!["dispute", "resolve", dispute.as_str()];
            command.extend(how);
            command.extend(["--reason", "as agreed"]);
            world.json(&command).await
        }
    };
    let given_up = resolve(ids[0].clone(), &["--write-off"]).await;
    assert_eq!(
        (&given_up["decision"], &given_up["invoice"]),
        (&json!("write_off"), &Value::Null)
    );
    let again = resolve(ids[1].clone(), &["--rebill"]).await;
    assert_eq!(
        (&again["invoice"], &again["total_minor"]),
        (&json!("RB-0001-000001"), &json!(10_000))
    );
    resolve(ids[2].clone(), &["--rebill", "--autopay"]).await;
    let partly = resolve(ids[3].clone(), &["--rebill"]).await;
    assert_eq!(partly["total_minor"], 4_000);
    world.settle().await;
    world.advance("31d").await;
    world.settle().await;

    // Only what a person let the card be charged for was charged.
    let outcomes = [
        ("given_up", "charged_back succeeded: auto 0 succeeded"),
        ("again", "charged_back succeeded: auto 0 succeeded; overdue none"),
        (
            "again_by_card",
            "charged_back succeeded: auto 0 succeeded; paid succeeded: auto 0 succeeded",
        ),
        ("partly", "charged_back succeeded: auto 0 succeeded; overdue none"),
    ];
    acme::assert_outcomes(&world, &outcomes).await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 50_000);
    accounts::assert_balances(
        &world,
        &[
            ("chargeback_loss", 10_000),
            ("processor_fees", 6_000),
            ("receivable", 14_000),
            ("revenue_hourly", -40_000),
            ("stripe_clearing", 50_000 - 34_000 - 6_000),
        ],
    )
    .await;
    assert_eq!(
        world
            .count("select count(*) from invoices where fenced_reason is not null")
            .await,
        0
    );
    let line = world
        .texts("select l.kind || ' ' || l.description_code from invoice_lines l join invoices i on i.id = l.invoice_id where i.number like 'RB-%' group by 1")
        .await;
    assert_eq!(line, ["adjustment chargeback_rebill"]);
    let shown = world.json(&["dispute", "show", &ids[1]]).await;
    assert_eq!(
        (
            &shown["resolution"]["kind"],
            &shown["resolution"]["invoice"],
            &shown["decision"]
        ),
        (&json!("rebill"), &json!("RB-0001-000001"), &json!("rebill"))
    );
    // The new invoice is one like any other: paid by transfer, or given up; but not taken back.
    let void = world
        .cli(&[
            "invoice",
            "void",
            "RB-0001-000001",
            "--reason",
            "mistake",
            "--json",
        ])
        .await;
    assert_eq!(
        (void.code, &void.json().unwrap()["error"]["code"]),
        (4, &json!("rebills_dispute"))
    );
    world
        .json(&[
            "invoice",
            "pay-external",
            "RB-0001-000001",
            "--amount",
            "100.00",
            "--reference",
            "T-1",
        ])
        .await;
    world
        .json(&["invoice", "write-off", "RB-0001-000003", "--reason", "insolvent"])
        .await;
    accounts::assert_sound(&world).await;
}

/// Taken in another currency than the invoice's: the disputed amount is billed again, and the rest is a gain or a loss.
#[tokio::test]
async fn a19_a_dispute_settled_in_another_currency_is_billed_again_by_what_was_disputed() {
    let world = World::start(WorldOptions::default()).await;
    bill_all(&world, &["globex"]).await;
    for sql in [
        "insert into disputes (firm_id, id, payment_id, stripe_dispute_id, stripe_status, kind, reason, amount_minor, currency, opened_at, outcome, closed_at)
         select firm_id, '0199a1b2-0000-7000-8000-000000000001', id, 'dp_eur', 'lost', 'chargeback', 'general', 10000, 'usd', app.now(), 'lost', app.now() from payments",
        "insert into stripe_routes (stripe_id, kind, firm_id, our_id)
         select stripe_dispute_id, 'dispute', firm_id, id from disputes",
        "insert into dispute_movements (firm_id, stripe_balance_transaction_id, kind, dispute_id, amount_minor, currency, at)
         select firm_id, 'txn_eur', 'withdrawn', id, 9300, 'eur', app.now() from disputes",
    ] {
        accounts::run(&world, sql).await.unwrap();
    }
    let again = world
        .json(&[
            "dispute",
            "resolve",
            "dp_eur",
            "--rebill",
            "--reason",
            "as agreed",
        ])
        .await;
    assert_eq!(
        (&again["total_minor"], &again["currency"]),
        (&json!(10_000), &json!("usd"))
    );
    let held = world
        .texts(
            "select p.account || ' ' || p.currency || ' ' || sum(p.amount_minor) from postings p join journals j on j.id = p.journal_id
              where j.dispute_id is not null or j.invoice_id <> (select id from invoices where external_id = 'globex-1')
              group by p.account, p.currency having sum(p.amount_minor) <> 0 order by 1",
        )
        .await;
    assert_eq!(
        held,
        [
            "chargeback_loss eur 9300",
            "chargeback_loss usd -10000",
            "receivable usd 10000",
            "stripe_clearing eur -9300",
        ]
    );
}

/// Every refusal is a sentence and exit code 4, and nothing has changed; the database refuses the same by itself.
#[tokio::test]
async fn a19_only_a_lost_dispute_is_decided_and_only_once() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["open", "won", "asked", "decided"];
    bill_all(&world, &clients).await;
    let mut ids = Vec::new();
    for (client, kind, end) in [
        ("open", "chargeback", None),
        ("won", "chargeback", Some("win")),
        ("asked", "inquiry", Some("close_inquiry")),
        ("decided", "chargeback", Some("lose")),
    ] {
        let id = open(&world, client, kind, None).await;
        world.settle().await;
        if let Some(end) = end {
            act(&world, &id, end).await;
        }
        ids.push(id);
    }
    world.settle().await;
    world
        .json(&["dispute", "resolve", &ids[3], "--write-off", "--reason", "small"])
        .await;
    let before = world.state_text().await;
    for (id, code, word) in [
        (&ids[0], "dispute_open", "open"),
        (&ids[1], "dispute_not_lost", "not lost"),
        (&ids[2], "dispute_not_lost", "not lost"),
        (&ids[3], "already_decided", "decided before"),
    ] {
        let refused = world
            .cli(&[
                "dispute",
                "resolve",
                id,
                "--rebill",
                "--reason",
                "as agreed",
                "--json",
            ])
            .await;
        assert_eq!(refused.code, 4, "{refused}");
        let error = &refused.json().unwrap()["error"];
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    for wrong in [
        &["dispute", "resolve", "dp_1", "--reason", "no choice"][..],
        &[
            "dispute",
            "resolve",
            "dp_1",
            "--rebill",
            "--write-off",
            "--reason",
            "both",
        ],
        &[
            "dispute",
            "resolve",
            "dp_1",
            "--write-off",
            "--autopay",
            "--reason",
            "no invoice",
        ],
        &["dispute", "resolve", "dp_1", "--write-off"],
    ] {
        assert_eq!(world.cli(wrong).await.code, 2, "{wrong:?}");
    }
    assert_eq!(world.state_text().await, before);
    for (client, guard) in [
        (
            "open",
            "only a lost dispute waits for a decision, this one is needs_response",
        ),
        ("won", "only a lost dispute waits for a decision, this one is won"),
        ("decided", "duplicate key"),
    ] {
        let sql = format!(
            "insert into dispute_resolutions (firm_id, dispute_id, kind, reason, resolved_by, resolved_at)
             select d.firm_id, d.id, 'write_off', 'r', 'me', app.now() from disputes d join payments p on p.id = d.payment_id
               join clients c on c.id = p.client_id where c.external_id = '{client}'"
        );
        let refused = accounts::run(&world, &sql).await.unwrap_err();
        assert!(refused.contains(guard), "{refused}");
    }
    // 16 decisions at once: one stands.
    let late = open(&world, "won", "chargeback", Some(1_000)).await;
    world.settle().await;
    act(&world, &late, "lose").await;
    world.settle().await;
    let answers = futures::future::join_all((0..16).map(|n| {
        let how = if n % 2 == 0 { "--rebill" } else { "--write-off" };
        let (world, late) = (&world, late.as_str());
        async move {
            world
                .cli(&["dispute", "resolve", late, how, "--reason", "race"])
                .await
                .code
        }
    }))
    .await;
    assert_eq!(
        answers.iter().filter(|code| **code == 0).count(),
        1,
        "{answers:?}"
    );
    assert!(answers.iter().all(|code| [0, 4].contains(code)), "{answers:?}");
    accounts::assert_sound(&world).await;
}

/// R074: who calls one charge a fraud is not charged for anything else until the bank or a person has decided.
#[tokio::test]
async fn r074_a_chargeback_for_fraud_pauses_the_clients_other_charges() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["wins", "loses", "trusted", "quarrels"];
    let script = ["succeed", "insufficient_funds", "succeed", "..."];
    acme::open_accounts(&world, &clients.map(|client| (client, &script[..]))).await;
    acme::bill(&world, &clients, "usd", "100.00").await;
    world.settle().await;
    // A second invoice each, whose retry is due in three days.
    let mut disputes = Vec::new();
    for client in clients {
        let reason = if client == "quarrels" {
            "product_not_received"
        } else {
            "fraudulent"
        };
        disputes.push(dispute(&world, client, json!({ "kind": "chargeback", "reason": reason })).await);
    }
    world.settle().await;
    for client in clients {
        acme::bill_again(&world, client, "50.00").await;
    }
    world.settle().await;
    let paused =
        "select external_id from clients where autopay_paused_reason = 'fraudulent_chargeback' order by 1";
    assert_eq!(world.texts(paused).await, ["loses", "trusted", "wins"]);
    // Second invoices of paused clients have not been tried at all; that of the other was.
    assert!(
        acme::outcome(&world, "quarrels")
            .await
            .ends_with("failed retry_wait: auto 0 declined")
    );
    assert!(acme::outcome(&world, "wins").await.ends_with("sent scheduled"));
    let why = world
        .texts("select distinct d.reason_code from decisions d where d.kind = 'charge' and d.outcome = 'wait' and d.reason_code like 'autopay%'")
        .await;
    assert_eq!(why, ["autopay_paused"]);

    // A person trusts one of them; the dispute's next news does not take that back.
    world
        .json(&[
            "resume",
            "autopay",
            "--client-id",
            "trusted",
            "--reason",
            "a story",
        ])
        .await;
    act(&world, &disputes[2], "under_review").await;
    act(&world, &disputes[0], "win").await;
    act(&world, &disputes[1], "lose").await;
    world.settle().await;
    assert_eq!(world.texts(paused).await, ["loses"]);
    // The next sweep finds what is due; here it is a person's.
    world.json(&["process-recurring-charges"]).await;
    world.settle().await;
    for client in ["wins", "trusted"] {
        assert!(
            acme::outcome(&world, client)
                .await
                .ends_with("failed retry_wait: auto 0 declined"),
            "{client}"
        );
    }
    assert!(acme::outcome(&world, "loses").await.ends_with("sent scheduled"));
    let told = world
        .texts("select action || ' ' || severity || ' ' || count(*) from audit_events where action in ('autopay.paused', 'autopay.resumed') group by action, severity order by 1")
        .await;
    assert_eq!(told, ["autopay.paused warning 3", "autopay.resumed info 1"]);
    accounts::assert_sound(&world).await;
}

#[tokio::test]
async fn r118_disputes_are_listed_by_their_deadline_and_what_speaks_for_a_charge_is_collected() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["first", "second", "third", "asked"];
    bill_all(&world, &clients).await;
    acme::bill_again(&world, "first", "20.00").await;
    world.settle().await;
    let mut ids = Vec::new();
    for client in clients {
        let intents = acme::intents(&world, client).await;
        let kind = if client == "asked" {
            "inquiry"
        } else {
            "chargeback"
        };
        let order = json!({ "payment_intent": intents[0], "kind": kind, "reason": "product_not_received" });
        let opened = world.sim.post("/disputes", order).await.unwrap();
        ids.push(opened["id"].as_str().unwrap().to_owned());
        world.settle().await;
        world.advance("1d").await;
    }
    act(&world, &ids[1], "win").await;
    world.settle().await;
    // Open ones by their deadline, then the one that ended; page by page.
    let mut listed = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut command = vec!["dispute", "list", "--limit", "1"];
        if let Some(cursor) = &cursor {
            command.extend(["--cursor", cursor.as_str()]);
        }
        let page = world.json(&command).await;
        listed.push(page["data"][0]["id"].as_str().unwrap().to_owned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(listed, [&ids[0], &ids[2], &ids[3], &ids[1]].map(String::clone));
    for (status, count) in [("open", 3), ("won", 1), ("undecided", 0), ("lost", 0)] {
        let page = world.json(&["dispute", "list", "--status", status]).await;
        assert_eq!(page["data"].as_array().unwrap().len(), count, "{status}");
    }
    let text = world
        .cli(&["dispute", "list", "--status", "open"])
        .await
        .success()
        .unwrap()
        .stdout;
    assert!(
        text.starts_with("DISPUTE") && text.contains("ANSWER BY"),
        "{text}"
    );

    let shown = world.json(&["dispute", "show", &ids[0]]).await;
    assert_eq!(
        (
            &shown["kind"],
            &shown["outcome"],
            &shown["fenced_reason"],
            &shown["payment_minor"]
        ),
        (
            &json!("chargeback"),
            &Value::Null,
            &json!("chargeback"),
            &json!(10_000)
        )
    );
    assert_eq!(shown["movements"].as_array().unwrap().len(), 2);
    assert_eq!(
        shown["ledger"][0],
        json!({ "account": "dispute_hold", "minor": 10_000, "currency": "usd" })
    );
    assert!(shown["respond_by"].is_string());

    let pack = world.json(&["dispute", "evidence", &ids[0]]).await;
    assert_eq!(pack["dispute"]["id"], ids[0].as_str());
    assert_eq!(pack["invoice"]["external_id"], "first-1");
    assert_eq!(pack["invoice"]["attempts"][0]["state"], "succeeded");
    assert_eq!(pack["engagement"]["label"], "first-work");
    assert!(pack["engagement"]["signed_at"].is_string());
    let actions = |part: &str| -> Vec<String> {
        let events = pack[part].as_array().unwrap().iter();
        events
            .map(|event| event["action"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(
        actions("authorization").contains(&"autopay.enabled".to_owned()),
        "{pack}"
    );
    assert!(
        actions("timeline").contains(&"payment.succeeded".to_owned()),
        "{pack}"
    );
    let text = world
        .cli(&["dispute", "evidence", &ids[0]])
        .await
        .success()
        .unwrap()
        .stdout;
    // R002: nobody's name is in it.
    assert!(
        text.contains("product_not_received") && !text.contains("Acme"),
        "{text}"
    );
    let nobody = world.cli(&["dispute", "show", "dp_nothing"]).await;
    assert_eq!(nobody.code, 1);
}
