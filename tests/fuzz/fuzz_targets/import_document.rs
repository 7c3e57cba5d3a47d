//! A document that somebody wrote by hand: every item is read, or a fault says where it is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shared::domain::import::parse;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (document, faults) = parse(text);
    for fault in &faults {
        assert!(fault.path.starts_with('$'), "{fault:?} has no path");
        assert!(!fault.message.is_empty());
    }
    assert_eq!(
        parse(text),
        (document.clone(), faults.clone()),
        "the same text says the same"
    );
    if !faults.is_empty() {
        return;
    }
    let value: Value = serde_json::from_str(text).expect("no fault, so it is JSON");
    let entries = |name: &str| value.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    assert_eq!(
        [
            document.firms.len(),
            document.clients.len(),
            document.users.len(),
            document.engagements.len(),
            document.time_entries.len(),
            document.invoices.len(),
        ],
        [
            "firms",
            "clients",
            "users",
            "engagements",
            "time_entries",
            "invoices"
        ]
        .map(entries),
        "without a fault nothing is left out"
    );
});
