//! Chaos: trouble for every call and every event, decided by a seed.
//!
//! What strikes is a function of the seed, of the customer that a call or an event is about, and of how manyth of its kind
//! it is for that customer: not of the order in which workers happen to come. So the same seed is the same trouble again,
//! whatever the scheduler of the machine does in between.
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::faults::{Fault, Kind};

/// How much trouble there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    pub seed: u64,
    /// Of a thousand API calls so many go wrong.
    #[serde(default)]
    pub calls: u64,
    /// Of a thousand events so many are dropped, told twice, doubled, delayed or overtaken.
    #[serde(default)]
    pub events: u64,
    /// And of every customer, either the first creation or the first confirmation.
    #[serde(default)]
    pub every_customer: bool,
    /// How long a slow call takes.
    #[serde(default = "slow")]
    pub slow_ms: u64,
}

fn slow() -> u64 {
    1500
}

/// What goes wrong with calls that change something.
const WRITES: [Kind; 12] = [
    Kind::ServerErrorBefore,
    Kind::ServerErrorStored,
    Kind::ServerErrorAfter,
    Kind::BadGateway,
    Kind::BadGatewayAfter,
    Kind::RateLimited,
    Kind::LockTimeout,
    Kind::ResetBefore,
    Kind::ResetAfter,
    Kind::TruncateAfter,
    Kind::DelayBefore,
    Kind::DelayAfter,
];

/// What goes wrong with calls that only look.
const READS: [Kind; 6] = [
    Kind::ServerErrorBefore,
    Kind::BadGateway,
    Kind::RateLimited,
    Kind::ResetBefore,
    Kind::TruncateAfter,
    Kind::DelayAfter,
];

/// The calls of which each customer's first one may be chosen to go wrong.
const CHARGING: [&str; 2] = ["POST /v1/payment_intents", "POST /v1/payment_intents/*/confirm"];

/// How an event travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// As the settings of the webhooks say.
    Usual,
    /// Never by itself.
    Dropped,
    /// So many more deliveries.
    Repeated(u32),
    /// Two events, with two ids, for one change.
    Doubled,
    /// Overtaken by those that come shortly after it.
    Overtaken(Duration),
    /// Long after all others.
    Late(Duration),
}

impl Fate {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Usual => None,
            Self::Dropped => Some("event_dropped"),
            Self::Repeated(_) => Some("event_repeated"),
            Self::Doubled => Some("event_doubled"),
            Self::Overtaken(_) => Some("event_overtaken"),
            Self::Late(_) => Some("event_late"),
        }
    }
}

/// The chaos in force, and what it has done so far.
#[derive(Debug, Default)]
pub struct Dice {
    chaos: Option<Chaos>,
    /// How many there were of a kind, of a customer.
    seen: HashMap<(String, String), u64>,
    struck: BTreeMap<&'static str, u64>,
}

impl Dice {
    /// From now on, or no more. What was counted stays.
    pub fn set(&mut self, chaos: Option<Chaos>) {
        self.chaos = chaos;
    }

    /// What is in force and how often each kind of trouble struck.
    pub fn report(&self) -> Value {
        json!({ "chaos": self.chaos, "struck": self.struck })
    }

    /// What strikes this call.
    pub fn call(&mut self, method: &str, path: &str, customer: &str) -> Option<Fault> {
        let chaos = self.chaos.clone()?;
        let operation = operation(method, path);
        let nth = self.count(&operation, customer);
        let chosen = CHARGING[pick(chaos.seed, &["where", customer], CHARGING.len())];
        let is_chosen = chaos.every_customer && nth == 1 && operation == chosen;
        let words = [operation.as_str(), customer, &nth.to_string()];
        if !is_chosen && draw(chaos.seed, &words) % 1000 >= chaos.calls {
            return None;
        }
        let kinds: &[Kind] = if method == "POST" { &WRITES } else { &READS };
        let kind = kinds[pick(chaos.seed, &["what", words[0], words[1], words[2]], kinds.len())];
        *self.struck.entry(kind.word()).or_default() += 1;
        Some(Fault {
            method: None,
            path: path.to_owned(),
            kind,
            nth: 1,
            times: 1,
            ms: chaos.slow_ms,
            retry_after_secs: None,
            reason: None,
            should_retry: None,
        })
    }

