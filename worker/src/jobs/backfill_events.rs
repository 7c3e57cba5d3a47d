//! Finds what Stripe told nobody: events that never came, and objects that the books do not show as they are.
//! Trigger: schedule `backfill_events`, daily; `quittance events backfill`.   Effect: rows of the inbox with their jobs; Stripe is read.
//! Idempotent: an event is in the inbox once, by its id; how far a list was read is noted as it is read.
//! Gives up: after 10 attempts; the next day goes on from there.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use shared::store::jobs::Queue;

use crate::{
    backfill::{self, Sink},
    context::Context,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, minutes},
};

/// Name of the job and of its schedule.
pub const KIND: &str = "backfill_events";

/// See the head of this file.
pub struct BackfillEvents;

#[derive(Deserialize)]
struct Args {
    /// From when on, instead of from where the last run ended.
    since: Option<DateTime<Utc>>,
}

impl ExternalJob for BackfillEvents {
    const KIND: &'static str = "backfill_events";
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(10), minutes(1), hours(1));
    const TIME_LIMIT: Duration = minutes(60);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let args: Args = claim.job.args()?;
        let sink = Sink::Claimed(claim);
        let events = backfill::events(cx, sink, args.since).await?;
        let objects = backfill::objects(cx, sink, args.since).await?;
        if events.new + objects.found() > 0 {
            tracing::warn!(
                events = events.new,
                objects = objects.found(),
                "Stripe has told us less than there was: what was missing is in the inbox now"
            );
        }
        Ok(Outcome::Done(json!({ "events": events, "objects": objects })))
    }
}
