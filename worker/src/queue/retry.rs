//! When a failed job runs again: exponential backoff with jitter, counted and stored in Postgres.
//!
//! The lane's own retries are not used: they forget attempts when a process dies and hold a slot while they wait.

use std::time::Duration;

/// How many times a job may be run before it is discarded and a person must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(pub i32);

/// So many seconds.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// So many minutes.
#[must_use]
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// So many hours.
#[must_use]
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

/// The retry policy of one kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Runs in all, the first one included. A job row may allow fewer, never more.
    pub attempts: Attempts,
    /// Wait after the first failure; each further failure doubles it.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

/// Doubling more often than this overflows nothing and changes nothing: every policy has reached its longest wait.
const MOST_DOUBLINGS: u32 = 31;

impl Retry {
    /// Waits `first`, then twice that, and so on up to `longest`: `exponential(Attempts(8), secs(30), hours(1))` is
    /// 30 s, 1 m, 2 m, 4 m, 8 m, 16 m, 32 m, then discarded.
    #[must_use]
    pub const fn exponential(attempts: Attempts, first: Duration, longest: Duration) -> Self {
        Self {
            attempts,
            first,
            longest,
        }
    }

    /// The wait after attempt number `attempt` (from 1) failed. `jitter` is drawn by the caller from 0 to 1000 per
    /// mille and moves the wait by up to a tenth either way, so that what failed together does not return together.
    #[must_use]
    pub fn wait_after(&self, attempt: i32, jitter: Jitter) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1))
            .unwrap_or(0)
            .min(MOST_DOUBLINGS);
        let plain = self.first.saturating_mul(1_u32 << doublings).min(self.longest);
        plain.saturating_mul(900 + jitter.per_mille() / 5) / 1000
    }
}

/// A random number from 0 to 1000, passed in so that the policy itself stays pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(u32);

impl Jitter {
    /// A fresh one.
    #[must_use]
    pub fn draw() -> Self {
        Self(rand::random_range(0..=1000))
    }

    /// A given one, capped at 1000.
    #[cfg(test)]
    pub const fn of(per_mille: u32) -> Self {
        Self(if per_mille > 1000 { 1000 } else { per_mille })
    }

    const fn per_mille(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Retry = Retry::exponential(Attempts(8), secs(30), hours(1));

    #[test]
    fn wait_doubles_up_to_the_longest() {
        let waits: Vec<u64> = (1..=9)
            .map(|n| POLICY.wait_after(n, Jitter::of(500)).as_secs())
            .collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }

    #[test]
    fn jitter_moves_the_wait_by_at_most_a_tenth() {
        assert_eq!(POLICY.wait_after(1, Jitter::of(0)).as_secs(), 27);
        assert_eq!(POLICY.wait_after(1, Jitter::of(1000)).as_secs(), 33);
        for _ in 0..1000 {
            let wait = POLICY.wait_after(2, Jitter::draw());
            assert!((54..=66).contains(&wait.as_secs()), "{wait:?}");
        }
    }

    #[test]
    fn absurd_attempt_numbers_do_not_overflow() {
        assert_eq!(POLICY.wait_after(i32::MAX, Jitter::of(500)), hours(1));
        assert_eq!(POLICY.wait_after(i32::MIN, Jitter::of(500)), secs(30));
    }
}
