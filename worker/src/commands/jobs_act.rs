//! `quittance jobs retry` and `quittance jobs cancel`: what a person does about jobs that failed, or are not wanted.
//!
//! Jobs that are named are all done or none. A filter takes those that can be had, after their number was shown and agreed to;
//! what runs at this moment is left alone and said.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    actions::jobs::{self as actions, Choice},
    domain::job_by_hand::{Refusal, Wish},
    store::{
        Db,
        audit::{By, Cause},
        jobs::Queue,
        jobs_by_hand::{Chosen, Filter},
    },
};
use uuid::Uuid;

use super::{
    firms::firm_named,
    operator,
    reason::Reason,
    since::{Since, parse_since},
};
use crate::output::{Detail, Failure, Format};

/// What `retry` takes.
#[derive(Debug, clap::Args)]
pub struct RetryArgs {
    #[command(flatten)]
    which: Which,
    /// Of a filter: those that were given up, or those that wait for their next attempt.
    #[arg(long, default_value = "discarded", value_parser = ["discarded", "retryable"])]
    state: String,
    #[command(flatten)]
    how: How,
}

/// What `cancel` takes.
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    #[command(flatten)]
    which: Which,
    /// Of a filter: only those in this state.
    #[arg(long, value_parser = ["available", "retryable", "discarded"])]
    state: Option<String>,
    #[command(flatten)]
    how: How,
}

/// Which jobs: their ids, or a filter.
#[derive(Debug, clap::Args)]
struct Which {
    /// Their UUIDs.
    #[arg(value_name = "ID", conflicts_with_all = ["kind", "queue", "firm_id", "error", "since"])]
    ids: Vec<Uuid>,
    /// All of this kind, such as collect_invoice.
    #[arg(long)]
    kind: Option<String>,
    /// All in this queue: events, invoices, charges, maintenance or alerts.
    #[arg(long)]
    queue: Option<Queue>,
    /// All of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// All whose last error contains this.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// All that were enqueued at this time or later: a duration before now, or a time.
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_since)]
    since: Option<Since>,
}

#[derive(Debug, clap::Args)]
struct How {
    #[command(flatten)]
    reason: Reason,
    /// Show which they are; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Yes, all that the filter lets through.
    #[arg(long)]
    yes: bool,
}

/// A job that was left as it is.
#[derive(Debug, Serialize)]
struct Left {
    id: Uuid,
    kind: String,
    code: &'static str,
    message: String,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<Uuid>,
    dry_run: bool,
    /// `retry` or `cancel`.
    action: &'static str,
    jobs: Vec<Chosen>,
    /// Runs right now, or does not need it.
    left_alone: Vec<Left>,
}

/// Runs `jobs retry`.
///
/// # Errors
/// When a job is not there or may not run again, a filter is not agreed to, or the database is away.
pub async fn retry(db: &Db, args: RetryArgs, format: Format) -> Result<(), Failure> {
    let states = vec![args.state];
    act(db, Wish::Retry, args.which, &states, args.how, format).await
}

/// Runs `jobs cancel`.
///
/// # Errors
/// As [`retry`].
pub async fn cancel(db: &Db, args: CancelArgs, format: Format) -> Result<(), Failure> {
    let states = match args.state {
        Some(state) => vec![state],
        None => ["available", "retryable", "discarded"].map(str::to_owned).into(),
    };
    act(db, Wish::Cancel, args.which, &states, args.how, format).await
}

