//! Currencies as Stripe charges them.
//!
//! The table is ours and pinned, because Stripe's minor units are not ISO's: MGA is charged without decimals although ISO
//! gives it two, ISK and UGX are charged with two although ISO gives them none. An exponent taken from elsewhere charges
//! a hundred times too much, and nothing after that notices. Source: docs.stripe.com/currencies, read in October 2026.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A currency that Stripe charges. Its text form is the lower-case code, as in Stripe's API and in our tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(&'static str);

/// A code that Stripe does not charge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct UnknownCurrency {
    /// What was given, as it was given.
    pub code: String,
}

/// Every currency that Stripe charges, in order of code.
const CHARGED: [&str; 138] = [
    "aed", "afn", "all", "amd", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd", "bdt", "bhd", "bif", "bmd",
    "bnd", "bob", "brl", "bsd", "bwp", "byn", "bzd", "cad", "cdf", "chf", "clp", "cny", "cop", "crc", "cve",
    "czk", "djf", "dkk", "dop", "dzd", "egp", "etb", "eur", "fjd", "fkp", "gbp", "gel", "gip", "gmd", "gnf",
    "gtq", "gyd", "hkd", "hnl", "htg", "huf", "idr", "ils", "inr", "isk", "jmd", "jod", "jpy", "kes", "kgs",
    "khr", "kmf", "krw", "kwd", "kyd", "kzt", "lak", "lbp", "lkr", "lrd", "lsl", "mad", "mdl", "mga", "mkd",
    "mmk", "mnt", "mop", "mur", "mvr", "mwk", "mxn", "myr", "mzn", "nad", "ngn", "nio", "nok", "npr", "nzd",
    "omr", "pab", "pen", "pgk", "php", "pkr", "pln", "pyg", "qar", "ron", "rsd", "rub", "rwf", "sar", "sbd",
    "scr", "sek", "sgd", "shp", "sle", "sos", "srd", "std", "szl", "thb", "tjs", "tnd", "top", "try", "ttd",
    "twd", "tzs", "uah", "ugx", "usd", "uyu", "uzs", "vnd", "vuv", "wst", "xaf", "xcd", "xcg", "xof", "xpf",
    "yer", "zar", "zmw",
];

/// Codes that people still type although the currency is gone, and what took its place.
const REPLACED: [(&str, &str); 7] = [
    ("ang", "xcg"),
    ("bgn", "eur"),
    ("eek", "eur"),
    ("hrk", "eur"),
    ("ltl", "eur"),
    ("lvl", "eur"),
    ("sll", "sle"),
];

impl Currency {
    /// The currency of the installation's defaults and of most tests.
    pub const USD: Self = Self("usd");

    /// Reads a three-letter code, in any case.
    pub fn parse(code: &str) -> Result<Self, UnknownCurrency> {
        let wanted = code.to_ascii_lowercase();
        CHARGED
            .iter()
            .find(|known| **known == wanted)
            .map(|known| Self(known))
            .ok_or_else(|| UnknownCurrency {
                code: code.to_owned(),
            })
    }

    /// Every currency that can be parsed, in order of code.
    pub fn all() -> impl Iterator<Item = Self> {
        CHARGED.iter().map(|code| Self(code))
    }

    /// The lower-case code.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// How many decimals Stripe's minor unit has: 1000 minor units are 10.00 at exponent 2.
    pub fn exponent(self) -> u32 {
        match self.0 {
            "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "vnd" | "vuv"
            | "xaf" | "xof" | "xpf" => 0,
            "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
            _ => 2,
        }
    }

    /// Stripe accepts only multiples of this many minor units: ISK and UGX carry two decimals that must be zero, and the
    /// last digit of a three-decimal amount must be zero.
    pub fn charge_step(self) -> i64 {
        match self.0 {
            "isk" | "ugx" => 100,
            "bhd" | "jod" | "kwd" | "omr" | "tnd" => 10,
            _ => 1,
        }
    }

    /// The least that Stripe charges, by its table of minimums for an account that settles in this currency.
    ///
    /// For a currency that the table leaves out it is half of one unit, the usual entry of the table (fifty units where
    /// there are no decimals). That is meant to be low: where it errs, Stripe refuses with `amount_too_small` and
    /// nothing is charged, while a figure set too high would hold back money that is due without anybody asking for it.
    pub fn minimum_charge_minor(self) -> i64 {
        match self.0 {
            "gbp" => 30,
            "aed" | "myr" | "pln" | "ron" => 200,
            "dkk" => 250,
            "nok" | "sek" => 300,
            "hkd" => 400,
            "mxn" | "thb" => 1_000,
            "czk" => 1_500,
            "huf" => 17_500,
            // USD, EUR, AUD, CAD, CHF, NZD, SGD, BRL, INR (0.50), JPY and KRW (50) are table entries as well.
            _ if self.exponent() == 3 => 500,
            _ => self.charge_step().max(50),
        }
    }
}

