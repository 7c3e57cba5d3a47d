//! What a firm's local day came to: its charges, and what was invoiced.

use chrono::NaiveDate;
use sqlx::PgConnection;

use super::error::{Error, Result};
use crate::{currency::Currency, ids::FirmId, money::Money};

/// A firm's day, and what the firm wants to be told of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// Charges made on it whose end is known.
    pub charges: i64,
    /// Those that were declined.
    pub failed: i64,
    /// So many of a hundred may fail; none where the firm does not want to know.
    pub bears_percent: Option<i32>,
    /// Whether the firm wants to know what was invoiced.
    pub wants_summary: bool,
    /// Invoices issued on it.
    pub invoices: i64,
    /// What they came to, by currency.
    pub totals: Vec<Money>,
}

/// Reads a local day of a firm.
///
/// # Errors
/// When the database is away.
pub async fn of_day(conn: &mut PgConnection, firm: FirmId, day: NaiveDate) -> Result<Day> {
    // A charge that had no effect is none, and of one without an end nobody knows.
    let charges = sqlx::query!(
        r#"select f.alert_failure_rate_percent, f.alert_daily_summary,
                  count(*) filter (where a.state in ('succeeded', 'declined')) as "charges!",
                  count(*) filter (where a.state = 'declined') as "failed!"
             from firms f left join payment_attempts a
               on a.firm_id = f.id and a.created_at >= $2::date::timestamp at time zone f.timezone
              and a.created_at < ($2::date + 1)::timestamp at time zone f.timezone
            where f.id = $1 group by f.id"#,
        firm.0,
        day
    )
    .fetch_one(&mut *conn)
    .await?;
    let issued = sqlx::query!(
        r#"select i.currency::text as "currency!", count(*) as "invoices!", sum(i.total_minor)::bigint as "total!"
             from invoices i join firms f on f.id = i.firm_id
            where i.firm_id = $1 and i.doc_state <> 'draft'
              and i.issued_at >= $2::date::timestamp at time zone f.timezone
              and i.issued_at < ($2::date + 1)::timestamp at time zone f.timezone
            group by i.currency order by i.currency"#,
        firm.0,
        day
    )
    .fetch_all(conn)
    .await?;
    let totals = issued
        .iter()
        .map(|row| {
            Ok(Money::new(
                row.total,
                Currency::parse(&row.currency).map_err(Error::corrupt)?,
            ))
        })
        .collect::<Result<Vec<Money>>>()?;
    Ok(Day {
        charges: charges.charges,
        failed: charges.failed,
        bears_percent: charges.alert_failure_rate_percent,
        wants_summary: charges.alert_daily_summary,
        invoices: issued.iter().map(|row| row.invoices).sum(),
        totals,
    })
}

/// After how many failures in a row an invoice's alert is a warning; never, where the firm does not want to know.
///
/// # Errors
/// When the database is away.
pub async fn failures_in_row(conn: &mut PgConnection, firm: FirmId) -> Result<Option<i32>> {
    Ok(
        sqlx::query_scalar!("select alert_failures_in_row from firms where id = $1", firm.0)
            .fetch_one(conn)
            .await?,
    )
}
