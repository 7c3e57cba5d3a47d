//! Approved time that is on no invoice yet.
//!
//! It is locked before it is put on a line, so that two invoices that want the same time get it one after the other: the
//! first takes it, and the other finds it taken.

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    error::{Error, Result},
    issuing::{DraftLine, TimeOnLine},
};
use crate::{
    currency::Currency,
    domain::import::LineKind,
    ids::{EngagementId, FirmId, TimeEntryId},
    money::{Money, hourly_amount},
};

/// Approved time that no live line has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billable {
    /// Its id.
    pub id: TimeEntryId,
    /// Worked for.
    pub engagement: EngagementId,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// Per hour, frozen at approval.
    pub rate: Money,
    /// What it costs: minutes × rate / 60, rounded half to even.
    pub amount: Money,
}

impl Billable {
    /// The line of an invoice that bills it.
    #[must_use]
    pub fn line(&self) -> DraftLine {
        DraftLine {
            kind: LineKind::Hourly,
            code: "hours".to_owned(),
            amount: self.amount,
            time: Some(TimeOnLine {
                id: self.id,
                minutes: self.minutes,
                rate_minor: self.rate.minor(),
            }),
            derivation: json!({
                "worked_on": self.worked_on, "minutes": self.minutes, "rate_minor": self.rate.minor(), "rounding": "half_even",
                "amount_minor": self.amount.minor(),
            }),
        }
    }
}

/// Days worked, half-open; open where `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// First day.
    pub from: Option<NaiveDate>,
    /// First day after it.
    pub to: Option<NaiveDate>,
}

/// Locks and reads what may be invoiced of these engagements, by day worked.
///
/// # Errors
/// When the database is away.
pub async fn lock_billable(
    conn: &mut PgConnection,
    firm: FirmId,
    engagements: &[EngagementId],
    window: Window,
) -> Result<Vec<Billable>> {
    if engagements.is_empty() {
        return Ok(Vec::new());
    }
    let engagements: Vec<Uuid> = engagements.iter().map(|id| id.0).collect();
    // Everybody who puts time on a line locks it here first, in the same order; whoever waited looks again afterwards.
    let locked = sqlx::query_scalar!(
        "select t.id from time_entries t
          where t.firm_id = $1 and t.engagement_id = any($2) and t.state = 'approved'
            and ($3::date is null or t.worked_on >= $3) and ($4::date is null or t.worked_on < $4)
            and not exists (select 1 from invoice_lines l
                             where l.firm_id = t.firm_id and l.time_entry_id = t.id and l.released_at is null)
          order by t.id for no key update of t",
        firm.0,
        &engagements,
        window.from,
        window.to,
    )
    .fetch_all(&mut *conn)
    .await?;
    read(conn, firm, &locked).await
}

/// What may be invoiced of these engagements, by day worked, and nothing locked.
///
/// # Errors
/// When the database is away.
pub async fn billable(
    conn: &mut PgConnection,
    firm: FirmId,
    engagements: &[EngagementId],
) -> Result<Vec<Billable>> {
    let engagements: Vec<Uuid> = engagements.iter().map(|id| id.0).collect();
    let approved = sqlx::query_scalar!(
        "select id from time_entries where firm_id = $1 and engagement_id = any($2) and state = 'approved'",
        firm.0,
        &engagements
    )
    .fetch_all(&mut *conn)
    .await?;
    read(conn, firm, &approved).await
}

/// Those of these entries that may be invoiced.
async fn read(conn: &mut PgConnection, firm: FirmId, entries: &[Uuid]) -> Result<Vec<Billable>> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"select t.id, t.engagement_id, t.worked_on, t.minutes, t.rate_minor as "rate_minor!", t.currency::text as "currency!"
           from time_entries t join firms f on f.id = t.firm_id
           where t.firm_id = $1 and t.id = any($2) and t.state = 'approved'
             and (t.client_approved_at is not null or not f.require_client_approval)
             and not exists (select 1 from invoice_lines l
                              where l.firm_id = t.firm_id and l.time_entry_id = t.id and l.released_at is null)
           order by t.worked_on, t.id"#,
        firm.0,
        entries
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let currency = Currency::parse(&row.currency).map_err(Error::corrupt)?;
            let rate = Money::new(row.rate_minor, currency);
            let minutes = u32::try_from(row.minutes).map_err(Error::corrupt)?;
            Ok(Billable {
                id: TimeEntryId(row.id),
                engagement: EngagementId(row.engagement_id),
                worked_on: row.worked_on,
                minutes: row.minutes,
                rate,
                amount: hourly_amount(minutes, rate).map_err(Error::corrupt)?,
            })
        })
        .collect()
}

/// Why time of an engagement is not on the invoice that somebody wants: entries by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Drafts and submitted time.
    pub approval: i64,
    /// Approved by the firm, which also asks the client.
    pub client_approval: i64,
    /// On an invoice already.
    pub invoiced: i64,
}

/// Counts what is not billable of an engagement.
///
/// # Errors
/// When the database is away.
pub async fn waiting(
    conn: &mut PgConnection,
    firm: FirmId,
    engagement: EngagementId,
    window: Window,
) -> Result<Waiting> {
    Ok(sqlx::query_as!(
        Waiting,
        r#"with entries as (
             select t.*, f.require_client_approval,
                    exists (select 1 from invoice_lines l
                             where l.firm_id = t.firm_id and l.time_entry_id = t.id and l.released_at is null) as is_invoiced
               from time_entries t join firms f on f.id = t.firm_id
              where t.firm_id = $1 and t.engagement_id = $2
                and ($3::date is null or t.worked_on >= $3) and ($4::date is null or t.worked_on < $4))
           select count(*) filter (where state in ('draft', 'submitted')) as "approval!",
                  count(*) filter (where state = 'approved' and not is_invoiced and require_client_approval
                                     and client_approved_at is null) as "client_approval!",
                  count(*) filter (where is_invoiced) as "invoiced!"
             from entries"#,
        firm.0,
        engagement.0,
        window.from,
        window.to,
    )
    .fetch_one(conn)
    .await?)
}