impl UnknownCurrency {
    fn message(&self) -> String {
        let lower = self.code.to_ascii_lowercase();
        match REPLACED.iter().find(|(old, _)| *old == lower) {
            Some((_, new)) => format!(
                "currency '{}' is no longer charged by Stripe: use '{new}'",
                self.code
            ),
            None => format!(
                "currency '{}' is not one that Stripe charges: use a three-letter code such as 'usd' or 'eur'",
                self.code
            ),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Self, UnknownCurrency> {
        Self::parse(code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

// By hand: the derive would ask for input that lives for ever, because the field does.
impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ccy(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn a_currency_is_shown_by_its_code() {
        assert_eq!(format!("{0} {0:?}", ccy("chf")), "chf chf");
    }

    #[test]
    fn the_table_is_sorted_without_doubles_and_lower_case() {
        assert!(CHARGED.is_sorted_by(|a, b| a < b));
        assert!(
            CHARGED
                .iter()
                .all(|c| c.len() == 3 && c.bytes().all(|b| b.is_ascii_lowercase()))
        );
        assert!(
            REPLACED
                .iter()
                .all(|(old, new)| !CHARGED.contains(old) && CHARGED.contains(new))
        );
    }

    #[test]
    fn codes_are_read_in_any_case_and_written_in_lower_case() {
        for code in ["usd", "USD", "Usd"] {
            assert_eq!(ccy(code), Currency::USD);
        }
        assert_eq!(serde_json::to_string(&ccy("EUR")).unwrap(), "\"eur\"");
        assert_eq!(serde_json::from_str::<Currency>("\"JPY\"").unwrap(), ccy("jpy"));
        assert!(Currency::all().all(|c| c.to_string().parse() == Ok(c)));
    }

    #[test]
    fn an_unknown_code_is_named_with_what_to_do() {
        let message = Currency::parse("XYZ").unwrap_err().to_string();
        assert_eq!(
            message,
            "currency 'XYZ' is not one that Stripe charges: use a three-letter code such as 'usd' or 'eur'"
        );
        assert_eq!(
            Currency::parse("BGN").unwrap_err().to_string(),
            "currency 'BGN' is no longer charged by Stripe: use 'eur'"
        );
        for code in ["", "us", "usdd", "us ", "ÜSD", "u$d"] {
            assert!(Currency::parse(code).is_err(), "{code:?}");
        }
    }

    /// B-08.
    #[test]
    fn exponents_are_stripes_and_not_isos() {
        let with = |exponent| Currency::all().filter(|c| c.exponent() == exponent).count();
        assert_eq!((with(0), with(2), with(3)), (15, CHARGED.len() - 20, 5));
        assert_eq!(ccy("mga").exponent(), 0);
        assert_eq!((ccy("isk").exponent(), ccy("isk").charge_step()), (2, 100));
        assert_eq!((ccy("ugx").exponent(), ccy("ugx").charge_step()), (2, 100));
        assert_eq!((ccy("kwd").exponent(), ccy("kwd").charge_step()), (3, 10));
        assert_eq!((ccy("huf").exponent(), ccy("twd").exponent()), (2, 2));
    }

    #[test]
    fn every_minimum_can_itself_be_charged() {
        for currency in Currency::all() {
            assert!(currency.minimum_charge_minor() > 0);
            assert_eq!(
                currency.minimum_charge_minor() % currency.charge_step(),
                0,
                "{currency}"
            );
        }
        for (codes, minor) in [
            ("gbp", 30),
            ("usd eur aud cad chf nzd sgd brl inr jpy krw", 50),
            ("isk ugx", 100),
            ("aed myr pln ron", 200),
            ("dkk", 250),
            ("nok sek", 300),
            ("hkd", 400),
            ("kwd bhd jod omr tnd", 500),
            ("mxn thb", 1_000),
            ("czk", 1_500),
            ("huf", 17_500),
        ] {
            for code in codes.split(' ') {
                assert_eq!(ccy(code).minimum_charge_minor(), minor, "{code}");
            }
        }
    }
}
