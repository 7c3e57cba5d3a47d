//! Who is told of a difference: the firm's audit log, once, and whoever reads its alerts.

use serde_json::json;
use shared::{
    domain::{
        alert::{AlertType, Topic},
        reconcile::Finding,
    },
    ids::FirmId,
    store::{
        alerts::{self, NewAlert},
        audit::{self, Actor, By, Severity},
        reconcile as rows,
    },
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::queue::JobError;

/// Writes what is new into the audit log, and raises or resolves the firm's alert about drift.
///
/// # Errors
/// When the database is away.
pub async fn of_drift(
    conn: &mut PgConnection,
    firm: FirmId,
    found: &[Finding],
    new: &[Uuid],
    by: &By<'_>,
) -> Result<(), JobError> {
    for finding in found {
        let id = finding.id(firm);
        if !new.contains(&id) {
            continue;
        }
        let mut entry = by.entry("recon.finding", "finding", id, meta(finding));
        entry.severity = Severity::Warning;
        entry.actor = Actor::System;
        audit::record(conn, firm, by.at, &entry).await?;
    }
    alert(conn, firm, by).await
}

/// Ids, amounts and states of both sides.
pub fn meta(finding: &Finding) -> serde_json::Value {
    json!({"kind": finding.kind, "ours": finding.ours, "stripe": finding.stripe, "repair": finding.repair})
}

/// Raises the firm's alert while a finding is open (again: counts it up), and resolves it once none is.
///
/// # Errors
/// When the database is away.
pub async fn alert(conn: &mut PgConnection, firm: FirmId, by: &By<'_>) -> Result<(), JobError> {
    let open = rows::count_open(conn, firm).await?;
    alert_of(conn, Some(firm), open, by).await
}

/// The same for the account as a whole, whose findings are not kept.
///
/// # Errors
/// When the database is away.
pub async fn alert_of(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    open: i64,
    by: &By<'_>,
) -> Result<(), JobError> {
    if open == 0 {
        alerts::resolve(conn, firm, by.at, &[Topic::Drift], "system").await?;
        return Ok(());
    }
    let alert = NewAlert {
        kind: AlertType::DriftDetected,
        severity: Severity::Critical,
        topic: Topic::Drift,
        title: "Our books and Stripe's differ",
        message: &format!(
            "{open} difference(s) are open. `quittance reconcile` shows both sides of each and what to do."
        ),
        invoice: None,
        related: json!({ "open_findings": open }),
        cause: by.cause,
    };
    alerts::raise(conn, firm, by.at, &alert).await?;
    Ok(())
}
