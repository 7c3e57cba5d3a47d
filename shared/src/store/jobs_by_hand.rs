//! What a person does to jobs: run them again, or give them up. Each is put on record, and told to the audit log of its firm.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, By},
    error::{Error, Result, one_row},
};
use crate::{
    domain::job_by_hand::{Hands, JobState, Wish},
    ids::FirmId,
};

/// A job that somebody may mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Chosen {
    /// Its id.
    pub id: Uuid,
    /// What it does.
    pub kind: String,
    /// Its lane.
    pub queue: String,
    /// Where it stands.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub state: JobState,
    /// Whose it is, where that is known.
    pub firm_id: Option<Uuid>,
    /// When it is or was due (business time).
    pub run_at: DateTime<Utc>,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// Whether a worker is at it.
    #[serde(skip)]
    pub hands: Hands,
}

/// Which jobs. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// These; an empty list means any.
    pub ids: &'a [Uuid],
    /// In one of these states; an empty list means any.
    pub states: &'a [String],
    /// Of this kind.
    pub kind: Option<&'a str>,
    /// In this lane.
    pub queue: Option<&'a str>,
    /// Of this firm.
    pub firm: Option<Uuid>,
    /// Whose last error contains this.
    pub error: Option<&'a str>,
    /// Enqueued at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// The chosen jobs in the order of their enqueueing, at most `most`, locked where they are free: the rest runs.
///
/// # Errors
/// When the database is away.
pub async fn choose(conn: &mut PgConnection, filter: &Filter<'_>, most: i64) -> Result<Vec<Chosen>> {
    let rows = sqlx::query!(
        r#"with free as materialized (
             select j.id from jobs j
              where (cardinality($1::uuid[]) = 0 or j.id = any($1)) and (cardinality($2::text[]) = 0 or j.state = any($2))
                and ($3::text is null or j.kind = $3) and ($4::text is null or j.queue = $4)
                and ($5::uuid is null or j.firm_id = $5) and ($6::text is null or strpos(j.last_error, $6) > 0)
                and ($7::timestamptz is null or j.created_at >= $7)
              order by j.seq limit $8
                for update of j skip locked)
           select j.id, j.kind, j.queue, j.state, j.firm_id, j.run_at, j.last_error,
                  (j.id not in (select id from free) or exists (select from job_runs r where r.job_id = j.id)) as "at_work!"
             from jobs j
            where (cardinality($1::uuid[]) = 0 or j.id = any($1)) and (cardinality($2::text[]) = 0 or j.state = any($2))
              and ($3::text is null or j.kind = $3) and ($4::text is null or j.queue = $4)
              and ($5::uuid is null or j.firm_id = $5) and ($6::text is null or strpos(j.last_error, $6) > 0)
              and ($7::timestamptz is null or j.created_at >= $7)
            order by j.seq limit $8"#,
        filter.ids,
        filter.states,
        filter.kind,
        filter.queue,
        filter.firm,
        filter.error,
        filter.since,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Chosen {
                id: row.id,
                kind: row.kind,
                queue: row.queue,
                state: row.state.parse().map_err(Error::corrupt)?,
                firm_id: row.firm_id,
                run_at: row.run_at,
                last_error: row.last_error,
                hands: if row.at_work { Hands::AtWork } else { Hands::None },
            })
        })
        .collect()
}

/// Makes jobs due now. One that was given up has all its attempts again; one that waits for its next attempt keeps count.
///
/// # Errors
/// When the database is away, or one of them is not what it was when it was chosen.
pub async fn retry(conn: &mut PgConnection, ids: &[Uuid]) -> Result<()> {
    let done = sqlx::query!(
        "update jobs set attempt = case when state = 'discarded' then 0 else attempt end, crashes = 0, state = 'available',
                run_at = app.now(), dispatched_at = null, finished_at = null
          where id = any($1) and state in ('discarded', 'retryable')",
        ids
    )
    .execute(conn)
    .await?;
    all_of("retry jobs", ids, done.rows_affected())
}

/// Gives jobs up for good.
///
/// # Errors
/// As [`retry`].
pub async fn cancel(conn: &mut PgConnection, ids: &[Uuid], reason: &str, by: &By<'_>) -> Result<()> {
    let done = sqlx::query!(
        "update jobs set state = 'canceled', result = $2, dispatched_at = null, finished_at = app.now()
          where id = any($1) and state in ('available', 'retryable', 'discarded')",
        ids,
        json!({ "canceled": reason, "by": by.actor.name() })
    )
    .execute(conn)
    .await?;
    all_of("cancel jobs", ids, done.rows_affected())
}

fn all_of(what: &'static str, ids: &[Uuid], changed: u64) -> Result<()> {
    if u64::try_from(ids.len()).is_ok_and(|wanted| wanted == changed) {
        Ok(())
    } else {
        Err(Error::Lost { what, changed })
    }
}

/// The name of a wish in the audit log.
#[must_use]
pub fn action(wish: Wish) -> &'static str {
    match wish {
        Wish::Retry => "job.retried",
        Wish::Cancel => "job.canceled",
    }
}

/// Puts on record what was done to the installation's work, whoever's it is: to jobs or to a queue.
///
/// # Errors
/// When the database is away.
pub async fn record(
    conn: &mut PgConnection,
    action: &str,
    reason: &str,
    subject: &Value,
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "insert into installation_changes (at, action, reason, changed_by, cause_id, subject) values ($1, $2, $3, $4, $5, $6)",
        by.at,
        action,
        reason,
        by.actor.name(),
        by.cause.id,
        subject
    )
    .execute(conn)
    .await?;
    one_row("record change", done.rows_affected())
}

/// Tells a firm's audit log what was done to its jobs. The firm must be set.
///
/// # Errors
/// When the database is away.
pub async fn record_for_firm(
    conn: &mut PgConnection,
    firm: FirmId,
    wish: Wish,
    reason: &str,
    jobs: &[&Chosen],
    by: &By<'_>,
) -> Result<()> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
    let metas: Vec<Value> = jobs
        .iter()
        .map(|job| json!({ "reason": reason, "kind": job.kind, "was": job.state }))
        .collect();
    audit::record_all(conn, firm, by, (action(wish), "job"), &ids, &metas).await
}
