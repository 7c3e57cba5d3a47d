//! A Redis server that belongs to one world: it may be emptied, stopped and started.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    error::{Error, Result},
    program::{Program, Signal, free_port},
};

/// How long a Redis of our own may take to start or stop.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A private `redis-server`.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    dir: PathBuf,
    server: Option<Program>,
}

impl Redis {
    /// Starts one on a free port, with its data in `dir`.
    ///
    /// # Errors
    /// When `redis-server` is not on the PATH or does not start.
    pub async fn launch(dir: &Path) -> Result<Self> {
        let mut redis = Self {
            port: free_port()?,
            dir: dir.to_owned(),
            server: None,
        };
        redis.start().await?;
        Ok(redis)
    }

    /// Its URL, which stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its address, likewise.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it again after [`Redis::stop`]; what the append-only file kept is there again.
    ///
    /// # Errors
    /// When it does not answer within ten seconds.
    pub async fn start(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command.current_dir(&self.dir).args([
            "--bind",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
        ]);
        self.server = Some(Program::spawn("redis", &mut command, &self.dir)?);
        let deadline = Instant::now() + START_LIMIT;
        while self.command("PING").await.is_err() {
            let alive = self.server.as_mut().is_some_and(Program::is_running);
            if !alive || Instant::now() >= deadline {
                return Err(Error::Setup(format!(
                    "redis-server does not start on port {}",
                    self.port
                )));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Stops it, as a crash would: without saving what the append-only file lacks.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::Kill)?;
            server.ended(START_LIMIT).await?;
        }
        Ok(())
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// When it is down.
    pub async fn flushall(&self) -> Result<()> {
        self.command("FLUSHALL").await
    }

    /// A client of this server, for stories that look inside.
    ///
    /// # Errors
    /// When it is down.
    pub async fn connect(&self) -> Result<redis::aio::MultiplexedConnection> {
        let down = |fault: redis::RedisError| Error::Setup(format!("redis: {fault}"));
        redis::Client::open(self.url())
            .map_err(down)?
            .get_multiplexed_async_connection()
            .await
            .map_err(down)
    }

    async fn command(&self, name: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        redis::cmd(name)
            .query_async::<()>(&mut connection)
            .await
            .map_err(|fault| Error::Setup(format!("redis {name}: {fault}")))
    }

    pub(super) fn show_log(&self) {
        if let Some(server) = &self.server {
            server.show_log();
        }
    }
}
