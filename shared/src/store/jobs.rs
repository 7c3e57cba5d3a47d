//! The queue of record: enqueueing. Claiming, retrying and rescuing are the worker's business (`worker/src/queue`).

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use tracing::Instrument as _;

use super::error::Result;
use crate::{
    counts,
    ids::{FirmId, JobId},
    trace,
};

/// A lane of work. Each has its own bounded pool in every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// What Stripe told us.
    Events,
    /// Generating invoices.
    Invoices,
    /// Everything that talks to Stripe about money.
    Charges,
    /// Sweeps and pruning.
    Maintenance,
    /// Telling the places that firms and the platform have named.
    Alerts,
}

impl Queue {
    /// All of them.
    pub const ALL: [Queue; 5] = [
        Queue::Events,
        Queue::Invoices,
        Queue::Charges,
        Queue::Maintenance,
        Queue::Alerts,
    ];

    /// As in the `queue` column and in `--queues`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Queue::Events => "events",
            Queue::Invoices => "invoices",
            Queue::Charges => "charges",
            Queue::Maintenance => "maintenance",
            Queue::Alerts => "alerts",
        }
    }
}

impl std::str::FromStr for Queue {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Queue::ALL
            .into_iter()
            .find(|q| q.as_str() == text)
            .ok_or_else(|| {
                format!("unknown queue {text:?}: use events, invoices, charges, maintenance or alerts")
            })
    }
}

/// A job to be enqueued, in the transaction of the change that calls for it.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The firm, where known.
    pub firm: Option<FirmId>,
    /// Its lane.
    pub queue: Queue,
    /// Which handler.
    pub kind: &'static str,
    /// Unique per kind, for ever: enqueueing the same again does nothing.
    pub dedupe_key: String,
    /// Jobs that share it run one at a time, in order.
    pub order_key: Option<String>,
    /// Ids only.
    pub payload: Value,
    /// 0 (first) to 9.
    pub priority: i16,
    /// Business time.
    pub run_at: DateTime<Utc>,
    /// Attempts before it is discarded and a person must act.
    pub max_attempts: i32,
}

impl NewJob {
    /// A job with the usual priority and number of attempts, due at `run_at` (business time).
    #[must_use]
    pub fn new(
        queue: Queue,
        kind: &'static str,
        dedupe_key: String,
        payload: Value,
        run_at: DateTime<Utc>,
    ) -> Self {
        Self {
            firm: None,
            queue,
            kind,
            dedupe_key,
            order_key: None,
            payload,
            priority: 2,
            run_at,
            max_attempts: 25,
        }
    }

    /// Gives up after this many attempts instead of the usual 25.
    #[must_use]
    pub fn at_most(mut self, attempts: i32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// For this firm.
    #[must_use]
    pub fn firm(mut self, firm: FirmId) -> Self {
        self.firm = Some(firm);
        self
    }

    /// One at a time with others of the same key.
    #[must_use]
    pub fn in_order_of(mut self, key: String) -> Self {
        self.order_key = Some(key);
        self
    }
}

/// Enqueues one job. `None` when a job of this kind and key exists already, whatever its state.
///
/// # Errors
/// When the database is away.
pub async fn enqueue(conn: &mut PgConnection, job: &NewJob) -> Result<Option<JobId>> {
    let id = JobId::new();
    let sending = trace::sending(job.kind, job.queue.as_str(), &id.to_string());
    let query = sqlx::query_scalar!(
        r#"insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, priority, run_at, max_attempts, traceparent,
                             created_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, app.now())
           on conflict (kind, dedupe_key) do nothing
           returning id"#,
        id.0,
        job.firm.map(|f| f.0),
        job.queue.as_str(),
        job.kind,
        job.dedupe_key,
        job.order_key,
        job.payload,
        job.priority,
        job.run_at,
        job.max_attempts,
        trace::traceparent_of(&sending),
    );
    let inserted = query.fetch_optional(conn).instrument(sending).await?;
    counts::enqueued(job.queue, u64::from(inserted.is_some()));
    Ok(inserted.map(JobId))
}

/// Enqueues many at once; returns how many were new.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_all(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<u64> {
    if jobs.is_empty() {
        return Ok(0);
    }
    let ids: Vec<uuid::Uuid> = jobs.iter().map(|_| JobId::new().0).collect();
    let firms: Vec<Option<uuid::Uuid>> = jobs.iter().map(|job| job.firm.map(|f| f.0)).collect();
    let queues: Vec<String> = jobs.iter().map(|job| job.queue.as_str().to_owned()).collect();
    let kinds: Vec<String> = jobs.iter().map(|job| job.kind.to_owned()).collect();
    let dedupe_keys: Vec<String> = jobs.iter().map(|job| job.dedupe_key.clone()).collect();
    let order_keys: Vec<Option<String>> = jobs.iter().map(|job| job.order_key.clone()).collect();
    let payloads: Vec<Value> = jobs.iter().map(|job| job.payload.clone()).collect();
    let priorities: Vec<i16> = jobs.iter().map(|job| job.priority).collect();
    let run_ats: Vec<DateTime<Utc>> = jobs.iter().map(|job| job.run_at).collect();
    let max_attempts: Vec<i32> = jobs.iter().map(|job| job.max_attempts).collect();
    let inserted = sqlx::query!(
        "insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, priority, run_at, max_attempts, traceparent, created_at)
         select t.*, $11, app.now()
           from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::smallint[],
                       $9::timestamptz[], $10::int[]) as t
         on conflict (kind, dedupe_key) do nothing",
        &ids,
        &firms as &[Option<uuid::Uuid>],
        &queues,
        &kinds,
        &dedupe_keys,
        &order_keys as &[Option<String>],
        &payloads,
        &priorities,
        &run_ats,
        &max_attempts,
        trace::traceparent(),
    )
    .execute(conn)
    .await?;
    // Which of them were there already is not known: whoever enqueues many at once enqueues into one queue.
    if let Some(first) = jobs.first() {
        counts::enqueued(first.queue, inserted.rows_affected());
    }
    Ok(inserted.rows_affected())
}

/// Name of the Postgres channel that carries the nudge after a commit. A nudge is a hint: the relay's timer finds
/// whatever a lost one forgot.
pub const NUDGE_CHANNEL: &str = "quittance_jobs";

/// What a nudge says when the business clock was moved: then the scheduler looks at once too.
pub const CLOCK_MOVED: &str = "clock_moved";

/// Nudges the relay at commit. Once per batch, never once per row: commits that notify wait for one another.
///
/// # Errors
/// When the database is away.
pub async fn nudge(conn: &mut PgConnection) -> Result<()> {
    notify(conn, "").await
}

/// Nudges the relay and the scheduler at commit, because the business clock was moved.
///
/// # Errors
/// When the database is away.
pub async fn nudge_of_clock(conn: &mut PgConnection) -> Result<()> {
    notify(conn, CLOCK_MOVED).await
}

async fn notify(conn: &mut PgConnection, word: &str) -> Result<()> {
    sqlx::query!("select pg_notify($1, $2) as nudged", NUDGE_CHANNEL, word)
        .fetch_one(conn)
        .await?;
    Ok(())
}