async fn act(
    db: &Db,
    wish: Wish,
    which: Which,
    states: &[String],
    how: How,
    format: Format,
) -> Result<(), Failure> {
    let by_filter = which.ids.is_empty();
    if by_filter && which.is_empty() {
        return Err(Failure::usage(
            "say which jobs: their ids, or --kind, --queue, --firm-id, --error, --since",
        ));
    }
    let firm = match &which.firm_id {
        Some(firm) => Some(firm_named(db, firm).await?.0),
        None => None,
    };
    let run = Uuid::now_v7();
    let (actor, cause) = (operator(), Cause::command(run));
    let mut tx = db.plain().await?;
    let now = tx.now();
    let filter = Filter {
        ids: &which.ids,
        states: if by_filter { states } else { &[] },
        kind: which.kind.as_deref(),
        queue: which.queue.map(Queue::as_str),
        firm,
        error: which.error.as_deref(),
        since: which.since.map(|since| since.at(now)),
    };
    let Choice { jobs, left_alone } = actions::choose(&mut tx, wish, &filter).await?;
    let left_alone: Vec<Left> = left_alone
        .iter()
        .map(|(job, refusal)| Left::of(job, *refusal))
        .collect();
    if !by_filter && !left_alone.is_empty() {
        return Err(refused(&left_alone));
    }
    let mut done = Done {
        run_id: None,
        dry_run: how.dry_run,
        action: word(wish),
        jobs,
        left_alone,
    };
    if how.dry_run || done.jobs.is_empty() {
        tx.rollback().await?;
        return format.show(&done, describe);
    }
    if by_filter && !how.yes {
        return Err(Failure::usage(format!(
            "{} job(s) match ({}): say --yes to {} them all, or --dry-run to see them",
            done.jobs.len(),
            by_kind(&done.jobs),
            word(wish),
        )));
    }
    let by = By {
        actor: &actor,
        cause: &cause,
        at: now,
    };
    let reason = how.reason.text();
    let ids: Vec<Uuid> = done.jobs.iter().map(|job| job.id).collect();
    let subject = which.subject(&ids, states);
    actions::act(&mut tx, wish, &done.jobs, (reason, &subject), &by).await?;
    tx.commit().await?;
    done.run_id = Some(run);
    format.show(&done, describe)
}

impl Which {
    fn is_empty(&self) -> bool {
        self.kind.is_none()
            && self.queue.is_none()
            && self.firm_id.is_none()
            && self.error.is_none()
            && self.since.is_none()
    }

    /// For the record: what was asked for, and how many jobs that were.
    fn subject(&self, ids: &[Uuid], states: &[String]) -> Value {
        if self.ids.is_empty() {
            let filter = json!({
                "state": states, "kind": self.kind, "queue": self.queue.map(Queue::as_str), "firm": self.firm_id, "error": self.error,
            });
            json!({ "filter": filter, "jobs": ids.len() })
        } else {
            json!({ "ids": ids, "jobs": ids.len() })
        }
    }
}

impl Left {
    fn of(job: &Chosen, refusal: Refusal) -> Self {
        Self {
            id: job.id,
            kind: job.kind.clone(),
            code: refusal.code(),
            message: refusal.text(),
        }
    }
}

fn word(wish: Wish) -> &'static str {
    match wish {
        Wish::Retry => "retry",
        Wish::Cancel => "cancel",
    }
}

/// Named jobs are all done or none.
fn refused(left: &[Left]) -> Failure {
    let failure = match left {
        [one] => Failure::refused(one.code, format!("job {} {}", one.id, one.message)),
        several => Failure::refused(
            "jobs_refused",
            format!("{} of the jobs are refused; none was changed", several.len()),
        ),
    };
    let details = left.iter().map(|left| Detail {
        path: left.id.to_string(),
        message: left.message.clone(),
    });
    failure.with_details(if left.len() > 1 {
        details.collect()
    } else {
        Vec::new()
    })
}

/// `3 collect_invoice, 1 prune`.
fn by_kind(jobs: &[Chosen]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for job in jobs {
        *kinds.entry(&job.kind).or_default() += 1;
    }
    let counted: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    counted.join(", ")
}

fn describe(done: &Done) -> String {
    let kinds = match done.jobs.as_slice() {
        [] => String::new(),
        jobs => format!(" ({})", by_kind(jobs)),
    };
    let what = match (done.action, done.dry_run) {
        ("retry", false) => "run again, due now",
        ("retry", true) => "would run again",
        (_, false) => "canceled",
        (_, true) => "would be canceled",
    };
    let mut text = format!("{} job(s){kinds} {what}\n", done.jobs.len());
    if done.dry_run {
        for job in &done.jobs {
            let error = job.last_error.as_deref().unwrap_or_default();
            text.push_str(&format!("  {} {} {}: {error}\n", job.id, job.kind, job.state));
        }
    }
    for left in &done.left_alone {
        text.push_str(&format!(
            "  left alone: {} {} {}\n",
            left.id, left.kind, left.message
        ));
    }
    text
}
