//! What a PaymentIntent that we saw means for its cycle. Pure: the caller loads, locks and writes.
use chrono::{DateTime, Duration, Utc};

use super::{AttemptState, CycleState, Trigger};
use crate::{
    domain::{
        decline::{self, DeclineClass, DeclineCodes},
        retry_policy::{self, NextStep, RetryPolicy},
    },
    ids::AttemptId,
    money::Money,
};

/// Status of a PaymentIntent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentStatus {
    /// Wants a (new) payment method: new, or the last confirmation failed.
    RequiresPaymentMethod,
    /// Not confirmed yet.
    RequiresConfirmation,
    /// The client must authenticate.
    RequiresAction,
    /// Being processed.
    Processing,
    /// Authorised and not captured; we never ask for that.
    RequiresCapture,
    /// Captured.
    Succeeded,
    /// Canceled.
    Canceled,
    /// A word we do not know.
    Other(String),
}

impl From<&str> for IntentStatus {
    fn from(word: &str) -> Self {
        match word {
            "requires_payment_method" => Self::RequiresPaymentMethod,
            "requires_confirmation" => Self::RequiresConfirmation,
            "requires_action" => Self::RequiresAction,
            "processing" => Self::Processing,
            "requires_capture" => Self::RequiresCapture,
            "succeeded" => Self::Succeeded,
            "canceled" => Self::Canceled,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Why the last confirmation failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntentFailure {
    /// Stripe's codes.
    pub codes: DeclineCodes,
    /// The failed charge, where one was made.
    pub charge: Option<String>,
    /// When that charge was made, by Stripe's clock, where it was seen.
    pub at: Option<DateTime<Utc>>,
}

/// A PaymentIntent as seen in an answer, an event's object or a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentSeen {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: IntentStatus,
    /// What was received so far.
    pub received: Option<Money>,
    /// The latest charge.
    pub latest_charge: Option<String>,
    /// The last failure; present in any later status too.
    pub failure: Option<IntentFailure>,
    /// What Stripe kept of the latest charge, once that is on the balance.
    pub fee: Option<ProcessorFee>,
}

/// What Stripe keeps of a charge. Its currency is the settlement's, which may differ from the charge's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorFee {
    /// The charge's balance transaction.
    pub balance_transaction: String,
    /// In minor units of `currency`.
    pub amount_minor: i64,
    /// Lower-case code.
    pub currency: String,
    /// When Stripe booked it.
    pub at: DateTime<Utc>,
}

/// How we came to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The answer to our own confirmation of the open attempt.
    Response,
    /// Stripe told us, or we looked it up without having sent anything.
    Event,
    /// A lookup because the outcome of a call is unknown.
    Lookup {
        /// Real time before Stripe was asked: what the lookup does not show had not happened by then.
        asked_at: DateTime<Utc>,
    },
}

/// The cycle as stored.
#[derive(Clone, Debug)]
pub struct CycleView {
    /// Where it stands.
    pub state: CycleState,
    /// When the first attempt failed.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// The retry policy in force for it.
    pub policy: RetryPolicy,
    /// Until when it waits for the client, while it does.
    pub deadline: Option<DateTime<Utc>>,
    /// When the first attempt falls due by the invoice's terms; none where that is at once.
    pub first_due: Option<DateTime<Utc>>,
}

impl CycleView {
    /// The first step on its day, where that lies ahead: until then nothing has used it up.
    #[must_use]
    pub fn first_step_ahead(&self, now: DateTime<Utc>) -> Option<NextAttempt> {
        self.first_due.filter(|due| *due > now).map(|at| NextAttempt {
            at,
            step: 0,
            trigger: Trigger::Auto,
        })
    }

    /// The state of a cycle whose next attempt is due at some time: a first one, or one after a failure.
    #[must_use]
    pub fn waiting(&self) -> CycleState {
        match self.first_failed_at {
            None => CycleState::Scheduled,
            Some(_) => CycleState::RetryWait,
        }
    }

