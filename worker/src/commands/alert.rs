//! `quittance alert`: what a person should look at. Where alerts go is in `alert_destination.rs`.

use serde_json::json;
use shared::{
    actions::alerts as actions,
    domain::alert::{AlertType, Topic},
    ids::{AlertId, FirmId},
    store::{
        self, Db,
        alerts::{self, AlertRow, Filter, NewAlert},
        audit::{By, Cause, Severity},
    },
};
use uuid::Uuid;

use super::{
    alert_destination, firms::chosen_firms, glass, list_args::ListArgs, open_db, operator,
    reason::MaybeReason,
};
use crate::output::{Exit, Failure, Format, Page};

/// Arguments of `alert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Open alerts, the newest of each firm first; those about no firm before them.
    #[command(after_help = "Examples:
  quittance alert list
  quittance alert list --firm-id acme --unread
  quittance alert list --type DISPUTE_OPENED --all --json")]
    List(List),
    /// Mark alerts as read; they stay open.
    #[command(after_help = "Examples:\n  quittance alert read 01a1fda9-ea24-774d-b6db-b813fe0e38c4")]
    Read {
        /// Their UUIDs.
        #[arg(required = true)]
        ids: Vec<Uuid>,
        #[command(flatten)]
        reason: MaybeReason,
    },
    /// Mark alerts as over. The same thing again is a new alert.
    #[command(
        after_help = "Examples:\n  quittance alert resolve 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --reason 'the client has paid'"
    )]
    Resolve {
        /// Their UUIDs.
        #[arg(required = true)]
        ids: Vec<Uuid>,
        #[command(flatten)]
        reason: MaybeReason,
    },
    /// Raise one, for another system; while it is open, the same key only counts it up.
    #[command(after_help = "Examples:
  quittance alert raise --firm-id acme --type AGENT_OFFLINE --severity warning --title 'Agent offline' \\
    --message 'No sign of life since 09:00 UTC.' --dedupe-key agent-offline:17")]
    Raise(Raise),
    /// Where alerts go by themselves: webhooks and mailboxes.
    #[command(subcommand)]
    Destination(alert_destination::Command),
    /// What destinations were told, the newest first.
    #[command(after_help = "Examples:
  quittance alert deliveries --firm-id acme
  quittance alert deliveries --alert 01a1fda9-ea24-774d-b6db-b813fe0e38c4
  quittance alert deliveries --state failed --json")]
    Deliveries(alert_destination::Deliveries),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Only of this type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<AlertType>,
    /// Only those that nobody has read.
    #[arg(long)]
    unread: bool,
    /// Resolved ones too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    page: ListArgs,
}

#[derive(Debug, clap::Args)]
struct Raise {
    /// Whose; the installation's own unless told.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// What it is about.
    #[arg(long = "type", value_name = "TYPE")]
    kind: AlertType,
    /// How much it matters.
    #[arg(long, value_parser = ["info", "warning", "critical"])]
    severity: String,
    /// A few words.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    title: String,
    /// What happened and what comes next.
    #[arg(long)]
    message: String,
    /// Names what is wrong, so that the same again is no second alert.
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    dedupe_key: String,
}

/// Runs `alert`.
///
/// # Errors
/// When there is no such alert or firm, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::List(list) => {
            let rows = rows(&db, &list).await?;
            out.show(
                &Page::of(rows, list.page.shown(), |row| row.id.to_string()),
                describe_page,
            )?;
        }
        Command::Read { ids, reason } => change(&db, &ids, Change::Read, &reason, out).await?,
        Command::Resolve { ids, reason } => change(&db, &ids, Change::Resolve, &reason, out).await?,
        Command::Raise(new) => raise(&db, &new, out).await?,
        Command::Destination(command) => return alert_destination::run(&db, command, out).await,
        Command::Deliveries(which) => alert_destination::deliveries(&db, &which, out).await?,
    }
    Ok(Exit::Done)
}

/// Up to one row more than a page: the installation's own, then firm by firm.
async fn rows(db: &Db, list: &List) -> Result<Vec<AlertRow>, Failure> {
    let firms = chosen_firms(db, list.firm_id.as_deref()).await?;
    let mut scopes: Vec<Option<FirmId>> = firms.into_iter().map(|firm| Some(firm.id)).collect();
    if list.firm_id.is_none() {
        scopes.insert(0, None);
    }
    let after = match &list.page.cursor {
        Some(cursor) => {
            let id = cursor
                .parse()
                .map_err(|_| Failure::usage("--cursor is none of ours: give a next_cursor"))?;
            let firm = firm_of(db, AlertId(id)).await?;
            scopes = scopes.into_iter().skip_while(|scope| *scope != firm).collect();
            Some((firm, AlertId(id)))
        }
        None => None,
    };
    let mut rows = Vec::new();
    for scope in scopes {
        let missing = list.page.fetch() - i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if missing <= 0 {
            break;
        }
        let filter = Filter {
            resolved_too: list.all,
            unread_only: list.unread,
            kind: list.kind.map(AlertType::as_str),
            id: None,
            after: after.filter(|(of, _)| *of == scope).map(|(_, id)| id),
        };
        let mut tx = begin(db, scope).await?;
        rows.extend(alerts::list(&mut tx, scope, &filter, missing).await?);
    }
    Ok(rows)
}

