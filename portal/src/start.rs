//! From settings to a running portal: everything that can stop the start, each with its one line.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use shared::{
    serve::Server,
    store::{
        self, Db, DbOptions,
        migrations::{self, SchemaState},
    },
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    app::{self, App},
    config::Settings,
    health::Health,
    metrics::Metrics,
};

/// Open connections; more wait in the kernel.
const MAX_OPEN: usize = 1024;
/// The same on the admin port: probes and scrapers.
const MAX_ADMIN_OPEN: usize = 64;
/// Pooled connections: requests are short, and wait a little for one.
const MAX_CONNECTIONS: u32 = 16;
/// Postgres must answer within this at start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Nothing that a page or the API asks for takes longer, or is worth waiting for.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The database is away, or refuses.
    #[error(
        "the database of DATABASE_URL cannot be used: {0}. Check the URL, that Postgres runs, and `quittance migrate --grant portal=LOGIN`"
    )]
    Database(#[from] store::Error),
    /// Wrong schema.
    #[error("the database has schema version {have}, this build needs {want}: run `quittance migrate`")]
    Behind {
        /// What it has.
        have: i64,
        /// What we need.
        want: i64,
    },
    /// A login that could see all firms.
    #[error(
        "the login of DATABASE_URL is not held to one firm (superuser, owner, or more than quittance_portal): give the portal a login of its own"
    )]
    TooMighty,
    /// Where browsers find us cannot be guessed.
    #[error(
        "PORTAL_URL is not set, or is no https:// address: a live installation names where browsers find the portal, such as https://billing.example.com"
    )]
    NoUrl,
    /// A bug of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A port that is served.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A portal that is open.
pub struct Running {
    /// Where the public port really is (the setting may say port 0).
    pub addr: SocketAddr,
    /// Where the admin port really is.
    pub admin_addr: SocketAddr,
    /// Ends the public port: nothing new is accepted, and requests under way are answered.
    pub stopped: CancellationToken,
    /// Serves pages and API until stopped.
    pub public: Serving,
    /// Serves probes for ever.
    pub admin: Serving,
}

/// Checks everything and listens.
///
/// # Errors
/// See [`enum@Error`].
pub async fn start(settings: &Settings, draining: &CancellationToken) -> Result<Running, Error> {
    let (listener, addr) = bind("PORTAL_ADDR", settings.addr).await?;
    let (admin_listener, admin_addr) = bind("PORTAL_ADMIN_ADDR", settings.admin_addr).await?;
    let options = DbOptions {
        application_name: "quittance-portal",
        max_connections: MAX_CONNECTIONS,
        acquire_timeout: CONNECT_TIMEOUT,
        statement_timeout: STATEMENT_TIMEOUT,
    };
    let db = Db::connect(&settings.database_url, &options).await?;
    check(&db).await?;
    let metrics = Arc::new(Metrics::try_new()?);
    let url = url(&db, settings, addr).await?;
    let app = App::new(db.clone(), settings, &url, Arc::clone(&metrics));
    let stopped = CancellationToken::new();
    let public = Server {
        listener,
        service: app::router(&app),
        max_connections: MAX_OPEN,
        connections: None,
        draining: draining.clone(),
        stopped: stopped.clone(),
    };
    let health = Health::new(db, draining.clone());
    let admin = Server {
        listener: admin_listener,
        service: admin::routes(health, metrics),
        max_connections: MAX_ADMIN_OPEN,
        connections: None,
        draining: CancellationToken::new(), // probes go on while the public port drains
        stopped: CancellationToken::new(),
    };
    Ok(Running {
        addr,
        admin_addr,
        stopped,
        public: Box::pin(public.run()),
        admin: Box::pin(admin.run()),
    })
}

async fn bind(name: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Bind { name, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// Where browsers find us: as it is set, or here, where nothing is live yet.
async fn url(db: &Db, settings: &Settings, addr: SocketAddr) -> Result<String, Error> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let has_live_key = settings
        .publishable_key
        .as_deref()
        .is_some_and(|key| key.starts_with("pk_live_"));
    let is_live = has_live_key || store::health::is_live(&mut conn).await?;
    match &settings.url {
        Some(url) if !is_live || url.starts_with("https://") => Ok(url.clone()),
        None if !is_live => Ok(format!("http://localhost:{}", addr.port())),
        Some(_) | None => Err(Error::NoUrl),
    }
}

/// The schema is there, and the login is held to what row-level security lets it see.
async fn check(db: &Db) -> Result<(), Error> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    match migrations::check(&mut conn).await? {
        SchemaState::Current => {}
        SchemaState::Behind { have, want, .. } => return Err(Error::Behind { have, want }),
        SchemaState::Ahead { have, want } => {
            tracing::warn!(
                have,
                want,
                "the database schema is newer than this build; going on"
            );
        }
    }
    if store::health::is_held_to_the_portal(&mut conn).await? {
        Ok(())
    } else {
        Err(Error::TooMighty)
    }
}
