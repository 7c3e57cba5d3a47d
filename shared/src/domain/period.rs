//! Which days an engagement bills, and how much for them.
//!
//! Period `k` is always computed from the anchor, anchor + k × cadence, and never from the period before it: the 31st of
//! January gives the 28th of February and then the 31st of March again. Ranges are half-open `[start, end)`, so the
//! periods of an engagement touch, never overlap, and together are the engagement exactly (the property below).
//! Dates are local dates of the firm; no time zone and no clock comes in here.
use chrono::{Datelike, Months, NaiveDate};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::json;

use super::words::word_enum;
use crate::money::Money;

word_enum!(
    /// How often a package fee is due.
    Cadence, "cadence":
    /// Every month.
    Monthly = "monthly",
    /// Every three months.
    Quarterly = "quarterly",
    /// Every year.
    Annual = "annual",
    /// Once for the whole engagement.
    OneTime = "one_time",
);

word_enum!(
    /// Where periods begin.
    Anchor, "period_anchor":
    /// On the first of a month, of a quarter or of a year.
    Calendar = "calendar",
    /// On the day the engagement began.
    Anniversary = "anniversary",
);

word_enum!(
    /// What a period that the engagement covers only in part costs.
    Proration, "proration":
    /// The full fee, with a warning.
    FullFee = "full_fee",
    /// The fee by days.
    Daily = "daily",
);

/// What of an engagement decides its periods and fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How often the fee is due.
    pub cadence: Cadence,
    /// Where periods begin.
    pub anchor: Anchor,
    /// What a clipped period costs.
    pub proration: Proration,
    /// First day of the engagement.
    pub starts_on: NaiveDate,
    /// First day after the engagement; `None` while it is open.
    pub ends_on: Option<NaiveDate>,
    /// The fee of a full period.
    pub fee: Money,
}

/// One period of an engagement: the days that it bills, and the full period that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Number of the period, counted from the anchor, from 0.
    pub index: u32,
    /// First day billed.
    pub start: NaiveDate,
    /// First day no longer billed.
    pub end: NaiveDate,
    /// First day of the period, were the engagement to cover all of it.
    pub full_start: NaiveDate,
    /// First day after the period, were the engagement to cover all of it.
    pub full_end: NaiveDate,
}

/// What a period costs, and how that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fee {
    /// The amount.
    pub amount: Money,
    /// Enough to recompute the amount; kept with the period and the invoice line.
    pub derivation: serde_json::Value,
    /// What a person should look at before the invoice goes out.
    pub warnings: Vec<Warning>,
}

/// Something about a fee that is allowed but may not be meant. Serialised as `{"code", "message"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// A period that is only partly covered is charged in full.
    ClippedPeriodFullFee {
        /// Days of the period that the engagement covers.
        days: u32,
        /// Days of the full period.
        full_days: u32,
        /// The fee charged for them.
        fee: Money,
    },
    /// Stripe will not charge so little.
    BelowMinimumCharge {
        /// The amount.
        amount: Money,
        /// The least that Stripe charges.
        minimum: Money,
    },
}

impl Cadence {
    /// Length in months; `None` for one that does not repeat.
    const fn months(self) -> Option<u32> {
        match self {
            Self::Monthly => Some(1),
            Self::Quarterly => Some(3),
            Self::Annual => Some(12),
            Self::OneTime => None,
        }
    }
}

impl Terms {
    /// The day that period 0 is counted from.
    fn anchor_on(&self) -> Option<NaiveDate> {
        match (self.anchor, self.cadence.months()) {
            (Anchor::Calendar, Some(months)) => {
                let first_month = self.starts_on.month0() / months * months;
                self.starts_on.with_day(1)?.with_month0(first_month)
            }
            (Anchor::Anniversary, _) | (Anchor::Calendar, None) => Some(self.starts_on),
        }
    }

