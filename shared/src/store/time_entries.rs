//! Time entries: writing them and moving them on.
//!
//! Who may do what is decided in [`crate::domain::time`]; the database refuses the rest.

use chrono::NaiveDate;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    audit::{self, By},
    error::{Error, Result, one_row},
};
use crate::{
    domain::time::TimeState,
    ids::{ClientId, EngagementId, FirmId, TimeEntryId},
};

/// Time to be written down.
#[derive(Clone, Debug)]
pub struct NewTime<'a> {
    /// Its id.
    pub id: TimeEntryId,
    /// What documents call it.
    pub external_id: Option<&'a str>,
    /// Worked for.
    pub engagement: EngagementId,
    /// Worked by.
    pub worker: &'a str,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
}

/// Writes a draft.
///
/// # Errors
/// When the database is away, or the external id is taken.
pub async fn insert(conn: &mut PgConnection, firm: FirmId, new: &NewTime<'_>) -> Result<()> {
    let done = sqlx::query!(
        "insert into time_entries (firm_id, id, external_id, engagement_id, worker, worked_on, minutes, currency)
         select $1, $2, $3, e.id, $5, $6, $7, e.currency from engagements e where e.firm_id = $1 and e.id = $4",
        firm.0,
        new.id.0,
        new.external_id,
        new.engagement.0,
        new.worker,
        new.worked_on,
        new.minutes,
    )
    .execute(conn)
    .await?;
    one_row("insert time entry", done.rows_affected())
}

/// A time entry under lock, with what decisions about it need.
#[derive(Clone, Debug)]
pub struct Locked {
    /// Its id.
    pub id: TimeEntryId,
    /// Worked for.
    pub engagement: EngagementId,
    /// Who pays for it.
    pub client: ClientId,
    /// Worked by.
    pub worker: String,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// Where it stands.
    pub state: TimeState,
    /// Whether the client has approved it.
    pub client_approved: bool,
    /// The engagement's rate per hour, in minor units.
    pub rate_minor: Option<i64>,
    /// First day of the engagement.
    pub starts_on: NaiveDate,
    /// First day after it.
    pub ends_on: Option<NaiveDate>,
    /// Whether the firm lets people approve their own time.
    pub allow_self_approval: bool,
    /// The invoice that has it on a live line.
    pub invoice: Option<String>,
}

/// Locks a time entry. `None` when this firm has no such entry.
///
/// # Errors
/// When the database is away.
pub async fn lock(conn: &mut PgConnection, firm: FirmId, id: TimeEntryId) -> Result<Option<Locked>> {
    let row = sqlx::query!(
        r#"select t.engagement_id, e.client_id, t.worker, t.worked_on, t.minutes, t.state,
                  t.client_approved_at is not null as "client_approved!", e.hourly_rate_minor, e.starts_on, e.ends_on,
                  f.allow_self_approval
           from time_entries t
           join engagements e on e.firm_id = t.firm_id and e.id = t.engagement_id
           join firms f on f.id = t.firm_id
           where t.firm_id = $1 and t.id = $2 for update of t"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Locked {
        id,
        engagement: EngagementId(row.engagement_id),
        client: ClientId(row.client_id),
        worker: row.worker,
        worked_on: row.worked_on,
        minutes: row.minutes,
        state: row.state.parse().map_err(Error::corrupt)?,
        client_approved: row.client_approved,
        rate_minor: row.hourly_rate_minor,
        starts_on: row.starts_on,
        ends_on: row.ends_on,
        allow_self_approval: row.allow_self_approval,
        // After the lock: whoever put it on a line has committed by now.
        invoice: invoice_of(conn, firm, id).await?,
    }))
}

/// The invoice that has an entry on a live line: its number, or its id while it is a draft.
async fn invoice_of(conn: &mut PgConnection, firm: FirmId, id: TimeEntryId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar!(
        r#"select coalesce(i.number, i.id::text) as "invoice!"
           from invoice_lines l join invoices i on i.firm_id = l.firm_id and i.id = l.invoice_id
           where l.firm_id = $1 and l.time_entry_id = $2 and l.released_at is null"#,
        firm.0,
        id.0
    )
    .fetch_optional(conn)
    .await?)
}

/// What was worked, as it is to be.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// Worked for.
    pub engagement: EngagementId,
    /// Worked by.
    pub worker: &'a str,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
}

