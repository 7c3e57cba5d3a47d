//! Invoices that are collected from cards: asked of Stripe's simulator, and written down with journal, cycle, audit and decision. Once
//! as fast as it goes, and once with an answer that takes 200 ms and a limit that three workers share.

use std::{collections::BTreeMap, time::Duration};

use ::tests::world::{Login, World, WorldOptions};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    Outcome,
    meter::{self, Cpu},
    report::Report,
};

/// Jobs of a queue that a worker runs at a time.
const CONCURRENCY: u32 = 32;
/// Connections that write payments into plain tables, where PostgreSQL alone is measured.
const PAYERS: usize = 4;
/// What Stripe takes to answer, in the second part, and how often it may be asked.
const ANSWER_MS: u64 = 200;
const PER_SECOND: u32 = 50;
/// For all of it, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Payments a second between the first and the last fiftieth, so that starting up does not count.
const RATE: &str = "
    with paid as (select recorded_at as at, percent_rank() over (order by recorded_at) as rank from payments),
         middle as (select at from paid where rank between 0.02 and 0.98)
    select (count(*) / greatest(extract(epoch from max(at) - min(at)), 0.000001))::float8 from middle";

/// Measures one round.
pub async fn measure(report: &mut Report, quick: bool) -> Outcome {
    as_fast_as_it_goes(report, if quick { 50 } else { 3_000 }).await?;
    at_the_limit(report, if quick { 50 } else { 800 }).await
}

async fn as_fast_as_it_goes(report: &mut Report, payers: u32) -> Outcome {
    let mut world = world_of(10_000, payers).await?;
    world.add_worker().await;
    let pid = world.workers.first().ok_or("no worker")?.pid();
    let cpu = Cpu::of(pid)?;
    until_paid(&world, payers).await;
    let (program, postgres) = cpu.per_unit_since(pid, f64::from(payers))?;
    let rate: f64 = sqlx::query_scalar(RATE).fetch_one(&world.db).await?;
    report.add("charges", "1/s", rate);
    report.add("charges: CPU of the worker", "µs each", program);
    report.add("charges: CPU of PostgreSQL", "µs each", postgres);
    report.add("charges: resident", "MB", meter::peak_resident_mb(pid)?);
    let db = PgPoolOptions::new()
        .max_connections(u32::try_from(PAYERS)?)
        .connect(&world.database_url(Login::Owner))
        .await?;
    let plain = plain_payments(&db, payers).await?;
    report.add("PostgreSQL alone, a payment a transaction", "1/s", plain);
    report.add("charges, to a payment a transaction", "×", rate / plain);
    Ok(())
}

async fn at_the_limit(report: &mut Report, payers: u32) -> Outcome {
    let mut world = world_of(PER_SECOND, payers).await?;
    let slow = json!({ "path": "/v1/*", "kind": "delay_after_effect", "ms": ANSWER_MS, "times": 1_000_000 });
    world.sim.fault(slow).await?;
    for _ in 0..3 {
        world.add_worker().await;
    }
    until_paid(&world, payers).await;
    let mut of_second: BTreeMap<i64, u32> = BTreeMap::new();
    for call in world.sim.requests().await? {
        *of_second
            .entry(call["at"].as_i64().ok_or("a call without time")?)
            .or_default() += 1;
    }
    // The first and the last second are not whole.
    let whole: Vec<u32> = of_second.values().copied().skip(1).rev().skip(1).collect();
    let most = whole.iter().copied().max().unwrap_or_default();
    let mean = f64::from(whole.iter().sum::<u32>()) / f64::from(u32::try_from(whole.len().max(1))?);
    let limit = f64::from(PER_SECOND);
    report.add("calls of 3 workers, of what they may", "×", mean / limit);
    report.add(
        "calls in the fullest second, of what they may",
        "×",
        f64::from(most) / limit,
    );
    Ok(())
}

