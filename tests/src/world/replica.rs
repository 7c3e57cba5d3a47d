//! A program beside those that the world itself started, with settings of its own: another secret, key or login.

use std::{net::SocketAddr, process::Command, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    World,
    error::{Error, Result, must},
    inspect::get,
    postgres::Login,
    program::{Program, Signal, free_port},
};

/// How long it may take until it says that it is ready, and how long to stop.
const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// One ingress, worker or portal. Dropping it kills it.
#[derive(Debug)]
pub struct Replica {
    program: Program,
    address: SocketAddr,
    admin_port: u16,
}

impl World {
    /// Starts an ingress, a worker or a portal with this world's settings, some of them changed, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn replica(&self, login: Login, name: &str, changed: &[(&str, String)]) -> Replica {
        must(
            "a replica does not start",
            self.try_replica(login, name, changed).await,
        )
    }

    async fn try_replica(&self, login: Login, name: &str, changed: &[(&str, String)]) -> Result<Replica> {
        let (port, admin_port) = (free_port()?, free_port()?);
        let at = |port: u16| format!("127.0.0.1:{port}");
        let (mut command, env) = match login {
            Login::Ingress => (Command::new(&self.binaries.ingress), self.env_of(login)),
            Login::Portal => (Command::new(&self.binaries.portal), self.env_of_portal()),
            _ => {
                let mut command = Command::new(&self.binaries.quittance);
                command.args(["worker", "--concurrency", &self.options.concurrency.to_string()]);
                (command, self.env_of(login))
            }
        };
        command
            .env_clear()
            .envs(env)
            .env("INGRESS_ADDR", at(port))
            .env("INGRESS_ADMIN_ADDR", at(admin_port))
            .env("WORKER_ADMIN_ADDR", at(admin_port))
            .env("PORTAL_ADDR", at(port))
            .env("PORTAL_ADMIN_ADDR", at(admin_port))
            .envs(changed.iter().map(|(name, value)| (name, value)));
        let mut replica = Replica {
            program: Program::spawn(name, &mut command, &self.folder.0)?,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            admin_port,
        };
        let deadline = Instant::now() + READY_LIMIT;
        while !matches!(get(admin_port, "/readyz").await, Ok((200, _))) {
            if !replica.program.is_running() || Instant::now() >= deadline {
                replica.program.show_log();
                return Err(Error::Late(format!("{name} is not ready")));
            }
            sleep(Duration::from_millis(30)).await;
        }
        Ok(replica)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.program.show_log();
        }
    }
}

impl Replica {
    /// Where an ingress takes webhooks, or a portal answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET` on its admin port: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        must("the admin port is silent", get(self.admin_port, path).await)
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.program.output()
    }

    /// Asks it to stop and waits for it: its exit code.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(mut self) -> i32 {
        must("kill -TERM", self.program.signal(Signal::Term));
        must("kill -TERM", self.program.ended(STOP_LIMIT).await)
    }
}
