//! Why an engagement was not invoiced for a period, from the plan that the generation job makes ([`plan`]); and all of an
//! engagement's periods.
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};

use super::{
    answer::{Answer, Checked, Decided, Link},
    charge::evidence,
    events::{effect, job_link},
    facts::{BilledPeriod, BillingFacts},
    invoice::of,
    reasons,
};
use crate::{
    domain::{
        generate::{
            Approval, EngagementFacts, EngagementStatus, Plan, Planned, PricingMode, SkipReason, plan,
        },
        period::{Period, periods},
        words::word_enum,
    },
    money::Money,
};

word_enum!(
    /// Why a period is not invoiced, where the generation job has no word for it.
    NoInvoice, "reason":
    /// The next run makes the invoice.
    InvoiceDue = "invoice_due",
    /// The invoice that billed it is void, and still holds it.
    PeriodOfVoidInvoice = "period_of_void_invoice",
    /// The engagement begins after it.
    BeforeStart = "before_start",
    /// The engagement ends before it.
    AfterEnd = "after_end",
    /// The engagement has no schedule.
    BilledOnDemand = "billed_on_demand",
);

/// Billed periods that an answer about all of an engagement lists.
const PERIODS: usize = 24;

/// Which period is meant: a month (`2026-05`), or the one that a day lies in (`2026-05-17`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedPeriod {
    /// The period that begins in the month that begins on this day, else the one that its first day lies in.
    Month(NaiveDate),
    /// The period that this day lies in.
    Day(NaiveDate),
}

/// What was given is neither a day nor a month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a month (2026-05) nor a day (2026-05-17)")]
pub struct NoPeriod(String);

impl std::str::FromStr for AskedPeriod {
    type Err = NoPeriod;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let month = || format!("{given}-01").parse().map(Self::Month);
        let asked = given.parse().map(Self::Day).or_else(|_| month());
        asked.map_err(|_| NoPeriod(given.to_owned()))
    }
}

impl AskedPeriod {
    /// Its first day, and the first day after it.
    fn days(self) -> (NaiveDate, NaiveDate) {
        match self {
            Self::Day(day) => (day, day.succ_opt().unwrap_or(NaiveDate::MAX)),
            Self::Month(first) => (
                first,
                first.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX),
            ),
        }
    }

    /// The period that is meant, where the engagement has one.
    fn of(self, facts: &EngagementFacts) -> Option<Period> {
        let (start, end) = self.days();
        let mut touched = periods(&facts.terms)
            .take_while(|period| period.start < end)
            .filter(|period| period.end > start);
        let first = touched.next()?;
        let next = touched.next().filter(|_| first.start < start);
        Some(next.unwrap_or(first))
    }

    fn label(self) -> String {
        match self {
            Self::Day(day) => day.to_string(),
            Self::Month(first) => format!("{}-{:02}", first.year(), first.month()),
        }
    }
}

/// Why a period is, or is not, invoiced.
struct Standing<'a> {
    code: &'static str,
    period: Option<Period>,
    billed: Option<&'a BilledPeriod>,
    planned: Option<Planned>,
}

