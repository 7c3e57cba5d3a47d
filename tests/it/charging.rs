//! An issued invoice is charged: what it costs, in its currency, once, and it is paid when Stripe has captured the money.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme;

/// How long a webhook may take to be stored.
const SOON: Duration = Duration::from_secs(10);

/// R062, R114, B-08, A-33.
#[tokio::test]
async fn s14_generated_invoices_are_charged_in_their_own_currency_and_too_small_ones_are_not() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    let clients = ["usa", "japan", "kuwait", "penny"];
    acme::open_alike(&world, &clients, &[]).await;
    let today = acme::today(&world).await;
    let retainer = |client: &str, currency: &str, fee: &str| {
        json!({
            "external_id": format!("{client}-work"), "client": client, "pricing_mode": "package", "currency": currency,
            "package_fee": fee, "package_fee_schedule": "annual", "period_anchor": "anniversary",
            "starts_on": today, "signed": true,
        })
    };
    let mut document = acme::document(&clients);
    document["engagements"] = json!([
        retainer("usa", "usd", "1234.50"),
        retainer("japan", "jpy", "5000"),
        retainer("kuwait", "kwd", "1.230"),
        retainer("penny", "usd", "0.49"),
    ]);
    world.import(&document).await;
    let run = world.json(&["generate-package-invoices"]).await;
    assert_eq!(run["created"].as_array().unwrap().len(), 4, "{run}");
    world.settle().await;

    let paid = "paid succeeded: auto 0 succeeded";
    acme::assert_outcomes(
        &world,
        &[
            ("usa", paid),
            ("japan", paid),
            ("kuwait", paid),
            ("penny", "sent paused"),
        ],
    )
    .await;
    let captured = world.sim.books().await.unwrap()["captured_minor"].clone();
    assert_eq!(captured, json!({ "usd": 123_450, "jpy": 5_000, "kwd": 1_230 }));
    for untouched in ["penny"] {
        assert!(acme::creations(&world, untouched).await.is_empty(), "{untouched}");
    }
    let reasons = world
        .texts(
            "select c.external_id || ' ' || d.reason_code from decisions d join invoices i on i.id = d.subject_id
               join clients c on c.id = i.client_id where d.kind = 'charge' and d.outcome = 'hold'",
        )
        .await;
    assert_eq!(reasons, ["penny amount_below_minimum"]);
    acme::assert_books_agree(&world).await;
}

/// R063.
#[tokio::test]
async fn s14_an_invoice_below_stripes_minimum_is_never_charged_and_says_why() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    acme::open_accounts(&world, &[("penny", &[])]).await;
    let mut document = acme::document(&["penny"]);
    document["engagements"] = json!([{
        "external_id": "penny-work", "client": "penny", "pricing_mode": "package", "currency": "usd", "package_fee": "0.30",
        "package_fee_schedule": "annual", "period_anchor": "anniversary", "starts_on": acme::today(&world).await,
        "signed": true,
    }]);
    world.import(&document).await;
    let planned = world.json(&["generate-package-invoices", "--dry-run"]).await;
    assert_eq!(
        planned["would_create"][0]["warnings"][0]["message"],
        "0.30 USD is less than the 0.50 USD that Stripe charges at least: it will not be collected by itself"
    );
    let run = world.json(&["generate-package-invoices"]).await;
    let invoice = run["created"][0].as_str().unwrap();
    world.settle().await;
    acme::assert_outcomes(&world, &[("penny", "sent paused")]).await;
    let shown = world.cli(&["invoice", "show", invoice]).await;
    assert!(
        shown
            .stdout
            .contains("\n  autopay       paused (amount_below_minimum)\n"),
        "{shown}"
    );
    let told = world
        .texts(
            "select outcome || ' ' || reason_code || ' ' || (select p ->> 'value' from jsonb_array_elements(predicates) p
                                                              where p ->> 'name' = 'amount_at_least_minimum')
               from decisions where kind = 'charge'",
        )
        .await;
    assert_eq!(told, ["hold amount_below_minimum 50"]);
    let plan = world.json(&["process-recurring-charges", "--dry-run"]).await;
    assert_eq!(plan["would_charge"], json!([]));
    assert_eq!(plan["skipped"][0]["reason_code"], "amount_below_minimum");
    acme::assert_nothing_is_due(&world).await;
    assert!(acme::creations(&world, "penny").await.is_empty());
    // It is owed all the same, and may be paid otherwise.
    let owed = world.json(&["invoice", "show", invoice]).await;
    assert_eq!(
        (&owed["status"], &owed["open_minor"]),
        (&json!("sent"), &json!(30))
    );
}

