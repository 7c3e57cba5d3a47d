//! Attaches a card that Stripe keeps for a client.
//! Trigger: somebody of the firm, by the portal, which asks nobody.   Effect: rows only; what waits for a card goes on.
//! Idempotent: a card that is attached is looked at again, and where it is as it was nothing changes.
//! Gives up: after 25 tries to reach Stripe; ends at once where Stripe does not know the card, or keeps it for somebody else.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use shared::{
    actions::{
        Fault,
        clients::{self, ATTACH},
    },
    ids::ClientId,
    store::{
        Tx,
        audit::{Actor, By, Cause},
        jobs::Queue,
        payment_methods::Card,
    },
};

use super::firm_of;
use crate::{
    context::Context,
    queue::{Attempts, Job, JobError, Outcome, Retry, TransactionalJob, hours, secs},
    stripe::{self, PaymentMethod},
};

/// See the head of this file.
pub struct AttachCard;

#[derive(Deserialize)]
struct Args {
    client_id: ClientId,
    payment_method: String,
    charge_it: bool,
    asked_by: String,
}

impl TransactionalJob for AttachCard {
    const KIND: &'static str = ATTACH;
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(25), secs(10), hours(1));
    /// One read of at most 60 s.
    const TIME_LIMIT: Duration = Duration::from_secs(90);
    type Prepared = Option<PaymentMethod>;

    async fn prepare(cx: &Context, job: &Job) -> Result<Option<PaymentMethod>, JobError> {
        let args: Args = job.args()?;
        match cx.stripe.payment_method(&args.payment_method).await {
            Ok(found) => Ok(Some(found)),
            Err(stripe::Error::NotFound { .. }) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn apply(
        _: &Context,
        tx: &mut Tx,
        job: &Job,
        found: Option<PaymentMethod>,
    ) -> Result<Outcome, JobError> {
        let args: Args = job.args()?;
        let firm = firm_of(job)?;
        let Some(found) = found else {
            return Ok(Outcome::Cancel {
                reason: "unknown_card".to_owned(),
            });
        };
        tx.set_firm(firm).await?;
        let (actor, cause) = (Actor::User(args.asked_by), Cause::job(job.id));
        let by = By {
            actor: &actor,
            cause: &cause,
            at: tx.now(),
        };
        let kept_for = (found.id.as_str(), found.customer.as_deref());
        let order = (kept_for, &looks_of(&found), args.charge_it);
        match clients::attach_card(tx, firm, args.client_id, order, &by).await {
            Ok(shown) => Ok(Outcome::Done(
                json!({ "changed": shown.changed, "resumed": shown.resumed }),
            )),
            Err(Fault::Refused { code, .. }) => Ok(Outcome::Cancel {
                reason: code.to_owned(),
            }),
            Err(Fault::Store(fault)) => Err(fault.into()),
            Err(other) => Err(JobError::fail(other.to_string())),
        }
    }
}

/// What a card looks like, as we keep it.
pub fn looks_of(found: &PaymentMethod) -> Card<'_> {
    let number = |value: Option<i64>| value.and_then(|n| i32::try_from(n).ok());
    Card {
        brand: found.brand.as_deref(),
        last4: found.last4.as_deref(),
        exp_month: number(found.exp_month),
        exp_year: number(found.exp_year),
        fingerprint: found.fingerprint.as_deref(),
    }
}
