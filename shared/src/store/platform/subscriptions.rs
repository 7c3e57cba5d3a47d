//! Subscriptions as Stripe has them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::tiers;
use crate::{
    domain::platform::{CardSeen, SubscriptionSeen, SubscriptionStatus, subscription::Observed},
    ids::{FirmId, SubscriptionId},
    store::{
        error::{Error, Result, one_row},
        routes::{self, Scope},
    },
};

/// A subscription as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// `sub_…`
    pub stripe_subscription_id: String,
    /// By its price; none where no tier has that price.
    pub tier: Option<String>,
    /// What Stripe's word means.
    pub status: SubscriptionStatus,
    /// Stripe's word.
    pub stripe_status: String,
    /// Whether the firm has what it pays for.
    pub is_active: bool,
    /// The period that runs.
    pub current_period_start: Option<DateTime<Utc>>,
    /// Its end.
    pub current_period_end: Option<DateTime<Utc>>,
    /// It renews itself.
    pub auto_renewal: bool,
    /// When its end was asked for, or came.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// `pm_…`
    pub default_payment_method_id: Option<String>,
    /// `visa`, …
    pub card_brand: Option<String>,
    /// The last four digits.
    pub card_last4: Option<String>,
    /// Month of its end.
    pub card_exp_month: Option<i32>,
    /// Year of its end.
    pub card_exp_year: Option<i32>,
    /// When it was last read at Stripe.
    pub fetched_at: DateTime<Utc>,
    /// `si_…`
    #[serde(skip)]
    pub item: Option<String>,
}

impl Subscription {
    /// Over for good.
    #[must_use]
    pub fn is_over(&self) -> bool {
        crate::domain::platform::status::is_final(&self.stripe_status)
    }
}

/// The firm's subscription: one that is not over, the newest; else the newest of those that are.
///
/// # Errors
/// When the database is away.
pub async fn current(conn: &mut PgConnection, firm: FirmId) -> Result<Option<Subscription>> {
    let row = sqlx::query!(
        r#"select id, stripe_subscription_id, tier, status as "status!", stripe_status, current_period_start, current_period_end,
                  cancel_at_period_end, canceled_at, ended_at, default_payment_method_id, card_brand, card_last4, card_exp_month,
                  card_exp_year, fetched_at, stripe_item_id
             from platform_subscriptions where firm_id = $1
            order by stripe_status in ('canceled', 'incomplete_expired'), created_at desc, id desc limit 1"#,
        firm.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        let status: SubscriptionStatus = r.status.parse().map_err(Error::corrupt)?;
        Ok(Subscription {
            id: SubscriptionId(r.id),
            stripe_subscription_id: r.stripe_subscription_id,
            tier: r.tier,
            status,
            stripe_status: r.stripe_status,
            is_active: status.is_active(),
            current_period_start: r.current_period_start,
            current_period_end: r.current_period_end,
            auto_renewal: !r.cancel_at_period_end,
            cancelled_at: r.canceled_at,
            ended_at: r.ended_at,
            default_payment_method_id: r.default_payment_method_id,
            card_brand: r.card_brand,
            card_last4: r.card_last4,
            card_exp_month: r.card_exp_month,
            card_exp_year: r.card_exp_year,
            fetched_at: r.fetched_at,
            item: r.stripe_item_id,
        })
    })
    .transpose()
}

/// A subscription of this firm that was recorded, with its row locked: as it was seen, and its id and tier.
///
/// # Errors
/// When the database is away.
pub async fn lock(
    conn: &mut PgConnection,
    firm: FirmId,
    stripe_id: &str,
) -> Result<Option<(SubscriptionId, Option<String>, SubscriptionSeen)>> {
    let row = sqlx::query!(
        "select * from platform_subscriptions where firm_id = $1 and stripe_subscription_id = $2 for update",
        firm.0,
        stripe_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| {
        let card = r.default_payment_method_id.map(|id| CardSeen {
            id,
            brand: r.card_brand,
            last4: r.card_last4,
            exp_month: r.card_exp_month,
            exp_year: r.card_exp_year,
        });
        let seen = SubscriptionSeen {
            fetched_at: r.fetched_at,
            id: r.stripe_subscription_id,
            status: r.stripe_status,
            item: r.stripe_item_id,
            price: r.stripe_price_id,
            period_start: r.current_period_start,
            period_end: r.current_period_end,
            cancel_at_period_end: r.cancel_at_period_end,
            canceled_at: r.canceled_at,
            ended_at: r.ended_at,
            card,
            created: r.created_at,
        };
        (SubscriptionId(r.id), r.tier, seen)
    }))
}

