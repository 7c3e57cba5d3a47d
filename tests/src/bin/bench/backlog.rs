//! Whether cost stays flat as tables grow: webhooks, jobs and lists on full tables, each to the same on empty ones.

use std::time::Instant;

use ::tests::world::{World, WorldOptions};
use sqlx::AssertSqlSafe;

use crate::{
    Outcome,
    load::{self, Load},
    queue,
    report::Report,
};

/// Finished events with their jobs, and jobs that wait for a later day.
fn fill(finished: u32, waiting: u32) -> [String; 2] {
    [
        format!(
            "with event as (
               insert into stripe_events (stripe_event_id, type, livemode, object_type, object_id, created_at, received_at, body_sha256,
                                          facts, state, applied_at)
               select 'evt_old' || n, 'customer.updated', false, 'customer', 'cus_' || n % 1000, at, at, sha256('x'), '{{}}', 'ignored', at
                 from generate_series(1, {finished}) n, lateral (select clock_timestamp() - n * interval '1 second' as at) t
               returning stripe_event_id, object_id, received_at)
             insert into jobs (id, queue, kind, dedupe_key, order_key, payload, run_at, created_at, state, attempt, finished_at)
             select gen_random_uuid(), 'events', 'process_stripe_event', stripe_event_id, 'customer:' || object_id,
                    jsonb_build_object('event_id', stripe_event_id), received_at, received_at, 'completed', 1, received_at from event"
        ),
        format!(
            "insert into jobs (id, queue, kind, dedupe_key, order_key, payload, run_at, created_at)
             select gen_random_uuid(), 'charges', 'charge_invoice', 'later-' || n, 'customer:later' || n, '{{}}',
                    app.now() + interval '5 days' + n * interval '1 second', app.now() from generate_series(1, {waiting}) n"
        ),
    ]
}

/// Measures one round.
pub async fn measure(report: &mut Report, quick: bool) -> Outcome {
    let (finished, waiting) = if quick { (5_000, 500) } else { (1_000_000, 100_000) };
    let mut world = World::start(WorldOptions {
        workers: 0,
        concurrency: 32,
        ..WorldOptions::default()
    })
    .await;
    world.add_worker().await;
    let empty = Figures::of(&world, quick).await?;
    for statement in fill(finished, waiting) {
        sqlx::query(AssertSqlSafe(statement)).execute(&world.db).await?;
    }
    sqlx::raw_sql("vacuum analyze").execute(&world.db).await?;
    let full = Figures::of(&world, quick).await?;
    let on = format!("on {finished} finished and {waiting} waiting jobs");
    report.add(
        format!("webhooks {on}, to empty tables"),
        "×",
        full.ingest / empty.ingest,
    );
    report.add(
        format!("jobs that do nothing {on}, to empty tables"),
        "×",
        full.queue / empty.queue,
    );
    report.add(format!("`jobs list` {on}"), "ms", full.list);
    report.add(
        format!("`jobs list` {on}, to empty tables"),
        "×",
        full.list / empty.list,
    );
    Ok(())
}

/// What is compared.
struct Figures {
    ingest: f64,
    queue: f64,
    list: f64,
}

impl Figures {
    async fn of(world: &World, quick: bool) -> Outcome<Self> {
        let queue = queue::drained(world, if quick { 500 } else { 10_000 }).await?;
        let mut lists = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            world.json(&["jobs", "list"]).await;
            lists.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        lists.sort_by(f64::total_cmp);
        let address = world.door.base().trim_start_matches("http://").parse()?;
        let load = Load {
            connections: 64,
            seconds: if quick { 1 } else { 3 },
            repeated_percent: 0,
        };
        let ingest = load::send(address, "whsec_world", load).await?.rate();
        queue::until_done(world).await;
        Ok(Self {
            ingest,
            queue,
            list: lists[lists.len() / 2],
        })
    }
}