/// R064.
#[tokio::test]
async fn s2_money_that_is_processing_or_wants_the_customer_is_not_yet_paid() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["sepa", "bounced", "secure"];
    acme::open_accounts(
        &world,
        &[
            ("sepa", &["processing"]),
            ("bounced", &["processing"]),
            ("secure", &["authenticate"]),
        ],
    )
    .await;
    acme::bill(&world, &clients, "usd", "250.00").await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("sepa", "processing in_flight: auto 0 processing"),
            ("bounced", "processing in_flight: auto 0 processing"),
            ("secure", "failed action_required: auto 0 declined"),
        ],
    )
    .await;
    assert_eq!(world.count("select count(*) from payments").await, 0);

    for (client, outcome) in [("sepa", "succeed"), ("bounced", "insufficient_funds")] {
        acme::end_processing(&world, client, outcome).await;
    }
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("sepa", "paid succeeded: auto 0 succeeded"),
            ("bounced", "failed retry_wait: auto 0 declined"),
        ],
    )
    .await;
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn s3_nothing_is_paid_until_stripe_has_captured_it() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    acme::hold_confirmations(&world, "hold_before", 1).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.until_held(1).await;
    acme::assert_outcomes(&world, &[("globex", "processing in_flight: auto 0 sent")]).await;
    assert_eq!(world.count("select count(*) from payments").await, 0);
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;
    acme::assert_books_agree(&world).await;
}

/// R104.
#[tokio::test]
async fn s4_only_what_is_still_open_is_charged() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["partly", "fully", "almost"];
    acme::bill_in_vain(&world, &clients).await;
    for (client, minor) in [("partly", 40_000), ("fully", 100_000), ("almost", 99_951)] {
        acme::pay_by_bank(&world, client, minor).await;
    }
    world.advance("3d").await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("partly", "paid succeeded: auto 0 declined, retry 1 succeeded"),
            ("fully", "paid canceled: auto 0 declined"),
            ("almost", "partial paused: auto 0 declined"),
        ],
    )
    .await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 60_000);
    assert_eq!(acme::intent(&world, "partly").await.1["amount"], 60_000);
    assert_eq!(acme::intent(&world, "fully").await.1["status"], "canceled");
    acme::assert_books_agree(&world).await;
}

/// R064, B-02.
#[tokio::test]
async fn s5_one_payment_is_recorded_whether_the_webhook_comes_before_during_or_after_the_answer() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["before", "during", "after"];
    acme::open_alike(&world, &clients, &[]).await;
    let paid = "paid succeeded: auto 0 succeeded";

    world
        .sim
        .webhooks(json!({ "before_response": true, "duplicate": 2 }))
        .await
        .unwrap();
    acme::bill(&world, &["before"], "usd", "100.00").await;
    world.settle().await;
    let recorded = "select count(*) from payments";
    assert_eq!(
        world.count(recorded).await,
        1,
        "one payment is recorded as often as it is told of"
    );
    acme::assert_outcomes(&world, &[("before", paid)]).await;

    world
        .sim
        .webhooks(json!({ "before_response": false }))
        .await
        .unwrap();
    acme::hold_confirmations(&world, "hold_after", 1).await;
    let stored = "select count(*) from stripe_events where type = 'payment_intent.succeeded'";
    let so_far = world.count(stored).await;
    acme::bill(&world, &["during"], "usd", "100.00").await;
    world.until_held(1).await;
    world.until(stored, so_far + 1, SOON).await;
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(&world, &[("during", paid)]).await;

    world.sim.pause_webhooks().await.unwrap();
    acme::bill(&world, &["after"], "usd", "100.00").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("after", paid)]).await;
    let version = "select sum(version) from collection_cycles";
    let settled = world.count(version).await;
    world.sim.resume_webhooks().await.unwrap();
    world.settle().await;
    assert_eq!(
        world.count(version).await,
        settled,
        "a webhook about something known changed it"
    );

    assert_eq!(world.count(recorded).await, 3);
    assert_eq!(
        world
            .count("select count(*) from audit_events where action = 'payment.succeeded'")
            .await,
        3
    );
    acme::assert_books_agree(&world).await;
}

