//! What people say of alerts: that they have seen one, or that it is over. Whoever says so is on record, with the reason where they give
//! one: in the audit log of the alert's firm, or on the platform's own record.

use serde_json::json;
use uuid::Uuid;

use super::Result;
use crate::{
    ids::{AlertId, FirmId},
    store::{
        Tx, alerts,
        audit::{self, By, NO_REASON},
        jobs_by_hand,
    },
};

/// Marks an alert as read; it stays open. `false` when it was already, and nothing is put on record then.
///
/// # Errors
/// When the database is away.
pub async fn read(
    tx: &mut Tx,
    firm: Option<FirmId>,
    id: AlertId,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<bool> {
    let changed = alerts::mark_read(tx, firm, id, by.at, by.actor.name()).await?;
    if changed {
        record(tx, firm, "alert.read", &[id.0], reason, by).await?;
    }
    Ok(changed)
}

/// Marks all open alerts as read. Returns how many nobody had read.
///
/// # Errors
/// When the database is away.
pub async fn read_all(tx: &mut Tx, firm: Option<FirmId>, reason: Option<&str>, by: &By<'_>) -> Result<usize> {
    let read = alerts::mark_all_read(tx, firm, by.at, by.actor.name()).await?;
    record(tx, firm, "alert.read", &read, reason, by).await?;
    Ok(read.len())
}

/// Marks an alert as over, on a person's word. `false` when it was already, and nothing is put on record then.
///
/// # Errors
/// When the database is away.
pub async fn resolve(
    tx: &mut Tx,
    firm: Option<FirmId>,
    id: AlertId,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<bool> {
    let changed = alerts::mark_resolved(tx, firm, id, by.at, by.actor.name()).await?;
    if changed {
        record(tx, firm, "alert.resolved", &[id.0], reason, by).await?;
    }
    Ok(changed)
}

async fn record(
    tx: &mut Tx,
    firm: Option<FirmId>,
    action: &str,
    alerts: &[Uuid],
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<()> {
    let reason = reason.unwrap_or(NO_REASON);
    match firm {
        Some(firm) => {
            let metas = vec![json!({ "reason": reason }); alerts.len()];
            audit::record_all(tx, firm, by, (action, "alert"), alerts, &metas).await?;
        }
        None => {
            for alert in alerts {
                let subject = json!({ "alert": alert });
                jobs_by_hand::record(tx, action, reason, &subject, by).await?;
            }
        }
    }
    Ok(())
}
