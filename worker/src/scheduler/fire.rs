//! The transaction behind a tick: its row, its jobs and the watermark, together or not at all.
//!
//! Every worker runs this; the lock on the schedule's row lets one of them through, and keys make the second harmless.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::errors::CronError;
use serde_json::json;
use shared::{
    domain::alert::{AlertType, Topic},
    failpoint,
    ids::FirmId,
    sabotage::{self, Sabotage},
    store::{
        self, Db,
        alerts::{self, NewAlert},
        audit::{Cause, Severity},
        business_clock,
        jobs::{self, NewJob},
    },
};
use sqlx::PgConnection;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    firms,
    schedule::{ALL, CatchUp, Plan, Schedule},
    ticks::{self, Fate, Tick},
};
use crate::{
    metrics::Metrics,
    queue::{
        health::Pulse,
        silence::{self, Silent},
    },
};

/// How often the clock is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Ticks per transaction. A skipped tick is a row; one that fires enqueues up to a job per firm.
const MOST_SKIPPED: usize = 1000;
const MOST_FIRED: usize = 48;

/// Later than this, a person should know: for so long nobody looked at the schedules, or they could not be read.
const LATE: TimeDelta = TimeDelta::hours(1);

/// What a round could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A schedule's expression.
    #[error("schedule {name}: {fault}")]
    Cron {
        /// Whose.
        name: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// The connection of a round was cut without a word.
    #[error("no answer from the database for {} s", .0.as_secs())]
    Silent(Duration),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::Store(error.into())
    }
}

/// Whether a round left ticks for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// All due ticks have their rows.
    CaughtUp,
    /// A batch was full.
    More,
}

/// Writes the list of schedules into the database. A new one begins now; a known one keeps its watermark.
///
/// # Errors
/// When the database is away.
pub async fn register(db: &Db) -> store::Result<()> {
    for schedule in ALL {
        sqlx::query!(
            "insert into schedules (name, cron, job_kind, catch_up, watermark_at)
             values ($1, $2, $3, $4, app.now())
             on conflict (name) do update set cron = excluded.cron, job_kind = excluded.job_kind, catch_up = excluded.catch_up
              where (schedules.cron, schedules.job_kind, schedules.catch_up)
                 is distinct from (excluded.cron, excluded.job_kind, excluded.catch_up)",
            schedule.name,
            schedule.cron,
            schedule.job_kind(),
            schedule.catch_up.as_str(),
        )
        .execute(db.pool())
        .await?;
    }
    Ok(())
}

