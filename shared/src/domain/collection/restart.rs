//! An invoice whose cycle was given up is collected again: the new cycle takes over what the client has been told of.
//!
//! Switching automatic payment off and on again must neither charge at once nor give more attempts than the retry policy
//! allows (B-13, A-11). So the new cycle goes on where the old one was given up: same policy, same first failure, the
//! next step that still lies ahead. Whether it may be made at all is [`super::decide_charge`]'s question, as ever.
use chrono::{DateTime, Utc};

use super::{CycleChange, CycleState, CycleView, NextAttempt, Trigger, observe::CHECK_FOR_EXISTING_PAYMENT};
use crate::{
    domain::{
        decline::DeclineClass,
        retry_policy::{self, NextStep, RetryPolicy},
    },
    ids::PaymentMethodId,
};

/// A declined attempt of an earlier cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its step.
    pub step: u32,
    /// Its class.
    pub class: DeclineClass,
    /// The card.
    pub method: PaymentMethodId,
    /// When we knew.
    pub at: DateTime<Utc>,
}

/// What the cycles of an invoice that were given up have left.
#[derive(Clone, Debug)]
pub struct History {
    /// When the first attempt failed.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// The retry policy that was in force.
    pub policy: RetryPolicy,
    /// The declined attempts of all of them, oldest first.
    pub failures: Vec<Failure>,
}

/// How collection begins again.
#[derive(Clone, Debug, PartialEq)]
pub enum Restart {
    /// As if for the first time: nothing was declined.
    Afresh,
    /// Where it was given up.
    GoesOn(CycleChange),
}

