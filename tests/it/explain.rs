//! P10: every charge, and every charge that did not happen, can be explained from stored facts, by command.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme::{self, Autopay};

/// Where the reasons have their texts.
const REASONS: &str = include_str!("../../shared/src/domain/explain/reasons.rs");

/// A reason that is written has a text and a remedy.
fn assert_has_text(code: &str) {
    let code = code.split(':').next().unwrap();
    assert!(REASONS.contains(&format!("\"{code}\",")), "{code} has no text");
}

/// Asks, and checks that the answer is one.
async fn ask(world: &World, args: &[&str]) -> Value {
    let answer = world.json(args).await;
    assert!(!answer["verdict"].as_str().unwrap().is_empty(), "{answer}");
    assert!(!answer["subject"].as_str().unwrap().is_empty(), "{answer}");
    for key in [
        "question",
        "since",
        "chain",
        "checks",
        "do",
        "evidence",
        "reason_code",
    ] {
        assert!(answer.get(key).is_some(), "{key} is missing: {answer}");
    }
    let text = world.cli(args).await.success().unwrap().stdout;
    assert!(text.lines().count() > 1, "{text}");
    answer
}

/// The same, of an invoice's charge: a reason, what to do, and all conditions of the charging job.
async fn why_not(world: &World, invoice: &str) -> String {
    let answer = ask(world, &["why-not", "charge", invoice]).await;
    let code = answer["reason_code"]
        .as_str()
        .unwrap_or_else(|| panic!("no reason: {answer}"))
        .to_owned();
    assert_has_text(&code);
    assert!(!answer["do"].as_array().unwrap().is_empty(), "{answer}");
    assert!(!answer["evidence"].as_array().unwrap().is_empty(), "{answer}");
    assert!(answer["since"].is_string(), "{answer}");
    let names: Vec<&str> = answer["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    let decided = format!(
        "select p ->> 'name' from (select predicates from decisions d join invoices i on i.id = d.subject_id
            where i.external_id = '{invoice}' and d.kind = 'charge' order by d.last_at desc limit 1) l, jsonb_array_elements(l.predicates) p"
    );
    let decided = world.texts(&decided).await;
    assert!(
        decided.is_empty() || decided == names,
        "{invoice}: the job looked at {decided:?}, the answer at {names:?}"
    );
    code
}

/// An invoice of 100 dollars, imported as told.
fn invoice(client: &str, changes: &[(&str, Value)]) -> Value {
    let mut invoice = json!({
        "external_id": format!("{client}-1"), "client": client, "engagement": format!("{client}-work"), "currency": "usd",
        "issue_date": "2020-01-01", "due_date": "2099-12-31", "autopay_opt_in": true,
        "lines": [{ "kind": "hourly", "amount": "100.00" }],
    });
    for (key, value) in changes {
        invoice[*key] = value.clone();
    }
    invoice
}

/// Imports one invoice of a client whose engagement is charged as told.
async fn bill(world: &World, client: &str, charge_timing: &str, changes: &[(&str, Value)]) {
    let mut document = acme::document(&[client]);
    document["engagements"] = json!([{
        "external_id": format!("{client}-work"), "client": client, "pricing_mode": "hourly", "currency": "usd",
        "hourly_rate": "100", "starts_on": "2020-01-01", "charge_timing": charge_timing, "signed": true,
    }]);
    document["invoices"] = json!([invoice(client, changes)]);
    world.import(&document).await;
}