    /// Until when it waits for the client, should it begin to do so now: to the end of its retry policy, which counts from
    /// the first failure, or from now where nothing has failed.
    #[must_use]
    pub fn waits_until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.policy.ends_at(self.first_failed_at.unwrap_or(now))
    }

    /// The change to a state in which no attempt is due.
    #[must_use]
    pub fn change_to(&self, state: CycleState, reason: Option<&str>) -> CycleChange {
        CycleChange {
            state,
            reason: reason.map(str::to_owned),
            first_failed_at: self.first_failed_at,
            next: None,
            deadline: None,
        }
    }

    /// The change to waiting for the next attempt.
    #[must_use]
    pub fn wait_for_next(&self, next: NextAttempt, reason: Option<&str>) -> CycleChange {
        CycleChange {
            next: Some(next),
            ..self.change_to(self.waiting(), reason)
        }
    }

    /// The change to waiting for the client, `action_required` or `method_required`; where the time for that is up already,
    /// to its end.
    #[must_use]
    pub fn wait_for_client(
        &self,
        state: CycleState,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> CycleChange {
        let until = self.waits_until(now);
        if until <= now {
            return self.change_to(CycleState::Exhausted, state.when_waited_in_vain());
        }
        CycleChange {
            deadline: Some(until),
            ..self.change_to(state, reason)
        }
    }
}

/// Why a cycle is paused after a decline for a possible double: a person must look for the other payment.
pub(super) const CHECK_FOR_EXISTING_PAYMENT: &str = "check_for_existing_payment";
/// Why a cycle is paused after a request of ours was rejected; Stripe's code may follow behind a colon.
pub const REJECTED_REQUEST: &str = "rejected_request";

/// An attempt as stored.
#[derive(Clone, Debug)]
pub struct AttemptView {
    /// Its id.
    pub id: AttemptId,
    /// 1, 2, 3 …
    pub seq: i32,
    /// Its step.
    pub step: u32,
    /// Why it was made; made again after no effect, it is still made for this.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: AttemptState,
    /// Its charge, where known.
    pub charge: Option<String>,
    /// When it was sent, in business time.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it was sent, in real time.
    pub real_sent_at: Option<DateTime<Utc>>,
}

/// How the open attempt changes.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptChange {
    /// Which.
    pub id: AttemptId,
    /// New state.
    pub state: AttemptState,
    /// Its charge.
    pub charge: Option<String>,
    /// Failure class, for `declined` and `technical`.
    pub class: Option<DeclineClass>,
    /// Stripe's codes, for `declined`.
    pub codes: Option<DeclineCodes>,
    /// The rule that classified it.
    pub rule: Option<&'static str>,
}

/// How the cycle changes.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleChange {
    /// New state.
    pub state: CycleState,
    /// Why, where the state alone does not say.
    pub reason: Option<String>,
    /// Set by the first failure, then kept.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// The next attempt: when, which step, why.
    pub next: Option<NextAttempt>,
    /// Until when it waits for the client; only in a state that does.
    pub deadline: Option<DateTime<Utc>>,
}

/// The attempt that is due next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextAttempt {
    /// When, business time.
    pub at: DateTime<Utc>,
    /// Which step.
    pub step: u32,
    /// Why.
    pub trigger: Trigger,
}

/// Something to be told, beside the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Money came for a cycle that was given up.
    MoneyAfterEnd,
    /// A failed charge that belongs to none of our attempts (portal, dashboard).
    FailureWithoutAttempt,
    /// The intent is in a status that we never ask for.
    UnexpectedStatus,
}

/// What an observation means. Empty when it is already applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Money to record, keyed by its charge.
    pub payment: Option<(String, Money)>,
    /// Change of the open attempt.
    pub attempt: Option<AttemptChange>,
    /// Change of the cycle.
    pub cycle: Option<CycleChange>,
    /// Things to be told.
    pub note: Option<Note>,
}

impl Observed {
    /// Nothing to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A confirmation whose lookup shows no effect this long after it was sent had none. Longer than any call of ours may
/// take, and than the time Stripe may still be working on it. Source: `STRIPE_TIMEOUT_SECS` is at most 60.
///
/// Real time: a business clock that is moved forward makes no call arrive sooner.
pub const NO_EFFECT_AFTER: Duration = Duration::seconds(90);

/// When an attempt that had no effect is made again: 1, 2, 4 … at most 60 minutes later.
#[must_use]
pub fn technical_backoff(technical_so_far: u32) -> Duration {
    Duration::minutes(i64::from(1_u32 << technical_so_far.min(6)).min(60))
}

/// Applies what we saw of a PaymentIntent to its cycle. Monotone: money beats everything, a failure is counted once
/// (by its charge), and nothing seen late undoes anything.
#[must_use]
pub fn observe(
    cycle: &CycleView,
    attempts: &[AttemptView],
    payments: &[String],
    seen: &IntentSeen,
    source: Source,
    now: DateTime<Utc>,
) -> Observed {
    let open = attempts.iter().find(|a| a.state.is_open());
    match &seen.status {
        IntentStatus::Succeeded => succeeded(cycle, attempts, open, payments, seen),
        IntentStatus::Processing => waiting(cycle, open, AttemptState::Processing, CycleState::InFlight, now),
        IntentStatus::RequiresAction => waiting(
            cycle,
            open,
            AttemptState::ActionRequired,
            CycleState::ActionRequired,
            now,
        ),
        IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation => {
            failed_or_no_effect(cycle, attempts, open, seen, source, now)
        }
        IntentStatus::Canceled => canceled(cycle, open),
        IntentStatus::RequiresCapture | IntentStatus::Other(_) => Observed {
            note: Some(Note::UnexpectedStatus),
            ..Observed::default()
        },
    }
}

/// The charge, unless it is on record with another attempt: a charge has one row, and money is never lost over it.
fn unrecorded<'a>(attempts: &[AttemptView], charge: Option<&'a String>) -> Option<&'a String> {
    charge.filter(|charge| !attempts.iter().any(|a| a.charge.as_ref() == Some(charge)))
}

