//! A run of generation over one firm: the same code for the dry run, the job and the plan's hash.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    domain::{
        generate::{Approval, PlanItem, Planned, PricingMode, plan},
        import::LineKind,
        period::{Fee, Period},
    },
    ids::{EngagementId, InvoiceId},
    money::Money,
    store::{
        self,
        audit::Cause,
        billable_time::{self, Billable, Window},
        decisions::{self, Decision},
        generation::{self, EngagementRow, FirmContext, Generated, PlannedInvoice},
        issuing::{Basis, Draft, DraftLine, Source},
    },
};
use sqlx::PgConnection;

/// Engagements per transaction: short enough not to hold locks for long, long enough to share the commit.
pub const CHUNK: i64 = 500;

/// First and last day of a period, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// First day.
    pub start: NaiveDate,
    /// First day no longer in it.
    pub end: NaiveDate,
}

/// An invoice that a run made, or would make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bill {
    /// The invoice, in a real run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice: Option<InvoiceId>,
    /// The engagement, by its `external_id` where it has one.
    pub engagement: String,
    /// What it bills.
    pub period: Days,
    /// Total in minor units.
    pub total_minor: i64,
    /// What of it is for what.
    pub lines: Vec<KindSum>,
    /// Its currency.
    pub currency: String,
    /// What a person should look at before it goes out.
    pub warnings: Vec<serde_json::Value>,
}

/// What the lines of one kind come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSum {
    /// `package_fee`, `hourly` or `adjustment`.
    pub kind: LineKind,
    /// How many lines.
    pub count: usize,
    /// How long, of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<i64>,
    /// What they come to.
    pub amount_minor: i64,
}

impl KindSum {
    /// One sum for each kind among the lines, in the order of the kinds.
    pub fn of(lines: &[DraftLine]) -> Vec<Self> {
        LineKind::ALL
            .iter()
            .filter_map(|kind| {
                let lines: Vec<&DraftLine> = lines.iter().filter(|line| line.kind == *kind).collect();
                let minutes: Vec<i64> = lines
                    .iter()
                    .filter_map(|line| line.time.map(|time| i64::from(time.minutes)))
                    .collect();
                (!lines.is_empty()).then(|| Self {
                    kind: *kind,
                    count: lines.len(),
                    minutes: (!minutes.is_empty()).then(|| minutes.iter().sum()),
                    amount_minor: lines.iter().map(|line| line.amount.minor()).sum(),
                })
            })
            .collect()
    }
}

/// An engagement, or a period of it, that is not billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The engagement, by its `external_id` where it has one.
    pub engagement: String,
    /// Which period, where the reason is not the engagement's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Days>,
    /// Why.
    pub reason_code: String,
}

/// What a run did, or would do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Billed.
    pub bills: Vec<Bill>,
    /// Not billed.
    pub skipped: Vec<Skip>,
    /// What the hash of the plan is made of.
    #[serde(skip)]
    pub items: Vec<PlanItem>,
}

impl Report {
    /// Adds another's.
    pub fn extend(&mut self, other: Report) {
        self.bills.extend(other.bills);
        self.skipped.extend(other.skipped);
        self.items.extend(other.items);
    }
}

/// What a run is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The firm's local date to plan for; its today unless told.
    pub as_of: Option<NaiveDate>,
    /// How much may be billed in arrears.
    pub approval: Approval,
}

