//! Writes down that a break-glass session has expired.
//! Trigger: enqueued with the session, due at its end.   Effect: the session is marked, and the audit log says so.
//! Idempotent: marked once; one that was revoked before stays revoked.
//! Gives up: never needs to; the session is over at its time whether or not this runs.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use shared::store::{
    Tx,
    audit::{self, Actor, By, Cause},
    break_glass,
    jobs::Queue,
};
use uuid::Uuid;

use super::firm_of;
use crate::{
    context::Context,
    queue::{Attempts, Job, JobError, Outcome, Retry, TransactionalJob, minutes, secs},
};

/// See the head of this file.
pub struct ExpireBreakGlass;

#[derive(Deserialize)]
struct Args {
    session_id: Uuid,
}

impl TransactionalJob for ExpireBreakGlass {
    const KIND: &'static str = break_glass::EXPIRE;
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(25), secs(5), minutes(10));
    const TIME_LIMIT: Duration = Duration::from_secs(30);
    type Prepared = ();

    async fn prepare(_: &Context, _: &Job) -> Result<(), JobError> {
        Ok(())
    }

    async fn apply(_: &Context, tx: &mut Tx, job: &Job, (): ()) -> Result<Outcome, JobError> {
        let (args, firm, now) = (job.args::<Args>()?, firm_of(job)?, tx.now());
        tx.set_firm(firm).await?;
        let Some(session) = break_glass::lock(tx, firm, args.session_id).await? else {
            return Err(JobError::fail("no such break-glass session"));
        };
        if session.revoked_at.is_some() || session.expired_at.is_some() {
            return Ok(Outcome::AlreadyApplied("the session has ended before"));
        }
        if now < session.expires_at {
            return Ok(Outcome::Snooze {
                until: session.expires_at,
                reason: "the session is open".into(),
            });
        }
        break_glass::expire(tx, firm, session.id, now).await?;
        let cause = Cause::job(job.id);
        let by = By {
            actor: &Actor::System,
            cause: &cause,
            at: now,
        };
        let meta = json!({"operator": session.operator, "accesses": session.accesses});
        let entry = by.entry("break_glass.expired", break_glass::SUBJECT, session.id, meta);
        audit::record(tx, firm, now, &entry).await?;
        Ok(Outcome::done())
    }
}
