//! Voiding an invoice (B-11, A-06): at every moment of a charge in flight it ends void with nothing captured, or paid with
//! the void rejected, and never as both.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use futures::future::join_all;
use serde_json::json;
use tests::world::{World, WorldOptions};

use crate::{accounts, acme};

/// What every invoice here is about, in minor units.
const AMOUNT_MINOR: i64 = 10_000;

/// Calls are held for as long as it takes to have everybody where the story wants them.
async fn patient_world() -> World {
    World::start(WorldOptions {
        stripe_timeout_secs: 60,
        concurrency: 16,
        ..WorldOptions::default()
    })
    .await
}

async fn bill(world: &World, client: &str, script: &[&str]) {
    acme::open_accounts(world, &[(client, script)]).await;
    acme::bill(world, &[client], "usd", "100.00").await;
}

/// Makes the next such call go wrong.
async fn strike(world: &World, path: &str, kind: &str) {
    let fault = json!({ "method": "POST", "path": path, "kind": kind });
    world.sim.fault(fault).await.unwrap();
}

/// Asks for a client's invoice to be voided and does not wait; the state of its document then.
async fn ask(world: &World, client: &str) -> String {
    let invoice = format!("{client}-1");
    let asked = world
        .json(&[
            "invoice",
            "void",
            &invoice,
            "--reason",
            "billed twice",
            "--no-wait",
        ])
        .await;
    asked["state"].as_str().unwrap().to_owned()
}

/// What became of a client's invoice: state of its document, minor units captured at Stripe and paid here, what the ledger
/// holds open, how often a void came about and was rejected.
async fn end(world: &World, client: &str) -> String {
    let mut captured = 0;
    let books = world.sim.books().await.unwrap();
    for intent in acme::intents(world, client).await {
        captured += books["by_payment_intent"][&intent]["captured"].as_i64().unwrap();
    }
    let ours = world
        .texts(&format!(
            "select format('paid %s open %s voided %s rejected %s', s.paid_minor, app.receivable(i.firm_id, i.id),
                    (select count(*) from audit_events a where a.subject_id = i.id and a.action = 'invoice.voided'),
                    (select count(*) from audit_events a where a.subject_id = i.id and a.action = 'invoice.void_rejected'))
               from invoices i join invoice_status s on s.id = i.id where i.external_id = '{client}-1'"
        ))
        .await
        .concat();
    let state = world
        .texts(&format!(
            "select doc_state from invoices where external_id = '{client}-1'"
        ))
        .await
        .concat();
    format!("{state}: captured {captured} {ours}")
}

const VOID: &str = "void: captured 0 paid 0 open 0 voided 1 rejected 0";
const PAID: &str = "issued: captured 10000 paid 10000 open 0 voided 0 rejected 1";

