//! Two sides of one object, and what differs. Pure: the caller has read both.
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Action, Finding, Kind, Layer, Repair, Side};
use crate::{
    domain::{
        collection::{AttemptView, CycleView, IntentSeen, IntentStatus, Source, observe},
        dispute::{self, Known, Movement, MovementKind, Seen, Status},
        refund::{self, RefundState},
    },
    money::Money,
};

/// A charge that brought money, as Stripe has it.
#[derive(Clone, Debug)]
pub struct ChargeThere {
    /// `ch_…`
    pub id: String,
    /// `pi_…`
    pub intent: Option<String>,
    /// What was captured.
    pub amount_minor: i64,
    /// What of it was given back.
    pub refunded_minor: i64,
    /// Lower-case code.
    pub currency: String,
    /// When it was made.
    pub at: DateTime<Utc>,
}

/// What we have of a charge.
#[derive(Clone, Debug)]
pub enum ChargeHere {
    /// A payment.
    Recorded {
        /// What it paid, for people.
        subject: String,
        /// Our payment.
        payment: String,
        /// How much.
        amount_minor: i64,
        /// Lower-case code.
        currency: String,
    },
    /// No payment, but a cycle whose PaymentIntent it is.
    OfCycle {
        /// What it collects, for people.
        subject: String,
        /// The cycle.
        cycle: String,
        /// Where it stands.
        state: String,
    },
    /// No payment; it says that it is for an invoice that another PaymentIntent has collected.
    Second {
        /// The invoice, for people.
        subject: String,
        /// The first one's PaymentIntent.
        first: String,
    },
    /// Only whose client it was is known.
    OfClient {
        /// For people.
        subject: String,
    },
}

/// Compares a charge that brought money.
#[must_use]
pub fn charge(there: &ChargeThere, here: ChargeHere) -> Vec<Finding> {
    let stripe = Side::of(&there.id)
        .minor(there.amount_minor, &there.currency)
        .state("succeeded");
    let (kind, subject, ours, repair) = match here {
        ChargeHere::Recorded {
            subject,
            payment,
            amount_minor,
            currency,
        } => {
            let Some(kind) = money_differs((there.amount_minor, &there.currency), (amount_minor, &currency))
            else {
                return Vec::new();
            };
            let ours = Side::of(payment).minor(amount_minor, &currency);
            (kind, subject, Some(ours), None)
        }
        ChargeHere::OfCycle {
            subject,
            cycle,
            state,
        } => {
            let repair = there.intent.clone().map(|target| Repair {
                action: Action::ApplyIntent,
                target,
            });
            let ours = Side::of(cycle).state(state);
            (Kind::MissingHere, subject, Some(ours), repair)
        }
        // Money that nobody had asked for and that went back is over.
        ChargeHere::Second { .. } | ChargeHere::OfClient { .. }
            if there.refunded_minor >= there.amount_minor =>
        {
            return Vec::new();
        }
        ChargeHere::Second { subject, first } => (
            Kind::DuplicateCapture,
            subject,
            Some(Side::of(first).state("succeeded")),
            None,
        ),
        ChargeHere::OfClient { subject } => (Kind::OrphanCharge, subject, None, None),
    };
    vec![Finding {
        kind,
        layer: Layer::Stripe,
        subject,
        ours,
        stripe: Some(stripe),
        repair,
        object_at: Some(there.at),
    }]
}

/// Which of amount and currency differs: of different currencies no amounts are compared.
fn money_differs(there: (i64, &str), here: (i64, &str)) -> Option<Kind> {
    if there.1 != here.1 {
        Some(Kind::CurrencyMismatch)
    } else if there.0 != here.0 {
        Some(Kind::AmountMismatch)
    } else {
        None
    }
}

/// A refund, as Stripe has it.
#[derive(Clone, Debug)]
pub struct RefundThere {
    /// `re_…`
    pub id: String,
    /// `ch_…`
    pub charge: String,
    /// The order of ours that its metadata names.
    pub ordered: Option<Uuid>,
    /// How much.
    pub amount_minor: i64,
    /// Lower-case code.
    pub currency: String,
    /// Stripe's word.
    pub status: String,
    /// When it was made.
    pub at: DateTime<Utc>,
}