/// R067.
#[tokio::test]
async fn p10_every_invoice_that_is_not_charged_says_why() {
    let world = World::start(WorldOptions::default()).await;
    let soft = "insufficient_funds";
    let cards: [(&str, &[&str]); 20] = [
        ("paid", &[]),
        ("soft", &[soft, "..."]),
        ("hard", &["lost_card", "..."]),
        ("auth", &["authenticate", "..."]),
        ("double", &["duplicate_transaction"]),
        ("exhausted", &[soft, "..."]),
        ("off", &[soft, "..."]),
        ("private", &[]),
        ("late", &[]),
        ("held", &[]),
        ("disputed", &[]),
        ("lost", &[]),
        ("refunded", &[]),
        ("void", &[soft, "..."]),
        ("given_up", &[soft, "..."]),
        ("transfer", &[soft, "..."]),
        ("tiny", &[soft, "..."]),
        ("big", &[]),
        ("foggy", &[]),
        ("stopped", &[]),
    ];
    acme::open_accounts(&world, &cards).await;
    // The one that runs out of retries begins two weeks before the others.
    bill(&world, "exhausted", "on_issue", &[]).await;
    world.settle().await;
    for days in ["3d", "4d", "7d"] {
        world.advance(days).await;
        world.settle().await;
    }
    let mut limits = acme::document(&[]);
    limits["firms"][0]["max_charge_minor"] = 20_000.into();
    world.import(&limits).await;
    for client in [
        "paid", "soft", "hard", "auth", "double", "off", "disputed", "lost", "refunded", "void", "given_up",
        "transfer", "tiny",
    ] {
        bill(&world, client, "on_issue", &[]).await;
    }
    bill(
        &world,
        "big",
        "on_issue",
        &[("lines", json!([{ "kind": "hourly", "amount": "200.01" }]))],
    )
    .await;
    bill(&world, "private", "on_issue", &[("autopay_opt_in", json!(false))]).await;
    bill(&world, "late", "on_due", &[]).await;
    world.import(&acme::document(&["held", "stopped"])).await;
    world
        .json(&["pause", "autopay", "--client-id", "held", "--reason", "asked for"])
        .await;
    bill(&world, "held", "on_issue", &[]).await;
    world.settle().await;

    acme::switch_autopay(&world, "off", Autopay::Off).await;
    for (client, action) in [("disputed", ""), ("lost", "lose")] {
        let order = json!({ "payment_intent": acme::intent(&world, client).await.0, "kind": "chargeback" });
        let dispute = world.sim.post("/disputes", order).await.unwrap();
        if !action.is_empty() {
            let path = format!("/disputes/{}", dispute["id"].as_str().unwrap());
            world.sim.post(&path, json!({ "action": action })).await.unwrap();
        }
    }
    let order = json!({ "payment_intent": acme::intent(&world, "refunded").await.0 });
    world.sim.post("/refunds", order).await.unwrap();
    world
        .json(&["invoice", "void", "void-1", "--reason", "billed twice"])
        .await;
    world
        .json(&["invoice", "write-off", "given_up-1", "--reason", "insolvent"])
        .await;
    let transfer = [
        "invoice",
        "pay-external",
        "transfer-1",
        "--amount",
        "100.00",
        "--reference",
        "4711",
    ];
    world.json(&transfer).await;
    let almost = [
        "invoice",
        "pay-external",
        "tiny-1",
        "--amount",
        "99.90",
        "--reference",
        "4712",
    ];
    world.json(&almost).await;
    world.settle().await;
    world.advance("3d").await;
    world.settle().await;
    // Confirmed, and nobody hears of it; and everything else is stopped.
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    let silence =
        json!({ "path": "/v1/payment_intents/*", "kind": "reset_before", "times": 1000, "method": "GET" });
    world
        .sim
        .fault(json!({ "path": "/v1/payment_intents/*/confirm", "kind": "reset_after" }))
        .await
        .unwrap();
    world.sim.fault(silence).await.unwrap();
    bill(&world, "foggy", "on_issue", &[]).await;
    let foggy = "select count(*) from payment_attempts where state = 'unknown'";
    world.until(foggy, 1, std::time::Duration::from_secs(30)).await;
    world
        .json(&["pause", "autopay", "--all", "--reason", "looking into it"])
        .await;
    bill(&world, "stopped", "on_issue", &[]).await;
    let decided = "select count(*) from decisions d join invoices i on i.id = d.subject_id where i.external_id = 'stopped-1'";
    world.until(decided, 1, std::time::Duration::from_secs(30)).await;

    let mut found = Vec::new();
    for (client, _) in cards {
        found.push((client, why_not(&world, &format!("{client}-1")).await));
    }
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(client, code)| (*client, code.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("paid", "paid"),
            ("soft", "autopay_paused"),
            ("hard", "method_required"),
            ("auth", "action_required"),
            ("double", "check_for_existing_payment"),
            ("exhausted", "exhausted"),
            ("off", "autopay_disabled"),
            ("private", "not_opted_in"),
            ("late", "autopay_paused"),
            ("held", "autopay_paused"),
            ("disputed", "open_dispute"),
            ("lost", "charged_back"),
            ("refunded", "refunded"),
            ("void", "void"),
            ("given_up", "written_off"),
            ("transfer", "paid"),
            ("tiny", "amount_below_minimum"),
            ("big", "amount_above_limit"),
            ("foggy", "unknown"),
            ("stopped", "autopay_paused"),
        ]
    );
    world.sim.heal().await.unwrap();
    world.sim.webhooks(json!({ "paused": false })).await.unwrap();
    world
        .json(&["resume", "autopay", "--all", "--reason", "a story"])
        .await;
    assert_eq!(why_not(&world, "late-1").await, "not_due");
    let next = ask(&world, &["next", "late-1"]).await;
    assert!(
        next["verdict"]
            .as_str()
            .unwrap()
            .starts_with("next charge: 100.00 USD on "),
        "{next}"
    );
    everything_is_explained(&world).await;
}

