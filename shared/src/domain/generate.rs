//! Which periods of one engagement are billed now, and why the others are not.
//!
//! A package fee is due on the first day of its period. Hours of a mixed engagement go with it: every approved hour that was
//! worked before the period's end and is on no invoice yet. Hours alone are billed when their period is over, and a period
//! without any makes no invoice.
//!
//! Money may move by itself after this, so every doubt bills later and leaves a reason for a person: a long gap waits
//! for approval instead of becoming a pile of invoices, and days that another engagement of the same lineage has billed
//! are not billed again. The same facts give the same plan, so a dry run and the real run agree, and their hash proves it.
use chrono::NaiveDate;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    period::{Fee, Period, Proration, Terms, Warning, below_minimum, due_periods, fee_for, over_periods},
    predicate::Predicate,
    words::word_enum,
};
use crate::money::Money;

word_enum!(
    /// What a client pays for.
    PricingMode, "pricing_mode":
    /// A fee per period.
    Package = "package",
    /// Time worked.
    Hourly = "hourly",
    /// Both.
    Mixed = "mixed",
);

word_enum!(
    /// Where an engagement stands.
    EngagementStatus, "engagement status":
    /// Not signed: binds nobody.
    Draft = "draft",
    /// In force.
    Signed = "signed",
    /// Over; periods that began before its end are still billed.
    Ended = "ended",
    /// Called off: bills nothing more.
    Canceled = "canceled",
);

word_enum!(
    /// Why nothing is billed, for a period or for the engagement.
    SkipReason, "skip reason":
    /// An unreleased period covers these days.
    AlreadyBilled = "already_billed",
    /// Only signed engagements are billed.
    NotSigned = "not_signed",
    /// The engagement begins later.
    NotStarted = "not_started",
    /// The engagement is over and has been billed, or was canceled.
    Ended = "ended",
    /// Invoicing is paused for the firm.
    InvoicingPaused = "invoicing_paused",
    /// The client is parked until a person has looked.
    ClientParked = "client_parked",
    /// More periods are behind than may be billed without approval.
    CatchUpNeedsApproval = "catch_up_needs_approval",
    /// Another engagement of the lineage has billed this period: a person says which of the two bills it.
    RenewalOverlapNeedsChoice = "renewal_overlap_needs_choice",
    /// Hours are billed in arrears, and no period is over yet.
    NotDue = "not_due",
    /// No approved time that is on no invoice belongs to a period that is over.
    NoApprovedTime = "no_approved_time",
    /// The engagement is over and has been billed, but approved time is left that no period takes: a person invoices it.
    TimeLeftUnbilled = "time_left_unbilled",
);

/// What is known of one engagement. Date ranges are half-open `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngagementFacts {
    /// Its terms. Where hours alone are billed the fee is nothing.
    pub terms: Terms,
    /// What is paid for.
    pub mode: PricingMode,
    /// Approved time that is on no invoice, by day worked; none where the mode bills no time.
    pub hours: Vec<Hours>,
    /// Where it stands.
    pub status: EngagementStatus,
    /// Whether it has been signed.
    pub signed: bool,
    /// Whether its client is parked.
    pub client_parked: bool,
    /// Whether its firm has invoicing paused.
    pub firm_invoicing_paused: bool,
    /// Unreleased billed periods of this engagement.
    pub billed: Vec<(NaiveDate, NaiveDate)>,
    /// Unreleased billed periods of the other engagements of its lineage. In one run these include what was planned
    /// before this engagement, so engagements of a lineage are planned in order of their start.
    pub lineage_billed: Vec<(NaiveDate, NaiveDate)>,
}

/// Approved time that is on no invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// On which day it was worked.
    pub worked_on: NaiveDate,
    /// What it costs.
    pub amount: Money,
}

/// How much may be billed in arrears without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// How many periods that are over already may be billed in one run. One covers a night that was missed.
    pub max_backfill_periods: u32,
    /// Whether a person has approved billing all of them.
    pub approved: bool,
}

impl Default for Approval {
    fn default() -> Self {
        Self {
            max_backfill_periods: 1,
            approved: false,
        }
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// Bill this period.
    Bill {
        /// The days billed.
        period: Period,
        /// The package fee for them, where there is one.
        fee: Option<Fee>,
        /// The hours that go with them, by their place in [`EngagementFacts::hours`].
        hours: Vec<usize>,
        /// Fee and hours together.
        total: Money,
        /// What a person should look at before the invoice goes out.
        warnings: Vec<Warning>,
    },
    /// Bill nothing.
    Skip {
        /// The period in question; `None` when the reason is the engagement's.
        period: Option<Period>,
        /// Why.
        reason: SkipReason,
    },
}

/// The plan for one engagement, with every condition that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to bill and what to skip, in order of the periods. Never empty.
    pub planned: Vec<Planned>,
    /// The conditions, for the decision record.
    pub predicates: Vec<Predicate>,
}

