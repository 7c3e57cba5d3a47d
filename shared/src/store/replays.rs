//! Events that are processed again: which they are, that it was asked for, and the hash of what events lead to.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, By},
    error::{Result, one_row},
    jobs::{self, NewJob, Queue},
};
use crate::{
    domain::event::order_key,
    ids::{FirmId, JobId},
};

/// Kind of the job that processes an event.
pub const KIND: &str = "process_stripe_event";

/// What is replayed goes after what Stripe delivers and what backfill finds.
const PRIORITY: i16 = 5;

/// An event that may be replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// Stripe's id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What became of it.
    pub state: String,
    /// Whose it is, once known.
    pub firm_id: Option<Uuid>,
    /// When Stripe made it.
    pub created_at: DateTime<Utc>,
    /// What its order key is made of, so that a replay takes its turn.
    #[serde(skip)]
    pub facts: Value,
}

/// Which events. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// These; an empty list means any.
    pub ids: &'a [String],
    /// Of this type.
    pub kind: Option<&'a str>,
    /// In this state.
    pub state: Option<&'a str>,
    /// Made by Stripe at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Made by Stripe before this time.
    pub until: Option<DateTime<Utc>>,
}

/// The chosen events in the order in which Stripe made them, at most `most`.
///
/// # Errors
/// When the database is away.
pub async fn choose(conn: &mut PgConnection, filter: &Filter<'_>, most: i64) -> Result<Vec<Chosen>> {
    Ok(sqlx::query_as!(
        Chosen,
        r#"select e.stripe_event_id as id, e.type as kind, e.state, e.firm_id, e.created_at, e.facts
             from stripe_events e
            where (cardinality($1::text[]) = 0 or e.stripe_event_id = any($1)) and ($2::text is null or e.type = $2)
              and ($3::text is null or e.state = $3)
              and ($4::timestamptz is null or e.created_at >= $4) and ($5::timestamptz is null or e.created_at < $5)
            order by e.created_at, e.stripe_event_id limit $6"#,
        filter.ids,
        filter.kind,
        filter.state,
        filter.since,
        filter.until,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// A replay that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The run of the command.
    pub run: Uuid,
    /// Who asks.
    pub requested_by: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The ids or the filter, for the record.
    pub chosen: &'a Value,
}

/// Puts on record that events are replayed, whether or not they belong to a firm yet.
///
/// # Errors
/// When the database is away.
pub async fn record(
    conn: &mut PgConnection,
    request: &Request<'_>,
    events: usize,
    now: DateTime<Utc>,
) -> Result<()> {
    let done = sqlx::query!(
        "insert into event_replays (id, requested_by, reason, chosen, events, requested_at) values ($1, $2, $3, $4, $5, $6)",
        request.run,
        request.requested_by,
        request.reason,
        request.chosen,
        i32::try_from(events).unwrap_or(i32::MAX),
        now
    )
    .execute(conn)
    .await?;
    one_row("record replay", done.rows_affected())
}

/// Tells a firm's audit log that events of it are replayed. The firm must be set.
///
/// # Errors
/// When the database is away.
pub async fn record_for_firm(
    conn: &mut PgConnection,
    firm: FirmId,
    by: &By<'_>,
    request: &Request<'_>,
    ids: &[&str],
) -> Result<()> {
    let meta = json!({ "reason": request.reason, "events": ids });
    let entry = by.entry("event.replayed", "replay", request.run, meta);
    audit::record(conn, firm, by.at, &entry).await
}

/// Enqueues the jobs of some events of a replay.
///
/// # Errors
/// When the database is away.
pub async fn enqueue(
    conn: &mut PgConnection,
    run: Uuid,
    events: &[Chosen],
    now: DateTime<Utc>,
) -> Result<Vec<JobId>> {
    let mut ids = Vec::with_capacity(events.len());
    for event in events {
        let mut job = NewJob::new(
            Queue::Events,
            KIND,
            format!("{}:{run}", event.id),
            json!({ "event_id": event.id, "replay": run }),
            now,
        );
        job.priority = PRIORITY;
        job.firm = event.firm_id.map(FirmId);
        job.order_key = event.facts.as_object().and_then(order_key);
        ids.extend(jobs::enqueue(conn, &job).await?);
    }
    Ok(ids)
}

/// One kind of fact and the hash of all rows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateHash {
    /// `payments`, `refunds`, `ledger` …
    pub facts: String,
    /// How many there are.
    pub rows: i64,
    /// SHA-256 of them in order, without our own ids and the times at which we wrote them.
    pub hash: String,
}

/// What events have led to, by kind of fact.
///
/// # Errors
/// When the database is away.
pub async fn state_hashes(conn: &mut PgConnection) -> Result<Vec<StateHash>> {
    Ok(sqlx::query_as!(
        StateHash,
        r#"select facts as "facts!", rows as "rows!", hash as "hash!" from app.state_hashes()"#
    )
    .fetch_all(conn)
    .await?)
}

/// The bytes of some events, as far as they are kept.
///
/// # Errors
/// When the database is away.
pub async fn bodies(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<Vec<u8>>> {
    Ok(sqlx::query_scalar!(
        "select body from stripe_event_bodies where stripe_event_id = any($1)",
        ids
    )
    .fetch_all(conn)
    .await?)
}

/// Whether two transactions are in one database: an advisory lock of one cannot be had by the other then.
///
/// # Errors
/// When a database is away.
pub async fn is_same_database(one: &mut PgConnection, other: &mut PgConnection) -> Result<bool> {
    let key = Uuid::now_v7().to_string();
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended($1, 0)) is null as locked",
        key
    )
    .fetch_one(one)
    .await?;
    let is_free = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "free!""#,
        key
    )
    .fetch_one(other)
    .await?;
    Ok(!is_free)
}

/// The mode of an installation, if it has one yet, and whether a worker runs on it.
///
/// # Errors
/// When the database is away.
pub async fn who_works_here(conn: &mut PgConnection) -> Result<(Option<bool>, bool)> {
    let row = sqlx::query!(
        r#"select livemode, exists (select from workers where heartbeat_at > clock_timestamp() - interval '30 seconds') as "workers!"
             from installation"#
    )
    .fetch_one(conn)
    .await?;
    Ok((row.livemode, row.workers))
}
