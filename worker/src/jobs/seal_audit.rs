//! Seals what was added to the audit log of every firm, in blocks of a chain.
//! Trigger: schedule `seal_audit`, every ten minutes.   Effect: blocks; a row that is sealed waits no more.
//! Idempotent: a row waits once, and the block that takes it ends that in the same transaction; one sealer per firm at a time.
//! Gives up: after 5 attempts; the next tick seals what this one did not.

use std::time::Duration;

use serde_json::json;
use shared::store::{audit_chain, jobs::Queue};

use crate::{
    context::Context,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, minutes},
};

/// Blocks per run: ten million rows. More than that is left to the next tick.
const MOST_BLOCKS: u32 = 10_000;

/// See the file's card.
pub struct SealAudit;

impl ExternalJob for SealAudit {
    const KIND: &'static str = "seal_audit";
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(5), minutes(1), minutes(10));
    const TIME_LIMIT: Duration = minutes(20);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let mut tx = cx.db.plain().await?;
        let firms = audit_chain::firms_to_seal(&mut tx).await?;
        tx.rollback().await?;
        let (mut blocks, mut rows) = (0, 0);
        for firm in firms {
            let mut more = true;
            while more && blocks < MOST_BLOCKS {
                let mut tx = cx.db.firm(firm).await?;
                claim.guard(&mut tx).await?;
                let now = tx.now();
                let Some(sealed) = audit_chain::seal(&mut tx, firm, now).await? else {
                    break;
                };
                tx.commit().await?;
                blocks += 1;
                rows += sealed.rows;
                more = !sealed.complete;
            }
        }
        Ok(Outcome::Done(json!({ "blocks": blocks, "rows": rows })))
    }
}
