//! `charge.dispute.*`: status verbatim, money only from the dispute's balance transactions.

use serde_json::json;
use shared::{
    currency::Currency,
    domain::{
        collection::IntentSeen,
        dispute::{self, Change, Kind, Known, MovementKind, Outcome, Seen, Status, Txn},
    },
    ids::InvoiceId,
    money::Money,
    store::{
        Tx,
        audit::{self, Actor, Entry, Severity},
        disputes,
        payments::{self, DisputeRow, MovementRow, Payment, StoredDispute},
        refunds,
    },
};
use uuid::Uuid;

use super::{Unfetched, charge, dispute_alert};
use crate::{
    collection::{self, At},
    context::Context,
    queue::JobError,
    stripe::Dispute,
};

/// Stripe's word for a cardholder who says that it was not them.
const FRAUDULENT: &str = "fraudulent";

/// A dispute as it is at Stripe now.
#[derive(Debug)]
pub struct SeenDispute {
    dispute: Dispute,
    intent: Option<IntentSeen>,
}

impl SeenDispute {
    /// A dispute of a charge whose payment is recorded, so that its intent is not needed.
    #[must_use]
    pub fn of_known_payment(dispute: Dispute) -> Self {
        Self {
            dispute,
            intent: None,
        }
    }
}

/// Fetches a dispute with its balance transactions, and the intent of its charge.
///
/// # Errors
/// When Stripe does not know it, or gives no usable answer.
pub async fn fetch(cx: &Context, id: &str) -> Result<SeenDispute, Unfetched> {
    let dispute = cx.stripe.dispute(id).await?;
    let intent = match &dispute.payment_intent {
        Some(intent) => Some(intent.clone()),
        None => cx.stripe.charge(&dispute.charge).await?.payment_intent,
    };
    let intent = match intent {
        Some(intent) => Some(collection::intent_seen(
            &cx.stripe.payment_intent(&intent).await?,
        )?),
        None => None,
    };
    Ok(SeenDispute { dispute, intent })
}

/// Records the dispute and its movements of money; the payment first, should that not be recorded yet. `false` when its
/// charge is not ours.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn apply(tx: &mut Tx, at: At<'_>, seen: &SeenDispute) -> Result<bool, JobError> {
    let dispute = &seen.dispute;
    let Some(payment) = charge::payment_of(tx, at, &dispute.charge, seen.intent.as_ref()).await? else {
        return Ok(false);
    };
    let stored = payments::lock_dispute(tx, at.firm, &dispute.id).await?;
    let known = stored.as_ref().map(known).transpose()?;
    let change = dispute::observe(
        known.as_ref(),
        &Seen {
            status: Status::parse(&dispute.status),
            took_money: dispute.balance_transactions.iter().any(|txn| txn.amount < 0),
        },
    );
    let id = match (&change, &stored) {
        (
            Change::Apply {
                status,
                kind,
                outcome,
                ..
            },
            _,
        ) => save(tx, at, dispute, &payment, (status, *kind, *outcome)).await?,
        // the furthest status stands; amount and deadline may still have changed
        (Change::AlreadyApplied, Some(stored)) => match &known {
            Some(known) if known.outcome.is_none() => {
                let unchanged = (&known.status, known.kind, known.outcome);
                save(tx, at, dispute, &payment, unchanged).await?
            }
            _ => stored.id,
        },
        (Change::Contradicts { .. }, Some(stored)) => stored.id,
        (Change::AlreadyApplied | Change::Contradicts { .. }, None) => {
            return Err(JobError::fail(
                "a dispute that is not on record cannot be applied already",
            ));
        }
    };
    let movements = move_money(tx, at, dispute, id).await?;
    tell(tx, at, dispute, &payment, &change, &movements).await?;
    let refunded = tell_of_refunds(tx, at, dispute, &payment, &change).await?;
    dispute_alert::raise_or_resolve(tx, at, dispute, &payment, &change, refunded).await?;
    if let Some(invoice) = payment.invoice {
        fence(tx, at, invoice, &change).await?;
    }
    follow(tx, at, dispute, &payment, id, &change).await?;
    Ok(true)
}

