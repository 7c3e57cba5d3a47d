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
    /// Why the attempt was made.
    pub trigger: Trigger,
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
    /// When the first attempt falls due by the invoice's terms; none where that is at once.
    pub first_due: Option<DateTime<Utc>>,
}

/// How collection begins again.
#[derive(Clone, Debug, PartialEq)]
pub enum Restart {
    /// As if for the first time: nothing was declined.
    Afresh,
    /// Where it was given up.
    GoesOn(CycleChange),
}

/// The card that would be charged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardNow {
    /// Which.
    pub method: PaymentMethodId,
    /// Nothing is known against it. A card that was refused for good is usable again once it was renewed.
    pub usable: bool,
}

/// Says how to go on with an invoice after these cycles, with the card that would be charged now.
///
/// A soft decline, and one that was the client's to mend, waits for the next step that lies ahead; where none does, the
/// policy has come to its end. A hard decline waits for another card; where another one is set by now, or this one was renewed,
/// that is tried once, at once, outside the steps, as when a card is replaced (B-24). Our own faults use up no step and leave
/// nothing to take over.
#[must_use]
pub fn restart(history: &History, card: CardNow, now: DateTime<Utc>) -> Restart {
    let is_ours = |class| matches!(class, DeclineClass::Bug | DeclineClass::Check);
    let failures = || history.failures.iter().filter(|f| !is_ours(f.class));
    // an attempt that failed only after its cycle was given up left no mark on the cycle
    let first_failed_at = history.first_failed_at.or(failures().next().map(|f| f.at));
    let cycle = CycleView {
        state: CycleState::Scheduled,
        first_failed_at,
        policy: history.policy.clone(),
        deadline: None,
        first_due: history.first_due,
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
    // What was only tried by hand, ahead of its day, has used up nothing.
    if let Some(first) = cycle.first_step_ahead(now)
        && history.first_failed_at.is_none()
        && last.class == DeclineClass::Soft
        && !failures().any(|f| f.trigger.counts_toward_ladder())
    {
        return Restart::GoesOn(
            CycleView {
                first_failed_at: None,
                ..cycle
            }
            .wait_for_next(first, None),
        );
    }
    let next = |at, step, trigger| cycle.wait_for_next(NextAttempt { at, step, trigger }, None);
    Restart::GoesOn(match last.class {
        DeclineClass::Hard if cycle.waits_until(now) > now && (last.method != card.method || card.usable) => {
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

    /// Attempts with these classes, one per step, each on its day; and the card they were made with, as it was left.
    fn history(classes: &[DeclineClass]) -> (History, CardNow) {
        let method = PaymentMethodId::new();
        let failures = classes.iter().zip(0..).map(|(class, step)| Failure {
            step,
            class: *class,
            method,
            at: day(STEP_DAYS[step as usize]),
            trigger: if step == 0 { Trigger::Auto } else { Trigger::Retry },
        });
        let history = History {
            first_failed_at: (!classes.is_empty()).then(start),
            policy: RetryPolicy::default(),
            failures: failures.collect(),
            first_due: None,
        };
        let usable = classes.last() != Some(&Hard);
        (history, CardNow { method, usable })
    }

    /// A card that nobody has tried.
    fn another() -> CardNow {
        CardNow {
            method: PaymentMethodId::new(),
            usable: true,
        }
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
            let (history, card) = history(classes);
            let restarted = restart(&history, card, day(today));
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
            let (history, card) = history(classes);
            for card in [card, another()] {
                let restarted = restart(&history, card, day(today));
                assert_eq!(outcome(&restarted), (CycleState::Exhausted, None), "{classes:?}");
            }
        }
    }

    #[test]
    fn b24_what_was_refused_for_good_waits_for_another_card_which_is_tried_once() {
        let (history, card) = history(&[Soft, Hard]);
        let same = restart(&history, card, day(5));
        assert_eq!(outcome(&same), (CycleState::MethodRequired, None));
        let Restart::GoesOn(change) = same else {
            unreachable!()
        };
        assert_eq!(change.deadline, Some(day(14)), "no later than before");
        let other = restart(&history, another(), day(5));
        assert_eq!(
            outcome(&other),
            (CycleState::RetryWait, Some((1, Trigger::MethodUpdated, 5)))
        );
        let renewed = restart(&history, CardNow { usable: true, ..card }, day(5));
        assert_eq!(outcome(&renewed), outcome(&other));
    }

    #[test]
    fn what_failed_only_after_it_was_given_up_counts_all_the_same() {
        let (history, card) = history(&[Soft]);
        let unmarked = History {
            first_failed_at: None,
            ..history
        };
        let restarted = restart(&unmarked, card, day(1));
        assert_eq!(
            outcome(&restarted),
            (CycleState::RetryWait, Some((1, Trigger::Retry, 3)))
        );
    }

    #[test]
    fn a11_what_was_charged_by_hand_ahead_of_its_day_has_used_up_no_step() {
        let (mut history, card) = history(&[Soft]);
        history.first_failed_at = None;
        history.first_due = Some(day(10));
        history.failures[0].trigger = Trigger::Manual;
        let ahead = restart(&history, card, day(2));
        assert_eq!(
            outcome(&ahead),
            (CycleState::Scheduled, Some((0, Trigger::Auto, 10)))
        );
        // Its day has come: then it was the first attempt, and the next step follows it.
        let come = restart(&history, card, day(10));
        assert_eq!(
            outcome(&come),
            (CycleState::RetryWait, Some((3, Trigger::Retry, 14)))
        );
        history.failures[0].trigger = Trigger::Auto;
        let counted = restart(&history, card, day(2));
        assert_eq!(
            outcome(&counted),
            (CycleState::RetryWait, Some((1, Trigger::Retry, 3)))
        );
    }

    #[test]
    fn what_was_never_declined_begins_afresh_and_a_possible_double_stays_stopped() {
        for classes in [&[][..], &[Bug]] {
            let (history, card) = history(classes);
            assert_eq!(restart(&history, card, day(1)), Restart::Afresh, "{classes:?}");
        }
        let (history, card) = history(&[Soft, Check]);
        let restarted = restart(&history, card, day(5));
        assert_eq!(outcome(&restarted), (CycleState::Paused, None));
    }

    proptest! {
        /// However often it is switched off and on, on whatever days.
        #[test]
        fn b13_toggling_makes_no_more_attempts_than_the_policy_and_none_before_its_day(
            toggles in prop::collection::vec(0..30_i64, 1..8),
        ) {
            let (mut history, card) = history(&[Soft]);
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
                    history.failures.push(Failure { step, class: Soft, method: card.method, at, trigger: Trigger::Retry });
                    next = match retry_policy::next_step(&history.policy, step, start(), at, at) {
                        NextStep::Retry { step, at } => Some((step, at)),
                        NextStep::Exhausted => None,
                    };
                }
                now = now.max(today);
                next = match restart(&history, card, now) {
                    Restart::Afresh => return Err(TestCaseError::fail("it began afresh")),
                    Restart::GoesOn(change) => change.next.map(|n| (n.step, n.at)),
                };
                prop_assert!(next.is_none_or(|(_, at)| at > now), "toggling charges nothing at once");
            }
            prop_assert!(attempts <= 4);
        }
    }
}
