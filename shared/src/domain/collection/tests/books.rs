//! One cycle's rows as the database would keep them, with the database's guards as assertions.
use chrono::{DateTime, Duration, Utc};

use super::super::*;
use crate::{
    currency::Currency,
    domain::{decline::DeclineCodes, retry_policy::RetryPolicy},
    ids::AttemptId,
    money::Money,
};

pub const INTENT: &str = "pi_1";

pub fn start() -> DateTime<Utc> {
    "2026-03-01T03:00:00Z".parse().unwrap()
}

pub fn money() -> Money {
    Money::new(12_500, Currency::USD)
}

/// The rows of one cycle.
#[derive(Clone, Debug)]
pub struct Books {
    /// Business time.
    pub now: DateTime<Utc>,
    /// Real time: what [`Books::advance`] does not move.
    pub real_now: DateTime<Utc>,
    pub cycle: CycleView,
    pub next: Option<NextAttempt>,
    pub attempts: Vec<AttemptView>,
    pub payments: Vec<(String, Money)>,
    pub notes: Vec<Note>,
    /// Seq, step and class of each failure, in the order recorded.
    pub failures: Vec<(i32, u32, Option<crate::domain::decline::DeclineClass>)>,
}

impl Books {
    /// A cycle whose first attempt is due.
    pub fn scheduled() -> Self {
        Self {
            now: start(),
            real_now: start(),
            cycle: CycleView {
                state: CycleState::Scheduled,
                first_failed_at: None,
                policy: RetryPolicy::default(),
                deadline: None,
                first_due: None,
            },
            next: Some(NextAttempt {
                at: start(),
                step: 0,
                trigger: Trigger::Auto,
            }),
            attempts: Vec::new(),
            payments: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A cycle whose first attempt was sent just now.
    pub fn sent() -> Self {
        let mut books = Self::scheduled();
        books.attempt();
        books.send();
        books
    }

    /// Writes the next attempt down, at the time it is due: the business clock is moved there.
    pub fn attempt(&mut self) {
        let next = self.next.take().expect("an attempt is due");
        assert!(matches!(
            self.cycle.state,
            CycleState::Scheduled | CycleState::RetryWait
        ));
        assert!(self.open().is_none(), "one open attempt per cycle");
        self.now = self.now.max(next.at);
        let counts = |a: &AttemptView| {
            a.trigger.counts_toward_ladder()
                && !matches!(a.state, AttemptState::Technical | AttemptState::Canceled)
        };
        if next.trigger.counts_toward_ladder() {
            let taken = self.attempts.iter().any(|a| counts(a) && a.step == next.step);
            assert!(
                !taken,
                "step {} of the ladder is made once: {:?}",
                next.step, self.attempts
            );
        }
        self.attempts.push(AttemptView {
            id: AttemptId::new(),
            seq: i32::try_from(self.attempts.len()).unwrap() + 1,
            step: next.step,
            trigger: next.trigger,
            state: AttemptState::Created,
            charge: None,
            sent_at: None,
            real_sent_at: None,
        });
        self.cycle.state = CycleState::InFlight;
    }

    pub fn send(&mut self) {
        let (now, real_now) = (self.now, self.real_now);
        let open = self.attempts.last_mut().expect("an attempt is written down");
        assert_eq!(open.state, AttemptState::Created);
        open.state = AttemptState::Sent;
        (open.sent_at, open.real_sent_at) = (Some(now), Some(real_now));
    }

    /// Our call came back without a definite answer.
    pub fn lose_answer(&mut self) {
        let Some(open) = self.attempts.iter_mut().find(|a| a.state == AttemptState::Sent) else {
            return;
        };
        open.state = AttemptState::Unknown;
        if !self.cycle.state.is_final() {
            self.cycle.state = CycleState::Unknown;
        }
    }

    /// The client's automatic payment is switched off.
    pub fn cancel(&mut self) {
        if self.cycle.state.is_final() {
            return;
        }
        if let Some(open) = self
            .attempts
            .iter_mut()
            .find(|a| a.state == AttemptState::Created)
        {
            open.state = AttemptState::Canceled;
        }
        (self.cycle.state, self.next) = (CycleState::Canceled, None);
    }

    /// The client's card was replaced.
    pub fn replace_card(&mut self) {
        if self.cycle.state == CycleState::MethodRequired {
            let step = self.attempts.iter().map(|a| a.step).max().unwrap_or(0);
            self.cycle.state = CycleState::RetryWait;
            self.next = Some(NextAttempt {
                at: self.now,
                step,
                trigger: Trigger::MethodUpdated,
            });
        }
    }

    pub fn open(&self) -> Option<&AttemptView> {
        self.attempts.iter().find(|a| a.state.is_open())
    }

    pub fn see(&mut self, seen: &IntentSeen, source: Source) -> Observed {
        let recorded: Vec<String> = self.payments.iter().map(|(charge, _)| charge.clone()).collect();
        let observed = observe(&self.cycle, &self.attempts, &recorded, seen, source, self.now);
        self.write(&observed);
        observed
    }

    /// Writes an observation, and refuses what the database's guards refuse.
    pub fn write(&mut self, observed: &Observed) {
        if let Some((charge, amount)) = &observed.payment {
            assert!(
                self.payments.iter().all(|(known, _)| known != charge),
                "a charge is paid once"
            );
            self.payments.push((charge.clone(), *amount));
        }
        if let Some(change) = &observed.attempt {
            let taken =
                |a: &AttemptView| change.charge.is_some() && a.charge == change.charge && a.id != change.id;
            assert!(
                !self.attempts.iter().any(taken),
                "a charge belongs to one attempt"
            );
            let attempt = self
                .attempts
                .iter_mut()
                .find(|a| a.id == change.id)
                .expect("a known attempt");
            assert!(
                attempt.state.is_open(),
                "an attempt that ended as {} stays so",
                attempt.state
            );
            attempt.state = change.state;
            attempt.charge = change.charge.clone().or(attempt.charge.take());
            if change.state == AttemptState::Declined {
                assert!(change.class.is_some());
                self.failures.push((attempt.seq, attempt.step, change.class));
            }
        }
        if let Some(change) = &observed.cycle {
            let from = self.cycle.state;
            assert_ne!(from, CycleState::Succeeded, "a succeeded cycle stays so");
            assert!(
                !from.is_final() || change.state == CycleState::Succeeded,
                "{from} does not become {}",
                change.state
            );
            let waits = matches!(change.state, CycleState::Scheduled | CycleState::RetryWait);
            assert_eq!(waits, change.next.is_some(), "what waits knows until when");
            self.cycle.state = change.state;
            self.cycle.first_failed_at = self.cycle.first_failed_at.or(change.first_failed_at);
            self.next = change.next.clone();
            assert_eq!(
                change.deadline.is_some(),
                change.state.when_waited_in_vain().is_some(),
                "what waits for the client knows until when"
            );
            self.cycle.deadline = change.deadline;
        }
        self.notes.extend(observed.note);
    }

    pub fn lookup(&self) -> Source {
        Source::Lookup {
            asked_at: self.real_now,
        }
    }

    /// Time passes.
    pub fn wait(&mut self, time: Duration) {
        self.real_now += time;
        self.advance(time);
    }

    /// `quittance clock advance`.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
    }
}

pub fn snapshot(status: IntentStatus) -> IntentSeen {
    IntentSeen {
        id: INTENT.into(),
        status,
        received: None,
        latest_charge: None,
        failure: None,
        fee: None,
    }
}

/// The intent after its money came.
pub fn paid(charge: &str) -> IntentSeen {
    IntentSeen {
        received: Some(money()),
        latest_charge: Some(charge.into()),
        ..snapshot(IntentStatus::Succeeded)
    }
}

/// The intent after a decline; `charge` is `None` where the failure made none.
pub fn failed(charge: Option<&str>, code: &str) -> IntentSeen {
    IntentSeen {
        latest_charge: charge.map(str::to_owned),
        failure: Some(IntentFailure {
            codes: DeclineCodes {
                code: Some("card_declined".into()),
                decline_code: Some(code.into()),
                ..DeclineCodes::default()
            },
            charge: charge.map(str::to_owned),
            at: None,
        }),
        ..snapshot(IntentStatus::RequiresPaymentMethod)
    }
}
