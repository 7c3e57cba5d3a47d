//! Giving up what is open on an invoice, and taking that back when money comes all the same.

use serde_json::json;
use sqlx::PgConnection;

use super::{lock, record_decision, set_state, stop_collection};
use crate::{
    domain::document::{WriteOffDecision, decide_write_off},
    ids::{FirmId, InvoiceId},
    store::{
        audit::{self, By, Entry, Severity},
        error::Result,
        payments,
    },
};

/// Why an invoice that was written off is not charged automatically, not even when it was opened again.
const FENCE: &str = "written_off";

/// Writes off what is open on an invoice. While a charge is under way it only stops the collection; the caller asks again
/// when that has ended.
///
/// # Errors
/// When the database is away, or the invoice is not this firm's.
pub async fn write_off(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reason: &str,
    by: &By<'_>,
) -> Result<WriteOffDecision> {
    let standing = lock(conn, firm, invoice).await?;
    let (decision, checks) = decide_write_off(&standing.facts);
    record_decision(conn, firm, invoice, "write_off", decision.words(), &checks, by).await?;
    match decision {
        WriteOffDecision::Refuse(_) => {}
        WriteOffDecision::Wait(_) => {
            stop_collection(conn, firm, invoice, "write_off_requested", by).await?;
        }
        WriteOffDecision::WriteOff => {
            stop_collection(conn, firm, invoice, "written_off", by).await?;
            payments::fence_invoice(conn, firm, invoice, FENCE).await?;
            set_state(conn, firm, invoice, "written_off").await?;
            let open = standing.facts.open;
            let meta =
                json!({"amount_minor": open.minor(), "currency": open.currency().as_str(), "reason": reason});
            audit::record(
                conn,
                firm,
                by.at,
                &by.entry("invoice.written_off", "invoice", invoice.0, meta),
            )
            .await?;
        }
    }
    Ok(decision)
}

/// Money is about to be recorded on a locked invoice: one that was written off is open again, so that the money pays it. The
/// fence stays: what is left of it then is a person's to decide. Returns whether it was written off.
///
/// # Errors
/// When the database is away.
pub async fn reopen_for_money(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    by: &By<'_>,
) -> Result<bool> {
    let reopened = sqlx::query!(
        "update invoices set doc_state = 'issued' where firm_id = $1 and id = $2 and doc_state = 'written_off'",
        firm.0,
        invoice.0
    )
    .execute(&mut *conn)
    .await?;
    if reopened.rows_affected() == 0 {
        return Ok(false);
    }
    let entry = Entry {
        severity: Severity::Warning,
        ..by.entry(
            "invoice.reopened",
            "invoice",
            invoice.0,
            json!({"reason": "money_arrived"}),
        )
    };
    audit::record(conn, firm, by.at, &entry).await?;
    Ok(true)
}
