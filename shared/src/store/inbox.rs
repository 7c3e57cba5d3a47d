//! The inbox as the worker sees it: one row per event, and what became of it.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::error::Result;
use crate::ids::FirmId;

/// An event, as far as its facts go. The body is read by replay only.
#[derive(Clone, Debug)]
pub struct InboxEvent {
    /// `evt_…`.
    pub id: String,
    /// `payment_intent.succeeded` …
    pub event_type: String,
    /// Id of the object it is about.
    pub object_id: Option<String>,
    /// Allow-listed facts.
    pub facts: Value,
    /// `pending`, `applied`, `ignored`, `unmatched`, `parked`.
    pub state: String,
    /// Real time of arrival.
    pub received_at: DateTime<Utc>,
}

impl InboxEvent {
    /// Whether it has taken effect, or has none.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.state.as_str(), "applied" | "ignored")
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventState {
    /// Its object was fetched and applied.
    Applied,
    /// Of a type that we leave alone.
    Ignored,
    /// Belongs to nothing we know yet, or its object is not at Stripe yet; looked at again.
    Unmatched,
    /// A person must look.
    Parked,
}

impl EventState {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventState::Applied => "applied",
            EventState::Ignored => "ignored",
            EventState::Unmatched => "unmatched",
            EventState::Parked => "parked",
        }
    }
}

/// Loads one event.
///
/// # Errors
/// When the database is away.
pub async fn load(conn: &mut PgConnection, id: &str) -> Result<Option<InboxEvent>> {
    Ok(sqlx::query_as!(
        InboxEvent,
        "select stripe_event_id as id, type as event_type, object_id, facts, state, received_at
         from stripe_events where stripe_event_id = $1",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// Marks what became of an event, in the transaction of its effects. `false` when it was settled before, by a replay or by the
/// job of its own, and is not any more: what took effect stays so.
///
/// # Errors
/// When the database is away.
pub async fn mark(
    conn: &mut PgConnection,
    id: &str,
    firm: Option<FirmId>,
    state: EventState,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "update stripe_events set state = $2, firm_id = coalesce($3, firm_id), state_reason = $4,
           applied_at = case when $2 in ('applied', 'ignored') then $5::timestamptz else null end
         where stripe_event_id = $1 and (state not in ('applied', 'ignored') or $2 in ('applied', 'ignored'))",
        id,
        state.as_str(),
        firm.map(|f| f.0),
        reason,
        now
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
