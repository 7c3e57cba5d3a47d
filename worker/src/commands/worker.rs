//! `quittance worker`: runs jobs until it is told to stop. Any number of replicas.
//!
//! Starting is strict: what is missing is said in one line, before anything is connected to. Redis alone may be away: the
//! worker starts, is not ready, and works once Redis is there. Stopping is kind: SIGTERM drains, a second one ends it.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
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
    delivery::{self, Deliverer},
    jobs,
    metrics::Metrics,
    output::{Exit, Failure, Format},
    queue::{
        Registry,
        heartbeat::Identity,
        lane,
        pool::{Drained, Pool, Settings},
        silence,
    },
    redis_link::Redis,
    stripe::{self, ConfigError, Limiter, Rates, StripeConfig},
};

/// How long Redis is waited for at start, before the worker says that it is away and goes on.
const REDIS_START: Duration = Duration::from_secs(5);

/// Connections to Postgres: the loops need a few, and at most half of the slots are inside a statement at a time.
const LOOP_CONNECTIONS: usize = 6;
const MOST_CONNECTIONS: usize = 32;
/// Connections beside these, for signs of life and leases: a job that waits for a lock must not cost its worker its life.
const UPKEEP_CONNECTIONS: u32 = 3;

/// Under the options in `--help`.
pub const HELP: &str = "Examples:
  quittance worker
  quittance worker --queues events,charges --concurrency 20

Environment (each secret also as NAME_FILE):
  DATABASE_URL              Postgres, the worker's own login (required)
  REDIS_URL                 redis://HOST:6379/0 (required)
  STRIPE_SECRET_KEY         sk_… or rk_…; its prefix decides the mode (required)
  STRIPE_MODE               test or live, which must agree with the key [from the key]
  STRIPE_API_BASE           origin of another API, such as the simulator's [Stripe's own]
  STRIPE_TIMEOUT_SECS       one attempt of a call [20]
  STRIPE_RATE_PER_SEC       requests per second of all workers together [80 live, 20 test]
  WORKER_ADMIN_ADDR         probes and metrics [0.0.0.0:9081]
  JOB_LEASE_SECS            silence after which another worker takes over a job with Stripe [15]
  SHUTDOWN_GRACE_SECS       drain time after SIGTERM [25]
  SMTP_HOST                 mail server of alerts by mail; without it these wait [none]
  SMTP_FROM                 the address that they come from [none]
  SMTP_TLS                  starttls, tls, or none to this machine [starttls]
  SMTP_PORT                 587, with tls 465, with none 25 [by SMTP_TLS]
  SMTP_USER                 login at the mail server [none]
  SMTP_PASSWORD             its password [none]
  PORTAL_URL                where people reach the portal, for links in alerts; without it there are none
  ALERT_DELIVERIES_PER_HOUR  new alerts told to one destination; more wait [60]
  ALERT_PRIVATE_NETWORKS    where webhooks of alerts may go beside the internet, 10.20.0.0/16,… [none]
  OTEL_EXPORTER_OTLP_ENDPOINT  collector that takes spans, http://host:4318 [none]
  LOG_FORMAT                text or json [text]
  RUST_LOG                  log filter [info]";

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
    database_url: SecretString,
    redis_url: SecretString,
    redis: Redis,
    stripe: StripeConfig,
    mode: Mode,
    rates: Rates,
    lease: Duration,
    grace: Duration,
    admin: SocketAddr,
    delivery: Deliverer,
}

