//! A condition that a decision looked at. Decision records keep all of them, so that "why was this not charged" can be
//! answered from what was known then.
use serde::Serialize;
use serde_json::Value;

/// One condition: its name, how it came out, and the value that it was judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Predicate {
    /// Name, as `why-not` shows it.
    pub name: &'static str,
    /// How it came out; `None` when there was nothing to judge.
    pub ok: Option<bool>,
    /// The value that it was judged by.
    pub value: Value,
}

impl Predicate {
    /// A condition that was judged.
    #[must_use]
    pub const fn new(name: &'static str, ok: bool, value: Value) -> Self {
        Self {
            name,
            ok: Some(ok),
            value,
        }
    }

    /// A condition that there was nothing to judge by.
    #[must_use]
    pub const fn not_applicable(name: &'static str) -> Self {
        Self {
            name,
            ok: None,
            value: Value::Null,
        }
    }
}
