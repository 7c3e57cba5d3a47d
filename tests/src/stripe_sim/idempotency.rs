//! Idempotency keys as Stripe's API v1 treats them.
//!
//! The first request of a key that began executing is remembered, whatever it came to (200, a 402 decline, a 500), and
//! replayed to the same parameters for 24 hours. What was refused before execution (401, 429, validation, a conflict)
//! is not remembered: the same key may get another answer later.
use std::collections::{HashMap, VecDeque};

use super::error::ApiError;
use super::params::Params;

/// Stripe's limit on the length of a key.
const MAX_KEY_LENGTH: usize = 255;
/// "Keys may be removed from the system automatically after they're at least 24 hours old."
const RETENTION_SECS: i64 = 24 * 3600;

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub status: u16,
    pub body: String,
    pub request_id: String,
}

/// What to do with a request that carries a key.
#[derive(Debug, PartialEq)]
pub enum Begin {
    /// Never seen: execute it, then call [`Idempotency::finish`].
    Execute,
    /// Seen and remembered.
    Replay(Stored),
    /// Must not run.
    Refuse(ApiError),
}

/// Scope of a key: the simulator has one account, so the path and the key.
type Scope = (String, String);

struct Entry {
    params: Params,
    begun_at: i64,
    answer: Option<Stored>,
}

/// All keys of the last 24 hours.
#[derive(Default)]
pub struct Idempotency {
    entries: HashMap<Scope, Entry>,
    /// In order of beginning, to prune by.
    by_age: VecDeque<(i64, Scope)>,
}

impl Idempotency {
    /// A request with a key arrives.
    pub fn begin(&mut self, path: &str, key: &str, params: &Params, now: i64) -> Begin {
        self.prune(now);
        if key.len() > MAX_KEY_LENGTH {
            let message = format!("Idempotency keys may be at most {MAX_KEY_LENGTH} characters long.");
            return Begin::Refuse(ApiError::new(400, "idempotency_error", message));
        }
        let scope = (path.to_owned(), key.to_owned());
        let known = self
            .entries
            .get(&scope)
            .filter(|entry| entry.answer.is_none() || !expired(entry.begun_at, now));
        match known {
            Some(entry) if entry.params != *params => Begin::Refuse(ApiError::new(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                 Try using a key other than this one if you meant to execute a different request.",
            )),
            Some(Entry {
                answer: Some(stored), ..
            }) => Begin::Replay(stored.clone()),
            Some(Entry { answer: None, .. }) => Begin::Refuse(
                ApiError::new(
                    409,
                    "invalid_request_error",
                    "There is currently another in-progress request using this Stripe idempotency key. \
                     Please try again later.",
                )
                .code("idempotency_key_in_use"),
            ),
            None => {
                let entry = Entry {
                    params: params.clone(),
                    begun_at: now,
                    answer: None,
                };
                self.entries.insert(scope.clone(), entry);
                self.by_age.push_back((now, scope));
                Begin::Execute
            }
        }
    }

    /// The request came to an end: remembers the answer if execution had begun, or forgets that it was tried.
    pub fn finish(&mut self, path: &str, key: &str, answer: Stored) {
        let scope = (path.to_owned(), key.to_owned());
        if began_executing(answer.status) {
            if let Some(entry) = self.entries.get_mut(&scope) {
                entry.answer = Some(answer);
            }
        } else {
            self.entries.remove(&scope);
        }
    }

    fn prune(&mut self, now: i64) {
        while let Some((begun_at, _)) = self.by_age.front()
            && expired(*begun_at, now)
            && let Some((begun_at, scope)) = self.by_age.pop_front()
        {
            // The key may have been forgotten and used again since.
            if self
                .entries
                .get(&scope)
                .is_some_and(|entry| entry.begun_at == begun_at && entry.answer.is_some())
            {
                self.entries.remove(&scope);
            }
        }
    }
}

fn expired(begun_at: i64, now: i64) -> bool {
    now - begun_at >= RETENTION_SECS
}

/// Successes, declines and server errors come out of execution; other refusals come before it.
fn began_executing(status: u16) -> bool {
    status < 400 || status == 402 || status >= 500
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn stored(status: u16) -> Stored {
        Stored {
            status,
            body: "{}".into(),
            request_id: "req_1".into(),
        }
    }

    fn begun() -> Idempotency {
        let mut keys = Idempotency::default();
        assert_eq!(
            keys.begin("/v1/a", "k", &Params::parse("x=1&y=2"), 0),
            Begin::Execute
        );
        keys
    }

    fn refusal(begin: Begin) -> (u16, String) {
        match begin {
            Begin::Refuse(error) => (error.status, error.fields["type"].as_str().unwrap().to_owned()),
            other => panic!("{other:?} is no refusal"),
        }
    }

    #[test]
    fn the_same_parameters_in_another_order_are_replayed_also_for_declines_and_crashes() {
        for status in [200, 402, 500] {
            let mut keys = begun();
            keys.finish("/v1/a", "k", stored(status));
            let again = keys.begin("/v1/a", "k", &Params::parse("y=2&x=1"), DAY - 1);
            assert_eq!(again, Begin::Replay(stored(status)));
        }
    }

    #[test]
    fn validation_and_rate_limits_are_not_remembered() {
        for status in [400, 404, 409, 429] {
            let mut keys = begun();
            keys.finish("/v1/a", "k", stored(status));
            assert_eq!(
                keys.begin("/v1/a", "k", &Params::parse("x=other"), 1),
                Begin::Execute
            );
        }
    }

    #[test]
    fn other_parameters_are_an_error_and_another_path_is_another_key() {
        let mut keys = begun();
        keys.finish("/v1/a", "k", stored(200));
        assert_eq!(
            refusal(keys.begin("/v1/a", "k", &Params::parse("x=2&y=2"), 1)),
            (400, "idempotency_error".into())
        );
        assert_eq!(keys.begin("/v1/b", "k", &Params::parse("x=2"), 1), Begin::Execute);
    }

    #[test]
    fn a_second_request_while_the_first_runs_is_a_conflict() {
        let mut keys = begun();
        let again = keys.begin("/v1/a", "k", &Params::parse("x=1&y=2"), 1);
        assert_eq!(refusal(again), (409, "invalid_request_error".into()));
    }

    #[test]
    fn after_24_hours_the_key_is_a_new_request() {
        let mut keys = begun();
        keys.finish("/v1/a", "k", stored(200));
        assert_eq!(
            keys.begin("/v1/a", "k", &Params::parse("x=9"), DAY),
            Begin::Execute
        );
    }
}