async fn assert_ends(world: &World, wanted: &[(&str, &str)]) {
    let mut found = Vec::new();
    for (client, _) in wanted {
        found.push((*client, end(world, client).await));
    }
    let found: Vec<(&str, &str)> = found.iter().map(|(c, text)| (*c, text.as_str())).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn b11_a_void_at_any_moment_of_a_first_charge_ends_void_or_paid_and_never_both() {
    let world = patient_world().await;
    let confirm = "/v1/payment_intents/*/confirm";
    // Everybody is stopped where the void is to meet the charge.
    for (held, (client, path, kind)) in (1..).zip([
        ("before_create", "/v1/payment_intents", "hold_before"),
        ("created", "/v1/payment_intents", "hold_after"),
        ("before_confirm", confirm, "hold_before"),
        ("captured", confirm, "hold_after"),
    ]) {
        strike(&world, path, kind).await;
        bill(&world, client, &[]).await;
        world.until_held(held).await;
    }
    // What Stripe tells meanwhile is held back, so that only our own calls know.
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    for (client, kind) in [("lost", "reset_before"), ("took", "reset_after")] {
        strike(&world, confirm, kind).await;
        bill(&world, client, &[]).await;
        let unknown = format!(
            "select count(*) from payment_attempts a join collection_cycles c on c.id = a.cycle_id
               join invoices i on i.id = c.invoice_id where i.external_id = '{client}-1' and a.state = 'unknown'"
        );
        world.until(&unknown, 1, std::time::Duration::from_secs(10)).await;
    }

    // Where nothing was sent, it is void at once; elsewhere it waits for Stripe.
    for (client, state) in [
        ("before_create", "void"),
        ("created", "void"),
        ("before_confirm", "void_requested"),
        ("captured", "void_requested"),
        ("lost", "void_requested"),
        ("took", "void_requested"),
    ] {
        assert_eq!(ask(&world, client).await, state, "{client}");
    }
    world.sim.release().await.unwrap();
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world.settle().await;
    assert_ends(
        &world,
        &[
            ("before_create", VOID),
            ("created", VOID),
            ("before_confirm", PAID),
            ("captured", PAID),
            ("lost", VOID),
            ("took", PAID),
        ],
    )
    .await;
    // Whoever is void has nothing at Stripe that could still be paid, and nobody charges anything again.
    for client in ["before_create", "created", "lost"] {
        assert_eq!(
            acme::intent(&world, client).await.1["status"],
            "canceled",
            "{client}"
        );
    }
    world.advance("31d").await;
    world.settle().await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 3 * AMOUNT_MINOR);
    let decided = world
        .texts("select distinct outcome || ' ' || reason_code from decisions where kind = 'void' order by 1")
        .await;
    assert_eq!(
        decided,
        [
            "reject money_arrived",
            "void nothing_under_way",
            "wait charge_under_way"
        ]
    );
    acme::assert_books_agree(&world).await;
    accounts::assert_sound(&world).await;
}

#[tokio::test]
async fn b11_a_void_meets_a_charge_that_waits_for_a_card_a_client_or_a_bank() {
    let world = patient_world().await;
    for (client, script) in [
        ("retry_wait", "insufficient_funds"),
        ("method_required", "lost_card"),
        ("action_required", "authenticate"),
        ("authenticating", "insufficient_funds"),
        ("processing_good", "processing"),
        ("processing_bad", "processing"),
        ("pays_first", "insufficient_funds"),
        ("answer_lost", "insufficient_funds"),
    ] {
        bill(&world, client, &[script]).await;
    }
    world.settle().await;
    let (authenticating, _) = acme::intent(&world, "authenticating").await;
    let pay = |intent: &str| format!("/payment_intents/{intent}/pay");
    let order = |outcome: &str| json!({ "payment_method": "pm_card_visa", "outcome": outcome });
    world
        .sim
        .post(&pay(&authenticating), order("authenticate"))
        .await
        .unwrap();
    world.settle().await;

    // One pays on the website at the moment at which its intent is to be canceled; of another the answer is lost.
    let (pays_first, _) = acme::intent(&world, "pays_first").await;
    let (answer_lost, _) = acme::intent(&world, "answer_lost").await;
    strike(
        &world,
        &format!("/v1/payment_intents/{pays_first}/cancel"),
        "hold_before",
    )
    .await;
    strike(
        &world,
        &format!("/v1/payment_intents/{answer_lost}/cancel"),
        "reset_after",
    )
    .await;
    for client in [
        "retry_wait",
        "method_required",
        "action_required",
        "authenticating",
        "processing_good",
        "processing_bad",
        "pays_first",
        "answer_lost",
    ] {
        assert_eq!(ask(&world, client).await, "void_requested", "{client}");
    }
    world.until_held(1).await;
    world.sim.post(&pay(&pays_first), order("succeed")).await.unwrap();
    world.sim.release().await.unwrap();
    world.settle().await;
    // A payment that the bank is processing cannot be canceled: its end decides.
    for client in ["processing_good", "processing_bad"] {
        let waits = "void_requested: captured 0 paid 0 open 10000 voided 0 rejected 0";
        assert_ends(&world, &[(client, waits)]).await;
        // Who looks meanwhile sees more than an invoice that was sent.
        let invoice = format!("{client}-1");
        let shown = world.json(&["invoice", "show", &invoice]).await;
        assert_eq!(shown["being_voided"], true, "{shown}");
        let said = world.cli(&["invoice", "show", &invoice]).await;
        assert!(said.stdout.contains("  SENT, BEING VOIDED  "), "{said}");
    }
    let listed = world.cli(&["invoice", "list"]).await;
    assert_eq!(listed.stdout.matches("sent, being voided").count(), 2, "{listed}");
    for (client, outcome) in [
        ("processing_good", "succeed"),
        ("processing_bad", "insufficient_funds"),
    ] {
        let (intent, _) = acme::intent(&world, client).await;
        let settle = format!("/payment_intents/{intent}/settle");
        world
            .sim
            .post(&settle, json!({ "outcome": outcome }))
            .await
            .unwrap();
    }
    world.settle().await;
    world.advance("11m").await;
    world.settle().await;
    assert_ends(
        &world,
        &[
            ("retry_wait", VOID),
            ("method_required", VOID),
            ("action_required", VOID),
            ("authenticating", VOID),
            ("processing_good", PAID),
            ("processing_bad", VOID),
            ("pays_first", PAID),
            ("answer_lost", VOID),
        ],
    )
    .await;
    world.advance("31d").await;
    world.settle().await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 2 * AMOUNT_MINOR);
    acme::assert_books_agree(&world).await;
    accounts::assert_sound(&world).await;
}

