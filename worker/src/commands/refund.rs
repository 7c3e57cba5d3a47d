//! `quittance invoice refund`: gives back what was paid, to the card that it came from or as credit, never both.

use std::collections::BTreeSet;

use serde::Serialize;
use shared::{
    actions::refunds::{self, Ordered},
    domain::refund::{Destination, RefundState},
    ids::{FirmId, InvoiceId, JobId, RefundId},
    store::{
        self, Db,
        audit::{By, Cause},
        invoices_read::{self, Refund},
        refunds::Paid,
    },
};
use uuid::Uuid;

use super::{
    find::find_invoice,
    invoice_text::amount,
    operator,
    reason::Reason,
    wait::{WaitArgs, wait_for},
};
use crate::output::{Exit, Failure, Format, table};

/// Arguments of `invoice refund`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// UUID, number, external_id, or the Stripe id of anything that happened to it.
    id: String,
    /// How much, in the invoice's currency, such as 12.50.
    #[arg(long, value_name = "A")]
    amount: String,
    /// Where it goes.
    #[arg(long, value_parser = ["card", "credit"])]
    to: String,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    wait: WaitArgs,
}

/// The result: one row per payment that was given back.
#[derive(Debug, Serialize)]
struct Refunded {
    invoice: InvoiceId,
    currency: String,
    refunds: Vec<Refund>,
}

/// Runs `invoice refund`.
///
/// # Errors
/// When there is no such invoice, the refund is refused, no worker runs, or the outcome is not known when the time is up.
pub async fn run(db: &Db, args: Args, out: Format) -> Result<Exit, Failure> {
    let (firm, invoice) = find_invoice(db, &args.id).await?;
    let to: Destination = args.to.parse().map_err(|e| Failure::usage(format!("{e}")))?;
    let mut tx = db.firm(firm).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let wanted = (args.amount.as_str(), to, args.reason.text());
    let Ordered { paid, ids, jobs } = refunds::order(&mut tx, firm, invoice, wanted, &by).await?;
    store::jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    wait_and_show(db, firm, &paid, &ids, &jobs, args.wait, out).await
}

async fn wait_and_show(
    db: &Db,
    firm: FirmId,
    paid: &Paid,
    ids: &BTreeSet<RefundId>,
    jobs: &[JobId],
    wait: WaitArgs,
    out: Format,
) -> Result<Exit, Failure> {
    if !wait.no_wait && !jobs.is_empty() {
        wait_for(db, jobs, wait, out, "refunds")
            .await
            .map_err(|failure| ordered_already(failure, wait))?;
    }
    let mut tx = db.firm(firm).await?;
    let mut rows = invoices_read::refunds(&mut tx, firm, paid.invoice).await?;
    rows.retain(|row| ids.contains(&RefundId(row.id)));
    let exit = if wait.no_wait { Exit::Done } else { exit(&rows) };
    let refunded = Refunded {
        invoice: paid.invoice,
        currency: paid.currency.as_str().to_owned(),
        refunds: rows,
    };
    out.show(&refunded, describe)?;
    Ok(exit)
}

/// Whoever waits in vain must not order the same again: it would be another refund.
fn ordered_already(failure: Failure, wait: WaitArgs) -> Failure {
    if failure.exit != Exit::TryAgain {
        return failure;
    }
    let why = match failure.code {
        "no_worker" => "no worker is running: start `quittance worker`".to_owned(),
        _ => format!("the refund is not finished after {} s", wait.wait_secs),
    };
    let message = format!(
        "{why}; it is ordered and stays so: do not order it again, `quittance invoice show` tells how it ended"
    );
    Failure::try_again(failure.code, message)
}

/// A refund that is on its way counts as done: banks take days.
fn exit(rows: &[Refund]) -> Exit {
    let is = |row: &Refund, states: &[RefundState]| states.iter().any(|state| row.state == state.as_str());
    let done = rows
        .iter()
        .filter(|row| is(row, &[RefundState::Succeeded, RefundState::Pending]))
        .count();
    if done == rows.len() {
        Exit::Done
    } else if done > 0 {
        Exit::PartlyFailed
    } else if rows.iter().all(|row| is(row, &[RefundState::Canceled])) {
        Exit::Refused
    } else {
        Exit::Error
    }
}

fn describe(refunded: &Refunded) -> String {
    let rows: Vec<Vec<String>> = refunded
        .refunds
        .iter()
        .map(|row| {
            vec![
                row.id.to_string(),
                amount(row.amount_minor, &refunded.currency),
                row.to.clone(),
                row.state.clone(),
                row.failure_code
                    .clone()
                    .or_else(|| row.stripe_refund_id.clone())
                    .unwrap_or_default(),
            ]
        })
        .collect();
    table(&["REFUND", ">AMOUNT", "TO", "STATE", "STRIPE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: &str) -> Refund {
        Refund {
            id: Uuid::nil(),
            stripe_refund_id: None,
            amount_minor: 1_250,
            to: "card".into(),
            state: state.into(),
            failure_code: None,
            reason: "late".into(),
            at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_exit_code_says_what_became_of_the_money() {
        let exit = |states: &[&str]| exit(&states.iter().map(|state| row(state)).collect::<Vec<_>>());
        assert_eq!(exit(&["succeeded", "pending"]), Exit::Done);
        assert_eq!(exit(&["succeeded", "failed"]), Exit::PartlyFailed);
        assert_eq!(exit(&["failed", "canceled"]), Exit::Error);
        assert_eq!(exit(&["canceled", "canceled"]), Exit::Refused);
        assert_eq!(exit(&["requested"]), Exit::Error, "its job was discarded");
    }
}
