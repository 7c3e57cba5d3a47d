//! Tokens by which other systems and scripts use the API. Whoever makes one sees it once; we keep its hash.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    ids::{FirmId, UserId},
    store::error::Result,
};

/// A token that is good, and what it may do.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Whose; none for the platform's.
    pub firm: Option<FirmId>,
    /// What its maker calls it.
    pub name: String,
    /// `owner`, `admin`, `manager`, `staff`, `alerts` or `operator`.
    pub role: String,
    /// When it was used last (real time).
    pub used_at: Option<DateTime<Utc>>,
    /// In whose name it acts; none for a system.
    pub person: Option<Person>,
}

/// Whoever a token acts for.
#[derive(Clone, Debug)]
pub struct Person {
    /// The login.
    pub login: Uuid,
    /// The user; none for an operator.
    pub user: Option<UserId>,
    /// What the books call this person.
    pub label: String,
    /// What people call this person.
    pub name: String,
}

/// The token with this hash, unless it has expired, was revoked, or acts for somebody whose login is shut. Its role is no more than
/// that person has by now.
///
/// # Errors
/// When the database is away.
pub async fn find(conn: &mut PgConnection, token_sha256: &[u8]) -> Result<Option<Token>> {
    let row = sqlx::query!(
        r#"select token_id as "id!", firm_id, name as "name!", role as "role!", used_at, login_id, user_id, label, person
             from app.find_token($1)"#,
        token_sha256
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Token {
        id: row.id,
        firm: row.firm_id.map(FirmId),
        name: row.name,
        role: row.role,
        used_at: row.used_at,
        person: row.login_id.map(|login| Person {
            login,
            user: row.user_id.map(UserId),
            label: row.label.unwrap_or_else(|| login.to_string()),
            name: row.person.unwrap_or_else(|| login.to_string()),
        }),
    }))
}

/// Notes that a token was used. Its firm, or none, must be set.
///
/// # Errors
/// When the database is away.
pub async fn touch(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!(
        "update api_tokens set used_at = clock_timestamp() where id = $1",
        id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A token to be kept.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// Its id.
    pub id: Uuid,
    /// Whose, which must be set; none for the platform's, and then no firm may be set.
    pub firm: Option<FirmId>,
    /// What its maker calls it.
    pub name: &'a str,
    /// What it may do.
    pub role: &'a str,
    /// SHA-256 of it.
    pub token_sha256: &'a [u8],
    /// In whose name it acts; none for a system.
    pub login: Option<Uuid>,
    /// Who made it.
    pub created_by: &'a str,
    /// Until when it is good (real time).
    pub expires_at: DateTime<Utc>,
}

/// Keeps a new token.
///
/// # Errors
/// When the database is away.
pub async fn insert(conn: &mut PgConnection, new: &NewToken<'_>) -> Result<()> {
    sqlx::query!(
        "insert into api_tokens (id, firm_id, name, role, token_sha256, created_by, created_at, expires_at, login_id)
         values ($1, $2, $3, $4, $5, $6, clock_timestamp(), $7, $8)",
        new.id,
        new.firm.map(|firm| firm.0),
        new.name,
        new.role,
        new.token_sha256,
        new.created_by,
        new.expires_at,
        new.login
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A token as it is listed: never what opens anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRow {
    /// Its id.
    pub id: Uuid,
    /// What its maker calls it.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// The login in whose name it acts; none for a system.
    pub acts_for: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When (real time).
    pub created_at: DateTime<Utc>,
    /// Until when it is good.
    pub expires_at: DateTime<Utc>,
    /// When it was used last.
    pub used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// By whom.
    pub revoked_by: Option<String>,
}

/// The tokens that the transaction sees, the newest first: of its firm, or the platform's.
///
/// # Errors
/// When the database is away.
pub async fn list(conn: &mut PgConnection, after: Option<Uuid>, most: i64) -> Result<Vec<TokenRow>> {
    Ok(sqlx::query_as!(
        TokenRow,
        r#"select t.id, t.name, t.role, l.name as "acts_for?", t.created_by, t.created_at, t.expires_at, t.used_at, t.revoked_at, t.revoked_by
             from api_tokens t left join logins l on l.id = t.login_id
            where t.firm_id is not distinct from app.firm() and ($1::uuid is null or t.id < $1) order by t.id desc limit $2"#,
        after,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// Ends a token; `false` when there is none of this id that is good, among those that the transaction sees.
///
/// # Errors
/// When the database is away.
pub async fn revoke(conn: &mut PgConnection, id: Uuid, by: &str) -> Result<bool> {
    let done = sqlx::query!(
        "update api_tokens set revoked_at = clock_timestamp(), revoked_by = $2
          where id = $1 and revoked_at is null and firm_id is not distinct from app.firm()",
        id,
        by
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whose a token is, by its id: `None` when there is none that the transaction sees.
///
/// # Errors
/// When the database is away.
pub async fn name_of(conn: &mut PgConnection, id: Uuid) -> Result<Option<String>> {
    Ok(
        sqlx::query_scalar!("select name from api_tokens where id = $1", id)
            .fetch_optional(conn)
            .await?,
    )
}