/// Plans and issues the next [`CHUNK`] engagements of a firm in the caller's transaction, which a dry run rolls back.
/// Returns the last engagement looked at, `None` when there were no more.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn chunk(
    conn: &mut PgConnection,
    firm: &FirmContext,
    order: Order,
    after: Option<EngagementId>,
    now: DateTime<Utc>,
    cause: &Cause,
) -> store::Result<(Option<EngagementId>, Report)> {
    let rows = generation::engagements_after(conn, firm.id, after, CHUNK).await?;
    let last = rows.last().map(|r| r.id);
    let as_of = order.as_of.unwrap_or(firm.today);
    let mut wanted = Wanted::default();
    let mut time = unbilled_time(conn, firm, &rows).await?;
    for row in in_order_of_start(&rows) {
        let time = time.remove(&row.id).unwrap_or_default();
        wanted.plan(row, &time, firm, as_of, order.approval)?;
    }
    let invoices = std::mem::take(&mut wanted.invoices);
    let generated = generation::issue(conn, firm, invoices, now, cause).await?;
    let report = wanted.report(&generated);
    record(conn, firm, now, &rows, &wanted, &report, cause).await?;
    Ok((last, report))
}

/// Time that may be billed, by engagement. It is locked: before any period is claimed, as by everybody who bills time.
async fn unbilled_time(
    conn: &mut PgConnection,
    firm: &FirmContext,
    rows: &[EngagementRow],
) -> store::Result<HashMap<EngagementId, Vec<Billable>>> {
    let engagements: Vec<EngagementId> = rows
        .iter()
        .filter(|row| row.bills_time())
        .map(|row| row.id)
        .collect();
    let mut by_engagement: HashMap<EngagementId, Vec<Billable>> = HashMap::new();
    for entry in billable_time::lock_billable(conn, firm.id, &engagements, Window::default()).await? {
        by_engagement.entry(entry.engagement).or_default().push(entry);
    }
    Ok(by_engagement)
}

/// Versions of one lineage in order of their start: what the earlier one bills, the later one must not.
fn in_order_of_start(rows: &[EngagementRow]) -> Vec<&EngagementRow> {
    let mut rows: Vec<&EngagementRow> = rows.iter().collect();
    rows.sort_by_key(|r| (r.starts_on, r.id));
    rows
}

/// The plan of a chunk.
#[derive(Default)]
struct Wanted {
    invoices: Vec<PlannedInvoice>,
    bills: Vec<Bill>,
    items: Vec<PlanItem>,
    skipped: Vec<Skip>,
    /// Subject, outcome, reason and predicates of each decision.
    decided: Vec<(EngagementId, &'static str, String, serde_json::Value)>,
    /// Planned in this chunk, by lineage.
    planned: HashMap<uuid::Uuid, Vec<(EngagementId, NaiveDate, NaiveDate)>>,
}

impl Wanted {
    fn plan(
        &mut self,
        row: &EngagementRow,
        time: &[Billable],
        firm: &FirmContext,
        as_of: NaiveDate,
        approval: Approval,
    ) -> store::Result<()> {
        let planned = self.planned.get(&row.lineage).into_iter().flatten();
        let of_others = planned.filter(|p| p.0 != row.id).map(|p| (p.1, p.2));
        let facts = row.facts(time, firm, of_others)?;
        let plan = plan(&facts, as_of, approval);
        let predicates = json!(plan.predicates);
        for planned in plan.planned {
            match planned {
                Planned::Bill {
                    period,
                    fee,
                    hours,
                    total,
                    warnings,
                } => {
                    let hours: Vec<&Billable> = hours.iter().filter_map(|place| time.get(*place)).collect();
                    let invoice = invoice(row, facts.mode, period, fee, &hours);
                    self.planned
                        .entry(row.lineage)
                        .or_default()
                        .push((row.id, period.start, period.end));
                    self.items.push(PlanItem {
                        engagement: row.id.to_string(),
                        period_start: period.start,
                        period_end: period.end,
                        total,
                    });
                    self.bills.push(Bill {
                        invoice: None,
                        engagement: row.label.clone(),
                        period: Days {
                            start: period.start,
                            end: period.end,
                        },
                        total_minor: total.minor(),
                        lines: KindSum::of(&invoice.draft.lines),
                        currency: total.currency().as_str().to_owned(),
                        warnings: warnings.iter().map(|w| json!(w)).collect(),
                    });
                    self.invoices.push(invoice);
                    self.decided
                        .push((row.id, "bill", "due".into(), predicates.clone()));
                }
                Planned::Skip { period, reason } => {
                    self.skipped.push(Skip {
                        engagement: row.label.clone(),
                        period: period.map(|p| Days {
                            start: p.start,
                            end: p.end,
                        }),
                        reason_code: reason.as_str().to_owned(),
                    });
                    self.decided
                        .push((row.id, "skip", reason.as_str().to_owned(), predicates.clone()));
                }
            }
        }
        Ok(())
    }

