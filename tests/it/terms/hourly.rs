//! Hours alone: invoiced on a cadence when the period is over, or when a person asks.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    approved, assert_reconciled, bare, engagement, hours, lines, refusal, refused, with_a_worker,
    with_engagements, work,
};
use crate::acme;

const GENERATE: &str = "generate-package-invoices";

/// R013, R030: in arrears, once per period, and no invoice for a period without time.
#[tokio::test]
async fn r013_hours_on_a_cadence_are_billed_when_their_month_is_over() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[hours("hours", Some("monthly"))]))
        .await;
    work(
        &world,
        &[
            approved("t1", "hours", "2026-01-20", 90),
            approved("t2", "hours", "2026-02-02", 30),
        ],
    )
    .await;
    let shown = world.json(&["engagement", "show", "hours"]).await;
    assert_eq!(
        (&shown["hourly_schedule"], &shown["package_fee_schedule"]),
        (&json!("monthly"), &Value::Null)
    );
    let reason = |run: &Value| {
        run["skipped"][0]["reason_code"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    };
    let run = world.json(&[GENERATE, "--as-of", "2026-01-31"]).await;
    assert_eq!((&run["created"], reason(&run).as_str()), (&json!([]), "not_due"));

    let command = world.command();
    let at_once = join_all((0..16).map(|_| command.json(&[GENERATE, "--as-of", "2026-02-01"]))).await;
    let created: usize = at_once
        .into_iter()
        .map(|run| run.unwrap()["created"].as_array().unwrap().len())
        .sum();
    assert_eq!(created, 1, "once, whoever asks");
    let number = world.texts("select number from invoices").await.concat();
    assert!(number.starts_with("HRS-"), "{number}");
    let invoice = world.json(&["invoice", "show", &number]).await;
    assert_eq!(lines(&invoice), ["hourly 90 22500 t1"]);
    assert_eq!(
        invoice["period"],
        json!({"start": "2026-01-01", "end": "2026-02-01"})
    );

    let run = world.json(&[GENERATE, "--as-of", "2026-02-15"]).await;
    assert_eq!(
        (&run["created"], reason(&run).as_str()),
        (&json!([]), "already_billed")
    );
    world.json(&[GENERATE, "--as-of", "2026-03-01"]).await;
    let run = world.json(&[GENERATE, "--as-of", "2026-04-01"]).await;
    assert_eq!(
        (&run["created"], reason(&run).as_str()),
        (&json!([]), "no_approved_time"),
        "March had none: {run}"
    );
    assert_eq!(world.count("select count(*) from billing_periods").await, 2);
    // Approved late, for the empty month: it is billed for that month.
    work(&world, &[approved("t3", "hours", "2026-03-03", 60)]).await;
    let run = world.json(&[GENERATE, "--as-of", "2026-04-02"]).await;
    let late = world
        .json(&["invoice", "show", run["created"][0].as_str().unwrap()])
        .await;
    assert_eq!(late["period"]["start"], "2026-03-01");
    assert_reconciled(&world).await;
}

/// Money is not moved for months at once because somebody approved a pile of old time.
#[tokio::test]
async fn hours_of_many_months_at_once_wait_for_a_person() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[hours("hours", Some("monthly"))]))
        .await;
    let worked = ["2026-01-20", "2026-02-20", "2026-03-20"];
    let entries: Vec<Value> = worked.iter().map(|day| approved(day, "hours", day, 60)).collect();
    work(&world, &entries).await;
    let as_of = [GENERATE, "--as-of", "2026-04-01"];
    let run = world.json(&as_of).await;
    assert_eq!(run["created"], json!([]));
    assert_eq!(run["skipped"].as_array().unwrap().len(), 3);
    assert_eq!(run["skipped"][0]["reason_code"], "catch_up_needs_approval");
    let run = world.json(&[&as_of[..], &["--catch-up"]].concat()).await;
    assert_eq!(run["created"].as_array().unwrap().len(), 3);
    let decided = world
        .texts("select distinct kind || ' ' || outcome || ' ' || reason_code from decisions order by 1")
        .await;
    assert_eq!(
        decided,
        [
            "generate_package bill due",
            "generate_package skip catch_up_needs_approval"
        ]
    );
}

