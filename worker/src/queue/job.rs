//! What a job is, and the two contracts of which every handler keeps one.
//!
//! *Transactional*: everything a job does is in one transaction that also marks it completed, so a crash undoes all
//! of it. *External*: the job talks to Stripe about money; it is claimed under a lease with a fence, opens its own
//! short transactions, and each of them proves first that the claim still holds.

use std::{future::Future, time::Duration};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::{
    ids::{FirmId, JobId},
    sabotage::{self, Sabotage},
    store::{self, Tx, jobs::Queue},
};
use sqlx::PgConnection;

use super::{retry::Retry, silence};
use crate::{context::Context, deadline::Lease, stripe};

/// A job as its handler sees it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The firm, where it was known at enqueueing.
    pub firm_id: Option<FirmId>,
    /// Which handler.
    pub kind: String,
    /// Ids only.
    pub payload: Value,
    /// Number of this run, from 1.
    pub attempt: i32,
    /// Runs that its row allows.
    pub max_attempts: i32,
    /// When it was enqueued, business time.
    pub created_at: DateTime<Utc>,
    /// When it was due, business time.
    pub run_at: DateTime<Utc>,
    /// W3C trace context of whoever enqueued it.
    pub traceparent: Option<String>,
}

impl Job {
    /// Parses the payload. A payload that does not parse never will: the job fails at once.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_value(self.payload.clone())
            .map_err(|e| JobError::fail(format!("payload of {} does not parse: {e}", self.kind)))
    }
}

/// An external job that is ours until its lease ends or another worker claims it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The job.
    pub job: Job,
    /// Number of this claim; grows with every claim of the job.
    pub fence: i64,
    /// The worker that claimed it.
    pub owner: String,
    /// Until when the claim holds unless it is renewed, by our own clocks: what is done after that may come too late. Ends
    /// no later than `lease_until` in the job's row, of which a frozen worker hears nothing.
    pub lease: Lease,
}

impl Claim {
    /// Locks the job's row and proves that this claim still holds. First statement of every transaction of an
    /// external job: a worker that was frozen past its lease gets no further than this.
    ///
    /// # Errors
    /// [`JobError::Stale`] when the claim is lost: return it as it is. Otherwise when the database is away.
    pub async fn guard(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        if sabotage::is_on(Sabotage::P5IgnoreFence) {
            return Ok(());
        }
        let held = sqlx::query_scalar!(
            r#"select true as "held!" from jobs
                where id = $1 and fence = $2 and lease_owner = $3 and state = 'running'
                  for update"#,
            self.job.id.0,
            self.fence,
            self.owner,
        )
        .fetch_optional(conn)
        .await?;
        held.map(drop).ok_or(JobError::Stale)
    }
}

/// How a job ended well.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Did its work; the value is kept as the job's result.
    Done(Value),
    /// This very change was there already.
    AlreadyApplied(&'static str),
    /// Not now. The attempt does not count.
    Snooze {
        /// When to look again, business time.
        until: DateTime<Utc>,
        /// What it waits for.
        reason: String,
    },
    /// No longer wanted.
    Cancel {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Done, with nothing to report.
    #[must_use]
    pub fn done() -> Self {
        Outcome::Done(Value::Null)
    }
}

/// How a job ended badly, and what that deserves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Try again after the backoff of its kind.
    #[error("{message}")]
    Retry {
        /// What happened.
        message: String,
    },
    /// The fault is not the job's: try again after this long, which uses up no attempt.
    #[error("{message}")]
    RetryAfter {
        /// How long.
        delay: Duration,
        /// What happened.
        message: String,
    },
    /// Trying again is of no use: a person must look.
    #[error("{message}")]
    Fail {
        /// What happened.
        message: String,
    },
    /// The claim is no longer ours; whoever holds it decides. Nothing is recorded.
    #[error("the claim is no longer ours")]
    Stale,
}

impl JobError {
    /// [`JobError::Retry`].
    pub fn retry(message: impl Into<String>) -> Self {
        JobError::Retry {
            message: message.into(),
        }
    }

