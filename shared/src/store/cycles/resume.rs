//! Cycles that stood still go on: another card is there, or what held them is gone.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    change::{audit_cycle, update_cycle},
    cycle::lock,
    give_up::cycles_of_client,
    words::parse,
};
use crate::{
    domain::collection::{CycleChange, CycleState, NextAttempt, Trigger},
    ids::{ClientId, CycleId, FirmId, InvoiceId},
    store::{audit::Cause, error::Result},
};

/// A client's card was replaced or updated: cycles that waited for one, or for the client to put the card right, are tried
/// once at once, outside the ladder (B-24). Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn method_updated(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<usize> {
    // Whoever calls has seen a new or updated card: what a hard decline marked is worth another try.
    sqlx::query!(
        "update payment_methods pm set status = 'active' from clients c
         where c.firm_id = $1 and c.id = $2 and pm.firm_id = $1 and pm.id = c.autopay_payment_method_id and pm.status = 'needs_update'",
        firm.0,
        client.0
    )
    .execute(&mut *conn)
    .await?;
    let mut resumed = 0;
    for id in cycles_of_client(conn, firm, client, &["method_required", "action_required"]).await? {
        let Some(cycle) = lock(conn, firm, id).await? else {
            continue;
        };
        let waits = matches!(
            cycle.view.state,
            CycleState::MethodRequired | CycleState::ActionRequired
        );
        // a client who is authenticating a payment right now is not interrupted
        if !waits || cycle.open_attempt().is_some() {
            continue;
        }
        let step = cycle.attempts.iter().map(|a| a.step).max().unwrap_or(0);
        let change = CycleChange {
            state: CycleState::RetryWait,
            reason: Some("method_updated".into()),
            first_failed_at: cycle.view.first_failed_at,
            next: Some(NextAttempt {
                at: now,
                step,
                trigger: Trigger::MethodUpdated,
            }),
        };
        update_cycle(conn, firm, &cycle, &change).await?;
        audit_cycle(
            conn,
            firm,
            now,
            "retry.scheduled",
            cycle.invoice,
            cause,
            json!({"cycle": id, "trigger": "method_updated", "at": now}),
        )
        .await?;
        resumed += 1;
    }
    Ok(resumed)
}

/// Lets cycles of one invoice that were held for `reason` go on at once, e.g. after a dispute was won.
///
/// # Errors
/// When the database is away.
pub async fn resume_held(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reasons: &[&str],
    now: DateTime<Utc>,
) -> Result<()> {
    let reasons: Vec<String> = reasons.iter().map(|&s| s.to_owned()).collect();
    let held: Option<Uuid> = sqlx::query_scalar!(
        "select id from collection_cycles where firm_id = $1 and invoice_id = $2 and state = 'paused' and state_reason = any($3)",
        firm.0,
        invoice.0,
        &reasons
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(id) = held else { return Ok(()) };
    let Some(cycle) = lock(conn, firm, CycleId(id)).await? else {
        return Ok(());
    };
    let next = sqlx::query!(
        "select next_step, next_trigger from collection_cycles where firm_id = $1 and id = $2",
        firm.0,
        id
    )
    .fetch_one(&mut *conn)
    .await?;
    let change = CycleChange {
        state: cycle.view.waiting(),
        reason: None,
        first_failed_at: cycle.view.first_failed_at,
        next: Some(NextAttempt {
            at: now,
            step: u32::try_from(next.next_step).unwrap_or_default(),
            trigger: parse(&next.next_trigger)?,
        }),
    };
    update_cycle(conn, firm, &cycle, &change).await
}
