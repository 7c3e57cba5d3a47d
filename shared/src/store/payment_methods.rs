//! References to stored cards. There is nothing here that could be charged by itself.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    audit::{self, By},
    error::{Result, one_row},
    routes,
};
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
    /// The client's automatic payment uses it.
    pub used_for_autopay: bool,
    /// It looks different from what we had: the first we hear of this update. Stripe may tell it twice.
    pub is_new: bool,
}

/// Whose a card is, by its Stripe id. `None` when this firm has no such card.
///
/// # Errors
/// When the database is away.
pub async fn client_of(conn: &mut PgConnection, firm: FirmId, stripe_id: &str) -> Result<Option<ClientId>> {
    let client = sqlx::query_scalar!(
        "select client_id from payment_methods where firm_id = $1 and stripe_payment_method_id = $2",
        firm.0,
        stripe_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(client.map(ClientId))
}

/// Stores what a card looks like now; one that changed is usable again. `None` when this firm has no such card. Call after
/// [`super::autopay::lock_collection`].
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
        r#"with seen as (
             select p.firm_id, p.id, (p.brand, p.last4, p.exp_month, p.exp_year, p.fingerprint) is distinct from
                    (coalesce($3, p.brand), coalesce($4, p.last4), coalesce($5, p.exp_month), coalesce($6, p.exp_year),
                     coalesce($7, p.fingerprint)) as is_new
             from payment_methods p where p.firm_id = $1 and p.stripe_payment_method_id = $2 for update)
           update payment_methods pm set brand = coalesce($3, pm.brand), last4 = coalesce($4, pm.last4),
             exp_month = coalesce($5, pm.exp_month), exp_year = coalesce($6, pm.exp_year), fingerprint = coalesce($7, pm.fingerprint),
             status = case when seen.is_new and pm.status = 'needs_update' then 'active' else pm.status end,
             updated_by_network_at = case when seen.is_new then $8 else pm.updated_by_network_at end
           from seen, clients c
           where pm.firm_id = seen.firm_id and pm.id = seen.id and c.firm_id = pm.firm_id and c.id = pm.client_id
           returning pm.id, c.autopay_payment_method_id is not distinct from pm.id as "used!", seen.is_new as "is_new!""#,
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
        used_for_autopay: r.used,
        is_new: r.is_new,
    }))
}

/// A stored card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentMethod {
    /// Our id.
    pub id: PaymentMethodId,
    /// Whether it may be charged; not so once an issuer said that it is gone.
    pub usable: bool,
    /// Whether it had been taken away from its customer when we last heard of it.
    pub detached: bool,
    brand: Option<String>,
    last4: Option<String>,
    exp_month: Option<i32>,
    exp_year: Option<i32>,
}

impl PaymentMethod {
    /// Whether a description says nothing of the card that is not known.
    #[must_use]
    pub fn looks_like(&self, card: &Card<'_>) -> bool {
        (card.brand.is_none() || card.brand == self.brand.as_deref())
            && (card.last4.is_none() || card.last4 == self.last4.as_deref())
            && (card.exp_month.is_none() || card.exp_month == self.exp_month)
            && (card.exp_year.is_none() || card.exp_year == self.exp_year)
    }
}

/// A client's card by its Stripe id or ours.
///
/// # Errors
/// When the database is away.
pub async fn find(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    reference: &str,
) -> Result<Option<PaymentMethod>> {
    let row = sqlx::query!(
        "select id, brand, last4, exp_month, exp_year, status from payment_methods
          where firm_id = $1 and client_id = $2 and (stripe_payment_method_id = $3 or id::text = $3)",
        firm.0,
        client.0,
        reference
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| PaymentMethod {
        id: PaymentMethodId(r.id),
        usable: r.status == "active",
        detached: r.status == "detached",
        brand: r.brand,
        last4: r.last4,
        exp_month: r.exp_month,
        exp_year: r.exp_year,
    }))
}

/// Attaches a card to a client.
///
/// # Errors
/// When the database is away; a conflict when another client has it.
pub async fn attach(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    stripe_id: &str,
    card: &Card<'_>,
    by: &By<'_>,
) -> Result<PaymentMethodId> {
    let id = PaymentMethodId::new();
    sqlx::query!(
        "insert into payment_methods (firm_id, id, client_id, stripe_payment_method_id, brand, last4, exp_month, exp_year, fingerprint)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        firm.0,
        id.0,
        client.0,
        stripe_id,
        card.brand,
        card.last4,
        card.exp_month,
        card.exp_year,
        card.fingerprint,
    )
    .execute(&mut *conn)
    .await?;
    routes::record(conn, firm, "payment_method", stripe_id, id.0).await?;
    let meta = json!({ "client": client });
    audit::record(
        conn,
        firm,
        by.at,
        &by.entry("payment_method.attached", "payment_method", id.0, meta),
    )
    .await?;
    Ok(id)
}

/// Writes down what an operator knows of a card now; it may be charged again.
///
/// # Errors
/// When the database is away.
pub async fn update(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    id: PaymentMethodId,
    card: &Card<'_>,
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "update payment_methods set brand = coalesce($3, brand), last4 = coalesce($4, last4),
                exp_month = coalesce($5, exp_month), exp_year = coalesce($6, exp_year), status = 'active'
          where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        card.brand,
        card.last4,
        card.exp_month,
        card.exp_year,
    )
    .execute(&mut *conn)
    .await?;
    one_row("update payment method", done.rows_affected())?;
    let meta = json!({ "client": client });
    audit::record(
        conn,
        firm,
        by.at,
        &by.entry("payment_method.updated", "payment_method", id.0, meta),
    )
    .await
}
