//! `quittance time`: what was worked, who approved it, and whether an invoice may have it.

use chrono::NaiveDate;
use shared::{
    actions::{
        people::Acting,
        time::{self as actions, Changed, New},
    },
    domain::time::Change,
    ids::FirmId,
    store::{
        Db, Tx,
        audit::{By, Cause},
        time_read::{self, Filter, TimeRow},
    },
};
use uuid::Uuid;

use super::{
    find::{find_engagement, find_time_entry},
    firms::{chosen_firms, firm_by_firm},
    list_args::ListArgs,
    open_db, operator,
    time_text::{describe, describe_page},
};
use crate::output::{Exit, Failure, Format, Page};

/// A day has no more minutes.
const MAX_MINUTES: i64 = 24 * 60;

/// Arguments of `time`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write time down, as a draft.
    #[command(after_help = "Examples:
  quittance time add --engagement globex-retainer --worker ada --worked-on 2026-01-05 --minutes 90
  quittance time add --engagement globex-retainer --worker ada --worked-on 2026-01-05 --minutes 90 --external-id t1 --json")]
    Add(Add),
    /// Change what was worked; approved time is a draft again.
    #[command(
        after_help = "Examples:\n  quittance time edit t1 --minutes 75\n  quittance time edit t1 --worked-on 2026-01-06"
    )]
    Edit(Edit),
    /// Hand a draft in for approval.
    #[command(after_help = "Examples:\n  quittance time submit t1\n  quittance time submit t1 --by ada")]
    Submit(Noted),
    /// Say that time may be invoiced, at the engagement's rate of this moment.
    #[command(after_help = "Examples:\n  quittance time approve t1 --by admin1")]
    Approve(Judged),
    /// Say that time may not be invoiced; an edit makes it a draft again.
    #[command(
        after_help = "Examples:\n  quittance time reject t1 --by admin1 --reason 'travel is not billed'"
    )]
    Reject(Judged),
    /// Note that the client has approved time, for firms that ask their clients.
    #[command(after_help = "Examples:\n  quittance time client-approve t1 --by globex-ceo")]
    ClientApprove(Judged),
    /// Make time a draft again, whatever was said about it; not while it is on an invoice.
    #[command(after_help = "Examples:\n  quittance time reopen t1 --reason 'wrong day'")]
    Reopen(Noted),
    /// Time entries, the newest of each firm first.
    #[command(after_help = "Examples:
  quittance time list --state submitted
  quittance time list --engagement globex-retainer --uninvoiced --json")]
    List(List),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Worked for: UUID or external_id.
    #[arg(long, value_name = "ID")]
    engagement: String,
    /// Worked by: a user, or any other name.
    #[arg(long, value_name = "W", value_parser = super::reason::said)]
    worker: String,
    /// On which day.
    #[arg(long, value_name = "DATE")]
    worked_on: NaiveDate,
    /// How long.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=MAX_MINUTES))]
    minutes: i32,
    /// What documents and commands may call it.
    #[arg(long, value_name = "ID", value_parser = super::reason::said)]
    external_id: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Edit {
    #[command(flatten)]
    noted: Noted,
    /// On which day.
    #[arg(long, value_name = "DATE", required_unless_present = "minutes")]
    worked_on: Option<NaiveDate>,
    /// How long.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=MAX_MINUTES))]
    minutes: Option<i32>,
}

/// What anybody may do.
#[derive(Debug, clap::Args)]
struct Noted {
    /// UUID or external_id.
    id: String,
    /// Who: a user of the firm, or another name; the person at the command line unless told.
    #[arg(long, value_name = "USER", value_parser = super::reason::said)]
    by: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_parser = super::reason::said)]
    reason: Option<String>,
}

/// What somebody says about time.
#[derive(Debug, clap::Args)]
struct Judged {
    /// UUID or external_id.
    id: String,
    /// Who: a user of the firm, or another name, which is recorded as it is.
    #[arg(long, value_name = "USER", value_parser = super::reason::said)]
    by: String,
    /// Why, for the audit log.
    #[arg(long, value_parser = super::reason::said)]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Only of this engagement.
    #[arg(long, value_name = "ID")]
    engagement: Option<String>,
    /// Only in this state.
    #[arg(long, value_parser = ["draft", "submitted", "approved", "rejected"])]
    state: Option<String>,
    /// Only what is on no invoice.
    #[arg(long)]
    uninvoiced: bool,
    #[command(flatten)]
    page: ListArgs,
}

