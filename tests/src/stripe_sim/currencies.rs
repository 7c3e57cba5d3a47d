//! Which currencies Stripe charges in, and the least it charges.
use super::error::ApiError;

/// Currency and the smallest amount in its minor unit. The minimum really depends on the settlement currency; the
/// simulator settles everything in the currency charged.
const MINIMUMS: &[(&str, i64)] = &[
    ("usd", 50),
    ("eur", 50),
    ("gbp", 30),
    ("aud", 50),
    ("cad", 50),
    ("chf", 50),
    ("nzd", 50),
    ("sgd", 50),
    ("brl", 50),
    ("inr", 50),
    ("aed", 200),
    ("czk", 1500),
    ("dkk", 250),
    ("hkd", 400),
    ("huf", 17500),
    ("jpy", 50),
    ("krw", 50),
    ("mxn", 1000),
    ("myr", 200),
    ("nok", 300),
    ("sek", 300),
    ("pln", 200),
    ("ron", 200),
    ("thb", 1000),
];

/// Charged too, but Stripe documents no minimum of their own.
const WITHOUT_MINIMUM: &[&str] = &[
    "bif", "clp", "djf", "gnf", "kmf", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf", "isk", "ugx",
    "bhd", "jod", "kwd", "omr", "tnd", "zar", "try", "ils", "php", "idr", "twd", "cop", "ars", "uah", "bgn",
    "sar", "qar",
];

/// Sent in hundredths although they have none in use: must end in 00.
const WHOLE_HUNDREDS: &[&str] = &["isk", "ugx"];
/// Three decimals, the last of which must be 0.
const WHOLE_TENS: &[&str] = &["bhd", "jod", "kwd", "omr", "tnd"];
/// Twelve digits are the most a card amount may have.
const MAX_AMOUNT: i64 = 999_999_999_999;

/// Checks an amount as Stripe does before it starts on a request.
pub fn check_amount(amount: i64, currency: &str) -> Result<(), ApiError> {
    let refuse = |code: &str, message: String| Err(ApiError::invalid(message).code(code).param("amount"));
    let least = match MINIMUMS.iter().find(|(name, _)| *name == currency) {
        Some((_, least)) => *least,
        None if WITHOUT_MINIMUM.contains(&currency) => 1,
        None => {
            return Err(ApiError::invalid(format!("Invalid currency: {currency}.")).param("currency"));
        }
    };
    if amount < 0 {
        return refuse(
            "parameter_invalid_integer",
            format!("Invalid positive integer: {amount}"),
        );
    }
    if amount < least {
        return refuse(
            "amount_too_small",
            format!("Amount must be at least {least} {currency} in its minor unit."),
        );
    }
    if amount > MAX_AMOUNT {
        return refuse(
            "amount_too_large",
            format!("Amount must be no more than {MAX_AMOUNT}."),
        );
    }
    if WHOLE_HUNDREDS.contains(&currency) && amount % 100 != 0 {
        return refuse(
            "invalid_amount",
            format!("{currency} amounts must be divisible by 100."),
        );
    }
    if WHOLE_TENS.contains(&currency) && amount % 10 != 0 {
        return refuse(
            "invalid_amount",
            format!("{currency} amounts must be divisible by 10."),
        );
    }
    Ok(())
}
