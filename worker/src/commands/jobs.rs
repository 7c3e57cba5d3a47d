//! `quittance jobs`: the queue of record.

use serde::Serialize;
use shared::{
    domain::job_by_hand::{self, GivenUp, JobState},
    ids::JobId,
    store::{
        self,
        jobs::Queue,
        jobs_read::{self, Filter, JobRow, JobView},
    },
};
use uuid::Uuid;

use super::{jobs_act, list_args::ListArgs, open_db};
use crate::{
    jobs::register,
    output::{Exit, Failure, Format, Page, table},
    queue::Registry,
};

/// Arguments of `jobs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The jobs enqueued last.
    #[command(after_help = "Examples:
  quittance jobs list
  quittance jobs list --state discarded
  quittance jobs list --queue charges --kind collect_invoice --json")]
    List(List),
    /// One job.
    #[command(after_help = "Examples:\n  quittance jobs show 01a1fda9-ea24-774d-b6db-b813fe0e38c4")]
    Show {
        /// Its UUID.
        id: Uuid,
    },
    /// Run jobs again, now: some that are named, or all that the filters let through. One that was given up has all its
    /// attempts again.
    #[command(after_help = "Examples:
  quittance jobs retry 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --reason 'the client was imported'
  quittance jobs retry --kind refund_payment --error 'no answer' --reason 'Stripe is back' --dry-run
  quittance jobs retry --queue charges --since 1d --reason 'Stripe is back' --yes")]
    Retry(jobs_act::RetryArgs),
    /// Give jobs up: they never run (again). What a schedule or a sweep finds undone it enqueues anew; to stop money, use
    /// `quittance pause autopay`.
    #[command(after_help = "Examples:
  quittance jobs cancel 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --reason 'settled by hand'
  quittance jobs cancel --kind backfill_events --state retryable --reason 'the key may not read events' --yes")]
    Cancel(jobs_act::CancelArgs),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only in this state.
    #[arg(long, value_parser = ["available", "running", "retryable", "completed", "discarded", "canceled"])]
    state: Option<String>,
    /// Only of this kind, such as collect_invoice.
    #[arg(long)]
    kind: Option<String>,
    /// Only in this queue: events, invoices, charges, maintenance or alerts.
    #[arg(long)]
    queue: Option<Queue>,
    #[command(flatten)]
    page: ListArgs,
}

/// A job, and if it was given up, what that means.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    job: JobView,
    #[serde(skip_serializing_if = "Option::is_none")]
    given_up: Option<GivenUp>,
}

/// Runs `jobs`.
///
/// # Errors
/// When there is no such job, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::List(List {
            state,
            kind,
            queue,
            page,
        }) => {
            let before_seq = page.cursor.as_deref().map(|cursor| {
                cursor
                    .parse()
                    .map_err(|_| Failure::usage("--cursor is none of ours: give a next_cursor"))
            });
            let filter = Filter {
                state: state.as_deref(),
                kind: kind.as_deref(),
                queue: queue.map(Queue::as_str),
                before_seq: before_seq.transpose()?,
            };
            let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
            let rows = jobs_read::list(&mut conn, &filter, page.fetch()).await?;
            out.show(
                &Page::of(rows, page.shown(), |row| row.seq.to_string()),
                describe_page,
            )?;
        }
        Command::Show { id } => {
            let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
            let job = jobs_read::show(&mut conn, JobId(id)).await?;
            let job = job.ok_or_else(|| Failure::not_found(format!("there is no job {id} (any more)")))?;
            let shown = Shown {
                given_up: given_up(&job),
                job,
            };
            out.show(&shown, describe)?;
        }
        Command::Retry(args) => jobs_act::retry(&db, args, out).await?,
        Command::Cancel(args) => jobs_act::cancel(&db, args, out).await?,
    }
    Ok(Exit::Done)
}

fn describe_page(page: &Page<JobRow>) -> String {
    page.to_text(
        &["JOB", "KIND", "QUEUE", "STATE", ">TRIED", "DUE", "LAST ERROR"],
        |row| {
            vec![
                row.id.to_string(),
                row.kind.clone(),
                row.queue.clone(),
                row.state.clone(),
                format!("{}/{}", row.attempt, row.max_attempts),
                row.run_at.format("%F %T").to_string(),
                row.last_error.clone().unwrap_or_default(),
            ]
        },
    )
}

fn given_up(job: &JobView) -> Option<GivenUp> {
    let row = &job.row;
    // A kind may allow fewer attempts than the row.
    let of_kind = register(Registry::new())
        .handler(&row.kind)
        .map_or(row.max_attempts, |handler| handler.retry.attempts.0);
    let attempts = (row.attempt, row.max_attempts.min(of_kind));
    (row.state == JobState::Discarded.as_str()).then(|| {
        job_by_hand::given_up(
            &row.id.to_string(),
            &row.kind,
            attempts,
            row.last_error.as_deref(),
        )
    })
}

fn describe(shown: &Shown) -> String {
    let job = &shown.job;
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%F %T UTC").to_string();
    let row = &job.row;
    let fields = [
        ("job", Some(row.id.to_string())),
        ("kind", Some(row.kind.clone())),
        ("queue", Some(row.queue.clone())),
        ("state", Some(row.state.clone())),
        (
            "tried",
            Some(format!("{} of {} time(s)", row.attempt, row.max_attempts)),
        ),
        ("crashes", (job.crashes > 0).then(|| job.crashes.to_string())),
        ("last error", row.last_error.clone()),
        ("firm", row.firm_id.map(|id| id.to_string())),
        ("payload", Some(job.payload.to_string())),
        ("result", job.result.as_ref().map(ToString::to_string)),
        ("job key", Some(job.dedupe_key.clone())),
        ("in order of", job.order_key.clone()),
        ("priority", Some(job.priority.to_string())),
        ("enqueued", Some(time(job.created_at))),
        ("due", Some(time(row.run_at))),
        ("started", job.started_at.map(time)),
        ("finished", row.finished_at.map(time)),
        ("held by", job.lease_owner.clone()),
        ("held until", job.lease_until.map(time)),
        ("trace", job.traceparent.clone()),
    ];
    let rows: Vec<_> = fields
        .into_iter()
        .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]))
        .collect();
    let mut text = table(&["FIELD", "VALUE"], &rows);
    if let Some(told) = &shown.given_up {
        text.push_str(&format!("GIVEN UP: {}\nMEANWHILE {}\n", told.why, told.meanwhile));
        for remedy in &told.remedies {
            text.push_str(&format!("DO  {remedy}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_job_says_what_stands_still_while_it_is_given_up() {
        for kind in register(Registry::new()).kinds() {
            assert!(job_by_hand::meanwhile(&kind).is_some(), "{kind}");
        }
    }
}