fn known(stored: &StoredDispute) -> Result<Known, JobError> {
    let word = |e: shared::domain::words::UnknownWord| JobError::fail(e.to_string());
    Ok(Known {
        status: Status::parse(&stored.status),
        kind: stored.kind.parse().map_err(word)?,
        outcome: stored
            .outcome
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(word)?,
    })
}

async fn save(
    tx: &mut Tx,
    at: At<'_>,
    seen: &Dispute,
    payment: &Payment,
    (status, kind, outcome): (&Status, Kind, Option<Outcome>),
) -> Result<Uuid, JobError> {
    let row = DisputeRow {
        stripe_id: &seen.id,
        payment: payment.id,
        status: status.as_str(),
        kind: kind.as_str(),
        reason: seen.reason.as_deref(),
        network_reason_code: seen.network_reason_code.as_deref(),
        amount: Money::new(seen.amount, currency(&seen.currency)?),
        opened_at: seen.created,
        respond_by: seen.due_by,
        outcome: outcome.map(Outcome::as_str),
    };
    Ok(payments::upsert_dispute(tx, at.firm, at.now, &row).await?)
}

/// Records each balance transaction once; returns those that are new.
async fn move_money(
    tx: &mut Tx,
    at: At<'_>,
    seen: &Dispute,
    id: Uuid,
) -> Result<Vec<dispute::Movement>, JobError> {
    let txns = seen
        .balance_transactions
        .iter()
        .map(|b| {
            Ok(Txn {
                id: b.id.clone(),
                amount_minor: b.amount,
                fee_minor: b.fee,
                currency: currency(&b.currency)?,
                created: b.created,
            })
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    let mut new = Vec::new();
    for movement in dispute::movements(&txns) {
        let row = MovementRow {
            balance_transaction: &movement.txn_id,
            kind: movement.kind.as_str(),
            dispute: id,
            amount: Money::new(movement.amount_minor, movement.currency),
            at: movement.at,
        };
        if payments::record_movement(tx, at.firm, &row).await? {
            new.push(movement);
        }
    }
    Ok(new)
}

/// A chargeback fences the invoice from automatic charging; only winning it (or its withdrawal) lifts the fence.
async fn fence(tx: &mut Tx, at: At<'_>, invoice: InvoiceId, change: &Change) -> Result<(), JobError> {
    let Change::Apply {
        kind: Kind::Chargeback,
        outcome,
        ..
    } = change
    else {
        return Ok(());
    };
    match outcome {
        None | Some(Outcome::Lost) => payments::fence_invoice(tx, at.firm, invoice, disputes::FENCE).await?,
        Some(Outcome::Won | Outcome::Withdrawn | Outcome::InquiryClosed) => {
            let actor = at.cause.actor();
            disputes::lift_fence(tx, at.firm, invoice, &at.by(&actor)).await?;
        }
    }
    Ok(())
}

/// What a chargeback means beyond its invoice: one for fraud pauses the client's other charges until it is over, and a lost
/// one waits for a person's decision.
async fn follow(
    tx: &mut Tx,
    at: At<'_>,
    seen: &Dispute,
    payment: &Payment,
    id: Uuid,
    change: &Change,
) -> Result<(), JobError> {
    let Change::Apply {
        kind: Kind::Chargeback,
        outcome,
        opened,
        escalated,
        closed,
        ..
    } = change
    else {
        return Ok(());
    };
    let actor = at.cause.actor();
    let by = at.by(&actor);
    if seen.reason.as_deref() == Some(FRAUDULENT) {
        match outcome {
            // not whenever its status moves on: a person may have lifted the pause meanwhile
            None | Some(Outcome::Lost) => {
                if *opened || *escalated {
                    disputes::pause_client(tx, at.firm, payment.id, &seen.id, &by).await?;
                }
            }
            Some(Outcome::Won | Outcome::Withdrawn | Outcome::InquiryClosed) => {
                disputes::resume_client(tx, at.firm, payment.id, &seen.id, &by).await?;
            }
        }
    }
    if *closed && *outcome == Some(Outcome::Lost) {
        disputes::ask_for_decision(tx, at.firm, id, &by).await?;
    }
    Ok(())
}

async fn tell(
    tx: &mut Tx,
    at: At<'_>,
    seen: &Dispute,
    payment: &Payment,
    change: &Change,
    movements: &[dispute::Movement],
) -> Result<(), JobError> {
    let mut entries: Vec<(&str, Severity)> = Vec::new();
    match change {
        Change::AlreadyApplied => {}
        Change::Contradicts { .. } => entries.push(("dispute.updated", Severity::Critical)),
        Change::Apply {
            opened,
            escalated,
            outcome,
            closed,
            ..
        } => {
            if *opened {
                entries.push(("dispute.opened", Severity::Critical));
            }
            if *escalated || !(*opened || *closed) {
                entries.push((
                    "dispute.updated",
                    if *escalated {
                        Severity::Critical
                    } else {
                        Severity::Info
                    },
                ));
            }
            if *closed {
                let severity = if *outcome == Some(Outcome::Lost) {
                    Severity::Critical
                } else {
                    Severity::Info
                };
                entries.push(("dispute.resolved", severity));
            }
        }
    }
    for movement in movements {
        match movement.kind {
            MovementKind::Withdrawn => entries.push(("chargeback.received", Severity::Critical)),
            MovementKind::Reinstated => entries.push(("chargeback.reversed", Severity::Info)),
            MovementKind::Fee | MovementKind::FeeRefund => {}
        }
    }
    let meta = json!({"dispute": seen.id, "status": seen.status, "amount_minor": seen.amount, "currency": seen.currency,
                      "opened_at": seen.created, "respond_by": seen.due_by,
                      "movements": movements.iter().map(|m| json!({"txn": m.txn_id, "kind": m.kind.as_str(), "amount_minor": m.amount_minor})).collect::<Vec<_>>()});
    for (action, severity) in entries {
        let entry = Entry {
            action,
            severity,
            actor: Actor::Stripe,
            subject_kind: "invoice",
            subject: payment.invoice.map_or(payment.id.0, |i| i.0),
            cause: at.cause,
            meta: meta.clone(),
        };
        audit::record(tx, at.firm, at.now, &entry).await?;
    }
    Ok(())
}

/// A chargeback on a payment that was given back already takes the same money twice, unless the bank is shown the refund:
/// a person must, and in time (B-09). Says whether that is so.
async fn tell_of_refunds(
    tx: &mut Tx,
    at: At<'_>,
    seen: &Dispute,
    payment: &Payment,
    change: &Change,
) -> Result<bool, JobError> {
    let begins = matches!(
        change,
        Change::Apply { kind: Kind::Chargeback, opened, escalated, outcome: None, .. } if *opened || *escalated
    );
    if !begins {
        return Ok(false);
    }
    let refunds = refunds::given_back(tx, at.firm, payment.id).await?;
    if refunds.is_empty() {
        return Ok(false);
    }
    let entry = Entry {
        action: "dispute.updated",
        severity: Severity::Critical,
        actor: Actor::Stripe,
        subject_kind: "invoice",
        subject: payment.invoice.map_or(payment.id.0, |i| i.0),
        cause: at.cause,
        meta: json!({"dispute": seen.id, "note": "refunded_before_dispute", "amount_minor": seen.amount, "currency": seen.currency,
                     "respond_by": seen.due_by, "refunds": refunds, "evidence": "refund_receipts"}),
    };
    audit::record(tx, at.firm, at.now, &entry).await?;
    Ok(true)
}

fn currency(word: &str) -> Result<Currency, JobError> {
    Currency::parse(word).map_err(|e| JobError::fail(e.to_string()))
}