/// What we have of a refund whose payment is recorded.
#[derive(Clone, Debug)]
pub struct RefundHere {
    /// What was paid, for people.
    pub subject: String,
    /// Our row, if there is one.
    pub row: Option<RefundRow>,
}

/// Our row of a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRow {
    /// Its id.
    pub id: String,
    /// How much.
    pub amount_minor: i64,
    /// Lower-case code.
    pub currency: String,
    /// How far it is.
    pub state: RefundState,
}

/// Compares a refund.
#[must_use]
pub fn refund(there: &RefundThere, here: RefundHere) -> Vec<Finding> {
    let stripe = Side::of(&there.id)
        .minor(there.amount_minor, &there.currency)
        .state(&there.status);
    let apply = Some(Repair {
        action: Action::ApplyCharge,
        target: there.charge.clone(),
    });
    let seen = RefundState::from_stripe(&there.status).ok();
    let differs = |kind, ours, repair| {
        vec![Finding {
            kind,
            layer: Layer::Stripe,
            subject: here.subject.clone(),
            ours,
            stripe: Some(stripe.clone()),
            repair,
            object_at: Some(there.at),
        }]
    };
    let Some(row) = &here.row else {
        return differs(Kind::RefundOutside, None, seen.and(apply));
    };
    let ours = Side::of(&row.id)
        .minor(row.amount_minor, &row.currency)
        .state(row.state.as_str());
    if let Some(kind) = money_differs(
        (there.amount_minor, &there.currency),
        (row.amount_minor, &row.currency),
    ) {
        return differs(kind, Some(ours), None);
    }
    match seen.map(|seen| refund::observe(Some(row.state), seen)) {
        Some(refund::Change::AlreadyApplied) if seen == Some(row.state) => Vec::new(),
        Some(refund::Change::Apply(_)) => differs(Kind::StateMismatch, Some(ours), apply),
        // Ours is further than Stripe, has ended otherwise, or Stripe says a word that we do not know.
        Some(refund::Change::AlreadyApplied | refund::Change::Contradicts { .. }) | None => {
            differs(Kind::StateMismatch, Some(ours), None)
        }
    }
}

/// A dispute, as Stripe has it.
#[derive(Clone, Debug)]
pub struct DisputeThere {
    /// `dp_…`
    pub id: String,
    /// How much is disputed.
    pub amount_minor: i64,
    /// Lower-case code.
    pub currency: String,
    /// Stripe's word.
    pub status: String,
    /// Whether a balance transaction took money.
    pub took_money: bool,
    /// What its balance transactions did.
    pub movements: Vec<Movement>,
    /// When it was opened.
    pub at: DateTime<Utc>,
}

/// What we have of a dispute whose payment is recorded.
#[derive(Clone, Debug)]
pub struct DisputeHere {
    /// What was paid, for people.
    pub subject: String,
    /// Our row, if there is one: disputed amount, its currency, how far it is.
    pub row: Option<(i64, String, Known)>,
    /// The movements on record.
    pub movements: Vec<MovementHere>,
}

/// A movement on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovementHere {
    /// `txn_…`
    pub txn: String,
    /// What it did.
    pub kind: MovementKind,
    /// Positive.
    pub amount_minor: i64,
    /// Settlement currency.
    pub currency: String,
}

