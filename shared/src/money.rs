//! `Money`: integer minor units of one currency.
//!
//! Amounts stay integers from the first byte to Stripe and back; every operation is checked, names its currency and
//! never mixes two. There is no way in or out through a float.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::currency::Currency;

/// Stripe takes card amounts of at most twelve digits in minor units.
pub const MAX_AMOUNT_MINOR: i64 = 999_999_999_999;

/// An amount in the minor units of its currency (cents of USD, yen of JPY).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// Why an amount cannot be read or computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result does not fit.
    #[error("amount overflows")]
    Overflow,
    /// Two currencies met in one operation.
    #[error("cannot combine {left} with {right}")]
    CurrencyMismatch {
        /// Currency of the left side.
        left: Currency,
        /// Currency of the right side.
        right: Currency,
    },
    /// The text is no plain decimal number.
    #[error(
        "'{text}' is not an amount: write it with digits and a point, such as '1000.00' (no sign '+', comma or exponent)"
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// More decimals than the currency has.
    #[error("'{text}' has too many decimals: {currency} has {allowed}")]
    TooManyDecimals {
        /// What was given.
        text: String,
        /// The currency in question.
        currency: Currency,
        /// How many decimals it has.
        allowed: u32,
    },
    /// More than twelve digits in minor units.
    #[error("'{text}' {currency} is too large: Stripe takes at most 12 digits in minor units")]
    TooLarge {
        /// What was given.
        text: String,
        /// The currency in question.
        currency: Currency,
    },
    /// Zero or less where an amount must be positive.
    #[error("'{text}' must be greater than zero")]
    NotPositive {
        /// What was given.
        text: String,
    },
    /// Less than zero where there can be none.
    #[error("'{text}' must not be less than zero")]
    Negative {
        /// What was given.
        text: String,
    },
    /// Stripe charges this currency only in larger steps.
    #[error("'{text}' cannot be charged: Stripe charges {currency} in steps of {step_minor} minor units")]
    NotInSteps {
        /// What was given.
        text: String,
        /// The currency in question.
        currency: Currency,
        /// The step, in minor units.
        step_minor: i64,
    },
}

impl Money {
    /// So many minor units of a currency.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// More than nothing.
    pub const fn is_positive(self) -> bool {
        self.minor > 0
    }

    /// Whether Stripe would take this amount: at least its minimum, at most twelve digits, in its steps.
    pub fn is_chargeable(self) -> bool {
        (self.currency.minimum_charge_minor()..=MAX_AMOUNT_MINOR).contains(&self.minor)
            && self.minor % self.currency.charge_step() == 0
    }

