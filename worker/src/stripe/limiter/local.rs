//! The buckets of one process.
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

use super::{Operation, Rates, Turn, bucket::Shape};

/// The same buckets as in Redis, in memory and on the machine's monotonic clock.
pub(super) struct LocalBuckets {
    overall: Shape,
    endpoint: Shape,
    started: Instant,
    levels: Mutex<Levels>,
}

/// When each bucket is full again, in microseconds since the start.
#[derive(Default)]
struct Levels {
    overall: u64,
    endpoints: HashMap<Operation, u64>,
}

impl LocalBuckets {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            overall: Shape::of(rates.overall),
            endpoint: Shape::of(rates.endpoint),
            started: Instant::now(),
            levels: Mutex::default(),
        }
    }

    /// Takes a token from both buckets, or from none.
    pub(super) fn take(&self, operation: Operation) -> Turn {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let (overall, endpoint) = (
            levels.overall,
            levels.endpoints.get(&operation).copied().unwrap_or(0),
        );
        match self
            .overall
            .wait(now, overall)
            .max(self.endpoint.wait(now, endpoint))
        {
            Some(wait) => Turn::NotBefore(wait),
            None => {
                levels.overall = self.overall.after_taking(now, overall);
                levels
                    .endpoints
                    .insert(operation, self.endpoint.after_taking(now, endpoint));
                Turn::Granted
            }
        }
    }
}
