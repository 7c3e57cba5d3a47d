//! From drafts to issued invoices, in sets: whoever makes invoices (generation, an import, a command) does it with these
//! steps, so that each of them exists once.
//!
//! Draft ([`insert_drafts`]); then [`issue`]: number and freeze, audit, and collect what is open by card. The ledger posts by
//! trigger.

use chrono::NaiveDate;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, By},
    collection_start,
    error::{Error, Result},
    generation::FirmContext,
};
use crate::{
    currency::Currency,
    domain::{import::LineKind, words::word_enum},
    ids::{ClientId, EngagementId, FirmId, InvoiceId, TimeEntryId, UserId},
    money::{Money, MoneyError},
};

word_enum!(
    /// What made an invoice.
    Source, "source":
    /// A package fee fell due.
    Package = "package",
    /// Hours were billed.
    Hourly = "hourly",
    /// A package fee fell due, and the hours with it.
    Mixed = "mixed",
    /// A person said what it comes to.
    Manual = "manual",
    /// An import brought it in.
    Import = "import",
);

/// The series of invoices that bill a lost dispute again, whatever made the one that was disputed.
const REBILLED: &str = "RB";

impl Source {
    /// The series of its numbers, in which a firm's invoices have no gap.
    fn series(self) -> &'static str {
        match self {
            Self::Package | Self::Mixed => "PKG",
            Self::Hourly => "HRS",
            Self::Manual => "MAN",
            Self::Import => "INV",
        }
    }
}

/// An invoice to be.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its id.
    pub id: InvoiceId,
    /// What documents call it.
    pub external_id: Option<String>,
    /// Who pays.
    pub client: ClientId,
    /// What it is based on.
    pub basis: Basis,
    /// The project that it belongs to, where there is one.
    pub project: Option<Uuid>,
    /// What made it.
    pub source: Source,
    /// Currency of all its amounts.
    pub currency: Currency,
    /// Date of issue and date due; the firm's today and its terms of payment unless given.
    pub dates: Option<(NaiveDate, NaiveDate)>,
    /// Collect it by card.
    pub autopay: bool,
    /// Tax on top of its lines, as somebody has worked it out: never negative, zero unless said (A-12).
    pub tax: Money,
    /// What it is made up of.
    pub lines: Vec<DraftLine>,
}

/// What an invoice is based on.
#[derive(Clone, Debug)]
pub enum Basis {
    /// The terms agreed with the client.
    Engagement(EngagementId),
    /// An owner or admin of the firm, who said why there are none.
    Override {
        /// Who.
        by: UserId,
        /// Why.
        reason: String,
    },
}

/// A line to be.
#[derive(Clone, Debug)]
pub struct DraftLine {
    /// What for.
    pub kind: LineKind,
    /// A code that stands for the text.
    pub code: String,
    /// How much.
    pub amount: Money,
    /// The time that it bills.
    pub time: Option<TimeOnLine>,
    /// Enough to recompute the amount.
    pub derivation: Value,
}

/// Time on a line: what was approved, repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOnLine {
    /// Which.
    pub id: TimeEntryId,
    /// How long.
    pub minutes: i32,
    /// Per hour.
    pub rate_minor: i64,
}

impl Draft {
    /// The sum of its lines.
    ///
    /// # Errors
    /// When it does not fit, or a line is in another currency.
    pub fn subtotal(&self) -> std::result::Result<Money, MoneyError> {
        self.lines
            .iter()
            .try_fold(Money::zero(self.currency), |sum, line| {
                sum.checked_add(line.amount)
            })
    }

    /// What it comes to: its lines and the tax.
    ///
    /// # Errors
    /// As for the sum of its lines.
    pub fn total(&self) -> std::result::Result<Money, MoneyError> {
        self.subtotal()?.checked_add(self.tax)
    }
}

/// Writes drafts and their lines.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn insert_drafts(conn: &mut PgConnection, firm: FirmId, drafts: &[Draft]) -> Result<()> {
    if drafts.is_empty() {
        return Ok(());
    }
    insert_invoices(conn, firm, drafts).await?;
    insert_lines(conn, firm, drafts).await
}

