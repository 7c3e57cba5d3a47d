//! `quittance time`: what was worked, who approved it, and whether an invoice may have it.

use chrono::NaiveDate;
use serde::Serialize;
use shared::{
    domain::time::{self, Change, Entry, Refusal, TimeState},
    ids::{FirmId, TimeEntryId},
    store::{
        Db, Tx,
        audit::{By, Cause},
        engagements,
        time_entries::{self as store, Locked, NewTime, Work},
        time_read::{self, Filter, TimeRow},
    },
};
use uuid::Uuid;

use super::{
    acting::Acting,
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

/// The result of every change: the entry as it is now.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    /// What happened.
    pub(super) change: &'static str,
    #[serde(flatten)]
    pub(super) entry: TimeRow,
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
    let terms = engagements::days(&mut tx, firm, engagement).await?;
    check_day(new.worked_on, terms.starts_on, terms.ends_on)?;
    let worker = Acting::find(&mut tx, firm, &new.worker).await?;
    let id = TimeEntryId::new();
    let entry = NewTime {
        id,
        external_id: new.external_id.as_deref(),
        engagement,
        worker: worker.name(),
        worked_on: new.worked_on,
        minutes: new.minutes,
    };
    store::insert(&mut tx, firm, &entry)
        .await
        .map_err(|fault| taken(fault, new))?;
    let shown = show(&mut tx, firm, id, "added").await?;
    tx.commit().await?;
    Ok(shown)
}

/// A second entry of the same name is refused by the database; what is meant is an edit.
fn taken(fault: shared::store::Error, new: &Add) -> Failure {
    match (&fault, &new.external_id) {
        (shared::store::Error::Conflict { .. }, Some(external_id)) => Failure::refused(
            "external_id_taken",
            format!("the firm has time {external_id:?} already: edit it, or choose another external id"),
        ),
        _ => fault.into(),
    }
}

/// Time belongs to a day that the engagement covers: another day is another version's, with another rate.
fn check_day(on: NaiveDate, starts_on: NaiveDate, ends_on: Option<NaiveDate>) -> Result<(), Failure> {
    if on < starts_on || ends_on.is_some_and(|ends_on| on >= ends_on) {
        let until = ends_on.map_or_else(String::new, |ends_on| format!(" until {ends_on}"));
        return Err(Failure::refused(
            "outside_terms",
            format!("the engagement covers days from {starts_on}{until}; {on} is none of them"),
        ));
    }
    Ok(())
}

async fn change(db: &Db, order: &Order) -> Result<Changed, Failure> {
    let (firm, id) = find_time_entry(db, &order.id).await?;
    let mut tx = db.firm(firm).await?;
    let acting = match &order.by {
        Some(name) => Some(Acting::find(&mut tx, firm, name).await?),
        None => None,
    };
    let entry = store::lock(&mut tx, firm, id).await?;
    let entry = entry.ok_or_else(|| Failure::not_found(format!("there is no time entry {:?}", order.id)))?;
    may(&entry, order.change, acting.as_ref())
        .map_err(|refusal| Failure::refused(refusal.code(), refusal.to_string()))?;
    let (actor, cause) = (
        acting.as_ref().map_or_else(operator, Acting::actor),
        Cause::command(Uuid::now_v7()),
    );
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let name = acting.as_ref().map(Acting::name);
    let did = apply(&mut tx, firm, &entry, order, name, &by).await?;
    let shown = show(&mut tx, firm, id, did).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Every rule that the database has too, said in a sentence.
fn may(entry: &Locked, change: Change, acting: Option<&Acting>) -> Result<TimeState, Refusal> {
    if let Some(acting) = acting {
        match change {
            Change::Approve | Change::Reject => {
                time::may_judge(&acting.person(), &entry.worker, change, entry.allow_self_approval)?;
            }
            Change::ClientApprove => time::may_approve_for_client(&acting.person(), entry.client)?,
            Change::Edit | Change::Submit | Change::Reopen => {}
        }
    }
    let stands = Entry {
        state: entry.state,
        invoice: entry.invoice.as_deref(),
        client_approved: entry.client_approved,
    };
    let to = time::after(&stands, change)?;
    if change == Change::Approve && entry.rate_minor.is_none() {
        return Err(Refusal::NoRate);
    }
    Ok(to)
}

/// Carries out what was allowed; returns what happened in a word.
async fn apply(
    tx: &mut Tx,
    firm: FirmId,
    entry: &Locked,
    order: &Order,
    name: Option<&str>,
    by: &By<'_>,
) -> Result<&'static str, Failure> {
    let (id, reason) = (entry.id, order.reason.as_deref());
    match order.change {
        Change::Submit => {
            store::submit(tx, firm, id).await?;
            Ok("submitted")
        }
        Change::Approve => {
            store::approve(tx, firm, id, name.unwrap_or_default(), by).await?;
            Ok("approved")
        }
        Change::Reject => {
            store::reject(tx, firm, id, (name, reason), by).await?;
            Ok("rejected")
        }
        Change::ClientApprove => {
            store::client_approve(tx, firm, id, name.unwrap_or_default(), by).await?;
            Ok("approved for the client")
        }
        Change::Edit | Change::Reopen => {
            let worked_on = order.worked_on.unwrap_or(entry.worked_on);
            if order.worked_on.is_some() {
                check_day(worked_on, entry.starts_on, entry.ends_on)?;
            }
            let work = Work {
                engagement: entry.engagement,
                worker: &entry.worker,
                worked_on,
                minutes: order.minutes.unwrap_or(entry.minutes),
            };
            store::edit(tx, firm, id, &work).await?;
            if entry.state != TimeState::Draft {
                store::note_reopened(tx, firm, id, (entry.state, reason), by).await?;
            }
            Ok(if order.change == Change::Edit {
                "edited"
            } else {
                "reopened"
            })
        }
    }
}

async fn show(tx: &mut Tx, firm: FirmId, id: TimeEntryId, change: &'static str) -> Result<Changed, Failure> {
    let filter = Filter {
        id: Some(id),
        ..Filter::default()
    };
    let mut rows = time_read::list(tx, firm, &filter, 1).await?;
    let entry = rows.pop();
    let entry = entry.ok_or_else(|| Failure::not_found(format!("there is no time entry {id}")))?;
    Ok(Changed { change, entry })
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
