//! Faults: what goes wrong with which API call.
//!
//! A rule names a method and a path pattern, and which of the matching calls it strikes: the `nth`, and `times` in a
//! row. "Before" means that the call had no effect, "after" that it had, whatever the caller is told.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A 500 from the edge: nothing began, nothing is remembered.
    #[serde(rename = "500_before")]
    ServerErrorBefore,
    /// Execution broke before its effect; the 500 is remembered and replayed.
    #[serde(rename = "500_stored")]
    ServerErrorStored,
    /// Execution broke after its effect; the 500 is remembered and replayed.
    #[serde(rename = "500_after")]
    ServerErrorAfter,
    /// A gateway's HTML page instead of an answer, without effect.
    #[serde(rename = "502_html")]
    BadGateway,
    /// A gateway's HTML page instead of the answer to a call that took effect.
    #[serde(rename = "502_html_after")]
    BadGatewayAfter,
    /// Rate limited.
    #[serde(rename = "429")]
    RateLimited,
    /// The object is locked by another call.
    #[serde(rename = "lock_timeout")]
    LockTimeout,
    /// The object is not there, as on a copy that lags behind.
    #[serde(rename = "404")]
    NotFound,
    /// The connection is dropped before anything began.
    #[serde(rename = "reset_before")]
    ResetBefore,
    /// The connection is dropped instead of the answer.
    #[serde(rename = "reset_after")]
    ResetAfter,
    /// The connection is dropped in the middle of the answer.
    #[serde(rename = "truncate_after")]
    TruncateAfter,
    /// Half of the answer, `ms` of silence, the other half.
    #[serde(rename = "trickle_after")]
    TrickleAfter,
    /// The call waits `ms` before it takes effect.
    #[serde(rename = "delay_before_effect")]
    DelayBefore,
    /// The call takes effect at once, its answer waits `ms`.
    #[serde(rename = "delay_after_effect")]
    DelayAfter,
    /// The call waits for `/_sim/release` before it takes effect.
    #[serde(rename = "hold_before")]
    HoldBefore,
    /// The call takes effect at once, its answer waits for `/_sim/release`.
    #[serde(rename = "hold_after")]
    HoldAfter,
}

impl Kind {
    /// The word for it in the control API.
    pub fn word(self) -> &'static str {
        match self {
            Self::ServerErrorBefore => "500_before",
            Self::ServerErrorStored => "500_stored",
            Self::ServerErrorAfter => "500_after",
            Self::BadGateway => "502_html",
            Self::BadGatewayAfter => "502_html_after",
            Self::RateLimited => "429",
            Self::LockTimeout => "lock_timeout",
            Self::NotFound => "404",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::TruncateAfter => "truncate_after",
            Self::TrickleAfter => "trickle_after",
            Self::DelayBefore => "delay_before_effect",
            Self::DelayAfter => "delay_after_effect",
            Self::HoldBefore => "hold_before",
            Self::HoldAfter => "hold_after",
        }
    }
}

/// A fault as it strikes a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Any method where nothing is said.
    pub method: Option<String>,
    /// See [`fn@matches`].
    pub path: String,
    pub kind: Kind,
    /// Strikes first at the nth matching call, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// Strikes so many matching calls in a row.
    #[serde(default = "one")]
    pub times: u64,
    /// For delays.
    #[serde(default)]
    pub ms: u64,
    /// `Retry-After` of a 429.
    pub retry_after_secs: Option<u64>,
    /// `Stripe-Rate-Limited-Reason` of a 429.
    pub reason: Option<String>,
    /// `Stripe-Should-Retry` of the answer.
    pub should_retry: Option<bool>,
}

fn one() -> u64 {
    1
}

struct Rule {
    fault: Fault,
    matched: u64,
    struck: u64,
}

