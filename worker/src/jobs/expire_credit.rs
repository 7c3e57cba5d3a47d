//! Writes off what is left of credit whose last day is over.
//! Trigger: every firm's local date, at its first quarter-past from 02:00 there.   Effect: rows.
//! Idempotent: what expires is what is left; a lot of which nothing is left does not expire again.
//! Gives up: after 10 attempts; the next date's run finds what this one did not.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use shared::{
    ids::FirmId,
    store::{
        audit::{Actor, By, Cause},
        credits,
        jobs::Queue,
    },
};

use crate::{
    context::Context,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, minutes, secs},
};

/// See the head of this file.
pub struct ExpireCredit;

/// The job's kind.
pub const KIND: &str = "expire_credit";

/// Lots per transaction: clients whose credit expires wait for no more than that.
const BATCH: i64 = 500;

/// Batches per run. More than that is left to the next date.
const MOST_BATCHES: usize = 1000;

/// Its payload. The schedule also says for which date it is; what has expired is judged by the firm's today.
#[derive(Debug, Deserialize)]
struct Args {
    firm_id: FirmId,
}

impl ExternalJob for ExpireCredit {
    const KIND: &'static str = KIND;
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(10), secs(5), minutes(10));
    const TIME_LIMIT: Duration = minutes(20);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let args: Args = claim.job.args()?;
        let cause = Cause::job(claim.job.id);
        let mut lots = 0;
        for _ in 0..MOST_BATCHES {
            let mut tx = cx.db.firm(args.firm_id).await?;
            claim.guard(&mut tx).await?;
            let today = credits::today(&mut tx, args.firm_id).await?;
            let by = By {
                actor: &Actor::System,
                cause: &cause,
                at: tx.now(),
            };
            let expired = credits::expire(&mut tx, args.firm_id, today, BATCH, &by).await?;
            tx.commit().await?;
            if expired.is_empty() {
                break;
            }
            lots += expired.len();
        }
        Ok(Outcome::Done(json!({ "expired_lots": lots })))
    }
}
