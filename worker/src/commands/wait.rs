//! Waiting for jobs that a command enqueued, with a progress bar where a person looks on.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use shared::{
    ids::{FirmId, JobId},
    store::{self, Db},
};
use uuid::Uuid;

use crate::output::{Failure, Format};

/// Between two looks at the jobs: a tenth of what was waited so far, within these. Whoever is served at once is told at once, and
/// a long run is not slowed down by being watched. The database is asked, not the workers: they may be anywhere.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// A worker that has just been started may not have shown itself yet.
const WORKER_GRACE: Duration = Duration::from_secs(3);

/// How long to wait, and whether at all.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WaitArgs {
    /// Only enqueue; do not wait for the workers.
    #[arg(long)]
    pub no_wait: bool,
    /// Give up waiting after this many seconds (exit 75); what was enqueued stays enqueued.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub wait_secs: u64,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The job.
    pub id: JobId,
    /// Its firm.
    pub firm: Option<FirmId>,
    /// `completed`, `canceled` or `discarded`.
    pub state: String,
    /// What it reported.
    pub result: Value,
    /// Why it failed.
    pub last_error: Option<String>,
}

/// Waits until all jobs have ended, then until `settled` says so too.
///
/// # Errors
/// [`crate::output::Exit::TryAgain`] with no live worker, or when the time is up.
pub async fn wait_for(
    db: &Db,
    jobs: &[JobId],
    args: WaitArgs,
    format: Format,
    what: &'static str,
) -> Result<Vec<Ended>, Failure> {
    let started = Instant::now();
    let bar = progress(jobs.len(), format, what);
    let ids: Vec<Uuid> = jobs.iter().map(|j| j.0).collect();
    loop {
        let ended = ended(db, &ids).await?;
        bar.set_position(u64::try_from(ended.len()).unwrap_or(u64::MAX));
        if ended.len() == jobs.len() {
            bar.finish_and_clear();
            return Ok(ended);
        }
        pause(db, started, args, what).await?;
    }
}

/// Sleeps a moment, unless the time is up or nobody is there to do the work.
///
/// # Errors
/// [`crate::output::Exit::TryAgain`] then.
pub async fn pause(db: &Db, started: Instant, args: WaitArgs, what: &str) -> Result<(), Failure> {
    if started.elapsed() >= Duration::from_secs(args.wait_secs) {
        let message = format!(
            "{what} not finished after {} s; they stay enqueued and go on by themselves: see `quittance jobs list`",
            args.wait_secs
        );
        return Err(Failure::try_again("still_running", message));
    }
    if started.elapsed() >= WORKER_GRACE && !worker_alive(db).await? {
        let message = format!(
            "no worker is running: start `quittance worker`; the {what} stay enqueued and are done then"
        );
        return Err(Failure::try_again("no_worker", message));
    }
    tokio::time::sleep((started.elapsed() / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
    Ok(())
}

/// A bar on standard error, where a person looks on.
pub fn progress(jobs: usize, format: Format, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(jobs).unwrap_or(u64::MAX)).with_message(what);
    if format == Format::Json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    match ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

async fn ended(db: &Db, jobs: &[Uuid]) -> Result<Vec<Ended>, store::Error> {
    Ok(sqlx::query!(
        r#"select id, firm_id, state, coalesce(result, 'null') as "result!", last_error from jobs
           where id = any($1) and state in ('completed', 'canceled', 'discarded')"#,
        jobs
    )
    .fetch_all(db.pool())
    .await?
    .into_iter()
    .map(|r| Ended {
        id: JobId(r.id),
        firm: r.firm_id.map(FirmId),
        state: r.state,
        result: r.result,
        last_error: r.last_error,
    })
    .collect())
}

async fn worker_alive(db: &Db) -> Result<bool, store::Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from workers where heartbeat_at > clock_timestamp() - interval '10 seconds') as "alive!""#
    )
    .fetch_one(db.pool())
    .await?)
}
