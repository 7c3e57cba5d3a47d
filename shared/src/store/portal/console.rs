//! What operators look at: queues over all firms as counts, and what was changed of the installation.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use crate::store::error::Result;

/// How deep a queue is, and what was done of it lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Its name.
    pub queue: String,
    /// Could run now.
    pub due: i64,
    /// How long the oldest of them has been due.
    pub oldest_due_secs: i64,
    /// Will run later.
    pub later: i64,
    /// Failed, and will run again.
    pub retryable: i64,
    /// Run now.
    pub running: i64,
    /// Given up.
    pub discarded: i64,
    /// Completed in the last minute.
    pub done_last_minute: i64,
    /// Completed in the last hour.
    pub done_last_hour: i64,
    /// Given up in the last hour.
    pub failed_last_hour: i64,
}

/// All queues, over all firms.
///
/// # Errors
/// When the database is away.
pub async fn depths(conn: &mut PgConnection) -> Result<Vec<Depth>> {
    Ok(sqlx::query_as!(
        Depth,
        r#"select queue as "queue!", due as "due!", oldest_due_secs as "oldest_due_secs!", later as "later!", retryable as "retryable!",
                  running as "running!", discarded as "discarded!", done_last_minute as "done_last_minute!",
                  done_last_hour as "done_last_hour!", failed_last_hour as "failed_last_hour!" from app.queue_depths()"#
    )
    .fetch_all(conn)
    .await?)
}

/// Workers with a sign of life in the last ten seconds.
///
/// # Errors
/// When the database is away.
pub async fn alive(conn: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "alive!" from workers where heartbeat_at > clock_timestamp() - interval '10 seconds'"#
    )
    .fetch_one(conn)
    .await?)
}

/// What an operator changed of the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeRow {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub changed_by: String,
    /// Of what: a queue, how many jobs, from when to when the clock was moved.
    pub subject: Value,
    /// The run of the command, or the request.
    pub cause_id: String,
}

/// The latest changes of the installation.
///
/// # Errors
/// When the database is away.
pub async fn changes(conn: &mut PgConnection, before: Option<i64>, most: i64) -> Result<Vec<ChangeRow>> {
    Ok(sqlx::query_as!(
        ChangeRow,
        "select id, at, action, reason, changed_by, subject, cause_id from installation_changes
          where $1::bigint is null or id < $1 order by id desc limit $2",
        before,
        most
    )
    .fetch_all(conn)
    .await?)
}
