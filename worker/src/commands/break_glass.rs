//! `quittance break-glass`: lets a person of the platform look into one firm, for a reason and a time, on the record (R092).

use chrono::TimeDelta;
use shared::{
    actions::break_glass as actions,
    ids::FirmId,
    store::{
        self, Db,
        audit::{By, Cause},
        break_glass::{self, Filter, Session},
    },
};
use uuid::Uuid;

use super::{
    clock::parse_duration,
    firms::{firm_named, named_firms},
    list_args::said,
    open_db, operator,
};
use crate::output::{Exit, Failure, Format, Page, table};

/// Sessions listed of each firm: a person opens each, so there are few.
const MOST: i64 = 1000;

/// Arguments of `break-glass`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let somebody look into a firm for a while.
    #[command(after_help = "Examples:
  quittance break-glass open --firm-id acme --reason 'ticket 4711: charged twice?' --expires-in 1h
  quittance break-glass open --firm-id acme --reason 'ticket 4711' --expires-in 30m --by alice

Who logs in to the database with the role `operator` sees the firm's rows after `select app.break_glass('SESSION')`,
as long as the session is open and --by names the login.")]
    Open {
        /// Which firm.
        #[arg(long, value_name = "ID")]
        firm_id: String,
        /// Why; it is kept for ever.
        #[arg(long, value_parser = said)]
        reason: String,
        /// For how long, a day at most.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: TimeDelta,
        /// Who may look: a database login, or a name at the command line. You, unless told.
        #[arg(long, value_name = "OPERATOR", value_parser = said)]
        by: Option<String>,
    },
    /// Sessions, the newest of each firm first.
    #[command(after_help = "Examples:
  quittance break-glass list
  quittance break-glass list --firm-id acme --unreviewed --json")]
    List {
        /// Only of this firm.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
        /// Only those that are over and that nobody has reviewed.
        #[arg(long)]
        unreviewed: bool,
    },
    /// End a session before its time.
    #[command(
        after_help = "Examples:\n  quittance break-glass revoke 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --reason 'done'"
    )]
    Revoke {
        /// The session.
        id: Uuid,
        /// Why.
        #[arg(long, value_parser = said)]
        reason: String,
    },
    /// Record that you looked at what was done in a session that is over; somebody else's.
    #[command(after_help = "Examples:
  quittance break-glass review 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --note 'two invoices looked at, as the ticket says'
  quittance break-glass review 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --note 'fine' --by bob")]
    Review {
        /// The session.
        id: Uuid,
        /// What you found.
        #[arg(long, value_parser = said)]
        note: String,
        /// Who looked. You, unless told.
        #[arg(long, value_name = "REVIEWER", value_parser = said)]
        by: Option<String>,
    },
}

/// Runs `break-glass`.
///
/// # Errors
/// When there is no such firm or session, the change is refused, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let session = match args.command {
        Command::List { firm_id, unreviewed } => return list(&db, firm_id.as_deref(), unreviewed, out).await,
        Command::Open {
            firm_id,
            reason,
            expires_in,
            by,
        } => open(&db, &firm_id, &reason, expires_in, by).await?,
        Command::Revoke { id, reason } => revoke(&db, id, &reason).await?,
        Command::Review { id, note, by } => review(&db, id, &note, by).await?,
    };
    out.show(&session, describe)?;
    Ok(Exit::Done)
}

fn me() -> String {
    operator().id().unwrap_or("unknown").to_owned()
}

async fn open(
    db: &Db,
    firm: &str,
    reason: &str,
    expires_in: TimeDelta,
    by: Option<String>,
) -> Result<Session, Failure> {
    let firm = firm_named(db, firm).await?;
    let me = me();
    let person = by.as_deref().unwrap_or(&me);
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let session = actions::open(&mut tx, firm, (person, &me, reason), expires_in, &by).await?;
    tx.commit().await?;
    Ok(session)
}

async fn revoke(db: &Db, id: Uuid, reason: &str) -> Result<Session, Failure> {
    let firm = firm_of(db, id).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let session = actions::revoke(&mut tx, firm, id, (&me(), reason), &by).await?;
    tx.commit().await?;
    Ok(session)
}

async fn review(db: &Db, id: Uuid, note: &str, reviewer: Option<String>) -> Result<Session, Failure> {
    let firm = firm_of(db, id).await?;
    let reviewer = reviewer.unwrap_or_else(me);
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let session = actions::review(&mut tx, firm, id, (&reviewer, note), &by).await?;
    tx.commit().await?;
    Ok(session)
}

async fn firm_of(db: &Db, id: Uuid) -> Result<FirmId, Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let firm = break_glass::firm_of(&mut conn, id).await?;
    firm.ok_or_else(|| Failure::not_found(format!("there is no break-glass session {id}")))
}

async fn list(db: &Db, firm: Option<&str>, unreviewed: bool, out: Format) -> Result<Exit, Failure> {
    let filter = Filter { id: None, unreviewed };
    let mut data = Vec::new();
    for firm in named_firms(db, firm).await? {
        let mut tx = db.firm(firm).await?;
        data.extend(break_glass::list(&mut tx, firm, filter, MOST).await?);
    }
    let page = Page {
        data,
        next_cursor: None,
    };
    out.show(&page, |page| {
        let headings = [
            "SESSION",
            "FIRM",
            "OPERATOR",
            "STATE",
            "UNTIL",
            ">USED",
            "REVIEWED BY",
            "REASON",
        ];
        page.to_text(&headings, |row| {
            vec![
                row.id.to_string(),
                row.firm.clone(),
                row.operator.clone(),
                row.state.clone(),
                row.expires_at.format("%F %H:%M").to_string(),
                row.accesses.to_string(),
                row.reviewed_by.clone().unwrap_or_default(),
                row.reason.clone(),
            ]
        })
    })?;
    Ok(Exit::Done)
}

fn describe(session: &Session) -> String {
    let fields = [
        ("session", Some(session.id.to_string())),
        ("firm", Some(session.firm.clone())),
        ("operator", Some(session.operator.clone())),
        ("state", Some(session.state.clone())),
        ("until", Some(session.expires_at.format("%F %T UTC").to_string())),
        ("reason", Some(session.reason.clone())),
        ("opened by", Some(session.opened_by.clone())),
        ("used", Some(format!("{} time(s)", session.accesses))),
        ("revoked by", session.revoked_by.clone()),
        ("because", session.revoke_reason.clone()),
        ("reviewed by", session.reviewed_by.clone()),
        ("found", session.review_note.clone()),
    ];
    let rows: Vec<_> = fields
        .into_iter()
        .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]))
        .collect();
    table(&["FIELD", "VALUE"], &rows)
}
