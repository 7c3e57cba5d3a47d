//! The world itself: how it comes up and how it goes away.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{
    binaries::Binaries,
    door::Door,
    error::{Result, broken, io},
    gate::{Gate, Gates},
    options::WorldOptions,
    postgres::{Database, Login, Server},
    program::{Program, free_port},
    redis::Redis,
    sim::Sim,
};

/// One installation of Quittance with everything around it. Dropping it removes all of it.
#[derive(Debug)]
pub struct World {
    /// What happens at Stripe, and Stripe's books.
    pub sim: Sim,
    /// Posts signed events to the ingress.
    pub door: Door,
    /// Superuser connections to this world's database: sees every firm.
    pub db: PgPool,
    /// This world's Redis.
    pub redis: Redis,
    /// In front of Postgres, when [`WorldOptions::postgres_gate`] asked for it.
    pub gate: Option<Gate>,
    /// Between the programs, when [`WorldOptions::gates`] asked for them.
    pub gates: Option<Gates>,
    /// The worker processes, in the order in which they were started.
    pub workers: Vec<Program>,
    /// The ingress process.
    pub ingress: Option<Program>,
    /// The portal process.
    pub portal: Option<Program>,
    pub(super) options: WorldOptions,
    pub(super) binaries: Binaries,
    pub(super) database: Database,
    pub(super) postgres: SocketAddr,
    pub(super) simulator: Program,
    pub(super) ingress_port: u16,
    pub(super) ingress_admin_port: u16,
    pub(super) portal_port: u16,
    pub(super) portal_admin_port: u16,
    pub(super) worker_admin_ports: Vec<u16>,
    pub(super) started_at: DateTime<Utc>,
    /// Last, so that it goes when nobody writes into it any more.
    pub(super) folder: Folder,
}

impl World {
    /// Starts everything and waits until all programs are ready.
    ///
    /// # Panics
    /// When something cannot be started: without a world there is no test.
    pub async fn start(options: WorldOptions) -> Self {
        match Self::try_start(options).await {
            Ok(world) => world,
            Err(fault) => broken("the world does not start", &fault),
        }
    }

    async fn try_start(options: WorldOptions) -> Result<Self> {
        let mut binaries = Binaries::find()?;
        if let Some(path) = &options.ingress_binary {
            binaries.ingress.clone_from(path);
        }
        let server = Server::from_env()?;
        let database = server
            .create_database(&binaries.quittance, options.tablespace.as_deref())
            .await?;
        let folder = Folder::create()?;
        let dir = &folder.0;
        let redis = Redis::launch(dir).await?;
        let gate = match options.postgres_gate {
            true => Some(Gate::to(server.address()?)?),
            false => None,
        };
        let postgres = gate.as_ref().map_or(server.address()?, Gate::address);
        let ingress_port = free_port()?;
        let door = Door::new(
            format!("http://127.0.0.1:{ingress_port}"),
            options.webhook_secrets.clone(),
        );
        let mut command = Command::new(&binaries.stripe_sim);
        command
            .env_clear()
            .env("RUST_LOG", "info")
            .args(["--addr", "127.0.0.1:0"])
            .args(["--webhook-url", &format!("{}{}", door.base(), Door::PATH)])
            .args(["--webhook-concurrency", &options.webhook_concurrency.to_string()])
            .args(["--webhook-secret", &options.webhook_secrets[0]]);
        if options.simulator_follows_clock {
            let database = database.url(Login::Worker, server.address()?);
            command.args(["--clock-database-url", &database]);
        }
        let simulator = Program::spawn("stripe-sim", &mut command, dir)?;
        let started_at = sqlx::query_scalar("select app.now()")
            .fetch_one(&database.pool)
            .await?;
        let mut world = Self {
            sim: Sim::new(String::new()),
            door,
            db: database.pool.clone(),
            redis,
            gate,
            gates: None,
            workers: Vec::new(),
            ingress: None,
            portal: None,
            binaries,
            database,
            postgres,
            simulator,
            ingress_port,
            ingress_admin_port: free_port()?,
            portal_port: free_port()?,
            portal_admin_port: free_port()?,
            worker_admin_ports: Vec::new(),
            started_at,
            options,
            folder,
        };
        world.sim = Sim::new(world.simulator_origin().await?);
        if world.options.gates {
            world.gates = Some(Gates {
                ingress_postgres: Gate::to(world.postgres)?,
                worker_postgres: Gate::to(world.postgres)?,
                worker_redis: Gate::to(world.redis.address())?,
                worker_stripe: Gate::to(world.sim.address()?)?,
            });
        }
        if world.options.ingress {
            world.spawn_ingress()?;
        }
        if world.options.portal {
            world.spawn_portal()?;
        }
        for _ in 0..world.options.workers {
            world.spawn_worker()?;
        }
        world.await_ready().await?;
        Ok(world)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.simulator.show_log();
            self.redis.show_log();
            self.ingress
                .iter()
                .chain(&self.portal)
                .chain(&self.workers)
                .for_each(Program::show_log);
        }
        // Programs first: a database in use is dropped by force, which would only fill their logs.
        self.workers.clear();
        self.ingress = None;
        self.portal = None;
    }
}

/// Where the programs of a world keep their files; removed with everything in it.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        let name = format!(
            "quittance-world-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(io("making a folder for the world"))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(fault) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {fault}", self.0.display());
        }
    }
}
