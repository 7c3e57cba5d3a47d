//! What a test lives in: its own database and login, and the ingress as a process of its own.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use shared::store::{
    migrations::MIGRATOR,
    roles::{self, Role},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, postgres::PgPoolOptions};

use crate::client::{Answer, Client, sign};

pub const SECRET: &str = "whsec_first";
pub const OTHER_SECRET: &str = "whsec_second";
pub const PATH: &str = "/webhooks/stripe";

/// A migrated database with a login that has the ingress's role only. Dropped with everything in it.
pub struct Database {
    server: String,
    name: String,
    /// As superuser.
    pub pool: PgPool,
}

impl Database {
    /// `None`, and a line that says so, where no server was given.
    pub async fn create() -> Option<Self> {
        let Ok(server) = std::env::var("QUITTANCE_TEST_POSTGRES") else {
            eprintln!("skipped: QUITTANCE_TEST_POSTGRES is not set");
            return None;
        };
        let name = format!("door_{}", uuid::Uuid::now_v7().simple());
        let mut conn = PgConnection::connect(&server).await.unwrap();
        for statement in [
            format!("create database {name}"),
            format!("create role {name} login password 'door'"),
        ] {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut conn)
                .await
                .unwrap();
        }
        conn.close().await.unwrap();
        let url = with_database(&server, &name, None);
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect(&url)
            .await
            .unwrap();
        MIGRATOR.run(&pool).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        roles::show_version_to_all(&mut conn).await.unwrap();
        roles::grant(&mut conn, Role::Ingress, &name).await.unwrap();
        drop(conn);
        Some(Self { server, name, pool })
    }

    /// The ingress's login.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name, Some(&self.name))
    }

    /// Where the server listens.
    pub fn server_addr(&self) -> SocketAddr {
        let (host, port) = host_and_port(&self.server);
        std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))
            .unwrap()
            .next()
            .unwrap()
    }

    /// The ingress's login, by way of another address.
    pub fn url_through(&self, addr: SocketAddr) -> String {
        let (host, port) = host_and_port(&self.server);
        self.url().replace(&format!("{host}:{port}"), &addr.to_string())
    }

    pub async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.pool)
            .await
            .unwrap();
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Events, bodies and jobs: always the same number, at every moment.
    pub async fn stored(&self) -> i64 {
        let sql = "select (select count(*) from stripe_events), (select count(*) from stripe_event_bodies),
                          (select count(*) from jobs)";
        let (events, bodies, jobs): (i64, i64, i64) =
            sqlx::query_as(sql).fetch_one(&self.pool).await.unwrap();
        assert_eq!((bodies, jobs), (events, events));
        events
    }

    /// Makes every insert into the inbox wait until the transaction given back ends.
    pub async fn block_inserts(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut tx = self.pool.begin().await.unwrap();
        sqlx::query("lock table stripe_events in share row exclusive mode")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx
    }

    /// Waits until so many statements of the ingress wait for a lock.
    pub async fn until_blocked(&self, statements: i64) {
        let sql = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'quittance-ingress' and wait_event_type = 'Lock'";
        until("statements wait for a lock", async || {
            self.count(sql).await >= statements
        })
        .await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let drop_all = async move {
            let mut conn = PgConnection::connect(&server).await?;
            for what in ["database if exists", "role if exists"] {
                let force = if what.starts_with("database") {
                    "with (force)"
                } else {
                    ""
                };
                sqlx::query(AssertSqlSafe(format!("drop {what} {name} {force}")))
                    .execute(&mut conn)
                    .await?;
            }
            Ok::<_, sqlx::Error>(())
        };
        // A test's runtime cannot be blocked on, hence a thread with its own.
        let dropped = std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(drop_all)
        });
        if let Err(fault) = dropped.join().unwrap() {
            eprintln!("the test database stays behind: {fault}");
        }
    }
}

fn host_and_port(url: &str) -> (String, u16) {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    (options.get_host().to_owned(), options.get_port())
}

/// The same server, another database, and perhaps another login.
fn with_database(server: &str, database: &str, login: Option<&str>) -> String {
    let (host, port) = host_and_port(server);
    match login {
        Some(login) => format!("postgres://{login}:door@{host}:{port}/{database}"),
        None => {
            let (base, _) = server.rsplit_once('/').unwrap();
            format!("{base}/{database}")
        }
    }
}

