//! An engagement with what was billed of it, and what the generation job knows of it.
use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

use super::{audit, facts::money};
use crate::{
    domain::{
        explain::{BilledPeriod, BillingFacts, WaitingTime},
        generate::{Approval, EngagementFacts, Planned, plan},
    },
    ids::{EngagementId, FirmId, JobId},
    store::{
        billable_time::{self, Billable},
        error::Result,
        generation::{self, FirmContext},
    },
};

/// Reads an engagement as of a time; `None` when this firm has none such.
///
/// # Errors
/// When the database is away.
pub async fn engagement(
    conn: &mut PgConnection,
    firm: FirmId,
    id: EngagementId,
    as_of: DateTime<Utc>,
) -> Result<Option<BillingFacts>> {
    let row = sqlx::query!(
        r#"select coalesce(e.external_id, e.id::text) as "label!", coalesce(c.external_id, c.id::text) as "client!",
                  coalesce(f.external_id, f.id::text) as "firm!", f.timezone, ($3::timestamptz at time zone f.timezone)::date as "today!",
                  e.status, e.pricing_mode, e.version, e.cadence, e.period_anchor, e.proration, e.package_fee_minor, e.hourly_rate_minor,
                  e.currency::text as "currency!", e.starts_on, e.ends_on
           from engagements e
           join clients c on c.firm_id = e.firm_id and c.id = e.client_id
           join firms f on f.id = e.firm_id
           where e.firm_id = $1 and e.id = $2"#,
        firm.0,
        id.0,
        as_of
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut words = format!("version {}, {}, {}", row.version, row.status, row.pricing_mode);
    for (what, minor) in [
        ("fee", row.package_fee_minor),
        ("rate per hour", row.hourly_rate_minor),
    ] {
        if let Some(minor) = minor {
            words.push_str(&format!(", {what} {}", money(minor, &row.currency)?));
        }
    }
    if let Some(cadence) = &row.cadence {
        words.push_str(&format!(", {cadence} ({}, {})", row.period_anchor, row.proration));
    }
    words.push_str(&match row.ends_on {
        Some(ends_on) => format!(", {} until {ends_on}", row.starts_on),
        None => format!(", from {} on", row.starts_on),
    });
    let context = FirmContext {
        today: row.today,
        ..generation::firm_context(conn, firm).await?
    };
    let (billed, siblings) = billed(conn, firm, id).await?;
    let last_run = sqlx::query_scalar!(
        "select id from jobs where kind = 'generate_package_invoices' and firm_id = $1 order by seq desc limit 1",
        firm.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    Ok(Some(BillingFacts {
        id: id.to_string(),
        label: row.label,
        client: row.client,
        firm: row.firm,
        status: row.status,
        words,
        timezone: row.timezone,
        today: row.today,
        terms: terms(conn, &context, id).await?,
        billed,
        siblings,
        waiting: waiting(conn, firm, id).await?,
        decisions: audit::decisions(conn, firm, id.0).await?,
        run: match last_run {
            Some(job) => audit::job(conn, JobId(job)).await?,
            None => None,
        },
        audit: audit::of_subjects(conn, firm, &[id.0], None).await?,
    }))
}

/// What the generation job would know of it: as in a run, versions that began earlier are planned first.
async fn terms(
    conn: &mut PgConnection,
    firm: &FirmContext,
    id: EngagementId,
) -> Result<Option<EngagementFacts>> {
    let mut rows = generation::versions_of(conn, firm.id, id).await?;
    rows.sort_by_key(|row| (row.starts_on, row.id));
    let with_time: Vec<EngagementId> = rows
        .iter()
        .filter(|row| row.bills_time())
        .map(|row| row.id)
        .collect();
    let mut time: HashMap<EngagementId, Vec<Billable>> = HashMap::new();
    for entry in billable_time::billable(conn, firm.id, &with_time).await? {
        time.entry(entry.engagement).or_default().push(entry);
    }
    let mut planned: Vec<(NaiveDate, NaiveDate)> = Vec::new();
    for row in rows {
        let time = time.remove(&row.id).unwrap_or_default();
        let facts = row.facts(&time, firm, planned.iter().copied())?;
        if row.id == id {
            return Ok(Some(facts));
        }
        let lines = plan(&facts, firm.today, Approval::default()).planned;
        planned.extend(lines.iter().filter_map(|line| match line {
            Planned::Bill { period, .. } => Some((period.start, period.end)),
            Planned::Skip { .. } => None,
        }));
    }
    Ok(None)
}

/// What was billed of an engagement, and of other versions of it.
async fn billed(
    conn: &mut PgConnection,
    firm: FirmId,
    id: EngagementId,
) -> Result<(Vec<BilledPeriod>, Vec<(String, BilledPeriod)>)> {
    let rows = sqlx::query!(
        r#"select v.id = e.id as "own!", coalesce(v.external_id, v.id::text) as "label!", p.period_start, p.period_end,
                  coalesce(i.number, i.id::text) as "invoice!", i.doc_state, i.total_minor as "total_minor!", i.currency::text as "currency!",
                  i.issued_at, p.released_at, p.release_reason
           from engagements e
           join engagements v on v.firm_id = e.firm_id and v.lineage_id = e.lineage_id
           join billing_periods p on p.firm_id = v.firm_id and p.engagement_id = v.id
           join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
           where e.firm_id = $1 and e.id = $2 order by p.period_start, p.generation"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for row in rows {
        let period = BilledPeriod {
            start: row.period_start,
            end: row.period_end,
            invoice: row.invoice,
            doc_state: row.doc_state,
            total: money(row.total_minor, &row.currency)?,
            issued_at: row.issued_at,
            released: row.released_at.zip(row.release_reason),
        };
        if row.own {
            own.push(period);
        } else if period.released.is_none() {
            others.push((row.label, period));
        }
    }
    Ok((own, others))
}

/// Time that somebody has to approve before it is billed.
async fn waiting(conn: &mut PgConnection, firm: FirmId, id: EngagementId) -> Result<Vec<WaitingTime>> {
    Ok(sqlx::query_as!(
        WaitingTime,
        r#"select t.worked_on, case when t.state = 'approved' then 'client' else 'approval' end as "waits_for!", count(*) as "entries!"
           from time_entries t join firms f on f.id = t.firm_id
           where t.firm_id = $1 and t.engagement_id = $2
             and (t.state in ('draft', 'submitted')
                  or t.state = 'approved' and f.require_client_approval and t.client_approved_at is null
                     and not exists (select 1 from invoice_lines l
                                      where l.firm_id = t.firm_id and l.time_entry_id = t.id and l.released_at is null))
           group by 1, 2 order by 1, 2"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?)
}
