//! All orders of what can be seen of one lifecycle end the same (B-03).
use super::{
    super::*,
    books::{Books, failed, paid, snapshot},
};

/// Every order of `items`.
fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    (0..items.len())
        .flat_map(|first| {
            let mut rest = items.to_vec();
            let head = rest.remove(first);
            permutations(&rest).into_iter().map(move |mut tail| {
                tail.insert(0, head.clone());
                tail
            })
        })
        .collect()
}

/// A cycle with one failed attempt, and a second one that was sent.
fn second_attempt() -> Books {
    let mut books = Books::sent();
    books.see(&failed(Some("ch_1"), "insufficient_funds"), Source::Response);
    books.attempt();
    books.send();
    books
}

fn run(mut books: Books, order: &[IntentSeen], source: Source) -> Books {
    for seen in order {
        books.see(seen, source);
    }
    books
}

/// B-03.
#[test]
fn every_order_of_a_lifecycle_that_ends_in_money_ends_in_one_payment() {
    let life = [
        snapshot(IntentStatus::RequiresConfirmation),
        failed(Some("ch_1"), "insufficient_funds"),
        snapshot(IntentStatus::RequiresAction),
        snapshot(IntentStatus::Processing),
        paid("ch_2"),
        paid("ch_2"),
    ];
    for begin in [Books::sent(), second_attempt()] {
        for order in permutations(&life) {
            let books = run(begin.clone(), &order, Source::Event);
            let charges: Vec<_> = books.payments.iter().map(|(charge, _)| charge.as_str()).collect();
            assert_eq!(
                (books.cycle.state, charges),
                (CycleState::Succeeded, vec!["ch_2"]),
                "{order:?}"
            );
            assert!(books.open().is_none() && books.next.is_none(), "{order:?}");
            assert_eq!(
                books.failures.len(),
                books
                    .attempts
                    .iter()
                    .filter(|a| a.state == AttemptState::Declined)
                    .count()
            );
        }
    }
}

#[test]
fn every_order_of_a_lifecycle_that_ends_in_a_decline_counts_it_once_and_waits_for_the_same_step() {
    let life = [
        snapshot(IntentStatus::RequiresConfirmation),
        snapshot(IntentStatus::RequiresAction),
        snapshot(IntentStatus::Processing),
        failed(Some("ch_1"), "insufficient_funds"),
        failed(Some("ch_2"), "insufficient_funds"),
        failed(Some("ch_2"), "insufficient_funds"),
    ];
    let expected = run(second_attempt(), &life, Source::Event);
    assert_eq!(expected.cycle.state, CycleState::RetryWait);
    for order in permutations(&life) {
        let books = run(second_attempt(), &order, Source::Event);
        assert_eq!(
            (books.cycle.state, &books.next),
            (expected.cycle.state, &expected.next),
            "{order:?}"
        );
        assert_eq!(books.failures, expected.failures, "{order:?}");
        assert_eq!(books.attempts[1].charge.as_deref(), Some("ch_2"), "{order:?}");
        assert_eq!(books.payments, []);
    }
}

#[test]
fn every_order_of_a_lifecycle_that_is_canceled_ends_canceled_and_collects_no_more() {
    let life = [
        snapshot(IntentStatus::RequiresConfirmation),
        snapshot(IntentStatus::Processing),
        failed(Some("ch_2"), "insufficient_funds"),
        snapshot(IntentStatus::Canceled),
        snapshot(IntentStatus::Canceled),
    ];
    for order in permutations(&life) {
        let books = run(second_attempt(), &order, Source::Event);
        assert_eq!(
            (books.cycle.state, &books.next),
            (CycleState::Canceled, &None),
            "{order:?}"
        );
        assert!(books.open().is_none() && books.payments.is_empty(), "{order:?}");
    }
}

#[test]
fn money_seen_in_any_order_with_a_cancellation_of_ours_is_never_lost() {
    for order in permutations(&[
        paid("ch_2"),
        snapshot(IntentStatus::Processing),
        failed(Some("ch_1"), "lost_card"),
    ]) {
        let mut books = second_attempt();
        books.cancel();
        let books = run(books, &order, Source::Event);
        assert_eq!(
            (books.cycle.state, books.payments.len()),
            (CycleState::Succeeded, 1),
            "{order:?}"
        );
    }
}