/// Whatever has an id is explained by it, and every reason that was written has a text.
async fn everything_is_explained(world: &World) {
    for code in world.texts("select distinct reason_code from decisions union select distinct state_reason from collection_cycles where state_reason is not null").await {
        assert_has_text(&code);
    }
    for (what, ids) in [
        ("invoice", "select number from invoices where number is not null"),
        ("client", "select external_id from clients"),
        ("attempt", "select id::text from payment_attempts"),
        (
            "payment_intent",
            "select stripe_payment_intent_id from collection_cycles where stripe_payment_intent_id is not null",
        ),
        (
            "charge",
            "select stripe_charge_id from payments where stripe_charge_id is not null union
                    select stripe_charge_id from payment_attempts where stripe_charge_id is not null",
        ),
        (
            "refund",
            "select stripe_refund_id from refunds where stripe_refund_id is not null",
        ),
        ("dispute", "select stripe_dispute_id from disputes"),
        (
            "event",
            "select stripe_event_id from (select distinct on (type, state) stripe_event_id from stripe_events) e",
        ),
        (
            "journal",
            "select id::text from (select distinct on (kind) id from journals) j",
        ),
        ("alert", "select id::text from alerts"),
        (
            "job",
            "select id::text from (select distinct on (kind, state) id from jobs) j",
        ),
    ] {
        let ids = world.texts(&format!("{ids} limit 40")).await;
        assert!(!ids.is_empty(), "no {what} in this story");
        for id in ids {
            let answer = world.json(&["explain", &id]).await;
            assert!(
                answer["question"].as_str().unwrap().starts_with("explain"),
                "{answer}"
            );
            assert!(
                !answer["verdict"].as_str().unwrap().is_empty(),
                "{what} {id}: {answer}"
            );
            assert!(
                !answer["evidence"].as_array().unwrap().is_empty(),
                "{what} {id}: {answer}"
            );
        }
    }
}

