//! Package generation in sets: engagements in, issued invoices with lines, cycles, jobs and audit rows out.
//!
//! The unreleased row in `billing_periods` is what makes an invoice exist once, however many generators run.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::Cause,
    cycles,
    error::{Error, Result},
};
use crate::{
    currency::Currency,
    ids::{ClientId, CycleId, EngagementId, FirmId, InvoiceId, JobId},
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
    /// Copied onto each cycle.
    pub retry_policy: Value,
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
                  payment_terms_days, retry_policy, (invoicing_paused_at is not null or parked_reason is not null) as "paused!"
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
        retry_policy: row.retry_policy,
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
    /// The client's Stripe customer.
    pub customer: Option<String>,
    /// The client pays automatically.
    pub autopay: bool,
    /// The client is parked.
    pub client_parked: bool,
    /// `package` or `mixed`.
    pub pricing_mode: String,
    /// `draft`, `signed`, `ended`, `canceled`.
    pub status: String,
    /// Per period.
    pub fee: Money,
    /// `monthly` …
    pub cadence: String,
    /// `calendar` or `anniversary`.
    pub anchor: String,
    /// `full_fee` or `daily`.
    pub proration: String,
    /// `on_issue` or `on_due`.
    pub charge_timing: String,
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after, if it ends.
    pub ends_on: Option<NaiveDate>,
    /// Unreleased periods billed for it.
    pub billed: Vec<(NaiveDate, NaiveDate)>,
    /// Unreleased periods billed for other versions of the same lineage.
    pub lineage_billed: Vec<(NaiveDate, NaiveDate)>,
}

/// The next engagements with a package, by id, locked against a change of their terms until the transaction ends.
///
/// # Errors
/// When the database is away.
pub async fn engagements_after(
    conn: &mut PgConnection,
    firm: FirmId,
    after: Option<EngagementId>,
    most: i64,
) -> Result<Vec<EngagementRow>> {
    let rows = sqlx::query!(
        r#"select e.id, coalesce(e.external_id, e.id::text) as "label!", e.client_id, e.lineage_id, e.pricing_mode, e.status,
                  e.currency::text as "currency!", e.package_fee_minor as "fee!", e.cadence as "cadence!", e.period_anchor, e.proration,
                  e.charge_timing, e.starts_on, e.ends_on, cl.stripe_customer_id, cl.autopay_enabled,
                  cl.parked_reason is not null as "client_parked!"
           from engagements e join clients cl on cl.firm_id = e.firm_id and cl.id = e.client_id
           where e.firm_id = $1 and e.id > $2 and e.pricing_mode in ('package', 'mixed') and e.status <> 'canceled'
           order by e.id limit $3 for share of e"#,
        firm.0,
        after.map_or(Uuid::nil(), |id| id.0),
        most
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
                customer: r.stripe_customer_id,
                autopay: r.autopay_enabled,
                client_parked: r.client_parked,
                pricing_mode: r.pricing_mode,
                status: r.status,
                fee: Money::new(r.fee, currency),
                cadence: r.cadence,
                anchor: r.period_anchor,
                proration: r.proration,
                charge_timing: r.charge_timing,
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
    /// For this engagement.
    pub engagement: EngagementId,
    /// To this client.
    pub client: ClientId,
    /// The client's Stripe customer.
    pub customer: Option<String>,
    /// `package` or `mixed`.
    pub source: String,
    /// First day billed.
    pub start: NaiveDate,
    /// First day not billed.
    pub end: NaiveDate,
    /// The package fee.
    pub amount: Money,
    /// How the amount came about.
    pub derivation: Value,
    /// Collect it automatically.
    pub autopay: bool,
    /// Not at once, but when it is due.
    pub charge_on_due: bool,
}

/// An invoice that generation made, or found made already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// Issued.
    Issued(InvoiceId),
    /// Somebody billed this period first.
    AlreadyBilled,
}