    /// [`JobError::Fail`].
    pub fn fail(message: impl Into<String>) -> Self {
        JobError::Fail {
            message: message.into(),
        }
    }
}

/// Until the database is asked again that had no connection or no room for us.
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);

/// A refusal by a guard stays a refusal. Everything else is tried again: an outage uses up no attempt, however long it lasts; a
/// conflict finds, the next time, what the other one did; a broken statement is retried until its attempts are used up,
/// because a fix may be on its way.
impl From<store::Error> for JobError {
    fn from(error: store::Error) -> Self {
        let message = error.to_string();
        if error.is_outage() {
            let delay = OUTAGE_PAUSE;
            return JobError::RetryAfter { delay, message };
        }
        match error {
            store::Error::Refused { .. } => JobError::Fail { message },
            store::Error::Conflict { .. }
            | store::Error::Unavailable(_)
            | store::Error::Lost { .. }
            | store::Error::Other(_) => JobError::Retry { message },
        }
    }
}

impl From<sqlx::Error> for JobError {
    fn from(error: sqlx::Error) -> Self {
        store::Error::from(error).into()
    }
}

/// One transaction does everything and marks the job completed; a crash rolls all of it back.
pub trait TransactionalJob: Send + Sync + 'static {
    /// Name in the `kind` column.
    const KIND: &'static str;
    /// Its lane.
    const QUEUE: Queue;
    /// When it is tried again.
    const RETRY: Retry;
    /// Longest run; longer counts as a failed attempt.
    const TIME_LIMIT: Duration;
    /// Longest wait for one answer; longer means that its connection was cut. Only a job with longer statements changes it.
    const SILENCE: Duration = silence::LIMIT;
    /// What `prepare` hands to `apply`.
    type Prepared: Send + 'static;

    /// May read, from Stripe or the database, with no transaction open. Has no effect.
    fn prepare(cx: &Context, job: &Job) -> impl Future<Output = Result<Self::Prepared, JobError>> + Send;

    /// The job's row is locked in `tx`; set the firm with [`Tx::set_firm`]. Everything done here commits together
    /// with "completed", or not at all. An outcome other than `Done` or `AlreadyApplied` keeps its changes too.
    fn apply(
        cx: &Context,
        tx: &mut Tx,
        job: &Job,
        prepared: Self::Prepared,
    ) -> impl Future<Output = Result<Outcome, JobError>> + Send;
}

/// Claimed under a lease with a fence; opens its own short transactions and guards each of them ([`Claim::guard`]).
pub trait ExternalJob: Send + Sync + 'static {
    /// Name in the `kind` column.
    const KIND: &'static str;
    /// Its lane.
    const QUEUE: Queue;
    /// When it is tried again.
    const RETRY: Retry;
    /// Longest run; longer counts as a failed attempt.
    const TIME_LIMIT: Duration;
    /// Longest wait for one answer; longer means that its connection was cut. Only a job with longer statements changes it.
    const SILENCE: Duration = silence::LIMIT;

    /// Does it. May be cancelled at any await: a half-done call is found again by looking it up, never assumed.
    fn run(cx: &Context, claim: &Claim) -> impl Future<Output = Result<Outcome, JobError>> + Send;
}

impl From<stripe::Error> for JobError {
    fn from(error: stripe::Error) -> Self {
        let message = error.to_string();
        match error.class() {
            stripe::Class::Retry => JobError::Retry { message },
            stripe::Class::Snooze(delay) => JobError::RetryAfter { delay, message },
            stripe::Class::Fail => JobError::Fail { message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_uses_up_no_attempt() {
        let waited = JobError::from(sqlx::Error::PoolTimedOut);
        assert!(matches!(waited, JobError::RetryAfter { .. }), "{waited:?}");
        // Its own statement may be what broke the connection.
        let broken = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let broken = JobError::from(sqlx::Error::Io(broken));
        assert!(matches!(broken, JobError::Retry { .. }), "{broken:?}");
    }
}