/// What writing a sighting down has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The row.
    pub id: SubscriptionId,
    /// What the sighting was against what was recorded.
    pub observed: Observed,
    /// The status before, in our words.
    pub was: Option<SubscriptionStatus>,
    /// The tier before.
    pub tier_was: Option<String>,
    /// The tier now.
    pub tier: Option<String>,
}

/// Writes a sighting down, if it is further than what is recorded; its route with it.
///
/// # Errors
/// When the database is away, or refuses.
pub async fn write(conn: &mut PgConnection, firm: FirmId, seen: &SubscriptionSeen) -> Result<Written> {
    let there = lock(conn, firm, &seen.id).await?;
    let observed = seen.observe(there.as_ref().map(|(_, _, recorded)| recorded));
    let tier = tiers::of_price(conn, seen.price.as_deref()).await?;
    let (id, tier_was, was) = match there {
        Some((id, tier, recorded)) => (id, tier, Some(recorded.meaning())),
        None => (SubscriptionId::new(), None, None),
    };
    match observed {
        Observed::New => {
            insert(conn, firm, id, seen, tier.as_deref()).await?;
            routes::record_for(
                conn,
                firm,
                Scope::PlatformBilling,
                "platform_subscription",
                &seen.id,
                id.0,
            )
            .await?;
        }
        // A price may have become a tier's since.
        Observed::Changed(_) | Observed::Same => update(conn, firm, id, seen, tier.as_deref()).await?,
        Observed::Stale => {}
    }
    Ok(Written {
        id,
        observed,
        was,
        tier_was,
        tier,
    })
}

async fn insert(
    conn: &mut PgConnection,
    firm: FirmId,
    id: SubscriptionId,
    seen: &SubscriptionSeen,
    tier: Option<&str>,
) -> Result<()> {
    let card = seen.card.clone();
    sqlx::query!(
        "insert into platform_subscriptions (firm_id, id, stripe_subscription_id, stripe_item_id, stripe_price_id, tier, stripe_status,
           current_period_start, current_period_end, cancel_at_period_end, canceled_at, ended_at, default_payment_method_id, card_brand,
           card_last4, card_exp_month, card_exp_year, created_at, fetched_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        firm.0,
        id.0,
        seen.id,
        seen.item,
        seen.price,
        tier,
        seen.status,
        seen.period_start,
        seen.period_end,
        seen.cancel_at_period_end,
        seen.canceled_at,
        seen.ended_at,
        card.as_ref().map(|card| &card.id),
        card.as_ref().and_then(|card| card.brand.as_ref()),
        card.as_ref().and_then(|card| card.last4.as_ref()),
        card.as_ref().and_then(|card| card.exp_month),
        card.as_ref().and_then(|card| card.exp_year),
        seen.created,
        seen.fetched_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn update(
    conn: &mut PgConnection,
    firm: FirmId,
    id: SubscriptionId,
    seen: &SubscriptionSeen,
    tier: Option<&str>,
) -> Result<()> {
    let card = seen.card.clone();
    let done = sqlx::query!(
        "update platform_subscriptions set stripe_item_id = $3, stripe_price_id = $4, tier = $5, stripe_status = $6,
           current_period_start = $7, current_period_end = $8, cancel_at_period_end = $9, canceled_at = $10, ended_at = $11,
           default_payment_method_id = $12, card_brand = $13, card_last4 = $14, card_exp_month = $15, card_exp_year = $16,
           fetched_at = greatest(fetched_at, $17)
         where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        seen.item,
        seen.price,
        tier,
        seen.status,
        seen.period_start,
        seen.period_end,
        seen.cancel_at_period_end,
        seen.canceled_at,
        seen.ended_at,
        card.as_ref().map(|card| &card.id),
        card.as_ref().and_then(|card| card.brand.as_ref()),
        card.as_ref().and_then(|card| card.last4.as_ref()),
        card.as_ref().and_then(|card| card.exp_month),
        card.as_ref().and_then(|card| card.exp_year),
        seen.fetched_at,
    )
    .execute(conn)
    .await?;
    one_row("update a subscription", done.rows_affected())
}

/// The ids at Stripe of the firm's subscriptions that are not over.
///
/// # Errors
/// When the database is away.
pub async fn live(conn: &mut PgConnection, firm: FirmId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        "select stripe_subscription_id from platform_subscriptions
          where firm_id = $1 and stripe_status not in ('canceled', 'incomplete_expired') order by created_at",
        firm.0
    )
    .fetch_all(conn)
    .await?)
}

/// The id at Stripe of one of them.
///
/// # Errors
/// When the database is away.
pub async fn stripe_id(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<String>> {
    Ok(sqlx::query_scalar!(
        "select stripe_subscription_id from platform_subscriptions where firm_id = $1 and id = $2",
        firm.0,
        id
    )
    .fetch_optional(conn)
    .await?)
}
