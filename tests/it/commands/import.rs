//! `import`: every fault at once, all or nothing, the same again changes nothing, what is final stays.

use serde_json::{Value, json};
use tests::world::{CliOutput, World};

use super::{bare, document, with};

async fn import(world: &World, document: &str) -> CliOutput {
    world
        .command()
        .run_with_input(&["import", "-", "--json"], document)
        .await
        .unwrap()
}

fn paths(output: &CliOutput) -> Vec<String> {
    let answer = output.json().unwrap();
    let details = answer["error"]["details"].as_array().unwrap();
    details
        .iter()
        .map(|detail| detail["path"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn document_with_more_than_twenty_faults_lists_them_all_and_imports_nothing() {
    let world = bare().await;
    let faulty = with(&[
        ("/surplus", json!(1)),
        ("/firms/0/timezone", json!("Mars/Olympus")),
        ("/firms/0/currency", json!("xxx")),
        ("/firms/0/retry_policy", json!({"offsets_days": []})),
        ("/clients/0/firm", json!("nobody")),
        ("/clients/0/name", json!(7)),
        ("/clients/0/payment_methods/0/exp_month", json!(13)),
        ("/clients/0/payment_methods/0/last4", json!("42")),
        ("/clients/0/autopay/enabled", json!("yes")),
        ("/engagements/0/client", json!("nobody")),
        ("/engagements/0/package_fee_schedule", json!("weekly")),
        ("/engagements/0/period_anchor", json!("lunar")),
        ("/engagements/0/proration", json!("half")),
        ("/engagements/0/charge_timing", json!("never")),
        ("/engagements/0/package_fee", json!("-1.00")),
        ("/engagements/0/hourly_rate", json!("1.005")),
        ("/engagements/0/ends_on", json!("2025-01-01")),
        ("/time_entries/0/engagement", json!("nothing")),
        ("/time_entries/0/minutes", json!(0)),
        ("/time_entries/0/approved_by", Value::Null),
        ("/invoices/0/due_date", json!("2025-01-31")),
        ("/invoices/0/lines/0/kind", json!("gift")),
        ("/invoices/0/lines/0/amount", json!(250)),
    ]);
    let refused = import(&world, &faulty.to_string()).await;
    assert_eq!(refused.code, 1, "{refused}");
    assert_eq!(refused.json().unwrap()["error"]["code"], "invalid_import");
    let mut wanted = [
        "$.surplus",
        "$.firms[0].timezone",
        "$.firms[0].currency",
        "$.firms[0].retry_policy",
        "$.clients[0].firm",
        "$.clients[0].name",
        "$.clients[0].payment_methods[0].exp_month",
        "$.clients[0].payment_methods[0].last4",
        "$.clients[0].autopay.enabled",
        "$.engagements[0].client",
        "$.engagements[0].package_fee_schedule",
        "$.engagements[0].period_anchor",
        "$.engagements[0].proration",
        "$.engagements[0].charge_timing",
        "$.engagements[0].package_fee",
        "$.engagements[0].hourly_rate",
        "$.engagements[0].ends_on",
        "$.time_entries[0].engagement",
        "$.time_entries[0].minutes",
        "$.time_entries[0].approved_by",
        "$.invoices[0].due_date",
        "$.invoices[0].lines[0].kind",
        "$.invoices[0].lines[0].amount",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut found = paths(&refused);
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    assert_eq!(world.count("select count(*) from firms").await, 0);
    assert_eq!(world.count("select count(*) from audit_events").await, 0);
}

/// A fault: what is changed in a sound document, and the one thing that is said about it.
type Fault = (&'static [(&'static str, &'static str)], &'static str);

#[rustfmt::skip] // a table
const FAULTS: &[Fault] = &[
    (&[("/engagements/0/package_fee_schedule", "weekly")],
     "$.engagements[0].package_fee_schedule: unknown cadence 'weekly': use monthly, quarterly, annual or one_time"),
    (&[("/engagements/0/package_fee_schedule", "Monthly")],
     "$.engagements[0].package_fee_schedule: unknown cadence 'Monthly': use monthly, quarterly, annual or one_time"),
    (&[("/firms/0/currency", "xxx")],
     "$.firms[0].currency: currency 'xxx' is not one that Stripe charges: use a three-letter code such as 'usd' or 'eur'"),
    (&[("/engagements/0/currency", "dollars")],
     "$.engagements[0].currency: currency 'dollars' is not one that Stripe charges: use a three-letter code such as 'usd' or 'eur'"),
    (&[("/invoices/0/currency", "bgn")], "$.invoices[0].currency: currency 'bgn' is no longer charged by Stripe: use 'eur'"),
    (&[("/engagements/0/currency", "jpy"), ("/engagements/0/hourly_rate", "150"), ("/engagements/0/package_fee", "1000.50")],
     "$.engagements[0].package_fee: '1000.50' has too many decimals: jpy has 0"),
    (&[("/engagements/0/currency", "kwd"), ("/engagements/0/package_fee", "1.2345")],
     "$.engagements[0].package_fee: '1.2345' has too many decimals: kwd has 3"),
    (&[("/engagements/0/currency", "kwd"), ("/engagements/0/package_fee", "1.234")],
     "$.engagements[0].package_fee: '1.234' cannot be charged: Stripe charges kwd in steps of 10 minor units"),
    (&[("/engagements/0/currency", "isk"), ("/engagements/0/package_fee", "10.50")],
     "$.engagements[0].package_fee: '10.50' cannot be charged: Stripe charges isk in steps of 100 minor units"),
    (&[("/invoices/0/lines/0/amount", "0.30")],
     "$.invoices[0].lines: add up to 0.30 USD, below the minimum that Stripe charges (0.50 USD): leave autopay_opt_in off or raise the amount"),
    (&[("/invoices/0/lines/0/amount", "10000000000.00")],
     "$.invoices[0].lines[0].amount: '10000000000.00' usd is too large: Stripe takes at most 12 digits in minor units"),
    (&[("/invoices/0/currency", "eur")], "$.invoices[0].currency: 'retainer' is billed in usd"),
    (&[("/invoices/0/lines/0/description_code", "as agreed with Ms Doe")],
     "$.invoices[0].lines[0].description_code: must be a code such as 'retainer', of letters, digits and _ - . : without blanks, 64 at most"),
    (&[("/time_entries/0/engagement", "nothing")],
     "$.time_entries[0].engagement: there is no engagement 'nothing', neither in the document nor in the database"),
];

#[tokio::test]
async fn a_single_fault_says_where_it_is_and_what_would_be_right() {
    let world = bare().await;
    for (changes, message) in FAULTS {
        let changes: Vec<(&str, Value)> = changes.iter().map(|(at, value)| (*at, json!(value))).collect();
        let faulty = with(&changes).to_string();
        let refused = world
            .command()
            .run_with_input(&["import", "-"], &faulty)
            .await
            .unwrap();
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused}");
        assert_eq!(
            refused.stderr,
            format!("error: the document has 1 fault; nothing was imported\n  {message}\n"),
        );
    }
    let refused = import(&world, "{\"firms\": [}").await;
    assert_eq!(refused.code, 1);
    assert_eq!(
        refused.json().unwrap()["error"]["details"],
        json!([{"path": "$", "message": "is no JSON: expected value at line 1 column 12"}])
    );
    assert_eq!(world.count("select count(*) from firms").await, 0);
}

#[tokio::test]
async fn an_invoice_below_stripes_minimum_is_imported_where_nobody_is_to_charge_it() {
    let world = bare().await;
    let small = with(&[
        ("/invoices/0/lines/0/amount", json!("0.30")),
        ("/invoices/0/autopay_opt_in", json!(false)),
    ]);
    let report = world.import(&small).await;
    assert_eq!(report["invoices"]["created"], 1);
    assert_eq!(report["collections_started"], 0);
    let shown = world.json(&["invoice", "show", "legacy-1"]).await;
    assert_eq!(
        (&shown["open_minor"], &shown["autopay"]["state"]),
        (&json!(30), &json!("none"))
    );
}

#[tokio::test]
async fn the_same_document_again_changes_nothing() {
    let world = bare().await;
    let first = world.import(&document()).await;
    assert_eq!(
        first["invoices"],
        json!({"created": 1, "updated": 0, "unchanged": 0})
    );
    assert_eq!(first["collections_started"], 1);
    let before = world.state_text().await;
    let again = world.import(&document()).await;
    for kind in [
        "firms",
        "clients",
        "payment_methods",
        "engagements",
        "time_entries",
        "invoices",
    ] {
        assert_eq!(
            again[kind],
            json!({"created": 0, "updated": 0, "unchanged": 1}),
            "{kind}"
        );
    }
    assert_eq!(world.state_text().await, before);
}

#[tokio::test]
async fn what_is_final_is_refused_field_by_field_and_nothing_else_is_applied() {
    let world = bare().await;
    world.import(&document()).await;
    let before = world.state_text().await;
    let changed = with(&[
        ("/clients/0/name", json!("Globex Corporation")),
        ("/engagements/0/package_fee", json!("1.00")),
        ("/engagements/0/signed", json!(false)),
        ("/time_entries/0/minutes", json!(91)),
        ("/invoices/0/due_date", json!("2026-02-01")),
        ("/invoices/0/lines/0/amount", json!("250.01")),
    ]);
    let refused = import(&world, &changed.to_string()).await;
    assert_eq!(refused.code, 4, "{refused}");
    assert_eq!(refused.json().unwrap()["error"]["code"], "refused");
    assert_eq!(
        paths(&refused),
        [
            "$.engagements[0].package_fee",
            "$.engagements[0].signed",
            "$.time_entries[0].minutes",
            "$.invoices[0].due_date",
            "$.invoices[0].lines[0].amount",
        ]
    );
    assert_eq!(world.state_text().await, before);
}

#[tokio::test]
async fn what_is_not_final_may_change() {
    let world = bare().await;
    let draft = with(&[
        ("/engagements/0/signed", json!(false)),
        ("/time_entries/0/state", json!("draft")),
        ("/time_entries/0/approved_by", Value::Null),
    ]);
    world.import(&draft).await;
    assert_eq!(
        world
            .count("select count(*) from engagements where signed_at is not null")
            .await,
        0
    );
    let signed = with(&[
        ("/firms/0/name", json!("Acme & Daughters")),
        ("/clients/0/name", json!("Globex Corporation")),
        ("/clients/0/payment_methods/0/exp_year", json!(2040)),
        ("/engagements/0/package_fee", json!("1200.00")),
        ("/time_entries/0/minutes", json!(60)),
    ]);
    let report = world.import(&signed).await;
    for kind in [
        "firms",
        "clients",
        "payment_methods",
        "engagements",
        "time_entries",
    ] {
        assert_eq!(
            report[kind],
            json!({"created": 0, "updated": 1, "unchanged": 0}),
            "{kind}"
        );
    }
    assert_eq!(
        world
            .texts(
                "select e.status || ' ' || e.package_fee_minor || ' ' || t.state || ' ' || t.minutes || ' ' || t.rate_minor || ' ' || m.exp_year
                 from engagements e, time_entries t, payment_methods m"
            )
            .await,
        ["signed 120000 approved 60 15000 2040"]
    );
}

#[tokio::test]
async fn client_switched_off_is_not_collected_from_and_switched_on_again_it_is() {
    let world = bare().await;
    world.import(&document()).await;
    let live = "select count(*) from collection_cycles where state = 'scheduled'";
    assert_eq!(world.count(live).await, 1);
    world
        .import(&with(&[("/clients/0/autopay", json!({"enabled": false}))]))
        .await;
    assert_eq!(world.count(live).await, 0);
    world.import(&document()).await;
    assert_eq!(world.count(live).await, 1);
    assert_eq!(
        world
            .texts("select action from audit_events where action like 'autopay.%' order by id")
            .await,
        ["autopay.enabled", "autopay.disabled", "autopay.enabled"]
    );
}

/// R001, B-18, A-01.
#[tokio::test]
async fn firms_do_not_see_each_other_through_names_they_share() {
    let world = bare().await;
    world.import(&document()).await;
    let mut other = with(&[
        ("/firms/0/external_id", json!("beta")),
        ("/clients/0/firm", json!("beta")),
        ("/clients/0/stripe_customer_id", json!("cus_2")),
        (
            "/clients/0/payment_methods/0/stripe_payment_method_id",
            json!("pm_2"),
        ),
        ("/clients/0/autopay/payment_method", json!("pm_2")),
    ]);
    let report = world.import(&other).await;
    assert_eq!(report["clients"]["created"], 1);
    // A card of the other firm's client cannot be claimed, and a name that fits both must be said more exactly.
    other["clients"][0]["payment_methods"][0]["stripe_payment_method_id"] = json!("pm_1");
    other["clients"][0]["autopay"]["payment_method"] = json!("pm_1");
    let refused = import(&world, &other.to_string()).await;
    assert_eq!(refused.code, 1, "{refused}");
    assert!(
        paths(&refused).contains(&"$.clients[0].payment_methods[0].stripe_payment_method_id".to_owned()),
        "{refused}"
    );
    let ambiguous = world.cli(&["invoice", "show", "legacy-1", "--json"]).await;
    assert_eq!(ambiguous.code, 1);
    let error = &ambiguous.json().unwrap()["error"];
    assert_eq!(error["code"], "ambiguous");
    assert_eq!(error["details"].as_array().unwrap().len(), 2);
}