/// The binary with a complete environment and nothing of ours in it.
pub fn command(database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quittance-ingress"));
    command
        .env_clear()
        .env("DATABASE_URL", database_url)
        .env("STRIPE_WEBHOOK_SECRET", format!("{SECRET},{OTHER_SECRET}"))
        .env("STRIPE_MODE", "test")
        .env("INGRESS_ADDR", "127.0.0.1:0")
        .env("INGRESS_ADMIN_ADDR", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a start that is expected to fail.
pub async fn run_to_end(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// A running ingress.
pub struct Ingress {
    child: Child,
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Ingress {
    pub async fn start(database: &Database) -> Self {
        Self::start_by(command(&database.url())).await
    }

    pub async fn start_by(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().unwrap();
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                sink.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        let stdout = child.stdout.take().unwrap();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            line
        });
        let line = line.await.unwrap();
        let addresses: Vec<SocketAddr> = line
            .split("http://")
            .skip(1)
            .map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(addresses.len(), 2, "{line:?}; {}", log.lock().unwrap());
        Self {
            child,
            addr: addresses[0],
            admin: addresses[1],
            log,
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log: it arrives beside the answers, not in step with them.
    pub async fn until_logged(&self, text: &str) {
        until(&format!("{text:?} in the log"), async || {
            self.log().contains(text)
        })
        .await;
    }

    /// Deliveries answered 503 for this reason.
    pub async fn refused(&self, reason: &str) -> u64 {
        let name = format!("quittance_webhook_unavailable_total{{reason={reason:?}}}");
        self.metric(&name).await.unwrap()
    }

    /// Connections to the public port that the kernel holds and the program has not accepted yet. Of a listening socket
    /// `rx_queue` says that.
    pub fn waiting_to_be_accepted(&self) -> u64 {
        const LISTENING: &str = "0A";
        let port = format!(":{:04X}", self.addr.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = |f: &Vec<&str>| f[1].ends_with(&port) && f[3] == LISTENING;
        let socket = fields.skip(1).find(ours).unwrap();
        let (_, unaccepted) = socket[4].split_once(':').unwrap();
        u64::from_str_radix(unaccepted, 16).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end; the exit code and how long it took.
    pub async fn exit(&mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        let mut status = None;
        until("the ingress to exit", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        (status.unwrap().code(), started.elapsed())
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.addr).await.unwrap()
    }

    /// Delivers bytes signed now, on a connection of its own.
    pub async fn deliver(&self, body: &[u8]) -> Answer {
        deliver(self.addr, body).await
    }

    pub async fn deliver_with(&self, signature: &str, body: &[u8]) -> Answer {
        self.client()
            .await
            .request("POST", PATH, &[("stripe-signature", signature)], body)
            .await
            .unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        Client::connect(self.admin)
            .await
            .unwrap()
            .request("GET", path, &[], b"")
            .await
            .unwrap()
    }

    /// A sample of `/metrics`, by the whole of its name and labels.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let text = self.get("/metrics").await.body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the ingress:\n{}", self.log());
        }
        self.child.kill().unwrap(); // nothing happens if it has ended
        self.child.wait().unwrap();
    }
}

pub async fn deliver(addr: SocketAddr, body: &[u8]) -> Answer {
    let signature = sign(SECRET, now(), body);
    let mut client = Client::connect(addr).await.unwrap();
    client
        .request("POST", PATH, &[("stripe-signature", &signature)], body)
        .await
        .unwrap()
}

pub fn now() -> i64 {
    shared::clock::real_now().timestamp()
}

/// An event about a charge of a customer.
pub fn event(id: &str) -> Vec<u8> {
    json!({
        "id": id, "object": "event", "type": "charge.succeeded", "api_version": "2024-06-20", "created": now() - 2,
        "livemode": false, "request": {"id": "req_1", "idempotency_key": "key_1"},
        "data": {"object": {"id": "ch_1", "object": "charge", "customer": "cus_1", "payment_intent": "pi_1",
            "amount": 522_500, "currency": "usd", "status": "succeeded", "receipt_email": "who@example.com"}}
    })
    .to_string()
    .into_bytes()
}

/// Waits for something that must come true soon.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
