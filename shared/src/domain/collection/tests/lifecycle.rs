//! Random lives of one PaymentIntent, seen in any order, more than once, late, or not at all (B-01, B-02, B-03, B-14, B-15).
use chrono::Duration;
use proptest::prelude::*;

use super::{
    super::*,
    books::{Books, failed, money, paid, snapshot},
};

/// What a confirmation comes to at Stripe.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Captured.
    Success,
    /// Declined, with or without a charge, for this code.
    Decline { charge: bool, code: &'static str },
    /// Worked on, or waiting for the client; [`Op::Proceed`] ends it.
    Open { status: Open, succeeds: bool },
    /// The request never arrived.
    Nothing,
    /// It arrives after we have stopped waiting for it, at the next [`Op::Proceed`], and captures or declines.
    Late { succeeds: bool },
}

#[derive(Clone, Copy, Debug)]
enum Open {
    Processing,
    Action,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Op {
    /// The next attempt is made, if one is due; its answer arrives or is lost.
    Collect {
        fate: Fate,
        answered: bool,
    },
    /// A webhook about any earlier state of the intent, or the current one.
    Event(prop::sample::Index),
    /// The intent is looked up.
    Lookup,
    /// Stripe goes on with what is under way.
    Proceed,
    /// Seconds pass.
    Wait(i64),
    /// The business clock is moved forward by so many seconds.
    Advance(i64),
    ReplaceCard,
    SwitchOff,
    CancelIntent,
}

/// The intent at Stripe.
#[derive(Debug)]
struct Stripe {
    now: IntentSeen,
    /// Everything it ever looked like.
    history: Vec<IntentSeen>,
    /// How an open confirmation will end.
    open: Option<bool>,
    late: Vec<bool>,
    charges: u32,
    failures: usize,
}

impl Stripe {
    fn new() -> Self {
        let now = snapshot(IntentStatus::RequiresPaymentMethod);
        Self {
            history: vec![now.clone()],
            now,
            open: None,
            late: Vec::new(),
            charges: 0,
            failures: 0,
        }
    }

    fn is_confirmable(&self) -> bool {
        self.now.status == IntentStatus::RequiresPaymentMethod
    }

    fn succeeded_with(&self) -> Option<&String> {
        self.now
            .latest_charge
            .as_ref()
            .filter(|_| self.now.status == IntentStatus::Succeeded)
    }

    fn change(&mut self, seen: IntentSeen) {
        // What a fetched intent shows of an error without a charge is filled up from its latest charge.
        let mut fetched = seen.clone();
        if let Some(failure) = &mut fetched.failure {
            failure.charge = failure.charge.take().or(fetched.latest_charge.clone());
        }
        self.history.push(fetched);
        self.now = seen;
    }

    fn fetched(&self) -> IntentSeen {
        self.history
            .last()
            .cloned()
            .expect("an intent looks like something")
    }

    fn capture(&mut self) {
        self.charges += 1;
        let failure = self.now.failure.clone();
        self.change(IntentSeen {
            failure,
            ..paid(&format!("ch_{}", self.charges))
        });
    }

    fn decline(&mut self, charge: bool, code: &str) {
        self.charges += u32::from(charge);
        self.failures += 1;
        let name = charge.then(|| format!("ch_{}", self.charges));
        let mut seen = failed(name.as_deref(), code);
        seen.latest_charge = seen.latest_charge.or(self.now.latest_charge.clone());
        self.change(seen);
    }

    fn confirm(&mut self, fate: Fate) {
        match fate {
            Fate::Success => self.capture(),
            Fate::Decline { charge, code } => self.decline(charge, code),
            Fate::Open { status, succeeds } => {
                let status = match status {
                    Open::Processing => IntentStatus::Processing,
                    Open::Action => IntentStatus::RequiresAction,
                };
                self.open = Some(succeeds);
                self.change(IntentSeen {
                    status,
                    ..self.now.clone()
                });
            }
            Fate::Nothing => {}
            Fate::Late { succeeds } => self.late.push(succeeds),
        }
    }

    fn proceed(&mut self) {
        let ends = match self.open.take() {
            Some(succeeds) => Some(succeeds),
            None if self.is_confirmable() => self.late.pop(),
            None => None,
        };
        match ends {
            Some(true) => self.capture(),
            Some(false) => self.decline(true, "insufficient_funds"),
            None => {}
        }
    }

    fn cancel(&mut self) {
        if !matches!(
            self.now.status,
            IntentStatus::Succeeded | IntentStatus::Processing
        ) {
            self.open = None;
            self.change(IntentSeen {
                status: IntentStatus::Canceled,
                ..self.now.clone()
            });
        }
    }
}

struct Life {
    books: Books,
    stripe: Stripe,
}

impl Life {
    fn new() -> Self {
        Self {
            books: Books::scheduled(),
            stripe: Stripe::new(),
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Collect { fate, answered } => self.collect(*fate, *answered),
            Op::Event(which) => {
                let seen = which.get(&self.stripe.history).clone();
                self.see(&seen, Source::Event);
            }
            Op::Lookup => self.look_up(),
            Op::Proceed => self.stripe.proceed(),
            Op::Wait(seconds) => self.books.wait(Duration::seconds(*seconds)),
            Op::Advance(seconds) => self.books.advance(Duration::seconds(*seconds)),
            Op::ReplaceCard => self.books.replace_card(),
            Op::SwitchOff => self.books.cancel(),
            Op::CancelIntent => self.stripe.cancel(),
        }
        self.check();
    }

