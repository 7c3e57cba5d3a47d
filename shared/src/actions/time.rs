//! Time: written down, handed in, judged, changed.

use chrono::NaiveDate;
use serde::Serialize;

use super::{Fault, Result, people::Acting};
use crate::{
    domain::time::{self, Change, Entry, Refusal, TimeState},
    ids::{EngagementId, FirmId, TimeEntryId},
    store::{
        self, Tx,
        audit::By,
        engagements,
        time_entries::{self, Locked, NewTime, Work},
        time_read::{self, Filter, TimeRow},
    },
};

/// The result of every change: the entry as it is now.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Changed {
    /// What happened.
    pub change: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: TimeRow,
}

/// Time to be written down, as a draft.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Worked for.
    pub engagement: EngagementId,
    /// Worked by: a user, or any other name.
    pub worker: &'a str,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// What documents and commands may call it.
    pub external_id: Option<&'a str>,
}

/// What is to be done to an entry that exists.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// What.
    pub change: Change,
    /// Which.
    pub entry: TimeEntryId,
    /// By whom, where it is somebody in particular.
    pub acting: Option<&'a Acting>,
    /// Why.
    pub reason: Option<&'a str>,
    /// Another day.
    pub worked_on: Option<NaiveDate>,
    /// Another length.
    pub minutes: Option<i32>,
}

/// Writes time down.
///
/// # Errors
/// When the engagement does not cover the day, the name is taken, or the database is away.
pub async fn add(tx: &mut Tx, firm: FirmId, new: &New<'_>) -> Result<Changed> {
    let terms = engagements::days(tx, firm, new.engagement).await?;
    check_day(new.worked_on, terms.starts_on, terms.ends_on)?;
    let worker = Acting::find(tx, firm, new.worker).await?;
    let id = TimeEntryId::new();
    let entry = NewTime {
        id,
        external_id: new.external_id,
        engagement: new.engagement,
        worker: worker.name(),
        worked_on: new.worked_on,
        minutes: new.minutes,
    };
    time_entries::insert(tx, firm, &entry)
        .await
        .map_err(|fault| taken(fault, new.external_id))?;
    show(tx, firm, id, "added").await
}

/// A second entry of the same name is refused by the database; what is meant is an edit.
fn taken(fault: store::Error, external_id: Option<&str>) -> Fault {
    match (&fault, external_id) {
        (store::Error::Conflict { .. }, Some(external_id)) => Fault::refused(
            "external_id_taken",
            format!("the firm has time {external_id:?} already: edit it, or choose another external id"),
        ),
        _ => fault.into(),
    }
}

/// Time belongs to a day that the engagement covers: another day is another version's, with another rate.
fn check_day(on: NaiveDate, starts_on: NaiveDate, ends_on: Option<NaiveDate>) -> Result<()> {
    if on < starts_on || ends_on.is_some_and(|ends_on| on >= ends_on) {
        let until = ends_on.map_or_else(String::new, |ends_on| format!(" until {ends_on}"));
        return Err(Fault::refused(
            "outside_terms",
            format!("the engagement covers days from {starts_on}{until}; {on} is none of them"),
        ));
    }
    Ok(())
}

/// Changes an entry, or says something about it.
///
/// # Errors
/// When there is none, a rule refuses, or the database is away.
pub async fn change(tx: &mut Tx, firm: FirmId, order: &Order<'_>, by: &By<'_>) -> Result<Changed> {
    let entry = time_entries::lock(tx, firm, order.entry).await?;
    let entry = entry
        .ok_or_else(|| Fault::NotFound(format!("there is no time entry {:?}", order.entry.to_string())))?;
    may(&entry, order.change, order.acting)
        .map_err(|refusal| Fault::refused(refusal.code(), refusal.to_string()))?;
    let did = apply(tx, firm, &entry, order, by).await?;
    show(tx, firm, order.entry, did).await
}

/// Every rule that the database has too, said in a sentence.
fn may(entry: &Locked, change: Change, acting: Option<&Acting>) -> std::result::Result<TimeState, Refusal> {
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
    order: &Order<'_>,
    by: &By<'_>,
) -> Result<&'static str> {
    let (id, reason) = (entry.id, order.reason);
    let name = order.acting.map(Acting::name);
    match order.change {
        Change::Submit => {
            time_entries::submit(tx, firm, id).await?;
            Ok("submitted")
        }
        Change::Approve => {
            time_entries::approve(tx, firm, id, name.unwrap_or_default(), by).await?;
            Ok("approved")
        }
        Change::Reject => {
            time_entries::reject(tx, firm, id, (name, reason), by).await?;
            Ok("rejected")
        }
        Change::ClientApprove => {
            time_entries::client_approve(tx, firm, id, name.unwrap_or_default(), by).await?;
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
            time_entries::edit(tx, firm, id, &work).await?;
            if entry.state != TimeState::Draft {
                time_entries::note_reopened(tx, firm, id, (entry.state, reason), by).await?;
            }
            Ok(if order.change == Change::Edit {
                "edited"
            } else {
                "reopened"
            })
        }
    }
}

async fn show(tx: &mut Tx, firm: FirmId, id: TimeEntryId, change: &str) -> Result<Changed> {
    let filter = Filter {
        id: Some(id),
        ..Filter::default()
    };
    let mut rows = time_read::list(tx, firm, &filter, 1).await?;
    let entry = rows.pop();
    let entry = entry.ok_or_else(|| Fault::NotFound(format!("there is no time entry {id}")))?;
    Ok(Changed {
        change: change.to_owned(),
        entry,
    })
}
