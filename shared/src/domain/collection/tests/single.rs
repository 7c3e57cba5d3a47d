//! One observation at a time: what each means, and that the same again means nothing.
use chrono::Duration;

use super::{
    super::*,
    books::{Books, failed, money, paid, snapshot, start},
};
use crate::domain::decline::DeclineClass;

const SOFT: &str = "insufficient_funds";

/// Lets the open attempt fail softly with its own charge.
fn decline(books: &mut Books, charge: &str) -> Observed {
    books.see(&failed(Some(charge), SOFT), Source::Response)
}

#[test]
fn s2_a_payment_is_recorded_when_money_came_and_not_before() {
    for status in [
        IntentStatus::RequiresPaymentMethod,
        IntentStatus::RequiresConfirmation,
        IntentStatus::RequiresAction,
        IntentStatus::Processing,
        IntentStatus::RequiresCapture,
        IntentStatus::Canceled,
        IntentStatus::Other("novel".into()),
    ] {
        let mut books = Books::sent();
        books.see(&snapshot(status), Source::Response);
        assert_eq!(books.payments, []);
        assert_ne!(books.cycle.state, CycleState::Succeeded);
    }
    let mut books = Books::sent();
    let seen = books.see(&paid("ch_1"), Source::Response);
    assert_eq!(seen.note, None, "there is nothing to look at");
    assert_eq!(books.payments, [("ch_1".to_owned(), money())]);
    assert_eq!(books.cycle.state, CycleState::Succeeded);
    assert_eq!(books.attempts[0].charge.as_deref(), Some("ch_1"));
}

#[test]
fn an_intent_that_waits_for_the_same_as_its_attempt_tells_nothing_new_and_every_other_does() {
    let told = |state: AttemptState, status: &str| state.is_told_by(&IntentStatus::from(status));
    assert!(told(AttemptState::Processing, "processing"));
    assert!(told(AttemptState::ActionRequired, "requires_action"));
    for state in AttemptState::ALL.iter().copied().filter(|state| state.is_open()) {
        for status in [
            "requires_payment_method",
            "requires_confirmation",
            "succeeded",
            "canceled",
            "novel",
        ] {
            assert!(!told(state, status), "{state:?} {status}");
        }
    }
    // What was sent should have had its answer: whatever its intent says now is news.
    for state in [AttemptState::Created, AttemptState::Sent, AttemptState::Unknown] {
        assert!(
            !told(state, "processing") && !told(state, "requires_action"),
            "{state:?}"
        );
    }
    assert!(!told(AttemptState::Processing, "requires_action"));
    assert!(!told(AttemptState::ActionRequired, "processing"));
}

#[test]
fn b02_the_answer_and_the_webhook_of_one_payment_record_it_once_in_either_order() {
    for sources in [
        [Source::Response, Source::Event],
        [Source::Event, Source::Response],
    ] {
        let mut books = Books::sent();
        assert!(!books.see(&paid("ch_1"), sources[0]).is_nothing());
        assert!(books.see(&paid("ch_1"), sources[1]).is_nothing());
        assert_eq!(books.payments.len(), 1);
    }
}

#[test]
fn s8_the_answer_and_the_webhook_of_one_decline_count_it_once_in_either_order() {
    for charge in [Some("ch_1"), None] {
        for sources in [
            [Source::Response, Source::Event],
            [Source::Event, Source::Response],
        ] {
            let mut books = Books::sent();
            assert!(!books.see(&failed(charge, SOFT), sources[0]).is_nothing());
            assert!(books.see(&failed(charge, SOFT), sources[1]).is_nothing());
            assert_eq!(books.failures.len(), 1, "{charge:?}");
        }
    }
}

