//! Amounts of a document: strings such as `"1000.00"`, in the item's currency.

use serde_json::Value;

use super::reader::{Fields, kind_of};
use crate::{
    currency::Currency,
    money::{Money, MoneyError},
};

/// Which amounts a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// More than nothing.
    Positive,
    /// Nothing or more.
    NonNegative,
    /// A correction may also take away.
    Signed,
}

/// Reads an amount that must be there. While the currency is itself at fault, only what no currency could make right
/// is noted.
pub(super) fn required(
    fields: &Fields<'_>,
    key: &str,
    which: Amount,
    currency: Option<Currency>,
) -> Option<Money> {
    fields
        .required(key, |value| read(value, which, currency))
        .flatten()
}

fn read(value: &Value, which: Amount, currency: Option<Currency>) -> Result<Option<Money>, String> {
    let text = value.as_str().ok_or_else(|| {
        format!(
            "must be an amount in quotes, such as \"1000.00\", not {}",
            kind_of(value)
        )
    })?;
    let parse = match which {
        Amount::Positive => Money::parse_positive_decimal,
        Amount::NonNegative => Money::parse_non_negative_decimal,
        Amount::Signed => Money::parse_decimal,
    };
    match (currency, parse(text, currency.unwrap_or(Currency::USD))) {
        (Some(_), parsed) => parsed.map(Some).map_err(|fault| fault.to_string()),
        (
            None,
            Err(
                fault @ (MoneyError::Malformed { .. }
                | MoneyError::NotPositive { .. }
                | MoneyError::Negative { .. }),
            ),
        ) => Err(fault.to_string()),
        (None, _) => Ok(None),
    }
}