/// Plans one engagement as of a local date of its firm.
///
/// Of the periods that are billed already only the latest is reported, so that an old engagement does not fill every
/// night's record with its past.
#[must_use]
pub fn plan(facts: &EngagementFacts, as_of: NaiveDate, approval: Approval) -> Plan {
    match facts.mode {
        PricingMode::Package | PricingMode::Mixed => plan_package(facts, as_of, approval),
        PricingMode::Hourly => plan_hours(facts, as_of, approval),
    }
}

fn plan_package(facts: &EngagementFacts, as_of: NaiveDate, approval: Approval) -> Plan {
    let due = due_periods(&facts.terms, as_of);
    let sorted = Sorted::of(facts, &due, as_of);
    let within_limit = approval.approved || sorted.backfill <= approval.max_backfill_periods;
    Plan {
        planned: match reason_of_engagement(facts, as_of, &due, sorted.is_empty()) {
            Some(reason) => vec![Planned::Skip { period: None, reason }],
            None => plan_periods(facts, &due, &sorted, within_limit),
        },
        predicates: predicates(facts, as_of, &due, &sorted, approval),
    }
}

/// The due periods by what stands in their way.
struct Sorted {
    /// Nobody has billed them.
    unbilled: Vec<Period>,
    /// Unbilled, but another engagement of the lineage has billed them, at least in part.
    overlapping: Vec<Period>,
    /// How many of the unbilled are over, the overlapping ones left out.
    backfill: u32,
}

impl Sorted {
    fn of(facts: &EngagementFacts, due: &[Period], as_of: NaiveDate) -> Self {
        let (overlapping, unbilled): (Vec<Period>, Vec<Period>) = due
            .iter()
            .filter(|period| !overlaps(&facts.billed, (period.start, period.end)))
            .partition(|period| overlaps(&facts.lineage_billed, days_charged(&facts.terms, period)));
        let backfill = unbilled.iter().filter(|period| period.end <= as_of).count();
        Self {
            unbilled,
            overlapping,
            backfill: u32::try_from(backfill).unwrap_or(u32::MAX),
        }
    }

    /// Everything that is due has been billed.
    fn is_empty(&self) -> bool {
        self.unbilled.is_empty() && self.overlapping.is_empty()
    }
}

/// The days that a fee stands for. A clipped period at the full fee stands for all days of the full period, which is how
/// a renewal in the middle of a month would charge that month twice.
fn days_charged(terms: &Terms, period: &Period) -> (NaiveDate, NaiveDate) {
    match terms.proration {
        Proration::FullFee => (period.full_start, period.full_end),
        Proration::Daily => (period.start, period.end),
    }
}

fn overlaps(ranges: &[(NaiveDate, NaiveDate)], (start, end): (NaiveDate, NaiveDate)) -> bool {
    ranges
        .iter()
        .any(|(other_start, other_end)| *other_start < end && start < *other_end)
}

/// Why nothing of the engagement is billed, whatever the period.
fn reason_of_engagement(
    facts: &EngagementFacts,
    as_of: NaiveDate,
    due: &[Period],
    nothing_left: bool,
) -> Option<SkipReason> {
    let over = facts.terms.ends_on.is_some_and(|ends_on| ends_on <= as_of);
    if !facts.signed || facts.status == EngagementStatus::Draft {
        Some(SkipReason::NotSigned)
    } else if facts.status == EngagementStatus::Canceled || (over && nothing_left && facts.hours.is_empty()) {
        Some(SkipReason::Ended)
    } else if over && nothing_left {
        Some(SkipReason::TimeLeftUnbilled)
    } else if facts.terms.starts_on > as_of {
        Some(SkipReason::NotStarted)
    } else if due.is_empty() {
        Some(SkipReason::NotDue)
    } else if facts.firm_invoicing_paused {
        Some(SkipReason::InvoicingPaused)
    } else if facts.client_parked {
        Some(SkipReason::ClientParked)
    } else {
        None
    }
}

fn plan_periods(
    facts: &EngagementFacts,
    due: &[Period],
    sorted: &Sorted,
    within_limit: bool,
) -> Vec<Planned> {
    let latest = due.last().map(|period| period.index);
    let mut left: Vec<usize> = (0..facts.hours.len()).collect();
    due.iter()
        .filter_map(|period| {
            let skip = |reason| {
                Some(Planned::Skip {
                    period: Some(*period),
                    reason,
                })
            };
            if sorted.overlapping.contains(period) {
                skip(SkipReason::RenewalOverlapNeedsChoice)
            } else if !sorted.unbilled.contains(period) {
                if latest == Some(period.index) {
                    skip(SkipReason::AlreadyBilled)
                } else {
                    None
                }
            } else if within_limit {
                let (hours, later) = left
                    .iter()
                    .partition(|place| facts.hours[**place].worked_on < period.end);
                left = later;
                Some(bill(facts, *period, Some(fee_for(&facts.terms, period)), hours))
            } else {
                skip(SkipReason::CatchUpNeedsApproval)
            }
        })
        .collect()
}