/// Compares a dispute and what it did to the balance.
#[must_use]
pub fn dispute(there: &DisputeThere, here: &DisputeHere) -> Vec<Finding> {
    let stripe = Side::of(&there.id)
        .minor(there.amount_minor, &there.currency)
        .state(&there.status);
    let apply = Some(Repair {
        action: Action::ApplyDispute,
        target: there.id.clone(),
    });
    let differs = |kind, layer, ours, stripe, repair| Finding {
        kind,
        layer,
        subject: here.subject.clone(),
        ours,
        stripe,
        repair,
        object_at: Some(there.at),
    };
    let Some((amount_minor, currency, known)) = &here.row else {
        return vec![differs(
            Kind::DisputeOutside,
            Layer::Stripe,
            None,
            Some(stripe),
            apply,
        )];
    };
    let ours = Side::of(&there.id)
        .minor(*amount_minor, currency)
        .state(known.status.as_str());
    let mut findings = Vec::new();
    let seen = Seen {
        status: Status::parse(&there.status),
        took_money: there.took_money,
    };
    match dispute::observe(Some(known), &seen) {
        // The furthest status stands, as Stripe may send a dispute back to `needs_response`; but one that is over stays so.
        dispute::Change::AlreadyApplied if known.outcome.is_none() || seen.status.outcome().is_some() => {}
        dispute::Change::Apply { .. } => findings.push(differs(
            Kind::StateMismatch,
            Layer::Stripe,
            Some(ours.clone()),
            Some(stripe.clone()),
            apply.clone(),
        )),
        dispute::Change::AlreadyApplied | dispute::Change::Contradicts { .. } => findings.push(differs(
            Kind::StateMismatch,
            Layer::Stripe,
            Some(ours.clone()),
            Some(stripe.clone()),
            None,
        )),
    }
    if let Some(kind) = money_differs((there.amount_minor, &there.currency), (*amount_minor, currency)) {
        // The amount of an open dispute follows Stripe's; that of one that is over is history.
        let open = known.outcome.is_none() && kind == Kind::AmountMismatch;
        let repair = apply.clone().filter(|_| open);
        findings.push(differs(kind, Layer::Stripe, Some(ours), Some(stripe), repair));
    }
    for movement in &there.movements {
        let currency = movement.currency.as_str();
        let side = |amount, currency| {
            Side::of(&movement.txn_id)
                .minor(amount, currency)
                .state(movement.kind.as_str())
        };
        let stripe = Some(side(movement.amount_minor, currency));
        let known = here
            .movements
            .iter()
            .find(|m| m.txn == movement.txn_id && m.kind == movement.kind);
        let fee = matches!(movement.kind, MovementKind::Fee | MovementKind::FeeRefund);
        match known {
            None => {
                let kind = if fee { Kind::FeeMismatch } else { Kind::MissingHere };
                findings.push(differs(kind, Layer::Balance, None, stripe, apply.clone()));
            }
            Some(known) => {
                let wrong = money_differs(
                    (movement.amount_minor, currency),
                    (known.amount_minor, &known.currency),
                );
                if let Some(kind) = wrong {
                    let kind = if fee { Kind::FeeMismatch } else { kind };
                    let ours = Some(side(known.amount_minor, &known.currency));
                    findings.push(differs(kind, Layer::Balance, ours, stripe, None));
                }
            }
        }
    }
    findings
}

/// What Stripe kept of a charge, by its balance transaction.
#[derive(Clone, Debug)]
pub struct FeeThere {
    /// `txn_…`
    pub txn: String,
    /// In minor units; nothing for a firm with a price of its own.
    pub fee_minor: i64,
    /// Settlement currency.
    pub currency: String,
    /// When it was booked.
    pub at: DateTime<Utc>,
}

/// What we have of it, where the charge is a payment of ours.
#[derive(Clone, Debug)]
pub struct FeeHere {
    /// What was paid, for people.
    pub subject: String,
    /// The payment's PaymentIntent, with which the fee comes.
    pub intent: Option<String>,
    /// The fee on record.
    pub booked: Option<(i64, String)>,
}

/// Compares what Stripe kept.
#[must_use]
pub fn fee(there: &FeeThere, here: FeeHere) -> Vec<Finding> {
    let booked = here
        .booked
        .as_ref()
        .map(|(minor, currency)| (*minor, currency.as_str()));
    let wanted = (there.fee_minor > 0).then_some((there.fee_minor, there.currency.as_str()));
    if booked == wanted {
        return Vec::new();
    }
    let side = |(minor, currency)| Side::of(&there.txn).minor(minor, currency);
    let repair = here.intent.filter(|_| booked.is_none()).map(|target| Repair {
        action: Action::ApplyIntent,
        target,
    });
    vec![Finding {
        kind: Kind::FeeMismatch,
        layer: Layer::Balance,
        subject: here.subject,
        ours: booked.map(side),
        stripe: Some(side((there.fee_minor, &there.currency))),
        repair,
        object_at: Some(there.at),
    }]
}

