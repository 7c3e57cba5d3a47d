//! Reads the fields of one JSON object, noting each fault with its path instead of stopping at the first.

use std::{cell::RefCell, collections::BTreeSet, fmt::Display, ops::RangeInclusive, str::FromStr};

use chrono::NaiveDate;
use serde_json::{Map, Value};

use super::Fault;

/// Names and references beyond this are a mistake, not a name.
const MAX_TEXT_CHARS: usize = 200;

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    pub(super) fn add(&self, path: impl Into<String>, message: impl Display) {
        self.0.borrow_mut().push(Fault {
            path: path.into(),
            message: message.to_string(),
        });
    }

    pub(super) fn into_vec(self) -> Vec<Fault> {
        self.0.into_inner()
    }
}

/// One object of the document. Reading a field gives `None` after a fault, which is noted.
pub(super) struct Fields<'v> {
    path: String,
    map: &'v Map<String, Value>,
    faults: &'v Faults,
}

impl<'v> Fields<'v> {
    /// Opens an object and notes every key that is not among `keys`.
    pub(super) fn open(value: &'v Value, path: String, keys: &[&str], faults: &'v Faults) -> Option<Self> {
        let Value::Object(map) = value else {
            faults.add(path, format!("must be an object, not {}", kind_of(value)));
            return None;
        };
        for key in map.keys().filter(|key| !keys.contains(&key.as_str())) {
            faults.add(
                child(&path, key),
                format!("unknown key; known are {}", keys.join(", ")),
            );
        }
        Some(Self { path, map, faults })
    }

    /// Where this object is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where one of its fields is.
    pub(super) fn at(&self, key: &str) -> String {
        child(&self.path, key)
    }

    /// Notes a fault of a field.
    pub(super) fn fault(&self, key: &str, message: impl Display) {
        self.faults.add(self.at(key), message);
    }

    /// Whether a field is there; `null` is as good as absent.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// A field that may be absent.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'v Value) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(value) => match read(value) {
                Ok(read) => Some(Some(read)),
                Err(message) => {
                    self.fault(key, message);
                    None
                }
            },
        }
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'v Value) -> Result<T, String>,
    ) -> Option<T> {
        let read = self.optional(key, read)?;
        if read.is_none() {
            self.fault(key, "is missing");
        }
        read
    }

    /// A field with a default.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&'v Value) -> Result<T, String>,
    ) -> Option<T> {
        Some(self.optional(key, read)?.unwrap_or(default))
    }

    /// An object within this one.
    pub(super) fn object(&self, key: &str, keys: &[&str]) -> Option<Option<Fields<'v>>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(value) => Fields::open(value, self.at(key), keys, self.faults).map(Some),
        }
    }

    /// The entries of a list within this one, each opened as an object; absent is empty. `None` stands for one that is
    /// no object, which is noted.
    pub(super) fn list(&self, key: &str, keys: &[&str]) -> Vec<Option<Fields<'v>>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(n, value)| Fields::open(value, format!("{}[{n}]", self.at(key)), keys, self.faults))
                .collect(),
            Some(other) => {
                self.fault(key, format!("must be a list, not {}", kind_of(other)));
                Vec::new()
            }
        }
    }

    /// A string field as it stands, without a fault if it is none: to see what a faulty item calls itself.
    pub(super) fn peek(&self, key: &str) -> Option<&'v str> {
        self.map.get(key).and_then(Value::as_str)
    }

    /// The same field of each entry of a list, as it stands, and where it is.
    pub(super) fn peek_list(&self, key: &str, field: &str) -> Vec<(&'v str, String)> {
        let entries = self
            .map
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate();
        entries
            .filter_map(|(n, entry)| {
                Some((
                    entry.get(field)?.as_str()?,
                    child(&format!("{}[{n}]", self.at(key)), field),
                ))
            })
            .collect()
    }
}

fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain {
        format!("{path}.{key}")
    } else {
        format!("{path}[{}]", Value::from(key))
    }
}

/// What a value is, in the words of JSON.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A name, id or reference: not empty, no blanks around it, one line.
pub(super) fn text(value: &Value) -> Result<String, String> {
    let text = value
        .as_str()
        .ok_or_else(|| format!("must be a string, not {}", kind_of(value)))?;
    if text.is_empty() {
        Err("must not be empty".to_owned())
    } else if text.trim() != text || text.chars().any(char::is_control) {
        Err("must not have blanks around it or control characters in it".to_owned())
    } else if text.chars().count() > MAX_TEXT_CHARS {
        Err(format!("is longer than {MAX_TEXT_CHARS} characters"))
    } else {
        Ok(text.to_owned())
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| format!("must be true or false, not {}", kind_of(value)))
}

/// A whole number within bounds.
pub(super) fn integer(bounds: RangeInclusive<i32>) -> impl Fn(&Value) -> Result<i32, String> {
    move |value| {
        let number = value
            .as_number()
            .ok_or_else(|| format!("must be a whole number, not {}", kind_of(value)))?;
        number
            .as_i64()
            .and_then(|n| i32::try_from(n).ok())
            .filter(|n| bounds.contains(n))
            .ok_or_else(|| {
                format!(
                    "must be a whole number from {} to {}, not {number}",
                    bounds.start(),
                    bounds.end()
                )
            })
    }
}

/// A string that one of our types reads, and whose message says what would be right.
pub(super) fn parsed<T>(value: &Value) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    text(value)?.parse().map_err(|fault: T::Err| fault.to_string())
}

/// A day, `2026-01-31`.
pub(super) fn date(value: &Value) -> Result<NaiveDate, String> {
    let text = text(value)?;
    let exact = text.len() == 10 && text.is_ascii();
    match NaiveDate::parse_from_str(&text, "%Y-%m-%d") {
        Ok(date) if exact => Ok(date),
        Ok(_) | Err(_) => Err(format!("'{text}' is no date: write it as 2026-01-31")),
    }
}

/// Notes every id that appears twice; gives the distinct ones.
pub(super) fn distinct<'a>(
    ids: impl IntoIterator<Item = (&'a str, String)>,
    faults: &Faults,
) -> BTreeSet<String> {
    let mut seen = std::collections::BTreeMap::new();
    for (id, path) in ids {
        match seen.get(id) {
            Some(first) => faults.add(path, format!("'{id}' is already at {first}")),
            None => {
                seen.insert(id.to_owned(), path);
            }
        }
    }
    seen.into_keys().collect()
}
