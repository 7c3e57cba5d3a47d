//! Mixed invoices: the fee, and with it the approved hours that no invoice has; by kind and to the cent.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    approved, assert_reconciled, engagement, lines, make_void, refusal, with_a_worker, with_engagements, work,
};

const GENERATE: &str = "generate-package-invoices";

/// The invoice that a run made, when it made one.
async fn made(world: &tests::world::World, as_of: &str) -> Value {
    let run = world.json(&[GENERATE, "--as-of", as_of]).await;
    let created = run["created"].as_array().unwrap();
    assert_eq!(created.len(), 1, "{run}");
    world
        .json(&["invoice", "show", created[0].as_str().unwrap()])
        .await
}

/// R023, R024, R042, R102, R112, A-12, R118.
#[tokio::test]
async fn r102_r024_mixed_invoice_totals_reconcile_and_hold_approved_time_only() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[engagement(
            "retainer",
            json!({"hourly_rate": "150.01"}),
        )]))
        .await;
    let mut draft = approved("t9", "retainer", "2026-01-06", 600);
    draft["state"] = json!("submitted");
    draft.as_object_mut().unwrap().remove("approved_by");
    // 7 minutes at 150.01 are 1750.12 cents, 50 are 12500.83, 30 are exactly 7500.5: to the even cent.
    work(
        &world,
        &[
            approved("t1", "retainer", "2026-01-05", 7),
            approved("t2", "retainer", "2026-01-31", 50),
            approved("t3", "retainer", "2026-02-01", 30),
            draft,
        ],
    )
    .await;
    let plan = world
        .json(&[GENERATE, "--dry-run", "--as-of", "2026-01-10"])
        .await;
    let bill = &plan["would_create"][0];
    assert_eq!(bill["total_minor"], 114_251);
    assert_eq!(
        bill["lines"],
        json!([{"kind": "package_fee", "count": 1, "amount_minor": 100_000},
               {"kind": "hourly", "count": 2, "minutes": 57, "amount_minor": 14_251}])
    );
    let text = world
        .cli(&[GENERATE, "--dry-run", "--as-of", "2026-01-10"])
        .await
        .success()
        .unwrap()
        .stdout;
    assert!(text.contains("PACKAGE") && text.contains("14251"), "{text}");
    assert_eq!(world.count("select count(*) from invoices").await, 0);

    let january = made(&world, "2026-01-10").await;
    assert_eq!(january["total_minor"], 114_251);
    assert_eq!(
        lines(&january),
        [
            "package_fee null 100000 -",
            "hourly 7 1750 t1",
            "hourly 50 12501 t2"
        ]
    );
    assert!(january["number"].as_str().unwrap().starts_with("PKG-"));
    // Approved late: with the next fee. t3 was worked in February.
    work(&world, &[approved("t4", "retainer", "2026-01-15", 60)]).await;
    let run = world.json(&[GENERATE, "--as-of", "2026-01-20"]).await;
    assert_eq!(run["created"], json!([]), "no invoice without a period: {run}");
    let february = made(&world, "2026-02-01").await;
    assert_eq!(
        lines(&february),
        [
            "package_fee null 100000 -",
            "hourly 60 15001 t4",
            "hourly 30 7500 t3"
        ]
    );
    assert_reconciled(&world).await;

    let report = world.json(&["invoice", "report", "--firm-id", "acme"]).await;
    assert_eq!(
        report["data"],
        json!([{"firm": "acme", "currency": "usd", "invoices": 2, "tax_minor": 0, "total_minor": 236_752,
                "kinds": [{"kind": "package_fee", "lines": 2, "minutes": 0, "amount_minor": 200_000},
                          {"kind": "hourly", "lines": 4, "minutes": 147, "amount_minor": 36_752}]}])
    );
    let none = world.json(&["invoice", "report", "--from", "2100-01-01"]).await;
    assert_eq!(none["data"], json!([]));
    let text = world
        .cli(&["invoice", "report", "--client", "globex"])
        .await
        .success()
        .unwrap()
        .stdout;
    assert!(
        text.contains("367.52 USD") && text.contains("2,367.52 USD"),
        "{text}"
    );
    let told = super::guard(&world, "update invoices set subtotal_minor = subtotal_minor + 1").await;
    assert!(told.starts_with("QT013"), "{told}");
}

