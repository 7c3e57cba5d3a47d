//! `quittance queue`: what is in the queues, and holding one back while its cause of trouble is mended.
//!
//! A pause stops claims and nothing else: webhooks are stored, jobs are enqueued, schedules tick, and what runs ends.

use serde::Serialize;
use shared::store::{
    self,
    audit::{By, Cause},
    jobs::{self, Queue},
    queues::{self, QueueRow},
};
use uuid::Uuid;

use super::{open_db, operator, reason::Reason};
use crate::output::{Exit, Failure, Format, table};

/// Arguments of `queue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What waits and runs in each queue, who works on it, and whether it is paused.
    #[command(after_help = "Examples:\n  quittance queue status\n  quittance queue status charges --json")]
    Status {
        /// Only this one: events, invoices, charges, maintenance or alerts.
        name: Option<Queue>,
    },
    /// Let no further job of a queue begin, on any worker, from now on until it is resumed. To stop money, and money alone, use
    /// `quittance pause autopay`.
    #[command(
        after_help = "Examples:\n  quittance queue pause events --reason 'a release that parks them is being rolled back'"
    )]
    Pause(Change),
    /// Let the jobs of a queue begin again; what waited is due at once.
    #[command(after_help = "Examples:\n  quittance queue resume events --reason 'rolled back'")]
    Resume(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// events, invoices, charges, maintenance or alerts.
    name: Queue,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Serialize)]
struct Changed {
    queue: &'static str,
    paused: bool,
    changed: bool,
    /// Jobs that are due and wait, or run again.
    due: i64,
    /// Jobs that began before and go on to their end.
    running: i64,
}

#[derive(Debug, Serialize)]
struct Status {
    data: Vec<QueueRow>,
    next_cursor: Option<String>,
}

/// Runs `queue`.
///
/// # Errors
/// When the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let (change, pause) = match args.command {
        Command::Status { name } => {
            let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
            let status = Status {
                data: queues::status(&mut conn, name).await?,
                next_cursor: None,
            };
            out.show(&status, describe_status)?;
            return Ok(Exit::Done);
        }
        Command::Pause(change) => (change, true),
        Command::Resume(change) => (change, false),
    };
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let (queue, reason) = (change.name, change.reason.text());
    let mut tx = db.plain().await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let changed = if pause {
        queues::pause(&mut tx, queue, reason, &by).await?
    } else {
        queues::resume(&mut tx, queue, reason, &by).await?
    };
    if changed && !pause {
        jobs::nudge(&mut tx).await?;
    }
    let status = queues::status(&mut tx, Some(queue)).await?;
    tx.commit().await?;
    let changed = Changed {
        queue: queue.as_str(),
        paused: pause,
        changed,
        due: status.first().map_or(0, |row| row.due),
        running: status.first().map_or(0, |row| row.running),
    };
    out.show(&changed, describe)?;
    Ok(Exit::Done)
}

fn describe(changed: &Changed) -> String {
    let as_it_was = if changed.changed { "" } else { ", as it was" };
    if changed.paused {
        format!(
            "queue {} is paused{as_it_was}; {} job(s) that began before go on to their end, {} due one(s) wait\n",
            changed.queue, changed.running, changed.due
        )
    } else {
        format!(
            "queue {} goes on{as_it_was}; {} job(s) are due\n",
            changed.queue, changed.due
        )
    }
}

fn describe_status(status: &Status) -> String {
    let rows: Vec<Vec<String>> = status
        .data
        .iter()
        .map(|row| {
            let paused = row.paused.as_ref().map_or_else(String::new, |pause| {
                format!(
                    "since {} by {}: {}",
                    pause.at.format("%F %T UTC"),
                    pause.by,
                    pause.reason
                )
            });
            let numbers = [
                row.due,
                row.oldest_due_secs,
                row.later,
                row.retryable,
                row.running,
                row.discarded,
                row.workers,
                row.slots,
            ];
            let mut cells = vec![row.queue.clone()];
            cells.extend(numbers.map(|number| number.to_string()));
            cells.push(paused);
            cells
        })
        .collect();
    let headings = [
        "QUEUE",
        ">DUE",
        ">OLDEST S",
        ">LATER",
        ">RETRYABLE",
        ">RUNNING",
        ">DISCARDED",
        ">WORKERS",
        ">SLOTS",
        "PAUSED",
    ];
    table(&headings, &rows)
}
