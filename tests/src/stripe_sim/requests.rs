//! The log of API calls: what a test counts to see how often the product really asked.
use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

/// Older calls are forgotten beyond this many, so that a load test does not fill the memory.
const LIMIT: usize = 200_000;

/// One API call.
#[derive(Debug, Clone, Serialize)]
pub struct Logged {
    /// Counts from 1, given by [`RequestLog::push`]; `GET /_sim/requests?after=N` continues after it.
    pub seq: u64,
    /// Virtual seconds since 1970.
    pub at: i64,
    /// Real milliseconds since 1970 when it arrived.
    pub arrived_ms: i64,
    pub request_id: String,
    pub method: String,
    pub path: String,
    pub params: Value,
    pub idempotency_key: Option<String>,
    /// Whether the answer is a remembered one.
    pub replayed: bool,
    /// The kind of the fault that struck it.
    pub fault: Option<&'static str>,
    /// Nothing where the connection broke instead.
    pub status: Option<u16>,
    /// `code` (else `type`) of an error answer.
    pub error: Option<String>,
}

/// The newest calls, oldest first.
#[derive(Default)]
pub struct RequestLog {
    calls: VecDeque<Logged>,
    seen: u64,
}

impl RequestLog {
    /// Adds a call and numbers it.
    pub fn push(&mut self, mut call: Logged) {
        self.seen += 1;
        call.seq = self.seen;
        if self.calls.len() == LIMIT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// The remembered calls.
    pub fn iter(&self) -> impl Iterator<Item = &Logged> {
        self.calls.iter()
    }
}
