//! Reading JSON leniently where nothing depends on it, strictly where money does, and naming the place that failed.
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// A needed field is missing or has another type; says which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} is {problem}")]
pub struct ShapeError {
    /// Where, such as `charge.outcome.type`.
    pub path: String,
    /// What is wrong there.
    pub problem: &'static str,
}

/// The fields of one object, with the path that led there.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which errors will call `path`.
    pub(in crate::stripe) fn of(path: &str, value: &'a Value) -> Result<Self, ShapeError> {
        match value {
            Value::Object(map) => Ok(Self {
                map,
                path: path.to_owned(),
            }),
            _ => Err(ShapeError {
                path: path.to_owned(),
                problem: "not an object",
            }),
        }
    }

    /// The whole object, as it came.
    pub(in crate::stripe) fn whole(&self) -> Value {
        Value::Object(self.map.clone())
    }

    /// A field; null counts as absent, as Stripe uses both for "none".
    pub(in crate::stripe) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The error of a field that is missing or not what it should be.
    pub(in crate::stripe) fn wrong(&self, name: &str, expected: &'static str) -> ShapeError {
        let problem = if self.get(name).is_none() {
            "missing"
        } else {
            expected
        };
        ShapeError {
            path: format!("{}.{name}", self.path),
            problem,
        }
    }

    /// A needed text.
    pub(in crate::stripe) fn text(&self, name: &str) -> Result<String, ShapeError> {
        self.text_if_any(name)
            .ok_or_else(|| self.wrong(name, "not a string"))
    }

    /// A text, or none.
    pub(in crate::stripe) fn text_if_any(&self, name: &str) -> Option<String> {
        self.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// A needed integer. A number with decimals is none: amounts are minor units.
    pub(in crate::stripe) fn integer(&self, name: &str) -> Result<i64, ShapeError> {
        self.integer_if_any(name)?
            .ok_or_else(|| self.wrong(name, "not an integer"))
    }

    /// An integer, or none. A number that is there and cannot be read is an error: it may be money.
    pub(in crate::stripe) fn integer_if_any(&self, name: &str) -> Result<Option<i64>, ShapeError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "not an integer")),
            },
        }
    }

    /// A flag, or none.
    pub(in crate::stripe) fn flag_if_any(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(Value::as_bool)
    }

    /// A needed point in time, which Stripe sends as seconds since 1970.
    pub(in crate::stripe) fn time(&self, name: &str) -> Result<DateTime<Utc>, ShapeError> {
        self.time_if_any(name)
            .ok_or_else(|| self.wrong(name, "not a time in seconds"))
    }

    /// A point in time, or none.
    pub(in crate::stripe) fn time_if_any(&self, name: &str) -> Option<DateTime<Utc>> {
        self.get(name)
            .and_then(Value::as_i64)
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
    }

    /// The id in an expandable field: the field is the id itself, or an object that has one.
    pub(in crate::stripe) fn reference(&self, name: &str) -> Option<String> {
        reference(self.get(name)?)
    }

    /// The id in an expandable field that must be there.
    pub(in crate::stripe) fn needed_reference(&self, name: &str) -> Result<String, ShapeError> {
        self.reference(name)
            .ok_or_else(|| self.wrong(name, "neither an id nor an object with one"))
    }

    /// A nested object, or none.
    pub(in crate::stripe) fn child(&self, name: &str) -> Option<Fields<'a>> {
        Fields::of(&format!("{}.{name}", self.path), self.get(name)?).ok()
    }

    /// The entries of a list, which is a bare array in some places and `{"data": […]}` in others; none when absent.
    pub(in crate::stripe) fn entries(&self, name: &str) -> &'a [Value] {
        let list = self.get(name);
        let array = list
            .and_then(Value::as_array)
            .or_else(|| list?.get("data")?.as_array());
        array.map_or(&[], Vec::as_slice)
    }

    /// The path of an entry of such a list.
    pub(in crate::stripe) fn entry_path(&self, name: &str, index: usize) -> String {
        format!("{}.{name}[{index}]", self.path)
    }

    /// The object's `metadata`, as far as it is text.
    pub(in crate::stripe) fn metadata(&self) -> std::collections::BTreeMap<String, String> {
        let entries = self
            .get("metadata")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        entries
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }
}

/// The id of an expandable value: itself, or its `id`.
pub(in crate::stripe) fn reference(value: &Value) -> Option<String> {
    let id = value.as_str().or_else(|| value.get("id")?.as_str())?;
    (!id.is_empty()).then(|| id.to_owned())
}
