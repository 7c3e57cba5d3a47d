//! P6: every tick of every schedule has exactly one row that says what became of it, whatever the number of schedulers and
//! however long nobody was there; what it asked for is made up for, once.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use chrono::{DateTime, Timelike as _, Utc};
use serde_json::{Value, json};
use tests::world::{RHYTHMS, World, WorldOptions, wall_clock_secs};

/// Nobody works for this long.
const DOWNTIME: &str = "6h";

/// The hour of the firm's day at which the downtime begins: its invoice run of the next day falls into it.
const LATE_EVENING: u32 = 22;

/// A zone in which it is late in the evening now. (`Etc/GMT-3` is three hours ahead of UTC.)
fn zone_of_late_evening(now: DateTime<Utc>) -> (String, chrono::FixedOffset) {
    let mut ahead = (LATE_EVENING + 24 - now.hour()) % 24;
    let mut behind = 0;
    if ahead > 14 {
        (ahead, behind) = (0, 24 - ahead);
    }
    let (sign, hours) = if behind > 0 { ('+', behind) } else { ('-', ahead) };
    let east = (i32::try_from(ahead).unwrap() - i32::try_from(behind).unwrap()) * 3600;
    (
        format!("Etc/GMT{sign}{hours}"),
        chrono::FixedOffset::east_opt(east).unwrap(),
    )
}

/// A firm whose three retainers begin tomorrow.
fn document(now: DateTime<Utc>) -> Value {
    let (timezone, offset) = zone_of_late_evening(now);
    let tomorrow = now.with_timezone(&offset).date_naive() + chrono::Days::new(1);
    let names = ["globex", "initech", "hooli"];
    json!({
        "firms": [{ "external_id": "acme", "name": "Acme", "timezone": timezone, "currency": "usd" }],
        "clients": names.map(|name| json!({
            "external_id": name, "firm": "acme", "name": name, "stripe_customer_id": format!("cus_{name}"),
            "payment_methods": [{ "stripe_payment_method_id": format!("pm_{name}") }],
            "autopay": { "enabled": true, "payment_method": format!("pm_{name}") },
        })),
        "engagements": names.map(|name| json!({
            "external_id": format!("{name}-retainer"), "client": name, "pricing_mode": "package", "currency": "usd",
            "package_fee": "1000.00", "package_fee_schedule": "monthly", "period_anchor": "anniversary",
            "starts_on": tomorrow, "signed": true,
        })),
    })
}

/// Every tick since the schedules began, from their rhythms and not from our own arithmetic.
fn ticks() -> String {
    format!(
        "create table stories_ticks as
         select r.schedule, t.tick
           from ({RHYTHMS}) r (schedule, every, shift)
           cross join (select max(watermark_at) as at from schedules) began
           cross join lateral generate_series(date_trunc('day', began.at) + r.shift, began.at + interval '7 days', r.every) t (tick)
          where t.tick > began.at"
    )
}

/// Ticks until now without a row that says what became of them.
const FORGOTTEN: &str = "
    select count(*) from stories_ticks t where t.tick <= app.now() and not exists (
      select from schedule_occurrences o where o.schedule = t.schedule and o.due_at = t.tick and o.state in ('fired', 'skipped'))";

/// For two schedulers that look once a second and have hours to make up for.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(20);

/// Waits until every tick has its row; rows without a tick, unexplained ones, and jobs too many or too few are faults.
async fn await_every_row(world: &World) {
    world.until(FORGOTTEN, 0, CATCHES_UP_WITHIN).await;
    world.settle().await;
    for (fault, sql) in [
        (
            "rows of no tick",
            "select count(*) from schedule_occurrences o
              where not exists (select from stories_ticks t where t.schedule = o.schedule and t.tick = o.due_at)",
        ),
        (
            "skipped for no reason",
            "select count(*) from schedule_occurrences where state = 'skipped' and reason not like 'superseded by %'",
        ),
        (
            "sweeps too many or too few",
            "select (select coalesce(sum(jobs_enqueued), 0) from schedule_occurrences
                      where schedule in ('process_recurring_charges', 'sweep_due_charges'))
                  - (select count(*) from jobs where kind = 'process_recurring_charges')",
        ),
    ] {
        assert_eq!(world.count(sql).await, 0, "{fault}");
    }
}

/// R030, R034, R063, R110.
#[tokio::test]
async fn p6_six_hours_of_downtime_and_two_schedulers_skip_nothing_silently_and_double_nothing() {
    let mut world = World::start(WorldOptions {
        workers: 0,
        ..WorldOptions::default()
    })
    .await;
    let now = DateTime::from_timestamp(wall_clock_secs(), 0).unwrap();
    for name in ["globex", "initech", "hooli"] {
        world
            .sim
            .customer_with_card(&format!("cus_{name}"), &format!("pm_{name}"), &[])
            .await
            .unwrap();
    }
    // Two schedulers from the first moment.
    let first = [world.add_worker().await, world.add_worker().await];
    world.texts(&ticks()).await;
    world.import(&document(now)).await;
    await_every_row(&world).await;
    assert_eq!(world.count("select count(*) from invoices").await, 0);
    for worker in first {
        assert_eq!(world.sigterm(worker).await, 0);
    }

    world.advance(DOWNTIME).await;
    let missed = "select count(*) from stories_ticks t where t.tick <= app.now() and t.schedule =";
    let hours = world
        .count(&format!("{missed} 'generate_package_invoices'"))
        .await;
    let (one, two) = (world.add_worker().await, world.add_worker().await);
    await_every_row(&world).await;
    let fired = "select count(*) from schedule_occurrences where state = 'fired' and schedule =";
    assert!(hours >= 6, "{hours} hours");
    assert_eq!(
        world.count(&format!("{fired} 'generate_package_invoices'")).await,
        hours,
        "each hour is made up for"
    );
    let sweeps = world.count(&format!("{fired} 'sweep_due_charges'")).await;
    assert!(
        sweeps <= 3,
        "the newest sweep stands for all that were missed: {sweeps}"
    );

    // The retainers of the day that began meanwhile are invoiced and paid, once, however many ticks follow.
    for more in ["1s", "24h", "24h"] {
        world.advance(more).await;
        await_every_row(&world).await;
        for table in ["invoices", "billing_periods", "payments"] {
            assert_eq!(
                world.count(&format!("select count(*) from {table}")).await,
                3,
                "{table}"
            );
        }
        assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 300_000);
    }
    for worker in [one, two] {
        assert_eq!(world.sigterm(worker).await, 0);
    }
}
