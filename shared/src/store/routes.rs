//! Whose is this Stripe object? The one cross-firm read, written together with the row it points to.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Result;
use crate::ids::FirmId;

/// Where a Stripe id leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `client_billing` or `platform_billing`.
    pub scope: String,
    /// `customer`, `payment_method`, `payment_intent`, `charge`, `refund`, `dispute`; of platform billing `platform_customer`,
    /// `platform_subscription`, `platform_invoice`, `platform_payment_intent`.
    pub kind: String,
    /// The firm.
    pub firm: FirmId,
    /// The row: a client, a payment method, a collection cycle (for an intent), a payment (for a charge) …
    pub our_id: Uuid,
}

/// Which of the two billing relations an object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A firm bills its clients.
    ClientBilling,
    /// The platform bills a firm.
    PlatformBilling,
}

impl Scope {
    /// The word in the table, and in the metadata of what we make at Stripe.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientBilling => "client_billing",
            Self::PlatformBilling => "platform_billing",
        }
    }
}

/// Records a route of client billing; the same again changes nothing.
///
/// # Errors
/// When the database is away.
pub async fn record(
    conn: &mut PgConnection,
    firm: FirmId,
    kind: &str,
    stripe_id: &str,
    our_id: Uuid,
) -> Result<()> {
    record_for(conn, firm, Scope::ClientBilling, kind, stripe_id, our_id).await
}

/// Records a route; the same again changes nothing, and an id keeps the first that it had.
///
/// # Errors
/// When the database is away.
pub async fn record_for(
    conn: &mut PgConnection,
    firm: FirmId,
    scope: Scope,
    kind: &str,
    stripe_id: &str,
    our_id: Uuid,
) -> Result<()> {
    sqlx::query!(
        "insert into stripe_routes (stripe_id, scope, kind, firm_id, our_id) values ($1, $2, $3, $4, $5) on conflict (stripe_id) do nothing",
        stripe_id,
        scope.as_str(),
        kind,
        firm.0,
        our_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The first of several ids that we know.
///
/// # Errors
/// When the database is away.
pub async fn find(conn: &mut PgConnection, stripe_ids: &[String]) -> Result<Option<(String, Route)>> {
    let rows = sqlx::query!(
        "select r.stripe_id, r.scope, r.kind, r.firm_id, r.our_id from unnest($1::text[]) with ordinality as w(id, n)
         join stripe_routes r on r.stripe_id = w.id order by w.n limit 1",
        stripe_ids
    )
    .fetch_optional(conn)
    .await?;
    Ok(rows.map(|r| {
        (
            r.stripe_id,
            Route {
                scope: r.scope,
                kind: r.kind,
                firm: FirmId(r.firm_id),
                our_id: r.our_id,
            },
        )
    }))
}

/// Where each of these ids leads, as far as they are known.
///
/// # Errors
/// When the database is away.
pub async fn find_all(conn: &mut PgConnection, stripe_ids: &[String]) -> Result<HashMap<String, Route>> {
    let rows = sqlx::query!(
        "select stripe_id, scope, kind, firm_id, our_id from stripe_routes where stripe_id = any($1)",
        stripe_ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let route = Route {
                scope: r.scope,
                kind: r.kind,
                firm: FirmId(r.firm_id),
                our_id: r.our_id,
            };
            (r.stripe_id, route)
        })
        .collect())
}
