//! Deliveries that are answered 503: each is counted by its reason, and the log says why.
//!
//! A 503 without a word in the log cannot be explained afterwards. But 503s come in floods, and a flood must not fill the
//! log: of one reason there is a line at once, and then at most one in [`PAUSE`], which says how many it stands for.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::IntCounterVec;

/// Between two lines about the same reason: often enough to follow an outage, too seldom to fill a disk.
const PAUSE: Duration = Duration::from_secs(10);

/// Why a delivery was answered 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As many deliveries are under way as we take on.
    InFlight,
    /// The bodies under way take all the memory set aside for them.
    Memory,
    /// As many events wait for a committer as may. Their clients may have got their 503 already.
    Queue,
    /// The batch failed; the committer has logged the fault.
    CommitFailed,
    /// The deadline passed. The committer may be in time for its own, and then says nothing.
    CommitLate,
    /// The committer ended without an answer: a bug.
    CommitterGone,
    /// No committer takes anything any more: the program is ending.
    Closed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::InFlight,
        Self::Memory,
        Self::Queue,
        Self::CommitFailed,
        Self::CommitLate,
        Self::CommitterGone,
        Self::Closed,
    ];

    /// Value of the metric's `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Memory => "memory",
            Self::Queue => "queue",
            Self::CommitFailed => "commit_failed",
            Self::CommitLate => "commit_late",
            Self::CommitterGone => "committer_gone",
            Self::Closed => "closed",
        }
    }
}

/// Counts and tells.
pub struct Refusals {
    counted: IntCounterVec,
    told: Mutex<HashMap<&'static str, Told>>,
}

/// What the log knows of one reason.
struct Told {
    at: Instant,
    unsaid: u64,
}

impl Refusals {
    /// Counts by the label `reason` of this metric.
    pub fn new(counted: IntCounterVec) -> Self {
        Self {
            counted,
            told: Mutex::default(),
        }
    }

    /// A delivery is about to be answered 503.
    pub fn note(&self, reason: Reason) {
        self.counted.with_label_values(&[reason.label()]).inc();
        if let Some(deliveries) = self.due(reason, Instant::now()) {
            tracing::warn!(
                reason = reason.label(),
                deliveries,
                "answered 503; Stripe delivers again"
            );
        }
    }

    /// How many deliveries a line would stand for, where one is due.
    fn due(&self, reason: Reason, now: Instant) -> Option<u64> {
        // Whoever panicked with it held left counts that are good enough.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(reason.label()) {
            None => {
                told.insert(reason.label(), Told { at: now, unsaid: 0 });
                Some(1)
            }
            Some(last) if now.duration_since(last.at) < PAUSE => {
                last.unsaid += 1;
                None
            }
            Some(last) => {
                let deliveries = last.unsaid + 1;
                *last = Told { at: now, unsaid: 0 };
                Some(deliveries)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn a_flood_is_one_line_at_once_and_then_one_per_pause_that_counts_the_rest() {
        let counted = IntCounterVec::new(Opts::new("refused", "test"), &["reason"]).unwrap();
        let refusals = Refusals::new(counted);
        let start = Instant::now();
        let due = |reason, after| refusals.due(reason, start + Duration::from_secs(after));
        assert_eq!(due(Reason::Queue, 0), Some(1));
        assert_eq!(due(Reason::Queue, 1), None);
        assert_eq!(due(Reason::Memory, 2), Some(1), "another reason has its own line");
        assert_eq!(due(Reason::Queue, 9), None);
        assert_eq!(due(Reason::Queue, 10), Some(3));
        assert_eq!(due(Reason::Queue, 11), None);
        assert_eq!(due(Reason::Queue, 30), Some(2));
    }
}