#[tokio::test]
async fn b11_the_command_waits_for_the_outcome_and_says_what_it_was() {
    let world = patient_world().await;
    bill(&world, "waits", &["lost_card"]).await;
    bill(&world, "exhausted", &["insufficient_funds", "..."]).await;
    world.settle().await;
    for days in ["3d", "4d", "7d"] {
        world.advance(days).await;
        world.settle().await;
    }
    assert!(
        acme::outcome(&world, "exhausted")
            .await
            .starts_with("failed exhausted")
    );
    // Out of steps, its intent is still open at Stripe: the client could pay it on the website.
    for client in ["waits", "exhausted"] {
        let invoice = format!("{client}-1");
        let ended = world
            .json(&["invoice", "void", &invoice, "--reason", "billed twice"])
            .await;
        assert_eq!(
            (&ended["state"], &ended["open_minor"]),
            (&json!("void"), &json!(0))
        );
        assert_eq!(acme::intent(&world, client).await.1["status"], "canceled");
    }
    // One whose charge captures while the command waits: it says so and ends with 4.
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_before" });
    world.sim.fault(hold).await.unwrap();
    bill(&world, "captured", &[]).await;
    world.until_held(1).await;
    let command = [
        "invoice",
        "void",
        "captured-1",
        "--reason",
        "billed twice",
        "--json",
    ];
    let (answer, ()) = tokio::join!(world.cli(&command), async {
        let asked = "select count(*) from audit_events where action = 'invoice.void_requested'
                        and subject_id = (select id from invoices where external_id = 'captured-1')";
        world.until(asked, 1, std::time::Duration::from_secs(10)).await;
        world.sim.release().await.unwrap();
    });
    assert_eq!(answer.code, 4, "{answer}");
    assert_eq!(answer.json().unwrap()["error"]["code"], "money_arrived");
    assert_ends(
        &world,
        &[("captured", PAID), ("waits", VOID), ("exhausted", VOID)],
    )
    .await;
    accounts::assert_sound(&world).await;
}

