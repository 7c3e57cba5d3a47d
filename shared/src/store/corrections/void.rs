//! Voiding an invoice, in two steps (B-11): it is asked for, which stops the collection; and it comes about once Stripe has
//! said that nothing can be captured any more. Money that comes in between takes it back. Never both: the guards of the
//! schema see to it too.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{lock, read, record_decision, set_state, stop_collection};
use crate::{
    domain::document::{DocState, VoidDecision, decide_void},
    ids::{FirmId, InvoiceId},
    store::{
        audit::{self, By, Entry, Severity},
        error::Result,
    },
};

/// Asks for an invoice to be voided, and voids it at once where nothing is under way. Asked again, it sees to it that what
/// is waited for is still being worked on.
///
/// # Errors
/// When the database is away, or the invoice is not this firm's.
pub async fn request_void(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reason: &str,
    by: &By<'_>,
) -> Result<VoidDecision> {
    let standing = lock(conn, firm, invoice).await?;
    let (decision, checks) = decide_void(&standing.facts);
    match (decision, standing.facts.state) {
        (VoidDecision::Refuse(_), _) => {
            record_decision(conn, firm, invoice, "void", decision.words(), &checks, by).await?;
            return Ok(decision);
        }
        (_, DocState::VoidRequested) => {}
        _ => {
            set_state(conn, firm, invoice, "void_requested").await?;
            let entry = by.entry(
                "invoice.void_requested",
                "invoice",
                invoice.0,
                json!({"reason": reason}),
            );
            audit::record(conn, firm, by.at, &entry).await?;
        }
    }
    stop_collection(conn, firm, invoice, "void_requested", by).await?;
    Ok(settle_void(conn, firm, invoice, by).await?.unwrap_or(decision))
}

/// Voids a locked invoice of which that was asked, if it can be by now, or takes the request back because money has come.
/// Called whenever something became known about its charges. `None` where no void is waited for.
///
/// # Errors
/// When the database is away.
pub async fn settle_void(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    by: &By<'_>,
) -> Result<Option<VoidDecision>> {
    let waits = sqlx::query_scalar!(
        r#"select exists (select 1 from invoices where firm_id = $1 and id = $2 and doc_state = 'void_requested') as "waits!""#,
        firm.0,
        invoice.0
    )
    .fetch_one(&mut *conn)
    .await?;
    if !waits {
        return Ok(None);
    }
    let standing = read(conn, firm, invoice).await?;
    let (decision, checks) = decide_void(&standing.facts);
    record_decision(conn, firm, invoice, "void", decision.words(), &checks, by).await?;
    match decision {
        VoidDecision::Void(_) => finish(conn, firm, invoice, by).await?,
        VoidDecision::Reject(reason) => {
            set_state(conn, firm, invoice, "issued").await?;
            let entry = Entry {
                severity: Severity::Warning,
                ..by.entry(
                    "invoice.void_rejected",
                    "invoice",
                    invoice.0,
                    json!({"reason": reason}),
                )
            };
            audit::record(conn, firm, by.at, &entry).await?;
        }
        VoidDecision::Wait(_) | VoidDecision::Refuse(_) => {}
    }
    Ok(Some(decision))
}

/// Makes it void: the credit used for it is the client's again, its hours can be billed again. Its period stays billed until
/// somebody bills it anew (A-06).
async fn finish(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId, by: &By<'_>) -> Result<()> {
    let credit = release_credit(conn, firm, invoice, by).await?;
    let hours = sqlx::query_scalar!(
        r#"select time_entry_id as "entry!" from invoice_lines
           where firm_id = $1 and invoice_id = $2 and time_entry_id is not null and released_at is null order by line_no"#,
        firm.0,
        invoice.0
    )
    .fetch_all(&mut *conn)
    .await?;
    // The schema releases the time with it, whoever makes an invoice void.
    set_state(conn, firm, invoice, "void").await?;
    let meta = json!({"credit_released_minor": credit, "time_released": hours.len()});
    let voided = by.entry("invoice.voided", "invoice", invoice.0, meta);
    audit::record(conn, firm, by.at, &voided).await?;
    let metas = vec![json!({"invoice": invoice}); hours.len()];
    audit::record_all(conn, firm, by, ("time.released", "time_entry"), &hours, &metas).await
}

/// Takes back every application of credit to the invoice. Returns what they came to.
async fn release_credit(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    by: &By<'_>,
) -> Result<i64> {
    let released = sqlx::query!(
        r#"with released as (
             insert into credit_releases (firm_id, application_id, reason, released_at)
             select a.firm_id, a.id, 'void', $3 from credit_applications a
              where a.firm_id = $1 and a.invoice_id = $2
                and not exists (select 1 from credit_releases r where r.firm_id = a.firm_id and r.application_id = a.id)
             returning firm_id, application_id)
           select a.id, a.lot_id, a.amount_minor from released r
             join credit_applications a on a.firm_id = r.firm_id and a.id = r.application_id order by a.id"#,
        firm.0,
        invoice.0,
        by.at
    )
    .fetch_all(&mut *conn)
    .await?;
    let lots: Vec<Uuid> = released.iter().map(|r| r.lot_id).collect();
    let metas: Vec<_> = released
        .iter()
        .map(|r| json!({"application": r.id, "invoice": invoice, "amount_minor": r.amount_minor, "reason": "void"}))
        .collect();
    audit::record_all(conn, firm, by, ("credit.reversed", "credit_lot"), &lots, &metas).await?;
    Ok(released.iter().map(|r| r.amount_minor).sum())
}