/// What is to be done to an entry that exists.
struct Order {
    change: Change,
    id: String,
    by: Option<String>,
    reason: Option<String>,
    worked_on: Option<NaiveDate>,
    minutes: Option<i32>,
}

impl Order {
    fn noted(change: Change, noted: Noted) -> Self {
        Self {
            change,
            id: noted.id,
            by: noted.by,
            reason: noted.reason,
            worked_on: None,
            minutes: None,
        }
    }

    fn judged(change: Change, judged: Judged) -> Self {
        let noted = Noted {
            id: judged.id,
            by: Some(judged.by),
            reason: judged.reason,
        };
        Self::noted(change, noted)
    }
}

/// Runs `time`.
///
/// # Errors
/// When there is no such entry or engagement, the change is refused, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let order = match args.command {
        Command::List(list) => {
            let rows = rows(&db, &list).await?;
            out.show(
                &Page::of(rows, list.page.shown(), |row| row.id.to_string()),
                describe_page,
            )?;
            return Ok(Exit::Done);
        }
        Command::Add(new) => {
            out.show(&add(&db, &new).await?, describe)?;
            return Ok(Exit::Done);
        }
        Command::Edit(edit) => Order {
            worked_on: edit.worked_on,
            minutes: edit.minutes,
            ..Order::noted(Change::Edit, edit.noted)
        },
        Command::Submit(noted) => Order::noted(Change::Submit, noted),
        Command::Reopen(noted) => Order::noted(Change::Reopen, noted),
        Command::Approve(judged) => Order::judged(Change::Approve, judged),
        Command::Reject(judged) => Order::judged(Change::Reject, judged),
        Command::ClientApprove(judged) => Order::judged(Change::ClientApprove, judged),
    };
    out.show(&change(&db, &order).await?, describe)?;
    Ok(Exit::Done)
}

async fn add(db: &Db, new: &Add) -> Result<Changed, Failure> {
    let (firm, engagement) = find_engagement(db, &new.engagement).await?;
    let mut tx = db.firm(firm).await?;
    let entry = New {
        engagement,
        worker: &new.worker,
        worked_on: new.worked_on,
        minutes: new.minutes,
        external_id: new.external_id.as_deref(),
    };
    let shown = actions::add(&mut tx, firm, &entry).await?;
    tx.commit().await?;
    Ok(shown)
}

async fn change(db: &Db, order: &Order) -> Result<Changed, Failure> {
    let (firm, entry) = find_time_entry(db, &order.id).await?;
    let mut tx = db.firm(firm).await?;
    let acting = match &order.by {
        Some(name) => Some(Acting::find(&mut tx, firm, name).await?),
        None => None,
    };
    let (actor, cause) = (
        acting.as_ref().map_or_else(operator, Acting::actor),
        Cause::command(Uuid::now_v7()),
    );
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let wanted = actions::Order {
        change: order.change,
        entry,
        acting: acting.as_ref(),
        reason: order.reason.as_deref(),
        worked_on: order.worked_on,
        minutes: order.minutes,
    };
    let shown = actions::change(&mut tx, firm, &wanted, &by).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Up to one row more than a page, firm by firm: each firm sees its own rows only.
async fn rows(db: &Db, list: &List) -> Result<Vec<TimeRow>, Failure> {
    let engagement = match &list.engagement {
        Some(reference) => Some(find_engagement(db, reference).await?),
        None => None,
    };
    let after = match &list.page.cursor {
        Some(cursor) => Some(find_time_entry(db, cursor).await?),
        None => None,
    };
    let firms = chosen_firms(db, list.firm_id.as_deref()).await?;
    let bounds = (engagement.map(|(firm, _)| firm), after.map(|(firm, _)| firm));
    let read = async |tx: &mut Tx, firm: FirmId, most: i64| {
        let filter = Filter {
            id: None,
            engagement: engagement.map(|(_, id)| id),
            state: list.state.as_deref(),
            uninvoiced: list.uninvoiced,
            after: after.filter(|(of, _)| *of == firm).map(|(_, id)| id),
        };
        time_read::list(tx, firm, &filter, most).await
    };
    firm_by_firm(db, firms, bounds, list.page.fetch(), read).await
}
