//! The allow-list: what may be kept of an event beside its sealed body. Ids, amounts, statuses, codes, times.
//!
//! Everything else (names, addresses, descriptions, e-mail, card numbers, other people's metadata) stays out, because
//! facts are shown by the command line and the portal. A shape we do not know yields fewer facts, never a refusal.

use serde_json::{Map, Value, value::RawValue};

use super::members::{boolean, each_member, integer, text};

/// Longest text kept. No id or code of Stripe's is longer (ids: at most 255 characters).
pub const MAX_TEXT_BYTES: usize = 255;
/// Most entries kept of a list. Stripe embeds ten at most; the rest has to be asked for.
const MAX_ENTRIES: usize = 10;

/// What a member may be kept as. Another shape of it is left out.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Short text: a status, a code, a currency.
    Text,
    /// A reference: an id, or an expanded object of which the id is kept.
    Id,
    /// Minor units, counts, unix seconds.
    Integer,
    /// A flag.
    Boolean,
    /// Chosen members of an object.
    Within(AllowList),
    /// Chosen members of each object of a list; of its first [`MAX_ENTRIES`].
    Each(AllowList),
}

type AllowList = &'static [(&'static str, Shape)];

use Shape::{Boolean, Each, Id, Integer, Text, Within};

/// Members of `data.object`, over all object types.
const OBJECT: AllowList = &[
    ("id", Id),
    ("object", Text),
    // Whose it is and what it belongs to
    ("customer", Id),
    ("payment_intent", Id),
    ("charge", Id),
    ("latest_charge", Id),
    ("invoice", Id),
    ("payment_method", Id),
    ("default_payment_method", Id),
    ("subscription", Id),
    ("setup_intent", Id),
    ("refund", Id),
    ("credit_note", Id),
    ("balance_transaction", Id),
    ("failure_balance_transaction", Id),
    ("metadata", Within(METADATA)),
    ("parent", Within(PARENT)),
    ("payment", Within(PAYMENT)),
    (
        "payments",
        Within(&[("data", Each(&[("payment", Within(PAYMENT))]))]),
    ),
    // Money
    ("currency", Text),
    ("amount", Integer),
    ("amount_captured", Integer),
    ("amount_due", Integer),
    ("amount_paid", Integer),
    ("amount_received", Integer),
    ("amount_refunded", Integer),
    ("amount_remaining", Integer),
    ("total", Integer),
    // How it stands
    ("status", Text),
    ("reason", Text),
    ("type", Text),
    ("paid", Boolean),
    ("captured", Boolean),
    ("refunded", Boolean),
    ("disputed", Boolean),
    ("is_charge_refundable", Boolean),
    ("cancel_at_period_end", Boolean),
    ("attempt_count", Integer),
    ("billing_reason", Text),
    ("collection_method", Text),
    ("cancellation_reason", Text),
    // Why it failed
    ("failure_code", Text),
    ("failure_reason", Text),
    ("network_reason_code", Text),
    ("last_payment_error", Within(PAYMENT_ERROR)),
    ("last_setup_error", Within(PAYMENT_ERROR)),
    ("outcome", Within(OUTCOME)),
    // Times
    ("created", Integer),
    ("due_date", Integer),
    ("next_payment_attempt", Integer),
    ("period_start", Integer),
    ("period_end", Integer),
    ("current_period_start", Integer),
    ("current_period_end", Integer),
    ("canceled_at", Integer),
    ("evidence_details", Within(&[("due_by", Integer)])),
];

/// Only what we wrote there ourselves.
const METADATA: AllowList = &[
    ("q_scope", Text),
    ("q_firm", Text),
    ("q_invoice", Text),
    ("q_cycle", Text),
];

/// Where an invoice of the newer API versions keeps its subscription.
const PARENT: AllowList = &[
    ("type", Text),
    ("subscription_details", Within(&[("subscription", Id)])),
];

/// What an `invoice_payment` was paid with; an invoice of the newer API versions has a list of them.
const PAYMENT: AllowList = &[("type", Text), ("payment_intent", Id), ("charge", Id)];

