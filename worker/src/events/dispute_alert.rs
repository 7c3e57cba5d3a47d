//! What a person is told about a dispute. A new one is critical at once, with the day by which evidence is due; a
//! lost one waits for a decision; any other end settles it. What contradicts an end that is on record is another matter,
//! and an alert of its own.

use serde_json::json;
use shared::{
    domain::{
        alert::{AlertType, Topic},
        dispute::{Change, Outcome},
    },
    store::{
        Tx,
        alerts::{self, NewAlert},
        audit::Severity,
        payments::Payment,
    },
};

use crate::{collection::At, queue::JobError, stripe::Dispute};

/// Raises or resolves the alert of a dispute, as its change calls for. `refunded` when the payment was given back before.
///
/// # Errors
/// When the database is away.
pub(super) async fn raise_or_resolve(
    tx: &mut Tx,
    at: At<'_>,
    seen: &Dispute,
    payment: &Payment,
    change: &Change,
    refunded: bool,
) -> Result<(), JobError> {
    let topic = match change {
        Change::Contradicts { .. } => Topic::DisputeContradicts(&seen.id),
        Change::AlreadyApplied | Change::Apply { .. } => Topic::Dispute(&seen.id),
    };
    let due = seen.due_by.map_or_else(String::new, |due| {
        format!(" Evidence is due by {}.", due.format("%F %H:%M UTC"))
    });
    let (kind, title, message) = match change {
        Change::AlreadyApplied => return Ok(()),
        Change::Contradicts { recorded, .. } => (
            AlertType::DriftDetected,
            "A dispute ended twice",
            format!(
                "Stripe says {} of a dispute that ended as {}; the first outcome stands.",
                seen.status,
                recorded.as_str()
            ),
        ),
        Change::Apply {
            outcome: Some(Outcome::Lost),
            ..
        } => (
            AlertType::DisputeOpened,
            "Dispute lost",
            "The money is gone. Decide whether the client is billed again or the amount is written off."
                .to_owned(),
        ),
        Change::Apply { closed: true, .. } => {
            alerts::resolve(tx, at.firm, at.now, &[topic], "system").await?;
            return Ok(());
        }
        Change::Apply { .. } if refunded => (
            AlertType::DisputeOpened,
            "A payment that was given back is disputed",
            format!(
                "The money goes twice unless the bank is shown the refund: send its receipt as evidence.{due}"
            ),
        ),
        Change::Apply { opened: true, .. } => (
            AlertType::DisputeOpened,
            "Payment disputed",
            format!("The cardholder's bank disputes this payment.{due}"),
        ),
        Change::Apply {
            escalated: true,
            outcome: None,
            ..
        } => (
            AlertType::DisputeOpened,
            "An inquiry became a chargeback",
            format!("The bank took the money back.{due}"),
        ),
        Change::Apply { .. } => return Ok(()),
    };
    let alert = NewAlert {
        kind,
        severity: Severity::Critical,
        topic,
        title,
        message: &message,
        invoice: payment.invoice,
        related: json!({"dispute": seen.id, "status": seen.status, "amount_minor": seen.amount, "currency": seen.currency,
                        "respond_by": seen.due_by, "refunded_before": refunded}),
        cause: at.cause,
    };
    alerts::raise(tx, at.firm, at.now, &alert).await?;
    Ok(())
}
