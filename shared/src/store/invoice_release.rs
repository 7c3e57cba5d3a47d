//! Giving free what an invoice holds: the time of a draft that is given up, the period of an invoice that is void.

use chrono::NaiveDate;
use serde_json::json;
use sqlx::PgConnection;

use super::{
    audit::{self, By},
    error::{Result, one_row},
};
use crate::ids::{FirmId, InvoiceId};

/// Deletes a draft and its lines.
///
/// # Errors
/// When the database is away, or it is no draft.
pub async fn discard(conn: &mut PgConnection, firm: FirmId, draft: InvoiceId) -> Result<()> {
    let done = sqlx::query_scalar!(r#"select app.discard_draft($1, $2) as "done!""#, firm.0, draft.0)
        .fetch_one(conn)
        .await?;
    one_row("discard draft", u64::from(done))
}

/// The period that an invoice bills, or billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The invoice's number, or its id.
    pub invoice: String,
    /// The engagement, by its `external_id` where it has one.
    pub engagement: String,
    /// First day.
    pub period_start: NaiveDate,
    /// First day after it.
    pub period_end: NaiveDate,
    /// Whether it was given free before.
    pub released: bool,
}

/// The period of an invoice; `None` when it bills none.
///
/// # Errors
/// When the database is away.
pub async fn period_of(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Option<Release>> {
    Ok(sqlx::query_as!(
        Release,
        r#"select coalesce(i.number, i.id::text) as "invoice!", coalesce(e.external_id, e.id::text) as "engagement!",
                  p.period_start, p.period_end, p.released_at is not null as "released!"
           from billing_periods p
           join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
           join engagements e on e.firm_id = p.firm_id and e.id = p.engagement_id
           where p.firm_id = $1 and p.invoice_id = $2"#,
        firm.0,
        invoice.0
    )
    .fetch_optional(conn)
    .await?)
}

/// Gives the period of a void invoice free, for generation to bill again.
///
/// # Errors
/// When the database is away, or refuses because the invoice is not void.
pub async fn release_period(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reason: &str,
    by: &By<'_>,
) -> Result<()> {
    let row = sqlx::query!(
        "update billing_periods set released_at = $3, release_reason = $4
          where firm_id = $1 and invoice_id = $2 and released_at is null
         returning engagement_id, period_start, period_end",
        firm.0,
        invoice.0,
        by.at,
        reason
    )
    .fetch_one(&mut *conn)
    .await?;
    let meta = json!({
        "engagement": row.engagement_id, "period": {"start": row.period_start, "end": row.period_end}, "reason": reason,
    });
    let entry = by.entry("invoice.period_released", "invoice", invoice.0, meta);
    audit::record(conn, firm, by.at, &entry).await
}
