//! An attempt that is taken back before it was sent, and cycles that are given up.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    attempts::{AttemptOutcome, update_attempt},
    change::{audit_cycle, update_cycle},
    cycle::{Cycle, lock},
    enqueue::enqueue_cancel,
    start::start_if_autopay,
};
use crate::{
    domain::collection::{AttemptState, AttemptView, CycleState, NextAttempt},
    ids::{ClientId, CycleId, FirmId},
    store::{audit::Cause, error::Result},
};

/// Why a cycle is given up together with its client's automatic payment: when that was switched off, or when the next
/// attempt found it so.
const WITH_AUTOPAY: [&str; 2] = ["autopay_disabled", "autopay_off"];

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
    let next = NextAttempt {
        at: now,
        step: attempt.step,
        trigger: attempt.trigger,
    };
    let change = cycle.view.wait_for_next(next, Some(reason));
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
    let change = cycle.view.change_to(CycleState::Canceled, Some(reason));
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

/// Notes that the PaymentIntent of a cycle is canceled: nothing can be charged with it any more. Where the cycle was given
/// up because automatic payment was switched off, and it is on again, its invoice is collected anew from now on.
///
/// # Errors
/// When the database is away.
pub async fn intent_closed(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<()> {
    if cycle.intent_closed {
        return Ok(());
    }
    sqlx::query!(
        "update collection_cycles set intent_closed_at = $3 where firm_id = $1 and id = $2",
        firm.0,
        cycle.id.0,
        now
    )
    .execute(&mut *conn)
    .await?;
    let with_autopay = cycle
        .reason
        .as_deref()
        .is_some_and(|reason| WITH_AUTOPAY.contains(&reason));
    if cycle.view.state == CycleState::Canceled && with_autopay {
        start_if_autopay(conn, firm, cycle.invoice, now, cause).await?;
    }
    Ok(())
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
