//! Engagements: showing one with its versions and what it billed, signing, renewing and ending it.
//!
//! All versions of a lineage are locked together, by id, so that no two of them come to cover the same day.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, By},
    error::{Error, Result, one_row},
};
use crate::{
    currency::Currency,
    domain::renewal::{Days, Version},
    ids::{ClientId, EngagementId, FirmId},
    money::Money,
};

/// A version of an engagement under lock.
#[derive(Clone, Debug)]
pub struct Locked {
    /// Its id.
    pub id: EngagementId,
    /// What documents call it.
    pub external_id: Option<String>,
    /// Its number within the lineage.
    pub number: i32,
    /// The currency of its amounts.
    pub currency: Currency,
    /// The fee of a period.
    pub package_fee: Option<Money>,
    /// The rate per hour.
    pub hourly_rate: Option<Money>,
    /// Its label, status and days.
    pub version: Version,
}

/// Locks all versions of an engagement; the one that was asked for comes first. `None` when this firm has no such
/// engagement.
///
/// # Errors
/// When the database is away.
pub async fn lock_versions(
    conn: &mut PgConnection,
    firm: FirmId,
    id: EngagementId,
) -> Result<Option<(Locked, Vec<Locked>)>> {
    let rows = sqlx::query!(
        r#"select id, external_id, coalesce(external_id, id::text) as "label!", version, status, currency::text as "currency!",
                  package_fee_minor, hourly_rate_minor, starts_on, ends_on
           from engagements
           where firm_id = $1 and lineage_id = (select lineage_id from engagements where firm_id = $1 and id = $2)
           order by id for update"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?;
    let mut asked = None;
    let mut others = Vec::new();
    for row in rows {
        let currency = Currency::parse(&row.currency).map_err(Error::corrupt)?;
        let money = |minor: Option<i64>| minor.map(|minor| Money::new(minor, currency));
        let locked = Locked {
            id: EngagementId(row.id),
            external_id: row.external_id,
            number: row.version,
            currency,
            package_fee: money(row.package_fee_minor),
            hourly_rate: money(row.hourly_rate_minor),
            version: Version {
                label: row.label,
                status: row.status.parse().map_err(Error::corrupt)?,
                days: Days {
                    starts_on: row.starts_on,
                    ends_on: row.ends_on,
                },
            },
        };
        if row.id == id.0 {
            asked = Some(locked);
        } else {
            others.push(locked);
        }
    }
    Ok(asked.map(|asked| (asked, others)))
}

/// The days that an engagement covers.
///
/// # Errors
/// When the database is away, or this firm has no such engagement.
pub async fn days(conn: &mut PgConnection, firm: FirmId, id: EngagementId) -> Result<Days> {
    Ok(sqlx::query_as!(
        Days,
        "select starts_on, ends_on from engagements where firm_id = $1 and id = $2",
        firm.0,
        id.0
    )
    .fetch_one(conn)
    .await?)
}

/// Signs a draft: its terms are final.
///
/// # Errors
/// When the database is away, or another signed version covers some of its days.
pub async fn sign(conn: &mut PgConnection, firm: FirmId, id: EngagementId, by: &By<'_>) -> Result<()> {
    let done = sqlx::query!(
        "update engagements set status = 'signed', signed_at = $3 where firm_id = $1 and id = $2 and status = 'draft'",
        firm.0,
        id.0,
        by.at
    )
    .execute(&mut *conn)
    .await?;
    one_row("sign engagement", done.rows_affected())?;
    let entry = by.entry("engagement.signed", "engagement", id.0, json!({}));
    audit::record(conn, firm, by.at, &entry).await
}

/// The number of the next version. Call after [`lock_versions`].
///
/// # Errors
/// When the database is away.
pub async fn next_version(conn: &mut PgConnection, firm: FirmId, of: EngagementId) -> Result<i32> {
    Ok(sqlx::query_scalar!(
        r#"select max(version) + 1 as "next!" from engagements
            where firm_id = $1 and lineage_id = (select lineage_id from engagements where firm_id = $1 and id = $2)"#,
        firm.0,
        of.0
    )
    .fetch_one(conn)
    .await?)
}

/// What a renewal has that the old version had not.
#[derive(Clone, Debug)]
pub struct Renewal<'a> {
    /// Its id.
    pub id: EngagementId,
    /// What documents call it.
    pub external_id: Option<&'a str>,
    /// Its number within the lineage.
    pub number: i32,
    /// Its days.
    pub days: Days,
    /// The fee of a period.
    pub package_fee: Option<Money>,
    /// The rate per hour.
    pub hourly_rate: Option<Money>,
    /// Another proration, where the old one's is not to go on.
    pub proration: Option<&'a str>,
}

