//! From the bytes of an event to a row of the inbox.
//!
//! The envelope is read leniently: an event needs an `id` and a `type`, everything else may be missing, new or odd.
//! What is genuine must be kept, even if we do not understand it yet.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::{
    facts::{self, MAX_TEXT_BYTES, short},
    members::{boolean, integer, members, text},
};
use crate::config::Mode;

/// Latest time that we believe in an event: the end of the year 9999.
const LATEST_UNIX_SECONDS: i64 = 253_402_300_799;

/// A genuine event, ready to be stored. Nothing in it can make Postgres refuse the row.
#[derive(Debug)]
pub struct Event {
    /// `evt_…`.
    pub id: String,
    /// `payment_intent.succeeded` and so on; any other text is as welcome.
    pub kind: String,
    /// The API version that shaped it.
    pub api_version: Option<String>,
    /// The connected account, on Connect events.
    pub account: Option<String>,
    /// Where the event does not say, that of the installation.
    pub livemode: bool,
    /// `charge`, `dispute` …
    pub object_type: Option<String>,
    /// `ch_…`, `dp_…` …
    pub object_id: Option<String>,
    /// By Stripe's clock; when it does not say, when we received it.
    pub created_at: DateTime<Utc>,
    /// By our real clock.
    pub received_at: DateTime<Utc>,
    /// The allow-listed facts, as JSON text.
    pub facts: String,
    /// Events that share it are worked on one at a time, in order.
    pub order_key: Option<String>,
    /// The bytes as they came.
    pub body: Bytes,
    /// Their SHA-256.
    pub body_sha256: [u8; 32],
    /// The span that puts its job into the queue, where a trace is being made: set by whoever stores it.
    pub traceparent: Option<String>,
}

/// Genuine, and no event. The text says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnEvent(pub &'static str);

impl Event {
    /// Reads a body that is Stripe's: its signature has been checked, or Stripe was asked for it.
    ///
    /// An event that does not name its mode belongs to ours: secrets and keys differ per mode, and ours were good for it.
    ///
    /// # Errors
    /// When it is no event.
    pub fn parse(body: Bytes, mode: Mode, received_at: DateTime<Utc>) -> Result<Self, NotAnEvent> {
        let envelope = Envelope::read(&body)?;
        let id = envelope
            .id
            .and_then(short_text)
            .ok_or(NotAnEvent("the event has no usable id"))?;
        let kind = envelope
            .kind
            .and_then(text)
            .map(|kind| printable(&kind))
            .filter(|kind| !kind.is_empty())
            .ok_or(NotAnEvent("the event has no type"))?;
        let (facts, order_key) = envelope.facts();
        let of_facts = |name| facts.get(name).and_then(Value::as_str).map(str::to_owned);
        let event = Self {
            id,
            kind,
            api_version: envelope.api_version.and_then(short_text),
            account: envelope.account.and_then(short_text),
            livemode: envelope.livemode.and_then(boolean).unwrap_or(mode.livemode()),
            object_type: of_facts("object"),
            object_id: of_facts("id"),
            created_at: envelope.created.and_then(moment).unwrap_or(received_at),
            received_at,
            order_key,
            facts: Value::Object(facts).to_string(),
            body_sha256: Sha256::digest(&body).into(),
            body: Bytes::new(),
            traceparent: None,
        };
        Ok(Self { body, ..event })
    }
}

/// The members we have a use for, unread.
struct Envelope<'a> {
    id: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    api_version: Option<&'a RawValue>,
    account: Option<&'a RawValue>,
    livemode: Option<&'a RawValue>,
    created: Option<&'a RawValue>,
    request: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    related_object: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn read(body: &'a [u8]) -> Result<Self, NotAnEvent> {
        const NO_OBJECT: NotAnEvent = NotAnEvent("the body is not a JSON object");
        const NAMES: [&str; 9] = [
            "id",
            "type",
            "api_version",
            "account",
            "livemode",
            "created",
            "request",
            "data",
            "related_object",
        ];
        let body = std::str::from_utf8(body).map_err(|_| NO_OBJECT)?;
        let [
            id,
            kind,
            api_version,
            account,
            livemode,
            created,
            request,
            data,
            related_object,
        ] = members(body, NAMES).map_err(|_| NO_OBJECT)?;
        Ok(Self {
            id,
            kind,
            api_version,
            account,
            livemode,
            created,
            request,
            data,
            related_object,
        })
    }

    /// Facts of the event's object, and what orders it.
    ///
    /// Snapshot events carry the object in `data.object`; thin ones (v2) name a `related_object`.
    fn facts(&self) -> (Map<String, Value>, Option<String>) {
        let mut facts = match self.data.and_then(|data| member(data, "object")) {
            Some(object) => facts::of_object(object),
            None => Map::new(),
        };
        if let Some(related) = self.related_object {
            for (name, theirs) in [("id", "id"), ("object", "type")] {
                if let Some(value) = member(related, theirs).and_then(short_text) {
                    facts.entry(name).or_insert(Value::String(value));
                }
            }
        }
        let order_key = order_key(&facts);
        let request = self.request.map(facts::of_request).unwrap_or_default();
        if !request.is_empty() {
            facts.insert("request".to_owned(), Value::Object(request));
        }
        (facts, order_key)
    }
}

