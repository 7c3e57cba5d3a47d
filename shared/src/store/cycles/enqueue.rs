//! The jobs of one cycle, each enqueued with the change that calls for it.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::cycle::Cycle;
use crate::{
    domain::collection::NextAttempt,
    ids::{AttemptId, FirmId},
    store::{
        audit::Cause,
        error::Result,
        jobs::{self, NewJob, Queue},
    },
};

/// Job kind that makes the next attempt of a cycle. Payload: `{"cycle_id"}`.
pub const COLLECT: &str = "collect_invoice";
/// Job kind that finds out how an attempt ended. Payload: `{"cycle_id"}`.
pub const RECONCILE: &str = "reconcile_payment";
/// Job kind that cancels the PaymentIntent of a cycle given up. Payload: `{"cycle_id"}`.
pub const CANCEL_INTENT: &str = "cancel_payment_intent";
/// Job kind that looks at a cycle that stands still. Payload: `{"cycle_id"}`.
pub const REVIEW: &str = "review_cycle";

/// Failed lookups of one attempt before a person is asked; a lookup that shows nothing new is no failure.
pub(super) const LOOKUPS: i32 = 1000;
/// Failed tries to cancel one PaymentIntent before a person is asked.
pub const CANCELLATIONS: i32 = 100;

pub(super) async fn enqueue_collect(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    version: i32,
    next: &NextAttempt,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        COLLECT,
        format!("{}:v{version}", cycle.id),
        json!({"cycle_id": cycle.id}),
        next.at,
    )
    .firm(firm)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// Enqueues the lookup of an attempt whose outcome is not known.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_reconcile(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    attempt: AttemptId,
    at: DateTime<Utc>,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        RECONCILE,
        format!("{attempt}"),
        json!({"cycle_id": cycle.id}),
        at,
    )
    .firm(firm)
    .at_most(LOOKUPS)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// Has a written-down attempt sent whose job is gone. `by` makes the job its own.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_send(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    attempt: AttemptId,
    by: &Cause,
    at: DateTime<Utc>,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        COLLECT,
        format!("{}:{attempt}:{}", cycle.id, by.id),
        json!({"cycle_id": cycle.id}),
        at,
    )
    .firm(firm)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// Has the PaymentIntent of a cycle that was given up canceled at Stripe.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_cancel(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    at: DateTime<Utc>,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        CANCEL_INTENT,
        cycle.id.to_string(),
        json!({"cycle_id": cycle.id}),
        at,
    )
    .firm(firm)
    .at_most(CANCELLATIONS)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}
