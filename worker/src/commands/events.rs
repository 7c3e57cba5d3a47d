//! `quittance events`: what Stripe sent, and what became of it. Facts only; a body is never shown.

use chrono::{DateTime, Utc};
use shared::store::{
    self,
    inbox_read::{self, EventRow, EventView, Filter},
};

use super::{list_args::ListArgs, open_db};
use crate::output::{Exit, Failure, Format, Page, table};

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The events that came in last.
    #[command(after_help = "Examples:
  quittance events list
  quittance events list --state unmatched
  quittance events list --type charge.refunded --limit 10 --json")]
    List(List),
    /// One event: its facts and its job.
    #[command(after_help = "Examples:\n  quittance events show evt_1")]
    Show {
        /// Stripe's id.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only in this state.
    #[arg(long, value_parser = ["pending", "applied", "ignored", "unmatched", "parked"])]
    state: Option<String>,
    /// Only of this type, such as payment_intent.succeeded.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    page: ListArgs,
}

/// Runs `events`.
///
/// # Errors
/// When there is no such event, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    match args.command {
        Command::List(List { state, kind, page }) => {
            let filter = Filter {
                state: state.as_deref(),
                kind: kind.as_deref(),
                after: page.cursor.as_deref(),
            };
            let rows = inbox_read::list(&mut conn, &filter, page.fetch()).await?;
            out.show(&Page::of(rows, page.shown(), |row| row.id.clone()), describe_page)?;
        }
        Command::Show { id } => {
            let event = inbox_read::show(&mut conn, &id).await?;
            let event = event.ok_or_else(|| Failure::not_found(format!("there is no event {id:?}")))?;
            out.show(&event, describe)?;
        }
    }
    Ok(Exit::Done)
}

fn describe_page(page: &Page<EventRow>) -> String {
    page.to_text(
        &["EVENT", "TYPE", "STATE", "OBJECT", "RECEIVED", "REASON"],
        |row| {
            vec![
                row.id.clone(),
                row.kind.clone(),
                row.state.clone(),
                row.object_id.clone().unwrap_or_default(),
                row.received_at.format("%F %T").to_string(),
                row.state_reason.clone().unwrap_or_default(),
            ]
        },
    )
}

fn describe(event: &EventView) -> String {
    let time = |at: DateTime<Utc>| at.format("%F %T UTC").to_string();
    let row = &event.row;
    let job = event.job.as_ref();
    let fields = [
        ("event", Some(row.id.clone())),
        ("type", Some(row.kind.clone())),
        ("state", Some(row.state.clone())),
        ("reason", row.state_reason.clone()),
        ("object", row.object_id.clone()),
        ("firm", row.firm_id.map(|id| id.to_string())),
        ("created", Some(time(row.created_at))),
        ("received", Some(time(row.received_at))),
        ("applied", row.applied_at.map(time)),
        ("via", Some(event.via.clone())),
        ("api version", event.api_version.clone()),
        ("account", event.account.clone()),
        (
            "mode",
            Some(if event.livemode { "live" } else { "test" }.to_owned()),
        ),
        (
            "job",
            job.map(|job| format!("{} {}, tried {} time(s)", job.id, job.state, job.attempt)),
        ),
        ("last error", job.and_then(|job| job.last_error.clone())),
    ];
    let mut rows: Vec<_> = fields
        .into_iter()
        .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]))
        .collect();
    for (name, value) in event.facts.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        rows.push(vec![format!("  {name}"), text]);
    }
    table(&["FIELD", "VALUE"], &rows)
}