/// On demand: between two days, as a draft or at once; and the drafts themselves.
#[tokio::test]
async fn r013_hours_on_demand_are_billed_between_two_days() {
    let world = bare().await;
    let package = json!({"pricing_mode": "package", "hourly_rate": null, "client": "initech"});
    world
        .import(&with_engagements(&[
            hours("hours", None),
            engagement("package", package),
        ]))
        .await;
    let entries: Vec<Value> = ["2026-01-31", "2026-02-01", "2026-02-28", "2026-03-01"]
        .iter()
        .map(|day| approved(day, "hours", day, 60))
        .collect();
    work(&world, &entries).await;
    let create = [
        "invoice",
        "create",
        "--engagement",
        "hours",
        "--from",
        "2026-02-01",
        "--to",
        "2026-03-01",
    ];
    let planned = world.json(&[&create[..], &["--dry-run"]].concat()).await;
    assert_eq!(
        (&planned["dry_run"], &planned["total_minor"]),
        (&json!(true), &json!(30_000))
    );
    assert_eq!(world.count("select count(*) from invoices").await, 0);

    let draft = world.json(&create).await;
    assert_eq!(
        (&draft["status"], &draft["number"]),
        (&json!("draft"), &Value::Null)
    );
    assert_eq!(
        lines(&draft),
        ["hourly 60 15000 2026-02-01", "hourly 60 15000 2026-02-28"]
    );
    let (code, message) = refused(&world, &create).await;
    assert_eq!(code, "nothing_to_bill");
    assert!(
        message.contains("of 2 the time is on an invoice already"),
        "{message}"
    );
    let id = draft["id"].as_str().unwrap();
    let issued = world.json(&["invoice", "issue", id]).await;
    assert_eq!(issued["status"], "sent");
    assert_eq!(issued["issue_date"], acme::today(&world).await.as_str());
    assert_eq!(refusal(&world, &["invoice", "issue", id]).await, "no_draft");
    let rest = world
        .json(&["invoice", "create", "--engagement", "hours", "--issue"])
        .await;
    assert_eq!(
        lines(&rest),
        ["hourly 60 15000 2026-01-31", "hourly 60 15000 2026-03-01"]
    );
    let numbers = world.texts("select number from invoices order by number").await;
    assert_eq!(numbers, ["HRS-0001-000001", "HRS-0001-000002"]);
    let noted = super::audit(&world, "invoice", "total_minor").await;
    let actions: Vec<&str> = noted.iter().map(|row| row.split(' ').next().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "invoice.created",
            "invoice.issued",
            "invoice.created",
            "invoice.issued"
        ]
    );
    assert_reconciled(&world).await;

    assert_eq!(
        refusal(&world, &["invoice", "create", "--engagement", "package"]).await,
        "no_rate"
    );
    let mut unsigned = hours("sketch", None);
    unsigned["signed"] = json!(false);
    world.import(&json!({ "engagements": [unsigned] })).await;
    assert_eq!(
        refusal(&world, &["invoice", "create", "--engagement", "sketch"]).await,
        "not_signed"
    );
    // The switches that stop generation stop people too.
    work(&world, &[approved("t9", "hours", "2026-05-01", 60)]).await;
    for (stop, code) in [
        (
            "update firms set invoicing_paused_at = now() returning 'x'",
            "invoicing_paused",
        ),
        ("update firms set invoicing_paused_at = null returning 'x'", ""),
        (
            "update clients set parked_reason = 'looks odd' returning 'x'",
            "client_parked",
        ),
    ] {
        world.texts(stop).await;
        if !code.is_empty() {
            assert_eq!(
                refusal(&world, &["invoice", "create", "--engagement", "hours"]).await,
                code
            );
        }
    }
}

/// R025, R104: what is issued by hand is collected like everything else (R062), unless it is not to be.
#[tokio::test]
async fn r062_an_invoice_made_by_hand_is_charged_when_it_is_issued() {
    let world = tests::world::World::start(tests::world::WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    acme::open_accounts(&world, &[("globex", &["succeed"])]).await;
    let mut document = acme::document(&["globex"]);
    document["engagements"] = json!([hours("hours", None)]);
    document["time_entries"] = json!([
        approved("t1", "hours", "2026-01-05", 60),
        approved("t2", "hours", "2026-02-05", 60)
    ]);
    world.import(&document).await;
    let by_hand = ["invoice", "create", "--engagement", "hours", "--issue"];
    let kept = world
        .json(&[&by_hand[..], &["--to", "2026-02-01", "--no-autopay"]].concat())
        .await;
    let charged = world.json(&by_hand).await;
    world.settle().await;
    let status = |id: &Value| {
        let id = id["id"].as_str().unwrap().to_owned();
        let world = &world;
        async move { world.json(&["invoice", "show", &id]).await["status"].clone() }
    };
    assert_eq!(status(&kept).await, "sent");
    assert_eq!(status(&charged).await, "paid");
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 15_000);
}