const PAYMENT_ERROR: AllowList = &[
    ("type", Text),
    ("code", Text),
    ("decline_code", Text),
    ("advice_code", Text),
    ("network_decline_code", Text),
    ("network_advice_code", Text),
    ("charge", Id),
    ("payment_method", Id),
];

const OUTCOME: AllowList = &[
    ("type", Text),
    ("reason", Text),
    ("network_status", Text),
    ("advice_code", Text),
    ("network_decline_code", Text),
    ("network_advice_code", Text),
];

/// `request` of an event: ties it to a call of ours.
const REQUEST: AllowList = &[("id", Id), ("idempotency_key", Text)];

/// The facts of `data.object`.
pub fn of_object(object: &RawValue) -> Map<String, Value> {
    pick(object, OBJECT)
}

/// The facts of an event's `request`, which was a bare id in old API versions.
pub fn of_request(request: &RawValue) -> Map<String, Value> {
    match text(request).and_then(|id| short(&id)) {
        Some(id) => Map::from_iter([("id".to_owned(), Value::String(id))]),
        None => pick(request, REQUEST),
    }
}

/// A text that is short and printable. Anything else is no id and no code, and Postgres would refuse a NUL.
pub fn short(text: &str) -> Option<String> {
    let kept = !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    kept.then(|| text.to_owned())
}

fn pick(object: &RawValue, list: AllowList) -> Map<String, Value> {
    let mut facts = Map::new();
    let whole = each_member(
        object.get(),
        |name| list.iter().find(|(allowed, _)| *allowed == name),
        |(name, shape), raw| match read(raw, *shape) {
            Some(fact) => drop(facts.insert((*name).to_owned(), fact)),
            None => drop(facts.remove(*name)),
        },
    );
    if let Err(fault) = whole {
        // Null, a list, or text that is legal JSON and no Unicode: the facts before it are kept, the body keeps all.
        tracing::debug!(%fault, "part of an event's data has no facts");
    }
    facts
}

