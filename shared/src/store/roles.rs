//! Which login runs as which program. The group roles themselves are part of the schema.
//!
//! Roles belong to the whole cluster: two databases migrated at the same time write the same catalog rows.

use std::str::FromStr;

use sqlx::{AssertSqlSafe, PgConnection};

use super::error::Result;

/// What a program may do in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// May append an event and its job, and hardly more.
    Ingress,
    /// Runs the jobs and the operator commands.
    Worker,
    /// Serves the billing portal.
    Portal,
    /// Looks.
    ReadOnly,
    /// Looks into one firm at a time, while a break-glass session is open.
    Operator,
    /// Asks how much there is to do (`app.backlog()`).
    Scaler,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [
        Role::Ingress,
        Role::Worker,
        Role::Portal,
        Role::ReadOnly,
        Role::Operator,
        Role::Scaler,
    ];

    /// As in `--grant`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Ingress => "ingress",
            Role::Worker => "worker",
            Role::Portal => "portal",
            Role::ReadOnly => "readonly",
            Role::Operator => "operator",
            Role::Scaler => "scaler",
        }
    }

    /// The group role in Postgres; nobody logs in as one.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Role::Ingress => "quittance_ingress",
            Role::Worker => "quittance_worker",
            Role::Portal => "quittance_portal",
            Role::ReadOnly => "quittance_readonly",
            Role::Operator => "quittance_operator",
            Role::Scaler => "quittance_scaler",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| {
                format!("unknown role {text:?}: use ingress, worker, portal, readonly, operator or scaler")
            })
    }
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The login has the role from now on.
    Now,
    /// It had it already.
    Already,
    /// There is no such login.
    NoSuchLogin,
}

/// Makes a login a member of a group role.
///
/// # Errors
/// When the database is away, or the connection may not grant roles.
pub async fn grant(conn: &mut PgConnection, role: Role, login: &str) -> Result<Granted> {
    let member: Option<bool> = sqlx::query_scalar(
        "select exists (select 1 from pg_auth_members m join pg_roles g on g.oid = m.roleid
                         where m.member = l.oid and g.rolname = $1)
           from pg_roles l where l.rolname = $2",
    )
    .bind(role.group())
    .bind(login)
    .fetch_optional(&mut *conn)
    .await?;
    match member {
        None => Ok(Granted::NoSuchLogin),
        Some(true) => Ok(Granted::Already),
        Some(false) => {
            let statement: String = sqlx::query_scalar("select format('grant %I to %I', $1, $2)")
                .bind(role.group())
                .bind(login)
                .fetch_one(&mut *conn)
                .await?;
            sqlx::query(AssertSqlSafe(statement)).execute(conn).await?; // quoted by format(%I)
            Ok(Granted::Now)
        }
    }
}

/// Lets every runtime role see which migrations have run, so that each program can refuse a schema that is behind.
///
/// # Errors
/// When the database is away, or the connection does not own the table.
pub async fn show_version_to_all(conn: &mut PgConnection) -> Result<()> {
    sqlx::query(
        "grant select on _sqlx_migrations to quittance_ingress, quittance_worker, quittance_portal, quittance_readonly",
    )
    .execute(conn)
    .await?;
    Ok(())
}
