//! The description of the API: complete, and true of what is answered.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::world::World;

use super::{logged_in, operator, two_firms};

/// Every name that is referred to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "$ref" {
                    found.insert(member.as_str().unwrap().rsplit('/').next().unwrap().to_owned());
                }
                references(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Why a value has not the shape of a schema: types, required and unknown members, words, references. Enough for what we answer.
fn mismatch(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return mismatch(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().find_map(|part| mismatch(document, part, value, at));
    }
    if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let fits = choices
            .iter()
            .any(|choice| mismatch(document, choice, value, at).is_none());
        return (!fits).then(|| format!("{at}: none of oneOf: {value}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().map(|word| word.as_str().unwrap()).collect(),
        _ => return None,
    };
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(&actual) {
        return Some(format!("{at}: {actual} instead of {types:?}: {value}"));
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        return values
            .iter()
            .find_map(|value| mismatch(document, items, value, at));
    }
    let members = value.as_object()?;
    for name in schema["required"].as_array().into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap()) {
            return Some(format!("{at}: {name} is missing"));
        }
    }
    let known = schema["properties"].as_object()?;
    known.iter().find_map(|(name, schema)| {
        let member = members.get(name)?;
        mismatch(document, schema, member, &format!("{at}.{name}"))
    })
}

fn document(world: &World) -> Value {
    let shown = std::process::Command::new(world.portal_binary())
        .arg("--openapi")
        .output()
        .unwrap();
    serde_json::from_slice(&shown.stdout).unwrap()
}

/// What a list or a thing answers has the shape that the document promises.
#[tokio::test]
async fn r212_a31_the_description_of_the_api_is_whole_and_true_of_what_is_answered() {
    let world = two_firms().await;
    world
        .json(&[
            "credit", "issue", "zebra", "--amount", "5.00", "--reason", "spring",
        ])
        .await;
    let document = document(&world);
    let mut named = BTreeSet::new();
    references(&document, &mut named);
    let known: BTreeSet<String> = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let missing: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut operations = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let earlier = operations.insert(id.to_owned(), path.clone());
            assert_eq!(earlier, None, "{id} twice");
            assert_ne!(operation["summary"], "", "{method} {path}");
        }
    }
    let mut admin = logged_in(&world, "admin-acme").await;
    let mut alice = operator(&world, "alice").await;
    for (path, shown) in [
        ("/api/v1/session", "/api/v1/session"),
        ("/api/v1/invoices", "/api/v1/invoices"),
        ("/api/v1/invoices/{id}", "/api/v1/invoices/inv-zebra"),
        ("/api/v1/clients", "/api/v1/clients"),
        ("/api/v1/clients/{id}", "/api/v1/clients/zebra"),
        ("/api/v1/clients/{id}/credit", "/api/v1/clients/zebra/credit"),
        ("/api/v1/clients/{id}/credits", "/api/v1/clients/zebra/credits"),
        ("/api/v1/engagements", "/api/v1/engagements"),
        ("/api/v1/engagements/{id}", "/api/v1/engagements/eng-zebra"),
        ("/api/v1/time", "/api/v1/time"),
        ("/api/v1/disputes", "/api/v1/disputes"),
        ("/api/v1/alerts", "/api/v1/alerts?all=true"),
        ("/api/v1/jobs", "/api/v1/jobs"),
        ("/api/v1/events", "/api/v1/events"),
        ("/api/v1/audit", "/api/v1/audit"),
        ("/api/v1/findings", "/api/v1/findings"),
        ("/api/v1/tokens", "/api/v1/tokens"),
        ("/api/v1/explain/{id}", "/api/v1/explain/inv-zebra"),
        ("/api/v1/why-not/charge/{id}", "/api/v1/why-not/charge/inv-zebra"),
        ("/api/v1/next/{id}", "/api/v1/next/inv-zebra"),
        ("/api/v1/queues", "/api/v1/queues"),
        ("/api/v1/workers", "/api/v1/workers"),
        ("/api/v1/schedules", "/api/v1/schedules"),
        ("/api/v1/schedule-occurrences", "/api/v1/schedule-occurrences"),
    ] {
        let of_platform = ["queues", "workers", "schedule"]
            .iter()
            .any(|word| path.contains(word));
        let caller = if of_platform { &mut alice } else { &mut admin };
        let answer = caller.get(shown).await;
        assert_eq!(answer.status, 200, "{shown}: {}", answer.text);
        let schema =
            &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert_ne!(schema, &Value::Null, "{path}");
        assert_eq!(mismatch(&document, schema, &answer.json(), path), None);
    }
    let refused = admin.get("/api/v1/invoices/nothing").await;
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    assert_eq!(mismatch(&document, &problem, &refused.json(), "problem"), None);
}