fn read(raw: &RawValue, shape: Shape) -> Option<Value> {
    match shape {
        Text => text(raw).and_then(|t| short(&t)).map(Value::String),
        Integer => integer(raw).map(Value::from),
        Boolean => boolean(raw).map(Value::Bool),
        Id if raw.get().starts_with('{') => pick(raw, &[("id", Text)]).remove("id"),
        Id => read(raw, Text),
        Within(list) => {
            let facts = pick(raw, list);
            (!facts.is_empty()).then_some(Value::Object(facts))
        }
        Each(list) => {
            let Ok(entries) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
                return None; // another shape: not an error, just no list
            };
            let facts: Vec<Value> = entries
                .into_iter()
                .take(MAX_ENTRIES)
                .filter_map(|entry| read(entry, Within(list)))
                .collect();
            (!facts.is_empty()).then_some(Value::Array(facts))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn facts(object: &Value) -> Value {
        let raw = RawValue::from_string(object.to_string()).unwrap();
        Value::Object(of_object(&raw))
    }

    /// R002.
    #[test]
    fn a30_only_what_the_list_allows_is_kept() {
        let charge = json!({
            "id": "ch_1", "object": "charge", "amount": 522_500, "currency": "usd", "customer": "cus_1",
            "billing_details": {"email": "who@example.com", "name": "Who"}, "description": "secret work",
            "receipt_email": "who@example.com", "payment_method_details": {"card": {"last4": "4242"}},
            "metadata": {"q_firm": "f", "q_invoice": "i", "note": "private", "q_other": "x"},
            "outcome": {"type": "issuer_declined", "seller_message": "The bank…", "reason": "insufficient_funds"},
            "failure_message": "Your card…", "failure_code": "card_declined", "paid": false
        });
        assert_eq!(
            facts(&charge),
            json!({
                "id": "ch_1", "object": "charge", "amount": 522_500, "currency": "usd", "customer": "cus_1",
                "metadata": {"q_firm": "f", "q_invoice": "i"},
                "outcome": {"type": "issuer_declined", "reason": "insufficient_funds"},
                "failure_code": "card_declined", "paid": false
            })
        );
    }

    #[test]
    fn an_expanded_reference_is_its_id() {
        let dispute =
            json!({"id": "dp_1", "charge": {"id": "ch_1", "amount": 5}, "payment_intent": {"object": "x"}});
        assert_eq!(facts(&dispute), json!({"id": "dp_1", "charge": "ch_1"}));
    }

    #[test]
    fn old_and_new_shapes_of_an_invoice() {
        assert_eq!(
            facts(&json!({"subscription": "sub_1"})),
            json!({"subscription": "sub_1"})
        );
        let parent = json!({"parent": {"type": "subscription_details", "quote_details": null,
            "subscription_details": {"metadata": {"x": "y"}, "subscription": "sub_1"}}});
        assert_eq!(
            facts(&parent),
            json!({"parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}})
        );
    }

    #[test]
    fn the_payments_of_an_invoice_are_kept_by_what_they_name() {
        let payment = |intent: &str| {
            json!({"object": "invoice_payment", "amount_paid": 5,
                   "payment": {"type": "payment_intent", "payment_intent": intent, "note": "private"}})
        };
        let invoice = |payments: Value| facts(&json!({"payments": {"object": "list", "data": payments}}));
        let kept = |intent: &str| json!({"payment": {"type": "payment_intent", "payment_intent": intent}});
        assert_eq!(
            invoice(json!([payment("pi_1"), 7, {}, payment("pi_2")])),
            json!({"payments": {"data": [kept("pi_1"), kept("pi_2")]}})
        );
        let many: Vec<Value> = (0..50).map(|n| payment(&format!("pi_{n}"))).collect();
        let found = invoice(json!(many));
        assert_eq!(
            found["payments"]["data"].as_array().map(Vec::len),
            Some(MAX_ENTRIES)
        );
        for odd in [json!(null), json!({}), json!("pi_1"), json!([])] {
            assert_eq!(invoice(odd), json!({}));
        }
    }

    #[test]
    fn what_postgres_would_refuse_is_left_out() {
        let odd = RawValue::from_string(
            r#"{"status":"a\u0000b","amount":1e999,"total":99999999999999999999,"created":1.5,"reason":"\ud800",
                "customer":{"id":"cus\u0000"},"paid":"yes","currency":["usd"],"id":"ok"}"#
                .to_owned(),
        );
        assert_eq!(Value::Object(of_object(&odd.unwrap())), json!({"id": "ok"}));
        assert_eq!(
            facts(&json!({"status": "x".repeat(256), "reason": ""})),
            json!({})
        );
    }

    #[test]
    fn what_stands_before_a_fault_is_kept() {
        let raw = RawValue::from_string(r#"{"id":"ch_1","\ud800":1,"status":"x"}"#.to_owned()).unwrap();
        assert_eq!(Value::Object(of_object(&raw)), json!({"id": "ch_1"}));
    }

    #[test]
    fn no_object_has_no_facts() {
        for odd in [
            json!(null),
            json!([]),
            json!("x"),
            json!(1),
            json!({}),
            json!({"metadata": {}}),
        ] {
            assert_eq!(facts(&odd), json!({}));
        }
    }

    #[test]
    fn requests_of_both_kinds() {
        let request = |v: Value| Value::Object(of_request(&RawValue::from_string(v.to_string()).unwrap()));
        assert_eq!(request(json!("req_1")), json!({"id": "req_1"}));
        assert_eq!(
            request(json!({"id": null, "idempotency_key": "k"})),
            json!({"idempotency_key": "k"})
        );
        assert_eq!(request(json!(null)), json!({}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        let key = prop_oneof![
            any::<String>(),
            prop::sample::select(OBJECT).prop_map(|(name, _)| name.to_owned())
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..8)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_the_shape_facts_are_storable(value in any_json()) {
            let kept = facts(&value).to_string();
            prop_assert!(!kept.contains("\\u0000"));
            let names: Vec<_> = OBJECT.iter().map(|(name, _)| *name).collect();
            for (name, _) in facts(&value).as_object().unwrap() {
                prop_assert!(names.contains(&name.as_str()));
            }
        }
    }
}
