//! Generation in sets: engagements in, issued invoices with lines, cycles, jobs and audit rows out.
//!
//! The unreleased row in `billing_periods` is what makes an invoice exist once, however many generators run.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{Actor, By, Cause},
    billable_time::Billable,
    error::{Error, Result},
    issuing::{self, Draft},
};
use crate::{
    currency::Currency,
    domain::{
        generate::{EngagementFacts, EngagementStatus, Hours, PricingMode},
        period::Terms,
    },
    ids::{ClientId, EngagementId, FirmId, InvoiceId, JobId},
    money::Money,
};

/// What generation needs to know of a firm.
#[derive(Clone, Debug)]
pub struct FirmContext {
    /// The firm.
    pub id: FirmId,
    /// Short number, part of invoice numbers.
    pub number: i64,
    /// `external_id`, or the UUID where there is none.
    pub label: String,
    /// Today where the firm is.
    pub today: NaiveDate,
    /// Days from issue to due.
    pub payment_terms_days: i32,
    /// Invoicing is paused, or the firm is parked.
    pub paused: bool,
}

/// Reads a firm. Business time decides what day it is there.
///
/// # Errors
/// When the database is away, or this transaction sees no such firm.
pub async fn firm_context(conn: &mut PgConnection, firm: FirmId) -> Result<FirmContext> {
    let row = sqlx::query!(
        r#"select number, coalesce(external_id, id::text) as "label!", (app.now() at time zone timezone)::date as "today!",
                  payment_terms_days, (invoicing_paused_at is not null or parked_reason is not null) as "paused!"
           from firms where id = $1"#,
        firm.0
    )
    .fetch_one(conn)
    .await?;
    Ok(FirmContext {
        id: firm,
        number: row.number,
        label: row.label,
        today: row.today,
        payment_terms_days: row.payment_terms_days,
        paused: row.paused,
    })
}

/// An engagement as generation sees it. Enumerated words are still words: the domain parses them.
#[derive(Clone, Debug)]
pub struct EngagementRow {
    /// Its id.
    pub id: EngagementId,
    /// `external_id`, or the UUID where there is none.
    pub label: String,
    /// Shared by all versions of these terms.
    pub lineage: Uuid,
    /// The client.
    pub client: ClientId,
    /// The client pays automatically.
    pub autopay: bool,
    /// The client is parked.
    pub client_parked: bool,
    /// `package`, `hourly` or `mixed`.
    pub pricing_mode: String,
    /// `draft`, `signed`, `ended`, `canceled`.
    pub status: String,
    /// Per period; nothing where hours alone are billed.
    pub fee: Money,
    /// `monthly` …
    pub cadence: String,
    /// `calendar` or `anniversary`.
    pub anchor: String,
    /// `full_fee` or `daily`.
    pub proration: String,
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after, if it ends.
    pub ends_on: Option<NaiveDate>,
    /// Unreleased periods billed for it.
    pub billed: Vec<(NaiveDate, NaiveDate)>,
    /// Unreleased periods billed for other versions of the same lineage.
    pub lineage_billed: Vec<(NaiveDate, NaiveDate)>,
}

impl EngagementRow {
    /// As the plan sees it, with approved time that is on no invoice, and with what the run at hand has planned already for
    /// other versions of it.
    ///
    /// # Errors
    /// When the row has a word that is none of ours.
    pub fn facts(
        &self,
        time: &[Billable],
        firm: &FirmContext,
        planned: impl IntoIterator<Item = (NaiveDate, NaiveDate)>,
    ) -> Result<EngagementFacts> {
        let mut lineage_billed = self.lineage_billed.clone();
        lineage_billed.extend(planned);
        Ok(EngagementFacts {
            terms: Terms {
                cadence: self.cadence.parse().map_err(Error::corrupt)?,
                anchor: self.anchor.parse().map_err(Error::corrupt)?,
                proration: self.proration.parse().map_err(Error::corrupt)?,
                starts_on: self.starts_on,
                ends_on: self.ends_on,
                fee: self.fee,
            },
            mode: self.pricing_mode.parse().map_err(Error::corrupt)?,
            hours: time
                .iter()
                .map(|entry| Hours {
                    worked_on: entry.worked_on,
                    amount: entry.amount,
                })
                .collect(),
            status: self.status.parse::<EngagementStatus>().map_err(Error::corrupt)?,
            signed: self.is_signed(),
            client_parked: self.client_parked,
            firm_invoicing_paused: firm.paused,
            billed: self.billed.clone(),
            lineage_billed,
        })
    }