/// Rounds until `stop`; one at once when the clock was `moved`.
pub async fn run(
    db: Db,
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
    moved: Arc<Notify>,
    returned: watch::Receiver<()>,
    stop: CancellationToken,
) {
    let mut away = false;
    while !stop.is_cancelled() {
        let round = silence::heard(silence::LIMIT, returned.clone(), one_round(&db, &metrics));
        let round = failpoint::within("scheduler", round).await;
        let wait = match round.unwrap_or_else(|Silent(limit)| Err(Error::Silent(limit))) {
            Ok(work) => {
                away = false;
                pulse.beat();
                match work {
                    Work::More => Duration::ZERO,
                    Work::CaughtUp => EVERY,
                }
            }
            Err(error) => {
                if !away {
                    away = true;
                    tracing::warn!("scheduler waits: {error}");
                }
                EVERY
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = moved.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Looks at every schedule once.
///
/// # Errors
/// When the database is away.
pub async fn one_round(db: &Db, metrics: &Metrics) -> Result<Work, Error> {
    let now = db.now().await?;
    let mut work = Work::CaughtUp;
    for (schedule, watermark) in watermarks(db).await? {
        let first = ticks::since(schedule.cron, schedule.catch_up, true, watermark, now, 1);
        let due = first.map_err(|fault| cron_fault(schedule, &fault))?;
        if !due.is_empty() && advance(db, metrics, schedule).await? == Work::More {
            work = Work::More;
        }
    }
    Ok(work)
}

/// How long the oldest tick without a row has been due: nothing where every tick has its row, `None` where no worker has
/// written the list yet.
///
/// # Errors
/// When the database is away.
pub async fn lag(db: &Db) -> Result<Option<TimeDelta>, Error> {
    let now = db.now().await?;
    let mut lag = None;
    for (schedule, watermark) in watermarks(db).await? {
        let oldest = due_ticks(schedule, true, watermark, now)?.into_iter().next();
        let behind = oldest.map_or(TimeDelta::zero(), |tick| now - tick.due_at);
        lag = lag.max(Some(behind));
    }
    Ok(lag)
}

/// The schedules that the database knows, each with the newest of its ticks that has a row.
async fn watermarks(db: &Db) -> Result<Vec<(&'static Schedule, DateTime<Utc>)>, Error> {
    let rows = sqlx::query!("select name, watermark_at from schedules")
        .fetch_all(db.pool())
        .await?;
    let known = rows.into_iter().filter_map(|row| {
        let schedule = ALL.iter().find(|schedule| schedule.name == row.name)?;
        Some((schedule, row.watermark_at))
    });
    Ok(known.collect())
}

fn most(schedule: &Schedule) -> usize {
    match schedule.catch_up {
        CatchUp::Each => MOST_FIRED,
        CatchUp::Latest => MOST_SKIPPED,
    }
}

fn due_ticks(
    schedule: &Schedule,
    enabled: bool,
    watermark: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Tick>, Error> {
    let watermark = match sabotage::is_on(Sabotage::P6ForgetMissed) {
        true => watermark.max(now - chrono::TimeDelta::hours(1)),
        false => watermark,
    };
    ticks::since(
        schedule.cron,
        schedule.catch_up,
        enabled,
        watermark,
        now,
        most(schedule),
    )
    .map_err(|fault| cron_fault(schedule, &fault))
}

fn cron_fault(schedule: &Schedule, fault: &CronError) -> Error {
    Error::Cron {
        name: schedule.name,
        fault: fault.to_string(),
    }
}

/// Handles one batch of one schedule's ticks.
async fn advance(db: &Db, metrics: &Metrics, schedule: &Schedule) -> Result<Work, Error> {
    let mut tx = db.plain().await?;
    let row = sqlx::query!(
        "select watermark_at, enabled from schedules where name = $1 for update skip locked",
        schedule.name
    )
    .fetch_optional(&mut *tx)
    .await?;
    // Another worker is at it.
    let Some(row) = row else { return Ok(Work::CaughtUp) };
    let now = tx.now();
    let due = due_ticks(schedule, row.enabled, row.watermark_at, now)?;
    let Some(last) = due.last().map(|tick| tick.due_at) else {
        return Ok(Work::CaughtUp);
    };
    let mut counts = Counts::default();
    record_skipped(&mut tx, schedule, &due, &mut counts).await?;
    fire(&mut tx, schedule, &due, now, &mut counts).await?;
    sqlx::query!(
        "update schedules set watermark_at = $2 where name = $1",
        schedule.name,
        last
    )
    .execute(&mut *tx)
    .await?;
    if let Some(first) = due.first().filter(|_| counts.fired > 0) {
        tell_lateness(&mut tx, schedule, first.due_at, now).await?;
    }
    if counts.jobs > 0 {
        jobs::nudge(&mut tx).await?;
    }
    tx.commit().await?;
    counts.publish(metrics, schedule, now - last);
    Ok(if due.len() >= most(schedule) {
        Work::More
    } else {
        Work::CaughtUp
    })
}

/// Raises an alert for a schedule that fired late, and resolves it once it fires in time. Where the business clock was moved
/// just now, being late means nothing.
async fn tell_lateness(
    conn: &mut PgConnection,
    schedule: &Schedule,
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let topic = Topic::ScheduleLate(schedule.name);
    if now - due_at <= LATE {
        alerts::resolve(conn, None, now, &[topic], "system").await?;
        return Ok(());
    }
    if business_clock::moved_within(conn, LATE).await? {
        return Ok(());
    }
    let message = format!(
        "{} was due on {} and fired only now: no worker ran, or none could. What was due is done now; see whether it was done twice \
         by other means meanwhile.",
        schedule.name,
        due_at.format("%F %H:%M UTC")
    );
    let alert = NewAlert {
        kind: AlertType::SystemError,
        severity: Severity::Critical,
        topic,
        title: "A schedule fired late",
        message: &message,
        invoice: None,
        related: json!({"schedule": schedule.name, "due_at": due_at}),
        cause: &Cause {
            kind: "schedule",
            id: schedule.name.to_owned(),
        },
    };
    alerts::raise(conn, None, now, &alert).await?;
    Ok(())
}

/// What one batch did.
#[derive(Default)]
struct Counts {
    fired: u64,
    skipped: u64,
    jobs: u64,
}

impl Counts {
    fn publish(&self, metrics: &Metrics, schedule: &Schedule, lag: TimeDelta) {
        let label = &[schedule.name];
        metrics.schedule_fired.with_label_values(label).inc_by(self.fired);
        metrics
            .schedule_missed
            .with_label_values(label)
            .inc_by(self.skipped);
        metrics
            .schedule_lag
            .with_label_values(label)
            .set(lag.num_seconds());
        if self.fired > 0 {
            tracing::info!(
                schedule = schedule.name,
                fired = self.fired,
                skipped = self.skipped,
                jobs = self.jobs,
                "schedule fired"
            );
        }
    }
}

async fn record_skipped(
    conn: &mut PgConnection,
    schedule: &Schedule,
    due: &[Tick],
    counts: &mut Counts,
) -> Result<(), Error> {
    let (at, reasons): (Vec<DateTime<Utc>>, Vec<String>) = due
        .iter()
        .filter_map(|tick| match &tick.fate {
            Fate::Skip { reason } => Some((tick.due_at, reason.clone())),
            Fate::Fire => None,
        })
        .unzip();
    if at.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "insert into schedule_occurrences (schedule, due_at, state, reason, recorded_at)
         select $1, t.due_at, 'skipped', t.reason, app.now()
           from unnest($2::timestamptz[], $3::text[]) as t (due_at, reason)
         on conflict do nothing",
        schedule.name,
        &at,
        &reasons,
    )
    .execute(conn)
    .await?;
    counts.skipped += done.rows_affected();
    Ok(())
}

/// Gives the ticks that fire their rows and their jobs. Together, because an hourly schedule asks for the same jobs at
/// most ticks of a day.
async fn fire(
    conn: &mut PgConnection,
    schedule: &Schedule,
    due: &[Tick],
    now: DateTime<Utc>,
    counts: &mut Counts,
) -> Result<(), Error> {
    let at: Vec<DateTime<Utc>> = due
        .iter()
        .filter(|tick| tick.fate == Fate::Fire)
        .map(|tick| tick.due_at)
        .collect();
    let mut new: Vec<DateTime<Utc>> = sqlx::query_scalar!(
        "insert into schedule_occurrences (schedule, due_at, recorded_at)
         select $1, t.due_at, app.now() from unnest($2::timestamptz[]) as t (due_at)
         on conflict do nothing returning due_at",
        schedule.name,
        &at,
    )
    .fetch_all(&mut *conn)
    .await?;
    if new.is_empty() {
        return Ok(());
    }
    new.sort_unstable();
    let firms = firms_of(conn, schedule).await?;
    let mut asked = HashSet::new();
    let mut jobs_enqueued = Vec::new();
    for due_at in &new {
        let mut planned = plan(schedule, &firms, *due_at, now);
        planned.retain(|job| asked.insert(job.dedupe_key.clone()));
        let enqueued = jobs::enqueue_all(conn, &planned).await?;
        jobs_enqueued.push(i32::try_from(enqueued).unwrap_or(i32::MAX));
        counts.jobs += enqueued;
    }
    let fired = sqlx::query!(
        "update schedule_occurrences o set state = 'fired', fired_at = app.now(), jobs_enqueued = t.jobs
           from unnest($2::timestamptz[], $3::int[]) as t (due_at, jobs)
          where o.schedule = $1 and o.due_at = t.due_at",
        schedule.name,
        &new,
        &jobs_enqueued,
    )
    .execute(conn)
    .await?;
    counts.fired += fired.rows_affected();
    Ok(())
}

/// The firms that a schedule asks, with their zones.
async fn firms_of(conn: &mut PgConnection, schedule: &Schedule) -> Result<Vec<(FirmId, Tz)>, Error> {
    match schedule.plan {
        Plan::Single { .. } => Ok(Vec::new()),
        Plan::FirmsByLocalDate { .. } => {
            let rows =
                sqlx::query!(r#"select firm_id as "firm_id!", timezone as "timezone!" from app.firms()"#)
                    .fetch_all(conn)
                    .await?;
            Ok(rows
                .into_iter()
                .map(|row| (FirmId(row.firm_id), zone(&row.timezone)))
                .collect())
        }
    }
}

/// The jobs that a tick asks for. Those that exist already are not enqueued again.
fn plan(
    schedule: &Schedule,
    firms: &[(FirmId, Tz)],
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Vec<NewJob> {
    match schedule.plan {
        Plan::Single { kind, queue } => vec![NewJob::new(
            queue,
            kind,
            format!("{}:{}", schedule.name, due_at.to_rfc3339()),
            json!({}),
            now,
        )],
        Plan::FirmsByLocalDate { kind, queue, order } => firms
            .iter()
            .filter_map(|(firm, zone)| {
                let date = firms::local_date_at(due_at, *zone)?;
                Some(firms::job((kind, queue, order), *firm, date, now))
            })
            .collect(),
    }
}

/// A firm's zone was checked when it was entered; one that this build no longer knows is read as UTC, so that the
/// firm is invoiced, some hours off, rather than forgotten.
fn zone(name: &str) -> Tz {
    name.parse().unwrap_or_else(|_| {
        tracing::error!(timezone = name, "unknown time zone: taken as UTC");
        chrono_tz::UTC
    })
}
