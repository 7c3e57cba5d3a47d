//! Finds out how an attempt ended whose outcome is not known.
//! Trigger: a call without a definite answer; a payment that Stripe is still processing; the safety sweep.
//! Effect: none at Stripe; it only reads. An attempt that lost its job before it was sent gets another one.
//! Idempotent: the observation goes through the same reducer as webhooks.
//! Gives up: never by time (B-15): it looks again after 10 s, 1 m, 5 m, 1 h, 6 h, then daily, and the cycle stays blocked.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::{
    domain::collection::{AttemptState, Source},
    store::{cycles, jobs::Queue},
};

use super::cycle::CycleRun;
use crate::{
    collection,
    context::Context,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, secs},
    stripe,
};

/// See the head of this file.
pub struct ReconcilePayment;

impl ExternalJob for ReconcilePayment {
    const KIND: &'static str = cycles::RECONCILE;
    const QUEUE: Queue = Queue::Charges;
    const RETRY: Retry = Retry::exponential(Attempts(1000), secs(10), hours(1));
    const TIME_LIMIT: Duration = Duration::from_secs(120);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let run = CycleRun::of(cx, claim)?;
        let (mut tx, before) = run.begin().await?;
        let asked_at = tx.now();
        let Some(asked) = before.open_attempt() else {
            return Ok(Outcome::AlreadyApplied("nothing is open"));
        };
        if asked.state == AttemptState::Created {
            // Never sent, so there is nothing to look up: its own job is gone, and another one sends it.
            cycles::enqueue_send(&mut tx, run.firm, &before, asked.id, &run.cause, asked_at).await?;
            tx.commit().await?;
            return Ok(Outcome::Done(json!({"sent_again": asked.id})));
        }
        tx.rollback().await?;
        let Some(intent) = &before.intent else {
            return Err(JobError::fail("an attempt was sent without a PaymentIntent"));
        };

        let seen = match cx.stripe.payment_intent(intent).await {
            Ok(seen) => collection::intent_seen(&seen)?,
            // Gone, or not to be read by this key: a person must look, and until then so do we.
            Err(error) if error.class() == stripe::Class::Fail => {
                return Ok(Outcome::Snooze {
                    until: next_look(asked.sent_at.unwrap_or(asked_at), asked_at),
                    reason: error.to_string(),
                });
            }
            Err(error) => return Err(error.into()),
        };

        let (mut tx, cycle) = run.begin().await?;
        let Some(open) = cycle.open_attempt().filter(|a| a.id == asked.id).cloned() else {
            return Ok(Outcome::AlreadyApplied("settled by an event"));
        };
        let at = run.at(&tx);
        let lookup = Source::Lookup { asked_at };
        let applied = collection::apply(&mut tx, at, &cycle, &seen, lookup, None).await?;
        tx.commit().await?;
        match applied.attempt {
            Some(state) if !state.is_open() => Ok(Outcome::Done(json!({"attempt": state.as_str()}))),
            _ => Ok(Outcome::Snooze {
                until: next_look(open.sent_at.unwrap_or(at.now), at.now),
                reason: format!("the PaymentIntent is still {:?}", seen.status),
            }),
        }
    }
}

/// 10 s, 1 m, 5 m, 1 h and 6 h after it was sent, then every day.
fn next_look(sent_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    [
        TimeDelta::seconds(10),
        TimeDelta::minutes(1),
        // the first look late enough to conclude from "nothing to see" that nothing happened
        TimeDelta::seconds(100),
        TimeDelta::minutes(5),
        TimeDelta::hours(1),
        TimeDelta::hours(6),
    ]
    .into_iter()
    .map(|after| sent_at + after)
    .find(|at| *at > now)
    .unwrap_or(now + TimeDelta::days(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b15_an_unknown_outcome_is_looked_at_for_ever_and_never_given_up() {
        let sent = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut now = sent;
        let mut looks = Vec::new();
        for _ in 0..9 {
            let next = next_look(sent, now);
            assert!(next > now);
            looks.push((next - sent).num_seconds());
            now = next;
        }
        assert_eq!(
            looks,
            [10, 60, 100, 300, 3_600, 21_600, 108_000, 194_400, 280_800]
        );
    }
}
