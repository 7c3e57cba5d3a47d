//! Which periods of one engagement are billed now, and why the others are not.
//!
//! Money may move by itself after this, so every doubt bills later and leaves a reason for a person: a long gap waits
//! for approval instead of becoming a pile of invoices, and days that another engagement of the same lineage has billed
//! are not billed again. The same facts give the same plan, so a dry run and the real run agree, and their hash proves it.
use chrono::NaiveDate;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    period::{Fee, Period, Proration, Terms, due_periods, fee_for},
    predicate::Predicate,
    words::word_enum,
};
use crate::money::Money;

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
);

/// What is known of one engagement. Date ranges are half-open `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngagementFacts {
    /// Its terms.
    pub terms: Terms,
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
        /// The package fee for them.
        fee: Fee,
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
    let due = due_periods(&facts.terms, as_of);
    let sorted = Sorted::of(facts, &due, as_of);
    let within_limit = approval.approved || sorted.backfill <= approval.max_backfill_periods;
    Plan {
        planned: match reason_of_engagement(facts, as_of, &due, &sorted) {
            Some(reason) => vec![Planned::Skip { period: None, reason }],
            None => plan_periods(facts, &due, &sorted, within_limit),
        },
        predicates: predicates(facts, as_of, &due, &sorted, approval, within_limit),
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
    sorted: &Sorted,
) -> Option<SkipReason> {
    let over = facts.terms.ends_on.is_some_and(|ends_on| ends_on <= as_of);
    let nothing_left = sorted.unbilled.is_empty() && sorted.overlapping.is_empty();
    if !facts.signed || facts.status == EngagementStatus::Draft {
        Some(SkipReason::NotSigned)
    } else if facts.status == EngagementStatus::Canceled || (over && nothing_left) {
        Some(SkipReason::Ended)
    } else if due.is_empty() {
        Some(SkipReason::NotStarted)
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
                Some(Planned::Bill {
                    period: *period,
                    fee: fee_for(&facts.terms, period),
                })
            } else {
                skip(SkipReason::CatchUpNeedsApproval)
            }
        })
        .collect()
}

fn predicates(
    facts: &EngagementFacts,
    as_of: NaiveDate,
    due: &[Period],
    sorted: &Sorted,
    approval: Approval,
    within_limit: bool,
) -> Vec<Predicate> {
    let canceled = facts.status == EngagementStatus::Canceled;
    let mut predicates = vec![
        Predicate::new("engagement_signed", facts.signed, json!(facts.signed)),
        Predicate::new("engagement_not_canceled", !canceled, json!(facts.status)),
        Predicate::new(
            "engagement_started",
            !due.is_empty(),
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
    ];
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
    predicates.push(Predicate::new(
        "catch_up_within_limit",
        within_limit,
        json!({"behind": sorted.backfill, "limit": approval.max_backfill_periods, "approved": approval.approved}),
    ));
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
            Planned::Bill { period, fee } => format!("{} bill {}", period.start, fee.amount.minor()),
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
        for line in plan(facts, as_of, approval).planned {
            if let Planned::Bill { period, fee } = line {
                facts.billed.push((period.start, period.end));
                total_minor += fee.amount.minor();
            }
        }
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

        /// B-05, the pure half: runs at any intervals, repeated or late, bill every due period exactly once.
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
