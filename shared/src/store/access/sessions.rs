//! Sessions of people in a browser. A cookie holds the token, we its hash.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    ids::{ClientId, FirmId, UserId},
    store::error::Result,
};

/// Longest life of a session; it ends earlier after an hour without a request (see `app.find_session`).
pub const LIFE: TimeDelta = TimeDelta::hours(12);

/// A session that is open, and who it is.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// Whose user; none for an operator.
    pub firm: Option<FirmId>,
    /// The login.
    pub login_id: Uuid,
    /// What was typed.
    pub login: String,
    /// The user; none for an operator.
    pub user: Option<UserId>,
    /// What the books call this person.
    pub label: String,
    /// What people call this person.
    pub name: String,
    /// `owner`, `admin`, `manager`, `staff`, `client` or `operator`.
    pub role: String,
    /// The client that a portal user belongs to.
    pub client: Option<ClientId>,
    /// Whether a portal user may see what is billed.
    pub can_view_billing: bool,
    /// When it was used last (real time).
    pub seen_at: DateTime<Utc>,
}

/// The open session with this token.
///
/// # Errors
/// When the database is away.
pub async fn find(conn: &mut PgConnection, token_sha256: &[u8]) -> Result<Option<Session>> {
    let row = sqlx::query!(
        r#"select session_id as "id!", firm_id, login_id as "login_id!", login as "login!", user_id, label as "label!", name as "name!",
                  role as "role!", client_id, can_view_billing as "can_view_billing!", seen_at as "seen_at!"
             from app.find_session($1)"#,
        token_sha256
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Session {
        id: row.id,
        firm: row.firm_id.map(FirmId),
        login_id: row.login_id,
        login: row.login,
        user: row.user_id.map(UserId),
        label: row.label,
        name: row.name,
        role: row.role,
        client: row.client_id.map(ClientId),
        can_view_billing: row.can_view_billing,
        seen_at: row.seen_at,
    }))
}

/// Opens a session, and forgets those of the same login that are over. The login's firm, or none, must be set.
///
/// # Errors
/// When the database is away.
pub async fn open(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    login: Uuid,
    token_sha256: &[u8],
    now: DateTime<Utc>,
) -> Result<Uuid> {
    sqlx::query!(
        "delete from portal_sessions where login_id = $1 and (expires_at <= $2 or seen_at <= $2 - interval '1 hour')",
        login,
        now
    )
    .execute(&mut *conn)
    .await?;
    let id = Uuid::now_v7();
    sqlx::query!(
        "insert into portal_sessions (id, firm_id, login_id, token_sha256, created_at, seen_at, expires_at) values ($1, $2, $3, $4, $5, $5, $6)",
        id,
        firm.map(|firm| firm.0),
        login,
        token_sha256,
        now,
        now + LIFE
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionRow {
    /// Its id.
    pub id: Uuid,
    /// When it began (real time).
    pub created_at: DateTime<Utc>,
    /// When it was used last, to the minute.
    pub seen_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// The open sessions of a login, the latest first. The login's firm, or none, must be set.
///
/// # Errors
/// When the database is away.
pub async fn list(conn: &mut PgConnection, login: Uuid) -> Result<Vec<SessionRow>> {
    Ok(sqlx::query_as!(
        SessionRow,
        "select id, created_at, seen_at, expires_at from portal_sessions
          where login_id = $1 and expires_at > clock_timestamp() and seen_at > clock_timestamp() - interval '1 hour' order by id desc",
        login
    )
    .fetch_all(conn)
    .await?)
}

/// Ends one of a login's own sessions; `false` when it has none of this id.
///
/// # Errors
/// When the database is away.
pub async fn end_own(conn: &mut PgConnection, login: Uuid, id: Uuid) -> Result<bool> {
    let done = sqlx::query!(
        "delete from portal_sessions where login_id = $1 and id = $2",
        login,
        id
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that a session was used.
///
/// # Errors
/// When the database is away.
pub async fn touch(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!(
        "update portal_sessions set seen_at = clock_timestamp() where id = $1",
        id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a session.
///
/// # Errors
/// When the database is away.
pub async fn end(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("delete from portal_sessions where id = $1", id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends all sessions of a login: its password is another one, or it is shut.
///
/// # Errors
/// When the database is away.
pub async fn end_all(conn: &mut PgConnection, login: Uuid) -> Result<()> {
    sqlx::query!("delete from portal_sessions where login_id = $1", login)
        .execute(conn)
        .await?;
    Ok(())
}
