//! Two schedulers, six hours without any, and a day of firms in several zones.

use serde_json::Value;
use shared::ids::FirmId;
use sqlx::Row;

use super::{Work, one_round, register};
use crate::{metrics::Metrics, queue::tests::Bench};

/// Moves the clock to 23:35 of a day ahead: five minutes before the next tick, so that a slow test meets none.
const BEFORE_MIDNIGHT: &str = "
update clock set offset_ms = extract(epoch from date_trunc('day', clock_timestamp()) + interval '2 days' - interval '25 minutes'
  - clock_timestamp())::bigint * 1000;";

async fn firm(bench: &Bench, name: &str, timezone: &str) -> FirmId {
    let id = FirmId::new();
    let mut tx = bench.admin.begin().await.unwrap();
    sqlx::query("insert into firms (id, external_id, name, timezone) values ($1, $2, $2, $3)")
        .bind(id.0)
        .bind(name)
        .bind(timezone)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    id
}

/// Rounds of two schedulers at a time until neither finds anything.
async fn two_schedulers_catch_up(bench: &Bench) {
    let metrics = Metrics::new().unwrap();
    for _ in 0..100 {
        let (first, second) = tokio::join!(one_round(&bench.db, &metrics), one_round(&bench.db, &metrics));
        let both = [first.unwrap(), second.unwrap()];
        if both == [Work::CaughtUp, Work::CaughtUp]
            && one_round(&bench.db, &metrics).await.unwrap() == Work::CaughtUp
        {
            return;
        }
    }
    panic!("the schedulers do not come to an end");
}

