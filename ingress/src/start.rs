//! From settings to a running door: everything that can stop the start, each with its one line.

use std::{io, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use axum::Router;
use secrecy::ExposeSecret;
use shared::serve::Server;
use shared::store::{self, Db, DbOptions, migrations::SchemaState};
use sqlx::postgres::PgConnectOptions;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    config::Settings,
    health::{self, Health},
    inbox::{COMMIT_DEADLINE, Inbox},
    metrics::Metrics,
    signature::{self, Verifier},
    webhook::Door,
};

/// Postgres must answer within this at start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most pooled connections beside those that the committers keep: probes take turns, and each committer may be
/// reconnecting.
fn pooled(committers: usize) -> u32 {
    u32::try_from(committers + 1).unwrap_or(u32::MAX)
}

/// Probes and scrapes need few.
const MAX_ADMIN_CONNECTIONS: usize = 32;

/// What stopped the start, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken, or an address is not ours.
    #[error("{name} cannot be listened on ({addr}): {source}: give another address")]
    Bind {
        /// The variable.
        name: &'static str,
        /// Its value.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// `DATABASE_URL` is no URL that Postgres understands. The fault never repeats the URL.
    #[error("DATABASE_URL is malformed: {0}")]
    MalformedUrl(sqlx::Error),
    /// No server there, or it does not answer.
    #[error(
        "Postgres at {host}:{port} cannot be reached: {source}. Check DATABASE_URL and that Postgres runs"
    )]
    Unreachable {
        /// Where.
        host: String,
        /// Where.
        port: u16,
        /// Why not.
        source: store::Error,
    },
    /// It answered, and refused: wrong password, unknown database, no privilege.
    #[error(
        "Postgres refuses this login: {0}. Check DATABASE_URL, and grant the role with `quittance migrate --grant ingress=LOGIN`"
    )]
    Refused(store::Error),
    /// Wrong schema or wrong Stripe mode.
    #[error("{0}")]
    Unfit(String),
    /// A secret that cannot be used.
    #[error(transparent)]
    Secret(#[from] signature::UnusableSecret),
    /// A bug of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A door that is open.
pub struct Running {
    /// Where the public port really is (the setting may say port 0).
    pub addr: SocketAddr,
    /// Where the admin port really is.
    pub admin_addr: SocketAddr,
    /// The public port; returns when stopped and drained.
    pub public: Server<Router>,
    /// The admin port.
    pub admin: Server<Router>,
    /// Write batches until the door is gone.
    pub committers: JoinSet<()>,
    /// To be closed last.
    pub db: Db,
}

/// Checks everything, listens, and starts the committers.
///
/// # Errors
/// See [`enum@Error`]. An unreachable Postgres is told within seconds instead of waited for: whoever supervises us
/// starts us again, and sees why.
pub async fn start(settings: &Settings, draining: &CancellationToken) -> Result<Running, Error> {
    let (listener, addr) = bind("INGRESS_ADDR", settings.addr).await?;
    let (admin_listener, admin_addr) = bind("INGRESS_ADMIN_ADDR", settings.admin_addr).await?;
    let db = connect(settings).await?;
    check(&db, settings).await?;

    let metrics = Arc::new(Metrics::try_new()?);
    let verifier = Verifier::try_new(&settings.webhook_secrets, settings.tolerance)?;
    let (inbox, committers) = Inbox::open(&db, settings.committers, settings.max_in_flight, &metrics);
    let door = Door::new(
        verifier,
        settings.mode,
        inbox,
        settings.max_in_flight,
        Arc::clone(&metrics),
    );
    let health = Health::new(db.clone(), settings.mode, draining.clone());
    Ok(Running {
        addr,
        admin_addr,
        public: Server {
            listener,
            service: door.routes(),
            max_connections: settings.max_connections,
            connections: Some(metrics.connections.clone()),
            draining: draining.clone(),
            stopped: CancellationToken::new(),
        },
        admin: Server {
            listener: admin_listener,
            service: admin::routes(health, metrics),
            max_connections: MAX_ADMIN_CONNECTIONS,
            connections: None,
            draining: CancellationToken::new(), // probes go on while the public port drains
            stopped: CancellationToken::new(),
        },
        committers,
        db,
    })
}

async fn bind(name: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Bind { name, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

async fn connect(settings: &Settings) -> Result<Db, Error> {
    let url = &settings.database_url;
    let parsed = PgConnectOptions::from_str(url.expose_secret()).map_err(Error::MalformedUrl)?;
    let options = DbOptions {
        application_name: "quittance-ingress",
        max_connections: pooled(settings.committers),
        acquire_timeout: CONNECT_TIMEOUT,
        statement_timeout: COMMIT_DEADLINE,
    };
    Db::connect(url, &options).await.map_err(|source| match source {
        store::Error::Unavailable(_) => Error::Unreachable {
            host: parsed.get_host().to_owned(),
            port: parsed.get_port(),
            source,
        },
        refused => Error::Refused(refused),
    })
}

async fn check(db: &Db, settings: &Settings) -> Result<(), Error> {
    let database = health::look(db).await.map_err(Error::Refused)?;
    let fault = health::schema_fault(database.schema)
        .or_else(|| health::mode_fault(database.livemode, settings.mode));
    if let Some(fault) = fault {
        return Err(Error::Unfit(fault));
    }
    if let SchemaState::Ahead { have, want } = database.schema {
        tracing::warn!(
            have,
            want,
            "the database schema is newer than this build; going on"
        );
    }
    if !database.durable {
        tracing::warn!(
            "Postgres runs with fsync off: an acknowledged event may be lost when the machine crashes"
        );
    }
    Ok(())
}