/// `why-not invoice`.
#[must_use]
pub fn why_not_invoice(facts: &BillingFacts, asked: AskedPeriod, as_of: DateTime<Utc>) -> Answer {
    let plan = facts.terms.as_ref().map(|terms| planned(facts, terms));
    let standing = standing(facts, plan.as_ref(), asked);
    let why = reasons::text(standing.code);
    let verdict = match standing.billed {
        Some(billed) if billed.doc_state != "void" => format!("invoiced: on {}; {why}", billed.invoice),
        Some(_) | None => format!("not invoiced: {why}"),
    };
    let label = format!("{} {}", facts.label, asked.label());
    let mut answer = Answer::new("why-not invoice", &of("invoice", &label), verdict);
    answer.question = "why-not invoice".to_owned();
    let decided = facts.decisions.iter().find(|d| d.reason_code == standing.code);
    let since = match standing.billed {
        Some(billed) => billed.issued_at,
        None => decided.map(|d| d.first_at),
    };
    let mut names = names(facts);
    names.extend(standing.billed.map(|b| ("invoice", b.invoice.as_str())));
    answer = answer.because(standing.code, since, &names);
    if let Some(plan) = plan {
        answer.checks = plan.predicates;
        answer.checked = Some(Checked {
            at: as_of,
            decided: decided.map(|d| Decided {
                times: d.times,
                first_at: d.first_at,
            }),
        });
    }
    let touched = |start, end| move |billed: &&BilledPeriod| standing_in(billed, start, end);
    let (start, end) = standing
        .period
        .map_or_else(|| asked.days(), |period| (period.start, period.end));
    answer
        .chain(standing.period.map(|period| period_link(facts, &period)))
        .chain(standing.planned.iter().map(planned_link))
        .chain(facts.billed.iter().filter(touched(start, end)).map(billed_link))
        .chain(overlapping(facts, standing.code, standing.period))
        .chain(time_links(facts, start, end))
        .chain(around(facts))
        .evidence(decided.map(|d| format!("decision {}", d.id)))
        .evidence(evidence(&facts.audit))
        .evidence([format!("engagement {}", facts.id)])
}

/// `explain ENGAGEMENT`: its terms, what is billed of it, and what the next run would do.
#[must_use]
pub fn engagement(facts: &BillingFacts, as_of: DateTime<Utc>) -> Answer {
    let plan = facts.terms.as_ref().map(|terms| planned(facts, terms));
    let lines = plan.as_ref().map_or(&[][..], |plan| &plan.planned[..]);
    // What it bills is said first; else the first that it skips: what waits for a person comes before what is billed already.
    let bills = lines.iter().find(|line| matches!(line, Planned::Bill { .. }));
    let code = bills
        .or(lines.first())
        .map_or(NoInvoice::BilledOnDemand.as_str(), code_of);
    let count = facts.billed.iter().filter(|b| b.released.is_none()).count();
    let verdict = format!(
        "{}: {count} period(s) billed; {}",
        facts.status,
        reasons::text(code)
    );
    let decided = facts.decisions.iter().find(|d| d.reason_code == code);
    let mut answer = Answer::new("explain", &of("engagement", &facts.label), verdict);
    answer = answer.because(code, decided.map(|d| d.first_at), &names(facts));
    if let Some(plan) = &plan {
        answer.checks.clone_from(&plan.predicates);
        answer.checked = Some(Checked {
            at: as_of,
            decided: decided.map(|d| Decided {
                times: d.times,
                first_at: d.first_at,
            }),
        });
    }
    answer
        .chain(lines.iter().map(planned_link))
        .chain(facts.billed.iter().rev().take(PERIODS).map(billed_link))
        .chain(time_links(facts, NaiveDate::MIN, NaiveDate::MAX))
        .chain(around(facts))
        .evidence(decided.map(|d| format!("decision {}", d.id)))
        .evidence(evidence(&facts.audit))
        .evidence([format!("engagement {}", facts.id)])
}

/// The plan of the next run, which nobody has approved any arrears for.
fn planned(facts: &BillingFacts, terms: &EngagementFacts) -> Plan {
    plan(terms, facts.today, Approval::default())
}

