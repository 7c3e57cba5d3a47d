//! Credit that nobody used in time.

use chrono::NaiveDate;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{apply::lock_all, money};
use crate::{
    ids::{CreditLotId, FirmId},
    money::Money,
    store::{
        audit::{self, By},
        error::Result,
    },
};

/// What was left of a lot on the day that it expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Which lot.
    pub lot: CreditLotId,
    /// What was left of it.
    pub amount: Money,
}

/// Writes off what is left of up to `most` lots that have expired by today, where the firm is. Credit that came back to
/// a lot after its day, because an invoice was voided, expires at the next call.
///
/// # Errors
/// When the database is away.
pub async fn expire(
    conn: &mut PgConnection,
    firm: FirmId,
    today: NaiveDate,
    most: i64,
    by: &By<'_>,
) -> Result<Vec<Expired>> {
    let due = sqlx::query!(
        r#"select l.id as "id!", l.client_id as "client_id!" from credit_lot_balances l
           where l.firm_id = $1 and l.expires_on <= $2 and l.remaining_minor > 0 order by l.expires_on, l.id limit $3"#,
        firm.0,
        today,
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let clients: Vec<Uuid> = due.iter().map(|lot| lot.client_id).collect();
    let lots: Vec<Uuid> = due.iter().map(|lot| lot.id).collect();
    lock_all(conn, firm, &clients).await?;
    // A statement of its own: what is left now that the lock is ours.
    let rows = sqlx::query!(
        r#"insert into credit_expiries (firm_id, lot_id, seq, amount_minor, expired_at)
           select l.firm_id, l.id, 1 + (select coalesce(max(e.seq), 0) from credit_expiries e where e.firm_id = $1 and e.lot_id = l.id),
                  l.remaining_minor, $3
           from credit_lot_balances l where l.firm_id = $1 and l.id = any($2) and l.remaining_minor > 0
           returning lot_id, amount_minor,
             (select currency::text from credit_lots c where c.firm_id = credit_expiries.firm_id and c.id = lot_id) as "currency!""#,
        firm.0,
        &lots,
        by.at
    )
    .fetch_all(&mut *conn)
    .await?;
    let expired = rows
        .into_iter()
        .map(|row| {
            Ok(Expired {
                lot: CreditLotId(row.lot_id),
                amount: money(row.amount_minor, &row.currency)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let subjects: Vec<Uuid> = expired.iter().map(|e| e.lot.0).collect();
    let metas: Vec<Value> = expired
        .iter()
        .map(|e| json!({"amount_minor": e.amount.minor(), "currency": e.amount.currency()}))
        .collect();
    audit::record_all(
        conn,
        firm,
        by,
        ("credit.expired", "credit_lot"),
        &subjects,
        &metas,
    )
    .await?;
    Ok(expired)
}
