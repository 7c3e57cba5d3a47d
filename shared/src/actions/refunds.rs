//! Giving back what was paid: to the card that it came from, or as credit.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Fault, Result};
use crate::{
    domain::refund::{Destination, Part, RefundFacts, decide_refund},
    ids::{FirmId, InvoiceId, JobId, RefundId},
    money::Money,
    store::{
        Tx,
        audit::By,
        decisions::{self, Decision},
        refunds::{self, Paid},
    },
};

/// What was ordered: one refund for each payment of which something goes back.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// What was paid on the invoice.
    pub paid: Paid,
    /// The refunds.
    pub ids: BTreeSet<RefundId>,
    /// The jobs that ask Stripe for those to a card.
    pub jobs: Vec<JobId>,
}

/// Orders a refund of an amount as it was typed.
///
/// # Errors
/// When there is no such invoice, a rule refuses, or the database is away.
pub async fn order(
    tx: &mut Tx,
    firm: FirmId,
    invoice: InvoiceId,
    (amount, to, reason): (&str, Destination, &str),
    by: &By<'_>,
) -> Result<Ordered> {
    let paid = refunds::lock_paid(tx, firm, invoice).await?;
    let paid = paid.ok_or_else(|| Fault::NotFound(format!("there is no invoice {invoice}")))?;
    let sum = Money::parse_positive_decimal(amount, paid.currency)
        .map_err(|fault| Fault::invalid("amount", fault.to_string()))?;
    let parts = decide(tx, firm, &paid, to, sum, by).await?;
    let (mut ids, mut jobs) = (BTreeSet::new(), Vec::new());
    for part in &parts {
        let id = match to {
            Destination::Card => {
                let (id, job) = refunds::order_to_card(tx, firm, &paid, part, reason, by).await?;
                jobs.push(job);
                id
            }
            Destination::Credit => refunds::give_as_credit(tx, firm, &paid, part, reason, by).await?,
        };
        ids.insert(id);
    }
    Ok(Ordered { paid, ids, jobs })
}

/// Which payments are given back. Recorded with all its conditions where something is.
async fn decide(
    tx: &mut Tx,
    firm: FirmId,
    paid: &Paid,
    to: Destination,
    sum: Money,
    by: &By<'_>,
) -> Result<Vec<Part>> {
    let facts = RefundFacts {
        to,
        amount: sum,
        issued: paid.issued,
        chargeback_open: paid.chargeback_open,
        payments: paid.payments.clone(),
    };
    let (decided, checks) = decide_refund(&facts);
    let parts = decided.map_err(|why| Fault::refused(why.code(), why.to_string()))?;
    let decision = Decision {
        subject_kind: "invoice",
        subject: paid.invoice.0,
        kind: "refund",
        outcome: match to {
            Destination::Card => "refund_to_card",
            Destination::Credit => "refund_to_credit",
        },
        reason_code: "asked_for",
        predicates: json!(checks),
        cause: by.cause,
    };
    decisions::record(tx, firm, by.at, &decision).await?;
    Ok(parts)
}
