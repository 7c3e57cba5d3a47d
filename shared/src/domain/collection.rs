//! Collecting one invoice: may it be charged now, and what does a PaymentIntent that we saw mean?
//!
//! [`decide_charge`] is asked before every attempt, under the invoice's lock. [`observe`] is the one reducer for the
//! answer of our own call, for webhooks and for lookups: whichever comes first wins, and the rest changes nothing.

use chrono::{DateTime, Duration, Utc};
use serde_json::json;

use super::{
    decline::{self, DeclineClass, DeclineCodes},
    predicate::Predicate,
    retry_policy::{self, NextStep, RetryPolicy},
    words::word_enum,
};
use crate::{
    ids::{AttemptId, PaymentMethodId},
    money::Money,
};

word_enum!(
    /// Where the effort to collect an invoice stands.
    CycleState, "cycle state":
    /// First attempt is due at `next_attempt_at`.
    Scheduled = "scheduled",
    /// An attempt is under way.
    InFlight = "in_flight",
    /// A soft decline; the next step is due at `next_attempt_at`.
    RetryWait = "retry_wait",
    /// The client must authenticate the payment.
    ActionRequired = "action_required",
    /// The card will not work again; waits for another one.
    MethodRequired = "method_required",
    /// We do not know how the last call ended, and ask until we do.
    Unknown = "unknown",
    /// Stopped by a fence, a pause or a fault that a person must look at.
    Paused = "paused",
    /// The money is here.
    Succeeded = "succeeded",
    /// Out of steps.
    Exhausted = "exhausted",
    /// Given up: paid otherwise, switched off, void.
    Canceled = "canceled",
);

word_enum!(
    /// One try to charge.
    AttemptState, "attempt state":
    /// Decided and written down; nothing was sent.
    Created = "created",
    /// About to be sent, or sent.
    Sent = "sent",
    /// Stripe works on it.
    Processing = "processing",
    /// The client must act.
    ActionRequired = "action_required",
    /// Captured.
    Succeeded = "succeeded",
    /// Refused by the issuer or by Stripe.
    Declined = "declined",
    /// Had no effect, as a lookup or Stripe's own answer shows; tried again by itself, uses up no step.
    Technical = "technical",
    /// We do not know.
    Unknown = "unknown",
    /// Taken back before it had an effect.
    Canceled = "canceled",
);

word_enum!(
    /// Why an attempt was made.
    Trigger, "trigger":
    /// The first one.
    Auto = "auto",
    /// A step of the retry policy.
    Retry = "retry",
    /// The card was replaced or updated.
    MethodUpdated = "method_updated",
    /// A person asked for it.
    Manual = "manual",
    /// The client paid.
    Portal = "portal",
);

impl CycleState {
    /// No more attempts will be made.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Exhausted | Self::Canceled)
    }
}

impl AttemptState {
    /// Its outcome is not settled.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::Created | Self::Sent | Self::Processing | Self::ActionRequired | Self::Unknown
        )
    }
}

impl Trigger {
    /// Whether the attempt is a step of the retry policy (A-11: manual, portal and technical ones are not).
    #[must_use]
    pub fn counts_toward_ladder(self) -> bool {
        matches!(self, Self::Auto | Self::Retry)
    }
}

/// Everything the decision to charge depends on, read under the invoice's lock.
#[derive(Clone, Debug)]
pub struct ChargeFacts {
    /// The invoice's document state is `issued`.
    pub issued: bool,
    /// Total less payments.
    pub open: Money,
    /// The invoice may be charged automatically.
    pub opt_in: bool,
    /// Why the invoice must not be charged automatically, e.g. `chargeback`.
    pub fenced_reason: Option<String>,
    /// The client switched automatic payment on.
    pub client_autopay: bool,
    /// The client's method and its status.
    pub method: Option<(PaymentMethodId, String)>,
    /// The client has a Stripe customer.
    pub has_customer: bool,
    /// A pause of firm or client, or a parked firm or client, with its reason.
    pub pause: Option<String>,
    /// A chargeback on a payment of this invoice is open.
    pub open_chargeback: bool,
    /// The cycle.
    pub cycle: CycleState,
    /// When the next attempt is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Which step that will be.
    pub next_step: u32,
    /// Why it will be made.
    pub next_trigger: Trigger,
}

/// What to do about an invoice that is to be collected.
#[derive(Clone, Debug, PartialEq)]
pub enum ChargeDecision {
    /// Charge the open balance to this method.
    Charge {
        /// The card.
        method: PaymentMethodId,
        /// The open balance.
        amount: Money,
        /// Step of the policy.
        step: u32,
        /// Why.
        trigger: Trigger,
    },
    /// Nothing now; the cycle stays as it is. The code says why.
    NotNow(&'static str),
    /// Stop until something changes.
    Hold {
        /// `paused` or `method_required`.
        state: CycleState,
        /// Why.
        reason: &'static str,
    },
    /// Give the cycle up and cancel its PaymentIntent.
    Cancel(&'static str),
}

impl ChargeDecision {
    /// `charge`, or why not.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Charge {
                trigger: Trigger::Retry,
                ..
            } => "retry_due",
            Self::Charge { .. } => "due",
            Self::NotNow(reason) | Self::Hold { reason, .. } | Self::Cancel(reason) => reason,
        }
    }

    /// `charge`, `wait`, `hold` or `cancel`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Charge { .. } => "charge",
            Self::NotNow(_) => "wait",
            Self::Hold { .. } => "hold",
            Self::Cancel(_) => "cancel",
        }
    }
}

