//! Stopping automatic charging, for everybody, a firm or a client, and letting it go on.
//!
//! Whoever is about to charge reads it in the transaction that marks the attempt as sent ([`super::cycles::charge_facts`]), and
//! looks at [`number`] once more right before the confirmation goes out.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    audit::{self, By},
    error::Result,
    jobs_by_hand,
};
use crate::ids::{ClientId, FirmId};

/// For whom automatic charging stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody.
    All,
    /// All clients of a firm.
    Firm(FirmId),
    /// One client.
    Client(FirmId, ClientId),
}

impl Scope {
    /// The firm, where it is about one. Its rows must be visible to the transaction.
    #[must_use]
    pub fn firm(self) -> Option<FirmId> {
        match self {
            Scope::All => None,
            Scope::Firm(firm) | Scope::Client(firm, _) => Some(firm),
        }
    }
}

/// How often anybody stopped anything. The number changes with every pause.
///
/// # Errors
/// When the database is away.
pub async fn number(conn: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar!("select brake from installation")
        .fetch_one(conn)
        .await?)
}

/// Stops automatic charging from the commit on. `false` when it was stopped already; the first reason stands.
///
/// # Errors
/// When the database is away.
pub async fn pause(conn: &mut PgConnection, scope: Scope, reason: &str, by: &By<'_>) -> Result<bool> {
    let done = match scope {
        Scope::All => {
            sqlx::query!(
                "update installation set autopay_paused_at = $1, autopay_paused_reason = $2 where autopay_paused_at is null",
                by.at,
                reason
            )
            .execute(&mut *conn)
            .await?
        }
        Scope::Firm(firm) => {
            sqlx::query!(
                "update firms set autopay_paused_at = $2, autopay_paused_reason = $3 where id = $1 and autopay_paused_at is null",
                firm.0,
                by.at,
                reason
            )
            .execute(&mut *conn)
            .await?
        }
        Scope::Client(firm, client) => {
            sqlx::query!(
                "update clients set autopay_paused_at = $3, autopay_paused_reason = $4
                  where firm_id = $1 and id = $2 and autopay_paused_at is null",
                firm.0,
                client.0,
                by.at,
                reason
            )
            .execute(&mut *conn)
            .await?
        }
    };
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    tell(conn, scope, "autopay.paused", reason, by).await?;
    // The last statement: the row that all who charge look at is locked for the shortest time.
    pull(conn).await?;
    Ok(true)
}

/// Has everybody who is about to charge look again: to be called after whatever sets a pause, in its transaction.
///
/// # Errors
/// When the database is away.
pub async fn pull(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("update installation set brake = brake + 1")
        .execute(conn)
        .await?;
    Ok(())
}

/// Lets automatic charging go on. `false` when it was not stopped. What was due meanwhile is due now; whoever calls has it
/// swept.
///
/// # Errors
/// When the database is away.
pub async fn resume(conn: &mut PgConnection, scope: Scope, reason: &str, by: &By<'_>) -> Result<bool> {
    let done = match scope {
        Scope::All => {
            sqlx::query!(
                "update installation set autopay_paused_at = null, autopay_paused_reason = null where autopay_paused_at is not null"
            )
            .execute(&mut *conn)
            .await?
        }
        Scope::Firm(firm) => {
            sqlx::query!(
                "update firms set autopay_paused_at = null, autopay_paused_reason = null
                  where id = $1 and autopay_paused_at is not null",
                firm.0
            )
            .execute(&mut *conn)
            .await?
        }
        Scope::Client(firm, client) => {
            sqlx::query!(
                "update clients set autopay_paused_at = null, autopay_paused_reason = null
                  where firm_id = $1 and id = $2 and autopay_paused_at is not null",
                firm.0,
                client.0
            )
            .execute(&mut *conn)
            .await?
        }
    };
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    tell(conn, scope, "autopay.resumed", reason, by).await?;
    Ok(true)
}

/// In the audit of the firm; where it is everybody's, in the installation's own record and in the audit of each firm.
async fn tell(conn: &mut PgConnection, scope: Scope, change: &str, reason: &str, by: &By<'_>) -> Result<()> {
    let (firm, kind, subject) = match scope {
        Scope::All => {
            jobs_by_hand::record(conn, change, reason, &json!({}), by).await?;
            let meta = json!({ "change": change, "reason": reason, "scope": "all" });
            return audit::record_for_every_firm(conn, by, "config.changed", &meta).await;
        }
        Scope::Firm(firm) => (firm, "firm", firm.0),
        Scope::Client(firm, client) => (firm, "client", client.0),
    };
    let meta = json!({ "change": change, "reason": reason });
    audit::record(
        conn,
        firm,
        by.at,
        &by.entry("config.changed", kind, subject, meta),
    )
    .await
}
