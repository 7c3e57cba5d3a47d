//! How often somebody may guess a password: attempts that failed, by hash of the name that was typed and of the address it came from.
//!
//! After `free` failures each further one locks for twice as long, up to a quarter of an hour; a quarter of an hour without any
//! forgets them. In the database, so that it holds for all portals together and survives their restart.

use std::time::Duration;

use sqlx::PgConnection;

use crate::store::error::Result;

/// Nobody waits longer than this for the next attempt, nor is anything remembered longer.
const LONGEST_SECS: i32 = 15 * 60;

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
pub async fn failed(conn: &mut PgConnection, key_sha256: &[u8], free: i32) -> Result<()> {
    sqlx::query!(
        "insert into login_throttle as t (key_sha256, failures, failed_at, locked_until) values ($1, 1, clock_timestamp(), null)
         on conflict (key_sha256) do update set
           failures = case when t.failed_at < clock_timestamp() - make_interval(secs => $3) then 1 else t.failures + 1 end,
           failed_at = clock_timestamp(),
           locked_until = case when t.failures + 1 >= $2 and t.failed_at >= clock_timestamp() - make_interval(secs => $3)
             then clock_timestamp() + make_interval(secs => least(30 * 2 ^ least(t.failures + 1 - $2, 10), $3)) end",
        key_sha256,
        free,
        f64::from(LONGEST_SECS)
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("delete from login_throttle where failed_at < clock_timestamp() - interval '1 day'")
        .execute(conn)
        .await?;
    Ok(())
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
