//! Amounts, times and ids as people read them.

use chrono::{DateTime, NaiveDate, Utc};
use shared::{currency::Currency, money::Money};

/// What stands where there is nothing to say.
pub const NONE: &str = "—";

/// An amount with its currency: `1,250.00 USD`.
#[must_use]
pub fn money(minor: i64, currency: &str) -> String {
    match Currency::parse(currency) {
        Ok(currency) => Money::new(minor, currency).to_string(),
        Err(_) => format!("{minor} {}", currency.to_uppercase()),
    }
}

/// An amount as it is typed into a form: `1250.00`.
#[must_use]
pub fn typed(minor: i64, currency: &str) -> String {
    match Currency::parse(currency) {
        Ok(currency) => Money::new(minor, currency).to_decimal_string(),
        Err(_) => minor.to_string(),
    }
}

/// A time, to the minute.
#[must_use]
pub fn time(at: DateTime<Utc>) -> String {
    at.format("%-d %b %Y, %H:%M UTC").to_string()
}

/// A time, or a dash.
#[must_use]
pub fn maybe_time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| NONE.to_owned(), time)
}

/// A day.
#[must_use]
pub fn day(on: NaiveDate) -> String {
    on.format("%-d %b %Y").to_string()
}

/// A day, or a dash.
#[must_use]
pub fn maybe_day(on: Option<NaiveDate>) -> String {
    on.map_or_else(|| NONE.to_owned(), day)
}

/// The day of a time.
#[must_use]
pub fn day_of(at: Option<DateTime<Utc>>) -> String {
    maybe_day(at.map(|at| at.date_naive()))
}

/// How long something lasts or is off, in its two largest units.
#[must_use]
pub fn lasting(secs: i64) -> String {
    let secs = secs.max(0);
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min", secs / 60),
        3_600..86_400 => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// Until a time, or since: `in 3 d 4 h`, `2 h 5 min ago`.
#[must_use]
pub fn away(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let secs = (at - now).num_seconds();
    if secs >= 0 {
        format!("in {}", lasting(secs))
    } else {
        format!("{} ago", lasting(-secs))
    }
}

/// Worked time: `2 h 30 min`.
#[must_use]
pub fn worked(minutes: i64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, rest) => format!("{rest} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, rest) => format!("{hours} h {rest} min"),
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A word of ours as people say it: `retry_wait` is `Retry wait`.
#[must_use]
pub fn spoken(word: &str) -> String {
    let mut letters = word.chars().map(|c| if c == '_' || c == '.' { ' ' } else { c });
    match letters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(letters.flat_map(char::to_lowercase))
            .collect(),
        None => NONE.to_owned(),
    }
}

/// A value for a query.
#[must_use]
pub fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// An address with a query of those values that are there.
#[must_use]
pub fn address(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    for (name, value) in query {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(name);
            text.push('=');
            text.push_str(&encoded(value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        assert_eq!(money(125_000, "usd"), "1,250.00 USD");
        assert_eq!(money(1_250, "jpy"), "1,250 JPY");
        assert_eq!(money(5, "???"), "5 ???");
        assert_eq!(typed(125_000, "usd"), "1250.00");
    }

    #[test]
    fn spans_are_said_in_their_two_largest_units() {
        for (secs, said) in [
            (-5, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (7_260, "2 h 1 min"),
            (93_600, "1 d 2 h"),
        ] {
            assert_eq!(lasting(secs), said);
        }
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(away(now + TimeDelta::hours(2), now), "in 2 h 0 min");
        assert_eq!(away(now - TimeDelta::days(1), now), "1 d 0 h ago");
        assert_eq!(
            (worked(150), worked(60), worked(5)),
            ("2 h 30 min".into(), "1 h".into(), "5 min".into())
        );
    }

    #[test]
    fn what_is_put_into_an_address_stays_one_value() {
        assert_eq!(
            address(
                "/x",
                &[
                    ("a", Some("b&c=d")),
                    ("none", None),
                    ("empty", Some("")),
                    ("e", Some("f g"))
                ]
            ),
            "/x?a=b%26c%3Dd&e=f%20g"
        );
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(spoken("retry_wait"), "Retry wait");
    }
}