fn standing<'a>(facts: &'a BillingFacts, plan: Option<&Plan>, asked: AskedPeriod) -> Standing<'a> {
    let nothing = |code| Standing {
        code,
        period: None,
        billed: None,
        planned: None,
    };
    let (Some(terms), Some(plan)) = (&facts.terms, plan) else {
        return nothing(NoInvoice::BilledOnDemand.as_str());
    };
    let Some(period) = asked.of(terms) else {
        let outside = if asked.days().1 <= terms.terms.starts_on {
            NoInvoice::BeforeStart
        } else {
            NoInvoice::AfterEnd
        };
        return nothing(outside.as_str());
    };
    let billed = facts
        .billed
        .iter()
        .find(|b| b.released.is_none() && standing_in(b, period.start, period.end));
    let of_period = |line: &&Planned| match line {
        Planned::Bill { period: other, .. }
        | Planned::Skip {
            period: Some(other), ..
        } => other.index == period.index,
        Planned::Skip { period: None, .. } => true,
    };
    let planned = plan.planned.iter().find(of_period).cloned();
    let code = match billed {
        Some(billed) => of_billed(billed, terms, plan, &period),
        None => of_unbilled(terms, planned.as_ref(), &period, facts.today),
    };
    Standing {
        code,
        period: Some(period),
        billed,
        // What is billed is in no plan but as being billed, which is said already.
        planned: planned.filter(|_| billed.is_none()),
    }
}

/// Billed, by an invoice that may be void; or time of it was approved too late for any period.
fn of_billed(billed: &BilledPeriod, terms: &EngagementFacts, plan: &Plan, period: &Period) -> &'static str {
    let is_left = plan.planned.iter().any(|line| {
        matches!(
            line,
            Planned::Skip {
                reason: SkipReason::TimeLeftUnbilled,
                ..
            }
        )
    });
    let of_period = terms.hours.iter().any(|hours| hours.worked_on < period.end);
    if billed.doc_state == "void" {
        NoInvoice::PeriodOfVoidInvoice.as_str()
    } else if is_left && of_period {
        SkipReason::TimeLeftUnbilled.as_str()
    } else {
        SkipReason::AlreadyBilled.as_str()
    }
}

/// What the plan says of it; and for a period that the plan does not reach yet, what stands in its way whenever it comes.
fn of_unbilled(
    terms: &EngagementFacts,
    planned: Option<&Planned>,
    period: &Period,
    today: NaiveDate,
) -> &'static str {
    let not_due = due_on(terms, period) > today;
    let canceled = terms.status == EngagementStatus::Canceled;
    match planned {
        Some(Planned::Skip {
            reason: reason @ (SkipReason::NotSigned | SkipReason::NotStarted),
            ..
        }) => reason.as_str(),
        Some(Planned::Skip { reason, .. }) if canceled => reason.as_str(),
        _ if not_due => SkipReason::NotDue.as_str(),
        // Of hours, the plan names only periods that have any; of an engagement that is over and billed, none.
        None
        | Some(Planned::Skip {
            reason: SkipReason::Ended | SkipReason::TimeLeftUnbilled,
            ..
        }) => SkipReason::NoApprovedTime.as_str(),
        Some(line) => code_of(line),
    }
}

fn code_of(line: &Planned) -> &'static str {
    match line {
        Planned::Bill { .. } => NoInvoice::InvoiceDue.as_str(),
        Planned::Skip { reason, .. } => reason.as_str(),
    }
}

/// A fee is due on the first day of its period, hours when it is over.
fn due_on(terms: &EngagementFacts, period: &Period) -> NaiveDate {
    match terms.mode {
        PricingMode::Package | PricingMode::Mixed => period.start,
        PricingMode::Hourly => period.end,
    }
}

fn standing_in(billed: &BilledPeriod, start: NaiveDate, end: NaiveDate) -> bool {
    billed.start < end && start < billed.end
}

fn names(facts: &BillingFacts) -> Vec<(&'static str, &str)> {
    vec![
        ("engagement", facts.label.as_str()),
        ("client", facts.client.as_str()),
        ("firm", facts.firm.as_str()),
    ]
}

fn period_link(facts: &BillingFacts, period: &Period) -> Link {
    let clipped = if period.is_clipped() {
        format!(", a part of {} until {}", period.full_start, period.full_end)
    } else {
        String::new()
    };
    let due = facts
        .terms
        .as_ref()
        .map_or(period.start, |terms| due_on(terms, period));
    Link::new(
        "period",
        format!("{} until {}{clipped}, due on {due}", period.start, period.end),
    )
}

