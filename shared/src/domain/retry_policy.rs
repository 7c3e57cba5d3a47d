//! When a soft decline is tried again: by default three, seven and fourteen days after the first failure.
//!
//! The policy is the firm's and is copied to a collection cycle when it begins, so that a change never moves a step that
//! the client has been told of. Steps are instants, N × 24 hours, and not local days: a change of daylight saving moves none.
use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::words::word_enum;

word_enum!(
    /// What the offsets are counted from.
    Basis, "basis":
    /// The first failure of the collection cycle.
    FirstFailure = "first_failure",
    /// The failure just seen.
    PreviousFailure = "previous_failure",
);

/// Card networks count attempts per card and month; ten retries stay below every limit.
const MAX_STEPS: usize = 10;
/// After two months a debt is not collected by trying a card again.
const MAX_OFFSET_DAYS: u32 = 60;

/// The retries of one collection cycle. Only valid policies exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct RetryPolicy {
    version: u32,
    offsets_days: Vec<u32>,
    basis: Basis,
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Versions count from 1.
    #[error("retry_policy: version must be at least 1")]
    Version,
    /// No retry, or too many.
    #[error("retry_policy: offsets_days must have 1 to {MAX_STEPS} entries, not {0}")]
    StepCount(usize),
    /// An offset outside the limits.
    #[error("retry_policy: offsets_days must lie between 1 and {MAX_OFFSET_DAYS}, not {0}")]
    Offset(u32),
    /// Days counted from the first failure have to grow.
    #[error("retry_policy: offsets_days must increase when basis is first_failure: {after} follows {before}")]
    NotIncreasing {
        /// An offset.
        before: u32,
        /// The one after it, which is not greater.
        after: u32,
    },
}

/// A policy as written in the firm's settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    #[serde(default = "first_version")]
    version: u32,
    offsets_days: Vec<u32>,
    #[serde(default = "default_basis")]
    basis: Basis,
}

const fn first_version() -> u32 {
    1
}

const fn default_basis() -> Basis {
    Basis::FirstFailure
}

/// What follows a failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Try again.
    Retry {
        /// Number of the retry, from 1 (0 is the first attempt).
        step: u32,
        /// When it falls due.
        at: DateTime<Utc>,
    },
    /// No step is left.
    Exhausted,
}

impl RetryPolicy {
    /// Checks and builds a policy.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn try_new(version: u32, offsets_days: Vec<u32>, basis: Basis) -> Result<Self, InvalidPolicy> {
        if version == 0 {
            return Err(InvalidPolicy::Version);
        }
        if !(1..=MAX_STEPS).contains(&offsets_days.len()) {
            return Err(InvalidPolicy::StepCount(offsets_days.len()));
        }
        if let Some(days) = offsets_days
            .iter()
            .find(|days| !(1..=MAX_OFFSET_DAYS).contains(*days))
        {
            return Err(InvalidPolicy::Offset(*days));
        }
        let falls = offsets_days
            .iter()
            .zip(offsets_days.iter().skip(1))
            .find(|(before, after)| after <= before);
        match (basis, falls) {
            (Basis::FirstFailure, Some((before, after))) => Err(InvalidPolicy::NotIncreasing {
                before: *before,
                after: *after,
            }),
            (Basis::FirstFailure, None) | (Basis::PreviousFailure, _) => Ok(Self {
                version,
                offsets_days,
                basis,
            }),
        }
    }

    /// Version of the firm's policy.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Days to each retry.
    #[must_use]
    pub fn offsets_days(&self) -> &[u32] {
        &self.offsets_days
    }

    /// What the days are counted from.
    #[must_use]
    pub const fn basis(&self) -> Basis {
        self.basis
    }

    /// When the policy comes to its end: the time of its last retry, where none is late.
    #[must_use]
    pub fn ends_at(&self, first_failed_at: DateTime<Utc>) -> DateTime<Utc> {
        let days: u32 = match self.basis {
            Basis::FirstFailure => self.offsets_days.last().copied().unwrap_or_default(),
            Basis::PreviousFailure => self.offsets_days.iter().sum(),
        };
        first_failed_at
            .checked_add_signed(Duration::days(i64::from(days)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            version: first_version(),
            offsets_days: vec![3, 7, 14],
            basis: default_basis(),
        }
    }
}

