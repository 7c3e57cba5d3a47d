//! `quittance events`: what Stripe sent, and what became of it; once more, or what it did not send. Facts only; a body is shown under break-glass alone.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use shared::{
    ids::FirmId,
    store::{
        self, Db, break_glass,
        inbox_read::{self, EventRow, EventView, Filter},
    },
};
use uuid::Uuid;

use super::{events_backfill, events_replay, glass, list_args::ListArgs, open_db};
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
    #[command(after_help = "Examples:
  quittance events show evt_1
  quittance events show evt_1 --body --break-glass 01a1fda9-ea24-774d-b6db-b813fe0e38c4")]
    Show {
        /// Stripe's id.
        id: String,
        /// Show the signed bytes instead, which hold personal data; under an open break-glass session of its firm only.
        #[arg(long)]
        body: bool,
        /// The session.
        #[arg(long, value_name = "SESSION", requires = "body")]
        break_glass: Option<Uuid>,
    },
    /// Process events once more, by the same job: these, or all that the filters let through. Harmless, whatever they are.
    #[command(after_help = "Examples:
  quittance events replay evt_1 evt_2 --reason 'Stripe answered 404 until noon'
  quittance events replay --state parked --since 30d --reason 'the client was imported too late'
  quittance events replay --type charge.refunded --since 2026-03-01 --until 2026-03-08 --dry-run
  quittance events replay --since 30d --into postgres://localhost/copy --shuffle --duplicate --drop --seed 7")]
    Replay(events_replay::Args),
    /// Find what Stripe told nobody, and process it: events that never came, objects that the books do not show as they are.
    #[command(after_help = "Examples:
  quittance events backfill
  quittance events backfill --since 10d --dry-run")]
    Backfill(events_backfill::Args),
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
    match args.command {
        Command::Replay(args) => return events_replay::run(&db, args, out).await,
        Command::Backfill(args) => return events_backfill::run(&db, args, out).await,
        Command::List(List { state, kind, page }) => {
            let filter = Filter {
                state: state.as_deref(),
                kind: kind.as_deref(),
                after: page.cursor.as_deref(),
            };
            let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
            let rows = inbox_read::list(&mut conn, &filter, page.fetch()).await?;
            out.show(&Page::of(rows, page.shown(), |row| row.id.clone()), describe_page)?;
        }
        Command::Show {
            id,
            body,
            break_glass,
        } => {
            let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
            let event = inbox_read::show(&mut conn, &id).await?;
            drop(conn);
            let event = event.ok_or_else(|| Failure::not_found(format!("there is no event {id:?}")))?;
            if body {
                let body = signed_body(&db, &event, break_glass).await?;
                out.show(&body, |body| body.body.clone())?;
            } else {
                let firm = event.row.firm_id.map(FirmId);
                glass::touch(&db, firm.as_slice()).await?;
                out.show(&event, describe)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// An event's signed bytes, as text.
#[derive(Debug, Serialize)]
struct Body {
    event: String,
    session: Uuid,
    body_sha256: String,
    body: String,
}

/// What was signed, if an open session of the event's firm is named. The access is in the log before anything is shown.
async fn signed_body(db: &Db, event: &EventView, session: Option<Uuid>) -> Result<Body, Failure> {
    let Some(session) = session else {
        return Err(Failure::refused(
            "break_glass_needed",
            "a body is shown under break-glass alone: open a session with `quittance break-glass open`, and name it",
        ));
    };
    let Some(firm) = event.row.firm_id else {
        return Err(Failure::refused(
            "no_firm",
            "the event belongs to no firm yet: nobody may open it",
        ));
    };
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let open = break_glass::all_open(&mut conn).await?;
    let open = open
        .into_iter()
        .find(|open| open.id == session && open.firm.0 == firm);
    let open = open.ok_or_else(|| {
        Failure::refused(
            "no_open_session",
            "that is no open break-glass session of the event's firm: see `quittance break-glass list`",
        )
    })?;
    let kept = break_glass::event_body(&mut conn, &event.row.id).await?;
    drop(conn);
    let (body, hash) = kept.ok_or_else(|| Failure::not_found("the signed bytes are not kept any more"))?;
    glass::record_access(db, &open, json!({ "event": event.row.id, "what": "signed body" })).await?;
    Ok(Body {
        event: event.row.id.clone(),
        session,
        body_sha256: hex::encode(hash),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
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
