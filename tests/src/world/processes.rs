//! The programs of a world: start, kill, freeze, stop, and wait until they are ready.

use std::{path::Path, process::Command, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    World,
    error::{Error, Result, broken, must},
    inspect::get,
    postgres::Login,
    program::{Program, Signal, free_port},
};

/// A deliberate bug that the programs are to have (`tests/sabotage`).
pub(super) fn sabotage() -> Option<(String, String)> {
    let name = "QUITTANCE_TEST_SABOTAGE";
    Some((name.to_owned(), std::env::var(name).ok()?))
}

/// How long a program may take until it says that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

impl World {
    /// Starts one more worker and waits until it is ready; returns its index.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn add_worker(&mut self) -> usize {
        must("the worker does not start", self.spawn_worker());
        must("the worker does not start", self.await_ready().await);
        self.workers.len() - 1
    }

    /// Changes what programs and commands find in their environment from now on, as somebody does before a restart.
    pub fn set_env(&mut self, more: Vec<(String, String)>) {
        self.options.env.extend(more);
    }

    /// Starts one more worker and does not wait for it: something that it needs is away. Returns its index.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn begin_worker(&mut self) -> usize {
        must("the worker does not start", self.spawn_worker());
        self.workers.len() - 1
    }

    /// Starts the ingress (again), on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_ingress(&mut self) {
        must("the ingress does not start", self.spawn_ingress());
        must("the ingress does not start", self.await_ready().await);
    }

    /// Kills a worker on the spot, as the kernel does when memory runs out.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill9(&mut self, worker: usize) {
        let program = &mut self.workers[worker];
        must("kill -9", program.signal(Signal::Kill));
        must("kill -9", program.ended(Duration::from_secs(5)).await);
    }

    /// Freezes a worker.
    ///
    /// # Panics
    /// When it cannot be frozen.
    pub fn freeze(&mut self, worker: usize) {
        must("kill -STOP", self.workers[worker].signal(Signal::Stop));
    }

    /// Wakes a frozen worker.
    ///
    /// # Panics
    /// When it cannot be woken.
    pub fn thaw(&mut self, worker: usize) {
        must("kill -CONT", self.workers[worker].signal(Signal::Cont));
    }

    /// Asks a worker to stop and waits for it: its exit code.
    ///
    /// # Panics
    /// When it outlives its grace time by ten seconds.
    pub async fn sigterm(&mut self, worker: usize) -> i32 {
        let limit = Duration::from_secs(self.options.grace_secs + 10);
        let program = &mut self.workers[worker];
        must("kill -TERM", program.signal(Signal::Term));
        must("kill -TERM", program.ended(limit).await)
    }

    /// Asks the ingress to stop and waits for it: its exit code.
    ///
    /// # Panics
    /// When it does not run, or outlives its grace time by ten seconds.
    pub async fn sigterm_ingress(&mut self) -> i32 {
        let limit = Duration::from_secs(self.options.grace_secs + 10);
        let Some(program) = &mut self.ingress else {
            broken("kill -TERM", &Error::Setup("the ingress was not started".into()))
        };
        must("kill -TERM", program.signal(Signal::Term));
        must("kill -TERM", program.ended(limit).await)
    }

    /// Asks the portal to stop, and does not wait for it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn tell_portal_to_stop(&mut self) {
        must("kill -TERM", self.the_portal().signal(Signal::Term));
    }

    /// Waits for the portal's end: its exit code, and what it has printed.
    ///
    /// # Panics
    /// When it was not started, or outlives its grace time by ten seconds.
    pub async fn portal_ended(&mut self) -> (i32, String) {
        let limit = Duration::from_secs(self.options.grace_secs + 10);
        let program = self.the_portal();
        let code = must("kill -TERM", program.ended(limit).await);
        (code, program.output())
    }

    fn the_portal(&mut self) -> &mut Program {
        match &mut self.portal {
            Some(program) => program,
            None => broken("kill -TERM", &Error::Setup("the portal was not started".into())),
        }
    }

    pub(super) fn spawn_ingress(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binaries.ingress);
        command
            .env_clear()
            .envs(self.env_of(Login::Ingress))
            .env("INGRESS_ADDR", format!("127.0.0.1:{}", self.ingress_port))
            .env(
                "INGRESS_ADMIN_ADDR",
                format!("127.0.0.1:{}", self.ingress_admin_port),
            );
        self.ingress = Some(Program::spawn("ingress", &mut command, &self.folder.0)?);
        Ok(())
    }

    pub(super) fn spawn_portal(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binaries.portal);
        command
            .env_clear()
            .envs(self.env_of_portal())
            .env("PORTAL_ADDR", format!("127.0.0.1:{}", self.portal_port))
            .env(
                "PORTAL_ADMIN_ADDR",
                format!("127.0.0.1:{}", self.portal_admin_port),
            );
        self.portal = Some(Program::spawn("portal", &mut command, &self.folder.0)?);
        Ok(())
    }

    /// The environment of a portal: it has no key of Stripe's, and knows no Redis.
    pub(super) fn env_of_portal(&self) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = [
            ("DATABASE_URL", self.database_url(Login::Portal)),
            ("SHUTDOWN_GRACE_SECS", self.options.grace_secs.to_string()),
            ("RUST_LOG", "info".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(self.options.env.iter().cloned());
        env
    }

    /// What the portal that this world started has printed.
    #[must_use]
    pub fn portal_output(&self) -> String {
        self.portal.as_ref().map_or_else(String::new, Program::output)
    }

    /// The portal's program.
    #[must_use]
    pub fn portal_binary(&self) -> &Path {
        &self.binaries.portal
    }

    /// Where the portal answers.
    #[must_use]
    pub fn portal_base(&self) -> String {
        format!("http://127.0.0.1:{}", self.portal_port)
    }

    pub(super) fn spawn_worker(&mut self) -> Result<()> {
        let admin_port = free_port()?;
        let name = format!("worker-{}", self.workers.len());
        let mut command = Command::new(&self.binaries.quittance);
        command
            .env_clear()
            .envs(self.env_of(Login::Worker))
            .env("WORKER_ADMIN_ADDR", format!("127.0.0.1:{admin_port}"))
            .args(["worker", "--concurrency", &self.options.concurrency.to_string()]);
        self.workers
            .push(Program::spawn(&name, &mut command, &self.folder.0)?);
        self.worker_admin_ports.push(admin_port);
        Ok(())
    }

    /// The environment of a program that connects as `login`.
    pub(super) fn env_of(&self, login: Login) -> Vec<(String, String)> {
        let mut env = self.env_beside_gates(login);
        if let Some(gates) = &self.gates {
            let postgres = match login {
                Login::Ingress => &gates.ingress_postgres,
                _ => &gates.worker_postgres,
            };
            env.extend(
                [
                    ("DATABASE_URL", self.database.url(login, postgres.address())),
                    ("REDIS_URL", format!("redis://{}/", gates.worker_redis.address())),
                    (
                        "STRIPE_API_BASE",
                        format!("http://{}", gates.worker_stripe.address()),
                    ),
                ]
                .map(|(name, value)| (name.to_owned(), value)),
            );
        }
        env
    }

    /// The same for a command, which passes no gate of [`super::Gates`].
    pub(super) fn env_beside_gates(&self, login: Login) -> Vec<(String, String)> {
        let options = &self.options;
        let mut env: Vec<(String, String)> = [
            ("DATABASE_URL", self.database_url(login)),
            ("REDIS_URL", self.redis.url()),
            ("STRIPE_SECRET_KEY", options.stripe_key.clone()),
            ("STRIPE_WEBHOOK_SECRET", options.webhook_secrets.join(",")),
            ("STRIPE_API_BASE", self.sim.base().to_owned()),
            ("STRIPE_TIMEOUT_SECS", options.stripe_timeout_secs.to_string()),
            // The simulator sets no limit; Stripe's own for tests would only make stories slow.
            ("STRIPE_RATE_PER_SEC", "1000".into()),
            ("JOB_LEASE_SECS", options.lease_secs.to_string()),
            ("SHUTDOWN_GRACE_SECS", options.grace_secs.to_string()),
            ("RUST_LOG", "info,sqlx=warn".into()),
            ("RUST_BACKTRACE", "1".into()),
            ("LOG_FORMAT", "text".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(sabotage());
        env.extend(options.env.iter().cloned());
        env
    }

    /// Waits until every program that runs says that it is ready.
    pub(super) async fn await_ready(&mut self) -> Result<()> {
        let ports = self.worker_admin_ports.clone();
        let workers = self.workers.iter_mut().zip(ports);
        let ingress = self
            .ingress
            .iter_mut()
            .map(|program| (program, self.ingress_admin_port));
        let portal = self
            .portal
            .iter_mut()
            .map(|program| (program, self.portal_admin_port));
        for (program, port) in workers.chain(ingress).chain(portal).filter_map(|(p, port)| {
            // A program that a story has ended or frozen stays in the list and is not waited for.
            p.is_awake().then_some((p, port))
        }) {
            let deadline = Instant::now() + READY_LIMIT;
            loop {
                let answer = get(port, "/readyz").await;
                if matches!(answer, Ok((200, _))) {
                    break;
                }
                if !program.is_running() || Instant::now() >= deadline {
                    program.show_log();
                    return Err(Error::Late(format!(
                        "{} is not ready: {answer:?}",
                        program.name()
                    )));
                }
                sleep(Duration::from_millis(30)).await;
            }
        }
        Ok(())
    }

    /// The address that the simulator printed.
    pub(super) async fn simulator_origin(&mut self) -> Result<String> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let printed = self.simulator.output();
            if let Some(origin) = printed
                .lines()
                .find_map(|line| line.strip_prefix("stripe-sim listening on "))
            {
                return Ok(origin.trim().to_owned());
            }
            if !self.simulator.is_running() || Instant::now() >= deadline {
                return Err(Error::Setup(format!("stripe-sim does not start: {printed}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}
