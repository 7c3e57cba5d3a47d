//! Words and amounts of rows, as answers need them.
use crate::{
    currency::Currency,
    domain::explain::CardFacts,
    money::Money,
    store::{Error, Result},
};

/// An amount of a row.
pub(super) fn money(minor: i64, currency: &str) -> Result<Money> {
    Ok(Money::new(
        minor,
        Currency::parse(currency).map_err(|e| corrupt(e.to_string()))?,
    ))
}

/// A stored word that is one of ours.
pub(super) fn word<T>(word: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    word.parse().map_err(|e: T::Err| corrupt(e.to_string()))
}

/// The database was changed behind our back.
pub(super) fn corrupt(what: String) -> Error {
    Error::Other(sqlx::Error::Decode(what.into()))
}

/// A card as people know it.
pub(super) fn card(
    id: &str,
    status: &str,
    (brand, last4): (Option<&str>, Option<&str>),
    expires: Option<(i32, i32)>,
) -> CardFacts {
    let mut label = match (brand, last4) {
        (brand, Some(last4)) => format!("{} …{last4}", brand.unwrap_or("card")),
        (_, None) => id.to_owned(),
    };
    if let Some((month, year)) = expires {
        label.push_str(&format!(" exp {month:02}/{:02}", year % 100));
    }
    CardFacts {
        id: id.to_owned(),
        label,
        status: status.to_owned(),
    }
}