/// Changes what was worked and makes it a draft again: every approval is gone.
///
/// # Errors
/// When the database is away, or refuses because the time is on an invoice.
pub async fn edit(conn: &mut PgConnection, firm: FirmId, id: TimeEntryId, work: &Work<'_>) -> Result<()> {
    let done = sqlx::query!(
        "update time_entries t
            set engagement_id = e.id, currency = e.currency, worker = $4, worked_on = $5, minutes = $6, state = 'draft',
                rate_minor = null, approved_by = null, approved_at = null, client_approved_by = null, client_approved_at = null
           from engagements e where t.firm_id = $1 and t.id = $2 and e.firm_id = $1 and e.id = $3",
        firm.0,
        id.0,
        work.engagement.0,
        work.worker,
        work.worked_on,
        work.minutes,
    )
    .execute(conn)
    .await?;
    one_row("edit time entry", done.rows_affected())
}

/// Hands a draft in.
///
/// # Errors
/// When the database is away, or the entry stands elsewhere.
pub async fn submit(conn: &mut PgConnection, firm: FirmId, id: TimeEntryId) -> Result<()> {
    let done = sqlx::query!(
        "update time_entries set state = 'submitted' where firm_id = $1 and id = $2",
        firm.0,
        id.0
    )
    .execute(conn)
    .await?;
    one_row("submit time entry", done.rows_affected())
}

/// Approves time: from here on it may be invoiced, at the rate that the engagement has now.
///
/// # Errors
/// When the database is away, or refuses.
pub async fn approve(
    conn: &mut PgConnection,
    firm: FirmId,
    id: TimeEntryId,
    approver: &str,
    by: &By<'_>,
) -> Result<()> {
    let approved = sqlx::query!(
        r#"update time_entries t set state = 'approved', approved_by = $3, approved_at = $4, rate_minor = e.hourly_rate_minor,
                  currency = e.currency
             from engagements e where t.firm_id = $1 and t.id = $2 and e.firm_id = $1 and e.id = t.engagement_id
           returning t.minutes, t.rate_minor, t.currency::text as "currency!""#,
        firm.0,
        id.0,
        approver,
        by.at
    )
    .fetch_one(&mut *conn)
    .await?;
    let meta = json!({
        "minutes": approved.minutes, "rate_minor": approved.rate_minor, "currency": approved.currency, "approved_by": approver,
    });
    note(conn, firm, id, "time.approved", meta, by).await
}

/// Rejects time: it is not invoiced unless it is edited and approved.
///
/// # Errors
/// When the database is away, or refuses.
pub async fn reject(
    conn: &mut PgConnection,
    firm: FirmId,
    id: TimeEntryId,
    (name, reason): (Option<&str>, Option<&str>),
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "update time_entries set state = 'rejected', client_approved_by = null, client_approved_at = null
          where firm_id = $1 and id = $2",
        firm.0,
        id.0
    )
    .execute(&mut *conn)
    .await?;
    one_row("reject time entry", done.rows_affected())?;
    let meta = json!({ "rejected_by": name, "reason": reason });
    note(conn, firm, id, "time.rejected", meta, by).await
}

/// Notes that the client has approved time.
///
/// # Errors
/// When the database is away, or refuses.
pub async fn client_approve(
    conn: &mut PgConnection,
    firm: FirmId,
    id: TimeEntryId,
    approver: &str,
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "update time_entries set client_approved_by = $3, client_approved_at = $4 where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        approver,
        by.at
    )
    .execute(&mut *conn)
    .await?;
    one_row("approve time for a client", done.rows_affected())?;
    let meta = json!({ "client_approved_by": approver });
    note(conn, firm, id, "time.client_approved", meta, by).await
}

/// Notes that time which was approved, or handed in, is a draft again.
///
/// # Errors
/// When the database is away.
pub async fn note_reopened(
    conn: &mut PgConnection,
    firm: FirmId,
    id: TimeEntryId,
    (from, reason): (TimeState, Option<&str>),
    by: &By<'_>,
) -> Result<()> {
    let meta = json!({ "from": from, "reason": reason });
    note(conn, firm, id, "time.reopened", meta, by).await
}

async fn note(
    conn: &mut PgConnection,
    firm: FirmId,
    id: TimeEntryId,
    action: &str,
    meta: Value,
    by: &By<'_>,
) -> Result<()> {
    audit::record(conn, firm, by.at, &by.entry(action, "time_entry", id.0, meta)).await
}