async fn insert_invoices(conn: &mut PgConnection, firm: FirmId, drafts: &[Draft]) -> Result<()> {
    /// Who overrides the engagement, and why.
    fn overrider(draft: &Draft) -> Option<(UserId, &str)> {
        match &draft.basis {
            Basis::Engagement(_) => None,
            Basis::Override { by, reason } => Some((*by, reason)),
        }
    }
    let ids: Vec<Uuid> = drafts.iter().map(|d| d.id.0).collect();
    let names: Vec<Option<String>> = drafts.iter().map(|d| d.external_id.clone()).collect();
    let clients: Vec<Uuid> = drafts.iter().map(|d| d.client.0).collect();
    let engagements: Vec<Option<Uuid>> = drafts
        .iter()
        .map(|d| match &d.basis {
            Basis::Engagement(id) => Some(id.0),
            Basis::Override { .. } => None,
        })
        .collect();
    let overriders: Vec<Option<String>> = drafts
        .iter()
        .map(|d| overrider(d).map(|(by, _)| by.to_string()))
        .collect();
    let reasons: Vec<Option<String>> = drafts
        .iter()
        .map(|d| overrider(d).map(|(_, reason)| reason.to_owned()))
        .collect();
    let projects: Vec<Option<Uuid>> = drafts.iter().map(|d| d.project).collect();
    let sources: Vec<String> = drafts.iter().map(|d| d.source.as_str().to_owned()).collect();
    let currencies: Vec<String> = drafts.iter().map(|d| d.currency.as_str().to_owned()).collect();
    let issue_dates: Vec<Option<NaiveDate>> = drafts.iter().map(|d| d.dates.map(|(on, _)| on)).collect();
    let due_dates: Vec<Option<NaiveDate>> = drafts.iter().map(|d| d.dates.map(|(_, due)| due)).collect();
    let subtotals: Vec<i64> = drafts
        .iter()
        .map(|d| Ok(d.subtotal().map_err(Error::corrupt)?.minor()))
        .collect::<Result<_>>()?;
    let autopay: Vec<bool> = drafts.iter().map(|d| d.autopay).collect();
    let taxes: Vec<i64> = drafts.iter().map(|d| d.tax.minor()).collect();
    sqlx::query!(
        "insert into invoices (firm_id, id, external_id, client_id, engagement_id, engagement_override, engagement_override_by,
                               engagement_override_reason, project_id, source, currency, issue_date, due_date, subtotal_minor,
                               autopay_opt_in, tax_minor)
         select $1, i.id, i.name, i.client, i.engagement, i.overrider is not null, i.overrider, i.reason, i.project, i.source,
                i.currency, i.issued, i.due, i.subtotal, i.autopay, i.tax
         from unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::uuid[], $9::text[], $10::text[],
                     $11::date[], $12::date[], $13::bigint[], $14::bool[], $15::bigint[])
           as i(id, name, client, engagement, overrider, reason, project, source, currency, issued, due, subtotal, autopay, tax)",
        firm.0,
        &ids,
        &names as &[Option<String>],
        &clients,
        &engagements as &[Option<Uuid>],
        &overriders as &[Option<String>],
        &reasons as &[Option<String>],
        &projects as &[Option<Uuid>],
        &sources,
        &currencies,
        &issue_dates as &[Option<NaiveDate>],
        &due_dates as &[Option<NaiveDate>],
        &subtotals,
        &autopay,
        &taxes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_lines(conn: &mut PgConnection, firm: FirmId, drafts: &[Draft]) -> Result<()> {
    let lines: Vec<(Uuid, i32, &DraftLine)> = drafts
        .iter()
        .flat_map(|draft| {
            (1..)
                .zip(&draft.lines)
                .map(move |(place, line)| (draft.id.0, place, line))
        })
        .collect();
    let time = |line: &DraftLine| line.time;
    let ids: Vec<Uuid> = lines.iter().map(|_| Uuid::now_v7()).collect();
    let invoices: Vec<Uuid> = lines.iter().map(|(invoice, ..)| *invoice).collect();
    let places: Vec<i32> = lines.iter().map(|(_, place, _)| *place).collect();
    let kinds: Vec<String> = lines.iter().map(|(.., l)| l.kind.as_str().to_owned()).collect();
    let codes: Vec<String> = lines.iter().map(|(.., l)| l.code.clone()).collect();
    let amounts: Vec<i64> = lines.iter().map(|(.., l)| l.amount.minor()).collect();
    let entries: Vec<Option<Uuid>> = lines.iter().map(|(.., l)| time(l).map(|t| t.id.0)).collect();
    let minutes: Vec<Option<i32>> = lines.iter().map(|(.., l)| time(l).map(|t| t.minutes)).collect();
    let rates: Vec<Option<i64>> = lines
        .iter()
        .map(|(.., l)| time(l).map(|t| t.rate_minor))
        .collect();
    let derivations: Vec<Value> = lines.iter().map(|(.., l)| l.derivation.clone()).collect();
    sqlx::query!(
        "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, description_code, amount_minor, time_entry_id,
                                    quantity_minutes, rate_minor, derivation)
         select $1, l.id, l.invoice, l.place, l.kind, l.code, l.amount, l.entry, l.minutes, l.rate, l.derivation
         from unnest($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::bigint[], $8::uuid[], $9::int[], $10::bigint[],
                     $11::jsonb[])
           as l(id, invoice, place, kind, code, amount, entry, minutes, rate, derivation)",
        firm.0,
        &ids,
        &invoices,
        &places,
        &kinds,
        &codes,
        &amounts,
        &entries as &[Option<Uuid>],
        &minutes as &[Option<i32>],
        &rates as &[Option<i64>],
        &derivations,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What issuing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Issued {
    /// How many of them are being collected by card.
    pub collections_started: u64,
}

/// Issues drafts of this transaction, or drafts that it has locked, in this order.
///
/// # Errors
/// When the database is away or a guard refuses, also because one of them is no draft.
pub async fn issue(
    conn: &mut PgConnection,
    firm: &FirmContext,
    drafts: &[InvoiceId],
    by: &By<'_>,
) -> Result<Issued> {
    if drafts.is_empty() {
        return Ok(Issued::default());
    }
    number(conn, firm, drafts, by).await?;
    note_issued(conn, firm.id, drafts, by).await?;
    // Whatever lowers the open balance at once belongs here: a card is charged for what is left.
    let collections_started = collection_start::start_fresh(conn, firm.id, drafts, by).await?;
    Ok(Issued { collections_started })
}

/// Gives each draft the next number of its series and the dates that it lacks; from here on it is frozen.
async fn number(
    conn: &mut PgConnection,
    firm: &FirmContext,
    drafts: &[InvoiceId],
    by: &By<'_>,
) -> Result<()> {
    let ids: Vec<Uuid> = drafts.iter().map(|id| id.0).collect();
    let mut by_series: std::collections::BTreeMap<&'static str, Vec<Uuid>> =
        std::collections::BTreeMap::new();
    let sources = sqlx::query!(
        r#"select i.id, i.source, i.rebills_dispute_id is not null as "rebills!" from unnest($2::uuid[]) with ordinality as n(id, nth)
           join invoices i on i.firm_id = $1 and i.id = n.id order by n.nth"#,
        firm.id.0,
        &ids
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in sources {
        let source: Source = row.source.parse().map_err(Error::corrupt)?;
        let series = if row.rebills { REBILLED } else { source.series() };
        by_series.entry(series).or_default().push(row.id);
    }
    let (mut numbered, mut numbers) = (Vec::new(), Vec::new());
    for (series, ids) in by_series {
        let first = take_numbers(
            conn,
            firm.id,
            series,
            i64::try_from(ids.len()).unwrap_or(i64::MAX),
        )
        .await?;
        numbers.extend(
            (first..)
                .take(ids.len())
                .map(|n| number_text(series, firm.number, n)),
        );
        numbered.extend(ids);
    }
    let done = sqlx::query!(
        "update invoices i set doc_state = 'issued', number = n.number, issued_at = $6,
                issue_date = coalesce(i.issue_date, $4), due_date = coalesce(i.due_date, coalesce(i.issue_date, $4) + $5::int)
         from unnest($2::uuid[], $3::text[]) as n(id, number)
         where i.firm_id = $1 and i.id = n.id and i.doc_state = 'draft'",
        firm.id.0,
        &numbered,
        &numbers,
        firm.today,
        firm.payment_terms_days,
        by.at,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == drafts.len() as u64 {
        Ok(())
    } else {
        Err(Error::Lost {
            what: "issue invoices",
            changed: done.rows_affected(),
        })
    }
}

/// Takes `count` numbers of a firm's series and returns the first.
async fn take_numbers(conn: &mut PgConnection, firm: FirmId, series: &str, count: i64) -> Result<i64> {
    let last = sqlx::query_scalar!(
        "insert into invoice_counters (firm_id, prefix, last) values ($1, $2, $3)
         on conflict (firm_id, prefix) do update set last = invoice_counters.last + excluded.last returning last",
        firm.0,
        series,
        count
    )
    .fetch_one(conn)
    .await?;
    Ok(last - count + 1)
}

/// An invoice number: series, firm, running number. Unique over all firms.
fn number_text(series: &str, firm_number: i64, n: i64) -> String {
    format!("{series}-{firm_number:04}-{n:06}")
}

async fn note_issued(conn: &mut PgConnection, firm: FirmId, issued: &[InvoiceId], by: &By<'_>) -> Result<()> {
    let ids: Vec<Uuid> = issued.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"select i.id, i.number, i.source, i.engagement_id, i.rebills_dispute_id, i.total_minor as "total_minor!", i.currency::text as "currency!",
                  p.period_start as "period_start?", p.period_end as "period_end?"
           from unnest($2::uuid[]) with ordinality as n(id, nth)
           join invoices i on i.firm_id = $1 and i.id = n.id
           left join billing_periods p on p.firm_id = i.firm_id and p.invoice_id = i.id and p.released_at is null
           order by n.nth"#,
        firm.0,
        &ids
    )
    .fetch_all(&mut *conn)
    .await?;
    let subjects: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let metas: Vec<Value> = rows
        .iter()
        .map(|row| {
            let period = row.period_start.zip(row.period_end);
            json!({
                "number": row.number, "source": row.source, "engagement": row.engagement_id, "total_minor": row.total_minor,
                "currency": row.currency, "rebills_dispute": row.rebills_dispute_id, "period": period.map(|(start, end)| json!({"start": start, "end": end})),
            })
        })
        .collect();
    audit::record_all(conn, firm, by, ("invoice.issued", "invoice"), &subjects, &metas).await
}