/// Compares a PaymentIntent with a cycle that has ended and whose intent we know to be canceled: then nobody can pay with it.
/// Money is not compared here, its charge is.
#[must_use]
pub fn closed_intent(id: &str, status: &str, at: DateTime<Utc>, here: &ClosedCycle) -> Option<Finding> {
    let open = !matches!(status, "succeeded" | "canceled");
    open.then(|| Finding {
        kind: Kind::StateMismatch,
        layer: Layer::Stripe,
        subject: here.subject.clone(),
        ours: Some(Side::of(&here.cycle).state(format!("{}, its PaymentIntent canceled", here.state))),
        stripe: Some(Side::of(id).state(status)),
        repair: None,
        object_at: Some(at),
    })
}

/// A cycle that has ended without money, and whose PaymentIntent is known to be canceled.
#[derive(Clone, Debug)]
pub struct ClosedCycle {
    /// What it collected, for people.
    pub subject: String,
    /// Which.
    pub cycle: String,
    /// How it ended.
    pub state: String,
}

/// A cycle that has not ended, as its reducer sees it.
#[derive(Clone, Debug)]
pub struct CycleHere<'a> {
    /// What it collects, for people.
    pub subject: String,
    /// Which.
    pub id: String,
    /// As the reducer wants it.
    pub view: &'a CycleView,
    /// Its attempts.
    pub attempts: &'a [AttemptView],
    /// Its charges that are recorded.
    pub payments: &'a [String],
    /// Its open attempt has been so for longer than anybody looks it up in vain.
    pub is_stale: bool,
}

/// Compares an open cycle with its PaymentIntent: it differs if the reducer of the events, shown the intent, would change it.
#[must_use]
pub fn cycle(here: &CycleHere<'_>, seen: &IntentSeen, now: DateTime<Utc>) -> Vec<Finding> {
    let would = observe(here.view, here.attempts, here.payments, seen, Source::Event, now);
    let state = here.view.state.as_str();
    let differs = |kind, stripe, action, target: &str| {
        vec![Finding {
            kind,
            layer: Layer::Cycles,
            subject: here.subject.clone(),
            ours: Some(Side::of(&here.id).state(state)),
            stripe: Some(stripe),
            repair: Some(Repair {
                action,
                target: target.to_owned(),
            }),
            object_at: None,
        }]
    };
    if let Some((charge, amount)) = &would.payment {
        // The same as the charge itself shows, so that it is found once.
        let stripe = charge_side(charge, *amount);
        return differs(Kind::MissingHere, stripe, Action::ApplyIntent, &seen.id);
    }
    let stripe = Side::of(&seen.id).state(word(&seen.status));
    if would.attempt.is_some() || would.cycle.is_some() {
        return differs(Kind::StateMismatch, stripe, Action::ApplyIntent, &seen.id);
    }
    if here.is_stale {
        return differs(Kind::StaleUnknown, stripe, Action::LookUp, &here.id);
    }
    Vec::new()
}

fn charge_side(charge: &str, amount: Money) -> Side {
    Side::of(charge).money(amount).state("succeeded")
}

/// Stripe's word.
fn word(status: &IntentStatus) -> &str {
    match status {
        IntentStatus::RequiresPaymentMethod => "requires_payment_method",
        IntentStatus::RequiresConfirmation => "requires_confirmation",
        IntentStatus::RequiresAction => "requires_action",
        IntentStatus::Processing => "processing",
        IntentStatus::RequiresCapture => "requires_capture",
        IntentStatus::Succeeded => "succeeded",
        IntentStatus::Canceled => "canceled",
        IntentStatus::Other(word) => word,
    }
}

/// Something that we recorded and Stripe, asked for it by its id, does not know.
#[must_use]
pub fn missing_there(layer: Layer, subject: String, ours: Side, at: DateTime<Utc>) -> Finding {
    Finding {
        kind: Kind::MissingThere,
        layer,
        subject,
        ours: Some(ours),
        stripe: None,
        repair: None,
        object_at: Some(at),
    }
}