/// Why was this client charged? The chain goes from the charge back to what made the invoice; nobody was charged twice; and a
/// change of automatic payment names who made it.
#[tokio::test]
async fn p10_a_charge_is_explained_back_to_what_made_its_invoice() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds", "succeed"])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    world.advance("3d").await;
    world.settle().await;
    let charge = world
        .texts("select stripe_charge_id from payments")
        .await
        .remove(0);
    let answer = ask(&world, &["explain", &charge]).await;
    let verdict = answer["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("charged: 1,000.00 USD for "), "{verdict}");
    assert!(
        verdict.ends_with("because its retry, step 1, was due"),
        "{verdict}"
    );
    let chain: Vec<&str> = answer["chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        chain,
        ["payment", "attempt", "cycle", "line", "engagement", "origin"]
    );
    let (intent, _) = acme::intent(&world, "globex").await;
    let answer = ask(&world, &["explain", &intent]).await;
    assert!(
        answer["verdict"]
            .as_str()
            .unwrap()
            .starts_with("captured once: 1,000.00 USD"),
        "{answer}"
    );

    world
        .json(&[
            "client",
            "autopay",
            "off",
            "globex",
            "--reason",
            "pays by transfer",
        ])
        .await;
    let answer = ask(&world, &["explain", "globex"]).await;
    assert_eq!(answer["reason_code"], "autopay_off");
    let told: BTreeSet<&str> = answer["chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["text"].as_str().unwrap())
        .collect();
    assert!(
        told.iter()
            .any(|text| text.starts_with("autopay.disabled of client by ")),
        "{told:?}"
    );
    for wrong in [
        &["explain", "nothing-like-that"][..],
        &["why-not", "charge", "nope"],
        &["next", "nope"],
    ] {
        let missing = world.cli(wrong).await;
        assert_eq!(missing.code, 1, "{missing}");
    }
}

/// A person's word: what a limit or a fault stopped is charged once, outside the retry policy, and nothing that must not be.
#[tokio::test]
async fn a_person_has_an_invoice_charged_once_under_every_other_condition() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(
        &world,
        &[
            ("above", &[]),
            (
                "spent",
                &[
                    "insufficient_funds",
                    "insufficient_funds",
                    "insufficient_funds",
                    "insufficient_funds",
                    "insufficient_funds",
                    "succeed",
                ],
            ),
            ("off", &[]),
        ],
    )
    .await;
    acme::bill(&world, &["spent", "off"], "usd", "100.00").await;
    let mut limits = acme::document(&[]);
    limits["firms"][0]["max_charge_minor"] = 20_000.into();
    world.import(&limits).await;
    acme::bill(&world, &["above"], "usd", "200.01").await;
    world.settle().await;
    for days in ["3d", "4d", "7d"] {
        world.advance(days).await;
        world.settle().await;
    }
    let unsaid = world.cli(&["invoice", "charge", "above-1"]).await;
    assert_eq!(unsaid.code, 2, "{unsaid}");
    let charged = world
        .json(&["invoice", "charge", "above-1", "--yes", "--reason", "checked"])
        .await;
    assert_eq!(
        json!([charged["state"], charged["amount_minor"]]),
        json!(["succeeded", 20_001])
    );

    // After the last retry: one attempt each time, by another intent, since the first one is canceled before.
    let declined = world.json(&["invoice", "charge", "spent-1", "--yes"]).await;
    assert_eq!(declined["state"], "declined");
    world.settle().await;
    let spent = "retry 1 declined, retry 2 declined, retry 3 declined";
    let tried = format!("failed exhausted: auto 0 declined, {spent}, manual 3 declined");
    acme::assert_outcomes(&world, &[("spent", &tried)]).await;
    world.advance("20d").await;
    acme::assert_nothing_is_due(&world).await;
    let paid = world.json(&["invoice", "charge", "spent-1", "--yes"]).await;
    assert_eq!(paid["state"], "succeeded");
    world.settle().await;

    for (invoice, reason) in [("spent-1", "nothing_open"), ("off-1", "nothing_open")] {
        let refused = world
            .cli(&["invoice", "charge", invoice, "--yes", "--json"])
            .await;
        assert_eq!(refused.code, 4, "{refused}");
        assert_eq!(refused.json().unwrap()["error"]["code"], reason);
    }
    acme::bill_again(&world, "off", "10.00").await;
    world.settle().await;
    acme::switch_autopay(&world, "off", Autopay::Off).await;
    let captured = world.sim.captured_minor("usd").await.unwrap();
    assert_eq!(captured, 20_001 + 10_000 + 10_000 + 1_000);
    assert_eq!(acme::confirmations(&world, "spent").await.len(), 6);
    acme::assert_books_agree(&world).await;
}