/// R024 by the database: an invoice whose lines do not add up is not committed.
#[tokio::test]
async fn r024_an_invoice_that_does_not_add_up_cannot_be_issued() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[engagement("retainer", json!({}))]))
        .await;
    let told = super::guard(
        &world,
        "do $$ declare bill uuid := gen_random_uuid(); begin
           insert into invoices (firm_id, id, client_id, engagement_id, source, currency, subtotal_minor)
             select firm_id, bill, client_id, id, 'mixed', 'usd', 1001 from engagements;
           insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, amount_minor)
             select firm_id, gen_random_uuid(), bill, 1, 'package_fee', 1000 from engagements;
           update invoices set doc_state = 'issued', number = 'X', issue_date = '2026-01-01', due_date = '2026-01-01', issued_at = now()
            where id = bill;
         end $$",
    )
    .await;
    assert!(
        told.starts_with("QT018 journal ") && told.ends_with("does not balance: 1 usd too much"),
        "{told}"
    );
}

/// A-12 in a currency without decimals.
#[tokio::test]
async fn a12_yen_have_no_decimals() {
    let world = with_a_worker().await;
    let yen = json!({"currency": "jpy", "package_fee": "50000", "hourly_rate": "10001"});
    world
        .import(&with_engagements(&[engagement("retainer", yen)]))
        .await;
    work(
        &world,
        &[
            approved("t1", "retainer", "2026-01-05", 30),
            approved("t2", "retainer", "2026-01-05", 90),
        ],
    )
    .await;
    let invoice = made(&world, "2026-01-10").await;
    assert_eq!(
        lines(&invoice),
        [
            "package_fee null 50000 -",
            "hourly 30 5000 t1",
            "hourly 90 15002 t2"
        ],
        "5000.5 and 15001.5: to the even yen"
    );
    assert_reconciled(&world).await;
}

/// R043 in generation: what waits for the client goes with a later invoice.
#[tokio::test]
async fn r043_generation_leaves_time_out_that_waits_for_the_client() {
    let world = with_a_worker().await;
    let mut document = with_engagements(&[engagement("retainer", json!({}))]);
    document["firms"][0]["require_client_approval"] = json!(true);
    world.import(&document).await;
    work(
        &world,
        &[
            approved("t1", "retainer", "2026-01-05", 60),
            approved("t2", "retainer", "2026-01-05", 60),
        ],
    )
    .await;
    world.json(&["time", "client-approve", "t2", "--by", "ceo"]).await;
    assert_eq!(
        lines(&made(&world, "2026-01-10").await),
        ["package_fee null 100000 -", "hourly 60 15000 t2"]
    );
    world.json(&["time", "client-approve", "t1", "--by", "ceo"]).await;
    assert_eq!(
        lines(&made(&world, "2026-02-10").await),
        ["package_fee null 100000 -", "hourly 60 15000 t1"]
    );
}

