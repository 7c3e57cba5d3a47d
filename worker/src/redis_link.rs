//! A connection to Redis that is made anew when it breaks, and also when it only falls silent.
//!
//! The library's manager reconnects when its connection is closed. One that was cut without a word is not: every command
//! waits out its time and the next one goes the same way, until the kernel gives the connection up, which a proxy in between
//! puts off for ever. Here a command that was not answered in time puts a fresh manager in the place of its own.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    Client, Cmd, IntoConnectionInfo as _, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};

/// The kernel gives a connection up when nothing that was sent on it has been confirmed for so long.
const UNCONFIRMED: Duration = Duration::from_secs(10);

/// Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    /// The manager that this clone used last.
    used: u64,
}

struct Shared {
    client: Client,
    config: ConnectionManagerConfig,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    /// Grows with every manager.
    number: u64,
    manager: ConnectionManager,
}

impl Redis {
    /// Connects when it is first used. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn connect(url: &str, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let settings = TcpSettings::default().set_user_timeout(UNCONFIRMED);
        let client = Client::open(url.into_connection_info()?.set_tcp_settings(settings))?;
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?;
        let current = Mutex::new(Current { number: 0, manager });
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                config,
                current,
            }),
            used: 0,
        })
    }

    /// Its last command was not answered in time: the next one takes a fresh connection, unless somebody has made one
    /// meanwhile.
    pub fn suspect(&self) {
        let mut current = self.shared.current();
        if current.number != self.used {
            return;
        }
        let fresh =
            ConnectionManager::new_lazy_with_config(self.shared.client.clone(), self.shared.config.clone());
        match fresh {
            Ok(manager) => {
                let number = current.number + 1;
                *current = Current { number, manager };
            }
            Err(error) => tracing::warn!("no fresh connection to Redis: {error}"),
        }
    }

    fn manager(&mut self) -> ConnectionManager {
        let current = self.shared.current().clone();
        self.used = current.number;
        current.manager
    }

    fn judge<T>(&self, answer: &RedisResult<T>) {
        if answer.as_ref().is_err_and(redis::RedisError::is_timeout) {
            self.suspect();
        }
    }
}

impl Shared {
    fn current(&self) -> MutexGuard<'_, Current> {
        // One value that is replaced whole: a panic elsewhere cannot have left it half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionLike for Redis {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = self.manager().req_packed_command(cmd).await;
            self.judge(&answer);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answer = self.manager().req_packed_commands(pipeline, offset, count).await;
            self.judge(&answer);
            answer
        })
    }

    fn get_db(&self) -> i64 {
        self.shared.current().manager.get_db()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers everything with OK; the first connection only until it is cut.
    async fn serve(listener: TcpListener, cut: Arc<AtomicBool>) {
        for number in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let cut = cut.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = client.read(&mut bytes).await {
                    if number == 0 && cut.load(Ordering::SeqCst) {
                        continue;
                    }
                    let commands = bytes[..read].iter().filter(|byte| **byte == b'*').count();
                    client.write_all(&b"+OK\r\n".repeat(commands)).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn a_connection_that_falls_silent_is_replaced_for_everybody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/", listener.local_addr().unwrap());
        let cut = Arc::new(AtomicBool::new(false));
        tokio::spawn(serve(listener, cut.clone()));
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(Duration::from_millis(300)))
            .set_number_of_retries(0);
        let mut redis = Redis::connect(&url, config).unwrap();
        let mut other = redis.clone();
        let ping = redis::cmd("PING");
        for redis in [&mut redis, &mut other] {
            assert_eq!(ping.query_async::<String>(redis).await.unwrap(), "OK");
        }
        cut.store(true, Ordering::SeqCst);
        let silent = ping.query_async::<String>(&mut redis).await.unwrap_err();
        assert!(silent.is_timeout(), "{silent}");
        for redis in [&mut redis, &mut other] {
            assert_eq!(ping.query_async::<String>(redis).await.unwrap(), "OK");
        }
    }
}
