//! Package invoices: one per period, whoever asks, how often, and whatever the calendar says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme;

/// Commands that only look need no workers.
fn without_workers() -> WorldOptions {
    WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    }
}

/// Terms of a client, monthly by the calendar unless changed.
fn retainer(client: &str, starts_on: &str, changed: Value) -> Value {
    let mut terms = json!({
        "external_id": format!("{client}-work"), "client": client, "pricing_mode": "package", "currency": "usd",
        "package_fee": "100.00", "package_fee_schedule": "monthly", "starts_on": starts_on, "signed": true,
    });
    for (key, value) in changed.as_object().unwrap() {
        terms[key] = value.clone();
    }
    terms
}

/// Clients without a card: their invoices are issued and wait to be paid.
fn unbanked(clients: &[&str]) -> Value {
    let mut document = acme::document(clients);
    for client in document["clients"].as_array_mut().unwrap() {
        client["payment_methods"] = json!([]);
        client["autopay"] = json!({ "enabled": false });
    }
    document
}

/// R031, R034, R104, R110.
#[tokio::test]
async fn b05_32_generators_at_once_and_once_more_make_one_invoice_per_period() {
    let world = World::start(WorldOptions {
        workers: 2,
        ..WorldOptions::default()
    })
    .await;
    acme::bill_by_hand_only(&world).await;
    let clients = ["monthly", "quarterly", "annual", "one_time", "mixed"];
    let today = acme::today(&world).await;
    let mut document = unbanked(&clients);
    let mut engagements: Vec<Value> = clients[..4]
        .iter()
        .map(|cadence| retainer(cadence, &today, json!({ "package_fee_schedule": cadence })))
        .collect();
    let hours = json!({ "pricing_mode": "mixed", "hourly_rate": "150.00" });
    engagements.push(retainer("mixed", &today, hours));
    document["engagements"] = engagements.into();
    world.import(&document).await;

    let planned = world.json(&["generate-package-invoices", "--dry-run"]).await;
    assert_eq!(planned["would_create"].as_array().unwrap().len(), 5);
    let command = world.command();
    let runs = join_all((0..32).map(|_| command.json(&["generate-package-invoices"]))).await;
    let runs: Vec<Value> = runs.into_iter().map(Result::unwrap).collect();
    let created: usize = runs
        .iter()
        .map(|run| run["created"].as_array().unwrap().len())
        .sum();
    assert_eq!(created, 5);
    let again = world.json(&["generate-package-invoices"]).await;
    assert_eq!(again["created"], json!([]));
    let reasons: Vec<&Value> = again["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skip| &skip["reason_code"])
        .collect();
    assert_eq!(reasons, vec!["already_billed"; 5]);

    let first = runs.iter().find(|run| run["created"] != json!([])).unwrap();
    assert_eq!(
        first["plan_hash"], planned["plan_hash"],
        "the dry run showed another plan"
    );
    let per_engagement = world
        .texts(
            "select e.external_id || ' ' || count(i.id) from engagements e left join invoices i on i.engagement_id = e.id
              group by e.external_id order by 1",
        )
        .await;
    let wanted: BTreeMap<&str, u32> = clients.into_iter().map(|client| (client, 1)).collect();
    let wanted: Vec<String> = wanted
        .iter()
        .map(|(client, n)| format!("{client}-work {n}"))
        .collect();
    assert_eq!(per_engagement, wanted);
    assert_eq!(world.count("select count(*) from billing_periods").await, 5);
}

/// R033, R104.
#[tokio::test]
async fn a_plan_that_is_not_the_expected_one_is_refused_with_exit_code_4_and_makes_nothing() {
    let world = World::start(WorldOptions {
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    acme::bill_by_hand_only(&world).await;
    let today = acme::today(&world).await;
    let mut document = unbanked(&["globex", "initech"]);
    document["engagements"] = json!([retainer("globex", &today, json!({}))]);
    world.import(&document).await;
    let plan = world.json(&["generate-package-invoices", "--dry-run"]).await;
    let hash = plan["plan_hash"].as_str().unwrap();
    assert_eq!(
        world.count("select count(*) from invoices").await,
        0,
        "a dry run makes nothing"
    );

    document["engagements"] = json!([retainer("initech", &today, json!({ "package_fee": "7.00" }))]);
    world.import(&document).await;
    let refused = world
        .cli(&["generate-package-invoices", "--expect-plan", hash, "--json"])
        .await;
    assert_eq!(refused.code, 4, "{refused}");
    assert_eq!(refused.json().unwrap()["error"]["code"], "plan_changed");
    assert_eq!(world.count("select count(*) from invoices").await, 0);

    let plan = world.json(&["generate-package-invoices", "--dry-run"]).await;
    let hash = plan["plan_hash"].as_str().unwrap();
    let run = world
        .json(&["generate_package_invoices", "--expect-plan", hash])
        .await;
    assert_eq!(run["plan_hash"], hash);
    assert_eq!(run["created"].as_array().unwrap().len(), 2);
    let totals = world
        .texts("select total_minor::text from invoices i order by i.total_minor")
        .await;
    assert_eq!(totals, ["700", "10000"]);
}

/// R012, R032.
#[tokio::test]
async fn b06_month_ends_and_leap_days_neither_drift_nor_leave_a_gap() {
    let world = World::start(without_workers()).await;
    let anniversary =
        |cadence: &str| json!({ "period_anchor": "anniversary", "package_fee_schedule": cadence });
    let mut document = unbanked(&["months", "quarters", "years", "calendar"]);
    document["engagements"] = json!([
        retainer("months", "2027-10-31", anniversary("monthly")),
        retainer("quarters", "2027-11-30", anniversary("quarterly")),
        retainer("years", "2024-02-29", anniversary("annual")),
        retainer(
            "calendar",
            "2027-11-30",
            json!({ "proration": "daily", "package_fee": "29.00" })
        ),
    ]);
    world.import(&document).await;
    let plan = world
        .json(&[
            "generate-package-invoices",
            "--dry-run",
            "--catch-up",
            "--as-of",
            "2028-03-31",
        ])
        .await;
    let starts = |client: &str| -> Vec<String> {
        let bills = plan["would_create"].as_array().unwrap();
        let of_client = bills
            .iter()
            .filter(|bill| bill["engagement"] == format!("{client}-work"));
        let periods: Vec<(&str, &str)> = of_client
            .map(|bill| {
                let period = &bill["period"];
                (period["start"].as_str().unwrap(), period["end"].as_str().unwrap())
            })
            .collect();
        for pair in periods.windows(2) {
            assert_eq!(pair[0].1, pair[1].0, "a gap or an overlap: {periods:?}");
        }
        periods.iter().map(|(start, _)| (*start).to_owned()).collect()
    };
    assert_eq!(
        starts("months"),
        [
            "2027-10-31",
            "2027-11-30",
            "2027-12-31",
            "2028-01-31",
            "2028-02-29",
            "2028-03-31"
        ]
    );
    assert_eq!(starts("quarters"), ["2027-11-30", "2028-02-29"]);
    assert_eq!(
        starts("years"),
        [
            "2024-02-29",
            "2025-02-28",
            "2026-02-28",
            "2027-02-28",
            "2028-02-29"
        ]
    );
    assert_eq!(
        starts("calendar"),
        [
            "2027-11-30",
            "2027-12-01",
            "2028-01-01",
            "2028-02-01",
            "2028-03-01"
        ]
    );
    let first = plan["would_create"]
        .as_array()
        .unwrap()
        .iter()
        .find(|bill| bill["period"]["start"] == "2027-11-30" && bill["period"]["end"] == "2027-12-01")
        .unwrap();
    assert_eq!(first["total_minor"], 97, "one day of thirty, to the cent");
}

#[tokio::test]
async fn more_than_one_period_in_arrears_waits_for_a_person() {
    let world = World::start(WorldOptions {
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    let mut document = unbanked(&["behind", "current"]);
    document["engagements"] = json!([
        retainer("behind", "2027-01-01", json!({})),
        retainer("current", "2027-05-01", json!({})),
    ]);
    world.import(&document).await;
    // Of the one, five months are over and not billed; of the other, one: a night that was missed.
    let as_of = ["generate-package-invoices", "--as-of", "2027-06-15"];
    let run = world.json(&as_of).await;
    assert_eq!(run["created"].as_array().unwrap().len(), 2, "{run}");
    let skipped: Vec<String> = run["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skip| {
            format!(
                "{} {}",
                skip["engagement"].as_str().unwrap(),
                skip["reason_code"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(skipped, vec!["behind-work catch_up_needs_approval"; 6]);
    let run = world.json(&[&as_of[..], &["--catch-up"]].concat()).await;
    assert_eq!(run["created"].as_array().unwrap().len(), 6, "{run}");
    assert_eq!(world.count("select count(*) from billing_periods").await, 8);
}

/// S16.
#[tokio::test]
async fn b07_the_firms_own_calendar_says_what_day_it_is() {
    let world = World::start(without_workers()).await;
    // Half past two in the morning of the next month's first day, UTC: already afternoon there, still yesterday here.
    let first = "date_trunc('month', app.now() at time zone 'UTC') + interval '1 month'";
    acme::go_to(
        &world,
        &format!("({first} + interval '2 hours 30 minutes') at time zone 'UTC'"),
    )
    .await;
    let today = acme::today(&world).await;
    let zones = [
        ("kiritimati", "Pacific/Kiritimati"),
        ("juneau", "America/Juneau"),
        ("utc", "UTC"),
    ];
    let each = |item: &dyn Fn(&str, &str) -> Value| -> Value {
        zones
            .iter()
            .map(|(name, zone)| item(name, zone))
            .collect::<Vec<_>>()
            .into()
    };
    let document = json!({
        "firms": each(&|name, zone| json!({ "external_id": name, "name": name, "timezone": zone, "currency": "usd" })),
        "clients": each(&|name, _| json!({ "external_id": format!("{name}-client"), "firm": name, "name": name })),
        "engagements": each(&|name, _| retainer(&format!("{name}-client"), &today, json!({}))),
    });
    world.import(&document).await;
    let planned = |plan: Value| -> Vec<String> {
        let mut billed: Vec<String> = plan["would_create"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bill| bill["engagement"].as_str().unwrap().to_owned())
            .collect();
        billed.sort();
        billed
    };
    let plan = world.json(&["generate-package-invoices", "--dry-run"]).await;
    assert_eq!(plan["skipped"][0]["engagement"], "juneau-client-work");
    assert_eq!(plan["skipped"][0]["reason_code"], "not_started");
    assert_eq!(planned(plan), ["kiritimati-client-work", "utc-client-work"]);
    world.advance("12h").await;
    let plan = world
        .json(&["generate-package-invoices", "--dry-run", "--firm-id", "juneau"])
        .await;
    assert_eq!(planned(plan), ["juneau-client-work"]);
}

/// R035, R033: a dry run says of every engagement what it would bill, or why not.
#[tokio::test]
async fn r035_a_dry_run_says_why_an_engagement_is_not_billed() {
    let world = World::start(without_workers()).await;
    let clients = ["billed", "hours", "unsigned", "early", "over", "stopped"];
    let mut document = unbanked(&clients);
    let hours = json!({
        "pricing_mode": "hourly", "package_fee": null, "package_fee_schedule": null, "hourly_rate": "150.00",
    });
    document["engagements"] = json!([
        retainer("billed", "2026-03-01", json!({})),
        retainer("hours", "2026-03-01", hours),
        retainer("unsigned", "2026-03-01", json!({ "signed": false })),
        retainer("early", "2026-03-02", json!({})),
        retainer("over", "2025-03-01", json!({ "ends_on": "2025-03-20" })),
        retainer("stopped", "2026-03-01", json!({})),
    ]);
    world.import(&document).await;
    world
        .texts("update clients set parked_reason = 'looks odd' where external_id = 'stopped' returning external_id")
        .await;
    let plan = world
        .json(&[
            "generate-package-invoices",
            "--dry-run",
            "--firm-id",
            "acme",
            "--as-of",
            "2026-03-01",
        ])
        .await;
    let bills = plan["would_create"].as_array().unwrap();
    let billed: Vec<&Value> = bills.iter().map(|bill| &bill["engagement"]).collect();
    assert_eq!(
        billed,
        ["over-work", "billed-work"],
        "the oldest period first: {plan}"
    );
    let reasons: BTreeMap<&str, &str> = plan["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skip| {
            (
                skip["engagement"].as_str().unwrap(),
                skip["reason_code"].as_str().unwrap(),
            )
        })
        .collect();
    let wanted = [
        ("early-work", "not_started"),
        ("stopped-work", "client_parked"),
        ("unsigned-work", "not_signed"),
    ];
    assert_eq!(
        reasons,
        BTreeMap::from(wanted),
        "terms without a schedule bill nothing by themselves: {plan}"
    );
    assert_eq!(world.count("select count(*) from invoices").await, 0);
}
