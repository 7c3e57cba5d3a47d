//! What destinations are told: reading what is to be sent, and what came of it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::delivery::{DeliveryState, Edge, Notice, Target},
    ids::{AlertId, DeliveryId, DestinationId, FirmId, JobId},
    store::{
        error::{Error, Result, one_row},
        jobs::{self, NewJob, Queue},
    },
};

/// Job kind that tells one destination. Payload: `{"delivery_id"}`. The trigger of migration 0031 enqueues it.
pub const DELIVER: &str = "deliver_alert";

/// A delivery that is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where it stands.
    pub state: DeliveryState,
    /// To which destination.
    pub destination: DestinationId,
    /// Where that is.
    pub target: Target,
    /// What a webhook is signed with.
    pub secret: Option<String>,
    /// Whether the destination wants to be told.
    pub is_wanted: bool,
    /// When it was first sent.
    pub first_sent_at: Option<DateTime<Utc>>,
    /// How often it was sent.
    pub attempts: i32,
    /// What is told.
    pub notice: Notice,
}

/// Reads a delivery and locks it. The key of an alert that somebody named is told as they named it. `None` when there is none that this transaction sees.
///
/// # Errors
/// When the database is away.
pub async fn lock(conn: &mut PgConnection, id: DeliveryId) -> Result<Option<Order>> {
    let row = sqlx::query!(
        r#"select y.state, y.edge, y.severity, y.title, y.message, y.attempts, y.first_sent_at, y.created_at, y.alert_id, y.destination_id,
                  d.kind, d.target, d.removed_at is null and d.disabled_at is null as "is_wanted!", s.secret as "secret?",
                  a.alert_type as "alert_type?", regexp_replace(a.dedupe_key, '^named:', '') as "dedupe_key?", coalesce(f.external_id, f.id::text) as firm
             from alert_deliveries y
             join alert_destinations d on d.id = y.destination_id and d.firm_id is not distinct from y.firm_id
             left join alert_destination_secrets s on s.destination_id = d.id
             left join alerts a on a.id = y.alert_id
             left join firms f on f.id = y.firm_id
            where y.id = $1 for update of y"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Order {
            state: row.state.parse().map_err(Error::corrupt)?,
            destination: DestinationId(row.destination_id),
            target: Target {
                channel: row.kind.parse().map_err(Error::corrupt)?,
                text: row.target,
            },
            secret: row.secret,
            is_wanted: row.is_wanted,
            first_sent_at: row.first_sent_at,
            attempts: row.attempts,
            notice: Notice {
                id: row.alert_id,
                delivery: id.0,
                event: row.edge.parse().map_err(Error::corrupt)?,
                kind: row.alert_type.unwrap_or_else(|| "TEST".to_owned()),
                severity: row.severity,
                title: row.title,
                message: row.message,
                firm: row.firm,
                dedupe_key: row.dedupe_key,
                occurred_at: row.created_at,
                url: None,
            },
        })
    })
    .transpose()
}

/// When a destination that may be told so many new things within `span` may be told the next one; `None`: now. Counted from the rows, so
/// that no counter is everybody's.
///
/// # Errors
/// When the database is away.
pub async fn full_until(
    conn: &mut PgConnection,
    destination: DestinationId,
    now: DateTime<Utc>,
    (most, span): (i64, TimeDelta),
) -> Result<Option<DateTime<Utc>>> {
    let earliest = sqlx::query_scalar!(
        r#"select first_sent_at as "at!" from alert_deliveries
            where destination_id = $1 and first_sent_at > $2 and edge <> 'test'
            order by first_sent_at desc offset $3 limit 1"#,
        destination.0,
        now - span,
        most - 1
    )
    .fetch_optional(conn)
    .await?;
    Ok(earliest.map(|at| at + span))
}

/// Notes that it is sent now.
///
/// # Errors
/// When the database is away.
pub async fn begin(conn: &mut PgConnection, id: DeliveryId, now: DateTime<Utc>) -> Result<()> {
    let done = sqlx::query!(
        "update alert_deliveries set state = 'waiting', ended_at = null, attempts = attempts + 1, first_sent_at = coalesce(first_sent_at, $2)
          where id = $1",
        id.0,
        now
    )
    .execute(conn)
    .await?;
    one_row("begin a delivery", done.rows_affected())
}

/// Notes where it stands now, and what went wrong last.
///
/// # Errors
/// When the database is away.
pub async fn note(
    conn: &mut PgConnection,
    id: DeliveryId,
    state: DeliveryState,
    now: DateTime<Utc>,
    error: Option<&str>,
) -> Result<()> {
    let done = sqlx::query!(
        "update alert_deliveries set state = $2, last_error = $3, ended_at = case when $2 <> 'waiting' then $4::timestamptz end where id = $1",
        id.0,
        state.as_str(),
        error,
        now
    )
    .execute(conn)
    .await?;
    one_row("note a delivery", done.rows_affected())
}

