//! Looks again at a cycle that stands still.
//! Trigger: the sweep found that its client has had its time, or that what paused it may be gone.   Effect: rows, a job.
//! Idempotent: decided anew under the invoice's lock; a cycle that has moved on since is left alone.
//! Gives up: never; the next day's sweep asks again.

use std::time::Duration;

use serde_json::json;
use shared::{
    domain::collection::{Asked, Review},
    store::{Tx, audit::Cause, cycles, jobs::Queue},
};

use super::{cycle::CycleArgs, firm_of};
use crate::{
    context::Context,
    queue::{Attempts, Job, JobError, Outcome, Retry, TransactionalJob, minutes, secs},
};

/// See the head of this file.
pub struct ReviewCycle;

impl TransactionalJob for ReviewCycle {
    const KIND: &'static str = cycles::REVIEW;
    const QUEUE: Queue = Queue::Charges;
    const RETRY: Retry = Retry::exponential(Attempts(10), secs(5), minutes(10));
    const TIME_LIMIT: Duration = Duration::from_secs(60);
    type Prepared = ();

    async fn prepare(_: &Context, _: &Job) -> Result<(), JobError> {
        Ok(())
    }

    async fn apply(_: &Context, tx: &mut Tx, job: &Job, (): ()) -> Result<Outcome, JobError> {
        let args: CycleArgs = job.args()?;
        let firm = firm_of(job)?;
        tx.set_firm(firm).await?;
        let Some(cycle) = cycles::lock(tx, firm, args.cycle_id).await? else {
            return Err(JobError::fail("no such collection cycle"));
        };
        let (now, cause) = (tx.now(), Cause::job(job.id));
        Ok(
            match cycles::review(tx, firm, &cycle, Asked::BySystem, now, &cause).await? {
                Review::Stands => Outcome::AlreadyApplied("nothing has changed"),
                Review::GoesOn => Outcome::Done(json!({"goes_on": cycle.reason})),
                Review::WaitsUntil(until) => Outcome::Done(json!({"waits_until": until})),
                Review::Ends(reason) => Outcome::Done(json!({"exhausted": reason})),
            },
        )
    }
}
