//! Time entries as they are shown: what `time list` prints.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{Error, Result};
use crate::{
    currency::Currency,
    ids::{EngagementId, FirmId, TimeEntryId},
    money::{Money, hourly_amount},
};

/// One entry as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimeRow {
    /// Our id.
    pub id: Uuid,
    /// What documents call it.
    pub external_id: Option<String>,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// The client, likewise.
    pub client: String,
    /// The engagement, likewise.
    pub engagement: String,
    /// Worked by.
    pub worker: String,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// `draft`, `submitted`, `approved` or `rejected`.
    pub state: String,
    /// Per hour, once approved.
    pub rate_minor: Option<i64>,
    /// What it costs, once approved.
    pub amount_minor: Option<i64>,
    /// Currency of both.
    pub currency: String,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<DateTime<Utc>>,
    /// Who approved it for the client.
    pub client_approved_by: Option<String>,
    /// When.
    pub client_approved_at: Option<DateTime<Utc>>,
    /// The invoice that it is on: its number, or the id of a draft.
    pub invoice: Option<String>,
    /// Whether the next invoice may have it.
    pub invoiceable: bool,
}

/// Which entries of a firm to show.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// This one only.
    pub id: Option<TimeEntryId>,
    /// Of this engagement only.
    pub engagement: Option<EngagementId>,
    /// In this state only.
    pub state: Option<&'a str>,
    /// Only what is on no invoice.
    pub uninvoiced: bool,
    /// Those listed after this one.
    pub after: Option<TimeEntryId>,
}

/// The newest entries of a firm, `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    filter: &Filter<'_>,
    most: i64,
) -> Result<Vec<TimeRow>> {
    let rows = sqlx::query!(
        r#"select t.id, t.external_id, coalesce(f.external_id, f.id::text) as "firm!",
                  coalesce(c.external_id, c.id::text) as "client!", coalesce(e.external_id, e.id::text) as "engagement!",
                  t.worker, t.worked_on, t.minutes, t.state, t.rate_minor, t.currency::text as "currency!", t.approved_by,
                  t.approved_at, t.client_approved_by, t.client_approved_at, coalesce(i.number, i.id::text) as invoice,
                  (t.state = 'approved' and l.id is null
                   and (t.client_approved_at is not null or not f.require_client_approval)) as "invoiceable!"
           from time_entries t
           join firms f on f.id = t.firm_id
           join engagements e on e.firm_id = t.firm_id and e.id = t.engagement_id
           join clients c on c.firm_id = e.firm_id and c.id = e.client_id
           left join invoice_lines l on l.firm_id = t.firm_id and l.time_entry_id = t.id and l.released_at is null
           left join invoices i on i.firm_id = l.firm_id and i.id = l.invoice_id
           where t.firm_id = $1 and ($2::uuid is null or t.id = $2) and ($3::uuid is null or t.engagement_id = $3)
             and ($4::text is null or t.state = $4) and (not $5 or l.id is null) and ($6::uuid is null or t.id < $6)
           order by t.id desc limit $7"#,
        firm.0,
        filter.id.map(|id| id.0),
        filter.engagement.map(|id| id.0),
        filter.state,
        filter.uninvoiced,
        filter.after.map(|id| id.0),
        most,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let amount_minor = match row.rate_minor {
                None => None,
                Some(rate_minor) => {
                    let currency = Currency::parse(&row.currency).map_err(Error::corrupt)?;
                    let minutes = u32::try_from(row.minutes).map_err(Error::corrupt)?;
                    let amount =
                        hourly_amount(minutes, Money::new(rate_minor, currency)).map_err(Error::corrupt)?;
                    Some(amount.minor())
                }
            };
            Ok(TimeRow {
                id: row.id,
                external_id: row.external_id,
                firm: row.firm,
                client: row.client,
                engagement: row.engagement,
                worker: row.worker,
                worked_on: row.worked_on,
                minutes: row.minutes,
                state: row.state,
                rate_minor: row.rate_minor,
                amount_minor,
                currency: row.currency,
                approved_by: row.approved_by,
                approved_at: row.approved_at,
                client_approved_by: row.client_approved_by,
                client_approved_at: row.client_approved_at,
                invoice: row.invoice,
                invoiceable: row.invoiceable,
            })
        })
        .collect()
}
