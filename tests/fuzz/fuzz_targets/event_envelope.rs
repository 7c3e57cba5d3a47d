//! A signed body of any content: an event with small, allow-listed facts, or a refusal; never a panic.
#![no_main]

use bytes::Bytes;
use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shared::{config::Mode, domain::event::Event};

fuzz_target!(|data: &[u8]| {
    let now = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).expect("in range");
    let Ok(event) = Event::parse(Bytes::copy_from_slice(data), Mode::Test, now) else {
        return;
    };
    assert_eq!(event.body, data, "the signed bytes are kept as they came");
    assert!(!event.id.is_empty() && event.id.len() <= 255);
    // What Postgres cannot store in text must not get this far: it would poison a whole group commit.
    for kept in [
        Some(&event.id),
        Some(&event.kind),
        event.order_key.as_ref(),
        event.object_id.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        assert!(!kept.contains('\0'), "a NUL in {kept:?}");
    }
    assert!(!event.facts.contains("\\u0000"), "a NUL in the facts");
    let facts: Value = serde_json::from_str(&event.facts).expect("facts are JSON");
    assert!(facts.is_object());
    every_text(&facts, &mut |text| assert!(text.len() <= 255, "{text:?} is kept"));
    // The same bytes are the same event, whoever delivers them.
    let again = Event::parse(Bytes::copy_from_slice(data), Mode::Test, now).expect("it was one");
    assert_eq!(
        (again.id, again.facts, again.order_key),
        (event.id, event.facts, event.order_key)
    );
});

fn every_text(value: &Value, check: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => check(text),
        Value::Array(entries) => entries.iter().for_each(|entry| every_text(entry, check)),
        Value::Object(members) => members.values().for_each(|member| every_text(member, check)),
        _ => {}
    }
}
