//! Sums of what was invoiced, collected and declined, for charts.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

use crate::{ids::FirmId, store::error::Result};

/// What was issued in one month and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthSum {
    /// Its first day.
    pub month: NaiveDate,
    /// Paid, or covered by credit.
    pub settled_minor: i64,
    /// Still to be paid.
    pub open_minor: i64,
}

/// What is open, by how late it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Age {
    /// `not_due`, `1_30`, `31_60`, `61_90`, `over_90`.
    pub bucket: String,
    /// How much.
    pub open_minor: i64,
}

/// Months and ages of the invoices that were issued since a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By month of issue, the oldest first.
    pub months: Vec<MonthSum>,
    /// By age.
    pub ages: Vec<Age>,
}

/// The currency that a firm calculates in, and its date.
///
/// # Errors
/// When the database is away.
pub async fn usual_currency(conn: &mut PgConnection, firm: FirmId) -> Result<(String, NaiveDate)> {
    let row = sqlx::query!(
        r#"select default_currency::text as "currency!", (app.now() at time zone timezone)::date as "today!" from firms where id = $1"#,
        firm.0
    )
    .fetch_one(conn)
    .await?;
    Ok((row.currency, row.today))
}

/// Sums over a firm's invoices in one currency that were issued since a day. Two indexes side by side, both by invoice, summed by day
/// before anything else is worked out of a day: looking the status of each invoice up would take ten times as long.
///
/// # Errors
/// When the database is away.
pub async fn sums(
    conn: &mut PgConnection,
    firm: FirmId,
    currency: &str,
    (since, today): (NaiveDate, NaiveDate),
) -> Result<Sums> {
    let rows = sqlx::query!(
        r#"with standing as not materialized (
             select i.id, i.issue_date, i.due_date, i.total_minor from invoices i
              where i.firm_id = $1 and i.doc_state in ('issued', 'void_requested') and i.issue_date >= $3 and i.currency = $2::text),
           -- Ids follow time: nothing before this one is looked at.
           oldest as materialized (select id from standing order by id limit 1),
           moved as (
             select issue_date, due_date, sum(total_minor) as total, 0 as settled from standing where id >= (select id from oldest) group by 1, 2
             union all
             select s.issue_date, s.due_date, 0, sum(p.amount_minor) from payments p join standing s on s.id = p.invoice_id
              where p.firm_id = $1 and p.invoice_id >= (select id from oldest) and s.id >= (select id from oldest) group by 1, 2
             union all
             select s.issue_date, s.due_date, 0, -l.amount_minor from credit_lots l
               join payments p on p.firm_id = l.firm_id and p.id = l.payment_id join standing s on s.id = p.invoice_id
              where l.firm_id = $1 and l.payment_id is not null
             union all
             select s.issue_date, s.due_date, 0, a.amount_minor from credit_applications a join standing s on s.id = a.invoice_id
              where a.firm_id = $1
                and not exists (select 1 from credit_releases r where r.firm_id = a.firm_id and r.application_id = a.id)),
           dated as (
             select date_trunc('month', issue_date::timestamp)::date as month,
                    case when due_date >= $4 then 'not_due' when due_date >= $4 - 30 then '1_30' when due_date >= $4 - 60 then '31_60'
                         when due_date >= $4 - 90 then '61_90' else 'over_90' end as bucket, total, settled from moved)
           select month as "month!", bucket as "bucket!", sum(settled)::bigint as "settled!", (sum(total) - sum(settled))::bigint as "open!"
             from dated group by 1, 2 order by 1, 2"#,
        firm.0,
        currency,
        since,
        today
    )
    .fetch_all(conn)
    .await?;
    let mut sums = Sums::default();
    for row in rows {
        match sums.months.iter_mut().find(|sum| sum.month == row.month) {
            Some(sum) => {
                sum.settled_minor += row.settled;
                sum.open_minor += row.open;
            }
            None => sums.months.push(MonthSum {
                month: row.month,
                settled_minor: row.settled,
                open_minor: row.open,
            }),
        }
        match sums.ages.iter_mut().find(|age| age.bucket == row.bucket) {
            Some(age) => {
                age.open_minor += row.open;
            }
            None => sums.ages.push(Age {
                bucket: row.bucket,
                open_minor: row.open,
            }),
        }
    }
    Ok(sums)
}

/// How often charges failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// The issuer's code, else Stripe's, else what we call it.
    pub reason: String,
    /// How often.
    pub attempts: i64,
}

/// Why charges failed since a time, the most frequent first.
///
/// # Errors
/// When the database is away.
pub async fn declines(conn: &mut PgConnection, firm: FirmId, since: DateTime<Utc>) -> Result<Vec<Decline>> {
    Ok(sqlx::query_as!(
        Decline,
        r#"select coalesce(decline_code, failure_code, failure_class, state) as "reason!", count(*) as "attempts!" from payment_attempts
            where firm_id = $1 and created_at >= $2 and state in ('declined', 'technical') group by 1 order by 2 desc, 1 limit 8"#,
        firm.0,
        since
    )
    .fetch_all(conn)
    .await?)
}

/// Attempts at one step of collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// 0 the first, then the retries.
    pub step: i32,
    /// So many.
    pub tried: i64,
    /// So many of them succeeded.
    pub succeeded: i64,
}

/// Attempts by step since a time.
///
/// # Errors
/// When the database is away.
pub async fn rungs(conn: &mut PgConnection, firm: FirmId, since: DateTime<Utc>) -> Result<Vec<Rung>> {
    Ok(sqlx::query_as!(
        Rung,
        r#"select step, count(*) as "tried!", count(*) filter (where state = 'succeeded') as "succeeded!" from payment_attempts
            where firm_id = $1 and created_at >= $2 and counts_toward_ladder group by step order by step"#,
        firm.0,
        since
    )
    .fetch_all(conn)
    .await?)
}