    /// What becomes of an event about this object.
    pub fn event(&mut self, kind: &str, object: &Value) -> Fate {
        let Some(chaos) = self.chaos.clone() else {
            return Fate::Usual;
        };
        let customer = object["customer"].as_str().unwrap_or("-");
        let nth = self.count(kind, customer).to_string();
        let words = [kind, customer, nth.as_str()];
        if draw(chaos.seed, &words) % 1000 >= chaos.events {
            return Fate::Usual;
        }
        let amount = draw(chaos.seed, &["amount", kind, customer, &nth]);
        let fate = match pick(chaos.seed, &["fate", kind, customer, &nth], 5) {
            0 => Fate::Dropped,
            1 => Fate::Repeated(if amount.is_multiple_of(2) { 1 } else { 3 }),
            2 => Fate::Doubled,
            3 => Fate::Overtaken(Duration::from_millis(50 + amount % 250)),
            _ => Fate::Late(Duration::from_millis(1000 + amount % 2000)),
        };
        if let Some(word) = fate.word() {
            *self.struck.entry(word).or_default() += 1;
        }
        fate
    }

    fn count(&mut self, kind: &str, customer: &str) -> u64 {
        let seen = self
            .seen
            .entry((kind.to_owned(), customer.to_owned()))
            .or_default();
        *seen += 1;
        *seen
    }
}

/// Method and path, with a star for the id.
fn operation(method: &str, path: &str) -> String {
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let starred: Vec<&str> = segments
        .iter()
        .enumerate()
        .map(|(index, segment)| if index == 3 { "*" } else { *segment })
        .collect();
    format!("{method} {}", starred.join("/"))
}

/// A number that depends on the seed and the words, and on nothing else.
fn draw(seed: u64, words: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// An index below `length`.
fn pick(seed: u64, words: &[&str], length: usize) -> usize {
    usize::try_from(draw(seed, words) % length as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice(chaos: Value) -> Dice {
        let mut dice = Dice::default();
        dice.set(Some(serde_json::from_value(chaos).unwrap()));
        dice
    }

    /// What strikes the calls of these customers, asked for in this order.
    fn struck(seed: u64, customers: &[String]) -> BTreeMap<String, Vec<Option<&'static str>>> {
        let mut dice = dice(json!({ "seed": seed, "calls": 300 }));
        let mut struck: BTreeMap<String, Vec<Option<&'static str>>> = BTreeMap::new();
        for customer in customers {
            let fault = dice.call("POST", "/v1/payment_intents/pi_1/confirm", customer);
            struck
                .entry(customer.clone())
                .or_default()
                .push(fault.map(|fault| fault.kind.word()));
        }
        struck
    }

    #[test]
    fn the_same_seed_strikes_the_same_calls_in_whatever_order_they_come() {
        let mut customers: Vec<String> = (0..60).map(|n| format!("cus_{}", n % 20)).collect();
        let first = struck(7, &customers);
        customers.reverse();
        assert_eq!(struck(7, &customers), first);
        assert_ne!(struck(8, &customers), first);
        let hits = first.values().flatten().flatten().count();
        assert!((5..35).contains(&hits), "{hits} of 60");
    }

    #[test]
    fn every_customer_is_struck_once_while_it_is_charged() {
        let mut dice = dice(json!({ "seed": 3, "every_customer": true }));
        let mut where_struck = BTreeMap::<usize, u32>::new();
        for n in 0..100 {
            let customer = format!("cus_{n}");
            let calls = [
                ("POST", "/v1/payment_intents"),
                ("GET", "/v1/payment_intents/pi_1"),
                ("POST", "/v1/payment_intents/pi_1/confirm"),
                ("POST", "/v1/payment_intents/pi_1/confirm"),
            ];
            let hits: Vec<usize> = (0..calls.len())
                .filter(|call| dice.call(calls[*call].0, calls[*call].1, &customer).is_some())
                .collect();
            assert_eq!(hits.len(), 1, "{customer}: {hits:?}");
            *where_struck.entry(hits[0]).or_default() += 1;
        }
        assert_eq!(where_struck.keys().copied().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_thousand_events_meet_every_fate() {
        let mut dice = dice(json!({ "seed": 1, "events": 1000 }));
        for n in 0..1000 {
            let object = json!({ "customer": format!("cus_{n}") });
            assert_ne!(dice.event("charge.succeeded", &object), Fate::Usual);
        }
        assert_eq!(dice.report()["struck"].as_object().unwrap().len(), 5);
    }
}
