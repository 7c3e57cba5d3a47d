//! A journal with its postings, and a credit with what became of it.
use sqlx::PgConnection;
use uuid::Uuid;

use super::facts::money;
use crate::{
    domain::explain::{JournalFacts, LotFacts},
    ids::FirmId,
    store::error::Result,
};

/// Reads a journal; `None` when this firm has none such.
///
/// # Errors
/// When the database is away.
pub async fn journal(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<JournalFacts>> {
    let row = sqlx::query!(
        r#"select j.kind, j.source_key, coalesce(c.external_id, c.id::text) as "client!",
                  coalesce(i.number, i.external_id, i.id::text) as invoice, j.reverses, b.id as "reversed_by?", j.effective_at
           from journals j
           join clients c on c.firm_id = j.firm_id and c.id = j.client_id
           left join invoices i on i.firm_id = j.firm_id and i.id = j.invoice_id
           left join journals b on b.firm_id = j.firm_id and b.reverses = j.id
           where j.firm_id = $1 and j.id = $2"#,
        firm.0,
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let postings = sqlx::query!(
        r#"select account, amount_minor, currency::text as "currency!" from postings where firm_id = $1 and journal_id = $2 order by line"#,
        firm.0,
        id
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|p| Ok((p.account, money(p.amount_minor, &p.currency)?)))
    .collect::<Result<Vec<_>>>()?;
    Ok(Some(JournalFacts {
        id: id.to_string(),
        kind: row.kind,
        source: row.source_key,
        client: row.client,
        invoice: row.invoice,
        reverses: row.reverses.map(|id| id.to_string()),
        reversed_by: row.reversed_by.map(|id| id.to_string()),
        effective_at: row.effective_at,
        postings,
    }))
}

/// Reads a credit; `None` when this firm has none such.
///
/// # Errors
/// When the database is away.
pub async fn credit_lot(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<LotFacts>> {
    let row = sqlx::query!(
        r#"select coalesce(c.external_id, c.id::text) as "client!", l.amount_minor, b.remaining_minor as "remaining!",
                  l.currency::text as "currency!", l.source, l.reason, l.issued_by, l.approved_by, l.issued_at, l.expires_on
           from credit_lots l
           join credit_lot_balances b on b.firm_id = l.firm_id and b.id = l.id
           join clients c on c.firm_id = l.firm_id and c.id = l.client_id
           where l.firm_id = $1 and l.id = $2"#,
        firm.0,
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let applications = sqlx::query!(
        r#"select coalesce(i.number, i.external_id, i.id::text) as "invoice!", a.amount_minor, a.applied_at,
                  exists (select 1 from credit_releases r where r.firm_id = a.firm_id and r.application_id = a.id) as "released!"
           from credit_applications a join invoices i on i.firm_id = a.firm_id and i.id = a.invoice_id
           where a.firm_id = $1 and a.lot_id = $2 order by a.applied_at, a.id"#,
        firm.0,
        id
    )
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(|a| Ok((a.invoice, money(a.amount_minor, &row.currency)?, a.applied_at, a.released)))
    .collect::<Result<Vec<_>>>()?;
    let expired = sqlx::query!(
        "select amount_minor, expired_at from credit_expiries where firm_id = $1 and lot_id = $2 order by seq",
        firm.0,
        id
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|e| Ok((money(e.amount_minor, &row.currency)?, e.expired_at)))
    .collect::<Result<Vec<_>>>()?;
    Ok(Some(LotFacts {
        id: id.to_string(),
        client: row.client,
        amount: money(row.amount_minor, &row.currency)?,
        remaining: money(row.remaining, &row.currency)?,
        source: row.source,
        reason: row.reason,
        by: (row.issued_by, row.approved_by),
        issued_at: row.issued_at,
        expires_on: row.expires_on,
        applications,
        expired,
    }))
}