/// Writes the next version of an engagement, as a draft. Everything that [`Renewal`] does not say is as it was.
///
/// # Errors
/// When the database is away, or the external id is taken.
pub async fn renew(
    conn: &mut PgConnection,
    firm: FirmId,
    old: EngagementId,
    new: &Renewal<'_>,
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "insert into engagements (firm_id, id, external_id, client_id, lineage_id, version, renews_id, pricing_mode, currency,
                                  package_fee_minor, cadence, period_anchor, proration, charge_timing, hourly_rate_minor,
                                  starts_on, ends_on)
         select firm_id, $3, $4, client_id, lineage_id, $5, id, pricing_mode, currency, $6, cadence, period_anchor,
                coalesce($7, proration), charge_timing, $8, $9, $10
         from engagements where firm_id = $1 and id = $2",
        firm.0,
        old.0,
        new.id.0,
        new.external_id,
        new.number,
        new.package_fee.map(Money::minor),
        new.proration,
        new.hourly_rate.map(Money::minor),
        new.days.starts_on,
        new.days.ends_on,
    )
    .execute(&mut *conn)
    .await?;
    one_row("renew engagement", done.rows_affected())?;
    let meta = json!({
        "renews": old, "version": new.number, "starts_on": new.days.starts_on, "ends_on": new.days.ends_on,
    });
    let entry = by.entry("engagement.renewed", "engagement", new.id.0, meta);
    audit::record(conn, firm, by.at, &entry).await
}

/// Brings the end of a signed engagement nearer. From its last day on it is ended.
///
/// # Errors
/// When the database is away, or refuses a later end.
pub async fn end(
    conn: &mut PgConnection,
    firm: FirmId,
    id: EngagementId,
    (on, was): (NaiveDate, Option<NaiveDate>),
    reason: &str,
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "update engagements e
            set ends_on = $3, status = case when $3 <= ($4::timestamptz at time zone f.timezone)::date then 'ended' else status end
           from firms f where f.id = e.firm_id and e.firm_id = $1 and e.id = $2",
        firm.0,
        id.0,
        on,
        by.at
    )
    .execute(&mut *conn)
    .await?;
    one_row("end engagement", done.rows_affected())?;
    let meta = json!({ "ends_on": on, "was": was, "reason": reason });
    let entry = by.entry("engagement.ended", "engagement", id.0, meta);
    audit::record(conn, firm, by.at, &entry).await
}

/// An engagement in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngagementRow {
    /// Our id.
    pub id: Uuid,
    /// What documents call it.
    pub external_id: Option<String>,
    /// The client, by its `external_id` where it has one.
    pub client: String,
    /// Its number among the versions.
    pub version: i32,
    /// `draft`, `signed`, `ended` or `canceled`.
    pub status: String,
    /// `package`, `hourly` or `mixed`.
    pub pricing_mode: String,
    /// The currency of its amounts.
    pub currency: String,
    /// The fee of a period.
    pub package_fee_minor: Option<i64>,
    /// The rate per hour.
    pub hourly_rate_minor: Option<i64>,
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after it.
    pub ends_on: Option<NaiveDate>,
}

/// The engagements of a firm, of one client or in one state if told, the newest first.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    (client, status): (Option<ClientId>, Option<&str>),
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<EngagementRow>> {
    Ok(sqlx::query_as!(
        EngagementRow,
        r#"select e.id, e.external_id, coalesce(c.external_id, c.id::text) as "client!", e.version, e.status, e.pricing_mode,
                  e.currency::text as "currency!", e.package_fee_minor, e.hourly_rate_minor, e.starts_on, e.ends_on
             from engagements e join clients c on c.firm_id = e.firm_id and c.id = e.client_id
            where e.firm_id = $1 and ($2::uuid is null or e.client_id = $2) and ($3::text is null or e.status = $3)
              and ($4::uuid is null or e.id < $4)
            order by e.id desc limit $5"#,
        firm.0,
        client.map(|id| id.0),
        status,
        after,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// An engagement as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngagementView {
    /// Our id.
    pub id: Uuid,
    /// What documents call it.
    pub external_id: Option<String>,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// The client, likewise.
    pub client: String,
    /// Its number among the versions.
    pub version: i32,
    /// The version that it renews.
    pub renews: Option<String>,
    /// `draft`, `signed`, `ended` or `canceled`.
    pub status: String,
    /// When its terms became final.
    pub signed_at: Option<DateTime<Utc>>,
    /// `package`, `hourly` or `mixed`.
    pub pricing_mode: String,
    /// The currency of its amounts.
    pub currency: String,
    /// The fee of a period.
    pub package_fee_minor: Option<i64>,
    /// How often it is due.
    pub package_fee_schedule: Option<String>,
    /// The rate per hour.
    pub hourly_rate_minor: Option<i64>,
    /// How often hours alone are invoiced.
    pub hourly_schedule: Option<String>,
    /// Where periods begin.
    pub period_anchor: String,
    /// What a clipped period costs.
    pub proration: String,
    /// When its invoices are charged.
    pub charge_timing: String,
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after it.
    pub ends_on: Option<NaiveDate>,
    /// All versions of these terms, this one among them, by number.
    pub versions: Vec<VersionRow>,
    /// What was billed by period, and what a void released, by day.
    pub periods: Vec<PeriodRow>,
    /// Time on it, by state.
    pub time: Vec<TimeSum>,
}

/// A version in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionRow {
    /// Its number.
    pub version: i32,
    /// By its `external_id` where it has one.
    pub engagement: String,
    /// Where it stands.
    pub status: String,
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after it.
    pub ends_on: Option<NaiveDate>,
}

/// A period that an invoice bills, or billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeriodRow {
    /// First day.
    pub start: NaiveDate,
    /// First day after it.
    pub end: NaiveDate,
    /// 1 for the first invoice, 2 for the one after a void, and so on.
    pub generation: i32,
    /// The invoice's number, or its id.
    pub invoice: String,
    /// Whether the period was given free again.
    pub released: bool,
}