/// A firm whose clients have a card and an invoice each, which is due now; no worker yet.
async fn world_of(per_second: u32, payers: u32) -> Outcome<World> {
    let world = World::start(WorldOptions {
        workers: 0,
        concurrency: CONCURRENCY,
        env: vec![("STRIPE_RATE_PER_SEC".into(), per_second.to_string())],
        ..WorldOptions::default()
    })
    .await;
    world.sim.pause_webhooks().await?;
    for n in 0..payers {
        world
            .sim
            .customer_with_card(&format!("cus_{n}"), &format!("pm_{n}"), &[])
            .await?;
    }
    let today: String = sqlx::query_scalar("select (app.now() at time zone 'UTC')::date::text")
        .fetch_one(&world.db)
        .await?;
    world.import(&document(payers, &today)).await;
    Ok(world)
}

fn document(payers: u32, today: &str) -> Value {
    let rows = |row: &dyn Fn(u32) -> Value| (0..payers).map(row).collect::<Vec<_>>();
    json!({
        "firms": [{ "external_id": "acme", "name": "Acme Advisory", "timezone": "UTC", "currency": "usd" }],
        "clients": rows(&|n| json!({
            "external_id": format!("client-{n}"), "firm": "acme", "name": format!("Client {n}"),
            "stripe_customer_id": format!("cus_{n}"), "payment_methods": [{ "stripe_payment_method_id": format!("pm_{n}") }],
            "autopay": { "enabled": true, "payment_method": format!("pm_{n}") },
        })),
        "engagements": rows(&|n| json!({
            "external_id": format!("work-{n}"), "client": format!("client-{n}"), "pricing_mode": "hourly", "currency": "usd",
            "hourly_rate": "150.00", "starts_on": today, "signed": true,
        })),
        "invoices": rows(&|n| json!({
            "external_id": format!("invoice-{n}"), "client": format!("client-{n}"), "engagement": format!("work-{n}"),
            "currency": "usd", "issue_date": today, "due_date": today, "autopay_opt_in": true,
            "lines": [{ "kind": "hourly", "amount": "100.00" }],
        })),
    })
}

async fn until_paid(world: &World, payers: u32) {
    world
        .until("select count(*) from payments", i64::from(payers), PATIENCE)
        .await;
}

/// The least that a payment is, in plain tables: the invoice locked, the payment, the invoice paid, one audit row; one transaction.
async fn plain_payments(db: &PgPool, payments: u32) -> Outcome<f64> {
    let make = format!(
        "create schema if not exists bench;
         create table bench.invoices (id bigint primary key, open bigint not null, status text not null default 'open');
         create table bench.payments (id bigserial primary key, invoice bigint not null references bench.invoices, charge text not null unique,
                                      amount bigint not null, at timestamptz not null default now());
         create table bench.audit (id bigserial primary key, invoice bigint not null, action text not null, detail jsonb not null,
                                   at timestamptz not null default now());
         insert into bench.invoices (id, open) select n, 10000 from generate_series(1, {payments}) n"
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(db).await?;
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for payer in 0..i64::try_from(PAYERS)? {
        let db = db.clone();
        all.spawn(async move {
            let mut invoice = payer + 1;
            while invoice <= i64::from(payments) {
                let mut tx = db.begin().await?;
                sqlx::query("select open, status from bench.invoices where id = $1 for update")
                    .bind(invoice)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query("insert into bench.payments (invoice, charge, amount) values ($1, 'ch_' || $1, 10000) on conflict do nothing")
                    .bind(invoice)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query("update bench.invoices set open = 0, status = 'paid' where id = $1")
                    .bind(invoice)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query("insert into bench.audit (invoice, action, detail) values ($1, 'paid', '{\"amount\": 10000}')")
                    .bind(invoice)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await?;
                invoice += i64::try_from(PAYERS).unwrap_or(1);
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    while let Some(payer) = all.join_next().await {
        payer??;
    }
    Ok(f64::from(payments) / begun.elapsed().as_secs_f64())
}
