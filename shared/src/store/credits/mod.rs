//! Client credit: lots that were given, what they paid, what came back and what expired.
//!
//! Nobody keeps a balance here. Lots, uses, releases and expiries are facts; the database posts each of them, and from the
//! postings it keeps `credit_balances`, whose row is also the lock on a client's credit in one currency. Lock order: the
//! invoice first, then the client's credit.
mod apply;
mod expire;
mod show;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, By},
    error::{Error, Result},
};
use crate::{
    currency::Currency,
    domain::credit::{Lot, Source},
    ids::{ClientId, CreditLotId, FirmId, RefundId},
    money::Money,
};

pub use apply::{Applied, Bill, apply, apply_to_issued, lock_all, lock_bill};
pub use expire::{Expired, expire};
pub use show::{Balance, LotRow, LotUse, balances, client_and_currency, lots};

/// Credit to be given.
#[derive(Clone, Debug)]
pub struct NewLot<'a> {
    /// To whom.
    pub client: ClientId,
    /// How much.
    pub amount: Money,
    /// Where it comes from.
    pub source: Source,
    /// Why.
    pub reason: &'a str,
    /// Who gives it.
    pub issued_by: Option<&'a str>,
    /// Who approved it.
    pub approved_by: Option<&'a str>,
    /// The refund that it is, where it is one.
    pub refund: Option<RefundId>,
    /// The first day on which it is worth nothing.
    pub expires_on: Option<NaiveDate>,
}

/// Gives credit.
///
/// # Errors
/// When the database is away, or refuses: four eyes are its rule too.
pub async fn issue(
    conn: &mut PgConnection,
    firm: FirmId,
    new: &NewLot<'_>,
    by: &By<'_>,
) -> Result<CreditLotId> {
    let id = CreditLotId::new();
    sqlx::query!(
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, reason, issued_by, approved_by,
                                  refund_id, expires_on, issued_at, cause)
         values ($1, $2, $3, $4::text, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        firm.0,
        id.0,
        new.client.0,
        new.amount.currency().as_str(),
        new.amount.minor(),
        new.source.as_str(),
        new.reason,
        new.issued_by,
        new.approved_by,
        new.refund.map(|id| id.0),
        new.expires_on,
        by.at,
        by.cause.to_string(),
    )
    .execute(&mut *conn)
    .await?;
    let meta = json!({"client": new.client, "amount_minor": new.amount.minor(), "currency": new.amount.currency(), "source": new.source,
                      "approved_by": new.approved_by, "refund": new.refund, "expires_on": new.expires_on});
    audit::record(
        conn,
        firm,
        by.at,
        &by.entry("credit.issued", "credit_lot", id.0, meta),
    )
    .await?;
    Ok(id)
}

/// Today where the firm is.
///
/// # Errors
/// When the database is away, or this transaction sees no such firm.
pub async fn today(conn: &mut PgConnection, firm: FirmId) -> Result<NaiveDate> {
    Ok(sqlx::query_scalar!(
        r#"select (app.now() at time zone timezone)::date as "today!" from firms where id = $1"#,
        firm.0
    )
    .fetch_one(conn)
    .await?)
}

/// A stored amount with its currency.
fn money(minor: i64, word: &str) -> Result<Money> {
    Ok(Money::new(minor, currency(word)?))
}

fn currency(word: &str) -> Result<Currency> {
    Currency::parse(word).map_err(|e| Error::Other(sqlx::Error::Decode(e.to_string().into())))
}

/// The lots of some clients of which something is left that can be used today. Call it under the lock on their credit.
async fn usable_lots(
    conn: &mut PgConnection,
    firm: FirmId,
    clients: &[Uuid],
) -> Result<Vec<(ClientId, Lot)>> {
    struct Row {
        id: Uuid,
        client_id: Uuid,
        currency: String,
        remaining_minor: i64,
        expires_on: Option<NaiveDate>,
        issued_at: DateTime<Utc>,
    }
    sqlx::query_as!(
        Row,
        r#"select l.id as "id!", l.client_id as "client_id!", l.currency::text as "currency!", l.remaining_minor as "remaining_minor!",
                  l.expires_on, l.issued_at as "issued_at!"
           from credit_lot_balances l join firms f on f.id = l.firm_id
           where l.firm_id = $1 and l.client_id = any($2) and l.remaining_minor > 0
             and (l.expires_on is null or l.expires_on > (app.now() at time zone f.timezone)::date)"#,
        firm.0,
        clients
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|row| {
        let lot = Lot {
            id: CreditLotId(row.id),
            left: money(row.remaining_minor, &row.currency)?,
            expires_on: row.expires_on,
            issued_at: row.issued_at,
        };
        Ok((ClientId(row.client_id), lot))
    })
    .collect()
}
