//! Reads chosen members of one JSON object without building the rest of it.
//!
//! Each value comes as the raw text it had, so that one value of an unexpected shape spoils nothing but itself, and
//! so that nesting depth and size of what we do not want cost no memory.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Calls `found` with every member that `wanted` has a use for. Of a name that occurs twice, the last comes last.
///
/// # Errors
/// When the text is no JSON object. Members before the fault have been found by then.
pub fn each_member<'a, T>(
    json: &'a str,
    wanted: impl Fn(&str) -> Option<T>,
    found: impl FnMut(T, &'a RawValue),
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Members {
        wanted,
        found,
        item: PhantomData,
    })?;
    deserializer.end()
}

/// The members of these names, each as it stands last in the object.
///
/// # Errors
/// When the text is no JSON object.
pub fn members<'a, const N: usize>(
    json: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut values = [None; N];
    each_member(
        json,
        |name| names.iter().position(|wanted| *wanted == name),
        |place, raw| values[place] = Some(raw),
    )?;
    Ok(values)
}

/// A JSON string, or `None` for anything else.
pub fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    match serde_json::from_str::<Text<'_>>(raw.get()) {
        Ok(Text(text)) => Some(text),
        Err(_) => None, // another shape: not an error, just not a text
    }
}

/// A JSON integer that fits Postgres's `bigint`, or `None` for anything else.
pub fn integer(raw: &RawValue) -> Option<i64> {
    raw.get().parse().ok()
}

/// `true` or `false`, or `None` for anything else.
pub fn boolean(raw: &RawValue) -> Option<bool> {
    raw.get().parse().ok()
}

/// A string that borrows from the input where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<T, W, F> {
    wanted: W,
    found: F,
    item: PhantomData<T>,
}

impl<'de, T, W, F> Visitor<'de> for Members<T, W, F>
where
    W: Fn(&str) -> Option<T>,
    F: FnMut(T, &'de RawValue),
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = members.next_key()? {
            match (self.wanted)(&name) {
                Some(item) => (self.found)(item, members.next_value()?),
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str) -> Result<Vec<(String, String)>, serde_json::Error> {
        let mut seen = Vec::new();
        each_member(
            json,
            |name| (name != "skip").then(|| name.to_owned()),
            |name, raw| seen.push((name, raw.get().to_owned())),
        )
        .map(|()| seen)
    }

    #[test]
    fn members_come_raw_and_in_order() {
        let seen = names(r#" {"a": 1e999, "skip": [1, {"a": 2}], "b" :{"c":"\ud800"}, "a": null} "#).unwrap();
        let expected = [("a", "1e999"), ("b", r#"{"c":"\ud800"}"#), ("a", "null")];
        assert_eq!(seen, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn of_a_name_that_occurs_twice_the_last_counts() {
        let [a, missing] = members(r#"{"a":1,"b":2,"a":3}"#, ["a", "c"]).unwrap();
        assert_eq!((a.map(RawValue::get), missing.is_none()), (Some("3"), true));
    }

    #[test]
    fn escaped_names_are_understood() {
        assert_eq!(names(r#"{"\u0069d": "x"}"#).unwrap()[0].0, "id");
    }

    #[test]
    fn anything_but_one_object_is_an_error() {
        for json in [
            "",
            "null",
            "[]",
            "\"a\"",
            "1",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":}",
            "{'a':1}",
            "\u{feff}{}",
        ] {
            assert!(names(json).is_err(), "{json}");
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(
            r#"{{"a":{}{},"skip":{}{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000),
            "[".repeat(9),
            "]".repeat(9)
        );
        assert_eq!(names(&deep).unwrap().len(), 1);
    }

    #[test]
    fn scalars_of_another_shape_are_none() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        assert_eq!(text(&raw(r#""caf\u00e9""#)).as_deref(), Some("café"));
        assert_eq!(text(&raw("5")), None);
        assert_eq!(text(&raw(r#""\ud800""#)), None);
        assert_eq!(integer(&raw("-5")), Some(-5));
        for odd in ["1.0", "1e3", "9223372036854775808", "\"5\"", "null", "true"] {
            assert_eq!(integer(&raw(odd)), None, "{odd}");
        }
        assert_eq!(boolean(&raw("true")), Some(true));
        assert_eq!(boolean(&raw("\"true\"")), None);
    }
}