    /// Period `index`, or `None` when the engagement ends before it (or the calendar does).
    fn period(&self, index: u32) -> Option<Period> {
        let (full_start, full_end) = match self.cadence.months() {
            Some(months) => {
                let anchor_on = self.anchor_on()?;
                let boundary = |k: u32| anchor_on.checked_add_months(Months::new(k.checked_mul(months)?));
                (boundary(index)?, boundary(index.checked_add(1)?)?)
            }
            None if index == 0 => (
                self.starts_on,
                self.ends_on.or_else(|| self.starts_on.succ_opt())?,
            ),
            None => return None,
        };
        let start = full_start.max(self.starts_on);
        let end = self.ends_on.map_or(full_end, |ends_on| full_end.min(ends_on));
        (start < end).then_some(Period {
            index,
            start,
            end,
            full_start,
            full_end,
        })
    }
}

impl Period {
    /// Whether the engagement covers only part of the period.
    #[must_use]
    pub fn is_clipped(&self) -> bool {
        (self.start, self.end) != (self.full_start, self.full_end)
    }

    /// Days billed.
    #[must_use]
    pub fn days(&self) -> u32 {
        days_between(self.start, self.end)
    }

    /// Days of the full period.
    #[must_use]
    pub fn full_days(&self) -> u32 {
        days_between(self.full_start, self.full_end)
    }
}

/// The periods of an engagement, first to last; without end while the engagement is open.
pub fn periods(terms: &Terms) -> impl Iterator<Item = Period> + use<> {
    let terms = *terms;
    (0..).map_while(move |index| terms.period(index))
}

/// The periods that have begun by `as_of`: a fee is due on the first day of its period.
#[must_use]
pub fn due_periods(terms: &Terms, as_of: NaiveDate) -> Vec<Period> {
    periods(terms)
        .take_while(|period| period.start <= as_of)
        .collect()
}

/// The periods that are over by `as_of`: hours are due when their period has ended.
#[must_use]
pub fn over_periods(terms: &Terms, as_of: NaiveDate) -> Vec<Period> {
    periods(terms).take_while(|period| period.end <= as_of).collect()
}

/// What a period costs: the fee; for a clipped one, by the engagement's proration, all of it with a warning or its share
/// by days, rounded half to even.
#[must_use]
pub fn fee_for(terms: &Terms, period: &Period) -> Fee {
    let (days, full_days) = (period.days(), period.full_days());
    let (numerator, denominator) = match terms.proration {
        Proration::Daily => (days, full_days),
        Proration::FullFee => (1, 1),
    };
    let amount = terms.fee.share(numerator, denominator);
    let mut warnings = Vec::new();
    if period.is_clipped() && terms.proration == Proration::FullFee {
        warnings.push(Warning::ClippedPeriodFullFee {
            days,
            full_days,
            fee: amount,
        });
    }
    let derivation = json!({
        "cadence": terms.cadence,
        "anchor": terms.anchor,
        "anchor_on": terms.anchor_on(),
        "index": period.index,
        "start": period.start,
        "end": period.end,
        "full_start": period.full_start,
        "full_end": period.full_end,
        "clipped": period.is_clipped(),
        "proration": terms.proration,
        "fee_minor": terms.fee.minor(),
        "numerator": numerator,
        "denominator": denominator,
        "rounding": "half_even",
        "amount_minor": amount.minor(),
    });
    Fee {
        amount,
        derivation,
        warnings,
    }
}

/// The warning about an invoice that Stripe will not charge for being too small.
#[must_use]
pub fn below_minimum(amount: Money) -> Option<Warning> {
    let minimum = Money::new(amount.currency().minimum_charge_minor(), amount.currency());
    (amount.minor() < minimum.minor()).then_some(Warning::BelowMinimumCharge { amount, minimum })
}

impl Warning {
    /// The word for it in documents and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ClippedPeriodFullFee { .. } => "clipped_period_full_fee",
            Self::BelowMinimumCharge { .. } => "below_minimum_charge",
        }
    }

    /// The sentence for a person.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::ClippedPeriodFullFee { days, full_days, fee } => format!(
                "the full fee of {fee} is charged although the engagement covers only {days} of {full_days} days; \
                 proration 'daily' would charge by days"
            ),
            Self::BelowMinimumCharge { amount, minimum } => {
                format!(
                    "{amount} is less than the {minimum} that Stripe charges at least: it will not be collected by itself"
                )
            }
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Warning", 2)?;
        object.serialize_field("code", self.code())?;
        object.serialize_field("message", &self.message())?;
        object.end()
    }
}

