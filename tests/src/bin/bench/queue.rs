//! Jobs that do nothing, through the whole queue: the record in PostgreSQL, the relay, the lane in Redis, the claim and the end.

use std::time::{Duration, Instant};

use ::tests::world::{Login, World, WorldOptions, event};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tokio::task::JoinSet;

use crate::{
    Outcome,
    meter::{self, Cpu},
    report::Report,
};

/// Jobs of a queue that the worker runs at a time.
const CONCURRENCY: u32 = 32;
/// Connections that take rows of a plain table, where PostgreSQL alone is measured.
const TAKERS: usize = 4;
/// For all of it, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Events of a type that nobody handles, of a thousand customers, as the ingress stores them, and their jobs.
fn fill(jobs: u32) -> String {
    format!(
        "with event as (
           insert into stripe_events (stripe_event_id, type, livemode, object_type, object_id, created_at, received_at, body_sha256, facts)
           select 'evt_' || gen_random_uuid(), 'customer.updated', false, 'customer', 'cus_' || n % 1000, clock_timestamp(),
                  clock_timestamp(), sha256('x'), '{{}}' from generate_series(1, {jobs}) n
           returning stripe_event_id, object_id)
         insert into jobs (id, queue, kind, dedupe_key, order_key, payload, run_at, created_at)
         select gen_random_uuid(), 'events', 'process_stripe_event', stripe_event_id, 'customer:' || object_id,
                jsonb_build_object('event_id', stripe_event_id), app.now(), app.now() from event"
    )
}

/// Jobs a second between the first and the last fiftieth of those that ended since `since`, so that starting up does not count.
const RATE: &str = "
    with ended as (select finished_at as at, percent_rank() over (order by finished_at) as rank from jobs
                    where kind = 'process_stripe_event' and state = 'completed' and created_at >= $1::timestamptz),
         middle as (select at from ended where rank between 0.02 and 0.98)
    select (count(*) / greatest(extract(epoch from max(at) - min(at)), 0.000001))::float8 from middle";

/// From the commit of the webhook to the start of its job, in milliseconds.
const WAITED: &str = "
    select percentile_cont($2) within group (order by extract(epoch from started_at - created_at) * 1000)::float8
      from jobs where kind = 'process_stripe_event' and created_at >= $1::timestamptz";

/// Measures one round.
pub async fn measure(report: &mut Report, quick: bool) -> Outcome {
    let jobs = if quick { 1_000 } else { 30_000 };
    let mut world = World::start(WorldOptions {
        workers: 0,
        concurrency: CONCURRENCY,
        ..WorldOptions::default()
    })
    .await;
    let since = now(&world).await;
    sqlx::query(AssertSqlSafe(fill(jobs))).execute(&world.db).await?;
    world.add_worker().await;
    let pid = world.workers.first().ok_or("no worker")?.pid();
    let cpu = Cpu::of(pid)?;
    until_done(&world).await;
    let (program, postgres) = cpu.per_unit_since(pid, f64::from(jobs))?;
    let rate = rate(&world, &since).await?;
    report.add("queue, jobs that do nothing", "1/s", rate);
    report.add("queue: CPU of the worker", "µs each", program);
    report.add("queue: CPU of PostgreSQL", "µs each", postgres);
    report.add("queue: resident", "MB", meter::peak_resident_mb(pid)?);

    let since = now(&world).await;
    one_by_one(&world, if quick { 20 } else { 300 }).await?;
    for (percent, name) in [(0.5, "p50"), (0.99, "p99")] {
        let waited: f64 = sqlx::query_scalar(WAITED)
            .bind(&since)
            .bind(percent)
            .fetch_one(&world.db)
            .await?;
        report.add(format!("queue, idle: stored to started, {name}"), "ms", waited);
    }

    let db = PgPoolOptions::new()
        .max_connections(u32::try_from(TAKERS)?)
        .connect(&world.database_url(Login::Owner))
        .await?;
    let plain = taken(&db, jobs).await?;
    report.add("PostgreSQL alone, a job a transaction", "1/s", plain);
    report.add("queue, to a job a transaction", "×", rate / plain);
    Ok(())
}

/// As text, which every login may bind.
pub async fn now(world: &World) -> String {
    world.texts("select app.now()::text").await.concat()
}

/// Fills, drains with the workers that run, and says how many a second.
pub async fn drained(world: &World, jobs: u32) -> Outcome<f64> {
    let since = now(world).await;
    sqlx::query(AssertSqlSafe(fill(jobs))).execute(&world.db).await?;
    until_done(world).await;
    rate(world, &since).await
}

async fn rate(world: &World, since: &str) -> Outcome<f64> {
    Ok(sqlx::query_scalar(RATE).bind(since).fetch_one(&world.db).await?)
}

/// Until no job of an event is left.
pub async fn until_done(world: &World) {
    let open = "select count(*) from jobs where kind = 'process_stripe_event' and state <> 'completed' and run_at <= app.now()";
    world.until(open, 0, PATIENCE).await;
}

/// Webhooks, the next when the job of the one before has ended.
async fn one_by_one(world: &World, times: u32) -> Outcome {
    for n in 0..times {
        let object = json!({ "id": format!("cus_{n}"), "object": "customer" });
        let answer = world.door.deliver(&event("customer.updated", object)).await?;
        if answer.status != 200 {
            return Err(format!("the ingress answered {}", answer.status).into());
        }
        until_done(world).await;
    }
    Ok(())
}

/// Rows of a plain table that are marked done one a transaction, with nothing else around it.
async fn taken(db: &PgPool, rows: u32) -> Outcome<f64> {
    let make = format!(
        "create schema if not exists bench;
         drop table if exists bench.jobs;
         create table bench.jobs (id bigint primary key, done boolean not null default false);
         insert into bench.jobs select n from generate_series(1, {rows}) n;
         create index on bench.jobs (id) where not done"
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(db).await?;
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..TAKERS {
        let db = db.clone();
        all.spawn(async move {
            let mut connection = db.acquire().await?;
            loop {
                let taken = sqlx::query(
                    "update bench.jobs set done = true
                      where id = (select id from bench.jobs where not done order by id limit 1 for update skip locked)",
                )
                .execute(&mut *connection)
                .await?;
                if taken.rows_affected() == 0 {
                    return Ok::<_, sqlx::Error>(());
                }
            }
        });
    }
    while let Some(taker) = all.join_next().await {
        taker??;
    }
    let rate = f64::from(rows) / begun.elapsed().as_secs_f64();
    sqlx::raw_sql("drop table bench.jobs").execute(db).await?;
    Ok(rate)
}
