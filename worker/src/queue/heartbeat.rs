//! Who is alive: one row per worker, refreshed every two seconds, read by rescue and by whoever waits for jobs.
//!
//! The table is unlogged and may be empty after a crash of the database; the next beat fills it again.

use std::{sync::Arc, time::Duration};

use shared::store::{
    Db, Result,
    jobs::Queue,
    silence::{ANSWER, answered},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::health::Pulse;

/// How often a worker says that it lives.
pub const EVERY: Duration = Duration::from_secs(2);

/// A worker that has been silent for this long is dead: four beats.
pub const DEAD_AFTER: Duration = Duration::from_secs(8);

/// The same, for SQL.
pub const DEAD_AFTER_SECS: f64 = 8.0;

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Unique per process start.
    pub id: String,
    /// Name of the machine.
    pub host: String,
    /// Process id there.
    pub pid: u32,
    /// Lanes that it serves.
    pub queues: Vec<Queue>,
    /// Slots per lane.
    pub concurrency: usize,
}

impl Identity {
    /// A fresh identity for this process.
    #[must_use]
    pub fn fresh(queues: Vec<Queue>, concurrency: usize) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned());
        let pid = std::process::id();
        Self {
            id: format!("{host}-{pid}-{}", uuid::Uuid::new_v4().simple()),
            host,
            pid,
            queues,
            concurrency,
        }
    }
}

/// Writes the row.
///
/// # Errors
/// When the database is away.
pub async fn beat(db: &Db, who: &Identity, draining: bool) -> Result<()> {
    let queues: Vec<String> = who.queues.iter().map(|q| q.as_str().to_owned()).collect();
    let query = sqlx::query!(
        "insert into workers (id, host, pid, version, queues, concurrency, started_at, heartbeat_at, draining)
         values ($1, $2, $3, $4, $5, $6, clock_timestamp(), clock_timestamp(), $7)
         on conflict (id) do update set heartbeat_at = clock_timestamp(), draining = excluded.draining",
        who.id,
        who.host,
        i32::try_from(who.pid).unwrap_or(0),
        env!("CARGO_PKG_VERSION"),
        &queues,
        i32::try_from(who.concurrency).unwrap_or(i32::MAX),
        draining,
    );
    answered(ANSWER, query.execute(db.pool())).await?;
    Ok(())
}

/// Removes the row and whatever this worker noted as running: after a clean stop nothing is.
///
/// # Errors
/// When the database is away; rescue tidies up then.
pub async fn sign_off(db: &Db, who: &Identity) -> Result<()> {
    let query = sqlx::query!(
        "with noted as (delete from job_runs where worker_id = $1) delete from workers where id = $1",
        who.id
    );
    answered(ANSWER, query.execute(db.pool())).await?;
    Ok(())
}

/// Beats until `stop`; goes on while draining, so that nobody rescues what is still being finished. A beat that comes after
/// others have held this worker for dead is passed on to `returned`.
pub async fn run(
    db: Db,
    who: Identity,
    draining: CancellationToken,
    pulse: Arc<Pulse>,
    returned: watch::Sender<()>,
    stop: CancellationToken,
) {
    let (mut away, mut beaten_at) = (false, Instant::now());
    loop {
        match beat(&db, &who, draining.is_cancelled()).await {
            Ok(()) => {
                away = false;
                pulse.beat();
                if std::mem::replace(&mut beaten_at, Instant::now()).elapsed() >= DEAD_AFTER {
                    tracing::warn!("the database answers again; others have held this worker for dead");
                    returned.send_replace(());
                }
            }
            Err(error) if !away => {
                away = true;
                tracing::warn!("heartbeat failed: {error}");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}
