//! A worker and an ingress under a supervisor, which starts them again when they die: for stories in which one of them is
//! made to crash at a point of its own code (`shared::failpoint`).
//!
//! After a crash other processes wait: eight seconds until a silent worker counts as dead, fifteen until an id that it had
//! fetched is handed over again. These waits have tests of their own (P5). Here the rows are made that much older instead,
//! so that hundreds of crashes can be played.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    World,
    error::{Error, Result, must},
    inspect::get,
    postgres::Login,
    program::{Program, free_port, show},
};

/// Between two looks at the programs.
const EVERY: Duration = Duration::from_millis(20);
/// How long an ingress may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// Names of their logs.
const WORKER: &str = "worker";
const INGRESS: &str = "ingress";
/// What a process that aborts ends with: minus SIGABRT.
const ABORTED: i32 = -6;

/// Makes what a dead worker left behind as old as it is by the time that others act on it.
const AGE: [&str; 3] = [
    "update workers set heartbeat_at = heartbeat_at - interval '1 minute'",
    "update job_runs set started_at = started_at - interval '1 minute'",
    "update jobs set dispatched_at = dispatched_at - interval '1 minute' where dispatched_at is not null",
];

/// One worker and one ingress that are kept running. Dropping it kills them.
#[derive(Debug)]
pub struct Supervised {
    crashes: Arc<AtomicUsize>,
    keeping: JoinHandle<()>,
    folder: PathBuf,
}

impl World {
    /// Starts a worker and the ingress with this `QUITTANCE_TEST_FAILPOINTS`, and keeps them running. Whoever crashes is started
    /// again without it.
    ///
    /// # Panics
    /// When they cannot be started.
    pub async fn supervise(&self, failpoints: &str) -> Supervised {
        let crashes = Arc::new(AtomicUsize::new(0));
        let mut both = [
            must("the ingress does not start", self.kept(Login::Ingress)),
            must("the worker does not start", self.kept(Login::Worker)),
        ];
        for kept in &mut both {
            must("a program does not start", kept.start(Some(failpoints)));
        }
        // Webhooks that find nobody are delivered later, which only takes time.
        let listening = async {
            let deadline = Instant::now() + LISTEN_LIMIT;
            while get(self.ingress_admin_port, "/readyz").await.is_err() {
                if Instant::now() >= deadline {
                    return Err(Error::Late("the ingress does not listen".into()));
                }
                sleep(EVERY).await;
            }
            Ok(())
        };
        must("the ingress does not start", listening.await);
        let (pool, count) = (self.db.clone(), Arc::clone(&crashes));
        let keeping = tokio::spawn(async move {
            // Told at once: the story that waits for the program only knows that it waits.
            if let Err(fault) = keep(both, pool, count).await {
                eprintln!("no longer supervised: {fault}");
            }
        });
        Supervised {
            crashes,
            keeping,
            folder: self.folder.0.clone(),
        }
    }

    fn kept(&self, login: Login) -> Result<Kept> {
        let mut env = self.env_of(login);
        let (name, program, args) = match login {
            Login::Ingress => (INGRESS, &self.binaries.ingress, Vec::new()),
            _ => (
                WORKER,
                &self.binaries.quittance,
                vec![
                    "worker".to_owned(),
                    "--concurrency".into(),
                    self.options.concurrency.to_string(),
                ],
            ),
        };
        for (variable, port) in [
            ("INGRESS_ADDR", self.ingress_port),
            ("INGRESS_ADMIN_ADDR", self.ingress_admin_port),
            ("WORKER_ADMIN_ADDR", free_port()?),
        ] {
            env.push((variable.to_owned(), format!("127.0.0.1:{port}")));
        }
        Ok(Kept {
            name,
            program: program.clone(),
            args,
            env,
            folder: self.folder.0.clone(),
            running: None,
        })
    }
}

impl Supervised {
    /// How often one of them has aborted.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.crashes.load(Ordering::SeqCst)
    }

    /// Whether it still keeps them running; it stops when one ends in another way than by an abort.
    #[must_use]
    pub fn is_keeping(&self) -> bool {
        !self.keeping.is_finished()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.keeping.abort();
        if std::thread::panicking() {
            for name in [WORKER, INGRESS] {
                show(name, &self.folder.join(format!("{name}.log")));
            }
        }
    }
}

async fn keep(mut both: [Kept; 2], pool: PgPool, crashes: Arc<AtomicUsize>) -> Result<()> {
    loop {
        for kept in &mut both {
            let Some(program) = &mut kept.running else {
                continue;
            };
            if program.is_running() {
                continue;
            }
            let ended = program.ended(EVERY).await?;
            if ended != ABORTED {
                return Err(Error::Setup(format!("{} ended with {ended}", kept.name)));
            }
            crashes.fetch_add(1, Ordering::SeqCst);
            for statement in AGE {
                sqlx::query(statement).execute(&pool).await?;
            }
            kept.start(None)?;
        }
        sleep(EVERY).await;
    }
}

/// How to run a program, and the one that runs.
#[derive(Debug)]
struct Kept {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    folder: PathBuf,
    running: Option<Program>,
}

impl Kept {
    fn start(&mut self, failpoints: Option<&str>) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .args(&self.args);
        if let Some(order) = failpoints {
            command.env("QUITTANCE_TEST_FAILPOINTS", order);
        }
        self.running = Some(Program::spawn(self.name, &mut command, &self.folder)?);
        Ok(())
    }
}