/// Issues planned invoices, all of it set-wise: periods, numbers, invoices, lines, cycles, first jobs, audit. The result
/// is in the order of `plan`.
///
/// # Errors
/// When the database is away or a guard refuses; nothing has happened then, once the caller rolls back.
pub async fn issue(
    conn: &mut PgConnection,
    firm: &FirmContext,
    plan: &[PlannedInvoice],
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<Vec<Generated>> {
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = plan.iter().map(|_| InvoiceId::new().0).collect();
    let won = claim_periods(conn, firm.id, plan, &ids).await?;
    let result = ids
        .iter()
        .map(|id| {
            if won.contains(id) {
                Generated::Issued(InvoiceId(*id))
            } else {
                Generated::AlreadyBilled
            }
        })
        .collect();
    let made: Vec<(&PlannedInvoice, Uuid)> = plan
        .iter()
        .zip(ids.iter().copied())
        .filter(|(_, id)| won.contains(id))
        .collect();
    if !made.is_empty() {
        insert_invoices(conn, firm, &made, now).await?;
        insert_cycles(conn, firm, &made, now).await?;
        audit_issued(conn, firm, &made, now, cause).await?;
    }
    Ok(result)
}

async fn claim_periods(
    conn: &mut PgConnection,
    firm: FirmId,
    plan: &[PlannedInvoice],
    ids: &[Uuid],
) -> Result<std::collections::HashSet<Uuid>> {
    let engagements: Vec<Uuid> = plan.iter().map(|p| p.engagement.0).collect();
    let starts: Vec<NaiveDate> = plan.iter().map(|p| p.start).collect();
    let ends: Vec<NaiveDate> = plan.iter().map(|p| p.end).collect();
    let derivations: Vec<Value> = plan.iter().map(|p| p.derivation.clone()).collect();
    Ok(sqlx::query_scalar!(
        "insert into billing_periods (firm_id, engagement_id, period_start, period_end, invoice_id, derivation)
         select $1, * from unnest($2::uuid[], $3::date[], $4::date[], $5::uuid[], $6::jsonb[])
         on conflict do nothing returning invoice_id",
        firm.0,
        &engagements,
        &starts,
        &ends,
        ids,
        &derivations
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .collect())
}

/// Takes `count` numbers of a firm's series and returns the first.
///
/// # Errors
/// When the database is away.
pub async fn take_numbers(conn: &mut PgConnection, firm: FirmId, prefix: &str, count: i64) -> Result<i64> {
    let last = sqlx::query_scalar!(
        "insert into invoice_counters (firm_id, prefix, last) values ($1, $2, $3)
         on conflict (firm_id, prefix) do update set last = invoice_counters.last + excluded.last returning last",
        firm.0,
        prefix,
        count
    )
    .fetch_one(conn)
    .await?;
    Ok(last - count + 1)
}

async fn insert_invoices(
    conn: &mut PgConnection,
    firm: &FirmContext,
    made: &[(&PlannedInvoice, Uuid)],
    now: DateTime<Utc>,
) -> Result<()> {
    let ids: Vec<Uuid> = made.iter().map(|(_, id)| *id).collect();
    let clients: Vec<Uuid> = made.iter().map(|(p, _)| p.client.0).collect();
    let engagements: Vec<Uuid> = made.iter().map(|(p, _)| p.engagement.0).collect();
    let sources: Vec<String> = made.iter().map(|(p, _)| p.source.clone()).collect();
    let currencies: Vec<String> = made
        .iter()
        .map(|(p, _)| p.amount.currency().as_str().to_owned())
        .collect();
    let amounts: Vec<i64> = made.iter().map(|(p, _)| p.amount.minor()).collect();
    let autopay: Vec<bool> = made.iter().map(|(p, _)| p.autopay).collect();
    let derivations: Vec<Value> = made.iter().map(|(p, _)| p.derivation.clone()).collect();
    let line_ids: Vec<Uuid> = made.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query!(
        "insert into invoices (firm_id, id, client_id, engagement_id, source, currency, subtotal_minor, autopay_opt_in)
         select $1, i.id, i.client, i.engagement, i.source, i.currency, i.amount, i.autopay
         from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::bool[])
           as i(id, client, engagement, source, currency, amount, autopay)",
        firm.id.0,
        &ids,
        &clients,
        &engagements,
        &sources,
        &currencies,
        &amounts,
        &autopay,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, description_code, amount_minor, derivation)
         select $1, l.id, l.invoice, 1, 'package_fee', 'package_fee', l.amount, l.derivation
         from unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::jsonb[]) as l(id, invoice, amount, derivation)",
        firm.id.0,
        &line_ids,
        &ids,
        &amounts,
        &derivations,
    )
    .execute(&mut *conn)
    .await?;
    let first = take_numbers(
        conn,
        firm.id,
        "PKG",
        i64::try_from(made.len()).unwrap_or(i64::MAX),
    )
    .await?;
    let numbers: Vec<String> = (first..)
        .take(made.len())
        .map(|n| number("PKG", firm.number, n))
        .collect();
    sqlx::query!(
        "update invoices i set doc_state = 'issued', number = n.number, issue_date = $4, due_date = $4::date + $5::int, issued_at = $6
         from unnest($2::uuid[], $3::text[]) as n(id, number) where i.firm_id = $1 and i.id = n.id",
        firm.id.0,
        &ids,
        &numbers,
        firm.today,
        firm.payment_terms_days,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An invoice number: series, firm, running number. Unique over all firms.
#[must_use]
pub fn number(prefix: &str, firm_number: i64, n: i64) -> String {
    format!("{prefix}-{firm_number:04}-{n:06}")
}

async fn insert_cycles(
    conn: &mut PgConnection,
    firm: &FirmContext,
    made: &[(&PlannedInvoice, Uuid)],
    now: DateTime<Utc>,
) -> Result<()> {
    let collected: Vec<&(&PlannedInvoice, Uuid)> = made
        .iter()
        .filter(|(p, _)| p.autopay && p.amount.is_positive())
        .collect();
    if collected.is_empty() {
        return Ok(());
    }
    let cycles: Vec<Uuid> = collected.iter().map(|_| CycleId::new().0).collect();
    let invoices: Vec<Uuid> = collected.iter().map(|(_, id)| *id).collect();
    let amounts: Vec<i64> = collected.iter().map(|(p, _)| p.amount.minor()).collect();
    let currencies: Vec<String> = collected
        .iter()
        .map(|(p, _)| p.amount.currency().as_str().to_owned())
        .collect();
    let on_due: Vec<bool> = collected.iter().map(|(p, _)| p.charge_on_due).collect();
    let jobs: Vec<Uuid> = collected.iter().map(|_| JobId::new().0).collect();
    let order_keys: Vec<String> = collected
        .iter()
        .map(|(p, _)| cycles::order_key(p.customer.as_deref(), p.client))
        .collect();
    sqlx::query!(
        "with wanted as (
           select w.*, case when w.on_due then greatest($2, i.due_date::timestamp at time zone f.timezone) else $2 end as at
           from unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::text[], $7::bool[], $8::uuid[], $9::text[])
             as w(cycle, invoice, amount, currency, on_due, job, order_key)
           join invoices i on i.firm_id = $1 and i.id = w.invoice join firms f on f.id = $1),
         cycles as (
           insert into collection_cycles (firm_id, id, invoice_id, seq, amount_minor, currency, state, next_attempt_at, policy)
           select $1, cycle, invoice, 1, amount, currency, 'scheduled', at, $10 from wanted),
         due as (
           update invoices i set autopay_next_charge_at = w.at from wanted w where i.firm_id = $1 and i.id = w.invoice)
         insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, run_at, created_at)
         select job, $1, 'charges', $11, cycle::text || ':v1', order_key, jsonb_build_object('cycle_id', cycle), at, $2 from wanted",
        firm.id.0,
        now,
        &cycles,
        &invoices,
        &amounts,
        &currencies,
        &on_due,
        &jobs,
        &order_keys,
        firm.retry_policy,
        cycles::COLLECT,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn audit_issued(
    conn: &mut PgConnection,
    firm: &FirmContext,
    made: &[(&PlannedInvoice, Uuid)],
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<()> {
    let ids: Vec<Uuid> = made.iter().map(|(_, id)| *id).collect();
    let metas: Vec<Value> = made
        .iter()
        .map(|(p, _)| {
            json!({"engagement": p.engagement, "period": {"start": p.start, "end": p.end}, "total_minor": p.amount.minor(),
                   "currency": p.amount.currency().as_str()})
        })
        .collect();
    sqlx::query!(
        "insert into audit_events (firm_id, at, action, actor_kind, subject_kind, subject_id, cause_kind, cause_id, meta)
         select $1, $2, 'invoice.issued', 'system', 'invoice', a.id, $3, $4, a.meta from unnest($5::uuid[], $6::jsonb[]) as a(id, meta)",
        firm.id.0,
        now,
        cause.kind,
        cause.id,
        &ids,
        &metas,
    )
    .execute(conn)
    .await?;
    Ok(())
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