///
#[tokio::test]
async fn s10_an_invoice_that_is_charged_when_due_is_not_charged_before() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(&world, &[("patient", &[])]).await;
    let mut document = acme::document(&["patient"]);
    document["firms"][0]["timezone"] = "Pacific/Kiritimati".into();
    document["engagements"] = json!([{
        "external_id": "patient-work", "client": "patient", "pricing_mode": "package", "currency": "usd",
        "package_fee": "80.00", "package_fee_schedule": "one_time", "charge_timing": "on_due",
        "starts_on": acme::today(&world).await, "signed": true,
    }]);
    world.import(&document).await;
    world.json(&["generate-package-invoices"]).await;
    let due = "select due_date::timestamp at time zone 'Pacific/Kiritimati' from invoices";
    acme::go_to(&world, &format!("({due}) - interval '1 minute'")).await;
    acme::assert_outcomes(&world, &[("patient", "sent scheduled")]).await;
    acme::go_to(&world, &format!("({due})")).await;
    acme::assert_outcomes(&world, &[("patient", "paid succeeded: auto 0 succeeded")]).await;
    acme::assert_books_agree(&world).await;
}

/// What `doctor` says of one thing: how it came out, and what it saw.
async fn examined(world: &World, name: &str) -> Value {
    let doctor = world.cli(&["doctor", "--json"]).await.json().unwrap();
    let check = doctor["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == name);
    let check = check.unwrap_or_else(|| panic!("{doctor}"));
    json!([check["ok"], check["value"]])
}

#[tokio::test]
async fn what_stopped_a_collection_goes_away_and_the_collection_goes_on() {
    let world = World::start(WorldOptions::default()).await;
    let clients = ["bare", "quiet", "penny", "faulty", "doubled"];
    acme::open_accounts(
        &world,
        &[
            ("bare", &[]),
            ("quiet", &[]),
            ("penny", &["insufficient_funds"]),
            ("faulty", &["testmode_decline", "succeed"]),
            ("doubled", &["duplicate_transaction", "succeed"]),
        ],
    )
    .await;
    world.import(&acme::document(&clients)).await;
    // Two have lost their customer at Stripe, as no import and no command of ours would let them.
    let lost = "update clients set stripe_customer_id = null where external_id in ('bare', 'quiet') returning external_id";
    assert_eq!(world.texts(lost).await.len(), 2);
    let (pennies, others): (Vec<&str>, Vec<&str>) = clients.iter().partition(|client| **client == "penny");
    acme::bill_as_known(&world, &pennies, "0.60").await;
    acme::bill_as_known(&world, &others, "1000.00").await;
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[
            ("bare", "sent paused"),
            ("quiet", "sent paused"),
            ("penny", "failed retry_wait: auto 0 declined"),
            ("faulty", "sent paused: auto 0 declined"),
            ("doubled", "sent paused: auto 0 declined"),
        ],
    )
    .await;
    // What one still owes becomes too little for a card.
    acme::pay_by_bank(&world, "penny", 20).await;
    world.advance("3d").await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("penny", "partial paused: auto 0 declined")]).await;
    // Who looks is told of all of them, and which of them a person must let go on.
    let held = json!([null, "1 amount_below_minimum, 2 no_stripe_customer"]);
    let stopped = json!([false, "1 check_for_existing_payment, 1 rejected_request"]);
    assert_eq!(examined(&world, "cycles_held").await, held);
    assert_eq!(examined(&world, "cycles_stopped_by_a_fault").await, stopped);

    // One gets its customer by an import; one without that anybody says so; and one pays the little that it owes.
    world.import(&acme::document(&["bare"])).await;
    let set = "update clients set stripe_customer_id = 'cus_quiet' where external_id = 'quiet' returning external_id";
    assert_eq!(world.texts(set).await.len(), 1);
    acme::pay_by_bank(&world, "penny", 40).await;
    world.settle().await;
    let paid = "paid succeeded: auto 0 succeeded";
    acme::assert_outcomes(&world, &[("bare", paid)]).await;
    world.advance("1d").await;
    let gone = "select count(*) from collection_cycles where state = 'paused'";
    world.until(gone, 2, SOON * 2).await;
    world.settle().await;
    let stopped = "sent paused: auto 0 declined";
    acme::assert_outcomes(
        &world,
        &[
            ("quiet", paid),
            ("penny", "paid canceled: auto 0 declined"),
            // a person must have looked
            ("faulty", stopped),
            ("doubled", stopped),
        ],
    )
    .await;
    // Once the fault is mended and the other payment looked for, a person says so.
    for client in ["faulty", "doubled"] {
        let on = world.json(&["client", "autopay", "on", client]).await;
        assert_eq!(json!([on["changed"], on["resumed"]]), json!([false, 1]));
        world.settle().await;
        acme::assert_outcomes(
            &world,
            &[(client, "paid succeeded: auto 0 declined, auto 0 succeeded")],
        )
        .await;
        let again = world.json(&["client", "autopay", "on", client]).await;
        assert_eq!(again["resumed"], 0);
    }
    acme::assert_books_agree(&world).await;
}
