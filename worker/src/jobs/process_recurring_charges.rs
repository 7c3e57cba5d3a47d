//! The safety net of collection: finds every cycle that is due and has no job, every outcome that nobody looks up, every cycle
//! that has stood still for long enough, and every PaymentIntent that a new collection waits to see canceled.
//! Trigger: daily at 03:00 UTC and every ten minutes.   Effect: jobs.
//! Idempotent: a cycle with an unfinished job gets no second one; the jobs themselves decide again.
//! Gives up: never; the next sweep finds what this one did not.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use shared::store::{Tx, cycles, jobs::Queue};

use crate::{
    context::Context,
    queue::{Attempts, Job, JobError, Outcome, Retry, TransactionalJob, minutes, secs},
};

/// See the head of this file.
pub struct ProcessRecurringCharges;

/// Cycles per sweep; the next one takes the rest.
const MOST: i32 = 10_000;
/// An attempt without an end this long after it was sent has lost its own lookup.
const LOST_AFTER: TimeDelta = TimeDelta::minutes(15);

impl TransactionalJob for ProcessRecurringCharges {
    const KIND: &'static str = "process_recurring_charges";
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(5), secs(5), minutes(5));
    const TIME_LIMIT: Duration = Duration::from_secs(300);
    type Prepared = ();

    async fn prepare(_: &Context, _: &Job) -> Result<(), JobError> {
        Ok(())
    }

    async fn apply(_: &Context, tx: &mut Tx, job: &Job, (): ()) -> Result<Outcome, JobError> {
        let now = tx.now();
        let run = job.id.to_string();
        let charges = cycles::enqueue_due(tx, None, now, &run, MOST).await?.len();
        let lookups = cycles::enqueue_lookups(tx, now - LOST_AFTER, &run, MOST).await?;
        let reviews = cycles::enqueue_reviews(tx, now, MOST).await?;
        let cancellations = cycles::enqueue_cancellations(tx, &run, MOST).await?;
        Ok(Outcome::Done(
            json!({"charges": charges, "lookups": lookups, "reviews": reviews, "cancellations": cancellations}),
        ))
    }
}