impl TryFrom<Unchecked> for RetryPolicy {
    type Error = InvalidPolicy;

    fn try_from(raw: Unchecked) -> Result<Self, InvalidPolicy> {
        Self::try_new(raw.version, raw.offsets_days, raw.basis)
    }
}

/// The step after `step_just_failed` (0 for the first attempt), which failed at `failed_at`; it is `now`.
///
/// Counted from the first failure, step n falls due at `first_failed_at` + n-th offset × 24 h, whenever the steps before
/// it really ran: a late step shifts no later one. A step whose time has passed by now is passed over, so that a worker
/// that was down for a week does not charge twice in a row; it makes one attempt and goes on with the next step that lies
/// ahead. Counted from the previous failure, no step is passed over: where we hear of the failure so late that the next
/// step's time has passed, that time is counted from now.
#[must_use]
pub fn next_step(
    policy: &RetryPolicy,
    step_just_failed: u32,
    first_failed_at: DateTime<Utc>,
    failed_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> NextStep {
    let after = |from: DateTime<Utc>, days: u32| from.checked_add_signed(Duration::days(i64::from(days)));
    (1..)
        .zip(policy.offsets_days.iter().copied())
        .filter(|(step, _)| *step > step_just_failed)
        .filter_map(|(step, days)| {
            let at = match policy.basis {
                Basis::FirstFailure => after(first_failed_at, days).filter(|at| *at > now),
                Basis::PreviousFailure => after(failed_at, days)
                    .filter(|at| *at > now)
                    .or_else(|| after(now, days)),
            };
            Some((step, at?))
        })
        .next()
        .map_or(NextStep::Exhausted, |(step, at)| NextStep::Retry { step, at })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// R065.
    #[test]
    fn the_default_retries_on_day_3_7_and_14_and_is_then_exhausted() {
        let policy = RetryPolicy::default();
        let first = at("2026-01-01T02:00:00Z");
        let mut failed_at = first;
        for (step, due) in [
            (1, "2026-01-04T02:00:00Z"),
            (2, "2026-01-08T02:00:00Z"),
            (3, "2026-01-15T02:00:00Z"),
        ] {
            assert_eq!(
                next_step(&policy, step - 1, first, failed_at, failed_at),
                NextStep::Retry { step, at: at(due) }
            );
            failed_at = at(due) + Duration::minutes(4);
        }
        assert_eq!(
            next_step(&policy, 3, first, failed_at, failed_at),
            NextStep::Exhausted
        );
    }

    #[test]
    fn a_late_step_shifts_no_later_one() {
        let first = at("2026-01-01T02:00:00Z");
        let next = next_step(
            &RetryPolicy::default(),
            1,
            first,
            at("2026-01-07T22:00:00Z"),
            at("2026-01-07T23:00:00Z"),
        );
        assert_eq!(
            next,
            NextStep::Retry {
                step: 2,
                at: at("2026-01-08T02:00:00Z")
            }
        );
    }

    #[test]
    fn a_step_whose_time_has_passed_is_passed_over() {
        let first = at("2026-01-01T02:00:00Z");
        let policy = RetryPolicy::default();
        for failed_at in ["2026-01-08T02:00:00Z", "2026-01-10T00:00:00Z"] {
            let next = next_step(&policy, 1, first, at(failed_at), at(failed_at));
            assert_eq!(
                next,
                NextStep::Retry {
                    step: 3,
                    at: at("2026-01-15T02:00:00Z")
                }
            );
        }
        assert_eq!(
            next_step(
                &policy,
                1,
                first,
                at("2026-02-01T00:00:00Z"),
                at("2026-02-01T00:00:00Z")
            ),
            NextStep::Exhausted
        );
    }

    #[test]
    fn counted_from_the_previous_failure_every_step_lies_ahead() {
        let policy = RetryPolicy::try_new(2, vec![3, 3, 1], Basis::PreviousFailure).unwrap();
        // heard of at once, within its days, as they end, and after them
        for (now, due) in [
            ("2026-03-01T12:00:00Z", "2026-03-04T12:00:00Z"),
            ("2026-03-03T00:00:00Z", "2026-03-04T12:00:00Z"),
            ("2026-03-04T12:00:00Z", "2026-03-07T12:00:00Z"),
            ("2026-03-10T00:00:00Z", "2026-03-13T00:00:00Z"),
        ] {
            let first = at("2026-01-01T00:00:00Z");
            let next = next_step(&policy, 1, first, at("2026-03-01T12:00:00Z"), at(now));
            assert_eq!(next, NextStep::Retry { step: 2, at: at(due) });
        }
    }

    #[test]
    fn a_policy_ends_with_its_last_retry() {
        let first = at("2026-01-01T02:00:00Z");
        assert_eq!(RetryPolicy::default().ends_at(first), at("2026-01-15T02:00:00Z"));
        let chained = RetryPolicy::try_new(2, vec![3, 3, 1], Basis::PreviousFailure).unwrap();
        assert_eq!(chained.ends_at(first), at("2026-01-08T02:00:00Z"));
        assert_eq!(
            (chained.version(), chained.offsets_days(), chained.basis()),
            (2, &[3, 3, 1][..], Basis::PreviousFailure)
        );
    }

    #[test]
    fn the_policy_of_the_schema_is_read_and_written_back() {
        let json = r#"{"version":1,"offsets_days":[3,7,14],"basis":"first_failure"}"#;
        let policy: RetryPolicy = serde_json::from_str(json).unwrap();
        assert_eq!(policy, RetryPolicy::default());
        assert_eq!(serde_json::to_string(&policy).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<RetryPolicy>(r#"{"offsets_days":[3,7,14]}"#).unwrap(),
            policy
        );
    }

    #[test]
    fn a_policy_that_cannot_be_meant_is_refused_with_its_fault() {
        for (json, fault) in [
            (
                r#"{"version":0,"offsets_days":[3]}"#,
                "version must be at least 1",
            ),
            (r#"{"offsets_days":[]}"#, "must have 1 to 10 entries, not 0"),
            (
                r#"{"offsets_days":[1,2,3,4,5,6,7,8,9,10,11]}"#,
                "must have 1 to 10 entries, not 11",
            ),
            (r#"{"offsets_days":[0,3]}"#, "must lie between 1 and 60, not 0"),
            (r#"{"offsets_days":[3,61]}"#, "must lie between 1 and 60, not 61"),
            (
                r#"{"offsets_days":[3,3]}"#,
                "must increase when basis is first_failure: 3 follows 3",
            ),
            (
                r#"{"offsets_days":[7,3]}"#,
                "must increase when basis is first_failure: 3 follows 7",
            ),
            (
                r#"{"offsets_days":[3],"basis":"moon"}"#,
                "unknown basis 'moon': use first_failure or previous_failure",
            ),
            (r#"{"offsets_days":[3],"offset":1}"#, "unknown field `offset`"),
            (r#"{"offsets_days":[-3]}"#, "invalid value"),
        ] {
            let error = serde_json::from_str::<RetryPolicy>(json).unwrap_err().to_string();
            assert!(error.contains(fault), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn steps_grow_lie_ahead_and_end(
            offsets_days in prop::collection::btree_set(1..=60_u32, 1..=10),
            late_hours in prop::collection::vec(0..200_i64, 12),
            basis in prop::sample::select(Basis::ALL),
        ) {
            let count = u32::try_from(offsets_days.len()).unwrap();
            let policy = RetryPolicy::try_new(1, offsets_days.into_iter().collect(), basis).unwrap();
            let first = at("2026-03-28T01:30:00Z");
            let (mut failed_step, mut failed_at, mut retries) = (0, first, 0);
            for late in late_hours {
                match next_step(&policy, failed_step, first, failed_at, failed_at) {
                    NextStep::Exhausted => break,
                    NextStep::Retry { step, at } => {
                        prop_assert!(step > failed_step && step <= count && at > failed_at);
                        (failed_step, failed_at, retries) = (step, at + Duration::hours(late), retries + 1);
                    }
                }
            }
            prop_assert!(retries <= count);
            prop_assert_eq!(next_step(&policy, count, first, failed_at, failed_at), NextStep::Exhausted);
        }
    }
}