/// All rules and whoever waits at a barrier.
#[derive(Default)]
pub struct Faults {
    rules: Vec<Rule>,
    held: Vec<oneshot::Sender<()>>,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&mut self, fault: Fault) -> Result<(), String> {
        if !fault.path.starts_with("/v1") {
            return Err(format!(
                "the path pattern {:?} should begin with /v1: only API calls can be struck",
                fault.path
            ));
        }
        if fault.nth == 0 || fault.times == 0 {
            return Err("nth and times count from 1".into());
        }
        self.rules.push(Rule {
            fault,
            matched: 0,
            struck: 0,
        });
        Ok(())
    }

    /// Forgets every rule; who waits at a barrier goes on waiting.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault that strikes this call. All matching rules count the call; the oldest one that is due strikes.
    pub fn strike(&mut self, method: &str, path: &str) -> Option<Fault> {
        let mut struck = None;
        for rule in &mut self.rules {
            let right_method = rule
                .fault
                .method
                .as_deref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
            if !right_method || !matches(&rule.fault.path, path) {
                continue;
            }
            rule.matched += 1;
            if struck.is_none() && rule.matched >= rule.fault.nth && rule.struck < rule.fault.times {
                rule.struck += 1;
                struck = Some(rule.fault.clone());
            }
        }
        struck
    }

    /// A call stops at a barrier until the receiver hears something.
    pub fn hold(&mut self) -> oneshot::Receiver<()> {
        let (release, released) = oneshot::channel();
        self.held.retain(|waiting| !waiting.is_closed());
        self.held.push(release);
        released
    }

    /// Lets everybody go; says how many there were.
    pub fn release(&mut self) -> usize {
        self.held
            .drain(..)
            .filter_map(|release| release.send(()).ok())
            .count()
    }

    /// The rules with their counts, and how many calls wait at a barrier.
    pub fn report(&self) -> Value {
        let rules: Vec<Value> = self
            .rules
            .iter()
            .map(|rule| json!({ "fault": rule.fault, "matched": rule.matched, "struck": rule.struck }))
            .collect();
        let holding = self.held.iter().filter(|waiting| !waiting.is_closed()).count();
        json!({ "data": rules, "holding": holding })
    }
}

/// Whether a pattern covers a path: `*` stands for one segment, a trailing `/` for everything below.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, whole) = match pattern.strip_suffix('/') {
        Some(prefix) => (prefix, false),
        None => (pattern, true),
    };
    let mut segments = path.split('/');
    pattern.split('/').all(|wanted| {
        segments
            .next()
            .is_some_and(|segment| wanted == "*" || wanted == segment)
    }) && (!whole || segments.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(nth: u64, times: u64) -> Fault {
        let rule = json!({ "method": "POST", "path": "/v1/payment_intents/*/confirm", "kind": "500_after" });
        Fault {
            nth,
            times,
            ..serde_json::from_value(rule).unwrap()
        }
    }

    #[test]
    fn a_star_is_one_segment_and_a_slash_is_everything_below() {
        assert!(matches("/v1/payment_intents", "/v1/payment_intents"));
        assert!(!matches(
            "/v1/payment_intents",
            "/v1/payment_intents/pi_1/confirm"
        ));
        assert!(matches(
            "/v1/payment_intents/*/confirm",
            "/v1/payment_intents/pi_1/confirm"
        ));
        assert!(!matches(
            "/v1/payment_intents/*",
            "/v1/payment_intents/pi_1/confirm"
        ));
        assert!(matches("/v1/", "/v1/payment_intents/pi_1/confirm"));
    }

    #[test]
    fn the_nth_call_is_struck_so_many_times() {
        let mut faults = Faults::default();
        faults.add(rule(2, 2)).unwrap();
        let struck = |faults: &mut Faults| {
            faults
                .strike("POST", "/v1/payment_intents/pi_1/confirm")
                .is_some()
        };
        let hits: Vec<bool> = (0..5).map(|_| struck(&mut faults)).collect();
        assert_eq!(hits, [false, true, true, false, false]);
        assert!(faults.strike("GET", "/v1/payment_intents/pi_1/confirm").is_none());
    }

    #[test]
    fn every_kind_is_written_as_it_is_read() {
        use Kind::*;
        let kinds = [
            ServerErrorBefore,
            ServerErrorStored,
            ServerErrorAfter,
            BadGateway,
            BadGatewayAfter,
            RateLimited,
            LockTimeout,
            NotFound,
            ResetBefore,
            ResetAfter,
            TruncateAfter,
            TrickleAfter,
            DelayBefore,
            DelayAfter,
            HoldBefore,
            HoldAfter,
        ];
        for kind in kinds {
            assert_eq!(json!(kind), kind.word());
        }
    }

    #[test]
    fn a_rule_that_could_never_strike_is_refused() {
        assert!(Faults::default().add(rule(0, 1)).is_err());
        assert!(
            Faults::default()
                .add(Fault {
                    path: "/payment_intents".into(),
                    ..rule(1, 1)
                })
                .is_err()
        );
    }
}
