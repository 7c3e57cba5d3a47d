//! Writes of the API that named a key: what each was answered, kept for a day. The row is written in the transaction of the change,
//! so that there is an answer exactly where there is an effect.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{Result, one_row};
use crate::ids::FirmId;

/// What a key means, under the lock of its first use.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Nobody has used it: go on, and keep the answer with [`keep`].
    New(Uuid),
    /// The same request was answered before.
    Answered {
        /// HTTP status.
        status: i32,
        /// The document.
        answer: Value,
    },
    /// Another request used it.
    Other,
}

/// Takes a key. Whoever comes second waits for the first one's transaction. The caller's firm, or none, must be set.
///
/// # Errors
/// When the database is away.
pub async fn claim(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    caller: &str,
    key: &str,
    request_sha256: &[u8],
) -> Result<Claim> {
    sqlx::query!(
        "delete from idempotency_keys where firm_id is not distinct from app.firm() and created_at < clock_timestamp() - interval '1 day'"
    )
    .execute(&mut *conn)
    .await?;
    let id = Uuid::now_v7();
    let done = sqlx::query!(
        "insert into idempotency_keys (id, firm_id, caller, key, request_sha256, status, answer, created_at)
         values ($1, $2, $3, $4, $5, 0, 'null', clock_timestamp()) on conflict (firm_id, caller, key) do nothing",
        id,
        firm.map(|firm| firm.0),
        caller,
        key,
        request_sha256
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(Claim::New(id));
    }
    let row = sqlx::query!(
        "select request_sha256, status, answer from idempotency_keys
          where firm_id is not distinct from $1 and caller = $2 and key = $3",
        firm.map(|firm| firm.0),
        caller,
        key
    )
    .fetch_one(conn)
    .await?;
    if row.request_sha256 != request_sha256 {
        return Ok(Claim::Other);
    }
    Ok(Claim::Answered {
        status: row.status,
        answer: row.answer,
    })
}

/// Keeps the answer under a claimed key.
///
/// # Errors
/// When the database is away.
pub async fn keep(conn: &mut PgConnection, id: Uuid, status: i32, answer: &Value) -> Result<()> {
    let done = sqlx::query!(
        "update idempotency_keys set status = $2, answer = $3 where id = $1",
        id,
        status,
        answer
    )
    .execute(conn)
    .await?;
    one_row("keep answer", done.rows_affected())
}
