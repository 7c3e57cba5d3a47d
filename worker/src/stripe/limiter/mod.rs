//! Keeps all workers together below Stripe's rate limits.
//!
//! Every attempt of every call takes a token first: from a bucket for everything and from one for its own endpoint, both
//! in Redis, so that any number of workers share them. Redis is a convenience here and not a condition: when it is away,
//! each worker goes on with its own share of the rate, and returns to the common buckets when Redis does.
mod bucket;
mod local;
mod rates;
mod shared_buckets;

#[cfg(test)]
mod tests;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

pub use rates::Rates;

use super::{Operation, config::ConfigError};
use local::LocalBuckets;
use shared_buckets::{Failure, SharedBuckets};

/// Longest wait for a turn. Whoever does not get one by then gives the worker back and snoozes.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// How often a worker that goes alone looks whether Redis is back.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Hands out turns.
pub struct Limiter {
    shared: Option<SharedBuckets>,
    local: LocalBuckets,
    state: Mutex<State>,
}

/// Where tokens come from at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The buckets in Redis.
    Together,
    /// Our own, until the next look at Redis.
    Alone { next_probe_at: Instant },
}

/// No turn within the longest wait.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no turn within {} s", MAX_WAIT.as_secs())]
pub struct Saturated {
    /// When a token may be there.
    pub retry_after: Duration,
}

/// What asking for a token brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Granted,
    NotBefore(Duration),
}

impl Limiter {
    /// A limiter shared through Redis. Connects when it is first used, and must be made inside a Tokio runtime.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn shared(redis_url: &str, rates: Rates) -> Result<Self, ConfigError> {
        let shared = SharedBuckets::try_new(redis_url, rates).map_err(ConfigError::Redis)?;
        Ok(Self {
            shared: Some(shared),
            local: LocalBuckets::new(rates.share_without_redis()),
            state: Mutex::new(State::Together),
        })
    }

    /// A limiter for one process that is alone with the account, such as a command or a test.
    #[must_use]
    pub fn local(rates: Rates) -> Self {
        Self {
            shared: None,
            local: LocalBuckets::new(rates),
            state: Mutex::new(State::Together),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// When there is none within ten seconds.
    pub async fn acquire(&self, operation: Operation) -> Result<(), Saturated> {
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            match self.take(operation).await {
                Turn::Granted => return Ok(()),
                Turn::NotBefore(wait) if Instant::now() + wait > deadline => {
                    return Err(Saturated { retry_after: wait });
                }
                Turn::NotBefore(wait) => sleep(wait).await,
            }
        }
    }

    /// Asks once: Redis if it is there, else our own buckets.
    async fn take(&self, operation: Operation) -> Turn {
        if let Some(shared) = self.shared.as_ref().filter(|_| self.may_ask_redis()) {
            match shared.take(operation).await {
                Ok(turn) => {
                    self.found_redis();
                    return turn;
                }
                Err(failure) => self.lost_redis(&failure),
            }
        }
        self.local.take(operation)
    }

    /// Together: always. Alone: one caller per interval, so that the rest is not slowed down by a Redis that hangs.
    fn may_ask_redis(&self) -> bool {
        let mut state = self.lock();
        match *state {
            State::Together => true,
            State::Alone { next_probe_at } if next_probe_at <= Instant::now() => {
                *state = State::Alone {
                    next_probe_at: Instant::now() + PROBE_INTERVAL,
                };
                true
            }
            State::Alone { .. } => false,
        }
    }

    fn found_redis(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Together);
        if before != State::Together {
            tracing::info!("Redis is back: Stripe's rate limits are shared by all workers again");
        }
    }

    fn lost_redis(&self, failure: &Failure) {
        let alone = State::Alone {
            next_probe_at: Instant::now() + PROBE_INTERVAL,
        };
        let before = std::mem::replace(&mut *self.lock(), alone);
        if before == State::Together {
            tracing::warn!(error = %failure, "Redis is away: this worker calls Stripe at its own share of the rate");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is one word that is replaced whole, so a panic elsewhere cannot have left it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
