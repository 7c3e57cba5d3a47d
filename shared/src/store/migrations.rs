//! The schema that this build expects.

use sqlx::{
    PgConnection,
    migrate::{MigrateError, Migrator},
};

use super::error::Result;

/// All migrations, compiled in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// How a database's schema relates to the one this build expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// Same.
    Current,
    /// The database lacks migrations: run `quittance migrate`.
    Behind {
        /// Version in the database (0: none).
        have: i64,
        /// Version this build needs.
        want: i64,
    },
    /// The database is newer than this build. Migrations only expand what an older build uses, so it may go on.
    Ahead {
        /// Version in the database.
        have: i64,
        /// Version this build knows.
        want: i64,
    },
}

/// The newest version this build knows.
#[must_use]
pub fn expected_version() -> i64 {
    MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0)
}

/// How many migrations of this build are newer than a version.
#[must_use]
pub fn newer_than(version: i64) -> usize {
    MIGRATOR.iter().filter(|m| m.version > version).count()
}

/// Brings the database to this build's schema. An advisory lock lets one process do so at a time; the others wait
/// and find nothing left to do.
///
/// # Errors
/// When a migration fails, or one that ran here was changed since.
pub async fn apply(conn: &mut PgConnection) -> std::result::Result<(), MigrateError> {
    MIGRATOR.run_direct(None, conn, false).await
}

/// Compares the database with this build. Any runtime role may ask.
///
/// # Errors
/// When the database is away.
pub async fn check(conn: &mut PgConnection) -> Result<SchemaState> {
    let want = expected_version();
    let exists: bool = sqlx::query_scalar("select to_regclass('public._sqlx_migrations') is not null")
        .fetch_one(&mut *conn)
        .await?;
    let have: i64 = if exists {
        sqlx::query_scalar("select coalesce(max(version), 0) from public._sqlx_migrations where success")
            .fetch_one(&mut *conn)
            .await?
    } else {
        0
    };
    Ok(match have.cmp(&want) {
        std::cmp::Ordering::Less => SchemaState::Behind { have, want },
        std::cmp::Ordering::Equal => SchemaState::Current,
        std::cmp::Ordering::Greater => SchemaState::Ahead { have, want },
    })
}