/// One invoice. What it comes to is judged as a whole: a small fee with many hours is no small invoice.
fn bill(facts: &EngagementFacts, period: Period, fee: Option<Fee>, hours: Vec<usize>) -> Planned {
    let fee_minor = fee.as_ref().map_or(0, |fee| fee.amount.minor());
    // A sum that does not fit cannot come of time as it is kept; were it to, the lines would not add up to it, and the
    // database refuses that.
    let total_minor = hours.iter().fold(fee_minor, |sum, place| {
        sum.saturating_add(facts.hours[*place].amount.minor())
    });
    let total = Money::new(total_minor, facts.terms.fee.currency());
    let mut warnings: Vec<Warning> = fee.iter().flat_map(|fee| fee.warnings.clone()).collect();
    warnings.extend(below_minimum(total));
    Planned::Bill {
        period,
        fee,
        hours,
        total,
        warnings,
    }
}

/// Plans hours that are billed on a cadence: each entry goes with the first unbilled period that is over and ends after
/// the day it was worked. Time that was approved late thus goes with the next period, not with a second invoice.
fn plan_hours(facts: &EngagementFacts, as_of: NaiveDate, approval: Approval) -> Plan {
    let due = over_periods(&facts.terms, as_of);
    let mut left: Vec<usize> = (0..facts.hours.len()).collect();
    let mut bills: Vec<Planned> = Vec::new();
    let mut backfill = 0;
    for period in &due {
        if overlaps(&facts.billed, (period.start, period.end)) {
            continue;
        }
        let (hours, later): (Vec<usize>, Vec<usize>) = left
            .iter()
            .partition(|place| facts.hours[**place].worked_on < period.end);
        // Minutes that come to nothing wait for others to be invoiced with.
        if hours.iter().any(|place| facts.hours[*place].amount.is_positive()) {
            left = later;
            backfill += u32::from(Some(period) != due.last());
            bills.push(bill(facts, *period, None, hours));
        }
    }
    let within_limit = approval.approved || backfill <= approval.max_backfill_periods;
    let planned = match reason_of_engagement(facts, as_of, &due, bills.is_empty()) {
        Some(reason) => vec![Planned::Skip { period: None, reason }],
        None if bills.is_empty() => vec![nothing_to_bill(facts, &due)],
        None if within_limit => bills.clone(),
        None => bills.iter().map(needs_approval).collect(),
    };
    Plan {
        planned,
        predicates: predicates_of_hours(facts, as_of, &due, &bills, backfill, approval),
    }
}

fn nothing_to_bill(facts: &EngagementFacts, due: &[Period]) -> Planned {
    let latest = due.last().copied();
    let is_billed = latest.is_some_and(|period| overlaps(&facts.billed, (period.start, period.end)));
    Planned::Skip {
        period: latest,
        reason: if is_billed {
            SkipReason::AlreadyBilled
        } else {
            SkipReason::NoApprovedTime
        },
    }
}

fn needs_approval(planned: &Planned) -> Planned {
    match planned {
        Planned::Bill { period, .. } => Planned::Skip {
            period: Some(*period),
            reason: SkipReason::CatchUpNeedsApproval,
        },
        Planned::Skip { period, reason } => Planned::Skip {
            period: *period,
            reason: *reason,
        },
    }
}

fn predicates_of_hours(
    facts: &EngagementFacts,
    as_of: NaiveDate,
    due: &[Period],
    bills: &[Planned],
    backfill: u32,
    approval: Approval,
) -> Vec<Predicate> {
    let started = facts.terms.starts_on <= as_of;
    let mut predicates = predicates_of_engagement(facts, as_of, started);
    predicates.push(Predicate::new(
        "period_over",
        !due.is_empty(),
        json!({"over": due.len(), "as_of": as_of}),
    ));
    if due.is_empty() {
        predicates.extend(["approved_time", "catch_up_within_limit"].map(Predicate::not_applicable));
        return predicates;
    }
    predicates.push(Predicate::new(
        "approved_time",
        !bills.is_empty(),
        json!({"entries": facts.hours.len(), "periods": bills.len()}),
    ));
    predicates.push(within_limit_predicate(backfill, approval));
    predicates
}

fn within_limit_predicate(backfill: u32, approval: Approval) -> Predicate {
    Predicate::new(
        "catch_up_within_limit",
        approval.approved || backfill <= approval.max_backfill_periods,
        json!({"behind": backfill, "limit": approval.max_backfill_periods, "approved": approval.approved}),
    )
}

/// The conditions that do not depend on a period.
fn predicates_of_engagement(facts: &EngagementFacts, as_of: NaiveDate, started: bool) -> Vec<Predicate> {
    let canceled = facts.status == EngagementStatus::Canceled;
    vec![
        Predicate::new("engagement_signed", facts.signed, json!(facts.signed)),
        Predicate::new("engagement_not_canceled", !canceled, json!(facts.status)),
        Predicate::new(
            "engagement_started",
            started,
            json!({"starts_on": facts.terms.starts_on, "as_of": as_of}),
        ),
        Predicate::new(
            "invoicing_not_paused",
            !facts.firm_invoicing_paused,
            json!(facts.firm_invoicing_paused),
        ),
        Predicate::new(
            "client_not_parked",
            !facts.client_parked,
            json!(facts.client_parked),
        ),
    ]
}

