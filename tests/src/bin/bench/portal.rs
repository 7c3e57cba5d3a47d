//! How long the portal's pages take when a firm has a hundred thousand invoices: each page, as people see it who are logged in, from the
//! request to the last byte of the answer, one after the other. `portal.sql` makes the firm.

use std::time::Instant;

use ::tests::{
    browser::{Browser, totp},
    world::{World, WorldOptions},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{Outcome, report::Report};

/// Who looks, and what they type.
const OWNER: &str = "owner-bench";
const OPERATOR: &str = "operator";
const PASSWORD: &str = "correct horse battery staple";

/// What the owner of the firm asks for. `{N}` is the number of an invoice in the middle.
const BILLING: [&str; 32] = [
    "/billing/",
    "/billing/invoices",
    "/billing/invoices?client=client-7",
    "/billing/invoices?client=client-7&open=true",
    "/billing/invoices?open=true",
    "/billing/invoices?status=paid",
    "/billing/invoices?status=sent",
    "/billing/invoices?status=partial",
    "/billing/invoices?status=overdue",
    "/billing/invoices?status=processing",
    "/billing/invoices?status=failed",
    "/billing/invoices?status=disputed",
    "/billing/invoices?status=charged_back",
    "/billing/invoices?status=refunded",
    "/billing/invoices?status=draft",
    "/billing/invoices?status=void",
    "/billing/invoices?status=written_off",
    "/billing/invoices?cursor=BENCH-{N}",
    "/billing/invoices/BENCH-{N}",
    "/billing/engagements",
    "/billing/engagements/work-7",
    "/billing/time",
    "/billing/time?state=submitted",
    "/billing/credits",
    "/billing/credits/client-7",
    "/billing/disputes",
    "/billing/explain?id=BENCH-{N}",
    "/billing/break-glass",
    "/api/alerts/",
    "/api/alerts/?show=all",
    "/api/billing/",
    "/account",
];

/// What an operator asks for, of the platform and of the firm that they have entered.
const CONSOLE: [&str; 14] = [
    "/console/",
    "/console/jobs",
    "/console/events",
    "/console/schedules",
    "/console/workers",
    "/console/findings",
    "/console/audit",
    "/console/break-glass",
    "/console/jobs?firm=bench",
    "/console/jobs?state=discarded&firm=bench",
    "/console/events?firm=bench",
    "/console/findings?firm=bench",
    "/console/audit?firm=bench",
    "/console/explain?id=BENCH-{N}&firm=bench",
];

/// Measures one round.
pub async fn measure(report: &mut Report, quick: bool) -> Outcome {
    let (invoices, times) = if quick { (2_000, 3) } else { (100_000, 100) };
    let world = World::start(WorldOptions {
        portal: true,
        env: vec![("PORTAL_RATE_PER_MIN".into(), "1000000".into())],
        ..WorldOptions::default()
    })
    .await;
    fill(&world, invoices).await?;
    // One in the middle that was issued.
    let middle = invoices / 2 + 1;
    let mut owner = Browser::at(&world);
    let password = ["user", "password", OWNER, "--login", OWNER, "--stdin"];
    world
        .command()
        .run_with_input(&password, PASSWORD)
        .await?
        .success()?;
    if owner.log_in(OWNER, PASSWORD, "").await != 303 {
        return Err("the owner cannot log in".into());
    }
    for page in BILLING {
        time(report, &mut owner, page, (middle, invoices), times).await?;
    }
    let made = world
        .command()
        .run_with_input(&["user", "operator", OPERATOR, "--stdin", "--json"], PASSWORD)
        .await?
        .success()?
        .json()?;
    let secret = made["totp_secret"].as_str().ok_or("no secret")?;
    let mut operator = Browser::at(&world);
    if operator.log_in(OPERATOR, PASSWORD, &totp(secret)).await != 303 {
        return Err("the operator cannot log in".into());
    }
    let enter = json!({"firm": "bench", "reason": "benchmark", "minutes": 60});
    if operator.post("/api/v1/break-glass", &enter).await.status != 201 {
        return Err("the operator cannot enter the firm".into());
    }
    for page in CONSOLE {
        time(report, &mut operator, page, (middle, invoices), times).await?;
    }
    Ok(())
}

/// The firm, and statistics for the planner as autovacuum would have made them.
async fn fill(world: &World, invoices: u32) -> Outcome {
    let mut tx = world.db.begin().await?;
    tx.execute(AssertSqlSafe(format!("set local bench.invoices = {invoices}")))
        .await?;
    tx.execute(sqlx::raw_sql(include_str!("portal.sql"))).await?;
    tx.commit().await?;
    world.db.execute(sqlx::raw_sql("vacuum analyze")).await?;
    let made = world
        .count("select count(*) from invoice_status where status <> 'draft'")
        .await;
    if made < i64::from(invoices) * 9 / 10 {
        return Err(format!("{made} invoices of {invoices}").into());
    }
    Ok(())
}

/// Asks for a page so many times, after a first time that is not counted.
async fn time(
    report: &mut Report,
    browser: &mut Browser,
    page: &str,
    (middle, invoices): (u32, u32),
    times: usize,
) -> Outcome {
    let path = page.replace("{N}", &middle.to_string());
    let mut took = Vec::with_capacity(times);
    for n in 0..=times {
        let begun = Instant::now();
        let answer = browser.get(&path).await;
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        if answer.status != 200 {
            return Err(format!("{path}: {}: {}", answer.status, answer.text).into());
        }
        if n > 0 {
            took.push(ms);
        }
    }
    took.sort_by(f64::total_cmp);
    let what = format!("`{page}` with {invoices} invoices");
    report.add(format!("{what}, median"), "ms", took[times / 2]);
    report.add(format!("{what}, 99 of 100 within"), "ms", took[times * 99 / 100]);
    Ok(())
}