/// How much time is in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimeSum {
    /// `draft`, `submitted`, `approved`, `rejected` or, of the approved, `invoiced`.
    pub state: String,
    /// How many entries.
    pub entries: i64,
    /// How many minutes.
    pub minutes: i64,
}

/// One engagement in full; `None` when this firm has none with this id.
///
/// # Errors
/// When the database is away.
pub async fn show(conn: &mut PgConnection, firm: FirmId, id: EngagementId) -> Result<Option<EngagementView>> {
    let row = sqlx::query!(
        r#"select e.id, e.external_id, coalesce(f.external_id, f.id::text) as "firm!", coalesce(c.external_id, c.id::text) as "client!",
                  e.lineage_id, e.version, coalesce(o.external_id, o.id::text) as renews, e.status, e.signed_at, e.pricing_mode,
                  e.currency::text as "currency!", e.package_fee_minor, e.cadence, e.hourly_rate_minor, e.period_anchor,
                  e.proration, e.charge_timing, e.starts_on, e.ends_on
           from engagements e
           join firms f on f.id = e.firm_id
           join clients c on c.firm_id = e.firm_id and c.id = e.client_id
           left join engagements o on o.firm_id = e.firm_id and o.id = e.renews_id
           where e.firm_id = $1 and e.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (package_fee_schedule, hourly_schedule) = match row.package_fee_minor {
        Some(_) => (row.cadence, None),
        None => (None, row.cadence),
    };
    Ok(Some(EngagementView {
        id: row.id,
        external_id: row.external_id,
        firm: row.firm,
        client: row.client,
        version: row.version,
        renews: row.renews,
        status: row.status,
        signed_at: row.signed_at,
        pricing_mode: row.pricing_mode,
        currency: row.currency,
        package_fee_minor: row.package_fee_minor,
        package_fee_schedule,
        hourly_rate_minor: row.hourly_rate_minor,
        hourly_schedule,
        period_anchor: row.period_anchor,
        proration: row.proration,
        charge_timing: row.charge_timing,
        starts_on: row.starts_on,
        ends_on: row.ends_on,
        versions: versions(&mut *conn, firm, row.lineage_id).await?,
        periods: periods(&mut *conn, firm, id).await?,
        time: time(&mut *conn, firm, id).await?,
    }))
}

async fn versions(conn: &mut PgConnection, firm: FirmId, lineage: Uuid) -> Result<Vec<VersionRow>> {
    Ok(sqlx::query_as!(
        VersionRow,
        r#"select version, coalesce(external_id, id::text) as "engagement!", status, starts_on, ends_on
           from engagements where firm_id = $1 and lineage_id = $2 order by version"#,
        firm.0,
        lineage
    )
    .fetch_all(conn)
    .await?)
}

/// The periods that were billed for an engagement, by day.
///
/// # Errors
/// When the database is away.
pub async fn periods(conn: &mut PgConnection, firm: FirmId, id: EngagementId) -> Result<Vec<PeriodRow>> {
    Ok(sqlx::query_as!(
        PeriodRow,
        r#"select p.period_start as start, p.period_end as "end", p.generation, coalesce(i.number, i.id::text) as "invoice!",
                  p.released_at is not null as "released!"
           from billing_periods p join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
           where p.firm_id = $1 and p.engagement_id = $2 order by p.period_start, p.generation"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?)
}

async fn time(conn: &mut PgConnection, firm: FirmId, id: EngagementId) -> Result<Vec<TimeSum>> {
    Ok(sqlx::query_as!(
        TimeSum,
        r#"select case when l.id is null then t.state else 'invoiced' end as "state!", count(*) as "entries!",
                  sum(t.minutes)::bigint as "minutes!"
           from time_entries t
           left join invoice_lines l on l.firm_id = t.firm_id and l.time_entry_id = t.id and l.released_at is null
           where t.firm_id = $1 and t.engagement_id = $2 group by 1 order by 1"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?)
}