/// Orders that a destination be told of nothing, to see whether it hears.
///
/// # Errors
/// When the database is away.
pub async fn test(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    destination: DestinationId,
    now: DateTime<Utc>,
) -> Result<JobId> {
    let id = DeliveryId::new();
    sqlx::query!(
        "insert into alert_deliveries (id, firm_id, destination_id, edge, severity, title, message, created_at)
         values ($1, $2, $3, $4, 'info', 'A test', 'Somebody tries whether alerts arrive here. There is nothing to do.', $5)",
        id.0,
        firm.map(|firm| firm.0),
        destination.0,
        Edge::Test.as_str(),
        now
    )
    .execute(&mut *conn)
    .await?;
    let mut job = NewJob::new(
        Queue::Alerts,
        DELIVER,
        id.to_string(),
        json!({ "delivery_id": id }),
        now,
    )
    .in_order_of(format!("destination:{destination}"));
    job.firm = firm;
    let job = jobs::enqueue(conn, &job).await?.ok_or(Error::Lost {
        what: "enqueue a test of a destination",
        changed: 0,
    })?;
    jobs::nudge(conn).await?;
    Ok(job)
}

/// A delivery as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryRow {
    /// Its id: what a receiver sees whenever it is sent again.
    pub id: Uuid,
    /// Whose; none for the platform's own.
    pub firm: Option<String>,
    /// The alert; none for a test.
    pub alert: Option<Uuid>,
    /// `opened`, `reopened`, `worsened` or `test`.
    pub edge: String,
    /// The alert's severity then.
    pub severity: String,
    /// To which destination.
    pub destination: Uuid,
    /// `webhook` or `email`.
    pub kind: String,
    /// Where that is.
    pub target: String,
    /// `waiting`, `delivered`, `failed` or `dropped`.
    pub state: String,
    /// How often it was sent.
    pub attempts: i32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was called for.
    pub created_at: DateTime<Utc>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Which deliveries to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Of this alert only.
    pub alert: Option<AlertId>,
    /// In this state only.
    pub state: Option<DeliveryState>,
    /// Those listed after this one.
    pub after: Option<DeliveryId>,
}

/// Deliveries of one firm (or of the platform), the newest first, `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    filter: &Filter,
    most: i64,
) -> Result<Vec<DeliveryRow>> {
    Ok(sqlx::query_as!(
        DeliveryRow,
        r#"select y.id, coalesce(f.external_id, f.id::text) as firm, y.alert_id as alert, y.edge, y.severity, y.destination_id as destination,
                  d.kind, d.target, y.state, y.attempts, y.last_error, y.created_at, y.ended_at
             from alert_deliveries y
             join alert_destinations d on d.id = y.destination_id and d.firm_id is not distinct from y.firm_id
             left join firms f on f.id = y.firm_id
            where y.firm_id is not distinct from $1 and ($2::uuid is null or y.alert_id = $2) and ($3::text is null or y.state = $3)
              and ($4::uuid is null
                   or (y.created_at, y.id) < (select created_at, id from alert_deliveries where firm_id is not distinct from $1 and id = $4))
            order by y.created_at desc, y.id desc limit $5"#,
        firm.map(|firm| firm.0),
        filter.alert.map(|alert| alert.0),
        filter.state.map(DeliveryState::as_str),
        filter.after.map(|after| after.0),
        most
    )
    .fetch_all(conn)
    .await?)
}

/// What `doctor` says of deliveries, over all firms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Webhooks that are to be told.
    pub webhooks: i64,
    /// Mailboxes that are to be told.
    pub mailboxes: i64,
    /// Destinations at which nothing has arrived lately.
    pub failing: i64,
    /// Destinations that are told nothing.
    pub disabled: i64,
    /// Deliveries that wait.
    pub waiting: i64,
    /// Deliveries that were given up within a week.
    pub failed_lately: i64,
}

/// Reads it.
///
/// # Errors
/// When the database is away.
pub async fn health(conn: &mut PgConnection) -> Result<Health> {
    Ok(sqlx::query_as!(
        Health,
        r#"select webhooks as "webhooks!", mailboxes as "mailboxes!", failing as "failing!", disabled as "disabled!",
                  waiting as "waiting!", failed_lately as "failed_lately!" from app.alert_delivery_health()"#
    )
    .fetch_one(conn)
    .await?)
}
