//! Finds out how an attempt ended whose outcome is not known.
//! Trigger: a call without a definite answer; a payment that Stripe is still processing; the safety sweep.
//! Effect: none at Stripe; it only reads. An attempt that lost its job before it was sent gets another one.
//! Idempotent: the observation goes through the same reducer as webhooks.
//! Gives up: never by time (B-15): it looks again after 10 s, 1 m, 100 s, 5 m, 1 h, 6 h, then daily, and the cycle stays
//! blocked.

use std::time::Duration;

use chrono::TimeDelta;
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
        let (now, asked_at) = (tx.now(), tx.real_now());
        let Some(asked) = before.open_attempt() else {
            return Ok(Outcome::AlreadyApplied("nothing is open"));
        };
        if asked.state == AttemptState::Created {
            // Never sent, so there is nothing to look up: its own job is gone, and another one sends it.
            cycles::enqueue_send(&mut tx, run.firm, &before, asked.id, &run.cause, now).await?;
            tx.commit().await?;
            return Ok(Outcome::Done(json!({"sent_again": asked.id})));
        }
        tx.rollback().await?;
        let Some(intent) = &before.intent else {
            return Err(JobError::fail("an attempt was sent without a PaymentIntent"));
        };
        let age = asked_at - asked.real_sent_at.unwrap_or(asked_at);
        let later = |reason: String| Outcome::Snooze {
            until: now + next_look(age),
            reason,
        };

        let seen = match cx.stripe.payment_intent(intent).await {
            Ok(seen) => collection::intent_seen(&seen)?,
            // Gone, or not to be read by this key: a person must look, and until then so do we.
            Err(error) if error.class() == stripe::Class::Fail => return Ok(later(error.to_string())),
            Err(error) => return Err(error.into()),
        };

        let (mut tx, cycle) = run.begin().await?;
        if cycle.open_attempt().is_none_or(|open| open.id != asked.id) {
            return Ok(Outcome::AlreadyApplied("settled by an event"));
        }
        let (at, lookup) = (run.at(&tx), Source::Lookup { asked_at });
        let applied = collection::apply(&mut tx, at, &cycle, &seen, lookup, None).await?;
        tx.commit().await?;
        match applied.attempt {
            Some(state) if !state.is_open() => Ok(Outcome::Done(json!({"attempt": state.as_str()}))),
            _ => Ok(later(format!("the PaymentIntent is still {:?}", seen.status))),
        }
    }
}

/// How long to wait for the next look at an attempt that was sent this long ago: until 10 s, 1 m, 100 s, 5 m, 1 h and 6 h
/// after sending, then a day.
///
/// Ages are real time, because Stripe's work is. Jobs fall due in business time, which runs as fast while nobody moves
/// it; a clock that is moved brings a look early, and that look uses none of the later ones up.
fn next_look(age: TimeDelta) -> TimeDelta {
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
    .map(|look| look - age)
    .find(|wait| *wait > TimeDelta::zero())
    .unwrap_or(TimeDelta::days(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b15_an_unknown_outcome_is_looked_at_for_ever_and_never_given_up() {
        let mut age = TimeDelta::zero();
        let mut looks = Vec::new();
        for _ in 0..9 {
            let wait = next_look(age);
            assert!(wait > TimeDelta::zero());
            age += wait;
            looks.push(age.num_seconds());
        }
        assert_eq!(
            looks,
            [10, 60, 100, 300, 3_600, 21_600, 108_000, 194_400, 280_800]
        );
    }

    #[test]
    fn a_look_that_a_moved_clock_brought_early_is_followed_by_the_one_that_was_due_next() {
        let early = TimeDelta::seconds(12);
        assert_eq!(next_look(early), TimeDelta::seconds(48));
        assert_eq!(next_look(early), TimeDelta::seconds(48));
    }
}
