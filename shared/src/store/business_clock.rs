//! The one business clock: an offset that every process reads. A guard keeps it still in live mode.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::error::{Result, one_row};

/// What the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Business time.
    pub now: DateTime<Utc>,
    /// How far it is ahead of the real time.
    pub offset_ms: i64,
    /// Which Stripe mode the database belongs to; `None` until a program with a key has started.
    pub livemode: Option<bool>,
}

/// Reads it.
///
/// # Errors
/// When the database is away.
pub async fn read(conn: &mut PgConnection) -> Result<Reading> {
    Ok(sqlx::query_as!(
        Reading,
        r#"select app.now() as "now!", c.offset_ms, i.livemode from clock c cross join installation i"#
    )
    .fetch_one(conn)
    .await?)
}

/// Reads it and keeps others from moving it until the end of the transaction.
///
/// # Errors
/// When the database is away.
pub async fn lock(conn: &mut PgConnection) -> Result<Reading> {
    Ok(sqlx::query_as!(
        Reading,
        r#"select app.now() as "now!", c.offset_ms, i.livemode from clock c cross join installation i for update of c"#
    )
    .fetch_one(conn)
    .await?)
}

/// Whether somebody moved it within this stretch of real time.
///
/// # Errors
/// When the database is away.
pub async fn moved_within(conn: &mut PgConnection, stretch: TimeDelta) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select changed_at > clock_timestamp() - make_interval(secs => $1) as "moved!" from clock"#,
        stretch.as_seconds_f64()
    )
    .fetch_one(conn)
    .await?)
}

/// Sets how far it is ahead. Whether that is allowed is the caller's decision, except in live mode.
///
/// # Errors
/// When the database is away; a refusal (`QT001`) in live mode.
pub async fn set_offset(conn: &mut PgConnection, offset_ms: i64) -> Result<()> {
    let changed = sqlx::query!(
        "update clock set offset_ms = $1, changed_at = clock_timestamp()",
        offset_ms
    )
    .execute(conn)
    .await?
    .rows_affected();
    one_row("set the clock", changed)
}
