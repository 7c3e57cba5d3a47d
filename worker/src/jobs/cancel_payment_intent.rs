//! Cancels the PaymentIntent of a cycle that was given up, or ran out of steps.
//! Trigger: automatic payment switched off, paid otherwise, void, write-off.
//! Effect: one cancel call.
//! Idempotent: only a cycle that makes no attempt any more; an intent that is canceled already says so.
//! Gives up: an intent that has succeeded cannot be canceled; its money is recorded instead. One that is being processed
//! is waited for.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use shared::{
    domain::collection::{CycleState, Source},
    store::{cycles, jobs::Queue},
};

use super::cycle::CycleRun;
use crate::{
    collection,
    context::Context,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, secs},
    stripe::{self, IdempotencyKey},
};

/// How long a payment that is being processed is left alone.
const PROCESSING_REST: TimeDelta = TimeDelta::minutes(10);

/// See the head of this file.
pub struct CancelPaymentIntent;

impl ExternalJob for CancelPaymentIntent {
    const KIND: &'static str = cycles::CANCEL_INTENT;
    const QUEUE: Queue = Queue::Charges;
    const RETRY: Retry = Retry::exponential(Attempts(100), secs(10), hours(1));
    const TIME_LIMIT: Duration = Duration::from_secs(120);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let run = CycleRun::of(cx, claim)?;
        let (tx, cycle) = run.begin().await?;
        tx.rollback().await?;
        // One that ran out of steps leaves its intent open: the client could still pay it.
        if !matches!(cycle.view.state, CycleState::Canceled | CycleState::Exhausted) {
            return Ok(Outcome::AlreadyApplied("the cycle ended otherwise"));
        }
        let Some(intent) = &cycle.intent else {
            return Ok(Outcome::AlreadyApplied("no PaymentIntent was created"));
        };
        let seen = match cx
            .stripe
            .cancel_payment_intent(intent, &IdempotencyKey::cancel(cycle.id, claim.fence))
            .await
        {
            Ok(seen) => seen,
            Err(stripe::Error::UnexpectedState { .. } | stripe::Error::Unknown { .. }) => {
                cx.stripe.payment_intent(intent).await?
            }
            Err(error) => return Err(error.into()),
        };
        let seen_intent = collection::intent_seen(&seen)?;
        let (mut tx, cycle) = run.begin().await?;
        let at = run.at(&tx);
        collection::apply(&mut tx, at, &cycle, &seen_intent, Source::Event, None).await?;
        tx.commit().await?;
        match seen.status.as_str() {
            "canceled" | "succeeded" => Ok(Outcome::Done(json!({"intent": seen.status}))),
            // cannot be canceled: its end decides
            "processing" => Ok(Outcome::Snooze {
                until: at.now + PROCESSING_REST,
                reason: "the PaymentIntent is being processed".into(),
            }),
            other => Err(JobError::retry(format!(
                "the PaymentIntent is {other} and was not canceled"
            ))),
        }
    }
}