#[derive(Clone, Copy)]
enum Change {
    Read,
    Resolve,
}

/// All or nothing is not needed here: each alert is a matter of its own. An id that is none is found out before any changes.
async fn change(
    db: &Db,
    ids: &[Uuid],
    change: Change,
    reason: &MaybeReason,
    out: Format,
) -> Result<(), Failure> {
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut found = Vec::new();
    for id in ids {
        found.push((firm_of(db, AlertId(*id)).await?, AlertId(*id)));
    }
    let mut shown = Vec::new();
    for (firm, id) in found {
        let mut tx = begin(db, firm).await?;
        let by = By {
            actor: &actor,
            cause: &cause,
            at: tx.now(),
        };
        match change {
            Change::Read => actions::read(&mut tx, firm, id, reason.text(), &by).await?,
            Change::Resolve => actions::resolve(&mut tx, firm, id, reason.text(), &by).await?,
        };
        let filter = Filter {
            resolved_too: true,
            id: Some(id),
            ..Filter::default()
        };
        shown.extend(alerts::list(&mut tx, firm, &filter, 1).await?);
        tx.commit().await?;
    }
    out.show(
        &Page {
            data: shown,
            next_cursor: None,
        },
        describe_page,
    )
}

async fn raise(db: &Db, new: &Raise, out: Format) -> Result<(), Failure> {
    let firm = match &new.firm_id {
        Some(id) => chosen_firms(db, Some(id)).await?.first().map(|firm| firm.id),
        None => None,
    };
    let severity = match new.severity.as_str() {
        "critical" => Severity::Critical,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    };
    let mut tx = begin(db, firm).await?;
    let now = tx.now();
    let alert = NewAlert {
        kind: new.kind,
        severity,
        topic: Topic::Named(&new.dedupe_key),
        title: &new.title,
        message: &new.message,
        invoice: None,
        related: json!({ "raised_by": operator().name() }),
        cause: &Cause::command(Uuid::now_v7()),
    };
    let id = alerts::raise(&mut tx, firm, now, &alert).await?;
    let filter = Filter {
        id: Some(id),
        ..Filter::default()
    };
    let row = alerts::list(&mut tx, firm, &filter, 1).await?.pop();
    tx.commit().await?;
    let row = row.ok_or_else(|| Failure::new("internal", "the alert just raised cannot be read"))?;
    out.show(&row, |row| {
        format!(
            "{} {}, seen {} time(s)\n",
            row.id, row.alert_type, row.occurrences
        )
    })
}

/// Whose an alert is; none when it is the installation's own.
pub(super) async fn firm_of(db: &Db, id: AlertId) -> Result<Option<FirmId>, Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let firm = alerts::firm_of(&mut conn, id).await?;
    drop(conn);
    let firm = firm.ok_or_else(|| Failure::not_found(format!("there is no alert {id}")))?;
    if let Some(firm) = firm {
        glass::touch(db, &[firm]).await?;
    }
    Ok(firm)
}

pub(super) async fn begin(db: &Db, firm: Option<FirmId>) -> Result<store::Tx, Failure> {
    Ok(match firm {
        Some(firm) => db.firm(firm).await?,
        None => db.plain().await?,
    })
}

fn describe_page(page: &Page<AlertRow>) -> String {
    page.to_text(
        &[
            "ALERT", "SEVERITY", "TYPE", "FIRM", "INVOICE", ">SEEN", "LAST", "STATE", "TITLE", "MESSAGE",
        ],
        |row| {
            let state = match (row.is_resolved, row.is_read) {
                (true, _) => "resolved",
                (false, true) => "read",
                (false, false) => "new",
            };
            vec![
                row.id.to_string(),
                row.severity.clone(),
                row.alert_type.clone(),
                row.firm.clone().unwrap_or_else(|| "-".to_owned()),
                row.invoice.clone().unwrap_or_default(),
                row.occurrences.to_string(),
                row.last_seen_at.format("%F %T").to_string(),
                state.to_owned(),
                row.title.clone(),
                row.message.clone(),
            ]
        },
    )
}
