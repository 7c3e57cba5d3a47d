//! Lists that only pages show: clients with credit, alerts by number.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{ids::FirmId, store::error::Result};

/// Alerts that are open, and of those the unread ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertCounts {
    /// Open.
    pub open: i64,
    /// Open, and nobody has read them.
    pub unread: i64,
    /// Open and critical.
    pub critical: i64,
}

/// How many alerts a firm has, or the installation.
///
/// # Errors
/// When the database is away.
pub async fn alert_counts(conn: &mut PgConnection, firm: Option<FirmId>) -> Result<AlertCounts> {
    Ok(sqlx::query_as!(
        AlertCounts,
        r#"select count(*) as "open!", count(*) filter (where not is_read) as "unread!",
                  count(*) filter (where severity = 'critical') as "critical!"
             from alerts where firm_id is not distinct from $1 and not is_resolved"#,
        firm.map(|firm| firm.0)
    )
    .fetch_one(conn)
    .await?)
}

/// A client that has credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditOfClient {
    /// The client's id.
    pub client: Uuid,
    /// What the client is called.
    pub label: String,
    /// Currency of the credit.
    pub currency: String,
    /// How much.
    pub balance_minor: i64,
}

/// Clients with credit, the largest balances first.
///
/// # Errors
/// When the database is away.
pub async fn credits(conn: &mut PgConnection, firm: FirmId, most: i64) -> Result<Vec<CreditOfClient>> {
    Ok(sqlx::query_as!(
        CreditOfClient,
        r#"select b.client_id as client, coalesce(c.external_id, c.id::text) as "label!", b.currency::text as "currency!", b.balance_minor
             from credit_balances b join clients c on c.firm_id = b.firm_id and c.id = b.client_id
            where b.firm_id = $1 and b.balance_minor <> 0 order by b.balance_minor desc, b.client_id limit $2"#,
        firm.0,
        most
    )
    .fetch_all(conn)
    .await?)
}
