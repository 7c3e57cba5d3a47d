//! The arithmetic of one token bucket, in whole microseconds. The Lua script does the same.
//!
//! A bucket is one number: the time at which it would be full again (the "theoretical arrival time" of the generic cell
//! rate algorithm, which is a token bucket without a counter). A request moves it on by one interval, and is early when it
//! lies more than the burst ahead.
use std::{num::NonZeroU32, time::Duration};

const MICROS_PER_SEC: u64 = 1_000_000;

/// The size of a bucket and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Time in which one token drips in.
    pub(super) interval_us: u64,
    /// How far ahead of an even pace requests may be: all tokens but one.
    pub(super) burst_us: u64,
}

impl Shape {
    /// A bucket from which no second, wherever it begins, sees more than `per_sec` requests.
    ///
    /// A full bucket of `tokens` gives them at once and then one per interval, so within less than a second fewer than
    /// `tokens + fill` leave it, where `fill` is the tokens that drip in per second. With a tenth of the rate as tokens,
    /// enough to make up for late wake-ups, `fill` must be `per_sec + 1 - tokens`.
    pub(super) fn of(per_sec: NonZeroU32) -> Self {
        let per_sec = u64::from(per_sec.get());
        let tokens = (per_sec / 10).max(1);
        let interval_us = MICROS_PER_SEC.div_ceil(per_sec + 1 - tokens);
        Self {
            interval_us,
            burst_us: (tokens - 1) * interval_us,
        }
    }

    /// How long until there is a token, none when there is one now. `full_at_us` is the bucket.
    pub(super) fn wait(self, now_us: u64, full_at_us: u64) -> Option<Duration> {
        let early = full_at_us.saturating_sub(now_us + self.burst_us);
        (early > 0).then(|| Duration::from_micros(early))
    }

    /// The bucket after a token was taken from it.
    pub(super) fn after_taking(self, now_us: u64, full_at_us: u64) -> u64 {
        full_at_us.max(now_us) + self.interval_us
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When a bucket lets requests through that never tire of asking, sampled at `step_us`.
    fn grants(shape: Shape, step_us: u64, until_us: u64) -> Vec<u64> {
        let (mut full_at, mut granted) = (0, Vec::new());
        let mut now = 5 * MICROS_PER_SEC;
        while now < until_us {
            if shape.wait(now, full_at).is_none() {
                full_at = shape.after_taking(now, full_at);
                granted.push(now);
            } else {
                now += step_us;
            }
        }
        granted
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_rate(per_sec in 1_u32..200, step_us in 50_u64..30_000) {
            let shape = Shape::of(NonZeroU32::new(per_sec).unwrap());
            let granted = grants(shape, step_us, 9 * MICROS_PER_SEC);
            for (i, start) in granted.iter().enumerate() {
                let within = granted.iter().skip(i).take_while(|at| **at < start + MICROS_PER_SEC).count();
                prop_assert!(within <= per_sec as usize, "{within} in the second from {start}");
            }
        }

        #[test]
        fn waiting_as_told_is_enough(per_sec in 1_u32..200, now in 0_u64..1_000_000, ahead in 0_u64..3_000_000) {
            let shape = Shape::of(NonZeroU32::new(per_sec).unwrap());
            if let Some(wait) = shape.wait(now, now + ahead) {
                let later = now + u64::try_from(wait.as_micros()).unwrap();
                prop_assert_eq!(shape.wait(later, now + ahead), None);
            }
        }
    }

    #[test]
    fn most_of_the_rate_is_usable() {
        for per_sec in [1, 5, 20, 80] {
            let granted = grants(
                Shape::of(NonZeroU32::new(per_sec).unwrap()),
                500,
                15 * MICROS_PER_SEC,
            );
            assert!(
                granted.len() as u32 * 10 >= per_sec * 10 * 9,
                "{per_sec}/s: {} in ten seconds",
                granted.len()
            );
        }
    }
}
