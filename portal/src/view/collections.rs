//! From sums of invoices and attempts to what people look at: months, ages, reasons, the funnel of retries.

use chrono::{Datelike as _, Months, NaiveDate};
use shared::store::portal::collections::{Age, Decline, MonthSum, Rung};

use super::{
    Empty,
    chart::{Bars, Columns, of, percent},
    text,
};

/// Months shown.
pub const MONTHS: u32 = 12;

/// The first day of the first month that is shown.
#[must_use]
pub fn since(today: NaiveDate) -> NaiveDate {
    let first = today.with_day(1).unwrap_or(today);
    first.checked_sub_months(Months::new(MONTHS - 1)).unwrap_or(first)
}

/// What was settled and what is open of what was issued in each month. A month without invoices is there too.
#[must_use]
pub fn months(sums: &[MonthSum], today: NaiveDate, currency: &str) -> Columns {
    let mut month = since(today);
    let mut columns = Vec::new();
    while month <= today {
        let sum = sums.iter().find(|sum| sum.month == month);
        let parts = sum.map_or([0, 0], |sum| [sum.settled_minor, sum.open_minor]);
        columns.push((month.format("%b %y").to_string(), parts));
        match month.checked_add_months(Months::new(1)) {
            Some(next) => month = next,
            None => break,
        }
    }
    let (settled, open) = columns
        .iter()
        .fold((0_i64, 0_i64), |(settled, open), (_, parts)| {
            (settled.saturating_add(parts[0]), open.saturating_add(parts[1]))
        });
    let summary = format!(
        "Of what was invoiced in the last {MONTHS} months, {} is settled and {} is open.",
        text::money(settled, currency),
        text::money(open, currency)
    );
    Columns::new(
        ("months", "Collected against open, by month of invoice"),
        summary,
        ("Month", ["Collected", "Open"]),
        &columns,
        |minor| text::money(minor, currency),
    )
}

/// How long past due, in the order that it is read.
pub const AGES: [(&str, &str); 5] = [
    ("not_due", "Not due yet"),
    ("1_30", "1 to 30 days late"),
    ("31_60", "31 to 60 days late"),
    ("61_90", "61 to 90 days late"),
    ("over_90", "More than 90 days late"),
];

/// What is open, by how late it is.
#[must_use]
pub fn ageing(ages: &[Age], currency: &str) -> Bars {
    let whole: i64 = ages.iter().map(|age| age.open_minor).sum();
    let rows = AGES
        .iter()
        .map(|(key, name)| {
            let age = ages.iter().find(|age| age.bucket == *key);
            let minor = age.map_or(0, |age| age.open_minor);
            let figures = vec![
                text::money(minor, currency),
                format!("{} %", percent(minor, whole)),
            ];
            ((*name).to_owned(), minor, figures)
        })
        .collect();
    Bars::new(
        (
            "Ageing",
            format!("{} is open in all.", text::money(whole, currency)),
        ),
        ("Age", &["Open", "Share"]),
        rows,
        Empty::new("Nothing is open.", "Every issued invoice is settled."),
    )
}

/// Why cards were declined.
#[must_use]
pub fn declines(declines: &[Decline]) -> Bars {
    let whole: i64 = declines.iter().map(|decline| decline.attempts).sum();
    let rows = declines
        .iter()
        .map(|decline| {
            let figures = vec![
                text::count(decline.attempts),
                format!("{} %", percent(decline.attempts, whole)),
            ];
            (text::spoken(&decline.reason), decline.attempts, figures)
        })
        .collect();
    Bars::new(
        (
            "Why charges failed",
            format!("{} failed attempts in the last 90 days.", text::count(whole)),
        ),
        ("Reason", &["Attempts", "Share"]),
        rows,
        Empty::new(
            "No charge failed in the last 90 days.",
            "Reasons appear here as issuers and Stripe name them.",
        ),
    )
}

/// How far collection had to go: attempts at each step, and what each brought in.
#[must_use]
pub fn funnel(rungs: &[Rung]) -> Bars {
    let rows = rungs
        .iter()
        .map(|rung| {
            let name = match rung.step {
                0 => "First attempt".to_owned(),
                step => format!("Retry {step}"),
            };
            (
                name,
                rung.tried,
                vec![text::count(rung.tried), of(rung.succeeded, rung.tried)],
            )
        })
        .collect();
    let (first, recovered) = rungs
        .iter()
        .fold((0, 0), |(first, recovered), rung| match rung.step {
            0 => (first + rung.tried - rung.succeeded, recovered),
            _ => (first, recovered + rung.succeeded),
        });
    Bars::new(
        (
            "Dunning funnel",
            format!(
                "Of {} first attempts that failed, retries have brought in {}.",
                text::count(first),
                text::count(recovered)
            ),
        ),
        ("Step", &["Tried", "Succeeded"]),
        rows,
        Empty::new(
            "Nothing was charged in the last 90 days.",
            "Steps appear when invoices are collected by card.",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn r207_every_month_is_there_even_one_without_invoices() {
        let sums = [MonthSum {
            month: on("2026-01-01"),
            settled_minor: 900,
            open_minor: 100,
        }];
        let chart = months(&sums, on("2026-03-31"), "usd");
        assert_eq!(chart.rows.len(), 12);
        assert_eq!(chart.rows[0].0, "Apr 25");
        assert_eq!(
            chart.rows[9],
            ("Jan 26".into(), ["9.00 USD".into(), "1.00 USD".into()])
        );
        assert_eq!(chart.rects.len(), 2);
        assert!(
            chart.summary.contains("9.00 USD is settled and 1.00 USD is open"),
            "{}",
            chart.summary
        );
    }

    #[test]
    fn r207_ages_are_all_shown_in_order_and_nothing_open_is_said_in_words() {
        let ages = [
            Age {
                bucket: "31_60".into(),
                open_minor: 300,
            },
            Age {
                bucket: "not_due".into(),
                open_minor: 100,
            },
        ];
        let bars = ageing(&ages, "usd");
        assert_eq!(
            bars.rows.iter().map(|bar| bar.percent).collect::<Vec<_>>(),
            [33, 0, 100, 0, 0]
        );
        assert_eq!(bars.rows[2].figures, ["3.00 USD", "75 %"]);
        assert!(ageing(&[], "usd").rows.is_empty());
    }

    #[test]
    fn r207_the_funnel_says_what_retries_brought_in() {
        let rungs = [
            Rung {
                step: 0,
                tried: 100,
                succeeded: 80,
            },
            Rung {
                step: 1,
                tried: 20,
                succeeded: 10,
            },
            Rung {
                step: 2,
                tried: 10,
                succeeded: 5,
            },
        ];
        let bars = funnel(&rungs);
        assert!(
            bars.summary
                .contains("Of 20 first attempts that failed, retries have brought in 15."),
            "{}",
            bars.summary
        );
        assert_eq!(bars.rows[1].label, "Retry 1");
        assert_eq!(bars.rows[1].figures, ["20", "10 of 20 (50 %)"]);
    }
}
