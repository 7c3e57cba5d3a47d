//! Looks at a firm's subscription without anybody having told of it.
//! Trigger: thirty days before its period ends, an hour after that, every day while a payment is missing.   Effect: rows only.
//! Idempotent: what is read goes through the reducer of the events.
//! Gives up: after 25 tries to reach Stripe; the next event or look goes on.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use shared::{
    ids::SubscriptionId,
    store::{Tx, audit::Cause, jobs::Queue, platform::subscriptions},
};

use super::firm_of;
use crate::{
    collection::At,
    context::Context,
    events::{
        Unfetched,
        platform::{self, SeenPlatform},
    },
    queue::{Attempts, Job, JobError, Outcome, Retry, TransactionalJob, hours, secs},
};

/// See the head of this file.
pub struct RefreshSubscription;

#[derive(Deserialize)]
struct Args {
    subscription_id: SubscriptionId,
}

impl TransactionalJob for RefreshSubscription {
    const KIND: &'static str = platform::REFRESH;
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(25), secs(10), hours(1));
    /// Two reads of at most 60 s.
    const TIME_LIMIT: Duration = Duration::from_secs(120);
    type Prepared = SeenPlatform;

    async fn prepare(cx: &Context, job: &Job) -> Result<SeenPlatform, JobError> {
        let args: Args = job.args()?;
        let firm = firm_of(job)?;
        let mut tx = cx.db.firm(firm).await?;
        let id = subscriptions::stripe_id(&mut tx, firm, args.subscription_id.0).await?;
        drop(tx);
        let id = id.ok_or_else(|| JobError::fail("no such subscription"))?;
        match platform::fetch_subscription(cx, firm, &id).await {
            Ok(seen) => Ok(seen),
            Err(Unfetched::NotThere(message)) => Err(JobError::fail(message)),
            Err(Unfetched::Failed(error)) => Err(error),
        }
    }

    async fn apply(_: &Context, tx: &mut Tx, job: &Job, seen: SeenPlatform) -> Result<Outcome, JobError> {
        let firm = seen.firm();
        tx.set_firm(firm).await?;
        let cause = Cause::job(job.id);
        let at = At {
            firm,
            now: tx.now(),
            cause: &cause,
        };
        let applied = platform::apply(tx, at, &seen).await?;
        Ok(Outcome::Done(json!({ "applied": applied })))
    }
}
