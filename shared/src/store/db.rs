//! The pool, and transactions that know their firm and their time.

use std::{
    ops::{Deref, DerefMut},
    str::FromStr,
    time::Duration,
};

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;
use tracing::Span;

use super::{
    error::{self, Result},
    silence,
};
use crate::{
    failpoint::{self, Effect},
    ids::FirmId,
    trace,
};

/// A frozen process must not hold row locks for ever: Postgres ends its transaction after this long without a statement.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// By these Postgres notices that nobody is at the other end of a connection, within 35 seconds instead of hours: what such
/// a session holds is free again, and the session no longer one of those that there may be.
const NOTICE_WHO_IS_GONE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
];

/// How to connect.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// Shown in `pg_stat_activity`.
    pub application_name: &'static str,
    /// Upper bound of the pool.
    pub max_connections: u32,
    /// How long to wait for a connection before the caller is told that the database is away.
    pub acquire_timeout: Duration,
    /// Upper bound for one statement.
    pub statement_timeout: Duration,
}

impl DbOptions {
    /// Sensible for a command: few connections, patient.
    #[must_use]
    pub fn command(application_name: &'static str) -> Self {
        Self {
            application_name,
            max_connections: 4,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(60),
        }
    }
}

/// The database as a runtime role sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
}

/// A transaction, the time at its start by both clocks, and (once set) the firm whose rows it sees.
///
/// Dropped without [`Tx::commit`] it rolls back.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    now: DateTime<Utc>,
    real_now: DateTime<Utc>,
    /// From here to its end, for a trace.
    span: Span,
}

impl Db {
    /// Connects and checks that the server answers.
    ///
    /// # Errors
    /// When the URL is malformed or the server cannot be reached.
    pub async fn connect(url: &SecretString, options: &DbOptions) -> Result<Self> {
        let connect = PgConnectOptions::from_str(url.expose_secret())?
            .application_name(options.application_name)
            .options([
                (
                    "statement_timeout",
                    format!("{}ms", options.statement_timeout.as_millis()),
                ),
                (
                    "idle_in_transaction_session_timeout",
                    format!("{}ms", IDLE_IN_TRANSACTION.as_millis()),
                ),
                ("timezone", "UTC".to_owned()),
                // Compiling pays for long scans, and we have none; tables of one row that were never analyzed look like long
                // ones to the planner, which then spends most of a second on compiling.
                ("jit", "off".to_owned()),
            ])
            .options(NOTICE_WHO_IS_GONE);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            // The pool's own test waits for ever.
            .test_before_acquire(false)
            .before_acquire(|conn, _| Box::pin(silence::before_use(conn)))
            .after_release(|conn, _| Box::pin(silence::after_use(conn)))
            .connect_with(connect)
            .await?;
        Ok(Self { pool })
    }

    /// Wraps a pool that exists already.
    #[must_use]
    pub fn from_pool(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The pool, for statements outside any transaction.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Why no connection is to be had: the pool only says that it waited, a connection of one's own says what for.
    pub async fn why_away(&self, limit: Duration) -> String {
        let options = self.pool.connect_options();
        match timeout(limit, PgConnection::connect_with(&options)).await {
            Ok(Ok(_)) => "all connections of the pool are in use".to_owned(),
            Ok(Err(fault)) => error::reason(&fault),
            Err(_) => "no answer".to_owned(),
        }
    }

    /// Begins a transaction that sees one firm's rows and nothing else of any firm.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn firm(&self, firm: FirmId) -> Result<Tx> {
        Tx::of_firm(self.pool.begin().await?, firm).await
    }

    /// Begins a transaction that sees one firm's rows, all of them as they are now until it ends, and can change none:
    /// for comparing tables with each other while others write.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn snapshot(&self, firm: FirmId) -> Result<Tx> {
        let inner = self
            .pool
            .begin_with("begin isolation level repeatable read, read only")
            .await?;
        Tx::of_firm(inner, firm).await
    }

    /// Begins a transaction that sees no firm's rows: for the inbox, the queue and the schedules.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn plain(&self) -> Result<Tx> {
        let span = trace::transaction();
        let mut inner = self.pool.begin().await?;
        let clocks = sqlx::query!(r#"select app.now() as "now!", clock_timestamp() as "real_now!""#)
            .fetch_one(&mut *inner)
            .await?;
        Ok(Tx {
            inner,
            now: clocks.now,
            real_now: clocks.real_now,
            span,
        })
    }

    /// Business time now.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn now(&self) -> Result<DateTime<Utc>> {
        Ok(sqlx::query_scalar!(r#"select app.now() as "now!""#)
            .fetch_one(&self.pool)
            .await?)
    }
}

impl Tx {
    /// Makes a transaction just begun see one firm, and reads the clocks, in one statement.
    async fn of_firm(mut inner: Transaction<'static, Postgres>, firm: FirmId) -> Result<Self> {
        let span = trace::transaction();
        let clocks = sqlx::query!(
            r#"select app.now() as "now!", clock_timestamp() as "real_now!" from set_config('app.firm_id', $1, true)"#,
            firm.to_string()
        )
        .fetch_one(&mut *inner)
        .await?;
        Ok(Self {
            inner,
            now: clocks.now,
            real_now: clocks.real_now,
            span,
        })
    }

    /// Business time at the start of this transaction: the `now` of everything decided in it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Real time at the start of this transaction, by the database's clock: for what does not follow the business clock,
    /// such as how long a call to Stripe may still be under way.
    #[must_use]
    pub fn real_now(&self) -> DateTime<Utc> {
        self.real_now
    }

    /// Makes one firm's rows visible from here on, and no other's.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn set_firm(&mut self, firm: FirmId) -> Result<()> {
        sqlx::query!(
            "select set_config('app.firm_id', $1, true) as firm",
            firm.to_string()
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Makes it all durable.
    ///
    /// # Errors
    /// When the database is away or a deferred constraint does not hold; nothing has happened then.
    pub async fn commit(self) -> Result<()> {
        failpoint::around(Effect::Commit, self.inner.commit()).await?;
        self.span.record("quittance.db.outcome", "committed");
        Ok(())
    }

    /// Undoes it all now instead of at drop.
    ///
    /// # Errors
    /// When the database is away; it undoes it then by itself.
    pub async fn rollback(self) -> Result<()> {
        self.inner.rollback().await?;
        self.span.record("quittance.db.outcome", "rolled back");
        Ok(())
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}