    /// The sum of two amounts of one currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.with(self.minor.checked_add(other.minor))
    }

    /// The difference of two amounts of one currency.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.with(self.minor.checked_sub(other.minor))
    }

    /// The amount so many times.
    pub fn checked_mul(self, factor: i64) -> Result<Self, MoneyError> {
        self.with(self.minor.checked_mul(factor))
    }

    /// `part` out of `whole` equal parts, rounded half to even to what Stripe can charge; never more than the whole.
    pub fn share(self, part: u32, whole: u32) -> Self {
        if part >= whole {
            return self;
        }
        let exact = i128::from(self.minor) * i128::from(part);
        let rounded = round_half_even(exact, i128::from(whole), i128::from(self.currency.charge_step()));
        let bounded = rounded.clamp(i128::from(self.minor.min(0)), i128::from(self.minor.max(0)));
        // A share lies between zero and the amount itself, so it fits wherever the amount does.
        Self {
            minor: i64::try_from(bounded).unwrap_or(self.minor),
            ..self
        }
    }

    /// Reads a decimal such as `1000.00` or `-3.50`, strictly: digits and at most one point, no more decimals than the
    /// currency has, no exponent, at most twelve digits, and nothing that Stripe could not charge to the last digit.
    pub fn parse_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let malformed = || MoneyError::Malformed {
            text: text.to_owned(),
        };
        let too_large = || MoneyError::TooLarge {
            text: text.to_owned(),
            currency,
        };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (units, decimals) = match digits.split_once('.') {
            Some((_, "")) => return Err(malformed()),
            Some(parts) => parts,
            None => (digits, ""),
        };
        if units.is_empty() || !units.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let allowed = currency.exponent();
        let missing = u32::try_from(decimals.len())
            .ok()
            .and_then(|given| allowed.checked_sub(given));
        let Some(missing) = missing else {
            return Err(MoneyError::TooManyDecimals {
                text: text.to_owned(),
                currency,
                allowed,
            });
        };
        // All that is left to fail is the size.
        let minor = format!("{units}{decimals}")
            .parse::<i64>()
            .ok()
            .and_then(|value| value.checked_mul(10_i64.pow(missing)))
            .filter(|minor| *minor <= MAX_AMOUNT_MINOR)
            .ok_or_else(too_large)?;
        let step_minor = currency.charge_step();
        if minor % step_minor != 0 {
            return Err(MoneyError::NotInSteps {
                text: text.to_owned(),
                currency,
                step_minor,
            });
        }
        Ok(Self::new(if negative { -minor } else { minor }, currency))
    }

    /// Like [`Money::parse_decimal`], and refuses zero and negative amounts.
    pub fn parse_positive_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let money = Self::parse_decimal(text, currency)?;
        if money.is_positive() {
            Ok(money)
        } else {
            Err(MoneyError::NotPositive {
                text: text.to_owned(),
            })
        }
    }

    /// Like [`Money::parse_decimal`], and refuses negative amounts.
    pub fn parse_non_negative_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let money = Self::parse_decimal(text, currency)?;
        if money.minor < 0 {
            return Err(MoneyError::Negative {
                text: text.to_owned(),
            });
        }
        Ok(money)
    }

    /// The amount as `parse_decimal` reads it, with all decimals of its currency: `1000.00`.
    pub fn to_decimal_string(self) -> String {
        self.decimal("")
    }

    /// Sign, units in groups of three joined by `separator`, and decimals.
    fn decimal(self, separator: &str) -> String {
        let exponent = self.currency.exponent();
        let scale = 10_u64.pow(exponent);
        let magnitude = self.minor.unsigned_abs();
        let (units, decimals) = ((magnitude / scale).to_string(), magnitude % scale);
        let mut text = String::from(if self.minor < 0 { "-" } else { "" });
        for (position, digit) in units.chars().enumerate() {
            if position > 0 && (units.len() - position).is_multiple_of(3) {
                text.push_str(separator);
            }
            text.push(digit);
        }
        if exponent > 0 {
            text.push_str(&format!(".{decimals:0width$}", width = exponent as usize));
        }
        text
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch {
                left: self.currency,
                right: other.currency,
            })
        }
    }

    fn with(self, minor: Option<i64>) -> Result<Self, MoneyError> {
        minor
            .map(|minor| Self { minor, ..self })
            .ok_or(MoneyError::Overflow)
    }
}

/// What `minutes` cost at an hourly rate: minutes × rate / 60, rounded half to even, once per time entry (so that the
/// sum of the lines is the subtotal exactly), to what Stripe can charge.
pub fn hourly_amount(minutes: u32, rate_per_hour: Money) -> Result<Money, MoneyError> {
    let exact = i128::from(minutes) * i128::from(rate_per_hour.minor);
    let step = i128::from(rate_per_hour.currency.charge_step());
    rate_per_hour.with(i64::try_from(round_half_even(exact, 60, step)).ok())
}

