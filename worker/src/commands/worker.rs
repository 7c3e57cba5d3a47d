//! `quittance worker`: runs jobs until it is told to stop. Any number of replicas.
//!
//! Starting is strict: what is missing is said in one line. Stopping is kind: SIGTERM drains, a second one ends it.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use serde_json::json;
use shared::{
    config::{self, Mode},
    store::{self, Db, DbOptions, jobs::Queue},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::connect;
use crate::{
    admin_http::{self, Probes},
    context::Context,
    jobs,
    metrics::Metrics,
    output::{Exit, Failure, Format},
    queue::{
        Registry,
        heartbeat::Identity,
        lane,
        pool::{Drained, Pool, Settings},
    },
    stripe::{self, Limiter, StripeConfig},
};

/// Redis must answer within this at start.
const REDIS_START: Duration = Duration::from_secs(5);

/// Connections to Postgres: the loops need a few, and at most half of the slots are inside a statement at a time.
const LOOP_CONNECTIONS: usize = 6;
const MOST_CONNECTIONS: usize = 32;

/// How `quittance worker` is called.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Queues to serve; all of them unless told.
    #[arg(long, value_delimiter = ',', value_name = "QUEUE,…")]
    pub queues: Vec<Queue>,
    /// Jobs that run at a time, per queue.
    #[arg(long, default_value = "10", value_name = "N")]
    pub concurrency: NonZeroUsize,
}

/// What the environment says.
struct Environment {
    stripe: StripeConfig,
    mode: Mode,
    redis_url: secrecy::SecretString,
    lease: Duration,
    grace: Duration,
    admin: SocketAddr,
}

impl Environment {
    fn read() -> Result<Self, Failure> {
        let stripe = StripeConfig::from_env().map_err(configuration)?;
        Ok(Self {
            mode: config::stripe_mode(Some(&stripe.secret_key))?,
            stripe,
            redis_url: config::redis_url()?,
            lease: config::seconds("JOB_LEASE_SECS", 15, 5..=300)?,
            grace: config::seconds("SHUTDOWN_GRACE_SECS", 25, 0..=3600)?,
            admin: config::parsed("WORKER_ADMIN_ADDR", SocketAddr::from(([0, 0, 0, 0], 9081)))?,
        })
    }
}

fn configuration(error: impl std::fmt::Display) -> Failure {
    Failure::new("configuration", error.to_string())
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When something that it needs is missing, unreachable or refused.
pub async fn run(args: Args, format: Format) -> Result<Exit, Failure> {
    let environment = Environment::read()?;
    let mut queues = if args.queues.is_empty() {
        Queue::ALL.to_vec()
    } else {
        args.queues
    };
    queues.sort_unstable();
    queues.dedup();
    let identity = Identity::fresh(queues, args.concurrency.get());
    // Before anything is started: a signal during start must not be lost.
    let mut stop = Stop::listen()?;

    let metrics = Arc::new(Metrics::new().map_err(|e| Failure::new("internal", e.to_string()))?);
    let db = connect::open_db_with(&options(&identity)).await?;
    claim_mode(&db, environment.mode).await?;
    let redis = timeout(REDIS_START, lane::connect(environment.redis_url.expose_secret()))
        .await
        .map_err(|_| "no answer in time".to_owned())
        .and_then(|connected| connected.map_err(|e| e.to_string()))
        .map_err(|e| {
            Failure::new(
                "redis_unavailable",
                format!("cannot reach Redis (REDIS_URL): {e}"),
            )
        })?;
    let limiter = Limiter::shared(
        environment.redis_url.expose_secret(),
        environment.stripe.rates_from_env().map_err(configuration)?,
    )
    .map_err(|e| Failure::new("configuration", e.to_string()))?;
    let client = stripe::Client::new(&environment.stripe, limiter, metrics.clone())
        .map_err(|e| Failure::new("configuration", e.to_string()))?;

    let listener = admin_http::bind(environment.admin).await.map_err(|e| {
        Failure::new(
            "configuration",
            format!("cannot listen on WORKER_ADMIN_ADDR {}: {e}", environment.admin),
        )
    })?;
    let admin = listener.local_addr().unwrap_or(environment.admin);
    let cx = Context {
        db: db.clone(),
        stripe: Arc::new(client),
        metrics: metrics.clone(),
        worker_id: Arc::from(identity.id.as_str()),
    };
    let settings = Settings {
        identity: identity.clone(),
        lease: environment.lease,
        grace: environment.grace,
    };
    let pool = Pool::start(cx, jobs::register(Registry::new()), redis, settings).await?;
    tokio::spawn(admin_http::serve(
        listener,
        Probes {
            db,
            health: pool.health.clone(),
            metrics,
        },
    ));
    let ready = json!({ "worker": identity.id, "admin": format!("http://{admin}") });
    format.show(&ready, |_| {
        format!("quittance worker {} ready, admin http://{admin}", identity.id)
    })?;

    stop.requested().await;
    tracing::info!(
        "draining: no new jobs, {} s for the running ones",
        environment.grace.as_secs()
    );
    tokio::select! {
        drained = pool.drain() => {
            match drained? {
                Drained::Clean => tracing::info!("stopped; every running job finished"),
                Drained::CutOff => tracing::warn!("stopped; some jobs were cut off and given back"),
            }
            Ok(Exit::Done)
        }
        () = stop.requested() => Err(Failure::new("interrupted", "stopped at once by a second signal")),
    }
}

fn options(identity: &Identity) -> DbOptions {
    let slots = identity.concurrency.saturating_mul(identity.queues.len());
    let most = (slots / 2 + LOOP_CONNECTIONS).min(MOST_CONNECTIONS);
    DbOptions {
        application_name: "quittance-worker",
        max_connections: u32::try_from(most).unwrap_or(MOST_CONNECTIONS as u32),
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(60),
    }
}

/// Says which of Stripe's modes this database belongs to, if nobody has yet. The database refuses another one, and
/// a live one whose clock was moved.
async fn claim_mode(db: &Db, mode: Mode) -> Result<(), store::Error> {
    sqlx::query!(
        "update installation set livemode = $1 where livemode is distinct from $1",
        mode.livemode()
    )
    .execute(db.pool())
    .await?;
    Ok(())
}

/// SIGTERM and SIGINT.
struct Stop {
    term: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|e| Failure::new("internal", format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Resolves at the next one.
    async fn requested(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
