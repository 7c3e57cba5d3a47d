//! How often somebody may guess a password: attempts that failed, by hash of what they are counted by.
//!
//! After so many failures each further one locks for twice as long, up to a limit; a quarter of an hour without any forgets them. In
//! the database, so that it holds for all portals together and survives their restart.

use std::time::Duration;

use sqlx::PgConnection;

use crate::store::error::Result;

/// Failures are forgotten after this long without another one.
const MEMORY_SECS: i32 = 15 * 60;

/// How failures of a kind of key count.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// So many cost nothing.
    pub free: i32,
    /// Nobody waits longer than this for the next attempt.
    pub longest_secs: i32,
}

/// For how long nobody may try with this key; none when it is free.
///
/// # Errors
/// When the database is away.
pub async fn locked_for(conn: &mut PgConnection, key_sha256: &[u8]) -> Result<Option<Duration>> {
    let secs = sqlx::query_scalar!(
        r#"select ceil(extract(epoch from locked_until - clock_timestamp()))::bigint as "secs!" from login_throttle
            where key_sha256 = $1 and locked_until > clock_timestamp()"#,
        key_sha256
    )
    .fetch_optional(conn)
    .await?;
    Ok(secs.map(|secs| Duration::from_secs(u64::try_from(secs).unwrap_or(1).max(1))))
}

/// Notes a failure, and forgets old ones.
///
/// # Errors
/// When the database is away.
pub async fn failed(conn: &mut PgConnection, key_sha256: &[u8], limit: Limit) -> Result<()> {
    sqlx::query!(
        "insert into login_throttle as t (key_sha256, failures, failed_at, locked_until) values ($1, 1, clock_timestamp(), null)
         on conflict (key_sha256) do update set
           failures = case when t.failed_at < clock_timestamp() - make_interval(secs => $3) then 1 else t.failures + 1 end,
           failed_at = clock_timestamp(),
           locked_until = case when t.failures + 1 >= $2 and t.failed_at >= clock_timestamp() - make_interval(secs => $3)
             then clock_timestamp() + make_interval(secs => least(30 * 2 ^ least(t.failures + 1 - $2, 10), $4)) end",
        key_sha256,
        limit.free,
        f64::from(MEMORY_SECS),
        f64::from(limit.longest_secs)
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("delete from login_throttle where failed_at < clock_timestamp() - interval '1 day'")
        .execute(conn)
        .await?;
    Ok(())
}

/// Remembers for a day that somebody got in under this key.
///
/// # Errors
/// When the database is away.
pub async fn remember(conn: &mut PgConnection, key_sha256: &[u8]) -> Result<()> {
    sqlx::query!(
        "insert into login_throttle (key_sha256, failures, failed_at, locked_until) values ($1, 0, clock_timestamp(), null)
         on conflict (key_sha256) do update set failed_at = clock_timestamp()",
        key_sha256
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether somebody got in under this key within the last day.
///
/// # Errors
/// When the database is away.
pub async fn is_remembered(conn: &mut PgConnection, key_sha256: &[u8]) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from login_throttle
                           where key_sha256 = $1 and failures = 0 and failed_at > clock_timestamp() - interval '1 day') as "known!""#,
        key_sha256
    )
    .fetch_one(conn)
    .await?)
}

/// Forgets the failures of a key: whoever it is knew the password.
///
/// # Errors
/// When the database is away.
pub async fn succeeded(conn: &mut PgConnection, key_sha256: &[u8]) -> Result<()> {
    sqlx::query!("delete from login_throttle where key_sha256 = $1", key_sha256)
        .execute(conn)
        .await?;
    Ok(())
}
