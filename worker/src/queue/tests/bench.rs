//! A private database, a private Redis, and workers in runtimes of their own, so that one can be killed.
//!
//! Needs `QUITTANCE_TEST_POSTGRES`, the URL of a superuser on a server that may be filled with databases. Without it
//! the tests say so and pass: the workspace's runner always sets it.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use shared::{
    config::Mode,
    ids::{FirmId, JobId},
    store::{
        Db,
        jobs::{self, NewJob, Queue},
        migrations::MIGRATOR,
    },
};
use sqlx::{
    PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};

use crate::{
    context::Context,
    delivery::Deliverer,
    metrics::Metrics,
    queue::{
        heartbeat::Identity,
        lane,
        pool::{Drained, Pool, Settings},
        tests::kinds,
    },
    stripe::{Client, Limiter, Rates, StripeConfig},
};

/// Longest that anything in these tests may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the file's head.
pub(crate) struct Bench {
    /// As a superuser.
    pub admin: PgPool,
    /// As the workers see it.
    pub db: Db,
    redis: Redis,
    name: String,
    server: PgConnectOptions,
}

impl Bench {
    /// `None` without a server to test against.
    pub async fn start() -> Option<Self> {
        let Ok(url) = std::env::var("QUITTANCE_TEST_POSTGRES") else {
            eprintln!("skipped: QUITTANCE_TEST_POSTGRES is not set");
            return None;
        };
        let server: PgConnectOptions = url.parse().expect("QUITTANCE_TEST_POSTGRES is a Postgres URL");
        let name = format!("queue_{}", uuid::Uuid::new_v4().simple());
        let root = PgPool::connect_with(server.clone())
            .await
            .expect("the test server answers");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}")))
            .execute(&root)
            .await
            .expect("create a database");
        root.close().await;
        let options = server.clone().database(&name);
        let admin = PgPool::connect_with(options.clone()).await.unwrap();
        MIGRATOR.run(&admin).await.expect("migrate");
        sqlx::raw_sql(kinds::TABLES).execute(&admin).await.unwrap();
        let db = Db::from_pool(worker_pool(&options, 8).await);
        Some(Self {
            admin,
            db,
            redis: Redis::start(),
            name,
            server,
        })
    }

    /// Starts a worker of its own runtime.
    pub fn worker(&self, options: Options) -> Worker {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let identity = Identity::fresh(options.queues.clone(), options.concurrency);
        let id = identity.id.clone();
        let (database, redis_url) = (self.server.clone().database(&self.name), self.redis.url());
        let worker_id: Arc<str> = Arc::from(id.as_str());
        let started = runtime.spawn(async move {
            let connections = options.concurrency + 6;
            // Shown in `pg_stat_activity`, so that a test can see when a killed worker is gone.
            let database = database.application_name(&worker_id);
            let cx = context(
                Db::from_pool(worker_pool(&database, connections).await),
                worker_id,
            );
            let settings = Settings {
                identity,
                upkeep: cx.db.clone(),
                lease: options.lease,
                grace: options.grace,
            };
            let redis = lane::connect(&redis_url).unwrap();
            Pool::start(cx, kinds::registry(), redis, settings).await.unwrap()
        });
        let pool = std::thread::spawn(|| futures::executor::block_on(started).unwrap())
            .join()
            .unwrap();
        Worker {
            id,
            runtime: Some(runtime),
            pool: Some(pool),
        }
    }

    /// Enqueues a job that is due now.
    pub async fn enqueue(&self, job: NewJob) -> JobId {
        let mut tx = self.db.plain().await.unwrap();
        let id = jobs::enqueue(&mut tx, &job).await.unwrap().expect("a new key");
        jobs::nudge(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// A job of a test kind, due now.
    pub async fn job(&self, queue: Queue, kind: &'static str, key: &str, payload: Value) -> NewJob {
        let now = self.db.now().await.unwrap();
        NewJob::new(queue, kind, key.to_owned(), payload, now)
    }

    /// Enqueues `count` transactional jobs of one firm that are all due this second.
    pub async fn enqueue_many(&self, firm: Option<FirmId>, prefix: &str, count: usize) {
        let now = self.db.now().await.unwrap();
        let many: Vec<NewJob> = (0..count)
            .map(|n| {
                let mut job = NewJob::new(
                    Queue::Events,
                    kinds::APPLY,
                    format!("{prefix}{n}"),
                    json!({ "label": prefix }),
                    now,
                );
                job.firm = firm;
                job
            })
            .collect();
        let mut tx = self.db.plain().await.unwrap();
        assert_eq!(jobs::enqueue_all(&mut tx, &many).await.unwrap(), count as u64);
        jobs::nudge(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// One number.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.admin).await.unwrap()
    }

    /// Runs a statement as a superuser.
    pub async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.admin).await.unwrap();
    }

    /// The row of a job.
    pub async fn row(&self, id: JobId) -> Seen {
        let row = sqlx::query("select state, attempt, crashes, fence, last_error, dispatched_at is not null as dispatched, extract(epoch from run_at - app.now())::float8 as due_in from jobs where id = $1")
            .bind(id.0)
            .fetch_one(&self.admin)
            .await
            .unwrap();
        Seen {
            state: row.get(0),
            attempt: row.get(1),
            crashes: row.get(2),
            fence: row.get(3),
            last_error: row.get(4),
            dispatched: row.get(5),
            due_in_secs: row.get(6),
        }
    }

    /// Waits until a count reaches `at_least`.
    pub async fn until(&self, sql: &'static str, at_least: i64) {
        self.until_within(sql, at_least, PATIENCE).await;
    }

    /// Waits until a count reaches `at_least`, for so long.
    pub async fn until_within(&self, sql: &'static str, at_least: i64, patience: Duration) {
        let begun = Instant::now();
        loop {
            let count = self.count(sql).await;
            if count >= at_least {
                return;
            }
            assert!(
                begun.elapsed() < patience,
                "after {patience:?} still {count} of {at_least}: {sql}\n{}",
                self.picture().await
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn picture(&self) -> String {
        let rows = sqlx::query_scalar::<_, String>(
            "select format('%s x %s %s, attempt %s, crashes %s, dispatched %s: %s', count(*), kind, state, attempt, crashes, dispatched_at is not null, max(last_error))
               from jobs group by kind, state, attempt, crashes, dispatched_at is not null",
        )
        .fetch_all(&self.admin)
        .await
        .unwrap();
        rows.join("\n")
    }

    /// Waits until nothing of a worker is connected any more.
    pub async fn until_gone(&self, worker_id: &str) {
        let begun = Instant::now();
        while sqlx::query_scalar::<_, i64>(
            "select count(*) from pg_stat_activity where application_name = left($1, 63)",
        )
        .bind(worker_id)
        .fetch_one(&self.admin)
        .await
        .unwrap()
            > 0
        {
            assert!(begun.elapsed() < PATIENCE, "{worker_id} is still connected");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection to the private Redis.
    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.redis.url())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap()
    }

    /// Its URL.
    pub fn redis_url(&self) -> String {
        self.redis.url()
    }

    /// Redis forgets everything and is away for a moment.
    pub fn restart_redis(&mut self) {
        self.redis.stop();
        self.redis.child = Some(Redis::spawn(self.redis.port));
    }

    /// Drops the database. Not reached by a failing test: its remains help to see why.
    pub async fn finish(self) {
        self.db.pool().close().await;
        self.admin.close().await;
        let root = PgPool::connect_with(self.server.clone()).await.unwrap();
        let name = &self.name;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop database {name} with (force)")))
            .execute(&root)
            .await
            .unwrap();
    }
}

async fn worker_pool(options: &PgConnectOptions, connections: usize) -> PgPool {
    PgPoolOptions::new()
        .max_connections(u32::try_from(connections).unwrap())
        .connect_with(options.clone().options([("role", "quittance_worker")]))
        .await
        .unwrap()
}

fn context(db: Db, worker_id: Arc<str>) -> Context {
    let config = StripeConfig {
        secret_key: "sk_test_queue".into(),
        api_base: Some("http://127.0.0.1:9".parse().unwrap()),
        timeout: Duration::from_secs(1),
    };
    let limiter = Limiter::local(Rates::of(Mode::Test, None));
    Context {
        db,
        stripe: Arc::new(Client::new(&config, limiter, Arc::new(())).unwrap()),
        delivery: Arc::new(Deliverer::silent()),
        metrics: Arc::new(Metrics::new().unwrap()),
        worker_id,
    }
}

/// A job as a test sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub state: String,
    pub attempt: i32,
    pub crashes: i32,
    pub fence: i64,
    pub last_error: Option<String>,
    pub dispatched: bool,
    pub due_in_secs: f64,
}

/// How a test worker is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub queues: Vec<Queue>,
    pub concurrency: usize,
    pub lease: Duration,
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: vec![Queue::Events, Queue::Charges],
            concurrency: 10,
            lease: Duration::from_secs(15),
            grace: Duration::from_secs(20),
        }
    }
}

/// A worker in a runtime of its own.
pub(crate) struct Worker {
    pub id: String,
    runtime: Option<Runtime>,
    pool: Option<Pool>,
}

impl Worker {
    /// Ends it at once, as SIGKILL would: no more word from it.
    pub fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Stops it as SIGTERM would.
    pub async fn drain(mut self) -> Drained {
        let (runtime, pool) = (self.runtime.take().unwrap(), self.pool.take().unwrap());
        let drained = runtime.spawn(pool.drain()).await.unwrap().unwrap();
        runtime.shutdown_background();
        drained
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A private Redis without persistence.
struct Redis {
    port: u16,
    child: Option<Child>,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self {
            port,
            child: Some(Self::spawn(port)),
        }
    }

    fn spawn(port: u16) -> Child {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
