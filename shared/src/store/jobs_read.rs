//! Jobs as they are shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Result;
use crate::ids::JobId;

/// One job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobRow {
    /// Its id.
    pub id: Uuid,
    /// Counts jobs in the order of enqueueing.
    pub seq: i64,
    /// Its lane.
    pub queue: String,
    /// What it does.
    pub kind: String,
    /// Where it stands.
    pub state: String,
    /// How often it was tried.
    pub attempt: i32,
    /// After how many tries a person must act.
    pub max_attempts: i32,
    /// Whose it is, where that is known.
    pub firm_id: Option<Uuid>,
    /// When it is due (business time).
    pub run_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it failed last.
    pub last_error: Option<String>,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// In this state only.
    pub state: Option<&'a str>,
    /// Of this kind only.
    pub kind: Option<&'a str>,
    /// In this lane only.
    pub queue: Option<&'a str>,
    /// Those enqueued before this one.
    pub before_seq: Option<i64>,
}

/// The jobs enqueued last, `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(conn: &mut PgConnection, filter: &Filter<'_>, most: i64) -> Result<Vec<JobRow>> {
    Ok(sqlx::query_as!(
        JobRow,
        r#"select id, seq as "seq!", queue, kind, state, attempt, max_attempts, firm_id, run_at, finished_at, last_error from jobs
            where ($1::text is null or state = $1) and ($2::text is null or kind = $2) and ($3::text is null or queue = $3)
              and ($4::bigint is null or seq < $4)
            order by seq desc limit $5"#,
        filter.state,
        filter.kind,
        filter.queue,
        filter.before_seq,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// A job in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobView {
    /// What a list shows of it.
    #[serde(flatten)]
    pub row: JobRow,
    /// Unique per kind.
    pub dedupe_key: String,
    /// Jobs that share it run one at a time, in order.
    pub order_key: Option<String>,
    /// Ids that it works on.
    pub payload: Value,
    /// 0 first, 9 last.
    pub priority: i16,
    /// How often its worker died under it.
    pub crashes: i32,
    /// Who holds it.
    pub lease_owner: Option<String>,
    /// Until when (real time).
    pub lease_until: Option<DateTime<Utc>>,
    /// When it was enqueued (business time).
    pub created_at: DateTime<Utc>,
    /// When it was claimed last.
    pub started_at: Option<DateTime<Utc>>,
    /// What it said when it ended.
    pub result: Option<Value>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

/// One job in full; `None` when there is none with this id (finished ones are pruned in time).
///
/// # Errors
/// When the database is away.
pub async fn show(conn: &mut PgConnection, id: JobId) -> Result<Option<JobView>> {
    let row = sqlx::query!(
        r#"select id, seq as "seq!", queue, kind, state, attempt, max_attempts, firm_id, run_at, finished_at, last_error, dedupe_key,
                  order_key, payload, priority, crashes, lease_owner, lease_until, created_at, started_at, result, traceparent
           from jobs where id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| JobView {
        row: JobRow {
            id: r.id,
            seq: r.seq,
            queue: r.queue,
            kind: r.kind,
            state: r.state,
            attempt: r.attempt,
            max_attempts: r.max_attempts,
            firm_id: r.firm_id,
            run_at: r.run_at,
            finished_at: r.finished_at,
            last_error: r.last_error,
        },
        dedupe_key: r.dedupe_key,
        order_key: r.order_key,
        payload: r.payload,
        priority: r.priority,
        crashes: r.crashes,
        lease_owner: r.lease_owner,
        lease_until: r.lease_until,
        created_at: r.created_at,
        started_at: r.started_at,
        result: r.result,
        traceparent: r.traceparent,
    }))
}