impl Environment {
    fn read() -> Result<Self, Failure> {
        let database_url = config::database_url("DATABASE_URL")?;
        let redis_url = config::redis_url()?;
        let redis = lane::connect(redis_url.expose_secret()).map_err(ConfigError::Redis)?;
        let stripe = StripeConfig::from_env()?;
        let mode = stripe.mode()?;
        Ok(Self {
            database_url,
            redis_url,
            redis,
            mode,
            delivery: Deliverer::new(delivery::Settings::from_env(mode)?)?,
            rates: stripe.rates_from_env()?,
            stripe,
            lease: config::seconds("JOB_LEASE_SECS", 15, 5..=300)?,
            grace: config::seconds("SHUTDOWN_GRACE_SECS", 25, 0..=3600)?,
            admin: config::listen_address("WORKER_ADMIN_ADDR", SocketAddr::from(([0, 0, 0, 0], 9081)))?,
        })
    }
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
    let limiter = Limiter::shared(environment.redis_url.expose_secret(), environment.rates)?;
    let client = stripe::Client::new(&environment.stripe, limiter, metrics.clone())?;
    let listener = admin_http::bind(environment.admin).await.map_err(|e| {
        Failure::new(
            "configuration",
            format!(
                "WORKER_ADMIN_ADDR cannot be listened on ({}): {e}: give another address",
                environment.admin
            ),
        )
    })?;
    let admin = listener.local_addr().unwrap_or(environment.admin);
    let options = options(&identity);
    let db = connect::open_db_at(&environment.database_url, &options).await?;
    let upkeep = DbOptions {
        max_connections: UPKEEP_CONNECTIONS,
        ..options
    };
    let upkeep = Db::connect(&environment.database_url, &upkeep).await?;
    claim_mode(&db, environment.mode).await?;
    let redis = await_redis(&environment.redis).await?;

    let cx = Context {
        db: db.clone(),
        stripe: Arc::new(client),
        delivery: Arc::new(environment.delivery),
        metrics: metrics.clone(),
        worker_id: Arc::from(identity.id.as_str()),
    };
    let settings = Settings {
        identity: identity.clone(),
        upkeep,
        lease: environment.lease,
        grace: environment.grace,
    };
    let pool = Pool::start(
        cx,
        jobs::register(Registry::new()),
        environment.redis.clone(),
        settings,
    )
    .await?;
    tokio::spawn(admin_http::serve(
        listener,
        Probes {
            db,
            redis: environment.redis,
            health: pool.health.clone(),
            metrics,
        },
    ));
    let started = json!({
        "worker": identity.id, "admin": format!("http://{admin}"), "redis": redis.as_str(),
    });
    format.show(&started, |_| {
        let state = match redis {
            Reach::Reachable => "ready",
            Reach::Away => "waits for Redis",
        };
        format!("quittance worker {} {state}, admin http://{admin}", identity.id)
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

/// Whether Redis is there at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Reachable,
    Away,
}

impl Reach {
    fn as_str(self) -> &'static str {
        match self {
            Reach::Reachable => "reachable",
            Reach::Away => "away",
        }
    }
}

/// Greets Redis. One that is away is no reason not to start: it may be away at any time later too, heartbeat and
/// schedules need Postgres only, and the relays go on as soon as it is back.
///
/// # Errors
/// When it answers and refuses this login: waiting mends no password.
async fn await_redis(redis: &Redis) -> Result<Reach, Failure> {
    let reason = match timeout(REDIS_START, lane::greet(redis)).await {
        Ok(Ok(())) => return Ok(Reach::Reachable),
        Ok(Err(error)) if lane::is_refusal(&error) => {
            return Err(Failure::new(
                "redis_refused",
                format!("Redis refuses this login ({error}): check user and password in REDIS_URL"),
            ));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    tracing::warn!("Redis of REDIS_URL cannot be reached ({reason}): no job is run until it is back");
    Ok(Reach::Away)
}

fn options(identity: &Identity) -> DbOptions {
    let slots = identity.concurrency.saturating_mul(identity.queues.len());
    let most = (slots / 2 + LOOP_CONNECTIONS).min(MOST_CONNECTIONS);
    DbOptions {
        application_name: "quittance-worker",
        max_connections: u32::try_from(most).unwrap_or(MOST_CONNECTIONS as u32),
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: silence::LONGEST_ANSWER,
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
