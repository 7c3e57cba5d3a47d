//! A cycle that stands still is looked at again: may it go on, or has it waited long enough?
use chrono::{DateTime, Utc};

use super::{
    AMOUNT_ABOVE_LIMIT, ChargeDecision, ChargeFacts, CycleState, CycleView, LIMIT_IN_OTHER_CURRENCY,
    REJECTED_REQUEST, TOO_MANY_CHARGES, decide_charge, observe::CHECK_FOR_EXISTING_PAYMENT,
};

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The sweep, or a change that may have taken the cause away.
    BySystem,
    /// A person who has looked at it.
    ByPerson,
    /// A person who brings the card that is charged: a request that was refused may go on, a possible double and what met a
    /// limit may not.
    WithCard,
}

/// What becomes of a cycle that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    /// Nothing has changed.
    Stands,
    /// What stopped it is gone: it makes the attempt at which it was stopped.
    GoesOn,
    /// It waits for the client without an end, and gets one.
    WaitsUntil(DateTime<Utc>),
    /// It has waited for the client in vain, for this reason.
    Ends(&'static str),
}

/// Looks at a paused cycle, or one that waits for the client. A pause ends when [`decide_charge`] would no longer order it;
/// one that a fault of ours, a
/// possible double payment or a limit caused ends only when a person says so.
#[must_use]
pub fn review(
    cycle: &CycleView,
    reason: Option<&str>,
    facts: &ChargeFacts,
    asked: Asked,
    now: DateTime<Utc>,
) -> Review {
    match (cycle.state, cycle.state.when_waited_in_vain()) {
        (_, Some(in_vain)) => {
            let until = cycle.deadline.unwrap_or_else(|| cycle.waits_until(now));
            match cycle.deadline {
                _ if until <= now => Review::Ends(in_vain),
                Some(_) => Review::Stands,
                None => Review::WaitsUntil(until),
            }
        }
        (CycleState::Paused, None) if needs_a_person(reason) => match asked {
            Asked::ByPerson => Review::GoesOn,
            Asked::WithCard if reason.is_some_and(is_rejected_request) => Review::GoesOn,
            Asked::BySystem | Asked::WithCard => Review::Stands,
        },
        (CycleState::Paused, None) => match decide_charge(&facts.as_if_due(now), now).0 {
            ChargeDecision::Hold {
                state: CycleState::Paused,
                ..
            } => Review::Stands,
            ChargeDecision::Hold { .. }
            | ChargeDecision::Charge { .. }
            | ChargeDecision::NotNow(_)
            | ChargeDecision::Cancel(_) => Review::GoesOn,
        },
        (
            CycleState::Scheduled
            | CycleState::InFlight
            | CycleState::RetryWait
            | CycleState::ActionRequired
            | CycleState::MethodRequired
            | CycleState::Unknown
            | CycleState::Succeeded
            | CycleState::Exhausted
            | CycleState::Canceled,
            None,
        ) => Review::Stands,
    }
}

/// Whether a pause for this reason ends only when a person says so: nothing that we could look at tells whether its cause is gone.
#[must_use]
pub fn needs_a_person(reason: Option<&str>) -> bool {
    reason.is_none_or(|reason| {
        [
            CHECK_FOR_EXISTING_PAYMENT,
            AMOUNT_ABOVE_LIMIT,
            LIMIT_IN_OTHER_CURRENCY,
            TOO_MANY_CHARGES,
        ]
        .contains(&reason)
            || is_rejected_request(reason)
    })
}

