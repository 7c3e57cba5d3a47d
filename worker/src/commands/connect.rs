//! How a command reaches the database, and in whose name it acts there.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use shared::{
    config::{self, Mode},
    store::{
        self, Db, DbOptions,
        audit::Actor,
        business_clock,
        migrations::{self, SchemaState},
    },
};

use sqlx::{Connection, PgConnection};

use crate::{
    context::Context,
    delivery::Deliverer,
    metrics::Metrics,
    output::Failure,
    stripe::{Client, ConfigError, Limiter, StripeConfig},
};

/// How long to look for the reason why the database does not answer.
const LOOK: Duration = Duration::from_secs(3);

/// Connects as `DATABASE_URL` says, and refuses a database whose schema this build does not know yet.
///
/// # Errors
/// When the variable is missing or malformed, the database is away or its schema is behind.
pub async fn open_db() -> Result<Db, Failure> {
    let url = config::database_url("DATABASE_URL")?;
    open_db_at(&url, &DbOptions::command("quittance")).await
}

/// Like [`open_db`], for a command whose statements may take up to `longest`.
///
/// # Errors
/// As [`open_db`].
pub async fn open_db_for(longest: Duration) -> Result<Db, Failure> {
    let url = config::database_url("DATABASE_URL")?;
    let options = DbOptions {
        statement_timeout: longest,
        ..DbOptions::command("quittance")
    };
    open_db_at(&url, &options).await
}

/// Like [`open_db`], for a program that has read its environment already and needs a pool of its own size.
///
/// # Errors
/// As [`open_db`].
pub async fn open_db_at(url: &SecretString, options: &DbOptions) -> Result<Db, Failure> {
    let db = match Db::connect(url, options).await {
        Err(store::Error::Unavailable(_)) => return Err(unreachable(url).await),
        connected => connected.map_err(refused)?,
    };
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    match migrations::check(&mut conn).await.map_err(refused)? {
        SchemaState::Current => {}
        SchemaState::Behind { have, want, .. } => {
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

/// The boundary to Stripe for a command, which asks a few questions and takes its own share of the rate.
///
/// # Errors
/// When a setting is missing or malformed; nothing is connected to yet.
pub fn stripe_client() -> Result<Client, ConfigError> {
    let settings = StripeConfig::from_env()?;
    let limiter = Limiter::local(settings.rates_from_env()?);
    Client::new(&settings, limiter, Arc::new(()))
}

/// Refuses a key of the other mode than the database's: what it asks Stripe for is of another world. A database that no worker
/// has served yet has no mode.
///
/// # Errors
/// When it is, or the database is away.
pub async fn check_mode(db: &Db, client: &Client) -> Result<(), Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let ours = business_clock::read(&mut conn).await?.livemode;
    let theirs = client.mode().livemode();
    let word = |livemode| if livemode { "live" } else { "test" };
    match ours {
        Some(ours) if ours != theirs => Err(Failure::refused(
            "wrong_mode",
            format!(
                "STRIPE_SECRET_KEY is a key of {} mode, and this database belongs to {} mode: give the other key",
                word(theirs),
                word(ours)
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// What a job handler may use, for a command that runs one by itself: a client that only reads, and metrics that nobody asks for.
///
/// # Errors
/// When a setting is missing or malformed, or the key is of the other mode than the database.
pub async fn reading_context(db: Db) -> Result<Context, Failure> {
    let client = stripe_client()?;
    check_mode(&db, &client).await?;
    let metrics = Metrics::new().map_err(|e| Failure::new("internal", e.to_string()))?;
    Ok(Context {
        db,
        stripe: Arc::new(client.read_only()),
        delivery: Arc::new(Deliverer::silent()),
        metrics: Arc::new(metrics),
        worker_id: Arc::from("command"),
    })
}

/// It answered, and refused: wrong password, unknown database, no privilege.
fn refused(error: store::Error) -> Failure {
    let store::Error::Other(fault) = &error else {
        return error.into();
    };
    Failure::new(
        "database_refused",
        format!(
            "Postgres refuses this login ({}): check DATABASE_URL, and `quittance migrate --grant worker=LOGIN`",
            store::error::reason(fault)
        ),
    )
}

/// Why the database cannot be reached: the pool only says that it waited, a single connection says what for.
async fn unreachable(url: &SecretString) -> Failure {
    let direct = tokio::time::timeout(LOOK, PgConnection::connect(url.expose_secret())).await;
    let reason = match direct {
        Ok(Err(fault)) => store::error::reason(&fault),
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
    Actor::Operator(operator_name())
}

/// The same as plain text.
pub fn operator_name() -> String {
    let name = std::env::var("USER").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "unknown".to_owned())
}