/// Why was this engagement not invoiced for this period? From the plan of the generation job, at each turn of a period's life;
/// and what the job decides every night is one record that counts.
#[tokio::test]
async fn p10_why_an_engagement_was_not_invoiced_is_answered_by_command() {
    let world = World::start(WorldOptions {
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    acme::bill_by_hand_only(&world).await;
    let today = acme::today(&world).await;
    let month = &today[..7];
    let terms = |name: &str, changes: &[(&str, Value)]| {
        let mut terms = json!({
            "external_id": format!("{name}-work"), "client": "globex", "pricing_mode": "package", "currency": "usd",
            "package_fee": "100.00", "package_fee_schedule": "monthly", "starts_on": format!("{month}-01"), "signed": true,
        });
        for (key, value) in changes {
            terms[*key] = value.clone();
        }
        terms
    };
    let mut document = acme::document(&["globex"]);
    document["users"] = json!([{ "external_id": "ann", "firm": "acme", "name": "Ann", "role": "admin" }]);
    document["clients"][0]["autopay"] = json!({ "enabled": false });
    document["engagements"] = json!([
        terms("signed", &[]),
        terms("unsigned", &[("signed", json!(false))]),
        terms("later", &[("starts_on", json!("2099-01-15"))]),
        {
            "external_id": "hours-work", "client": "globex", "pricing_mode": "hourly", "currency": "usd", "hourly_rate": "100",
            "starts_on": "2020-01-01", "signed": true,
        },
    ]);
    document["time_entries"] = json!([{ "external_id": "t1", "engagement": "hours-work", "worker": "w1", "worked_on": "2020-01-05",
                                        "minutes": 90, "state": "approved", "approved_by": "ann" }]);
    world.import(&document).await;
    let ask_invoice = async |name: &str, period: &str| {
        let answer = ask(&world, &["why-not", "invoice", &format!("{name}-work"), period]).await;
        let code = answer["reason_code"].as_str().unwrap().to_owned();
        assert_has_text(&code);
        assert!(!answer["do"].as_array().unwrap().is_empty(), "{answer}");
        assert!(!answer["evidence"].as_array().unwrap().is_empty(), "{answer}");
        (code, answer)
    };
    for (name, period, code) in [
        ("signed", month, "invoice_due"),
        ("signed", &today, "invoice_due"),
        ("signed", "2019-12", "before_start"),
        ("signed", "2098-12", "not_due"),
        ("unsigned", month, "not_signed"),
        ("later", "2099-01", "not_started"),
        ("hours", month, "billed_on_demand"),
    ] {
        assert_eq!(ask_invoice(name, period).await.0, code, "{name} {period}");
    }
    for _ in 0..3 {
        world.json(&["generate-package-invoices"]).await;
    }
    let (code, answer) = ask_invoice("signed", month).await;
    let number = world.texts("select number from invoices").await.remove(0);
    assert_eq!(code, "already_billed");
    assert!(answer["verdict"].as_str().unwrap().contains(&number), "{answer}");
    let decided = "select e.external_id || ' ' || d.reason_code || ' ' || d.times from decisions d join engagements e on e.id = d.subject_id
                    where d.kind = 'generate_package' order by 1";
    assert_eq!(
        world.texts(decided).await,
        [
            "later-work not_started 3",
            "signed-work due 1",
            "unsigned-work not_signed 3"
        ]
    );
    let (_, answer) = ask_invoice("unsigned", month).await;
    assert_eq!(answer["checked"]["decided"]["times"], 3);
    assert!(answer["since"].is_string(), "{answer}");

    world
        .json(&["invoice", "void", &number, "--reason", "wrong fee"])
        .await;
    assert_eq!(ask_invoice("signed", month).await.0, "period_of_void_invoice");
    world
        .json(&["invoice", "reissue", &number, "--reason", "wrong fee"])
        .await;
    assert_eq!(ask_invoice("signed", month).await.0, "invoice_due");
    for (args, code) in [
        (["why-not", "invoice", "signed-work", "May"], 2),
        (["why-not", "invoice", "nobody", "2026-05"], 1),
    ] {
        let refused = world.cli(&args).await;
        assert_eq!(refused.code, code, "{refused}");
    }

    // Whatever else has an id is explained by it too.
    world
        .json(&[
            "credit",
            "issue",
            "globex",
            "--amount",
            "5.00",
            "--reason",
            "late",
            "--source",
            "promotional",
            "--by",
            "ann",
        ])
        .await;
    let lot = world.texts("select id::text from credit_lots").await.remove(0);
    let engagement = world
        .texts("select id::text from engagements where external_id = 'signed-work'")
        .await
        .remove(0);
    for (id, question) in [
        ("signed-work", "explain engagement"),
        (engagement.as_str(), "explain engagement"),
        ("hours-work", "explain engagement"),
        ("t1", "explain time entry"),
        (&lot, "explain credit"),
        ("ann", "explain user"),
        ("globex", "explain client"),
        (&number, "explain invoice"),
    ] {
        let answer = ask(&world, &["explain", id]).await;
        assert_eq!(answer["question"], question, "{answer}");
        assert!(!answer["evidence"].as_array().unwrap().is_empty(), "{answer}");
    }
}
