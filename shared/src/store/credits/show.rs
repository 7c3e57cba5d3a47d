//! Credit as it is shown: what `credit balance` and `credit list` print. The keys are a public contract.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    currency::Currency,
    ids::{ClientId, CreditLotId, FirmId},
    store::error::Result,
};

/// What a client may spend in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Balance {
    /// Which.
    pub currency: String,
    /// How much, by the ledger.
    pub minor: i64,
}

/// A client's balances, by currency.
///
/// # Errors
/// When the database is away.
pub async fn balances(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<Vec<Balance>> {
    Ok(sqlx::query_as!(
        Balance,
        r#"select currency::text as "currency!", balance_minor as minor from credit_balances
           where firm_id = $1 and client_id = $2 order by currency"#,
        firm.0,
        client.0
    )
    .fetch_all(conn)
    .await?)
}

/// What people call a client, and the currency that its firm calculates in.
///
/// # Errors
/// When the database is away, or this firm has no such client.
pub async fn client_and_currency(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
) -> Result<(String, Currency)> {
    let row = sqlx::query!(
        r#"select coalesce(c.external_id, c.id::text) as "client!", f.default_currency::text as "currency!"
           from clients c join firms f on f.id = c.firm_id where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        client.0
    )
    .fetch_one(conn)
    .await?;
    Ok((row.client, super::currency(&row.currency)?))
}

/// A lot with what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LotRow {
    /// Our id.
    pub id: Uuid,
    /// Where it comes from.
    pub source: String,
    /// Currency of all its amounts.
    pub currency: String,
    /// What was given.
    pub amount_minor: i64,
    /// What is left of it.
    pub remaining_minor: i64,
    /// What nobody used in time.
    pub expired_minor: i64,
    /// The first day on which it is worth nothing.
    pub expires_on: Option<NaiveDate>,
    /// Why it was given.
    pub reason: String,
    /// Who gave it.
    pub issued_by: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When.
    pub issued_at: DateTime<Utc>,
    /// The payment that was too much.
    pub payment: Option<Uuid>,
    /// The refund that it is.
    pub refund: Option<Uuid>,
    /// What it paid.
    pub applications: Vec<LotUse>,
}

impl LotRow {
    /// What of it the client's own users see: where it comes from and what it paid, not what the firm's people said about it.
    #[must_use]
    pub fn for_client(self) -> Self {
        Self {
            reason: String::new(),
            issued_by: None,
            approved_by: None,
            ..self
        }
    }
}

/// What a lot paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LotUse {
    /// The invoice, by its number.
    pub invoice: String,
    /// How much.
    pub amount_minor: i64,
    /// When.
    pub applied_at: DateTime<Utc>,
    /// When it came back, because the invoice was voided.
    pub released_at: Option<DateTime<Utc>>,
}

/// A client's lots, the newest first, `most` of them, those after one of them where told.
///
/// # Errors
/// When the database is away.
pub async fn lots(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    after: Option<CreditLotId>,
    most: i64,
) -> Result<Vec<LotRow>> {
    let rows = sqlx::query!(
        r#"select l.id, l.source, l.currency::text as "currency!", l.amount_minor, b.remaining_minor as "remaining_minor!",
                  (select coalesce(sum(e.amount_minor), 0) from credit_expiries e
                    where e.firm_id = l.firm_id and e.lot_id = l.id)::bigint as "expired_minor!",
                  l.expires_on, l.reason, l.issued_by, l.approved_by, l.issued_at, l.payment_id, l.refund_id
           from credit_lots l join credit_lot_balances b on b.firm_id = l.firm_id and b.id = l.id
           where l.firm_id = $1 and l.client_id = $2
             and ($3::uuid is null or (l.issued_at, l.id) < (select c.issued_at, c.id from credit_lots c where c.firm_id = $1 and c.id = $3))
           order by l.issued_at desc, l.id desc limit $4"#,
        firm.0,
        client.0,
        after.map(|id| id.0),
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut uses = uses(conn, firm, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| LotRow {
            applications: uses.remove(&row.id).unwrap_or_default(),
            id: row.id,
            source: row.source,
            currency: row.currency,
            amount_minor: row.amount_minor,
            remaining_minor: row.remaining_minor,
            expired_minor: row.expired_minor,
            expires_on: row.expires_on,
            reason: row.reason,
            issued_by: row.issued_by,
            approved_by: row.approved_by,
            issued_at: row.issued_at,
            payment: row.payment_id,
            refund: row.refund_id,
        })
        .collect())
}

async fn uses(conn: &mut PgConnection, firm: FirmId, lots: &[Uuid]) -> Result<HashMap<Uuid, Vec<LotUse>>> {
    let mut uses: HashMap<Uuid, Vec<LotUse>> = HashMap::new();
    for row in sqlx::query!(
        r#"select a.lot_id, coalesce(i.number, i.id::text) as "invoice!", a.amount_minor, a.applied_at, r.released_at as "released_at?"
           from credit_applications a
           join invoices i on i.firm_id = a.firm_id and i.id = a.invoice_id
           left join credit_releases r on r.firm_id = a.firm_id and r.application_id = a.id
           where a.firm_id = $1 and a.lot_id = any($2) order by a.applied_at, a.id"#,
        firm.0,
        lots
    )
    .fetch_all(conn)
    .await?
    {
        uses.entry(row.lot_id).or_default().push(LotUse {
            invoice: row.invoice,
            amount_minor: row.amount_minor,
            applied_at: row.applied_at,
            released_at: row.released_at,
        });
    }
    Ok(uses)
}
