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
        /// Up to this version none is missing (0: none is there).
        have: i64,
        /// Version this build needs.
        want: i64,
        /// How many are missing; one may be missing below others that are there.
        missing: usize,
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

/// Brings the database to this build's schema. An advisory lock lets one process do so at a time; the others wait
/// and find nothing left to do.
///
/// # Errors
/// When a migration fails, or one that ran here was changed since.
pub async fn apply(conn: &mut PgConnection) -> std::result::Result<(), MigrateError> {
    MIGRATOR.run_direct(None, conn, false).await?;
    #[cfg(debug_assertions)]
    if let Some(undo) = crate::sabotage::of_schema() {
        sqlx::raw_sql(undo).execute(conn).await?;
    }
    Ok(())
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
    let applied: Vec<i64> = if exists {
        sqlx::query_scalar("select version from public._sqlx_migrations where success")
            .fetch_all(&mut *conn)
            .await?
    } else {
        Vec::new()
    };
    let missing: Vec<i64> = MIGRATOR
        .iter()
        .map(|m| m.version)
        .filter(|version| !applied.contains(version))
        .collect();
    if let Some(first) = missing.iter().min() {
        let below = MIGRATOR
            .iter()
            .map(|m| m.version)
            .filter(|version| version < first);
        return Ok(SchemaState::Behind {
            have: below.max().unwrap_or(0),
            want,
            missing: missing.len(),
        });
    }
    Ok(match applied.into_iter().max() {
        Some(have) if have > want => SchemaState::Ahead { have, want },
        Some(_) | None => SchemaState::Current,
    })
}