fn succeeded(
    cycle: &CycleView,
    attempts: &[AttemptView],
    open: Option<&AttemptView>,
    payments: &[String],
    seen: &IntentSeen,
) -> Observed {
    let received = seen.received.filter(|money| money.is_positive());
    let (Some(charge), Some(received)) = (&seen.latest_charge, received) else {
        return Observed {
            note: Some(Note::UnexpectedStatus),
            ..Observed::default()
        };
    };
    let is_new = !payments.contains(charge);
    Observed {
        payment: is_new.then(|| (charge.clone(), received)),
        attempt: open.map(|attempt| AttemptChange {
            id: attempt.id,
            state: AttemptState::Succeeded,
            charge: unrecorded(attempts, Some(charge)).cloned(),
            class: None,
            codes: None,
            rule: None,
        }),
        cycle: (cycle.state != CycleState::Succeeded).then(|| cycle.change_to(CycleState::Succeeded, None)),
        note: (is_new && matches!(cycle.state, CycleState::Canceled)).then_some(Note::MoneyAfterEnd),
    }
}

/// Stripe works on it, or the client must act. Without an open attempt it is not ours (portal): the next webhook tells.
fn waiting(
    cycle: &CycleView,
    open: Option<&AttemptView>,
    attempt_state: AttemptState,
    cycle_state: CycleState,
    now: DateTime<Utc>,
) -> Observed {
    let Some(attempt) = open.filter(|a| a.state != attempt_state && a.state != AttemptState::Created) else {
        return Observed::default();
    };
    Observed {
        attempt: Some(AttemptChange {
            id: attempt.id,
            state: attempt_state,
            charge: None,
            class: None,
            codes: None,
            rule: None,
        }),
        cycle: (!cycle.state.is_final() && cycle.state != cycle_state).then(|| CycleChange {
            deadline: cycle_state.when_waited_in_vain().map(|_| cycle.waits_until(now)),
            ..cycle.change_to(cycle_state, None)
        }),
        ..Observed::default()
    }
}

fn canceled(cycle: &CycleView, open: Option<&AttemptView>) -> Observed {
    Observed {
        attempt: open.map(|attempt| AttemptChange {
            id: attempt.id,
            state: AttemptState::Canceled,
            charge: None,
            class: None,
            codes: None,
            rule: None,
        }),
        cycle: (!cycle.state.is_final())
            .then(|| cycle.change_to(CycleState::Canceled, Some("intent_canceled"))),
        ..Observed::default()
    }
}

fn failed_or_no_effect(
    cycle: &CycleView,
    attempts: &[AttemptView],
    open: Option<&AttemptView>,
    seen: &IntentSeen,
    source: Source,
    now: DateTime<Utc>,
) -> Observed {
    let charge = seen
        .failure
        .as_ref()
        .and_then(|f| f.charge.as_ref())
        .or(seen.latest_charge.as_ref());
    let new_charge = unrecorded(attempts, charge);
    let sent = open.filter(|a| a.state != AttemptState::Created);

    // Is the failure that the intent shows the failure of the open attempt? Its own answer says so, and may name no charge
    // while the intent still shows an earlier one. Otherwise a charge that no attempt has yet must be its; a failure
    // without any is its too, unless an earlier attempt failed without one.
    let belongs = match source {
        Source::Response => true,
        Source::Event | Source::Lookup { .. } => match charge {
            Some(_) => new_charge.is_some(),
            None => !attempts
                .iter()
                .any(|a| a.state == AttemptState::Declined && a.charge.is_none()),
        },
    };
    match (sent, &seen.failure, source) {
        (Some(attempt), Some(failure), _) if belongs => {
            declined(cycle, attempt, failure, new_charge.cloned(), now)
        }
        (Some(attempt), _, Source::Lookup { asked_at }) if had_no_effect(attempt, asked_at) => {
            technical(cycle, attempts, attempt, now)
        }
        (None, Some(_), _) if new_charge.is_some() => Observed {
            note: Some(Note::FailureWithoutAttempt),
            ..Observed::default()
        },
        _ => Observed::default(),
    }
}