#[test]
fn b14_a_failure_told_five_times_moves_the_ladder_by_one_step() {
    let mut books = Books::sent();
    decline(&mut books, "ch_1");
    books.attempt();
    books.send();
    for _ in 0..5 {
        assert!(books.see(&failed(Some("ch_1"), SOFT), Source::Event).is_nothing());
    }
    assert_eq!(
        books.open().map(|a| (a.step, a.state)),
        Some((1, AttemptState::Sent))
    );
}

#[test]
fn s9_soft_declines_are_retried_on_day_3_7_and_14_and_then_no_more() {
    let mut books = Books::sent();
    for (charge, day) in [("ch_0", 3), ("ch_1", 7), ("ch_2", 14)] {
        let change = decline(&mut books, charge).cycle.unwrap();
        assert_eq!(change.state, CycleState::RetryWait);
        assert_eq!(change.next.unwrap().at, start() + Duration::days(day));
        books.attempt();
        books.send();
        // an answer that takes its time moves no later step
        books.wait(Duration::seconds(40));
    }
    decline(&mut books, "ch_3");
    assert_eq!((books.cycle.state, &books.next), (CycleState::Exhausted, &None));
    assert_eq!(
        books.failures.iter().map(|f| f.1).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_eq!(books.cycle.first_failed_at, Some(start()));
}

#[test]
fn a11_retries_count_from_when_the_charge_failed_and_not_from_when_we_heard_of_it() {
    let second = Duration::seconds(1);
    let five_hours = Duration::hours(5);
    for (charged_at, failed_at) in [
        (Some(start() + second), start() + second),
        // what Stripe's clock cannot mean: before we sent it, or in the future
        (Some(start() - second), start()),
        (Some(start() + five_hours + second), start() + five_hours),
        (None, start() + five_hours),
    ] {
        let mut books = Books::sent();
        books.wait(five_hours);
        let mut seen = failed(Some("ch_1"), SOFT);
        seen.failure.as_mut().unwrap().at = charged_at;
        let change = books.see(&seen, Source::Event).cycle.unwrap();
        assert_eq!(change.first_failed_at, Some(failed_at), "{charged_at:?}");
        assert_eq!(change.next.unwrap().at, failed_at + Duration::days(3));
    }
    // so late that the first retry's day has passed: the next one that lies ahead
    let mut books = Books::sent();
    books.wait(Duration::days(4));
    let mut seen = failed(Some("ch_1"), SOFT);
    seen.failure.as_mut().unwrap().at = Some(start());
    let next = books.see(&seen, Source::Event).cycle.unwrap().next.unwrap();
    assert_eq!((next.step, next.at), (2, start() + Duration::days(7)));
}

#[test]
fn the_class_of_a_decline_decides_what_the_cycle_waits_for() {
    for (code, class, state) in [
        (SOFT, DeclineClass::Soft, CycleState::RetryWait),
        ("lost_card", DeclineClass::Hard, CycleState::MethodRequired),
        (
            "authentication_required",
            DeclineClass::Customer,
            CycleState::ActionRequired,
        ),
        ("duplicate_transaction", DeclineClass::Check, CycleState::Paused),
        ("testmode_decline", DeclineClass::Bug, CycleState::Paused),
    ] {
        let mut books = Books::sent();
        books.see(&failed(Some("ch_1"), code), Source::Response);
        assert_eq!(books.failures, [(1, 0, Some(class))], "{code}");
        assert_eq!(books.cycle.state, state, "{code}");
        let ours = class == DeclineClass::Check || class == DeclineClass::Bug;
        assert_eq!(books.cycle.state == CycleState::Paused, ours);
        assert_eq!(
            books.cycle.first_failed_at.is_none(),
            ours,
            "{code}: what is not the card's fault begins no policy"
        );
    }
}

#[test]
fn who_must_act_has_until_the_last_day_of_the_policy_and_no_time_at_all_after_it() {
    for (code, state, in_vain) in [
        ("lost_card", CycleState::MethodRequired, "method_deadline_passed"),
        (
            "authentication_required",
            CycleState::ActionRequired,
            "action_deadline_passed",
        ),
    ] {
        let mut books = Books::sent();
        books.see(&failed(Some("ch_1"), code), Source::Response);
        let end = start() + Duration::days(14);
        assert_eq!((books.cycle.state, books.cycle.deadline), (state, Some(end)));

        // the first failure counts, whatever failed later; a last retry that is refused for good is the end
        let mut books = Books::sent();
        for charge in ["ch_0", "ch_1", "ch_2"] {
            decline(&mut books, charge);
            books.attempt();
            books.send();
        }
        let change = books
            .see(&failed(Some("ch_3"), code), Source::Response)
            .cycle
            .unwrap();
        assert_eq!(
            (change.state, change.reason.as_deref()),
            (CycleState::Exhausted, Some(in_vain))
        );
    }
    // one who is authenticating right now
    let mut books = Books::sent();
    books.see(&snapshot(IntentStatus::RequiresAction), Source::Event);
    assert_eq!(books.cycle.deadline, Some(start() + Duration::days(14)));
}

#[test]
fn an_attempt_outside_the_ladder_that_had_no_effect_is_made_again_outside_the_ladder() {
    let mut books = Books::sent();
    books.see(&failed(Some("ch_1"), "lost_card"), Source::Response);
    books.replace_card();
    books.attempt();
    books.send();
    books.wait(NO_EFFECT_AFTER);
    let lookup = books.lookup();
    books.see(&failed(Some("ch_1"), "lost_card"), lookup);
    assert_eq!(books.attempts[1].state, AttemptState::Technical);
    assert_eq!(
        books.next.as_ref().map(|n| (n.step, n.trigger)),
        Some((0, Trigger::MethodUpdated))
    );
    // the model refuses to make step 0 of the ladder a second time
    books.attempt();
}

#[test]
fn an_answer_without_a_charge_is_its_attempts_failure_whatever_charge_the_intent_still_shows() {
    let mut books = Books::sent();
    decline(&mut books, "ch_1");
    books.attempt();
    books.send();
    let mut seen = failed(None, SOFT);
    seen.latest_charge = Some("ch_1".into());
    books.see(&seen, Source::Response);
    assert_eq!(books.failures.len(), 2);
    assert_eq!(
        (books.attempts[1].state, &books.attempts[1].charge),
        (AttemptState::Declined, &None)
    );
    assert_eq!(books.next.as_ref().map(|n| n.step), Some(2));
}

#[test]
fn an_unknown_failure_without_a_charge_is_the_open_attempts_unless_an_earlier_one_failed_so() {
    let mut books = Books::sent();
    decline(&mut books, "ch_1");
    books.attempt();
    books.send();
    books.lose_answer();
    let lookup = books.lookup();
    books.see(&failed(None, SOFT), lookup);
    assert_eq!(
        books.failures.len(),
        2,
        "the first failure has a charge, so this is another"
    );
    books.attempt();
    books.send();
    books.lose_answer();
    let lookup = books.lookup();
    assert!(
        books.see(&failed(None, SOFT), lookup).is_nothing(),
        "may be the second failure seen again"
    );
}

#[test]
fn b15_only_a_lookup_asked_long_after_the_call_proves_that_it_had_no_effect() {
    let quiet = snapshot(IntentStatus::RequiresPaymentMethod);
    let mut books = Books::sent();
    books.lose_answer();
    let asked_early = books.lookup();
    books.wait(Duration::days(30));
    // an answer that was asked for early proves nothing, however late it is applied; neither do webhooks or time
    for source in [Source::Event, Source::Response, asked_early] {
        assert!(books.see(&quiet, source).is_nothing(), "{source:?}");
    }
    assert_eq!(books.cycle.state, CycleState::Unknown);
    let lookup = books.lookup();
    books.see(&quiet, lookup);
    assert_eq!(books.attempts[0].state, AttemptState::Technical);
    assert_eq!(
        books.next.as_ref().map(|n| (n.step, n.trigger)),
        Some((0, Trigger::Auto))
    );
    assert_eq!((books.failures.len(), books.cycle.first_failed_at), (0, None));
}

#[test]
fn a_lookup_right_after_the_call_waits() {
    let mut books = Books::sent();
    books.wait(NO_EFFECT_AFTER - Duration::seconds(1));
    let lookup = books.lookup();
    assert!(
        books
            .see(&snapshot(IntentStatus::RequiresPaymentMethod), lookup)
            .is_nothing()
    );
}

#[test]
fn b15_a_business_clock_that_is_moved_proves_nothing() {
    let mut books = Books::sent();
    books.lose_answer();
    books.advance(Duration::days(30));
    let lookup = books.lookup();
    let quiet = snapshot(IntentStatus::RequiresPaymentMethod);
    assert!(books.see(&quiet, lookup).is_nothing());
    assert_eq!(books.attempts[0].state, AttemptState::Unknown);
}

#[test]
fn nothing_is_concluded_about_an_attempt_that_was_not_sent() {
    let mut books = Books::scheduled();
    books.attempt();
    books.wait(Duration::days(2));
    let lookup = books.lookup();
    for seen in [
        snapshot(IntentStatus::RequiresPaymentMethod),
        snapshot(IntentStatus::Processing),
        failed(None, SOFT),
    ] {
        assert!(books.see(&seen, lookup).is_nothing(), "{seen:?}");
    }
    // somebody else's failure on the same intent is told, and not counted
    assert_eq!(
        books.see(&failed(Some("ch_portal"), SOFT), lookup).note,
        Some(Note::FailureWithoutAttempt)
    );
    // but money is money
    books.see(&paid("ch_portal_2"), lookup);
    assert_eq!(
        (books.attempts[0].state, books.cycle.state),
        (AttemptState::Succeeded, CycleState::Succeeded)
    );
}

#[test]
fn money_that_comes_after_the_cycle_was_given_up_is_recorded_and_told() {
    let mut books = Books::sent();
    books.cancel();
    let seen = books.see(&paid("ch_1"), Source::Event);
    assert_eq!(
        (seen.note, books.cycle.state),
        (Some(Note::MoneyAfterEnd), CycleState::Succeeded)
    );
    assert!(books.see(&paid("ch_1"), Source::Event).is_nothing(), "told once");
}

#[test]
fn b13_a_decline_after_the_cycle_was_given_up_ends_the_attempt_and_schedules_nothing() {
    let mut books = Books::sent();
    books.cancel();
    let seen = decline(&mut books, "ch_1");
    assert_eq!(
        (seen.cycle, books.attempts[0].state),
        (None, AttemptState::Declined)
    );
    assert_eq!((books.cycle.state, &books.next), (CycleState::Canceled, &None));
}

#[test]
fn a_canceled_intent_ends_the_cycle() {
    let mut books = Books::sent();
    books.see(&snapshot(IntentStatus::Canceled), Source::Event);
    assert_eq!(
        (books.attempts[0].state, books.cycle.state),
        (AttemptState::Canceled, CycleState::Canceled)
    );
    assert!(
        books
            .see(&snapshot(IntentStatus::Canceled), Source::Event)
            .is_nothing()
    );
}

#[test]
fn a_success_without_a_charge_or_without_money_is_for_a_person() {
    for seen in [
        IntentSeen {
            latest_charge: None,
            ..paid("ch_1")
        },
        IntentSeen {
            received: None,
            ..paid("ch_1")
        },
        IntentSeen {
            received: Some(crate::money::Money::zero(money().currency())),
            ..paid("ch_1")
        },
    ] {
        let mut books = Books::sent();
        let observed = books.see(&seen, Source::Response);
        assert_eq!(observed.note, Some(Note::UnexpectedStatus));
        assert!(observed.payment.is_none() && observed.attempt.is_none() && observed.cycle.is_none());
    }
}

#[test]
fn a_status_that_our_intents_never_have_is_for_a_person_and_changes_nothing() {
    for status in [
        IntentStatus::RequiresCapture,
        IntentStatus::Other("new".to_owned()),
    ] {
        let mut books = Books::sent();
        let observed = books.see(&snapshot(status), Source::Event);
        assert_eq!(observed.note, Some(Note::UnexpectedStatus));
        assert!(observed.payment.is_none() && observed.attempt.is_none() && observed.cycle.is_none());
    }
}

#[test]
fn an_attempt_that_waits_at_stripe_or_for_the_client_says_so_and_so_does_its_cycle() {
    for (status, attempt, cycle) in [
        (
            IntentStatus::Processing,
            AttemptState::Processing,
            CycleState::InFlight,
        ),
        (
            IntentStatus::RequiresAction,
            AttemptState::ActionRequired,
            CycleState::ActionRequired,
        ),
    ] {
        let mut books = Books::sent();
        books.see(&snapshot(status), Source::Response);
        assert_eq!((books.attempts[0].state, books.cycle.state), (attempt, cycle));
    }
}

#[test]
fn a11_a_decline_by_hand_ahead_of_the_first_day_leaves_it_to_come_and_any_other_counts() {
    let first_due = Books::sent().now + Duration::days(9);
    // who had it charged, whether it failed before, whether the first day is still to come
    let cases = [
        (Trigger::Manual, false, true),
        (Trigger::Manual, true, false),
        (Trigger::Auto, false, false),
        (Trigger::Retry, true, false),
    ];
    for (trigger, failed_before, still_to_come) in cases {
        let mut books = Books::sent();
        books.cycle.first_due = Some(first_due);
        books.cycle.first_failed_at = failed_before.then_some(books.now);
        books.attempts[0].trigger = trigger;
        decline(&mut books, "ch_1");
        let next = books.next.clone().map(|next| (next.at, next.step, next.trigger));
        let first = Some((first_due, 0, Trigger::Auto));
        assert_eq!(
            next == first,
            still_to_come,
            "{trigger:?}, failed before: {failed_before}"
        );
        assert_eq!(
            books.cycle.first_failed_at.is_none(),
            still_to_come,
            "{trigger:?}: what the steps count from"
        );
    }
}

#[test]
fn each_call_without_effect_waits_twice_as_long_as_the_last_of_its_step_and_others_do_not_count() {
    let books = Books::sent();
    let sent = &books.attempts[0];
    let past = |step, state| AttemptView {
        id: crate::ids::AttemptId::new(),
        step,
        state,
        ..sent.clone()
    };
    let waits = |others: &[AttemptView]| {
        let seen = technical(&books.cycle, others, sent, books.now);
        let next = seen.cycle.and_then(|change| change.next);
        next.map(|next| (next.at - books.now, next.step))
    };
    let minutes = |n| Some((Duration::minutes(n), sent.step));
    assert_eq!(waits(&[]), minutes(1));
    let (same, other) = (AttemptState::Technical, sent.step + 1);
    assert_eq!(waits(&[past(sent.step, same)]), minutes(2));
    assert_eq!(waits(&[past(sent.step, same), past(sent.step, same)]), minutes(4));
    assert_eq!(waits(&[past(other, same)]), minutes(1), "of another step");
    assert_eq!(
        waits(&[past(sent.step, AttemptState::Declined)]),
        minutes(1),
        "which had an effect"
    );
}

#[test]
fn what_has_no_effect_is_tried_again_after_1_2_4_minutes_and_hourly_at_last() {
    let minutes: Vec<_> = (0..9).map(|n| technical_backoff(n).num_minutes()).collect();
    assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(technical_backoff(u32::MAX).num_minutes(), 60);
}
