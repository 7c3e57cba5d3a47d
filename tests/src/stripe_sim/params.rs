//! Request parameters: form-encoded pairs with bracketed names (`metadata[q_invoice]=…`, `expand[]=…`).
//!
//! Kept as sorted pairs, because idempotency compares parameters and not bytes: clients do not keep the order of maps.
use std::collections::BTreeMap;

use reqwest::Url;

use super::error::ApiError;

const MAX_METADATA_KEYS: usize = 50;
const MAX_METADATA_KEY: usize = 40;
const MAX_METADATA_VALUE: usize = 500;

/// The parameters of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Parses a query string or a form body.
    pub fn parse(encoded: &str) -> Self {
        let mut pairs: Vec<(String, String)> = match Url::parse("sim:/") {
            Ok(mut url) => {
                url.set_query(Some(encoded));
                url.query_pairs()
                    .map(|(name, value)| (name.into_owned(), value.into_owned()))
                    .collect()
            }
            Err(_) => Vec::new(),
        };
        pairs.retain(|(name, _)| !name.is_empty());
        pairs.sort_by(|a, b| a.0.cmp(&b.0)); // stable: the elements of an array keep their order
        Self { pairs }
    }

    /// Adds the pairs of another set, as when a POST carries a query string too.
    pub fn join(mut self, other: Self) -> Self {
        self.pairs.extend(other.pairs);
        self.pairs.sort_by(|a, b| a.0.cmp(&b.0));
        self
    }

    /// All pairs, sorted by name.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// A value; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, v)| n == name && !v.is_empty())
            .map(|(_, v)| v.as_str())
    }

    /// A value that has to be there.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| {
            ApiError::invalid(format!("Missing required param: {name}."))
                .code("parameter_missing")
                .param(name)
        })
    }

    /// An integer.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            ApiError::invalid(format!("Invalid integer: {text}"))
                .code("parameter_invalid_integer")
                .param(name)
        })
    }

    /// `true` or `false`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::invalid(format!("Invalid boolean: {other}")).param(name)),
        }
    }

    /// The elements of `name[]=…` or `name[0]=…`.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let is_element = |inner: &str| inner.chars().all(|c| c.is_ascii_digit());
        self.pairs
            .iter()
            .filter(|(n, _)| inside(n, name).is_some_and(is_element))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The entries of `name[key]=…`; an empty value is kept, because Stripe reads it as "delete this key".
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        self.pairs
            .iter()
            .filter_map(|(n, v)| inside(n, name).map(|key| (key.to_owned(), v.clone())))
            .collect()
    }

    /// `metadata`, within Stripe's limits.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let metadata = self.map("metadata");
        for (key, value) in &metadata {
            let (length, limit, what) = match (key.chars().count(), value.chars().count()) {
                (length, _) if length > MAX_METADATA_KEY => (length, MAX_METADATA_KEY, "keys"),
                (_, length) if length > MAX_METADATA_VALUE => (length, MAX_METADATA_VALUE, "values"),
                _ => continue,
            };
            let message =
                format!("Metadata {what} can have up to {limit} characters; that of \"{key}\" has {length}.");
            return Err(ApiError::invalid(message).param(&format!("metadata[{key}]")));
        }
        if metadata.len() > MAX_METADATA_KEYS {
            let message = format!("You may specify up to {MAX_METADATA_KEYS} keys on metadata.");
            return Err(ApiError::invalid(message).param("metadata"));
        }
        Ok(metadata)
    }

    /// Refuses any parameter that is not listed: Stripe does, and a test should notice a misspelt one.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        for (name, _) in &self.pairs {
            let root = name.split('[').next().unwrap_or(name);
            if root != "expand" && !known.contains(&root) {
                return Err(ApiError::invalid(format!("Received unknown parameter: {root}"))
                    .code("parameter_unknown")
                    .param(root));
            }
        }
        Ok(())
    }
}

/// `key` of `name[key]`.
fn inside<'a>(full: &'a str, name: &str) -> Option<&'a str> {
    full.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_become_maps_and_lists() {
        let params =
            Params::parse("metadata%5Bq_invoice%5D=in+1%26&expand[]=latest_charge&expand[]=x&amount=12#3");
        assert_eq!(
            params.map("metadata"),
            BTreeMap::from([("q_invoice".to_owned(), "in 1&".to_owned())])
        );
        assert_eq!(params.list("expand"), ["latest_charge", "x"]);
        assert_eq!(params.text("amount"), Some("12#3"));
    }

    #[test]
    fn order_on_the_wire_does_not_matter() {
        assert_eq!(Params::parse("b=2&a=1"), Params::parse("a=1&b=2"));
    }

    #[test]
    fn metadata_beyond_the_limits_is_refused() {
        let long = format!("metadata[ok]=1&metadata[{}]=1", "k".repeat(41));
        assert!(Params::parse(&long).metadata().is_err());
        assert!(
            Params::parse(&format!("metadata[k]={}", "v".repeat(501)))
                .metadata()
                .is_err()
        );
        assert!(
            Params::parse(&format!("metadata[k]={}", "v".repeat(500)))
                .metadata()
                .is_ok()
        );
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name() {
        let refused = Params::parse("metadata[a]=1&amuont=5")
            .only(&["amount", "metadata"])
            .unwrap_err();
        assert_eq!(refused.fields["param"], "amuont");
    }
}