/// Says how to go on with an invoice after these cycles, with the card that would be charged now.
///
/// A soft decline, and one that was the client's to mend, waits for the next step that lies ahead; where none does, the
/// policy has come to its end. A hard decline waits for another card; where another one is set by now, that is tried once, at
/// once, outside the steps, as when a card is replaced (B-24). Our own faults use up no step and leave nothing to take over.
#[must_use]
pub fn restart(history: &History, method: PaymentMethodId, now: DateTime<Utc>) -> Restart {
    let is_ours = |class| matches!(class, DeclineClass::Bug | DeclineClass::Check);
    let failures = || history.failures.iter().filter(|f| !is_ours(f.class));
    // an attempt that failed only after its cycle was given up left no mark on the cycle
    let first_failed_at = history.first_failed_at.or(failures().next().map(|f| f.at));
    let cycle = CycleView {
        state: CycleState::Scheduled,
        first_failed_at,
        policy: history.policy.clone(),
        deadline: None,
    };
    if history
        .failures
        .last()
        .is_some_and(|f| f.class == DeclineClass::Check)
    {
        return Restart::GoesOn(cycle.change_to(CycleState::Paused, Some(CHECK_FOR_EXISTING_PAYMENT)));
    }
    let failed_step = failures().map(|f| f.step).max();
    let (Some(first_failed_at), Some(failed_step), Some(last)) =
        (first_failed_at, failed_step, failures().next_back())
    else {
        return Restart::Afresh;
    };
    let next = |at, step, trigger| cycle.wait_for_next(NextAttempt { at, step, trigger }, None);
    Restart::GoesOn(match last.class {
        DeclineClass::Hard if cycle.waits_until(now) > now && last.method != method => {
            next(now, failed_step, Trigger::MethodUpdated)
        }
        DeclineClass::Hard => cycle.wait_for_client(CycleState::MethodRequired, None, now),
        DeclineClass::Soft | DeclineClass::Customer | DeclineClass::Check | DeclineClass::Bug => {
            match retry_policy::next_step(&history.policy, failed_step, first_failed_at, last.at, now) {
                NextStep::Retry { step, at } => next(at, step, Trigger::Retry),
                NextStep::Exhausted => cycle.change_to(CycleState::Exhausted, None),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use chrono::Duration;
    use proptest::prelude::*;

    use super::*;

    fn start() -> DateTime<Utc> {
        "2026-03-01T03:00:00Z".parse().unwrap()
    }

    fn day(days: i64) -> DateTime<Utc> {
        start() + Duration::days(days)
    }

    const STEP_DAYS: [i64; 4] = [0, 3, 7, 14];

    /// Attempts with these classes, one per step, each on its day; and the card they were made with.
    fn history(classes: &[DeclineClass]) -> (History, PaymentMethodId) {
        let method = PaymentMethodId::new();
        let failures = classes.iter().zip(0..).map(|(class, step)| Failure {
            step,
            class: *class,
            method,
            at: day(STEP_DAYS[step as usize]),
        });
        let history = History {
            first_failed_at: (!classes.is_empty()).then(start),
            policy: RetryPolicy::default(),
            failures: failures.collect(),
        };
        (history, method)
    }

    /// State, step and day of what follows.
    fn outcome(restarted: &Restart) -> (CycleState, Option<(u32, Trigger, i64)>) {
        match restarted {
            Restart::Afresh => (CycleState::Scheduled, None),
            Restart::GoesOn(change) => {
                let next = change.next.as_ref();
                (
                    change.state,
                    next.map(|n| (n.step, n.trigger, (n.at - start()).num_days())),
                )
            }
        }
    }

    use DeclineClass::{Bug, Check, Customer, Hard, Soft};

    #[test]
    fn a11_the_next_step_that_lies_ahead_is_made_on_its_day_whenever_collection_begins_again() {
        for (classes, today, step, on_day) in [
            (&[Soft][..], 0, 1, 3),
            (&[Soft], 2, 1, 3),
            // its day has passed: it is passed over, as when a worker was down
            (&[Soft], 3, 2, 7),
            (&[Soft], 13, 3, 14),
            (&[Soft, Soft], 4, 2, 7),
            (&[Soft, Soft, Soft], 8, 3, 14),
            // what the client had to mend waits too
            (&[Customer], 1, 1, 3),
            (&[Soft, Customer], 5, 2, 7),
            // what failed by our fault uses up no step
            (&[Soft, Bug], 5, 2, 7),
        ] {
            let (history, method) = history(classes);
            let restarted = restart(&history, method, day(today));
            assert_eq!(
                outcome(&restarted),
                (CycleState::RetryWait, Some((step, Trigger::Retry, on_day))),
                "{classes:?} on day {today}"
            );
            let Restart::GoesOn(change) = restarted else {
                unreachable!()
            };
            assert_eq!(change.first_failed_at, Some(start()));
        }
    }

    #[test]
    fn a11_with_no_step_ahead_it_is_over() {
        for (classes, today) in [
            (&[Soft][..], 14),
            (&[Soft, Soft, Soft, Soft], 14),
            (&[Customer], 20),
            (&[Hard], 14),
        ] {
            let (history, method) = history(classes);
            for method in [method, PaymentMethodId::new()] {
                let restarted = restart(&history, method, day(today));
                assert_eq!(outcome(&restarted), (CycleState::Exhausted, None), "{classes:?}");
            }
        }
    }

    #[test]
    fn b24_what_was_refused_for_good_waits_for_another_card_which_is_tried_once() {
        let (history, method) = history(&[Soft, Hard]);
        let same = restart(&history, method, day(5));
        assert_eq!(outcome(&same), (CycleState::MethodRequired, None));
        let Restart::GoesOn(change) = same else {
            unreachable!()
        };
        assert_eq!(change.deadline, Some(day(14)), "no later than before");
        let other = restart(&history, PaymentMethodId::new(), day(5));
        assert_eq!(
            outcome(&other),
            (CycleState::RetryWait, Some((1, Trigger::MethodUpdated, 5)))
        );
    }

    #[test]
    fn what_failed_only_after_it_was_given_up_counts_all_the_same() {
        let (history, method) = history(&[Soft]);
        let unmarked = History {
            first_failed_at: None,
            ..history
        };
        let restarted = restart(&unmarked, method, day(1));
        assert_eq!(
            outcome(&restarted),
            (CycleState::RetryWait, Some((1, Trigger::Retry, 3)))
        );
    }

    #[test]
    fn what_was_never_declined_begins_afresh_and_a_possible_double_stays_stopped() {
        for classes in [&[][..], &[Bug]] {
            let (history, method) = history(classes);
            assert_eq!(restart(&history, method, day(1)), Restart::Afresh, "{classes:?}");
        }
        let (history, method) = history(&[Soft, Check]);
        let restarted = restart(&history, method, day(5));
        assert_eq!(outcome(&restarted), (CycleState::Paused, None));
    }

    proptest! {
        /// However often it is switched off and on, on whatever days.
        #[test]
        fn b13_toggling_makes_no_more_attempts_than_the_policy_and_none_before_its_day(
            toggles in prop::collection::vec(0..30_i64, 1..8),
        ) {
            let (mut history, method) = history(&[Soft]);
            let mut now = start();
            let mut attempts = 1;
            let mut next: Option<(u32, DateTime<Utc>)> = None;
            let mut days: Vec<i64> = toggles;
            days.sort_unstable();
            for today in days.into_iter().map(day).chain([day(40)]) {
                // what is due before the next toggle is made, and declined
                while let Some((step, at)) = next.filter(|(_, at)| *at <= today) {
                    prop_assert!(at > now && STEP_DAYS[1..].contains(&(at - start()).num_days()));
                    (now, attempts) = (at, attempts + 1);
                    history.failures.push(Failure { step, class: Soft, method, at });
                    next = match retry_policy::next_step(&history.policy, step, start(), at, at) {
                        NextStep::Retry { step, at } => Some((step, at)),
                        NextStep::Exhausted => None,
                    };
                }
                now = now.max(today);
                next = match restart(&history, method, now) {
                    Restart::Afresh => return Err(TestCaseError::fail("it began afresh")),
                    Restart::GoesOn(change) => change.next.map(|n| (n.step, n.at)),
                };
                prop_assert!(next.is_none_or(|(_, at)| at > now), "toggling charges nothing at once");
            }
            prop_assert!(attempts <= 4);
        }
    }
}