/// A request of ours that Stripe refused, with its code or without.
fn is_rejected_request(reason: &str) -> bool {
    let code = reason.strip_prefix(REJECTED_REQUEST);
    code.is_some_and(|code| code.is_empty() || code.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use chrono::Duration;

    use super::{super::decide::tests::chargeable, *};
    use crate::{currency::Currency, domain::retry_policy::RetryPolicy, money::Money};

    type Cause = fn(&mut ChargeFacts);

    fn now() -> DateTime<Utc> {
        "2026-03-10T03:00:00Z".parse().unwrap()
    }

    fn cycle(state: CycleState) -> CycleView {
        CycleView {
            state,
            first_failed_at: Some(now() - Duration::days(5)),
            policy: RetryPolicy::default(),
            deadline: None,
            first_due: None,
        }
    }

    #[test]
    fn a_pause_ends_when_its_cause_is_gone_and_not_before() {
        let paused = cycle(CycleState::Paused);
        let small = Money::new(1, Currency::USD);
        let causes: [(&str, Cause); 4] = [
            ("no_stripe_customer", |f| f.has_customer = false),
            ("invoice_fenced", |f| f.fenced_reason = Some("chargeback".into())),
            ("open_dispute", |f| f.open_chargeback = true),
            ("amount_below_minimum", |f| f.open = Money::new(1, Currency::USD)),
        ];
        for (reason, cause) in causes {
            for asked in [Asked::BySystem, Asked::ByPerson] {
                let mut facts = chargeable();
                // what it is doing and when it is due say nothing about the cause
                (facts.cycle, facts.next_attempt_at) = (CycleState::Paused, None);
                assert_eq!(
                    review(&paused, Some(reason), &facts, asked, now()),
                    Review::GoesOn,
                    "{reason}"
                );
                cause(&mut facts);
                assert_eq!(
                    review(&paused, Some(reason), &facts, asked, now()),
                    Review::Stands,
                    "{reason}"
                );
            }
        }
        // paid meanwhile, or without a card: it goes on, to be given up or to wait for a card
        let mut facts = chargeable();
        facts.open = Money::zero(small.currency());
        assert_eq!(
            review(
                &paused,
                Some("amount_below_minimum"),
                &facts,
                Asked::BySystem,
                now()
            ),
            Review::GoesOn
        );
        let mut facts = chargeable();
        facts.method = None;
        assert_eq!(
            review(
                &paused,
                Some("no_stripe_customer"),
                &facts,
                Asked::BySystem,
                now()
            ),
            Review::GoesOn
        );
    }

    #[test]
    fn what_our_fault_or_a_possible_double_stopped_goes_on_only_when_a_person_says_so() {
        let paused = cycle(CycleState::Paused);
        for reason in [
            Some("rejected_request"),
            Some("rejected_request:amount_mismatch"),
            Some("check_for_existing_payment"),
            None,
        ] {
            let by = |asked| review(&paused, reason, &chargeable(), asked, now());
            assert_eq!(by(Asked::BySystem), Review::Stands, "{reason:?}");
            assert_eq!(by(Asked::ByPerson), Review::GoesOn, "{reason:?}");
            let with_card = match reason {
                Some(reason) if reason.starts_with("rejected") => Review::GoesOn,
                _ => Review::Stands,
            };
            assert_eq!(by(Asked::WithCard), with_card, "{reason:?}");
        }
    }

    #[test]
    fn who_waits_for_the_client_waits_until_the_policy_ends_and_then_is_exhausted() {
        for (state, in_vain) in [
            (CycleState::MethodRequired, "method_deadline_passed"),
            (CycleState::ActionRequired, "action_deadline_passed"),
        ] {
            let at = |deadline, now| {
                let cycle = CycleView {
                    deadline,
                    ..cycle(state)
                };
                review(&cycle, None, &chargeable(), Asked::BySystem, now)
            };
            let end = now() + Duration::days(9);
            assert_eq!(at(None, now()), Review::WaitsUntil(end));
            assert_eq!(at(Some(end), now()), Review::Stands);
            assert_eq!(at(Some(end), end), Review::Ends(in_vain));
            assert_eq!(at(None, end), Review::Ends(in_vain));
            // nothing has failed: it counts from now
            let fresh = CycleView {
                first_failed_at: None,
                ..cycle(state)
            };
            assert_eq!(
                review(&fresh, None, &chargeable(), Asked::BySystem, now()),
                Review::WaitsUntil(now() + Duration::days(14))
            );
        }
    }

    #[test]
    fn what_does_not_stand_still_is_left_alone() {
        for state in CycleState::ALL {
            let stands_still = *state == CycleState::Paused || state.when_waited_in_vain().is_some();
            if !stands_still {
                let seen = review(&cycle(*state), None, &chargeable(), Asked::ByPerson, now());
                assert_eq!(seen, Review::Stands, "{state}");
            }
        }
    }
}