/// B-16, R042: sixteen at once want the same hours, in part; every hour ends on one invoice.
#[tokio::test]
async fn b16_concurrent_invoicing_of_overlapping_sets_bills_every_hour_once() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[engagement("retainer", json!({}))]))
        .await;
    let entries: Vec<Value> = (1..=28)
        .map(|day| {
            approved(
                &format!("t{day:02}"),
                "retainer",
                &format!("2026-01-{day:02}"),
                60,
            )
        })
        .collect();
    work(&world, &entries).await;
    let command = world.command();
    let windows: Vec<(String, String)> = (0..16)
        .map(|n| {
            let from = 1 + n % 8 * 3;
            (format!("2026-01-{from:02}"), format!("2026-01-{:02}", from + 7))
        })
        .collect();
    let creating = windows.iter().map(|(from, to)| {
        let command = command.clone();
        async move {
            let args = [
                "invoice",
                "create",
                "--engagement",
                "retainer",
                "--from",
                from,
                "--to",
                to,
                "--issue",
                "--json",
            ];
            command.run(&args).await.unwrap()
        }
    });
    let generating = (0..4).map(|_| {
        let command = command.clone();
        async move {
            command
                .run(&[GENERATE, "--as-of", "2026-01-15", "--json"])
                .await
                .unwrap()
        }
    });
    let (created, generated) = tokio::join!(join_all(creating), join_all(generating));
    for output in created {
        let code = output.json().unwrap()["error"]["code"]
            .as_str()
            .map(str::to_owned);
        assert!(
            output.code == 0 || (output.code == 4 && code.as_deref() == Some("nothing_to_bill")),
            "{output}"
        );
    }
    for output in generated {
        assert_eq!(output.code, 0, "{output}");
    }
    assert_eq!(world.count("select count(*) from billing_periods").await, 1);
    let twice = world
        .texts("select time_entry_id::text from invoice_lines where time_entry_id is not null group by 1 having count(*) > 1")
        .await;
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(
        world
            .count("select count(*) from invoice_lines where time_entry_id is not null")
            .await,
        28,
        "generation takes whatever is left"
    );
    let invoiced = "select sum(amount_minor) from invoice_lines where kind = 'hourly'";
    assert_eq!(world.count(invoiced).await, 28 * 15_000);
    assert_eq!(
        world.count("select count(*) from invoices i where not exists (select 1 from invoice_lines l where l.invoice_id = i.id)").await,
        0,
        "no empty invoice"
    );
    assert_reconciled(&world).await;
}

/// A-06, R031, R104: a void alone frees no period; a reissue does, with a reason, once; the next run bills it again.
#[tokio::test]
async fn a06_r031_a_voided_period_is_billed_again_only_after_a_reissue() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[engagement("retainer", json!({}))]))
        .await;
    work(&world, &[approved("t1", "retainer", "2026-01-05", 60)]).await;
    let first = made(&world, "2026-01-10").await;
    let number = first["number"].as_str().unwrap();
    let reissue = ["invoice", "reissue", number, "--reason", "wrong hours"];
    assert_eq!(refusal(&world, &reissue).await, "not_void");
    assert_eq!(
        super::guard(
            &world,
            "update billing_periods set released_at = now(), release_reason = 'x'"
        )
        .await,
        "QT012 a period is released only when its invoice is void"
    );
    make_void(&world, number).await;
    let run = world.json(&[GENERATE, "--as-of", "2026-01-11"]).await;
    assert_eq!(run["created"], json!([]), "the void alone frees nothing: {run}");
    assert_eq!(run["skipped"][0]["reason_code"], "already_billed");
    let released = world.json(&reissue).await;
    assert_eq!(
        (&released["engagement"], &released["period_start"]),
        (&json!("retainer"), &json!("2026-01-01"))
    );
    assert_eq!(refusal(&world, &reissue).await, "already_released");

    let second = made(&world, "2026-01-12").await;
    assert_eq!(lines(&second), lines(&first), "its time was set free by the void");
    let rows = world
        .texts("select concat_ws(' ', period_start, generation, released_at is not null, release_reason) from billing_periods order by generation")
        .await;
    assert_eq!(rows, ["2026-01-01 1 t wrong hours", "2026-01-01 2 f"]);
    let run = world.json(&[GENERATE, "--as-of", "2026-01-13"]).await;
    assert_eq!(run["created"], json!([]));
    // And once more.
    make_void(&world, second["number"].as_str().unwrap()).await;
    world
        .json(&[
            "invoice",
            "reissue",
            second["number"].as_str().unwrap(),
            "--reason",
            "again",
        ])
        .await;
    made(&world, "2026-01-14").await;
    assert_eq!(
        world.count("select max(generation) from billing_periods").await,
        3
    );
    assert_eq!(
        world
            .count("select count(*) from billing_periods where released_at is null")
            .await,
        1
    );
    assert_reconciled(&world).await;
    let manual = [
        "invoice",
        "create",
        "--engagement",
        "retainer",
        "--amount",
        "5.00",
        "--issue",
    ];
    let manual = world.json(&manual).await;
    assert_eq!(
        refusal(
            &world,
            &[
                "invoice",
                "reissue",
                manual["number"].as_str().unwrap(),
                "--reason",
                "x"
            ]
        )
        .await,
        "no_period"
    );
}
