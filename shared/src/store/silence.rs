//! How long a connection that says nothing is believed.
//!
//! A connection can be cut without a word: by a firewall that forgets it, by a machine that is gone. What is sent on it is
//! never answered, and nobody says so. The kernel believes in it for a quarter of an hour, and for ever where we only
//! listen; sqlx sets no keepalive and no user timeout on its sockets, and gives no way to. So whoever waits for Postgres
//! has a limit of its own: single statements this one, jobs the limit on their silence (`worker/src/queue/silence.rs`).

use std::{future::Future, io, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use super::error::{Error, Result};

/// What Postgres has to answer one small statement, the wait for a connection included.
pub const ANSWER: Duration = Duration::from_secs(5);

/// What it has to answer before an idle connection is used again: less than a wait for a connection, so that another one
/// can be tried within it.
const IDLE_ANSWER: Duration = Duration::from_secs(2);

/// What comes of `work`, if it does within `limit`. What it had begun may have taken effect all the same.
///
/// # Errors
/// [`Error::Unavailable`] when it does not; otherwise what `work` says.
pub async fn answered<T, E>(
    limit: Duration,
    work: impl Future<Output = std::result::Result<T, E>>,
) -> Result<T>
where
    Error: From<E>,
{
    match timeout(limit, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(fell_silent(limit).into()),
    }
}

/// Whether an idle connection still answers.
pub(super) async fn before_use(conn: &mut PgConnection) -> sqlx::Result<bool> {
    ping(conn, IDLE_ANSWER).await
}

/// Whether a connection that is given back still answers. The pool asks that itself and waits for ever, and a connection
/// that it waits for is one less that it has.
pub(super) async fn after_use(conn: &mut PgConnection) -> sqlx::Result<bool> {
    ping(conn, ANSWER).await
}

async fn ping(conn: &mut PgConnection, limit: Duration) -> sqlx::Result<bool> {
    match timeout(limit, conn.ping()).await {
        Ok(answered) => answered.map(|()| true),
        // An error, so that it is dropped: a connection that is closed politely is written to, which may wait again.
        Err(_) => Err(fell_silent(limit)),
    }
}

fn fell_silent(limit: Duration) -> sqlx::Error {
    let message = format!("no answer within {} s", limit.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_answered_is_an_unavailable_database() {
        let silent = std::future::pending::<Result<()>>();
        let told = answered(Duration::from_millis(1), silent).await.unwrap_err();
        assert!(told.is_transient(), "{told}");
        assert_eq!(
            told.to_string(),
            "database is not available: error communicating with database: no answer within 0 s"
        );
        let refused = async { Err::<(), _>(sqlx::Error::RowNotFound) };
        assert!(!answered(ANSWER, refused).await.unwrap_err().is_transient());
    }
}