fn predicates(
    facts: &EngagementFacts,
    as_of: NaiveDate,
    due: &[Period],
    sorted: &Sorted,
    approval: Approval,
) -> Vec<Predicate> {
    let mut predicates = predicates_of_engagement(facts, as_of, !due.is_empty());
    if due.is_empty() {
        predicates.extend(
            ["period_unbilled", "no_renewal_overlap", "catch_up_within_limit"].map(Predicate::not_applicable),
        );
        return predicates;
    }
    let unbilled = sorted.unbilled.len() + sorted.overlapping.len();
    predicates.push(Predicate::new(
        "period_unbilled",
        unbilled > 0,
        json!({"due": due.len(), "unbilled": unbilled}),
    ));
    predicates.push(Predicate::new(
        "no_renewal_overlap",
        sorted.overlapping.is_empty(),
        json!(
            sorted
                .overlapping
                .iter()
                .map(|period| period.start)
                .collect::<Vec<_>>()
        ),
    ));
    predicates.push(within_limit_predicate(sorted.backfill, approval));
    predicates
}

/// One invoice of a plan, as far as the hash goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanItem {
    /// Id of the engagement, in its canonical form.
    pub engagement: String,
    /// First day billed.
    pub period_start: NaiveDate,
    /// First day no longer billed.
    pub period_end: NaiveDate,
    /// Total of the invoice, hours included.
    pub total: Money,
}

/// Identifies a plan: SHA-256, in hex, over one line per invoice, in sorted order. Two plans have the same hash when
/// they bill the same engagements for the same days with the same totals, in whatever order they were made.
#[must_use]
pub fn plan_hash(items: &[PlanItem]) -> String {
    let mut lines: Vec<String> = items
        .iter()
        .map(|item| {
            let PlanItem {
                engagement,
                period_start,
                period_end,
                total,
            } = item;
            format!(
                "{engagement}|{period_start}|{period_end}|{}|{}\n",
                total.minor(),
                total.currency()
            )
        })
        .collect();
    lines.sort_unstable();
    hex::encode(Sha256::digest(lines.concat()))
}