/// `numerator / denominator`, rounded to the nearest multiple of `step`, ties to the even multiple.
/// Both divisors are positive; the numerator is a product of two 64-bit numbers and leaves room for the doubling.
fn round_half_even(numerator: i128, denominator: i128, step: i128) -> i128 {
    let divisor = denominator * step;
    let (floor, rest) = (numerator.div_euclid(divisor), numerator.rem_euclid(divisor));
    let up = match (rest * 2).cmp(&divisor) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Greater => 1,
        std::cmp::Ordering::Equal => floor.rem_euclid(2),
    };
    (floor + up) * step
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.decimal(","),
            self.currency.as_str().to_ascii_uppercase()
        )
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ccy(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    #[test]
    fn decimals_are_read_by_the_exponent_of_the_currency() {
        for (text, code, minor) in [
            ("1000.00", "usd", 100_000),
            ("1000", "usd", 100_000),
            ("0.5", "usd", 50),
            ("007.10", "usd", 710),
            ("-3.50", "usd", -350),
            ("500", "jpy", 500),
            ("5.00", "isk", 500),
            ("1.230", "kwd", 1_230),
            ("9999999999.99", "usd", MAX_AMOUNT_MINOR),
            ("00000000000000000000000001", "usd", 100),
        ] {
            assert_eq!(
                Money::parse_decimal(text, ccy(code)),
                Ok(Money::new(minor, ccy(code))),
                "{text} {code}"
            );
        }
    }

    #[test]
    fn what_is_not_exactly_an_amount_is_refused() {
        for text in [
            "", "-", ".", "-.", "5.", ".5", "1e3", "1E3", "+1", " 1", "1 ", "1,000.00", "1.2.3", "0x10",
            "NaN", "١", "--1", "1-", "1_000", "inf",
        ] {
            let error = Money::parse_decimal(text, Currency::USD).unwrap_err();
            assert!(matches!(error, MoneyError::Malformed { .. }), "{text:?}: {error}");
        }
        for (text, code) in [
            ("1.001", "usd"),
            ("1.000", "usd"),
            ("500.0", "jpy"),
            ("1.2345", "kwd"),
        ] {
            let error = Money::parse_decimal(text, ccy(code)).unwrap_err();
            assert!(
                matches!(error, MoneyError::TooManyDecimals { .. }),
                "{text:?}: {error}"
            );
        }
        for (text, code) in [
            ("10000000000.00", "usd"),
            ("1000000000000", "jpy"),
            ("99999999999999999999", "usd"),
        ] {
            let error = Money::parse_decimal(text, ccy(code)).unwrap_err();
            assert!(matches!(error, MoneyError::TooLarge { .. }), "{text:?}: {error}");
        }
        for (text, code) in [("5.50", "isk"), ("100.01", "ugx"), ("1.234", "kwd")] {
            let error = Money::parse_decimal(text, ccy(code)).unwrap_err();
            assert!(
                matches!(error, MoneyError::NotInSteps { .. }),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn a_positive_amount_is_above_zero_and_one_that_is_not_negative_may_be_zero() {
        assert_eq!(Money::parse_positive_decimal("0.01", Currency::USD), Ok(usd(1)));
        for text in ["0", "0.00", "-0", "-1.00"] {
            let error = Money::parse_positive_decimal(text, Currency::USD).unwrap_err();
            assert_eq!(error.to_string(), format!("'{text}' must be greater than zero"));
        }
        for (text, minor) in [("0.01", 1), ("0.00", 0), ("-0", 0)] {
            assert_eq!(
                Money::parse_non_negative_decimal(text, Currency::USD),
                Ok(usd(minor)),
                "{text}"
            );
        }
        let error = Money::parse_non_negative_decimal("-0.01", Currency::USD).unwrap_err();
        assert_eq!(error.to_string(), "'-0.01' must not be less than zero");
    }

    #[test]
    fn money_is_shown_with_groups_and_code() {
        for (minor, code, shown) in [
            (100_000, "usd", "1,000.00 USD"),
            (-123_456_789, "eur", "-1,234,567.89 EUR"),
            (99_999, "usd", "999.99 USD"),
            (1_000, "jpy", "1,000 JPY"),
            (1_230, "kwd", "1.230 KWD"),
            (0, "usd", "0.00 USD"),
            (-5, "usd", "-0.05 USD"),
            (i64::MIN, "usd", "-92,233,720,368,547,758.08 USD"),
        ] {
            let money = Money::new(minor, ccy(code));
            assert_eq!(
                (money.to_string(), format!("{money:?}")),
                (shown.into(), shown.into())
            );
        }
    }

    #[test]
    fn nothing_is_neither_more_nor_less_than_zero() {
        for minor in [-1, 0, 1] {
            assert_eq!(usd(minor).is_zero(), minor == 0);
            assert_eq!(usd(minor).is_positive(), minor > 0);
        }
        assert!(Money::zero(Currency::USD).is_zero());
    }

    /// B-08.
    #[test]
    fn arithmetic_refuses_overflow_and_two_currencies() {
        assert_eq!(usd(1).checked_add(usd(2)), Ok(usd(3)));
        assert_eq!(usd(1).checked_sub(usd(2)), Ok(usd(-1)));
        assert_eq!(usd(3).checked_mul(4), Ok(usd(12)));
        assert_eq!(usd(i64::MAX).checked_add(usd(1)), Err(MoneyError::Overflow));
        assert_eq!(usd(i64::MIN).checked_sub(usd(1)), Err(MoneyError::Overflow));
        assert_eq!(usd(i64::MAX).checked_mul(2), Err(MoneyError::Overflow));
        let error = usd(1).checked_add(Money::new(1, ccy("eur"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot combine usd with eur");
    }

    #[test]
    fn an_hour_is_rounded_half_to_even() {
        for (minutes, rate_minor, amount_minor) in [
            (60, 15_000, 15_000),
            (90, 15_000, 22_500),
            (1, 30, 0),
            (1, 90, 2),
            (1, 150, 2),
            (1, 31, 1),
            (0, 15_000, 0),
        ] {
            assert_eq!(
                hourly_amount(minutes, usd(rate_minor)),
                Ok(usd(amount_minor)),
                "{minutes} min at {rate_minor}"
            );
        }
        assert_eq!(
            hourly_amount(20, Money::new(10_000, ccy("isk"))),
            Ok(Money::new(3_300, ccy("isk")))
        );
        assert_eq!(hourly_amount(u32::MAX, usd(i64::MAX)), Err(MoneyError::Overflow));
    }

    #[test]
    fn only_amounts_that_stripe_takes_are_chargeable() {
        assert!(usd(50).is_chargeable() && usd(MAX_AMOUNT_MINOR).is_chargeable());
        assert!(
            !usd(49).is_chargeable()
                && !usd(MAX_AMOUNT_MINOR + 1).is_chargeable()
                && !usd(-50).is_chargeable()
        );
        assert!(Money::new(500, ccy("isk")).is_chargeable() && !Money::new(550, ccy("isk")).is_chargeable());
    }

    proptest! {
        /// S14, B-08.
        #[test]
        fn every_amount_of_every_currency_round_trips(steps in 0..=MAX_AMOUNT_MINOR, negative: bool) {
            for currency in Currency::all() {
                let magnitude = steps - steps % currency.charge_step();
                let money = Money::new(if negative { -magnitude } else { magnitude }, currency);
                prop_assert_eq!(Money::parse_decimal(&money.to_decimal_string(), currency), Ok(money));
                let json = serde_json::to_string(&money).unwrap();
                prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
            }
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,30}", digits in "-?[0-9]{0,25}[.]?[0-9]{0,8}") {
            for currency in [Currency::USD, ccy("jpy"), ccy("kwd"), ccy("isk")] {
                for text in [&text, &digits] {
                    if let Ok(money) = Money::parse_decimal(text, currency) {
                        prop_assert!(money.minor().abs() <= MAX_AMOUNT_MINOR);
                    }
                }
            }
        }

        /// against exact rationals. What is charged is a multiple of what Stripe can charge, nothing nearer is, and of
        /// two that are equally near it is the even one. In every currency, those without decimals among them.
        #[test]
        fn a12_hours_are_rounded_half_to_even_once(minutes in 1..=1440_u32, rate_minor in 1..=MAX_AMOUNT_MINOR, whole_hours: bool) {
            for currency in Currency::all() {
                let minutes = if whole_hours { minutes - minutes % 30 } else { minutes };
                let amount = hourly_amount(minutes, Money::new(rate_minor, currency)).unwrap();
                let step = i128::from(currency.charge_step());
                // In sixtieths of a minor unit everything is a whole number.
                let exact = i128::from(minutes) * i128::from(rate_minor);
                let off = (i128::from(amount.minor()) * 60 - exact).abs();
                prop_assert_eq!(i128::from(amount.minor()) % step, 0);
                prop_assert!(off * 2 <= step * 60, "{} of {} at {}", amount, minutes, rate_minor);
                if off * 2 == step * 60 {
                    prop_assert_eq!(i128::from(amount.minor()) / step % 2, 0);
                }
                prop_assert_eq!(amount.currency(), currency);
            }
        }

        #[test]
        fn a_share_lies_within_its_whole_and_is_off_by_at_most_half_a_step(minor: i64, part: u32, whole: u32) {
            for code in ["usd", "isk", "kwd", "jpy"] {
                let money = Money::new(minor, ccy(code));
                let share = money.share(part, whole);
                prop_assert!((minor.min(0)..=minor.max(0)).contains(&share.minor()));
                if part < whole && minor % money.currency().charge_step() == 0 {
                    let off = i128::from(share.minor()) * i128::from(whole) - i128::from(minor) * i128::from(part);
                    prop_assert!(off.abs() * 2 <= i128::from(whole) * i128::from(money.currency().charge_step()));
                }
            }
        }
    }
}