/// Days of `[start, end)`; none when they are out of order.
fn days_between(start: NaiveDate, end: NaiveDate) -> u32 {
    u32::try_from((end - start).num_days()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::currency::Currency;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn terms(cadence: Cadence, anchor: Anchor, starts_on: &str, ends_on: Option<&str>) -> Terms {
        Terms {
            cadence,
            anchor,
            proration: Proration::FullFee,
            starts_on: day(starts_on),
            ends_on: ends_on.map(day),
            fee: Money::new(100_000, Currency::USD),
        }
    }

    fn ranges(terms: &Terms, count: usize) -> Vec<String> {
        periods(terms)
            .take(count)
            .map(|p| format!("{}..{}", p.start, p.end))
            .collect()
    }

    #[test]
    fn calendar_months_begin_on_the_first_and_the_first_one_is_clipped() {
        let terms = terms(
            Cadence::Monthly,
            Anchor::Calendar,
            "2026-01-15",
            Some("2026-03-10"),
        );
        assert_eq!(
            ranges(&terms, 9),
            [
                "2026-01-15..2026-02-01",
                "2026-02-01..2026-03-01",
                "2026-03-01..2026-03-10"
            ]
        );
        let clipped: Vec<bool> = periods(&terms).map(|p| p.is_clipped()).collect();
        assert_eq!(clipped, [true, false, true]);
    }

    #[test]
    fn calendar_quarters_and_years_begin_where_quarters_and_years_do() {
        let quarterly = terms(Cadence::Quarterly, Anchor::Calendar, "2026-02-14", None);
        assert_eq!(
            ranges(&quarterly, 3),
            [
                "2026-02-14..2026-04-01",
                "2026-04-01..2026-07-01",
                "2026-07-01..2026-10-01"
            ]
        );
        let first = periods(&quarterly).next().unwrap();
        assert_eq!(
            (first.full_start, first.full_end),
            (day("2026-01-01"), day("2026-04-01"))
        );
        let annual = terms(Cadence::Annual, Anchor::Calendar, "2026-12-31", None);
        assert_eq!(
            ranges(&annual, 2),
            ["2026-12-31..2027-01-01", "2027-01-01..2028-01-01"]
        );
    }

    #[test]
    fn an_anniversary_on_the_31st_returns_to_the_31st() {
        let terms = terms(Cadence::Monthly, Anchor::Anniversary, "2028-01-31", None);
        assert_eq!(
            ranges(&terms, 4),
            [
                "2028-01-31..2028-02-29",
                "2028-02-29..2028-03-31",
                "2028-03-31..2028-04-30",
                "2028-04-30..2028-05-31"
            ]
        );
    }

    #[test]
    fn an_anniversary_on_a_leap_day_returns_to_it_every_four_years_but_not_in_2100() {
        let terms = terms(Cadence::Annual, Anchor::Anniversary, "2096-02-29", None);
        let starts: Vec<String> = periods(&terms).take(9).map(|p| p.start.to_string()).collect();
        assert_eq!(
            (starts[1].as_str(), starts[4].as_str(), starts[8].as_str()),
            ("2097-02-28", "2100-02-28", "2104-02-29")
        );
    }

    #[test]
    fn one_time_is_one_period_of_the_engagement_or_of_its_first_day() {
        for anchor in [Anchor::Calendar, Anchor::Anniversary] {
            assert_eq!(
                ranges(&terms(Cadence::OneTime, anchor, "2026-05-20", None), 9),
                ["2026-05-20..2026-05-21"]
            );
            let bounded = terms(Cadence::OneTime, anchor, "2026-05-20", Some("2026-11-03"));
            assert_eq!(ranges(&bounded, 9), ["2026-05-20..2026-11-03"]);
            assert!(!periods(&bounded).next().unwrap().is_clipped());
        }
    }

    #[test]
    fn a_period_is_due_on_its_first_day() {
        let terms = terms(Cadence::Monthly, Anchor::Calendar, "2026-01-15", None);
        let due = |as_of: &str| due_periods(&terms, day(as_of)).len();
        assert_eq!(
            (
                due("2026-01-14"),
                due("2026-01-15"),
                due("2026-01-31"),
                due("2026-02-01")
            ),
            (0, 1, 1, 2)
        );
    }

    #[test]
    fn an_engagement_without_days_has_no_periods() {
        for ends_on in ["2026-01-01", "2025-06-01"] {
            for cadence in Cadence::ALL {
                assert_eq!(
                    periods(&terms(*cadence, Anchor::Calendar, "2026-01-01", Some(ends_on))).count(),
                    0
                );
            }
        }
    }

    #[test]
    fn periods_stop_where_the_calendar_does() {
        let last = NaiveDate::MAX.pred_opt().unwrap();
        for cadence in Cadence::ALL {
            for anchor in Anchor::ALL {
                let terms = Terms {
                    starts_on: last,
                    ..terms(*cadence, *anchor, "2026-01-01", None)
                };
                assert!(periods(&terms).count() <= 1);
            }
        }
    }

    /// S16, A-05.
    #[test]
    fn a_clipped_period_costs_the_full_fee_with_a_warning_or_its_days() {
        let full_fee = terms(Cadence::Monthly, Anchor::Calendar, "2026-01-15", None);
        let daily = Terms {
            proration: Proration::Daily,
            ..full_fee
        };
        let clipped = periods(&full_fee).next().unwrap();

        let fee = fee_for(&full_fee, &clipped);
        assert_eq!(
            (fee.amount.minor(), fee.warnings[0].code()),
            (100_000, "clipped_period_full_fee")
        );
        assert_eq!(
            fee.warnings[0].message(),
            "the full fee of 1,000.00 USD is charged although the engagement covers only 17 of 31 days; \
             proration 'daily' would charge by days"
        );

        let fee = fee_for(&daily, &clipped);
        assert_eq!(
            (fee.amount.minor(), fee.warnings.as_slice()),
            (54_839, [].as_slice())
        );
        insta::assert_snapshot!(fee.derivation, @r#"{"amount_minor":54839,"anchor":"calendar","anchor_on":"2026-01-01","cadence":"monthly","clipped":true,"denominator":31,"end":"2026-02-01","fee_minor":100000,"full_end":"2026-02-01","full_start":"2026-01-01","index":0,"numerator":17,"proration":"daily","rounding":"half_even","start":"2026-01-15"}"#);

        let whole = periods(&daily).nth(1).unwrap();
        for terms in [full_fee, daily] {
            let fee = fee_for(&terms, &whole);
            assert_eq!((fee.amount.minor(), fee.warnings.len()), (100_000, 0));
        }
    }

    #[test]
    fn a_fee_below_stripes_minimum_is_warned_of() {
        let terms = Terms {
            proration: Proration::Daily,
            fee: Money::new(1_000, Currency::USD),
            ..terms(Cadence::Monthly, Anchor::Calendar, "2026-01-31", None)
        };
        let fee = fee_for(&terms, &periods(&terms).next().unwrap());
        assert_eq!((fee.amount.minor(), fee.warnings.len()), (32, 0));
        assert_eq!(below_minimum(Money::new(50, Currency::USD)), None);
        let warning = below_minimum(fee.amount).unwrap();
        assert_eq!(warning.code(), "below_minimum_charge");
        let json = serde_json::to_value(warning).unwrap();
        assert_eq!(
            json["message"],
            "0.32 USD is less than the 0.50 USD that Stripe charges at least: it will not be collected by itself"
        );
    }

    #[test]
    fn an_unknown_cadence_is_told_which_there_are() {
        assert_eq!(
            "weekly".parse::<Cadence>().unwrap_err().to_string(),
            "unknown cadence 'weekly': use monthly, quarterly, annual or one_time"
        );
    }

    /// B-06 in full: no gap, no overlap, no sliver, and the union is the engagement.
    fn assert_partition(terms: &Terms, ends_on: NaiveDate) {
        let all: Vec<Period> = periods(terms).collect();
        assert_eq!(all.first().map(|p| p.start), Some(terms.starts_on), "{terms:?}");
        assert_eq!(all.last().map(|p| p.end), Some(ends_on), "{terms:?}");
        for pair in all.windows(2) {
            assert_eq!(
                (pair[0].end, pair[0].full_end),
                (pair[1].start, pair[1].full_start),
                "{terms:?}"
            );
        }
        for (position, period) in all.iter().enumerate() {
            assert_eq!(period.index as usize, position);
            assert!(
                period.start < period.end
                    && period.full_start <= period.start
                    && period.end <= period.full_end
            );
            let inner = position > 0 && position + 1 < all.len();
            assert!(!(inner && period.is_clipped()), "sliver {period:?} of {terms:?}");
            assert!(
                period.full_days() >= 28 || terms.cadence == Cadence::OneTime,
                "sliver {period:?} of {terms:?}"
            );
        }
        let mut shares = 0;
        for period in &all {
            shares += period.days();
        }
        assert_eq!(i64::from(shares), (ends_on - terms.starts_on).num_days());
    }

    /// R032, B-06.
    #[test]
    fn anchors_28_to_31_partition_ten_years_around_2028_and_2100() {
        for (first_year, last_year) in [(2022, 2032), (2094, 2104)] {
            for (month, anchor_day) in [
                (1, 28),
                (1, 29),
                (1, 30),
                (1, 31),
                (2, 28),
                (2, 29),
                (8, 31),
                (11, 30),
                (12, 31),
            ] {
                let first = (first_year..)
                    .find_map(|year| NaiveDate::from_ymd_opt(year, month, anchor_day))
                    .unwrap();
                let ends_on = NaiveDate::from_ymd_opt(last_year, 6, 15).unwrap();
                for cadence in Cadence::ALL {
                    for anchor in Anchor::ALL {
                        let base = terms(*cadence, *anchor, "2026-01-01", None);
                        assert_partition(
                            &Terms {
                                starts_on: first,
                                ends_on: Some(ends_on),
                                ..base
                            },
                            ends_on,
                        );
                    }
                }
            }
        }
    }

    fn any_day() -> impl Strategy<Value = NaiveDate> {
        (0..36_525_u64).prop_map(|days| day("2010-01-01") + chrono::Days::new(days))
    }

    proptest! {
        /// R012, R032.
        #[test]
        fn the_periods_of_any_engagement_partition_it(
            starts_on in any_day(), length in 1..4_000_u64,
            cadence in prop::sample::select(Cadence::ALL), anchor in prop::sample::select(Anchor::ALL),
        ) {
            let ends_on = starts_on + chrono::Days::new(length);
            let base = terms(cadence, anchor, "2026-01-01", None);
            assert_partition(&Terms { starts_on, ends_on: Some(ends_on), ..base }, ends_on);
        }

        #[test]
        fn shortening_an_engagement_changes_no_earlier_period(
            starts_on in any_day(), shorter in 1..800_u64, longer in 1..800_u64,
            cadence in prop::sample::select(&[Cadence::Monthly, Cadence::Quarterly, Cadence::Annual][..]),
            anchor in prop::sample::select(Anchor::ALL),
        ) {
            let base = Terms { starts_on, ..terms(cadence, anchor, "2026-01-01", None) };
            let until = |length| Terms { ends_on: Some(starts_on + chrono::Days::new(length)), ..base };
            let (short, long) = (until(shorter.min(longer)), until(shorter.max(longer)));
            let short: Vec<Period> = periods(&short).collect();
            let long: Vec<Period> = periods(&long).collect();
            let kept = short.len() - 1;
            prop_assert_eq!(&short[..kept], &long[..kept]);
            prop_assert_eq!(short[kept].start, long[kept].start);
        }

        #[test]
        fn a_fee_is_never_more_than_the_fee(starts_on in any_day(), length in 1..800_u64, minor in 1..1_000_000_i64) {
            for proration in Proration::ALL {
                for cadence in Cadence::ALL {
                    let terms = Terms {
                        proration: *proration,
                        fee: Money::new(minor, Currency::USD),
                        starts_on,
                        ends_on: Some(starts_on + chrono::Days::new(length)),
                        ..terms(*cadence, Anchor::Calendar, "2026-01-01", None)
                    };
                    for period in periods(&terms) {
                        let amount = fee_for(&terms, &period).amount;
                        prop_assert!(amount.minor() <= minor);
                        prop_assert!(period.is_clipped() || amount.minor() == minor);
                    }
                }
            }
        }
    }
}