async fn occurrences(bench: &Bench, schedule: &str) -> Vec<(String, Option<String>)> {
    sqlx::query("select state, reason from schedule_occurrences where schedule = $1 order by due_at")
        .bind(schedule)
        .fetch_all(&bench.admin)
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

#[tokio::test]
async fn p6_after_six_hours_of_downtime_two_schedulers_catch_up_each_tick_once() {
    let Some(bench) = Bench::start().await else { return };
    bench.execute(BEFORE_MIDNIGHT).await;
    firm(&bench, "utc", "UTC").await;
    register(&bench.db).await.unwrap();
    two_schedulers_catch_up(&bench).await;
    assert_eq!(bench.count("select count(*) from schedule_occurrences").await, 0);

    // Nobody is there for six hours: until 05:35.
    bench
        .execute("update clock set offset_ms = offset_ms + 6 * 3600 * 1000")
        .await;
    two_schedulers_catch_up(&bench).await;

    let hourly = occurrences(&bench, "generate_package_invoices").await;
    assert_eq!(hourly.len(), 6);
    assert!(hourly.iter().all(|(state, _)| state == "fired"), "{hourly:?}");
    assert_eq!(
        bench
            .count("select count(*) from jobs where kind = 'generate_package_invoices'")
            .await,
        1,
        "one run for the date, at the first tick from two o'clock on"
    );
    let sweeps = occurrences(&bench, "sweep_due_charges").await;
    assert_eq!(sweeps.len(), 36);
    let (newest, older) = sweeps.split_last().unwrap();
    assert_eq!(newest.0, "fired");
    for (state, reason) in older {
        assert_eq!(state, "skipped");
        assert!(
            reason.as_deref().unwrap().starts_with("superseded by "),
            "{reason:?}"
        );
    }
    let nightly = occurrences(&bench, "process_recurring_charges").await;
    assert_eq!(
        nightly.iter().map(|(s, _)| s.as_str()).collect::<Vec<_>>(),
        ["fired"]
    );
    assert_eq!(
        bench
            .count("select count(*) from jobs where kind = 'process_recurring_charges'")
            .await,
        2,
        "the nightly run and the newest sweep"
    );
    assert_eq!(
        bench
            .count(
                "select count(*) from schedules where watermark_at > app.now() - interval '61 minutes'
                    and name in ('generate_package_invoices', 'sweep_due_charges', 'prune', 'process_recurring_charges')"
            )
            .await,
        3,
        "all but the nightly one"
    );
    bench.finish().await;
}

/// R030, A-08.
#[tokio::test]
async fn p6_every_firm_has_one_run_per_local_date_whatever_its_zone() {
    let Some(bench) = Bench::start().await else { return };
    bench.execute(BEFORE_MIDNIGHT).await;
    let zones = [
        "UTC",
        "Pacific/Kiritimati",
        "America/Juneau",
        "Europe/Berlin",
        "Asia/Kathmandu",
    ];
    for zone in zones {
        firm(&bench, zone, zone).await;
    }
    register(&bench.db).await.unwrap();
    // Ten days, in steps that fit no tick.
    for _ in 0..26 {
        bench
            .execute("update clock set offset_ms = offset_ms + (9 * 3600 + 777) * 1000")
            .await;
        two_schedulers_catch_up(&bench).await;
    }
    let runs = sqlx::query(
        "select f.timezone, count(*), max((j.payload ->> 'as_of')::date) - min((j.payload ->> 'as_of')::date) + 1
           from jobs j join firms f on f.id = j.firm_id where j.kind = 'generate_package_invoices' group by 1",
    )
    .fetch_all(&bench.admin)
    .await
    .unwrap();
    assert_eq!(runs.len(), zones.len());
    for run in runs {
        let (zone, jobs, span): (String, i64, i32) = (run.get(0), run.get(1), run.get(2));
        assert_eq!(jobs, i64::from(span), "{zone}: a date was left out");
        assert!((9..=11).contains(&jobs), "{zone}: {jobs}");
    }
    let payload: Value =
        sqlx::query_scalar("select payload from jobs where kind = 'generate_package_invoices' limit 1")
            .fetch_one(&bench.admin)
            .await
            .unwrap();
    assert!(
        payload["firm_id"].is_string() && payload["as_of"].is_string(),
        "{payload}"
    );
    bench.finish().await;
}

#[tokio::test]
async fn p6_two_months_of_missed_ticks_is_recorded_in_bounded_transactions() {
    let Some(bench) = Bench::start().await else { return };
    bench.execute(BEFORE_MIDNIGHT).await;
    register(&bench.db).await.unwrap();
    bench
        .execute("update clock set offset_ms = offset_ms + 60 * 86400000::bigint")
        .await;
    let metrics = Metrics::new().unwrap();
    let mut rounds = 0;
    while one_round(&bench.db, &metrics).await.unwrap() == Work::More {
        rounds += 1;
        assert!(rounds < 1000, "it does not come to an end");
    }
    assert!(rounds > 20, "the batches are not bounded: {rounds}");
    assert_eq!(
        bench.count("select count(*) from schedule_occurrences where schedule = 'generate_package_invoices' and state = 'fired'").await,
        60 * 24
    );
    assert_eq!(
        bench
            .count("select count(*) from schedule_occurrences where schedule = 'sweep_due_charges'")
            .await,
        60 * 144
    );
    assert_eq!(
        bench
            .count("select count(*) from jobs where dedupe_key like 'sweep_due_charges:%'")
            .await,
        1
    );
    bench.finish().await;
}

#[tokio::test]
async fn a_disabled_schedule_records_its_ticks_and_enqueues_nothing() {
    let Some(bench) = Bench::start().await else { return };
    bench.execute(BEFORE_MIDNIGHT).await;
    register(&bench.db).await.unwrap();
    bench.execute("update schedules set enabled = false").await;
    // Registering again, as every start does, does not enable it.
    register(&bench.db).await.unwrap();
    bench
        .execute("update clock set offset_ms = offset_ms + 3600 * 1000")
        .await;
    two_schedulers_catch_up(&bench).await;
    assert_eq!(bench.count("select count(*) from jobs").await, 0);
    assert_eq!(
        bench
            .count("select count(*) from schedule_occurrences where state <> 'skipped'")
            .await,
        0
    );
    assert!(
        bench
            .count("select count(*) from schedule_occurrences where reason = 'the schedule is disabled'")
            .await
            > 0
    );
    bench.finish().await;
}
