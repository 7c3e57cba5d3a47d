//! How many requests one login, token or address may make: a bucket each, refilled evenly.
//!
//! In memory, per process: it protects this process. What must hold for all of them together, guessing passwords, is in the database.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// More callers than this at a time: the fullest buckets, which is who has not come for longest, are forgotten.
const MOST_CALLERS: usize = 20_000;
/// A bucket holds what comes in so many seconds: a page asks for several things at once.
const BURST_SECS: u32 = 10;

struct Bucket {
    /// Requests that may still be made at once, in thousandths.
    milli: u64,
    at: Instant,
}

/// The buckets.
pub struct Limiter {
    per_min: u32,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Limiter {
    /// So many a minute for each caller.
    pub fn new(per_min: u32) -> Self {
        Self {
            per_min,
            buckets: Mutex::default(),
        }
    }

    /// Takes one; or says after how long there is one again.
    pub fn take(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let full = u64::from((self.per_min * BURST_SECS / 60).max(5)) * 1_000;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_CALLERS && !buckets.contains_key(caller) {
            let per_min = self.per_min;
            buckets.retain(|_, bucket| refilled(bucket, now, per_min) < full);
            if buckets.len() >= MOST_CALLERS {
                buckets.clear(); // better a second chance for all than no end of memory
            }
        }
        let bucket = buckets
            .entry(caller.to_owned())
            .or_insert(Bucket { milli: full, at: now });
        bucket.milli = refilled(bucket, now, self.per_min).min(full);
        bucket.at = now;
        if bucket.milli >= 1_000 {
            bucket.milli -= 1_000;
            return Ok(());
        }
        let missing = 1_000 - bucket.milli;
        Err(Duration::from_millis(
            missing * 60 / u64::from(self.per_min.max(1)) + 1,
        ))
    }
}

fn refilled(bucket: &Bucket, now: Instant, per_min: u32) -> u64 {
    let passed = now.saturating_duration_since(bucket.at).as_millis();
    let came = passed.saturating_mul(u128::from(per_min)) / 60;
    bucket
        .milli
        .saturating_add(u64::try_from(came).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_then_as_many_as_are_allowed_a_minute() {
        let limiter = Limiter::new(60);
        let start = Instant::now();
        for _ in 0..10 {
            assert!(limiter.take("a", start).is_ok());
        }
        let wait = limiter.take("a", start).unwrap_err();
        assert!(
            wait > Duration::from_millis(900) && wait < Duration::from_millis(1_100),
            "{wait:?}"
        );
        assert!(limiter.take("b", start).is_ok(), "each has a bucket of its own");
        assert!(limiter.take("a", start + wait).is_ok());
        assert!(limiter.take("a", start + wait).is_err());
    }
}