fn planned_link(planned: &Planned) -> Link {
    let days = |period: &Period| format!("{} until {}", period.start, period.end);
    let text = match planned {
        Planned::Bill {
            period,
            hours,
            total,
            warnings,
            ..
        } => {
            let warned: String = warnings
                .iter()
                .map(|warning| format!("; {}", warning.message()))
                .collect();
            let time = match hours.len() {
                0 => String::new(),
                entries => format!(", {entries} entries of time"),
            };
            format!("bills {}: {total}{time}{warned}", days(period))
        }
        Planned::Skip {
            period: Some(period),
            reason,
        } => format!("skips {}: {}", days(period), reasons::text(reason.as_str())),
        Planned::Skip { period: None, reason } => format!("skips it: {}", reasons::text(reason.as_str())),
    };
    Link::new("next run", text)
}

fn billed_link(billed: &BilledPeriod) -> Link {
    let released = billed.released.as_ref().map_or_else(String::new, |(at, why)| {
        format!("; given free on {}: {why}", super::text::time(*at))
    });
    Link::new(
        "invoice",
        format!(
            "{} over {} until {}, {}, {}{released}",
            billed.total, billed.start, billed.end, billed.doc_state, billed.invoice
        ),
    )
    .at(billed.issued_at)
}

/// Which other version of the engagement has billed days of the period.
fn overlapping(facts: &BillingFacts, code: &str, period: Option<Period>) -> Vec<Link> {
    let Some(period) = period.filter(|_| code == SkipReason::RenewalOverlapNeedsChoice.as_str()) else {
        return Vec::new();
    };
    facts
        .siblings
        .iter()
        .filter(|(_, billed)| standing_in(billed, period.full_start, period.full_end))
        .map(|(label, billed)| {
            let mut link = billed_link(billed);
            link.text = format!("{label}: {}", link.text);
            Link {
                what: "other version",
                ..link
            }
        })
        .collect()
}

/// Time of these days that is on no invoice: what is ready, and what waits for whom.
fn time_links(facts: &BillingFacts, start: NaiveDate, end: NaiveDate) -> Vec<Link> {
    let mut links = Vec::new();
    let hours = facts.terms.iter().flat_map(|terms| &terms.hours);
    let ready: Vec<Money> = hours
        .filter(|hours| start <= hours.worked_on && hours.worked_on < end)
        .map(|hours| hours.amount)
        .collect();
    if let Some(first) = ready.first() {
        let minor = ready.iter().fold(0_i64, |sum, m| sum.saturating_add(m.minor()));
        let sum = Money::new(minor, first.currency());
        links.push(Link::new(
            "time",
            format!("{} approved entries that are on no invoice, {sum}", ready.len()),
        ));
    }
    for (waits_for, text) in [
        ("approval", "wait for approval"),
        ("client", "wait for the client's approval"),
    ] {
        let entries: i64 = facts
            .waiting
            .iter()
            .filter(|w| w.waits_for == waits_for && start <= w.worked_on && w.worked_on < end)
            .map(|w| w.entries)
            .sum();
        if entries > 0 {
            links.push(Link::new("time", format!("{entries} entries {text}")));
        }
    }
    links
}

/// The engagement, what day it is there, and when the firm was last looked at.
fn around(facts: &BillingFacts) -> Vec<Link> {
    let today = format!("{} where the firm is ({})", facts.today, facts.timezone);
    let mut links = vec![
        Link::new("engagement", facts.words.clone()).id(&facts.id),
        Link::new("today", today),
    ];
    links.extend(facts.run.as_ref().map(job_link).map(|link| Link {
        what: "last run",
        ..link
    }));
    links.extend(facts.audit.iter().map(effect));
    links
}