/// Decides whether to charge now. All checks are evaluated, so that the record shows every reason; the first that
/// fails decides. `as_of` is business time, or the time an operator asked about.
#[must_use]
pub fn decide_charge(facts: &ChargeFacts, as_of: DateTime<Utc>) -> (ChargeDecision, Vec<Predicate>) {
    let check = Predicate::new;
    let currency = facts.open.currency();
    let chargeable = matches!(facts.cycle, CycleState::Scheduled | CycleState::RetryWait);
    let due = facts.next_attempt_at.is_some_and(|at| at <= as_of);
    let usable = facts.method.as_ref().filter(|(_, status)| status == "active");
    let big_enough = facts.open.minor() >= currency.minimum_charge_minor();
    let divisible = facts.open.minor() % currency.charge_step() == 0;

    let table: [(Predicate, ChargeDecision); 13] = [
        (
            check("cycle_chargeable", chargeable, json!(facts.cycle.as_str())),
            ChargeDecision::NotNow("cycle_not_waiting"),
        ),
        (
            check("invoice_issued", facts.issued, json!(facts.issued)),
            ChargeDecision::Cancel("invoice_not_issued"),
        ),
        (
            check(
                "open_balance_positive",
                facts.open.is_positive(),
                json!(facts.open.minor()),
            ),
            ChargeDecision::Cancel("nothing_open"),
        ),
        (
            check("invoice_autopay_opt_in", facts.opt_in, json!(facts.opt_in)),
            ChargeDecision::Cancel("not_opted_in"),
        ),
        (
            check(
                "client_autopay_enabled",
                facts.client_autopay,
                json!(facts.client_autopay),
            ),
            ChargeDecision::Cancel("autopay_off"),
        ),
        (
            check(
                "not_fenced",
                facts.fenced_reason.is_none(),
                json!(facts.fenced_reason),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "invoice_fenced",
            },
        ),
        (
            check(
                "no_open_chargeback",
                !facts.open_chargeback,
                json!(facts.open_chargeback),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "open_dispute",
            },
        ),
        (
            check("not_paused", facts.pause.is_none(), json!(facts.pause)),
            ChargeDecision::NotNow("autopay_paused"),
        ),
        (
            check(
                "stripe_customer_known",
                facts.has_customer,
                json!(facts.has_customer),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "no_stripe_customer",
            },
        ),
        (
            check(
                "payment_method_usable",
                usable.is_some(),
                json!(facts.method.as_ref().map(|(_, status)| status)),
            ),
            ChargeDecision::Hold {
                state: CycleState::MethodRequired,
                reason: "no_usable_payment_method",
            },
        ),
        (
            check(
                "amount_at_least_minimum",
                big_enough,
                json!(currency.minimum_charge_minor()),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "amount_below_minimum",
            },
        ),
        (
            check(
                "amount_chargeable_in_currency",
                divisible,
                json!(currency.charge_step()),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "amount_not_divisible",
            },
        ),
        (
            check("next_charge_due", due, json!(facts.next_attempt_at)),
            ChargeDecision::NotNow("not_due"),
        ),
    ];

    let failed = table
        .iter()
        .find(|(check, _)| check.ok == Some(false))
        .map(|(_, decision)| decision.clone());
    let decision = match (failed, usable) {
        (Some(decision), _) => decision,
        (None, Some((method, _))) => ChargeDecision::Charge {
            method: *method,
            amount: facts.open,
            step: facts.next_step,
            trigger: facts.next_trigger,
        },
        // unreachable by the table above, and harmless if it were not
        (None, None) => ChargeDecision::NotNow("no_usable_payment_method"),
    };
    (decision, table.into_iter().map(|(check, _)| check).collect())
}

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
}

/// How we came to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The answer to our own confirmation of the open attempt.
    Response,
    /// Stripe told us, or we looked it up without having sent anything.
    Event,
    /// A lookup because the outcome of a call is unknown.
    Lookup,
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
}

