//! Where alerts go. A transaction sees the destinations of its firm; one without a firm those of the platform.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{alert::AlertType, delivery::Target},
    ids::{DestinationId, FirmId},
    store::{audit::Severity, error::Result},
};

/// A destination to be.
#[derive(Clone, Copy, Debug)]
pub struct NewDestination<'a> {
    /// Its id.
    pub id: DestinationId,
    /// Whose; none: the platform's.
    pub firm: Option<FirmId>,
    /// Where.
    pub target: &'a Target,
    /// What matters less is not told.
    pub min_severity: Severity,
    /// Of these types only; all where empty.
    pub types: &'a [AlertType],
    /// Who named it.
    pub by: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

/// A destination as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DestinationRow {
    /// Its id.
    pub id: Uuid,
    /// The firm, by its `external_id` where it has one; none for the platform's own.
    pub firm: Option<String>,
    /// `webhook` or `email`.
    pub kind: String,
    /// The URL or the address.
    pub target: String,
    /// What matters less is not told.
    pub min_severity: String,
    /// Of these types only; none: all.
    pub alert_types: Option<Vec<String>>,
    /// Since when nothing arrives there.
    pub failing_since: Option<DateTime<Utc>>,
    /// Since when it is told nothing.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why.
    pub disabled_reason: Option<String>,
    /// When it was named.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

/// Adds one.
///
/// # Errors
/// [`crate::store::Error::Conflict`] when the same place is told already, or when the database is away.
pub async fn insert(conn: &mut PgConnection, new: &NewDestination<'_>) -> Result<()> {
    let types: Vec<String> = new.types.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "insert into alert_destinations (id, firm_id, kind, target, min_severity, alert_types, created_at, created_by)
         values ($1, $2, $3, $4, $5, nullif($6::text[], '{}'), $7, $8)",
        new.id.0,
        new.firm.map(|firm| firm.0),
        new.target.channel.as_str(),
        new.target.text,
        new.min_severity.as_str(),
        &types,
        new.at,
        new.by,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps what a webhook is signed with.
///
/// # Errors
/// When the database is away.
pub async fn keep_secret(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    id: DestinationId,
    secret: &str,
) -> Result<()> {
    sqlx::query!(
        "insert into alert_destination_secrets (destination_id, firm_id, secret) values ($1, $2, $3)",
        id.0,
        firm.map(|firm| firm.0),
        secret
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those that were not removed, the oldest first; or one of them. A person names each, so there are few.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    id: Option<DestinationId>,
) -> Result<Vec<DestinationRow>> {
    Ok(sqlx::query_as!(
        DestinationRow,
        r#"select d.id, coalesce(f.external_id, f.id::text) as firm, d.kind, d.target, d.min_severity, d.alert_types, d.failing_since,
                  d.disabled_at, d.disabled_reason, d.created_at, d.created_by
             from alert_destinations d left join firms f on f.id = d.firm_id
            where d.firm_id is not distinct from $1 and d.removed_at is null and ($2::uuid is null or d.id = $2)
            order by d.created_at, d.id"#,
        firm.map(|firm| firm.0),
        id.map(|id| id.0)
    )
    .fetch_all(conn)
    .await?)
}

/// Removes one. What waits for it is dropped when its turn comes. `false` when there is none.
///
/// # Errors
/// When the database is away.
pub async fn remove(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    id: DestinationId,
    at: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "update alert_destinations set removed_at = $3 where firm_id is not distinct from $1 and id = $2 and removed_at is null",
        firm.map(|firm| firm.0),
        id.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Tells one nothing any more, for a reason. `false` when it is told nothing already.
///
/// # Errors
/// When the database is away.
pub async fn disable(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    id: DestinationId,
    at: DateTime<Utc>,
    reason: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "update alert_destinations set disabled_at = $3, disabled_reason = $4
          where firm_id is not distinct from $1 and id = $2 and removed_at is null and disabled_at is null",
        firm.map(|firm| firm.0),
        id.0,
        at,
        reason
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Tells one again. `false` when it is told already.
///
/// # Errors
/// When the database is away.
pub async fn enable(conn: &mut PgConnection, firm: Option<FirmId>, id: DestinationId) -> Result<bool> {
    let done = sqlx::query!(
        "update alert_destinations set disabled_at = null, disabled_reason = null, failing_since = null
          where firm_id is not distinct from $1 and id = $2 and removed_at is null and disabled_at is not null",
        firm.map(|firm| firm.0),
        id.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether something arrives at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// It did just now.
    Yes,
    /// It did not at this time.
    NotAt(DateTime<Utc>),
}

/// Notes since when nothing arrives, or that something does; writes only what is new, so that a place that works has no hot row.
///
/// # Errors
/// When the database is away.
pub async fn note(conn: &mut PgConnection, id: DestinationId, hears: Hears) -> Result<()> {
    let since = match hears {
        Hears::Yes => None,
        Hears::NotAt(at) => Some(at),
    };
    sqlx::query!(
        "update alert_destinations set failing_since = $2 where id = $1 and (failing_since is null) <> ($2::timestamptz is null)",
        id.0,
        since
    )
    .execute(conn)
    .await?;
    Ok(())
}
