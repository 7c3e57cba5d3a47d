//! The buckets of one process.
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

use super::{Operation, Rates, Turn, bucket::Shape};

/// The same buckets as in Redis, in memory and on the machine's monotonic clock.
pub(super) struct LocalBuckets {
    rates: Rates,
    started: Instant,
    levels: Mutex<Levels>,
}

/// When each bucket is full again, in microseconds since the start.
#[derive(Default)]
struct Levels {
    overall: u64,
    own: HashMap<&'static str, u64>,
}

impl LocalBuckets {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            rates,
            started: Instant::now(),
            levels: Mutex::default(),
        }
    }

    /// Takes a token from both buckets, or from none.
    pub(super) fn take(&self, operation: Operation) -> Turn {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, rate) = self.rates.own_bucket(operation);
        let (for_all, for_own) = (Shape::of(self.rates.overall), Shape::of(rate));
        let (overall, own) = (levels.overall, levels.own.get(name).copied().unwrap_or(0));
        match for_all.wait(now, overall).max(for_own.wait(now, own)) {
            Some(wait) => Turn::NotBefore(wait),
            None => {
                levels.overall = for_all.after_taking(now, overall);
                levels.own.insert(name, for_own.after_taking(now, own));
                Turn::Granted
            }
        }
    }
}
