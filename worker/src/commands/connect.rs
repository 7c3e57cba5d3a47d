//! How a command reaches the database.

use shared::{
    config::{self, Mode},
    store::{
        Db, DbOptions,
        migrations::{self, SchemaState},
    },
};

use crate::output::Failure;

/// Connects as `DATABASE_URL` says, and refuses a database whose schema this build does not know yet.
///
/// # Errors
/// When the variable is missing or malformed, the database is away or its schema is behind.
pub async fn open_db() -> Result<Db, Failure> {
    open_db_with(&DbOptions::command("quittance")).await
}

/// Like [`open_db`], for a program that needs a pool of its own size.
///
/// # Errors
/// As [`open_db`].
pub async fn open_db_with(options: &DbOptions) -> Result<Db, Failure> {
    let url = config::database_url("DATABASE_URL")?;
    let db = Db::connect(&url, options).await?;
    let mut conn = db.pool().acquire().await.map_err(shared::store::Error::from)?;
    match migrations::check(&mut conn).await? {
        SchemaState::Current => {}
        SchemaState::Behind { have, want } => {
            return Err(Failure::new(
                "schema_behind",
                format!(
                    "the database has schema version {have}, this build needs {want}: run `quittance migrate`"
                ),
            ));
        }
        SchemaState::Ahead { have, want } => {
            tracing::warn!(have, want, "the database's schema is newer than this build knows");
        }
    }
    drop(conn);
    Ok(db)
}

/// The Stripe mode that the environment states, if it states one.
///
/// # Errors
/// When the key or the mode is malformed, or they contradict each other.
pub fn stripe_mode() -> Result<Option<Mode>, Failure> {
    let key = config::secret("STRIPE_SECRET_KEY")?;
    match config::stripe_mode(key.as_ref()) {
        Ok(mode) => Ok(Some(mode)),
        Err(config::Error::Missing { .. }) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}