    fn collect(&mut self, fate: Fate, answered: bool) {
        if self.books.next.is_none() {
            return;
        }
        self.books.attempt();
        self.books.send();
        if !self.stripe.is_confirmable() {
            // Stripe refuses to confirm it, and the refusal shows the intent.
            self.look_up();
            return;
        }
        self.stripe.confirm(fate);
        let has_answer = !matches!(fate, Fate::Nothing | Fate::Late { .. });
        if answered && has_answer {
            let seen = self.stripe.now.clone();
            self.see(&seen, Source::Response);
        } else {
            self.books.lose_answer();
        }
    }

    fn look_up(&mut self) {
        let (seen, lookup) = (self.stripe.fetched(), self.books.lookup());
        self.see(&seen, lookup);
    }

    /// Shows the intent to the reducer, and checks what it makes of it.
    fn see(&mut self, seen: &IntentSeen, source: Source) {
        let before = self.books.clone();
        let observed = self.books.see(seen, source);
        let Some(change) = &observed.attempt else { return };
        let attempt = before
            .attempts
            .iter()
            .find(|a| a.id == change.id)
            .expect("known")
            .clone();
        match change.state {
            AttemptState::Technical => {
                let Source::Lookup { asked_at } = source else {
                    panic!("{source:?} proves no lack of effect")
                };
                assert!(asked_at - attempt.real_sent_at.expect("sent") >= NO_EFFECT_AFTER);
                if let Some(next) = &self.books.next {
                    assert_eq!((next.step, next.trigger), (attempt.step, attempt.trigger));
                }
            }
            AttemptState::Declined => {
                assert!(seen.failure.is_some(), "no failure without one at Stripe");
                let first = self.books.cycle.first_failed_at;
                if let (CycleState::RetryWait, Some(next)) = (self.books.cycle.state, &self.books.next) {
                    let day = [3, 7, 14][usize::try_from(next.step).unwrap() - 1];
                    assert_eq!(Some(next.at - Duration::days(day)), first);
                    assert!(next.step > attempt.step && next.at > self.books.now);
                }
            }
            _ => {}
        }
        assert!(
            self.books.see(seen, source).attempt.is_none(),
            "the same again changes no attempt"
        );
    }

    /// Holds at every moment.
    fn check(&self) {
        let books = &self.books;
        assert!(books.payments.len() <= 1);
        if let Some((charge, amount)) = books.payments.first() {
            assert_eq!(
                (Some(charge), *amount),
                (self.stripe.succeeded_with(), money()),
                "only money that came"
            );
            assert_eq!(books.cycle.state, CycleState::Succeeded, "money beats everything");
        }
        assert!(
            books.failures.len() <= self.stripe.failures,
            "a failure is counted once"
        );
        assert!(books.attempts.iter().all(|a| a.step <= 3));
        assert!(books.attempts.iter().filter(|a| a.state.is_open()).count() <= 1);
        if books.cycle.state.is_final() {
            assert!(books.next.is_none(), "nothing is due any more");
        }
    }

    /// Lets Stripe come to an end and looks once more.
    fn settle(&mut self) {
        while self.stripe.open.is_some() {
            self.stripe.proceed();
        }
        self.books.wait(NO_EFFECT_AFTER);
        if self.books.open().is_some() {
            self.look_up();
        }
        let seen = self.stripe.fetched();
        self.see(&seen, Source::Event);
        self.check();
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    let code = prop::sample::select(vec![
        "insufficient_funds",
        "insufficient_funds",
        "lost_card",
        "authentication_required",
    ]);
    prop_oneof![
        1 => Just(Fate::Success),
        6 => (any::<bool>(), code).prop_map(|(charge, code)| Fate::Decline { charge, code }),
        2 => (prop::bool::ANY, any::<bool>()).prop_map(|(action, succeeds)| Fate::Open {
            status: if action { Open::Action } else { Open::Processing },
            succeeds,
        }),
        2 => Just(Fate::Nothing),
        1 => any::<bool>().prop_map(|succeeds| Fate::Late { succeeds }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (fate(), any::<bool>()).prop_map(|(fate, answered)| Op::Collect { fate, answered }),
        8 => any::<prop::sample::Index>().prop_map(Op::Event),
        4 => Just(Op::Lookup),
        4 => Just(Op::Proceed),
        4 => (1_i64..400).prop_map(Op::Wait),
        2 => (1_i64..100_000).prop_map(Op::Advance),
        2 => Just(Op::ReplaceCard),
        1 => Just(Op::SwitchOff),
        1 => Just(Op::CancelIntent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// B-01.
    #[test]
    fn any_life_seen_in_any_way_keeps_the_books_right(ops in prop::collection::vec(op(), 1..40)) {
        let mut life = Life::new();
        for op in &ops {
            life.step(op);
        }
        life.settle();
        prop_assert!(life.books.open().is_none_or(|a| a.state == AttemptState::Created), "every attempt comes to an end");
        let paid: Vec<_> = life.books.payments.iter().map(|(charge, _)| charge).collect();
        prop_assert_eq!(paid, life.stripe.succeeded_with().into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn soft_declines_alone_make_four_attempts_whatever_is_lost_or_repeated(
        answered in prop::collection::vec(any::<bool>(), 4),
        events in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut life = Life::new();
        for answered in answered {
            let fate = Fate::Decline { charge: true, code: "insufficient_funds" };
            life.step(&Op::Collect { fate, answered });
            for event in &events {
                life.step(&Op::Event(*event));
            }
            life.step(&Op::Lookup);
        }
        prop_assert_eq!(life.books.cycle.state, CycleState::Exhausted);
        prop_assert_eq!(life.books.failures.iter().map(|f| f.1).collect::<Vec<_>>(), [0, 1, 2, 3]);
        life.step(&Op::Collect { fate: Fate::Success, answered: true });
        prop_assert_eq!(life.books.attempts.len(), 4);
    }
}
