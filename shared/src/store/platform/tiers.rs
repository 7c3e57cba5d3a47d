//! Tiers and their prices.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    domain::platform::Tier,
    store::error::{Result, one_row},
};

/// All tiers, in the order in which they are compared.
///
/// # Errors
/// When the database is away.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Tier>> {
    Ok(sqlx::query_as!(
        Tier,
        r#"select tier, name, monthly_cost_minor, currency::text as "currency!", stripe_price_id, max_employees, max_agents,
                  max_storage_gb, retention_days, features, display_order
             from subscription_tiers order by display_order"#
    )
    .fetch_all(conn)
    .await?)
}

/// One of them.
///
/// # Errors
/// When the database is away.
pub async fn find(conn: &mut PgConnection, tier: &str) -> Result<Option<Tier>> {
    Ok(list(conn).await?.into_iter().find(|found| found.tier == tier))
}

/// The tier that has, or ever had, this price.
///
/// # Errors
/// When the database is away.
pub async fn of_price(conn: &mut PgConnection, price: Option<&str>) -> Result<Option<String>> {
    Ok(sqlx::query_scalar!(
        "select tier from subscription_prices where stripe_price_id = $1",
        price
    )
    .fetch_optional(conn)
    .await?)
}

/// What became of a price that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceSet {
    /// New subscriptions are made with it.
    Set {
        /// The one before.
        was: Option<String>,
    },
    /// It was set already.
    Same,
    /// It is another tier's: a subscription with it could not be told apart.
    OfAnotherTier(String),
    /// There is no such tier.
    NoSuchTier,
}

/// Sets the price that new subscriptions to a tier are made with. The ones before still mean the tier.
///
/// # Errors
/// When the database is away.
pub async fn set_price(
    conn: &mut PgConnection,
    tier: &str,
    price: &str,
    now: DateTime<Utc>,
) -> Result<PriceSet> {
    let Some(found) = find(conn, tier).await? else {
        return Ok(PriceSet::NoSuchTier);
    };
    if found.stripe_price_id.as_deref() == Some(price) {
        return Ok(PriceSet::Same);
    }
    sqlx::query!(
        "insert into subscription_prices (stripe_price_id, tier, set_at) values ($1, $2, $3) on conflict do nothing",
        price,
        tier,
        now
    )
    .execute(&mut *conn)
    .await?;
    match of_price(conn, Some(price)).await? {
        Some(owner) if owner != tier => return Ok(PriceSet::OfAnotherTier(owner)),
        Some(_) | None => {}
    }
    let done = sqlx::query!(
        "update subscription_tiers set stripe_price_id = $2 where tier = $1",
        tier,
        price
    )
    .execute(conn)
    .await?;
    one_row("set a tier's price", done.rows_affected())?;
    Ok(PriceSet::Set {
        was: found.stripe_price_id,
    })
}
