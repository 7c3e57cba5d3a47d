//! Golden answers of `why-not invoice`, as text and as JSON, one for every reason; and that they agree with the plan.
use chrono::{DateTime, NaiveDate, Utc};
use proptest::prelude::*;

use super::{tests::both, *};
use crate::{
    currency::Currency,
    domain::{
        generate::{
            Approval, EngagementFacts, EngagementStatus, Hours, Planned, PricingMode, SkipReason, plan,
        },
        period::{Anchor, Cadence, Proration, Terms, periods},
    },
    money::Money,
};

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn now() -> DateTime<Utc> {
    "2026-05-03T08:00:00Z".parse().unwrap()
}

/// A monthly retainer of 2026, signed, with nothing billed of it.
fn retainer() -> EngagementFacts {
    EngagementFacts {
        terms: Terms {
            cadence: Cadence::Monthly,
            anchor: Anchor::Calendar,
            proration: Proration::FullFee,
            starts_on: date("2026-01-01"),
            ends_on: Some(date("2027-01-01")),
            fee: usd(100_000),
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

/// Hours alone, billed when a month is over.
fn hourly() -> EngagementFacts {
    EngagementFacts {
        mode: PricingMode::Hourly,
        ..retainer()
    }
}

fn worked(on: &str) -> Hours {
    Hours {
        worked_on: date(on),
        amount: usd(15_000),
    }
}

fn billed(start: &str, end: &str, number: i32) -> BilledPeriod {
    BilledPeriod {
        start: date(start),
        end: date(end),
        invoice: format!("PKG-0001-{number:06}"),
        doc_state: "issued".into(),
        total: usd(100_000),
        issued_at: Some(format!("{start}T02:00:00Z").parse().unwrap()),
        released: None,
    }
}

/// Of January up to `last`.
fn months(last: u32) -> Vec<BilledPeriod> {
    (1..=last)
        .map(|month| {
            let (start, end) = (format!("2026-{month:02}-01"), format!("2026-{:02}-01", month + 1));
            billed(&start, &end, i32::try_from(month).unwrap())
        })
        .collect()
}

fn facts(terms: Option<EngagementFacts>, billed: Vec<BilledPeriod>) -> BillingFacts {
    let standing = billed.iter().filter(|b| b.released.is_none());
    let periods: Vec<(NaiveDate, NaiveDate)> = standing.map(|b| (b.start, b.end)).collect();
    let terms = terms.map(|terms| EngagementFacts {
        billed: periods,
        ..terms
    });
    BillingFacts {
        id: "00000000-0000-7000-8000-0000000000e0".into(),
        label: "globex-retainer".into(),
        client: "globex".into(),
        firm: "acme".into(),
        status: "signed".into(),
        words: "version 1, signed, package, fee 1,000.00 USD, monthly (calendar, full_fee), 2026-01-01 until 2027-01-01".into(),
        timezone: "Europe/Berlin".into(),
        today: date("2026-05-03"),
        terms,
        billed,
        siblings: vec![],
        waiting: vec![],
        decisions: vec![],
        run: None,
        audit: vec![],
    }
}

fn decided(reason: &str) -> DecisionFacts {
    DecisionFacts {
        id: 9931,
        kind: "generate_package".into(),
        outcome: "skip".into(),
        reason_code: reason.into(),
        first_at: "2026-05-01T00:00:00Z".parse().unwrap(),
        last_at: "2026-05-03T00:00:00Z".parse().unwrap(),
        times: 3,
    }
}

/// A name, what was asked, the reason that must come out, and the facts.
fn cases() -> Vec<(&'static str, &'static str, &'static str, BillingFacts)> {
    let but = |change: fn(&mut EngagementFacts)| {
        let mut terms = retainer();
        change(&mut terms);
        facts(Some(terms), months(4))
    };
    let mut not_signed = but(|terms| {
        terms.signed = false;
        terms.status = EngagementStatus::Draft;
    });
    not_signed.billed.clear();
    not_signed.decisions.push(decided("not_signed"));
    let later = but(|terms| terms.terms.starts_on = date("2026-06-15"));
    let mut void = months(5);
    void[4].doc_state = "void".into();
    let mut reissued = void.clone();
    reissued[4].released = Some((now(), "wrong fee".into()));
    let mut overlap = but(|terms| {
        terms.terms.starts_on = date("2026-05-15");
        terms.lineage_billed = vec![(date("2026-05-01"), date("2026-05-15"))];
    });
    overlap.billed.clear();
    overlap.today = date("2026-05-20");
    overlap.siblings = vec![("globex-old".into(), billed("2026-05-01", "2026-05-15", 5))];
    let mut waiting = facts(Some(hourly()), vec![]);
    waiting.waiting = [
        ("2026-04-07", "approval", 3),
        ("2026-04-08", "client", 1),
        ("2026-05-02", "approval", 9),
    ]
    .map(|(on, who, entries)| WaitingTime {
        worked_on: date(on),
        waits_for: who.into(),
        entries,
    })
    .into();
    let mut with_hours = hourly();
    with_hours.hours = vec![worked("2026-04-07"), worked("2026-04-09")];
    let mut left = with_hours.clone();
    left.terms.ends_on = Some(date("2026-05-01"));
    left.status = EngagementStatus::Ended;
    vec![
        (
            "due",
            "2026-05",
            "invoice_due",
            facts(Some(retainer()), months(4)),
        ),
        (
            "billed",
            "2026-05-17",
            "already_billed",
            facts(Some(retainer()), months(5)),
        ),
        (
            "void",
            "2026-05",
            "period_of_void_invoice",
            facts(Some(retainer()), void),
        ),
        (
            "reissued",
            "2026-05",
            "invoice_due",
            facts(Some(retainer()), reissued),
        ),
        ("not_signed", "2026-05", "not_signed", not_signed),
        (
            "before_start",
            "2025-12",
            "before_start",
            facts(Some(retainer()), months(5)),
        ),
        (
            "after_end",
            "2027-01-01",
            "after_end",
            facts(Some(retainer()), months(5)),
        ),
        (
            "not_due",
            "2026-06",
            "not_due",
            facts(Some(retainer()), months(5)),
        ),
        ("not_started", "2026-06", "not_started", later),
        (
            "canceled",
            "2026-05",
            "ended",
            but(|terms| terms.status = EngagementStatus::Canceled),
        ),
        (
            "invoicing_paused",
            "2026-05",
            "invoicing_paused",
            but(|terms| terms.firm_invoicing_paused = true),
        ),
        (
            "client_parked",
            "2026-05",
            "client_parked",
            but(|terms| terms.client_parked = true),
        ),
        (
            "catch_up",
            "2026-05",
            "catch_up_needs_approval",
            facts(Some(retainer()), months(1)),
        ),
        ("overlap", "2026-05", "renewal_overlap_needs_choice", overlap),
        ("no_approved_time", "2026-04", "no_approved_time", waiting),
        (
            "hours_due",
            "2026-04",
            "invoice_due",
            facts(Some(with_hours.clone()), months(3)),
        ),
        (
            "hours_not_over",
            "2026-05",
            "not_due",
            facts(Some(with_hours), months(3)),
        ),
        (
            "time_left",
            "2026-04",
            "time_left_unbilled",
            facts(Some(left), months(4)),
        ),
        ("on_demand", "2026-05", "billed_on_demand", facts(None, vec![])),
    ]
}

#[test]
fn p10_why_not_invoice_answers_each_case_with_its_reason() {
    for (name, asked, code, facts) in cases() {
        let answer = why_not_invoice(&facts, asked.parse().unwrap(), now());
        assert_eq!(answer.reason_code.as_deref(), Some(code), "{name}");
        insta::assert_snapshot!(format!("why_not_invoice_{name}"), both(&answer));
    }
}

/// Every reason that generation has is one of the answers above, and every one of the answers' own.
#[test]
fn p10_every_reason_not_to_invoice_has_a_golden_answer() {
    let codes: Vec<&str> = cases().into_iter().map(|(_, _, code, _)| code).collect();
    let reasons = SkipReason::ALL.iter().map(|reason| reason.as_str());
    for code in reasons.chain(NoInvoice::ALL.iter().map(|reason| reason.as_str())) {
        assert!(codes.contains(&code), "no golden answer for {code}");
    }
}

#[test]
fn p10_an_engagement_is_explained_with_its_periods_and_the_next_run() {
    let (_, _, _, mut overlap) = cases().into_iter().find(|case| case.0 == "overlap").unwrap();
    overlap.decisions.push(decided("renewal_overlap_needs_choice"));
    let cases = [
        ("due", facts(Some(retainer()), months(4))),
        ("billed", facts(Some(retainer()), months(5))),
        ("overlap", overlap),
        ("on_demand", facts(None, vec![])),
    ];
    for (name, facts) in cases {
        insta::assert_snapshot!(
            format!("explain_engagement_{name}"),
            both(&engagement(&facts, now()))
        );
    }
}

#[test]
fn p10_a_period_is_asked_for_by_month_or_by_a_day_in_it() {
    let mut terms = retainer();
    terms.terms.anchor = Anchor::Anniversary;
    terms.terms.starts_on = date("2026-01-15");
    let facts = facts(Some(terms), vec![]);
    let period = |asked: &str| {
        let answer = why_not_invoice(&facts, asked.parse().unwrap(), now());
        let link = answer.chain.into_iter().find(|link| link.what == "period");
        link.map(|link| link.text.split(',').next().unwrap().to_owned())
    };
    let of_march = Some("2026-03-15 until 2026-04-15".to_owned());
    assert_eq!(period("2026-03"), of_march);
    assert_eq!(period("2026-03-15"), of_march);
    assert_eq!(period("2026-04-14"), of_march);
    assert_eq!(period("2026-01"), Some("2026-01-15 until 2026-02-15".to_owned()));
    assert_eq!(period("2026-01-14"), None);
    // A period that no month begins with is the one that it lies in: the last one, cut short.
    assert_eq!(period("2027-01"), None);
    for wrong in ["2026", "May", "2026-13", "2026-02-30", ""] {
        assert!(wrong.parse::<AskedPeriod>().is_err(), "{wrong}");
    }
}

#[test]
fn p10_what_an_engagement_bills_is_said_before_what_waits_and_that_before_what_is_billed() {
    let mut terms = retainer();
    terms.lineage_billed = vec![(date("2026-01-01"), date("2026-02-01"))];
    let code =
        |terms: &EngagementFacts, billed| engagement(&facts(Some(terms.clone()), billed), now()).reason_code;
    let of = |start, end| billed(start, end, 1);
    let until_may = vec![of("2026-02-01", "2026-05-01")];
    assert_eq!(
        code(&terms, until_may).as_deref(),
        Some("invoice_due"),
        "May, whatever January waits for"
    );
    let all = vec![of("2026-02-01", "2026-06-01")];
    assert_eq!(code(&terms, all).as_deref(), Some("renewal_overlap_needs_choice"));
}

#[test]
fn p10_a_period_is_due_on_its_day() {
    let mut facts = facts(Some(retainer()), months(4));
    for (today, code) in [("2026-04-30", "not_due"), ("2026-05-01", "invoice_due")] {
        facts.today = date(today);
        let answer = why_not_invoice(&facts, "2026-05".parse().unwrap(), now());
        assert_eq!(answer.reason_code.as_deref(), Some(code), "{today}");
    }
}

#[test]
fn p10_time_that_is_left_is_told_of_the_periods_that_it_could_be_of() {
    let mut terms = hourly();
    terms.terms.ends_on = Some(date("2026-06-01"));
    terms.status = EngagementStatus::Ended;
    terms.hours = vec![worked("2026-05-01")];
    let mut facts = facts(Some(terms), months(5));
    facts.today = date("2026-06-03");
    let code =
        |facts: &BillingFacts, asked: &str| why_not_invoice(facts, asked.parse().unwrap(), now()).reason_code;
    assert_eq!(code(&facts, "2026-05").as_deref(), Some("time_left_unbilled"));
    assert_eq!(
        code(&facts, "2026-04").as_deref(),
        Some("already_billed"),
        "the day after is none of its"
    );
    // Nothing was worked in a month, and the engagement is over: that it is over is no reason.
    let mut idle = facts.clone();
    idle.billed.truncate(3);
    if let Some(terms) = &mut idle.terms {
        terms.billed.truncate(3);
        terms.hours.clear();
    }
    assert_eq!(code(&idle, "2026-04").as_deref(), Some("no_approved_time"));
}

#[test]
fn p10_time_is_told_of_the_days_of_the_period_and_the_last_run_as_such() {
    let mut terms = hourly();
    terms.hours = ["2026-03-31", "2026-04-01", "2026-04-30", "2026-05-01"]
        .map(worked)
        .into();
    let mut facts = facts(Some(terms), months(3));
    facts.waiting = [("2026-04-01", 1), ("2026-04-30", 2), ("2026-05-01", 4)]
        .map(|(on, entries)| WaitingTime {
            worked_on: date(on),
            waits_for: "approval".into(),
            entries,
        })
        .into();
    facts.run = Some(super::tests::generated());
    let chain = why_not_invoice(&facts, "2026-04".parse().unwrap(), now()).chain;
    let told: Vec<&str> = chain
        .iter()
        .filter(|link| link.what == "time")
        .map(|link| link.text.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "2 approved entries that are on no invoice, 300.00 USD",
            "3 entries wait for approval"
        ]
    );
    assert_eq!(chain.iter().filter(|link| link.what == "last run").count(), 1);
}

proptest! {
    /// What the plan bills is due, and nothing else is; and there is always a reason with something to do.
    #[test]
    fn p10_why_not_invoice_agrees_with_the_plan_of_the_job(
        mode in proptest::sample::select(PricingMode::ALL),
        status in proptest::sample::select(EngagementStatus::ALL),
        flags in proptest::collection::vec(any::<bool>(), 4),
        starts in 0_i64..200,
        lasts in proptest::option::of(1_i64..300),
        months_billed in proptest::collection::vec(any::<bool>(), 12),
        hours in proptest::collection::vec(0_i64..360, 0..4),
        today in 0_i64..400,
    ) {
        let day = |days: i64| date("2026-01-01") + chrono::Duration::days(days);
        let mut terms = retainer();
        terms.mode = mode;
        terms.status = status;
        terms.signed = status != EngagementStatus::Draft;
        terms.client_parked = flags[0];
        terms.firm_invoicing_paused = flags[1];
        terms.terms.anchor = if flags[2] { Anchor::Anniversary } else { Anchor::Calendar };
        terms.terms.starts_on = day(starts);
        terms.terms.ends_on = lasts.map(|days| day(starts + days));
        if mode == PricingMode::Hourly { terms.terms.fee = usd(0); }
        if mode != PricingMode::Package {
            terms.hours = hours.iter().map(|on| Hours { worked_on: day(*on), amount: usd(10_000) }).collect();
        }
        let all: Vec<_> = periods(&terms.terms).take(12).collect();
        let standing: Vec<BilledPeriod> = all.iter().zip(&months_billed).filter(|(_, is)| **is)
            .map(|(period, _)| BilledPeriod { start: period.start, end: period.end, ..billed("2026-01-01", "2026-02-01", 1) })
            .collect();
        let mut facts = facts(Some(terms), standing);
        facts.today = day(today);
        let planned = plan(facts.terms.as_ref().unwrap(), facts.today, Approval::default()).planned;
        for period in all {
            let answer = why_not_invoice(&facts, AskedPeriod::Day(period.start), now());
            let bills = planned.iter().any(|line| matches!(line, Planned::Bill { period: other, .. } if *other == period));
            prop_assert_eq!(answer.reason_code.as_deref() == Some("invoice_due"), bills, "{:?}", answer);
            for line in &planned {
                if let Planned::Skip { period: Some(other), reason } = line && *other == period {
                    prop_assert_eq!(answer.reason_code.as_deref(), Some(reason.as_str()));
                }
            }
            prop_assert!(!answer.remedies.is_empty() && !answer.verdict.is_empty());
        }
    }
}
