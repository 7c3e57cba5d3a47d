//! An attempt that is taken back before it was sent, and cycles that are given up.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    attempts::{AttemptOutcome, update_attempt},
    change::{audit_cycle, update_cycle},
    cycle::{Cycle, lock},
    enqueue::enqueue_cancel,
};
use crate::{
    domain::collection::{AttemptState, AttemptView, CycleChange, CycleState, NextAttempt},
    ids::{ClientId, CycleId, FirmId},
    store::{audit::Cause, error::Result},
};

/// Takes back an attempt that was written down and not sent, because what it was decided by no longer holds. The cycle is
/// due at once, so that it is decided anew what becomes of it.
///
/// # Errors
/// When the database is away.
pub async fn take_back(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    attempt: &AttemptView,
    now: DateTime<Utc>,
    reason: &'static str,
    cause: &Cause,
) -> Result<()> {
    let outcome = AttemptOutcome::default();
    update_attempt(conn, firm, attempt.id, AttemptState::Canceled, &outcome, now).await?;
    let change = CycleChange {
        state: cycle.view.waiting(),
        reason: Some(reason.into()),
        first_failed_at: cycle.view.first_failed_at,
        next: Some(NextAttempt {
            at: now,
            step: attempt.step,
            trigger: attempt.trigger,
        }),
    };
    update_cycle(conn, firm, cycle, &change).await?;
    let meta = json!({"cycle": cycle.id, "attempt": attempt.id, "reason": reason});
    audit_cycle(conn, firm, now, "retry.superseded", cycle.invoice, cause, meta).await
}

/// Gives up the live cycles of a client whose automatic payment was switched off: no further attempt is made, and what
/// stands at Stripe is canceled (B-13). An attempt that is under way may still succeed; its money is then recorded.
/// Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn cancel_live_cycles(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    now: DateTime<Utc>,
    reason: &'static str,
    cause: &Cause,
) -> Result<usize> {
    let live = [
        "scheduled",
        "in_flight",
        "retry_wait",
        "action_required",
        "method_required",
        "unknown",
        "paused",
    ];
    let mut canceled = 0;
    for id in cycles_of_client(conn, firm, client, &live).await? {
        let Some(cycle) = lock(conn, firm, id).await? else {
            continue;
        };
        if cycle.view.state.is_final() {
            continue;
        }
        cancel(conn, firm, &cycle, now, reason, cause).await?;
        canceled += 1;
    }
    Ok(canceled)
}

/// Gives one cycle up; call under [`lock`].
///
/// # Errors
/// When the database is away.
pub async fn cancel(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    now: DateTime<Utc>,
    reason: &'static str,
    cause: &Cause,
) -> Result<()> {
    // Nothing was sent for an attempt that is only written down; anything later keeps its row until its end is known.
    if let Some(attempt) = cycle.open_attempt().filter(|a| a.state == AttemptState::Created) {
        update_attempt(
            conn,
            firm,
            attempt.id,
            AttemptState::Canceled,
            &AttemptOutcome::default(),
            now,
        )
        .await?;
    }
    let change = CycleChange {
        state: CycleState::Canceled,
        reason: Some(reason.into()),
        first_failed_at: None,
        next: None,
    };
    update_cycle(conn, firm, cycle, &change).await?;
    if cycle.intent.is_some() {
        enqueue_cancel(conn, firm, cycle, now).await?;
    }
    audit_cycle(
        conn,
        firm,
        now,
        "retry.superseded",
        cycle.invoice,
        cause,
        json!({"cycle": cycle.id, "reason": reason}),
    )
    .await
}

pub(super) async fn cycles_of_client(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    states: &[&str],
) -> Result<Vec<CycleId>> {
    let states: Vec<String> = states.iter().map(|&s| s.to_owned()).collect();
    Ok(sqlx::query_scalar!(
        "select c.id from collection_cycles c join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
         where c.firm_id = $1 and i.client_id = $2 and c.state = any($3) order by c.id",
        firm.0,
        client.0,
        &states
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(CycleId)
    .collect())
}