#[cfg(test)]
mod tests {
    use chrono::Datelike;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        currency::Currency,
        domain::period::{Anchor, Cadence},
    };

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// A signed monthly retainer of 1,000.00 USD on calendar months.
    fn retainer(starts_on: &str, ends_on: Option<&str>) -> EngagementFacts {
        EngagementFacts {
            terms: Terms {
                cadence: Cadence::Monthly,
                anchor: Anchor::Calendar,
                proration: Proration::FullFee,
                starts_on: day(starts_on),
                ends_on: ends_on.map(day),
                fee: Money::new(100_000, Currency::USD),
            },
            mode: PricingMode::Package,
            hours: vec![],
            status: EngagementStatus::Signed,
            signed: true,
            client_parked: false,
            firm_invoicing_paused: false,
            billed: vec![],
            lineage_billed: vec![],
        }
    }

    /// The plan in short: `2026-01-01 bill 100000` or `2026-01-01 already_billed` or `- not_signed`.
    fn brief(facts: &EngagementFacts, as_of: &str, approval: Approval) -> Vec<String> {
        let planned = plan(facts, day(as_of), approval).planned;
        let words = planned.iter().map(|line| match line {
            Planned::Bill { period, total, .. } => format!("{} bill {}", period.start, total.minor()),
            Planned::Skip {
                period: Some(period),
                reason,
            } => format!("{} {reason}", period.start),
            Planned::Skip { period: None, reason } => format!("- {reason}"),
        });
        words.collect()
    }

    /// Carries the plan out, as far as the facts go, and gives what it bills.
    fn bill(facts: &mut EngagementFacts, as_of: NaiveDate, approval: Approval) -> i64 {
        let mut total_minor = 0;
        let mut billed_hours = Vec::new();
        for line in plan(facts, as_of, approval).planned {
            if let Planned::Bill {
                period, hours, total, ..
            } = line
            {
                facts.billed.push((period.start, period.end));
                billed_hours.extend(hours);
                total_minor += total.minor();
            }
        }
        let mut place = 0;
        facts.hours.retain(|_| {
            place += 1;
            !billed_hours.contains(&(place - 1))
        });
        total_minor
    }

    #[test]
    fn a_due_period_is_billed_once() {
        let mut facts = retainer("2026-01-01", Some("2027-01-01"));
        assert_eq!(
            brief(&facts, "2026-01-01", Approval::default()),
            ["2026-01-01 bill 100000"]
        );
        bill(&mut facts, day("2026-01-01"), Approval::default());
        assert_eq!(
            brief(&facts, "2026-01-01", Approval::default()),
            ["2026-01-01 already_billed"]
        );
        assert_eq!(
            brief(&facts, "2026-01-31", Approval::default()),
            ["2026-01-01 already_billed"]
        );
        assert_eq!(
            brief(&facts, "2026-02-01", Approval::default()),
            ["2026-02-01 bill 100000"]
        );
    }

    /// R035.
    #[test]
    fn an_engagement_that_may_not_be_billed_says_why() {
        let good = retainer("2026-01-01", None);
        let cases = [
            (
                EngagementFacts {
                    signed: false,
                    status: EngagementStatus::Draft,
                    ..good.clone()
                },
                "- not_signed",
            ),
            // Either of the two alone is enough: nobody agreed to be billed.
            (
                EngagementFacts {
                    signed: false,
                    ..good.clone()
                },
                "- not_signed",
            ),
            (
                EngagementFacts {
                    status: EngagementStatus::Draft,
                    ..good.clone()
                },
                "- not_signed",
            ),
            (
                EngagementFacts {
                    status: EngagementStatus::Canceled,
                    ..good.clone()
                },
                "- ended",
            ),
            (
                EngagementFacts {
                    firm_invoicing_paused: true,
                    ..good.clone()
                },
                "- invoicing_paused",
            ),
            (
                EngagementFacts {
                    client_parked: true,
                    ..good.clone()
                },
                "- client_parked",
            ),
            (retainer("2026-01-02", None), "- not_started"),
        ];
        for (facts, expected) in cases {
            assert_eq!(brief(&facts, "2026-01-01", Approval::default()), [expected]);
        }
    }

    #[test]
    fn b21_periods_that_meet_on_a_day_share_none() {
        let january = (day("2026-01-01"), day("2026-02-01"));
        let meets = |start, end| overlaps(&[january], (day(start), day(end)));
        assert!(!meets("2025-12-01", "2026-01-01"));
        assert!(!meets("2026-02-01", "2026-03-01"));
        assert!(meets("2025-12-01", "2026-01-02"));
        assert!(meets("2026-01-31", "2026-03-01"));
        assert!(meets("2026-01-10", "2026-01-11"));
    }

    #[test]
    fn an_ended_engagement_is_billed_to_its_end_and_then_ended() {
        let mut facts = EngagementFacts {
            status: EngagementStatus::Ended,
            ..retainer("2026-01-01", Some("2026-02-01"))
        };
        assert_eq!(
            brief(&facts, "2026-02-10", Approval::default()),
            ["2026-01-01 bill 100000"]
        );
        bill(&mut facts, day("2026-02-10"), Approval::default());
        assert_eq!(brief(&facts, "2026-02-10", Approval::default()), ["- ended"]);
    }

    #[test]
    fn one_missed_period_is_caught_up_and_more_wait_for_approval() {
        let facts = retainer("2026-01-01", None);
        assert_eq!(
            brief(&facts, "2026-02-01", Approval::default()),
            ["2026-01-01 bill 100000", "2026-02-01 bill 100000"]
        );
        assert_eq!(
            brief(&facts, "2026-03-01", Approval::default()),
            [
                "2026-01-01 catch_up_needs_approval",
                "2026-02-01 catch_up_needs_approval",
                "2026-03-01 catch_up_needs_approval"
            ]
        );
        for approval in [
            Approval {
                approved: true,
                ..Approval::default()
            },
            Approval {
                max_backfill_periods: 2,
                approved: false,
            },
        ] {
            assert_eq!(
                brief(&facts, "2026-03-01", approval),
                [
                    "2026-01-01 bill 100000",
                    "2026-02-01 bill 100000",
                    "2026-03-01 bill 100000"
                ]
            );
        }
    }

    #[test]
    fn a_period_that_was_billed_with_other_bounds_is_not_billed_again() {
        let mut facts = retainer("2026-01-01", None);
        bill(&mut facts, day("2026-01-01"), Approval::default());
        facts.terms.ends_on = Some(day("2026-01-20"));
        assert_eq!(
            brief(&facts, "2026-01-10", Approval::default()),
            ["2026-01-01 already_billed"]
        );
    }

    #[test]
    fn a_renewal_in_the_middle_of_a_month_waits_for_a_choice() {
        let mut first = retainer("2026-01-01", Some("2026-03-15"));
        for as_of in ["2026-01-01", "2026-02-01", "2026-03-01"] {
            bill(&mut first, day(as_of), Approval::default());
        }
        let mut second = retainer("2026-03-15", None);
        second.lineage_billed = first.billed;
        assert_eq!(
            brief(&second, "2026-03-15", Approval::default()),
            ["2026-03-15 renewal_overlap_needs_choice"]
        );
        assert_eq!(
            brief(&second, "2026-04-01", Approval::default()),
            [
                "2026-03-15 renewal_overlap_needs_choice",
                "2026-04-01 bill 100000"
            ]
        );
        second.terms.proration = Proration::Daily;
        assert_eq!(
            brief(&second, "2026-03-15", Approval::default()),
            ["2026-03-15 bill 54839"]
        );
    }

    #[test]
    fn days_that_the_old_terms_have_billed_are_not_billed_by_days_either() {
        let mut first = retainer("2026-03-01", None);
        bill(&mut first, day("2026-03-01"), Approval::default());
        let mut second = retainer("2026-03-15", None);
        second.terms.proration = Proration::Daily;
        second.lineage_billed = first.billed;
        assert_eq!(
            brief(&second, "2026-03-15", Approval::default()),
            ["2026-03-15 renewal_overlap_needs_choice"]
        );
    }

    #[test]
    fn a_period_that_waits_for_a_choice_is_no_backlog() {
        let mut second = retainer("2026-03-15", None);
        second.lineage_billed = vec![(day("2026-03-01"), day("2026-03-15"))];
        assert_eq!(
            brief(&second, "2026-05-01", Approval::default()),
            [
                "2026-03-15 renewal_overlap_needs_choice",
                "2026-04-01 bill 100000",
                "2026-05-01 bill 100000"
            ]
        );
    }

    /// B-21: whatever the day of the renewal, no calendar month costs more than the dearer of the two fees.
    #[test]
    fn a_renewal_on_any_day_never_bills_a_month_twice() {
        for renewal in day("2028-01-01")
            .iter_days()
            .take_while(|renewal| *renewal < day("2029-01-01"))
        {
            for proration in Proration::ALL {
                let mut first = retainer("2028-01-01", None);
                first.terms.proration = *proration;
                first.terms.ends_on = Some(renewal.max(day("2028-01-02")));
                let mut second = retainer("2028-01-01", None);
                second.terms.proration = *proration;
                second.terms.starts_on = first.terms.ends_on.unwrap();
                for month in 1..=12 {
                    let month_start = NaiveDate::from_ymd_opt(2028, month, 1).unwrap();
                    let mut month_minor = 0;
                    for as_of in [
                        month_start,
                        month_start
                            .with_day(second.terms.starts_on.day())
                            .unwrap_or(month_start),
                    ] {
                        month_minor += bill(&mut first, as_of, Approval::default());
                        second.lineage_billed = first.billed.clone();
                        month_minor += bill(&mut second, as_of, Approval::default());
                    }
                    // Two shares of one fee, each rounded on its own, may differ from it by one minor unit.
                    assert!(
                        month_minor <= 100_000 + 1,
                        "{month_minor} in month {month}, renewed on {renewal}"
                    );
                }
            }
        }
    }

    fn hours(days: &[(&str, i64)]) -> Vec<Hours> {
        days.iter()
            .map(|(on, minor)| Hours {
                worked_on: day(on),
                amount: Money::new(*minor, Currency::USD),
            })
            .collect()
    }

    /// Hours alone, by calendar months.
    fn hourly(starts_on: &str, ends_on: Option<&str>, worked: &[(&str, i64)]) -> EngagementFacts {
        let base = retainer(starts_on, ends_on);
        EngagementFacts {
            mode: PricingMode::Hourly,
            hours: hours(worked),
            terms: Terms {
                fee: Money::zero(Currency::USD),
                ..base.terms
            },
            ..base
        }
    }

    #[test]
    fn r023_hours_of_a_mixed_engagement_go_with_the_first_fee_whose_period_ends_after_them() {
        let mut facts = EngagementFacts {
            mode: PricingMode::Mixed,
            hours: hours(&[
                ("2025-12-30", 1),
                ("2026-01-31", 10),
                ("2026-02-01", 100),
                ("2026-02-28", 1_000),
                ("2026-03-01", 10_000),
            ]),
            ..retainer("2026-01-01", None)
        };
        assert_eq!(
            brief(&facts, "2026-02-10", Approval::default()),
            ["2026-01-01 bill 100011", "2026-02-01 bill 101100"]
        );
        bill(&mut facts, day("2026-02-10"), Approval::default());
        assert_eq!(facts.hours, hours(&[("2026-03-01", 10_000)]));
        // Approved after its period was billed: it goes with the next one.
        facts.hours.extend(hours(&[("2026-01-15", 7)]));
        assert_eq!(
            brief(&facts, "2026-02-28", Approval::default()),
            ["2026-02-01 already_billed"]
        );
        assert_eq!(
            brief(&facts, "2026-03-01", Approval::default()),
            ["2026-03-01 bill 110007"]
        );
    }

    #[test]
    fn a_small_fee_with_many_hours_is_not_warned_of_as_too_small() {
        let mut facts = EngagementFacts {
            mode: PricingMode::Mixed,
            ..retainer("2026-01-01", None)
        };
        facts.terms.fee = Money::new(10, Currency::USD);
        let warnings = |facts: &EngagementFacts| match plan(facts, day("2026-01-01"), Approval::default())
            .planned
            .remove(0)
        {
            Planned::Bill { warnings, .. } => warnings.len(),
            Planned::Skip { reason, .. } => panic!("{reason}"),
        };
        assert_eq!(warnings(&facts), 1);
        facts.hours = hours(&[("2026-01-01", 40)]);
        assert_eq!(warnings(&facts), 0);
    }

    #[test]
    fn hours_alone_are_billed_when_their_period_is_over_and_never_without_time() {
        let mut facts = hourly("2026-01-10", None, &[("2026-01-20", 500), ("2026-02-03", 70)]);
        assert_eq!(brief(&facts, "2026-01-31", Approval::default()), ["- not_due"]);
        assert_eq!(
            brief(&facts, "2026-02-01", Approval::default()),
            ["2026-01-10 bill 500"]
        );
        bill(&mut facts, day("2026-02-01"), Approval::default());
        assert_eq!(
            brief(&facts, "2026-02-27", Approval::default()),
            ["2026-01-10 already_billed"]
        );
        // Approved late: with February's, not with a second invoice for January.
        facts.hours.extend(hours(&[("2026-01-11", 3)]));
        assert_eq!(
            brief(&facts, "2026-03-01", Approval::default()),
            ["2026-02-01 bill 73"]
        );
        bill(&mut facts, day("2026-03-01"), Approval::default());
        assert_eq!(
            brief(&facts, "2026-04-01", Approval::default()),
            ["2026-03-01 no_approved_time"]
        );
        // An empty period is not lost: time for it that comes late is billed for it.
        facts.hours = hours(&[("2026-03-31", 9)]);
        assert_eq!(
            brief(&facts, "2026-05-01", Approval::default()),
            ["2026-03-01 bill 9"]
        );
        facts.hours = hours(&[("2026-03-31", 0)]);
        assert_eq!(
            brief(&facts, "2026-05-01", Approval::default()),
            ["2026-04-01 no_approved_time"]
        );
    }

    #[test]
    fn hours_of_the_day_on_which_a_period_ends_go_with_the_next_one() {
        let facts = hourly("2026-01-01", None, &[("2026-01-31", 500), ("2026-02-01", 700)]);
        assert_eq!(
            brief(&facts, "2026-03-01", Approval::default()),
            ["2026-01-01 bill 500", "2026-02-01 bill 700"]
        );
    }

    #[test]
    fn hours_of_many_periods_at_once_wait_for_approval() {
        let worked = [("2026-01-20", 1), ("2026-02-20", 1), ("2026-03-20", 1)];
        let facts = hourly("2026-01-01", None, &worked);
        assert_eq!(
            brief(&facts, "2026-04-01", Approval::default()),
            [
                "2026-01-01 catch_up_needs_approval",
                "2026-02-01 catch_up_needs_approval",
                "2026-03-01 catch_up_needs_approval"
            ]
        );
        let approved = Approval {
            approved: true,
            ..Approval::default()
        };
        assert_eq!(brief(&facts, "2026-04-01", approved).len(), 3);
        // Empty months are no backlog.
        let facts = hourly("2020-01-01", None, &worked[1..]);
        assert_eq!(
            brief(&facts, "2026-04-01", Approval::default()),
            ["2026-02-01 bill 1", "2026-03-01 bill 1"]
        );
    }

    #[test]
    fn time_that_no_period_takes_is_left_to_a_person() {
        let late = [("2026-02-10", 5)];
        let mut mixed = EngagementFacts {
            mode: PricingMode::Mixed,
            ..retainer("2026-01-01", Some("2026-02-01"))
        };
        bill(&mut mixed, day("2026-01-01"), Approval::default());
        assert_eq!(brief(&mixed, "2026-02-01", Approval::default()), ["- ended"]);
        mixed.hours = hours(&late);
        assert_eq!(
            brief(&mixed, "2026-02-01", Approval::default()),
            ["- time_left_unbilled"]
        );
        let facts = hourly("2026-01-01", Some("2026-02-01"), &late);
        assert_eq!(
            brief(&facts, "2026-03-01", Approval::default()),
            ["- time_left_unbilled"]
        );
        let facts = hourly("2026-01-01", Some("2026-01-20"), &[("2026-01-19", 5)]);
        assert_eq!(
            brief(&facts, "2026-01-20", Approval::default()),
            ["2026-01-01 bill 5"]
        );
    }

    #[test]
    fn every_condition_of_hours_is_on_record() {
        let facts = hourly("2026-01-01", None, &[("2026-01-20", 5)]);
        let record = |as_of: &str| {
            let predicates = plan(&facts, day(as_of), Approval::default()).predicates;
            predicates.iter().map(|p| (p.name, p.ok)).collect::<Vec<_>>()
        };
        assert_eq!(
            record("2026-02-01")[5..],
            [
                ("period_over", Some(true)),
                ("approved_time", Some(true)),
                ("catch_up_within_limit", Some(true)),
            ]
        );
        assert_eq!(
            record("2026-01-31")[5..],
            [
                ("period_over", Some(false)),
                ("approved_time", None),
                ("catch_up_within_limit", None),
            ]
        );
    }

    #[test]
    fn every_condition_is_on_record() {
        let facts = retainer("2026-01-01", None);
        let record = |as_of: &str| {
            let predicates = plan(&facts, day(as_of), Approval::default()).predicates;
            predicates.iter().map(|p| (p.name, p.ok)).collect::<Vec<_>>()
        };
        assert_eq!(
            record("2026-04-01"),
            [
                ("engagement_signed", Some(true)),
                ("engagement_not_canceled", Some(true)),
                ("engagement_started", Some(true)),
                ("invoicing_not_paused", Some(true)),
                ("client_not_parked", Some(true)),
                ("period_unbilled", Some(true)),
                ("no_renewal_overlap", Some(true)),
                ("catch_up_within_limit", Some(false)),
            ]
        );
        assert_eq!(
            record("2025-12-31")[2..]
                .iter()
                .filter(|(_, ok)| ok.is_none())
                .count(),
            3
        );
    }

    fn item(engagement: &str, start: &str, minor: i64) -> PlanItem {
        let period_start = day(start);
        PlanItem {
            engagement: engagement.to_owned(),
            period_start,
            period_end: period_start + chrono::Months::new(1),
            total: Money::new(minor, Currency::USD),
        }
    }

    #[test]
    fn the_plan_hash_is_the_sha256_of_its_sorted_lines() {
        // printf 'a|2026-01-01|2026-02-01|100|usd\nb|2026-01-01|2026-02-01|100|usd\n' | sha256sum
        assert_eq!(
            plan_hash(&[item("b", "2026-01-01", 100), item("a", "2026-01-01", 100)]),
            "5a4934c7f8458e6d6b48f98970bb0683fee670adc38e0a119b4a1132c79faf37"
        );
        // sha256sum < /dev/null
        assert_eq!(
            plan_hash(&[]),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn a_plan_that_differs_in_anything_has_another_hash() {
        let base = item("a", "2026-01-01", 100);
        let eur = Money::new(100, Currency::parse("eur").unwrap());
        let others = [
            vec![],
            vec![base.clone(), base.clone()],
            vec![item("b", "2026-01-01", 100)],
            vec![item("a", "2026-02-01", 100)],
            vec![item("a", "2026-01-01", 101)],
            vec![PlanItem {
                total: eur,
                ..base.clone()
            }],
            vec![PlanItem {
                period_end: day("2026-01-20"),
                ..base.clone()
            }],
        ];
        for other in others {
            assert_ne!(
                plan_hash(&other),
                plan_hash(std::slice::from_ref(&base)),
                "{other:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_plan_hash_does_not_depend_on_order(
            items in prop::collection::vec((0..4_u8, 0..4_u8, 0..3_i64), 0..8).prop_map(|raw| {
                raw.iter().map(|(e, m, t)| item(&format!("e{e}"), &format!("2026-0{}-01", m + 1), *t)).collect::<Vec<_>>()
            }).prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
        ) {
            prop_assert_eq!(plan_hash(&items.0), plan_hash(&items.1));
        }

        /// R042, B-16, the pure half: runs on any days, with time approved in between, bill every entry at most once, and
        /// all of it that was worked before a billed period's end.
        #[test]
        fn r042_every_hour_is_billed_once_whenever_it_is_approved(
            steps in prop::collection::vec((0..40_u64, prop::collection::vec(0..60_u64, 0..4)), 1..25),
            hourly_only: bool,
        ) {
            let mut facts = if hourly_only { hourly("2028-01-31", None, &[]) } else {
                EngagementFacts { mode: PricingMode::Mixed, ..retainer("2028-01-31", None) }
            };
            let mut as_of = day("2028-01-31");
            let (mut approved_minor, mut billed_minor) = (0_i64, 0_i64);
            for (gap, worked) in steps {
                as_of = as_of + chrono::Days::new(gap);
                for (nth, days_ago) in worked.into_iter().enumerate() {
                    let amount = Money::new(1 + i64::try_from(nth).unwrap(), Currency::USD);
                    approved_minor += amount.minor();
                    facts.hours.push(Hours { worked_on: as_of - chrono::Days::new(days_ago), amount });
                }
                let fees = facts.billed.len();
                let total = bill(&mut facts, as_of, Approval { approved: true, ..Approval::default() });
                let fees = facts.billed.len() - fees;
                billed_minor += total - if hourly_only { 0 } else { 100_000 * i64::try_from(fees).unwrap() };
                let left: i64 = facts.hours.iter().map(|h| h.amount.minor()).sum();
                prop_assert_eq!(billed_minor + left, approved_minor);
            }
            let mut periods = facts.billed.clone();
            periods.sort();
            prop_assert!(periods.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", periods);
        }

        /// B-05, the pure half, R031: runs at any intervals, repeated or late, bill every due period exactly once.
        #[test]
        fn runs_on_any_days_bill_each_period_exactly_once(
            gaps in prop::collection::vec(0..45_u64, 1..30),
            cadence in prop::sample::select(Cadence::ALL), anchor in prop::sample::select(Anchor::ALL),
        ) {
            let mut facts = retainer("2028-01-31", None);
            (facts.terms.cadence, facts.terms.anchor) = (cadence, anchor);
            let mut as_of = day("2028-01-20");
            for gap in gaps {
                as_of = as_of + chrono::Days::new(gap);
                bill(&mut facts, as_of, Approval { approved: true, ..Approval::default() });
            }
            let due = due_periods(&facts.terms, as_of);
            prop_assert_eq!(facts.billed, due.iter().map(|p| (p.start, p.end)).collect::<Vec<_>>());
        }
    }
}
