//! A cycle moves on: its row, the invoice's next charge, the job of the next attempt, the audit.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{cycle::Cycle, enqueue::enqueue_collect};
use crate::{
    domain::{
        alert::{AlertType, Topic},
        collection::CycleChange,
    },
    ids::{CycleId, FirmId, InvoiceId},
    money::Money,
    store::{
        alerts::{self, NewAlert},
        audit::{self, Actor, Cause, Entry, Severity},
        error::{Result, one_row},
        routes,
    },
};

/// Moves a cycle on, keeps the invoice's `autopay_next_charge_at` in step, and enqueues the next attempt where one is due.
///
/// # Errors
/// When the database is away or refuses the transition.
pub async fn update_cycle(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    change: &CycleChange,
) -> Result<()> {
    let next_at = change.next.as_ref().map(|n| n.at);
    let version = sqlx::query_scalar!(
        "update collection_cycles set state = $3, state_reason = $4, first_failed_at = coalesce(first_failed_at, $5),
           next_attempt_at = $6, next_step = coalesce($7, next_step), next_trigger = coalesce($8, next_trigger), deadline_at = $9
         where firm_id = $1 and id = $2 returning version",
        firm.0,
        cycle.id.0,
        change.state.as_str(),
        change.reason,
        change.first_failed_at,
        next_at,
        change.next.as_ref().map(|n| i32::try_from(n.step).unwrap_or(i32::MAX)),
        change.next.as_ref().map(|n| n.trigger.as_str()),
        change.deadline,
    )
    .fetch_one(&mut *conn)
    .await?;
    set_next_charge(conn, firm, cycle.invoice, next_at).await?;
    if let Some(next) = &change.next {
        enqueue_collect(conn, firm, cycle, version, next).await?;
    }
    Ok(())
}

/// Stores the PaymentIntent of a cycle, and the route by which its events find the way back.
///
/// # Errors
/// When the database is away.
pub async fn set_intent(conn: &mut PgConnection, firm: FirmId, id: CycleId, intent: &str) -> Result<()> {
    let done = sqlx::query!(
        "update collection_cycles set stripe_payment_intent_id = $3
         where firm_id = $1 and id = $2 and (stripe_payment_intent_id is null or stripe_payment_intent_id = $3)",
        firm.0,
        id.0,
        intent
    )
    .execute(&mut *conn)
    .await?;
    one_row("set intent", done.rows_affected())?;
    routes::record(conn, firm, "payment_intent", intent, id.0).await
}

/// Keeps the cycle's amount in step with its PaymentIntent's.
///
/// # Errors
/// When the database is away.
pub async fn set_amount(conn: &mut PgConnection, firm: FirmId, id: CycleId, amount: Money) -> Result<()> {
    sqlx::query!(
        "update collection_cycles set amount_minor = $3 where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        amount.minor()
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_next_charge(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    at: Option<DateTime<Utc>>,
) -> Result<()> {
    sqlx::query!(
        "update invoices set autopay_next_charge_at = $3
         where firm_id = $1 and id = $2 and autopay_next_charge_at is distinct from $3",
        firm.0,
        invoice.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn audit_cycle(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    action: &str,
    invoice: InvoiceId,
    cause: &Cause,
    meta: serde_json::Value,
) -> Result<()> {
    audit::record(
        conn,
        firm,
        now,
        &Entry {
            action,
            severity: Severity::Info,
            actor: Actor::System,
            subject_kind: "invoice",
            subject: invoice.0,
            cause,
            meta,
        },
    )
    .await
}

/// Tells that no further attempt will be made unless a person decides so: in the audit, and as an alert.
///
/// # Errors
/// When the database is away.
pub async fn tell_exhausted(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    (invoice, cycle): (InvoiceId, CycleId),
    reason: Option<&str>,
    cause: &Cause,
) -> Result<()> {
    let entry = Entry {
        action: "retry.exhausted",
        severity: Severity::Critical,
        actor: Actor::System,
        subject_kind: "invoice",
        subject: invoice.0,
        cause,
        meta: json!({"cycle": cycle, "reason": reason}),
    };
    audit::record(conn, firm, now, &entry).await?;
    let message = match reason {
        Some(reason) => format!("The client did not act in time ({reason})."),
        None => "The last retry was declined.".to_owned(),
    };
    let alert = NewAlert {
        kind: AlertType::RetryExhausted,
        severity: Severity::Critical,
        topic: Topic::RetryExhausted(invoice),
        title: "No further attempt is made",
        message: &format!("{message} A person decides what becomes of this invoice."),
        invoice: Some(invoice),
        related: json!({"cycle": cycle, "reason": reason}),
        cause,
    };
    alerts::raise(conn, firm, now, &alert).await?;
    Ok(())
}