/// Every refusal is a sentence and exit code 4, and nothing has changed; the database refuses the same by itself.
#[tokio::test]
async fn r115_what_was_paid_ended_or_is_disputed_is_not_voided() {
    let world = World::start(WorldOptions::default()).await;
    for client in ["paid", "partly", "disputed", "written_off", "void"] {
        let script: &[&str] = if client == "paid" || client == "disputed" {
            &[]
        } else {
            &["lost_card"]
        };
        bill(&world, client, script).await;
    }
    world.settle().await;
    acme::pay_by_bank(&world, "partly", 1).await;
    let (disputed, _) = acme::intent(&world, "disputed").await;
    let order = json!({ "payment_intent": disputed, "kind": "chargeback", "reason": "product_not_received" });
    world.sim.post("/disputes", order).await.unwrap();
    world
        .json(&["invoice", "write-off", "written_off-1", "--reason", "insolvent"])
        .await;
    world
        .json(&["invoice", "void", "void-1", "--reason", "billed twice"])
        .await;
    world.settle().await;

    accounts::run(
        &world,
        "insert into invoices (firm_id, id, external_id, client_id, engagement_id, source, currency)
         select firm_id, gen_random_uuid(), 'draft-1', client_id, engagement_id, source, currency from invoices where external_id = 'paid-1'",
    )
    .await
    .unwrap();

    let before = world.state_text().await;
    for (client, code, word) in [
        ("draft", "never_issued", "discard"),
        ("paid", "paid", "refund"),
        ("partly", "paid", "refund"),
        ("disputed", "open_chargeback", "chargeback"),
        ("written_off", "written_off", "written off"),
        ("void", "already_void", "void already"),
    ] {
        let invoice = format!("{client}-1");
        let refused = world
            .cli(&["invoice", "void", &invoice, "--reason", "billed twice", "--json"])
            .await;
        assert_eq!(refused.code, 4, "{refused}");
        let error = &refused.json().unwrap()["error"];
        assert_eq!(error["code"], code, "{client}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(world.state_text().await, before);
    let mute = world.cli(&["invoice", "void", "paid-1", "--reason", " "]).await;
    assert_eq!(mute.code, 2, "{mute}");

    for (client, state, guard) in [
        ("draft", "void", "invoice cannot go from draft to void"),
        ("paid", "void_requested", ""),
        ("paid", "void", "was paid, even in part"),
        (
            "written_off",
            "void_requested",
            "invoice cannot go from written_off to void_requested",
        ),
        ("void", "issued", "invoice cannot go from void to issued"),
        ("disputed", "written_off", "a chargeback of this invoice is open"),
    ] {
        let sql = format!("update invoices set doc_state = '{state}' where external_id = '{client}-1'");
        match (accounts::run(&world, &sql).await, guard) {
            (Ok(_), "") => {}
            (refused, guard) => assert!(refused.unwrap_err().contains(guard), "{client} {state}"),
        }
    }
}

#[tokio::test]
async fn b16_a_void_gives_credit_and_hours_back_and_keeps_its_period_billed() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    acme::open_accounts(&world, &[("globex", &["lost_card"])]).await;
    let mut document = acme::document(&["globex"]);
    let today = acme::today(&world).await;
    document["engagements"] = json!([{
        "external_id": "globex-work", "client": "globex", "pricing_mode": "package", "currency": "usd",
        "package_fee": "100.00", "package_fee_schedule": "annual", "period_anchor": "anniversary",
        "starts_on": today, "signed": true,
    }, {
        "external_id": "globex-hours", "client": "globex", "pricing_mode": "hourly", "currency": "usd",
        "hourly_rate": "60", "starts_on": today, "signed": true,
    }]);
    document["time_entries"] = json!([{
        "external_id": "t1", "engagement": "globex-hours", "worker": "w1", "worked_on": today, "minutes": 60,
        "state": "approved", "approved_by": "admin1",
    }]);
    world.import(&document).await;
    world.json(&["generate-package-invoices"]).await;
    world.settle().await;
    let package = world.texts("select number from invoices").await.concat();
    // An invoice with the hour on it, and 30.00 of goodwill on the package.
    for sql in [
        "insert into invoices (firm_id, id, external_id, client_id, engagement_id, source, currency, subtotal_minor)
         select firm_id, gen_random_uuid(), 'hours', client_id, id, 'hourly', 'usd', 6000 from engagements where external_id = 'globex-hours'",
        "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, quantity_minutes, rate_minor, amount_minor, time_entry_id)
         select i.firm_id, gen_random_uuid(), i.id, 1, 'hourly', 60, 6000, 6000, t.id from invoices i, time_entries t where i.external_id = 'hours'",
        "update invoices set doc_state = 'issued', number = 'HRS-1', issue_date = current_date, due_date = current_date, issued_at = app.now()
          where external_id = 'hours'",
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, issued_at, cause)
         select firm_id, gen_random_uuid(), id, 'usd', 3000, 'promotional', app.now(), 'test' from clients",
        "insert into credit_applications (firm_id, id, lot_id, invoice_id, amount_minor, applied_at, cause)
         select l.firm_id, gen_random_uuid(), l.id, i.id, 3000, app.now(), 'test' from credit_lots l, invoices i where i.external_id is null",
    ] {
        accounts::run(&world, sql).await.unwrap();
    }
    let credit = "select sum(balance_minor) from credit_balances";
    assert_eq!(world.count(credit).await, 0);

    // The hour can go onto another invoice only when this one is void.
    let voided = world
        .json(&["invoice", "void", "hours", "--reason", "wrong rate"])
        .await;
    assert_eq!(voided["state"], "void");
    let voided = world
        .json(&["invoice", "void", &package, "--reason", "wrong fee"])
        .await;
    assert_eq!(voided["state"], "void");
    world.settle().await;
    assert_eq!(world.count(credit).await, 3000);
    assert_eq!(
        world
            .count(
                "select count(*) from invoice_lines where time_entry_id is not null and released_at is null"
            )
            .await,
        0
    );
    let told = world
        .texts(
            "select action || ' ' || subject_kind || ' ' || actor_kind from audit_events
              where action in ('credit.reversed', 'time.released', 'invoice.void_requested', 'invoice.voided') order by id",
        )
        .await;
    // The one without a card at once; the other when Stripe has canceled its intent.
    assert_eq!(
        told,
        [
            "invoice.void_requested invoice operator",
            "invoice.voided invoice operator",
            "time.released time_entry operator",
            "invoice.void_requested invoice operator",
            "credit.reversed credit_lot system",
            "invoice.voided invoice system",
        ]
    );
    // the period is not billed again by itself.
    assert_eq!(
        world
            .count("select count(*) from billing_periods where released_at is null")
            .await,
        1
    );
    let again = world.json(&["generate-package-invoices"]).await;
    assert_eq!(again["created"], json!([]));
    accounts::assert_balances(&world, &[("client_credit", -3000), ("credits_granted", 3000)]).await;
    accounts::assert_sound(&world).await;
}