/// A lookup that shows nothing new, long enough after the call was sent, proves that the call had no effect.
fn had_no_effect(attempt: &AttemptView, asked_at: DateTime<Utc>) -> bool {
    attempt
        .real_sent_at
        .is_some_and(|sent_at| asked_at - sent_at >= NO_EFFECT_AFTER)
}

/// The attempt had no effect: it is made again within minutes, as the same step and for the same reason, so that one
/// outside the ladder stays outside it.
#[must_use]
pub fn technical(
    cycle: &CycleView,
    attempts: &[AttemptView],
    attempt: &AttemptView,
    now: DateTime<Utc>,
) -> Observed {
    let so_far = attempts
        .iter()
        .filter(|a| a.state == AttemptState::Technical && a.step == attempt.step)
        .count();
    let backoff = technical_backoff(u32::try_from(so_far).unwrap_or(u32::MAX));
    Observed {
        attempt: Some(AttemptChange {
            id: attempt.id,
            state: AttemptState::Technical,
            charge: None,
            class: None,
            codes: None,
            rule: None,
        }),
        cycle: (!cycle.state.is_final()).then(|| {
            cycle.wait_for_next(
                NextAttempt {
                    at: now + backoff,
                    step: attempt.step,
                    trigger: attempt.trigger,
                },
                Some("technical"),
            )
        }),
        ..Observed::default()
    }
}

fn declined(
    cycle: &CycleView,
    attempt: &AttemptView,
    failure: &IntentFailure,
    charge: Option<String>,
    now: DateTime<Utc>,
) -> Observed {
    let classified = decline::classify(&failure.codes);
    let failed_at = failed_at(attempt, failure, now);
    let first_failed_at = cycle.first_failed_at.unwrap_or(failed_at);
    let failed = CycleView {
        first_failed_at: Some(first_failed_at),
        ..cycle.clone()
    };
    // What a person had charged ahead of time is no step, and no failure that the steps count from.
    let first_step = cycle
        .first_step_ahead(now)
        .filter(|_| cycle.first_failed_at.is_none() && !attempt.trigger.counts_toward_ladder());
    let change = match (classified.class, first_step) {
        (DeclineClass::Soft, Some(first)) => cycle.wait_for_next(first, None),
        (DeclineClass::Soft, None) => {
            match retry_policy::next_step(&failed.policy, attempt.step, first_failed_at, failed_at, now) {
                NextStep::Retry { step, at } => failed.wait_for_next(
                    NextAttempt {
                        at,
                        step,
                        trigger: Trigger::Retry,
                    },
                    None,
                ),
                NextStep::Exhausted => failed.change_to(CycleState::Exhausted, None),
            }
        }
        (DeclineClass::Hard, _) => failed.wait_for_client(CycleState::MethodRequired, None, now),
        (DeclineClass::Customer, _) => failed.wait_for_client(CycleState::ActionRequired, None, now),
        // What says nothing about the card uses up no step, and no day of the policy either.
        (DeclineClass::Check, _) => cycle.change_to(CycleState::Paused, Some(CHECK_FOR_EXISTING_PAYMENT)),
        (DeclineClass::Bug, _) => cycle.change_to(CycleState::Paused, Some(REJECTED_REQUEST)),
    };
    Observed {
        attempt: Some(AttemptChange {
            id: attempt.id,
            state: AttemptState::Declined,
            charge,
            class: Some(classified.class),
            codes: Some(failure.codes.clone()),
            rule: Some(classified.rule),
        }),
        cycle: (!cycle.state.is_final()).then_some(change),
        ..Observed::default()
    }
}

/// When an attempt failed: as its charge says, which may be long before we hear of it, within what we know ourselves: not
/// before it was sent, and not later than now. Clocks differ, and in test mode ours may run days ahead of Stripe's.
fn failed_at(attempt: &AttemptView, failure: &IntentFailure, now: DateTime<Utc>) -> DateTime<Utc> {
    let at = failure.at.unwrap_or(now);
    attempt.sent_at.map_or(at, |sent_at| at.max(sent_at)).min(now)
}