/// What orders the work on an event with these facts: its customer, else payment intent, else charge, else the object itself.
#[must_use]
pub fn order_key(facts: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| facts.get(name).and_then(Value::as_str);
    let id = text("id");
    for kind in ["customer", "payment_intent", "charge"] {
        let itself = id.filter(|_| text("object") == Some(kind));
        if let Some(id) = itself.or(text(kind)) {
            return Some(format!("{kind}:{id}"));
        }
    }
    id.map(|id| format!("object:{id}"))
}

fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    match members(object.get(), [name]) {
        Ok([value]) => value,
        Err(_) => None, // no object: it has no members
    }
}

fn short_text(raw: &RawValue) -> Option<String> {
    text(raw).and_then(|t| short(&t))
}

/// A required text is cut to size rather than left out.
fn printable(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > MAX_TEXT_BYTES {
            break;
        }
        kept.push(c);
    }
    kept
}

/// Unix seconds (v1) or RFC 3339 (v2).
fn moment(raw: &RawValue) -> Option<DateTime<Utc>> {
    if let Some(seconds) = integer(raw) {
        return (0..=LATEST_UNIX_SECONDS)
            .contains(&seconds)
            .then(|| DateTime::from_timestamp(seconds, 0))?;
    }
    let at = match DateTime::parse_from_rfc3339(&text(raw)?) {
        Ok(at) => at.to_utc(),
        Err(_) => return None,
    };
    (0..=LATEST_UNIX_SECONDS).contains(&at.timestamp()).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn received() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    fn parse(event: &Value) -> Result<Event, NotAnEvent> {
        Event::parse(Bytes::from(event.to_string()), Mode::Test, received())
    }

    #[test]
    fn r080_the_signed_bytes_are_kept_as_they_came() {
        let text = r#"{ "id": "evt_1", "type": "a.b" }"#;
        let event = Event::parse(Bytes::from(text), Mode::Test, received()).unwrap();
        assert_eq!(event.body, text);
    }

    #[test]
    fn a_required_text_is_cut_to_the_bytes_that_a_text_may_have() {
        let fits = "x".repeat(MAX_TEXT_BYTES);
        assert_eq!(printable(&fits), fits);
        assert_eq!(printable(&format!("{fits}y")), fits);
        assert_eq!(printable(&format!("{}é", &fits[1..])), &fits[1..]);
        assert_eq!(printable("a\nb"), "ab");
    }

    #[test]
    fn a_snapshot_event() {
        let event = parse(&json!({
            "id": "evt_1", "object": "event", "type": "charge.refunded", "api_version": "2020-03-02",
            "created": 1_619_701_111, "livemode": false, "pending_webhooks": 2,
            "request": {"id": "req_1", "idempotency_key": "k"},
            "data": {"object": {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "amount": 5},
                     "previous_attributes": {"refunded": false}}
        }))
        .unwrap();
        assert_eq!(
            (event.id.as_str(), event.kind.as_str()),
            ("evt_1", "charge.refunded")
        );
        assert_eq!(event.api_version.as_deref(), Some("2020-03-02"));
        assert!(!event.livemode);
        assert_eq!(event.created_at.timestamp(), 1_619_701_111);
        assert_eq!(
            (event.object_type.as_deref(), event.object_id.as_deref()),
            (Some("charge"), Some("ch_1"))
        );
        assert_eq!(event.order_key.as_deref(), Some("payment_intent:pi_1"));
        assert_eq!(
            serde_json::from_str::<Value>(&event.facts).unwrap(),
            json!({"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "amount": 5,
                   "request": {"id": "req_1", "idempotency_key": "k"}})
        );
    }

    #[test]
    fn a_thin_event() {
        let event = parse(&json!({
            "id": "evt_test_65", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
            "created": "2026-09-17T06:20:52.246Z", "reason": null,
            "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"}
        }))
        .unwrap();
        assert!(!event.livemode);
        assert_eq!(event.created_at.timestamp_millis() % 1000, 246);
        assert_eq!(
            (event.object_type.as_deref(), event.object_id.as_deref()),
            (Some("billing.meter"), Some("mtr_1"))
        );
        assert_eq!(event.order_key.as_deref(), Some("object:mtr_1"));
    }

    #[test]
    fn an_event_needs_an_id_and_a_type_and_nothing_else() {
        let least = parse(&json!({"id": "evt_1", "type": "x"})).unwrap();
        assert_eq!(least.created_at, received());
        assert_eq!((least.order_key, least.facts.as_str()), (None, "{}"));
        for lacking in [
            json!({}),
            json!({"id": "evt_1"}),
            json!({"type": "x"}),
            json!({"id": 5, "type": "x"}),
            json!({"id": "", "type": "x"}),
            json!({"id": "evt_1", "type": ""}),
            json!({"id": "evt_1", "type": null}),
            json!({"id": "evt\u{0}1", "type": "x"}),
            json!({"id": "e".repeat(256), "type": "x"}),
            json!([]),
            json!(null),
            json!("evt_1"),
        ] {
            assert!(parse(&lacking).is_err(), "{lacking}");
        }
        assert!(Event::parse(Bytes::from_static(b"\xff{}"), Mode::Test, received()).is_err());
    }

    #[test]
    fn the_mode_is_what_the_event_says_else_ours() {
        for (said, ours, expected) in [
            ("true", Mode::Test, true),
            ("false", Mode::Live, false),
            ("null", Mode::Live, true),
        ] {
            let body = Bytes::from(format!(r#"{{"id":"e","type":"x","livemode":{said}}}"#));
            assert_eq!(Event::parse(body, ours, received()).unwrap().livemode, expected);
        }
    }

    #[test]
    fn odd_members_are_left_out() {
        let odd = parse(&json!({
            "id": "evt_1", "type": "a\u{0}b", "api_version": 5, "account": {"id": "acct_1"}, "livemode": "true",
            "created": "yesterday", "request": [], "data": {"object": [1]}, "related_object": 7
        }))
        .unwrap();
        assert_eq!(
            (odd.kind.as_str(), odd.api_version, odd.account, odd.livemode),
            ("ab", None, None, false)
        );
        assert_eq!((odd.created_at, odd.facts.as_str()), (received(), "{}"));
        let long = parse(&json!({"id": "evt_1", "type": "é".repeat(200), "data": null})).unwrap();
        assert_eq!(long.kind, "é".repeat(127));
    }

    #[test]
    fn times_out_of_bounds_are_when_it_came() {
        for odd in [
            json!(-1),
            json!(i64::MAX),
            json!(1.5),
            json!("0000-01-01T00:00:00Z"),
            json!(null),
        ] {
            let event = parse(&json!({"id": "evt_1", "type": "x", "created": odd})).unwrap();
            assert_eq!(event.created_at, received(), "{odd}");
        }
    }

    #[test]
    fn order_follows_customer_then_intent_then_charge_then_object() {
        let key = |object: Value| {
            parse(&json!({"id": "e", "type": "x", "data": {"object": object}}))
                .unwrap()
                .order_key
        };
        for (object, expected) in [
            (
                json!({"id": "pi_1", "object": "payment_intent", "customer": "cus_1"}),
                "customer:cus_1",
            ),
            (json!({"id": "cus_1", "object": "customer"}), "customer:cus_1"),
            (
                json!({"id": "pi_1", "object": "payment_intent"}),
                "payment_intent:pi_1",
            ),
            (
                json!({"id": "dp_1", "object": "dispute", "charge": "ch_1", "payment_intent": "pi_1"}),
                "payment_intent:pi_1",
            ),
            (
                json!({"id": "ch_1", "object": "charge", "payment_intent": null}),
                "charge:ch_1",
            ),
            (
                json!({"id": "re_1", "object": "refund", "charge": {"id": "ch_1"}}),
                "charge:ch_1",
            ),
            (json!({"id": "prod_1", "object": "product"}), "object:prod_1"),
        ] {
            assert_eq!(key(object).as_deref(), Some(expected));
        }
        assert_eq!(key(json!({"object": "balance"})), None);
    }

    #[test]
    fn of_a_name_that_occurs_twice_the_last_counts() {
        let body = Bytes::from_static(
            br#"{"id":"evt_0","id":"evt_1","type":"x","data":{"object":{"amount":1,"amount":2}}}"#,
        );
        let event = Event::parse(body, Mode::Test, received()).unwrap();
        assert_eq!(
            (event.id.as_str(), event.facts.as_str()),
            ("evt_1", r#"{"amount":2}"#)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            let _checked = Event::parse(Bytes::from(body), Mode::Test, received()).is_ok();
        }
    }
}