    /// Whether it has been signed: a draft binds nobody.
    fn is_signed(&self) -> bool {
        self.status != EngagementStatus::Draft.as_str()
    }

    /// Whether time that is worked for it is billed.
    #[must_use]
    pub fn bills_time(&self) -> bool {
        self.pricing_mode != PricingMode::Package.as_str() && self.is_signed()
    }
}

/// The next engagements that are billed on a cadence, by id, locked against a change of their terms until the transaction ends.
///
/// # Errors
/// When the database is away.
pub async fn engagements_after(
    conn: &mut PgConnection,
    firm: FirmId,
    after: Option<EngagementId>,
    most: i64,
) -> Result<Vec<EngagementRow>> {
    let ids = sqlx::query_scalar!(
        "select id from engagements
          where firm_id = $1 and id > $2 and cadence is not null and status <> 'canceled'
          order by id limit $3 for share",
        firm.0,
        after.map_or(Uuid::nil(), |id| id.0),
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    read(conn, firm, &ids).await
}

/// The next engagements with a fee that were signed before a time, by id, and nothing locked.
///
/// # Errors
/// When the database is away.
pub async fn signed_before(
    conn: &mut PgConnection,
    firm: FirmId,
    time: DateTime<Utc>,
    after: Option<EngagementId>,
    most: i64,
) -> Result<Vec<EngagementRow>> {
    let ids = sqlx::query_scalar!(
        "select id from engagements
          where firm_id = $1 and id > $2 and cadence is not null and pricing_mode in ('package', 'mixed')
            and status not in ('draft', 'canceled') and signed_at < $3
          order by id limit $4",
        firm.0,
        after.map_or(Uuid::nil(), |id| id.0),
        time,
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    read(conn, firm, &ids).await
}

/// An engagement with all its versions that are billed on a cadence, by id, and nothing locked.
///
/// # Errors
/// When the database is away.
pub async fn versions_of(
    conn: &mut PgConnection,
    firm: FirmId,
    engagement: EngagementId,
) -> Result<Vec<EngagementRow>> {
    let ids = sqlx::query_scalar!(
        "select v.id from engagements e join engagements v on v.firm_id = e.firm_id and v.lineage_id = e.lineage_id
          where e.firm_id = $1 and e.id = $2 and v.cadence is not null and (v.status <> 'canceled' or v.id = e.id)",
        firm.0,
        engagement.0
    )
    .fetch_all(&mut *conn)
    .await?;
    read(conn, firm, &ids).await
}

async fn read(conn: &mut PgConnection, firm: FirmId, ids: &[Uuid]) -> Result<Vec<EngagementRow>> {
    let rows = sqlx::query!(
        r#"select e.id, coalesce(e.external_id, e.id::text) as "label!", e.client_id, e.lineage_id, e.pricing_mode, e.status,
                  e.currency::text as "currency!", coalesce(e.package_fee_minor, 0) as "fee!", e.cadence as "cadence!", e.period_anchor, e.proration,
                  e.starts_on, e.ends_on, cl.autopay_enabled, cl.parked_reason is not null as "client_parked!"
           from engagements e join clients cl on cl.firm_id = e.firm_id and cl.id = e.client_id
           where e.firm_id = $1 and e.id = any($2) order by e.id"#,
        firm.0,
        ids
    )
    .fetch_all(&mut *conn)
    .await?;
    let lineages: Vec<Uuid> = rows.iter().map(|r| r.lineage_id).collect();
    let billed = sqlx::query!(
        "select e.lineage_id, p.engagement_id, p.period_start, p.period_end
         from engagements e join billing_periods p on p.firm_id = e.firm_id and p.engagement_id = e.id
         where e.firm_id = $1 and e.lineage_id = any($2) and p.released_at is null
         order by p.period_start",
        firm.0,
        &lineages
    )
    .fetch_all(conn)
    .await?;
    let mut by_lineage: std::collections::HashMap<Uuid, Vec<(Uuid, NaiveDate, NaiveDate)>> =
        std::collections::HashMap::new();
    for b in billed {
        by_lineage
            .entry(b.lineage_id)
            .or_default()
            .push((b.engagement_id, b.period_start, b.period_end));
    }
    rows.into_iter()
        .map(|r| {
            let currency = Currency::parse(&r.currency)
                .map_err(|e| Error::Other(sqlx::Error::Decode(e.to_string().into())))?;
            let periods = by_lineage
                .get(&r.lineage_id)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let of = |own: bool| {
                periods
                    .iter()
                    .filter(|p| (p.0 == r.id) == own)
                    .map(|p| (p.1, p.2))
                    .collect::<Vec<_>>()
            };
            Ok(EngagementRow {
                id: EngagementId(r.id),
                label: r.label,
                lineage: r.lineage_id,
                client: ClientId(r.client_id),
                autopay: r.autopay_enabled,
                client_parked: r.client_parked,
                pricing_mode: r.pricing_mode,
                status: r.status,
                fee: Money::new(r.fee, currency),
                cadence: r.cadence,
                anchor: r.period_anchor,
                proration: r.proration,
                starts_on: r.starts_on,
                ends_on: r.ends_on,
                billed: of(true),
                lineage_billed: of(false),
            })
        })
        .collect()
}

/// An invoice that the plan calls for.
#[derive(Clone, Debug)]
pub struct PlannedInvoice {
    /// First day billed.
    pub start: NaiveDate,
    /// First day not billed.
    pub end: NaiveDate,
    /// How the period and its price came about.
    pub derivation: Value,
    /// The engagement.
    pub engagement: EngagementId,
    /// The invoice.
    pub draft: Draft,
}

/// An invoice that generation made, or found made already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// Issued.
    Issued(InvoiceId),
    /// Somebody billed this period first.
    AlreadyBilled,
}

/// Issues planned invoices, all of it set-wise: periods, drafts with their lines, and what [`issuing::issue`] does. The
/// result is in the order of `plan`.
///
/// # Errors
/// When the database is away or a guard refuses; nothing has happened then, once the caller rolls back.
pub async fn issue(
    conn: &mut PgConnection,
    firm: &FirmContext,
    plan: Vec<PlannedInvoice>,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<Vec<Generated>> {
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let won = claim_periods(conn, firm.id, &plan).await?;
    let result = plan
        .iter()
        .map(|planned| {
            if won.contains(&planned.draft.id.0) {
                Generated::Issued(planned.draft.id)
            } else {
                Generated::AlreadyBilled
            }
        })
        .collect();
    let drafts: Vec<Draft> = plan
        .into_iter()
        .map(|planned| planned.draft)
        .filter(|draft| won.contains(&draft.id.0))
        .collect();
    issuing::insert_drafts(conn, firm.id, &drafts).await?;
    let ids: Vec<InvoiceId> = drafts.iter().map(|draft| draft.id).collect();
    let by = By {
        actor: &Actor::System,
        cause,
        at: now,
    };
    issuing::issue(conn, firm, &ids, &by).await?;
    Ok(result)
}

/// Bills the periods that nobody has billed yet: each invoice whose id comes back owns its period. After a void and its
/// release a period has a row already, and gets another one with the next number.
async fn claim_periods(
    conn: &mut PgConnection,
    firm: FirmId,
    plan: &[PlannedInvoice],
) -> Result<std::collections::HashSet<Uuid>> {
    let engagements: Vec<Uuid> = plan.iter().map(|p| p.engagement.0).collect();
    let starts: Vec<NaiveDate> = plan.iter().map(|p| p.start).collect();
    let ends: Vec<NaiveDate> = plan.iter().map(|p| p.end).collect();
    let ids: Vec<Uuid> = plan.iter().map(|p| p.draft.id.0).collect();
    let derivations: Vec<Value> = plan.iter().map(|p| p.derivation.clone()).collect();
    Ok(sqlx::query_scalar!(
        "insert into billing_periods (firm_id, engagement_id, period_start, period_end, generation, invoice_id, derivation)
         select $1, p.engagement, p.starts, p.ends,
                1 + coalesce((select max(b.generation) from billing_periods b
                               where b.firm_id = $1 and b.engagement_id = p.engagement and b.period_start = p.starts), 0),
                p.invoice, p.derivation
         from unnest($2::uuid[], $3::date[], $4::date[], $5::uuid[], $6::jsonb[])
           as p(engagement, starts, ends, invoice, derivation)
         on conflict do nothing returning invoice_id",
        firm.0,
        &engagements,
        &starts,
        &ends,
        &ids,
        &derivations
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .collect())
}

/// The invoices that a job issued, over all its runs.
///
/// # Errors
/// When the database is away.
pub async fn issued_by(conn: &mut PgConnection, firm: FirmId, job: JobId) -> Result<Vec<InvoiceId>> {
    Ok(sqlx::query_scalar!(
        r#"select subject_id as "id!" from audit_events
           where firm_id = $1 and cause_id = $2 and action = 'invoice.issued' order by id"#,
        firm.0,
        job.to_string()
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(InvoiceId)
    .collect())
}