/// 16 invoices are voided at the moment at which they are charged, and one of them by 16 people at once.
#[tokio::test]
async fn load_b11_16_concurrent_voids_against_charges_end_exactly() {
    let world = World::start(WorldOptions {
        workers: 2,
        stripe_timeout_secs: 20,
        ..WorldOptions::default()
    })
    .await;
    let clients: Vec<String> = (0..16).map(|n| format!("client{n:02}")).collect();
    let names: Vec<&str> = clients.iter().map(String::as_str).collect();
    acme::open_accounts(
        &world,
        &clients.iter().map(|c| (c.as_str(), &[][..])).collect::<Vec<_>>(),
    )
    .await;
    // Charges take a while, so that voids come before, between and after their calls.
    for path in ["/v1/payment_intents", "/v1/payment_intents/*/confirm"] {
        let slow = json!({ "method": "POST", "path": path, "kind": "delay_before_effect", "ms": 250, "times": 1000 });
        world.sim.fault(slow).await.unwrap();
    }
    acme::bill(&world, &names, "usd", "100.00").await;
    let void = |client: String| {
        let world = &world;
        async move {
            let invoice = format!("{client}-1");
            let ended = world
                .cli(&["invoice", "void", &invoice, "--reason", "race"])
                .await;
            (client, ended.code)
        }
    };
    let crowd = std::iter::repeat_n("client00".to_owned(), 15).chain(clients.clone());
    let answers = join_all(crowd.map(void)).await;
    world.settle().await;

    let mut paid = 0;
    for client in &names {
        let ended = end(&world, client).await;
        let codes: Vec<i32> = answers
            .iter()
            .filter(|(c, _)| c == client)
            .map(|(_, code)| *code)
            .collect();
        if ended.starts_with("void:") {
            assert_eq!(ended, VOID, "{client}");
            // Of 16 voids of one invoice all succeed, or come too late to ask.
            assert!(
                codes.contains(&0) && codes.iter().all(|code| [0, 4].contains(code)),
                "{client}: {codes:?}"
            );
        } else {
            paid += 1;
            assert!(
                ended.starts_with("issued: captured 10000 paid 10000 open 0 voided 0"),
                "{client}: {ended}"
            );
            assert!(codes.iter().all(|code| *code == 4), "{client}: {codes:?}");
        }
    }
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        paid * AMOUNT_MINOR
    );
    assert_eq!(world.count("select count(*) from credit_lots").await, 0);
    acme::assert_books_agree(&world).await;
    accounts::assert_sound(&world).await;
}
