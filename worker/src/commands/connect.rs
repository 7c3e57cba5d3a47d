//! How a command reaches the database, and in whose name it acts there.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared::{
    config::{self, Mode},
    store::{
        self, Db, DbOptions,
        audit::Actor,
        migrations::{self, SchemaState},
    },
};

use sqlx::{Connection, PgConnection};

use crate::output::Failure;

/// How long to look for the reason why the database does not answer.
const LOOK: Duration = Duration::from_secs(3);

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
    let db = match Db::connect(&url, options).await {
        Err(store::Error::Unavailable(_)) => return Err(unreachable(&url).await),
        connected => connected?,
    };
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
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

/// Why the database cannot be reached: the pool only says that it waited, a single connection says what for.
async fn unreachable(url: &SecretString) -> Failure {
    let direct = tokio::time::timeout(LOOK, PgConnection::connect(url.expose_secret())).await;
    let reason = match direct {
        Ok(Err(fault)) => fault.to_string(),
        Ok(Ok(_)) => "it is back now, try again".to_owned(),
        Err(_) => "no answer".to_owned(),
    };
    Failure::new(
        "database_unavailable",
        format!("the database of DATABASE_URL cannot be reached: {reason}"),
    )
}

/// The person at the command line, for the audit log: the login name of the machine.
pub fn operator() -> Actor {
    let name = std::env::var("USER").ok().filter(|name| !name.is_empty());
    Actor::Operator(name.unwrap_or_else(|| "unknown".to_owned()))
}