    /// What came of it: a period that somebody else billed in between is skipped, not an error.
    fn report(&self, generated: &[Generated]) -> Report {
        let mut report = Report {
            bills: Vec::new(),
            skipped: self.skipped.clone(),
            items: self.items.clone(),
        };
        for (bill, generated) in self.bills.iter().zip(generated) {
            match generated {
                Generated::Issued(id) => report.bills.push(Bill {
                    invoice: Some(*id),
                    ..bill.clone()
                }),
                Generated::AlreadyBilled => report.skipped.push(Skip {
                    engagement: bill.engagement.clone(),
                    period: Some(bill.period),
                    reason_code: "already_billed".into(),
                }),
            }
        }
        report
    }
}

/// The invoice that a line of the plan calls for: the fee, then the hours by day worked.
fn invoice(
    row: &EngagementRow,
    mode: PricingMode,
    period: Period,
    fee: Option<Fee>,
    hours: &[&Billable],
) -> PlannedInvoice {
    let derivation = fee.as_ref().map_or_else(
        || json!({"index": period.index, "start": period.start, "end": period.end, "in_arrears": true, "entries": hours.len()}),
        |fee| fee.derivation.clone(),
    );
    let fee_line = fee.map(|fee| DraftLine {
        kind: LineKind::PackageFee,
        code: "package_fee".to_owned(),
        amount: fee.amount,
        time: None,
        derivation: fee.derivation,
    });
    PlannedInvoice {
        start: period.start,
        end: period.end,
        derivation,
        engagement: row.id,
        draft: Draft {
            id: InvoiceId::new(),
            external_id: None,
            client: row.client,
            basis: Basis::Engagement(row.id),
            project: None,
            source: match mode {
                PricingMode::Package => Source::Package,
                PricingMode::Hourly => Source::Hourly,
                PricingMode::Mixed => Source::Mixed,
            },
            currency: row.fee.currency(),
            dates: None,
            autopay: row.autopay,
            tax: Money::zero(row.fee.currency()),
            lines: fee_line
                .into_iter()
                .chain(hours.iter().map(|entry| entry.line()))
                .collect(),
        },
    }
}

/// Records why each engagement was billed or not. What is merely not due, or billed already, says so once a chunk has
/// something else to say about it too: a nightly run over thousands of settled engagements writes nothing.
async fn record(
    conn: &mut PgConnection,
    firm: &FirmContext,
    now: DateTime<Utc>,
    rows: &[EngagementRow],
    wanted: &Wanted,
    report: &Report,
    cause: &Cause,
) -> store::Result<()> {
    let mut seen = std::collections::HashSet::new();
    let first_time: std::collections::HashSet<EngagementId> = rows
        .iter()
        .filter(|r| r.billed.is_empty())
        .map(|r| r.id)
        .collect();
    let decisions: Vec<Decision<'_>> = wanted
        .decided
        .iter()
        .filter(|(id, _, reason, _)| reason != "already_billed" || first_time.contains(id))
        .filter(|(id, outcome, reason, _)| seen.insert((*id, *outcome, reason.as_str())))
        .map(|(id, outcome, reason, predicates)| Decision {
            subject_kind: "engagement",
            subject: id.0,
            kind: "generate_package",
            outcome,
            reason_code: reason,
            predicates: predicates.clone(),
            cause,
        })
        .collect();
    if decisions.is_empty() && report.bills.is_empty() {
        return Ok(());
    }
    decisions::record_all(conn, firm.id, now, &decisions).await
}
