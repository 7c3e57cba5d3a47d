//! Logins: a name, the hash of a password, and for operators a second factor.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    ids::{FirmId, UserId},
    store::error::{Result, one_row},
};

/// What is needed to check somebody who wants in.
#[derive(Clone)]
pub struct Credentials {
    /// The login.
    pub id: Uuid,
    /// Whose user; none for an operator.
    pub firm: Option<FirmId>,
    /// argon2id, as a PHC string.
    pub password_hash: String,
    /// The second factor, where there is one.
    pub totp_secret: Option<Vec<u8>>,
    /// The step of the last code that was used.
    pub totp_step: i64,
}

/// The login of this name, unless it is disabled.
///
/// # Errors
/// When the database is away.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Credentials>> {
    let row = sqlx::query!(
        r#"select login_id as "id!", firm_id, password_hash as "password_hash!", totp_secret, totp_step as "totp_step!"
             from app.find_login($1)"#,
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Credentials {
        id: row.id,
        firm: row.firm_id.map(FirmId),
        password_hash: row.password_hash,
        totp_secret: row.totp_secret,
        totp_step: row.totp_step,
    }))
}

/// Takes a code's step as used. `false` when it, or a later one, was used meanwhile. The login's firm, or none, must be set.
///
/// # Errors
/// When the database is away.
pub async fn use_totp_step(conn: &mut PgConnection, login: Uuid, step: i64) -> Result<bool> {
    let done = sqlx::query!(
        "update logins set totp_step = $2 where id = $1 and totp_step < $2",
        login,
        step
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps a password under newer parameters, or a new one of the same person.
///
/// # Errors
/// When the database is away, or there is no such login.
pub async fn set_hash(conn: &mut PgConnection, login: Uuid, password_hash: &str) -> Result<()> {
    let done = sqlx::query!(
        "update logins set password_hash = $2, password_set_at = clock_timestamp() where id = $1",
        login,
        password_hash
    )
    .execute(conn)
    .await?;
    one_row("set password", done.rows_affected())
}

/// A login to be made, or to be given another password.
#[derive(Clone, Debug)]
pub struct NewLogin<'a> {
    /// Whose.
    pub of: Owner,
    /// What is typed; kept in lower case.
    pub name: &'a str,
    /// argon2id, as a PHC string.
    pub password_hash: &'a str,
    /// The second factor; as it was where none is given.
    pub totp_secret: Option<&'a [u8]>,
}

/// Whose a login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user of a firm, which must be set.
    User(FirmId, UserId),
    /// An operator of the platform; no firm may be set.
    Operator,
}

/// Makes a login, or gives it a new password: a user of a firm has one, an operator is known by the name. Returns its id.
///
/// # Errors
/// When the database is away, or the name is somebody else's.
pub async fn put(conn: &mut PgConnection, new: &NewLogin<'_>) -> Result<Uuid> {
    let (firm, user) = match new.of {
        Owner::User(firm, user) => (Some(firm.0), Some(user.0)),
        Owner::Operator => (None, None),
    };
    let name = new.name.to_lowercase();
    let known = sqlx::query_scalar!(
        "update logins set name = $3, password_hash = $4, password_set_at = clock_timestamp(),
                totp_step = case when $5::bytea is null then totp_step else 0 end,
                totp_secret = coalesce($5, totp_secret), disabled_at = null
          where firm_id is not distinct from $1 and case when $1::uuid is null then name = $3 else user_id = $2 end returning id",
        firm,
        user,
        name,
        new.password_hash,
        new.totp_secret
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id = Uuid::now_v7();
    sqlx::query!(
        "insert into logins (id, firm_id, user_id, name, password_hash, password_set_at, totp_secret, created_at)
         values ($1, $2, $3, $4, $5, clock_timestamp(), $6, clock_timestamp())",
        id,
        firm,
        user,
        name,
        new.password_hash,
        new.totp_secret
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// A login as it is listed: never what opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginRow {
    /// Its id.
    pub id: Uuid,
    /// What is typed.
    pub name: String,
    /// The user, by `external_id` where it has one; none for an operator.
    pub user: Option<String>,
    /// `owner`, `admin`, `manager`, `staff`, `client` or `operator`.
    pub role: String,
    /// Whether a code is asked for.
    pub second_factor: bool,
    /// When the password was set (real time).
    pub password_set_at: DateTime<Utc>,
    /// Since when it opens nothing.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// The logins that the transaction sees: of its firm, or the platform's.
///
/// # Errors
/// When the database is away.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<LoginRow>> {
    Ok(sqlx::query_as!(
        LoginRow,
        r#"select l.id, l.name, coalesce(u.external_id, u.id::text) as "user?", coalesce(u.role, 'operator') as "role!",
                  l.totp_secret is not null as "second_factor!", l.password_set_at, l.disabled_at
             from logins l left join users u on u.firm_id = l.firm_id and u.id = l.user_id
            where l.firm_id is not distinct from app.firm() order by l.name"#
    )
    .fetch_all(conn)
    .await?)
}

/// The login of this name, among those that the transaction sees, unless it is shut.
///
/// # Errors
/// When the database is away.
pub async fn id_of(conn: &mut PgConnection, name: &str) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar!(
        "select id from logins where name = lower($1) and disabled_at is null and firm_id is not distinct from app.firm()",
        name
    )
    .fetch_optional(conn)
    .await?)
}

/// Shuts a login; `false` when there is none of this name among those that the transaction sees, or it is shut already.
///
/// # Errors
/// When the database is away.
pub async fn disable(conn: &mut PgConnection, name: &str) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar!(
        "update logins set disabled_at = clock_timestamp() where name = lower($1) and disabled_at is null returning id",
        name
    )
    .fetch_optional(conn)
    .await?)
}
