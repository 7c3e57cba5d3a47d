//! References to stored cards. There is nothing here that could be charged by itself.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::error::Result;
use crate::ids::{ClientId, FirmId, PaymentMethodId};

/// What a card looks like, as far as Stripe tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Card<'a> {
    /// `visa` …
    pub brand: Option<&'a str>,
    /// Last four digits.
    pub last4: Option<&'a str>,
    /// 1 to 12.
    pub exp_month: Option<i32>,
    /// Four digits.
    pub exp_year: Option<i32>,
    /// Same card, same fingerprint.
    pub fingerprint: Option<&'a str>,
}

/// A card that the network updated.
#[derive(Clone, Copy, Debug)]
pub struct Updated {
    /// Its id.
    pub id: PaymentMethodId,
    /// Its client.
    pub client: ClientId,
    /// The client's automatic payment uses it.
    pub used_for_autopay: bool,
}

/// Stores what a card looks like now; it is usable again. `None` when this firm has no such card.
///
/// # Errors
/// When the database is away.
pub async fn updated_by_network(
    conn: &mut PgConnection,
    firm: FirmId,
    stripe_id: &str,
    card: &Card<'_>,
    now: DateTime<Utc>,
) -> Result<Option<Updated>> {
    let row = sqlx::query!(
        r#"update payment_methods pm set brand = coalesce($3, pm.brand), last4 = coalesce($4, pm.last4),
             exp_month = coalesce($5, pm.exp_month), exp_year = coalesce($6, pm.exp_year), fingerprint = coalesce($7, pm.fingerprint),
             status = case when pm.status = 'detached' then pm.status else 'active' end, updated_by_network_at = $8
           from clients c
           where pm.firm_id = $1 and pm.stripe_payment_method_id = $2 and c.firm_id = pm.firm_id and c.id = pm.client_id
           returning pm.id, pm.client_id, c.autopay_payment_method_id is not distinct from pm.id as "used!""#,
        firm.0,
        stripe_id,
        card.brand,
        card.last4,
        card.exp_month,
        card.exp_year,
        card.fingerprint,
        now
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| Updated {
        id: PaymentMethodId(r.id),
        client: ClientId(r.client_id),
        used_for_autopay: r.used,
    }))
}
