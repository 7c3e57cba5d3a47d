//! Words and values as they are stored, and as the domain has them.

use crate::{
    currency::Currency,
    domain::retry_policy::RetryPolicy,
    store::{Error, error::Result},
};

/// A stored word that is none of ours: the database was changed behind our back.
fn corrupt(what: String) -> Error {
    Error::Other(sqlx::Error::Decode(what.into()))
}

pub(super) fn parse<T>(word: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    word.parse().map_err(|e: T::Err| corrupt(e.to_string()))
}

pub(super) fn currency(word: &str) -> Result<Currency> {
    Currency::parse(word).map_err(|e| corrupt(e.to_string()))
}

pub(super) fn policy(value: serde_json::Value) -> Result<RetryPolicy> {
    serde_json::from_value(value).map_err(|e| corrupt(format!("retry policy: {e}")))
}
