//! Our own tables beside each other, and what should have been billed.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    currency::Currency,
    domain::{
        reconcile::{Finding, Layer, Side},
        words::UnknownWord,
    },
    ids::{ClientId, EngagementId, FirmId},
    money::Money,
    store::{
        error::{Error, Result},
        generation::EngagementRow,
    },
};

/// What of ours does not fit together, or stands still; `most` of it.
///
/// # Errors
/// When the database is away.
pub async fn internal(conn: &mut PgConnection, firm: FirmId, most: i64) -> Result<Vec<Finding>> {
    let rows = sqlx::query_file!("src/store/reconcile/internal.sql", firm.0, most)
        .fetch_all(conn)
        .await?;
    let word = |unknown: UnknownWord| Error::Other(sqlx::Error::Decode(unknown.into()));
    rows.into_iter()
        .map(|row| {
            Ok(Finding {
                kind: row.kind.parse().map_err(word)?,
                layer: Layer::Internal,
                subject: row.subject,
                ours: Some(Side::of(row.id).state(row.state)),
                stripe: Some(Side::of("expected").state(row.wanted)),
                repair: None,
                object_at: None,
            })
        })
        .collect()
}

/// The next engagements with a fee, signed for a day at least, and the periods billed for them. As generation reads them, without
/// a lock.
///
/// # Errors
/// When the database is away.
pub async fn unbilled(
    conn: &mut PgConnection,
    firm: FirmId,
    after: Option<EngagementId>,
    most: i64,
) -> Result<Vec<EngagementRow>> {
    let rows = sqlx::query!(
        r#"with billed as (
             select e.lineage_id, p.engagement_id, p.period_start, p.period_end
               from billing_periods p join engagements e on e.firm_id = p.firm_id and e.id = p.engagement_id
              where p.firm_id = $1 and p.released_at is null)
           select e.id, coalesce(e.external_id, e.id::text) as "label!", e.client_id, e.lineage_id, e.pricing_mode, e.status,
                  e.currency::text as "currency!", coalesce(e.package_fee_minor, 0) as "fee!", e.cadence as "cadence!", e.period_anchor,
                  e.proration, e.starts_on, e.ends_on, cl.parked_reason is not null as "client_parked!",
                  array(select b.period_start from billed b where b.lineage_id = e.lineage_id order by b.period_start, b.engagement_id) as "starts!",
                  array(select b.period_end from billed b where b.lineage_id = e.lineage_id order by b.period_start, b.engagement_id) as "ends!",
                  array(select b.engagement_id from billed b where b.lineage_id = e.lineage_id order by b.period_start, b.engagement_id) as "whose!"
             from engagements e join clients cl on cl.firm_id = e.firm_id and cl.id = e.client_id
            where e.firm_id = $1 and e.id > $2 and e.cadence is not null and e.status not in ('draft', 'canceled')
              and e.pricing_mode in ('package', 'mixed') and e.signed_at < app.now() - interval '1 day'
            order by e.id limit $3"#,
        firm.0,
        after.map_or(Uuid::nil(), |id| id.0),
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let currency = Currency::parse(&row.currency)
                .map_err(|fault| Error::Other(sqlx::Error::Decode(fault.to_string().into())))?;
            let periods = row.whose.iter().zip(row.starts.into_iter().zip(row.ends));
            let (own, others): (Vec<_>, Vec<_>) = periods.partition(|(whose, _)| **whose == row.id);
            Ok(EngagementRow {
                id: EngagementId(row.id),
                label: row.label,
                lineage: row.lineage_id,
                client: ClientId(row.client_id),
                autopay: false,
                client_parked: row.client_parked,
                pricing_mode: row.pricing_mode,
                status: row.status,
                fee: Money::new(row.fee, currency),
                cadence: row.cadence,
                anchor: row.period_anchor,
                proration: row.proration,
                starts_on: row.starts_on,
                ends_on: row.ends_on,
                billed: own.into_iter().map(|(_, days)| days).collect(),
                lineage_billed: others.into_iter().map(|(_, days)| days).collect(),
            })
        })
        .collect()
}
