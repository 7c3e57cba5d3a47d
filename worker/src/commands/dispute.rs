//! `quittance dispute`: what clients contest, until when to answer, and what becomes of what was lost.

use serde::Serialize;
use shared::{
    ids::FirmId,
    store::{
        Db,
        audit::{By, Cause},
        dispute_evidence,
        disputes::{self, Choice, Decided, DisputeRow, Filter, Position},
        invoices_read, jobs,
    },
};
use uuid::Uuid;

use super::{
    dispute_text, find::find_dispute, firms::chosen_firms, list_args::ListArgs, open_db, operator,
    reason::Reason,
};
use crate::output::{Exit, Failure, Format, Page};

/// Arguments of `dispute`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Disputes: open ones first, the next deadline for evidence first.
    #[command(after_help = "Examples:
  quittance dispute list --status open
  quittance dispute list --status undecided --firm-id acme --json")]
    List(List),
    /// One dispute with what it did to the money and the books.
    #[command(after_help = "Examples:\n  quittance dispute show dp_1\n  quittance dispute show dp_1 --json")]
    Show {
        /// Stripe id or UUID.
        id: String,
    },
    /// Decide what becomes of what a lost dispute took: bill it again, or write it off.
    #[command(after_help = "Examples:
  quittance dispute resolve dp_1 --write-off --reason 'not worth a letter'
  quittance dispute resolve dp_1 --rebill --reason 'client agreed to pay by transfer'")]
    Resolve(Resolve),
    /// What we know that speaks for the charge: metadata, for the answer to the bank.
    #[command(
        after_help = "Examples:\n  quittance dispute evidence dp_1\n  quittance dispute evidence dp_1 --json > dp_1.json"
    )]
    Evidence {
        /// Stripe id or UUID.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Only open ones, or those that ended like this; `undecided`: lost, and nobody has decided.
    #[arg(long, value_parser = ["open", "undecided", "won", "lost", "withdrawn", "inquiry_closed"])]
    status: Option<String>,
    #[command(flatten)]
    page: ListArgs,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("choice").required(true).args(["rebill", "write_off"]))]
struct Resolve {
    /// Stripe id or UUID.
    id: String,
    /// Issue a new invoice over what was taken.
    #[arg(long)]
    rebill: bool,
    /// Take it as a loss.
    #[arg(long)]
    write_off: bool,
    /// The new invoice may be charged to the client's card by itself.
    #[arg(long, conflicts_with = "write_off")]
    autopay: bool,
    #[command(flatten)]
    reason: Reason,
}

/// The result of `dispute resolve`.
#[derive(Debug, Serialize)]
pub struct Resolved {
    /// The dispute's id at Stripe.
    pub dispute: String,
    /// `rebill` or `write_off`.
    pub decision: &'static str,
    /// The invoice that bills it again.
    pub invoice: Option<String>,
    /// What that comes to.
    pub total_minor: Option<i64>,
    /// In which currency.
    pub currency: Option<String>,
}

/// Runs `dispute`.
///
/// # Errors
/// When there is no such dispute, a decision is refused, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::List(list) => {
            let rows = rows(&db, &list).await?;
            out.show(
                &Page::of(rows, list.page.shown(), |row| row.id.clone()),
                dispute_text::describe_page,
            )?;
        }
        Command::Show { id } => {
            let (firm, dispute) = find_dispute(&db, &id).await?;
            let mut tx = db.firm(firm).await?;
            let shown = disputes::show(&mut tx, firm, dispute).await?;
            out.show(&shown.ok_or_else(|| none(&id))?, dispute_text::describe)?;
        }
        Command::Resolve(order) => out.show(&resolve(&db, &order).await?, dispute_text::describe_resolved)?,
        Command::Evidence { id } => {
            let (firm, dispute) = find_dispute(&db, &id).await?;
            let mut tx = db.firm(firm).await?;
            let pack = dispute_evidence::collect(&mut tx, firm, dispute).await?;
            out.show(&pack.ok_or_else(|| none(&id))?, dispute_text::describe_evidence)?;
        }
    }
    Ok(Exit::Done)
}

fn none(reference: &str) -> Failure {
    Failure::not_found(format!("there is no dispute {reference:?}"))
}

/// Up to one row more than a page, over all firms in one order: a deadline is a deadline, whosever it is.
async fn rows(db: &Db, list: &List) -> Result<Vec<DisputeRow>, Failure> {
    let after = match &list.page.cursor {
        Some(cursor) => Some(position(db, cursor).await?),
        None => None,
    };
    let filter = Filter {
        status: list.status.as_deref(),
        after: after.as_ref(),
        only: None,
    };
    let mut rows = Vec::new();
    for firm in chosen_firms(db, list.firm_id.as_deref()).await? {
        let mut tx = db.firm(firm.id).await?;
        rows.extend(disputes::list(&mut tx, firm.id, &filter, list.page.fetch()).await?);
    }
    rows.sort_by_cached_key(DisputeRow::position);
    rows.truncate(usize::try_from(list.page.fetch()).unwrap_or(usize::MAX));
    Ok(rows)
}

async fn position(db: &Db, cursor: &str) -> Result<Position, Failure> {
    let (firm, dispute) = find_dispute(db, cursor).await?;
    let mut tx = db.firm(firm).await?;
    let filter = Filter {
        only: Some(dispute),
        ..Filter::default()
    };
    let row = disputes::list(&mut tx, firm, &filter, 1).await?.pop();
    row.map(|row| row.position()).ok_or_else(|| none(cursor))
}

async fn resolve(db: &Db, order: &Resolve) -> Result<Resolved, Failure> {
    let (firm, dispute) = find_dispute(db, &order.id).await?;
    let choice = if order.rebill {
        Choice::Rebill {
            autopay: order.autopay,
        }
    } else {
        Choice::WriteOff
    };
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let person = actor.id().unwrap_or("unknown").to_owned();
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let said = (order.reason.text(), person.as_str());
    let decided = disputes::resolve(&mut tx, firm, dispute, choice, said, &by).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    let billed = match decided {
        Decided::Refused(reason) => {
            let message = format!("{} {}", order.id, disputes::refusal(reason));
            return Err(Failure::refused(reason, message));
        }
        Decided::Done(billed) => billed,
    };
    let shown = shown(db, firm, dispute).await?;
    let invoice = match billed {
        Some(id) => {
            let mut tx = db.firm(firm).await?;
            invoices_read::show(&mut tx, firm, id).await?
        }
        None => None,
    };
    Ok(Resolved {
        dispute: shown,
        decision: if order.rebill { "rebill" } else { "write_off" },
        total_minor: invoice.as_ref().map(|invoice| invoice.total_minor),
        currency: invoice.as_ref().map(|invoice| invoice.currency.clone()),
        invoice: invoice.map(|invoice| invoice.number.unwrap_or_else(|| invoice.id.to_string())),
    })
}

/// The dispute's id at Stripe.
async fn shown(db: &Db, firm: FirmId, dispute: Uuid) -> Result<String, Failure> {
    let mut tx = db.firm(firm).await?;
    let view = disputes::show(&mut tx, firm, dispute).await?;
    Ok(view.map_or_else(|| dispute.to_string(), |view| view.row.id))
}
