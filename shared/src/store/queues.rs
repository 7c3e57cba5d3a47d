//! The queues: what is in each, who works on it, and whether somebody paused it.
//!
//! A pause holds from its commit on, and until somebody resumes: no job of the queue is handed to Redis, and none is begun that
//! is there already. What runs goes on to its end, and whatever is enqueued waits.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{audit::By, error::Result, jobs::Queue, jobs_by_hand};

/// A pause of one queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pause {
    /// Which.
    #[serde(skip)]
    pub queue: String,
    /// Since when (business time).
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueRow {
    /// Its name.
    pub queue: String,
    /// Whether it is paused, since when, why and by whom.
    pub paused: Option<Pause>,
    /// Jobs that could run now.
    pub due: i64,
    /// For how long the oldest of them has been due.
    pub oldest_due_secs: i64,
    /// Jobs whose time has not come.
    pub later: i64,
    /// Those, due or not, that failed and wait for their next attempt.
    pub retryable: i64,
    /// External jobs that run, and transactional ones that a worker has noted.
    pub running: i64,
    /// Jobs that were given up: a person must look.
    pub discarded: i64,
    /// Live workers that serve it.
    pub workers: i64,
    /// Jobs that these run at a time, at most.
    pub slots: i64,
}

/// The pauses there are.
///
/// # Errors
/// When the database is away.
pub async fn pauses(conn: &mut PgConnection) -> Result<Vec<Pause>> {
    Ok(sqlx::query_as!(
        Pause,
        "select queue, paused_at as at, reason, by from queue_pauses order by queue"
    )
    .fetch_all(conn)
    .await?)
}

/// All queues, or one.
///
/// # Errors
/// When the database is away.
pub async fn status(conn: &mut PgConnection, only: Option<Queue>) -> Result<Vec<QueueRow>> {
    let wanted: Vec<String> = Queue::ALL
        .iter()
        .filter(|queue| only.is_none_or(|only| only == **queue))
        .map(|queue| queue.as_str().to_owned())
        .collect();
    let rows = sqlx::query!(
        r#"select q.queue as "queue!", c.due as "due!", c.oldest_due_secs as "oldest!", c.later as "later!", c.retryable as "retryable!",
                  c.running as "running!", c.discarded as "discarded!",
                  (select count(*) from workers w where q.queue = any(w.queues) and w.heartbeat_at > clock_timestamp() - interval '10 seconds')
                    as "workers!",
                  (select coalesce(sum(w.concurrency), 0) from workers w
                    where q.queue = any(w.queues) and w.heartbeat_at > clock_timestamp() - interval '10 seconds') as "slots!"
             from unnest($1::text[]) with ordinality as q (queue, nth) join app.queue_counts() c using (queue)
            order by q.nth"#,
        &wanted
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut paused = pauses(conn).await?;
    Ok(rows
        .into_iter()
        .map(|row| QueueRow {
            paused: paused
                .iter()
                .position(|pause| pause.queue == row.queue)
                .map(|found| paused.swap_remove(found)),
            queue: row.queue,
            due: row.due,
            oldest_due_secs: row.oldest,
            later: row.later,
            retryable: row.retryable,
            running: row.running,
            discarded: row.discarded,
            workers: row.workers,
            slots: row.slots,
        })
        .collect())
}

/// Lets no further job of a queue begin, for everybody, until [`resume`]. `false` when it was paused already: the first reason
/// stands.
///
/// # Errors
/// When the database is away.
pub async fn pause(conn: &mut PgConnection, queue: Queue, reason: &str, by: &By<'_>) -> Result<bool> {
    let done = sqlx::query!(
        "insert into queue_pauses (queue, paused_at, reason, by) values ($1, $2, $3, $4) on conflict (queue) do nothing",
        queue.as_str(),
        by.at,
        reason,
        by.actor.name()
    )
    .execute(&mut *conn)
    .await?;
    record_if(conn, done.rows_affected() > 0, "queue.paused", queue, reason, by).await
}

/// Lets the jobs of a queue begin again. `false` when it was not paused.
///
/// # Errors
/// When the database is away.
pub async fn resume(conn: &mut PgConnection, queue: Queue, reason: &str, by: &By<'_>) -> Result<bool> {
    let done = sqlx::query!("delete from queue_pauses where queue = $1", queue.as_str())
        .execute(&mut *conn)
        .await?;
    record_if(conn, done.rows_affected() > 0, "queue.resumed", queue, reason, by).await
}

async fn record_if(
    conn: &mut PgConnection,
    changed: bool,
    action: &str,
    queue: Queue,
    reason: &str,
    by: &By<'_>,
) -> Result<bool> {
    if changed {
        let subject = json!({ "queue": queue.as_str() });
        jobs_by_hand::record(conn, action, reason, &subject, by).await?;
    }
    Ok(changed)
}
