//! What runs the platform, as it is shown: workers, schedules and their ticks. No row of a firm is among them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::error::Result;

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerRow {
    /// Unique per process start.
    pub id: String,
    /// Where.
    pub host: String,
    /// Its process.
    pub pid: i32,
    /// What it runs.
    pub version: String,
    /// Which queues it serves.
    pub queues: Vec<String>,
    /// Jobs at a time.
    pub concurrency: i32,
    /// Since when (real time).
    pub started_at: DateTime<Utc>,
    /// When it last gave a sign of life.
    pub heartbeat_at: DateTime<Utc>,
    /// It begins nothing more.
    pub draining: bool,
}

/// The workers that gave a sign of life within a minute.
///
/// # Errors
/// When the database is away.
pub async fn workers(conn: &mut PgConnection) -> Result<Vec<WorkerRow>> {
    Ok(sqlx::query_as!(
        WorkerRow,
        "select id, host, pid, version, queues, concurrency, started_at, heartbeat_at, draining from workers
          where heartbeat_at > clock_timestamp() - interval '1 minute' order by started_at, id"
    )
    .fetch_all(conn)
    .await?)
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleRow {
    /// Its name.
    pub name: String,
    /// When, in five fields, UTC.
    pub cron: String,
    /// What it enqueues.
    pub job_kind: String,
    /// What becomes of ticks that were missed: `each` or `latest`.
    pub catch_up: String,
    /// Whether it fires.
    pub enabled: bool,
    /// Every tick up to here is on record.
    pub watermark_at: DateTime<Utc>,
}

/// All schedules.
///
/// # Errors
/// When the database is away.
pub async fn schedules(conn: &mut PgConnection) -> Result<Vec<ScheduleRow>> {
    Ok(sqlx::query_as!(
        ScheduleRow,
        "select name, cron, job_kind, catch_up, enabled, watermark_at from schedules order by name"
    )
    .fetch_all(conn)
    .await?)
}

/// A tick of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OccurrenceRow {
    /// Of which.
    pub schedule: String,
    /// When (business time).
    pub due_at: DateTime<Utc>,
    /// `due`, `fired` or `skipped`.
    pub state: String,
    /// Why it was skipped.
    pub reason: Option<String>,
    /// What it enqueued.
    pub jobs_enqueued: i32,
    /// When it fired.
    pub fired_at: Option<DateTime<Utc>>,
}

/// Ticks, the latest first; after one of a page before.
///
/// # Errors
/// When the database is away.
pub async fn occurrences(
    conn: &mut PgConnection,
    schedule: Option<&str>,
    before: Option<DateTime<Utc>>,
    after: Option<(DateTime<Utc>, String)>,
    most: i64,
) -> Result<Vec<OccurrenceRow>> {
    let (after_at, after_name) = after.unzip();
    Ok(sqlx::query_as!(
        OccurrenceRow,
        "select schedule, due_at, state, reason, jobs_enqueued, fired_at from schedule_occurrences
          where ($1::text is null or schedule = $1) and ($2::timestamptz is null or due_at < $2)
            and ($3::timestamptz is null or (due_at, schedule) < ($3, $4))
          order by due_at desc, schedule desc limit $5",
        schedule,
        before,
        after_at,
        after_name,
        most
    )
    .fetch_all(conn)
    .await?)
}