/// An attempt as stored.
#[derive(Clone, Debug)]
pub struct AttemptView {
    /// Its id.
    pub id: AttemptId,
    /// 1, 2, 3 …
    pub seq: i32,
    /// Its step.
    pub step: u32,
    /// Where it stands.
    pub state: AttemptState,
    /// Its charge, where known.
    pub charge: Option<String>,
    /// When it was sent.
    pub sent_at: Option<DateTime<Utc>>,
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
        IntentStatus::Succeeded => succeeded(cycle, open, payments, seen),
        IntentStatus::Processing => waiting(cycle, open, AttemptState::Processing, CycleState::InFlight),
        IntentStatus::RequiresAction => waiting(
            cycle,
            open,
            AttemptState::ActionRequired,
            CycleState::ActionRequired,
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

fn succeeded(
    cycle: &CycleView,
    open: Option<&AttemptView>,
    payments: &[String],
    seen: &IntentSeen,
) -> Observed {
    let (Some(charge), Some(received)) = (&seen.latest_charge, seen.received) else {
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
            charge: Some(charge.clone()),
            class: None,
            codes: None,
            rule: None,
        }),
        cycle: (cycle.state != CycleState::Succeeded).then(|| CycleChange {
            state: CycleState::Succeeded,
            reason: None,
            first_failed_at: cycle.first_failed_at,
            next: None,
        }),
        note: (is_new && matches!(cycle.state, CycleState::Canceled)).then_some(Note::MoneyAfterEnd),
    }
}

/// Stripe works on it, or the client must act. Without an open attempt it is not ours (portal): the next webhook tells.
fn waiting(
    cycle: &CycleView,
    open: Option<&AttemptView>,
    attempt_state: AttemptState,
    cycle_state: CycleState,
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
            state: cycle_state,
            reason: None,
            first_failed_at: cycle.first_failed_at,
            next: None,
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
        cycle: (!cycle.state.is_final()).then(|| CycleChange {
            state: CycleState::Canceled,
            reason: Some("intent_canceled".into()),
            first_failed_at: cycle.first_failed_at,
            next: None,
        }),
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
    let known = charge.is_some_and(|c| attempts.iter().any(|a| a.charge.as_ref() == Some(c)));
    let sent = open.filter(|a| a.state != AttemptState::Created);

    // Is the failure that the intent shows the failure of the open attempt? Its own answer says so. Otherwise a charge
    // that no attempt of ours has yet must be its; a failure without a charge can only be the first attempt's.
    let belongs = match (&seen.failure, source) {
        (None, _) => false,
        (Some(_), Source::Response) => true,
        (Some(_), Source::Event | Source::Lookup) => match charge {
            Some(_) => !known,
            None => attempts.len() == 1,
        },
    };
    match (sent, &seen.failure) {
        (Some(attempt), Some(failure)) if belongs && !(known && source == Source::Response) => {
            declined(cycle, attempt, failure, charge.cloned(), now)
        }
        (Some(attempt), _) if source == Source::Lookup => no_effect(cycle, attempts, attempt, now),
        (None, Some(_)) if charge.is_some() && !known => Observed {
            note: Some(Note::FailureWithoutAttempt),
            ..Observed::default()
        },
        _ => Observed::default(),
    }
}

/// The lookup shows nothing new: after long enough, the call cannot have had an effect.
fn no_effect(
    cycle: &CycleView,
    attempts: &[AttemptView],
    attempt: &AttemptView,
    now: DateTime<Utc>,
) -> Observed {
    match attempt.sent_at {
        Some(sent_at) if now - sent_at >= NO_EFFECT_AFTER => technical(cycle, attempts, attempt, now),
        _ => Observed::default(),
    }
}

/// The attempt had no effect: it is made again within minutes, as the same step.
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
        cycle: (!cycle.state.is_final()).then(|| CycleChange {
            state: if attempt.step == 0 {
                CycleState::Scheduled
            } else {
                CycleState::RetryWait
            },
            reason: Some("technical".into()),
            first_failed_at: cycle.first_failed_at,
            next: Some(NextAttempt {
                at: now + backoff,
                step: attempt.step,
                trigger: if attempt.step == 0 {
                    Trigger::Auto
                } else {
                    Trigger::Retry
                },
            }),
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
    let first_failed_at = cycle.first_failed_at.unwrap_or(now);
    let (state, reason, next) = match classified.class {
        DeclineClass::Soft => {
            match retry_policy::next_step(&cycle.policy, attempt.step, first_failed_at, now) {
                NextStep::Retry { step, at } => (
                    CycleState::RetryWait,
                    None,
                    Some(NextAttempt {
                        at,
                        step,
                        trigger: Trigger::Retry,
                    }),
                ),
                NextStep::Exhausted => (CycleState::Exhausted, None, None),
            }
        }
        DeclineClass::Hard => (CycleState::MethodRequired, None, None),
        DeclineClass::Customer => (CycleState::ActionRequired, None, None),
        DeclineClass::Check => (CycleState::Paused, Some("check_for_existing_payment"), None),
        DeclineClass::Bug => (CycleState::Paused, Some("rejected_request"), None),
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
        cycle: (!cycle.state.is_final()).then(|| CycleChange {
            state,
            reason: reason.map(str::to_owned),
            first_failed_at: Some(first_failed_at),
            next,
        }),
        ..Observed::default()
    }
}
