//! Signed webhooks: verified, and the event and its job on disk before the 200. Beside it what PostgreSQL can do with the same bytes.

use std::time::{Duration, Instant};

use ::tests::world::{Login, World, WorldOptions};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::task::JoinSet;

use crate::{
    Outcome,
    load::{self, Load},
    meter::{self, Cpu},
    report::Report,
};

/// At a time. The second is what a busy customer of Stripe's sees.
const CONNECTIONS: [usize; 3] = [16, 64, 256];
/// Of a hundred webhooks, how many are sent a second time in the run that repeats some.
const REPEATED: u64 = 20;
/// Rows of one insert and inserters at a time, where PostgreSQL alone is measured.
const BATCH: i32 = 64;
const INSERTERS: usize = 2;
/// Where one row is a transaction.
const SINGLE_INSERTERS: usize = 16;

/// Measures one round.
pub async fn measure(report: &mut Report, quick: bool) -> Outcome {
    let seconds = if quick { 1 } else { 5 };
    let world = World::start(WorldOptions {
        workers: 0,
        ..WorldOptions::default()
    })
    .await;
    let pid = world.ingress.as_ref().ok_or("no ingress")?.pid();
    let address = world.door.base().trim_start_matches("http://").parse()?;

    let mut of_connections = Vec::new();
    for (connections, repeated_percent) in CONNECTIONS
        .map(|connections| (connections, 0))
        .into_iter()
        .chain([(64, REPEATED)])
    {
        let before = world.count("select count(*) from stripe_events").await;
        let load = Load {
            connections,
            seconds,
            repeated_percent,
        };
        let cpu = Cpu::of(pid)?;
        let answered = load::send(address, "whsec_world", load).await?;
        let (program, postgres) = cpu.per_unit_since(pid, units(answered.ok))?;
        let stored = world.count("select count(*) from stripe_events").await - before;
        let jobs = world
            .count("select count(*) from jobs where kind = 'process_stripe_event'")
            .await;
        let all = world.count("select count(*) from stripe_events").await;
        if jobs != all || (repeated_percent == 0 && u64::try_from(stored)? != answered.ok) {
            return Err(format!(
                "{} answered, {stored} stored, {jobs} jobs of {all} events",
                answered.ok
            )
            .into());
        }
        let what = match repeated_percent {
            0 => format!("ingest, {connections} connections"),
            _ => format!("ingest, {connections} connections, {repeated_percent} % repeated"),
        };
        report.add(format!("{what}: webhooks"), "1/s", answered.rate());
        report.add(format!("{what}: p50"), "ms", answered.percentile(50));
        report.add(format!("{what}: p99"), "ms", answered.percentile(99));
        report.add(format!("{what}: CPU of the ingress"), "µs each", program);
        report.add(format!("{what}: CPU of PostgreSQL"), "µs each", postgres);
        report.add(format!("{what}: resident"), "MB", meter::peak_resident_mb(pid)?);
        if repeated_percent == 0 {
            of_connections.push((connections, answered.rate()));
        }
    }

    let db = PgPoolOptions::new()
        .max_connections(u32::try_from(SINGLE_INSERTERS)?)
        .connect(&world.database_url(Login::Owner))
        .await?;
    let batched = inserted(&db, Duration::from_secs(seconds), INSERTERS, BATCH).await?;
    let single = inserted(&db, Duration::from_secs(seconds), SINGLE_INSERTERS, 1).await?;
    report.add(
        format!("PostgreSQL alone, {BATCH} rows a commit"),
        "rows/s",
        batched,
    );
    report.add("PostgreSQL alone, a row a commit", "rows/s", single);
    for (connections, rate) in of_connections {
        report.add(
            format!("ingest, {connections} connections, to rows in batches"),
            "×",
            rate / batched,
        );
        report.add(
            format!("ingest, {connections} connections, to a row a commit"),
            "×",
            rate / single,
        );
    }
    Ok(())
}

/// Rows of an event's size that the database takes in a second from so many writers, so many a transaction.
async fn inserted(db: &PgPool, length: Duration, writers: usize, rows: i32) -> Outcome<f64> {
    sqlx::raw_sql(
        "create schema if not exists bench;
         drop table if exists bench.events;
         create table bench.events (id uuid primary key default gen_random_uuid(), body text compression lz4 not null)",
    )
    .execute(db)
    .await?;
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..writers {
        let db = db.clone();
        all.spawn(async move {
            // As hard to compress as what Stripe sends is at worst.
            let body: String = (0..110)
                .map(|_| uuid::Uuid::new_v4().simple().to_string())
                .collect();
            let mut connection = db.acquire().await?;
            let mut done = 0_i64;
            while begun.elapsed() < length {
                sqlx::query("insert into bench.events (body) select $1 from generate_series(1, $2)")
                    .bind(&body)
                    .bind(rows)
                    .execute(&mut *connection)
                    .await?;
                done += i64::from(rows);
            }
            Ok::<_, sqlx::Error>(done)
        });
    }
    let mut done = 0;
    while let Some(writer) = all.join_next().await {
        done += writer??;
    }
    let rate = units(u64::try_from(done)?) / begun.elapsed().as_secs_f64();
    sqlx::raw_sql("drop table bench.events").execute(db).await?;
    Ok(rate)
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn units(count: u64) -> f64 {
    count as f64
}
