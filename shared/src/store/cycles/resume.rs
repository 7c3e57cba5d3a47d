//! Cycles that stand still go on, or come to their end: another card is there, what held them is gone, or the time to wait
//! is over.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    change::{audit_cycle, tell_exhausted, update_cycle},
    cycle::{Cycle, charge_facts, lock},
    give_up::cycles_of_client,
    start::last_step,
};
use crate::{
    domain::collection::{
        AMOUNT_ABOVE_LIMIT, Asked, ChargeFacts, CycleChange, CycleState, LIMIT_IN_OTHER_CURRENCY,
        NextAttempt, Review, TOO_MANY_CHARGES, Trigger, review as domain_review,
    },
    ids::{ClientId, CycleId, FirmId, InvoiceId},
    store::{
        audit::Cause,
        decisions::{self, Decision},
        error::Result,
    },
};

/// A client's card was replaced or updated: cycles that waited for one, or for the client to put the card right, are tried
/// once at once, outside the ladder (B-24). Returns how many. Call after [`crate::store::autopay::lock_collection`].
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
    let mut resumed = 0;
    for id in cycles_of_client(conn, firm, client, &["method_required", "action_required"]).await? {
        if let Some(cycle) = lock(conn, firm, id).await?
            && try_new_card(conn, firm, &cycle, now, cause).await?
        {
            resumed += 1;
        }
    }
    Ok(resumed)
}

/// How many cycles of a client wait for another card.
///
/// # Errors
/// When the database is away.
pub async fn waiting_for_a_card(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<usize> {
    let waiting = sqlx::query_scalar!(
        r#"select count(*) as "waiting!" from collection_cycles c join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
            where c.firm_id = $1 and i.client_id = $2 and c.state = 'method_required'"#,
        firm.0,
        client.0
    )
    .fetch_one(conn)
    .await?;
    Ok(usize::try_from(waiting).unwrap_or(usize::MAX))
}

/// The same as [`method_updated`] for one cycle; call under [`lock`]. Returns whether it waited for a card.
///
/// # Errors
/// When the database is away.
pub async fn try_new_card(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<bool> {
    let waits = cycle.view.state.when_waited_in_vain().is_some();
    // a client who is authenticating a payment right now is not interrupted
    if !waits || cycle.open_attempt().is_some() {
        return Ok(false);
    }
    let next = NextAttempt {
        at: now,
        step: last_step(conn, firm, cycle).await?,
        trigger: Trigger::MethodUpdated,
    };
    let change = cycle.view.wait_for_next(next, Some("method_updated"));
    update_cycle(conn, firm, cycle, &change).await?;
    let meta = json!({"cycle": cycle.id, "trigger": "method_updated", "at": now});
    audit_cycle(conn, firm, now, "retry.scheduled", cycle.invoice, cause, meta).await?;
    Ok(true)
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
    cause: &Cause,
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
    let facts = charge_facts(conn, firm, cycle.id).await?;
    go_on(conn, firm, &cycle, &facts, now, cause).await
}

/// Looks again at every paused cycle of a client. Returns how many go on. Call after
/// [`crate::store::autopay::lock_collection`].
///
/// # Errors
/// When the database is away.
pub async fn review_paused(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    asked: Asked,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<usize> {
    let mut resumed = 0;
    for id in cycles_of_client(conn, firm, client, &["paused"]).await? {
        if let Some(cycle) = lock(conn, firm, id).await?
            && review(conn, firm, &cycle, asked, now, cause).await? == Review::GoesOn
        {
            resumed += 1;
        }
    }
    Ok(resumed)
}

/// Looks again at a cycle that stands still, and does what follows; call under [`lock`].
///
/// # Errors
/// When the database is away.
pub async fn review(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    asked: Asked,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<Review> {
    let facts = charge_facts(conn, firm, cycle.id).await?;
    let seen = domain_review(&cycle.view, cycle.reason.as_deref(), &facts, asked, now);
    match &seen {
        Review::Stands => {}
        Review::GoesOn => go_on(conn, firm, cycle, &facts, now, cause).await?,
        Review::WaitsUntil(until) => {
            let change = CycleChange {
                deadline: Some(*until),
                ..cycle.view.change_to(cycle.view.state, cycle.reason.as_deref())
            };
            update_cycle(conn, firm, cycle, &change).await?;
        }
        Review::Ends(reason) => {
            let change = cycle.view.change_to(CycleState::Exhausted, Some(reason));
            update_cycle(conn, firm, cycle, &change).await?;
            tell_end(conn, firm, cycle, reason, now, cause).await?;
        }
    }
    Ok(seen)
}

/// The attempt at which it was stopped is due now.
async fn go_on(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    facts: &ChargeFacts,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<()> {
    let next = NextAttempt {
        at: now,
        step: facts.next_step,
        trigger: facts.next_trigger,
    };
    let meta = json!({"cycle": cycle.id, "step": next.step, "trigger": next.trigger.as_str(), "at": now,
                      "paused_for": cycle.reason});
    let change = cycle.view.wait_for_next(next, None);
    update_cycle(conn, firm, cycle, &change).await?;
    audit_cycle(conn, firm, now, "retry.scheduled", cycle.invoice, cause, meta).await
}

async fn tell_end(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    reason: &str,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<()> {
    let subject = (cycle.invoice, cycle.id);
    tell_exhausted(conn, firm, now, subject, Some(reason), cause).await?;
    let decision = Decision {
        subject_kind: "invoice",
        subject: cycle.invoice.0,
        kind: "retry",
        outcome: CycleState::Exhausted.as_str(),
        reason_code: reason,
        predicates: json!([
            {"name": "waited_for_client", "ok": false, "value": {"state": cycle.view.state.as_str(), "until": cycle.view.deadline}},
        ]),
        cause,
    };
    decisions::record(conn, firm, now, &decision).await
}

/// Has every cycle of a firm that a limit stopped decided anew, under the limits as they are now. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn release_limited(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<usize> {
    let reasons = [AMOUNT_ABOVE_LIMIT, LIMIT_IN_OTHER_CURRENCY, TOO_MANY_CHARGES].map(str::to_owned);
    let limited = sqlx::query_scalar!(
        "select id from collection_cycles where firm_id = $1 and state = 'paused' and state_reason = any($2) order by invoice_id",
        firm.0,
        &reasons
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut released = 0;
    for id in limited {
        if let Some(cycle) = lock(conn, firm, CycleId(id)).await?
            && review(conn, firm, &cycle, Asked::ByPerson, now, cause).await? == Review::GoesOn
        {
            released += 1;
        }
    }
    Ok(released)
}
