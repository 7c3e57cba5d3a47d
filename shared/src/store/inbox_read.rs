//! Events as they are shown: the allow-listed facts, never the body.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Result;

/// One event in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventRow {
    /// Stripe's id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pending`, `applied`, `ignored`, `unmatched` or `parked`.
    pub state: String,
    /// Why, where the state alone does not say.
    pub state_reason: Option<String>,
    /// What it is about.
    pub object_id: Option<String>,
    /// Whose it is, once known.
    pub firm_id: Option<Uuid>,
    /// When Stripe made it.
    pub created_at: DateTime<Utc>,
    /// When it came in.
    pub received_at: DateTime<Utc>,
    /// When it took effect.
    pub applied_at: Option<DateTime<Utc>>,
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// In this state only.
    pub state: Option<&'a str>,
    /// Of this type only.
    pub kind: Option<&'a str>,
    /// Those listed after this one.
    pub after: Option<&'a str>,
}

/// The events that came in last, `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(conn: &mut PgConnection, filter: &Filter<'_>, most: i64) -> Result<Vec<EventRow>> {
    Ok(sqlx::query_as!(
        EventRow,
        "select stripe_event_id as id, type as kind, state, state_reason, object_id, firm_id, created_at, received_at, applied_at
         from stripe_events
         where ($1::text is null or state = $1) and ($2::text is null or type = $2)
           and ($3::text is null
                or (received_at, stripe_event_id) < (select received_at, stripe_event_id from stripe_events where stripe_event_id = $3))
         order by received_at desc, stripe_event_id desc limit $4",
        filter.state,
        filter.kind,
        filter.after,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// An event with its facts and its job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventView {
    /// What a list shows of it.
    #[serde(flatten)]
    pub row: EventRow,
    /// Version that it was rendered in.
    pub api_version: Option<String>,
    /// The connected account, on Connect.
    pub account: Option<String>,
    /// Of which of Stripe's two worlds.
    pub livemode: bool,
    /// What kind of object it is about.
    pub object_type: Option<String>,
    /// `webhook`, `backfill` or `replay`.
    pub via: String,
    /// Ids, amounts, statuses, codes and times.
    pub facts: Value,
    /// The job that applies it.
    pub job: Option<EventJob>,
}

/// The job that applies an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventJob {
    /// Its id.
    pub id: Uuid,
    /// Where it stands.
    pub state: String,
    /// How often it was tried.
    pub attempt: i32,
    /// Why it failed last.
    pub last_error: Option<String>,
}

/// One event in full; `None` when it never came in.
///
/// # Errors
/// When the database is away.
pub async fn show(conn: &mut PgConnection, id: &str) -> Result<Option<EventView>> {
    let row = sqlx::query!(
        "select stripe_event_id as id, type as kind, state, state_reason, object_id, firm_id, created_at, received_at, applied_at,
                api_version, account, livemode, object_type, via, facts
         from stripe_events where stripe_event_id = $1",
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let job = sqlx::query_as!(
        EventJob,
        "select id, state, attempt, last_error from jobs where kind = 'process_stripe_event' and dedupe_key = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(Some(EventView {
        row: EventRow {
            id: row.id,
            kind: row.kind,
            state: row.state,
            state_reason: row.state_reason,
            object_id: row.object_id,
            firm_id: row.firm_id,
            created_at: row.created_at,
            received_at: row.received_at,
            applied_at: row.applied_at,
        },
        api_version: row.api_version,
        account: row.account,
        livemode: row.livemode,
        object_type: row.object_type,
        via: row.via,
        facts: row.facts,
        job,
    }))
}
