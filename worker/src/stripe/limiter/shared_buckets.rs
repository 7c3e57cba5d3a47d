//! The buckets in Redis.
use std::time::Duration;

use redis::{RedisError, RedisResult, Script, aio::ConnectionManagerConfig};
use shared::{
    config::Mode,
    failpoint::{self, Effect},
};
use tokio::time::timeout;

use super::{Operation, Rates, Turn, bucket::Shape};
use crate::redis_link::Redis;

/// Longest wait for Redis. A token is not worth more: without one there is still the local share.
const REDIS_TIMEOUT: Duration = Duration::from_millis(200);

/// Takes tokens with one script, which Redis runs as a whole.
pub(super) struct SharedBuckets {
    connection: Redis,
    script: Script,
    rates: Rates,
}

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer within {} ms", REDIS_TIMEOUT.as_millis())]
    TimedOut,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl SharedBuckets {
    pub(super) fn try_new(url: &str, rates: Rates) -> RedisResult<Self> {
        // One try per command: whoever comes next tries again, and nobody waits for a series of them.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(REDIS_TIMEOUT))
            .set_response_timeout(Some(REDIS_TIMEOUT));
        Ok(Self {
            connection: Redis::connect(url, config)?,
            script: Script::new(include_str!("take.lua")),
            rates,
        })
    }

    /// Takes a token from both buckets, or from none.
    pub(super) async fn take(&self, operation: Operation) -> Result<Turn, Failure> {
        Ok(self.take_at(operation).await?.0)
    }

    /// The same, with Redis's time of it in microseconds.
    pub(super) async fn take_at(&self, operation: Operation) -> Result<(Turn, u64), Failure> {
        let mut connection = self.connection.clone();
        let (own, rate) = self.rates.own_bucket(operation);
        let mut call = self.script.key(self.key("all"));
        call.key(self.key(own));
        for shape in [Shape::of(self.rates.overall), Shape::of(rate)] {
            call.arg(shape.interval_us).arg(shape.burst_us);
        }
        let taken = timeout(REDIS_TIMEOUT, call.invoke_async::<(u64, u64)>(&mut connection));
        let answer = failpoint::around(Effect::Turn, taken).await;
        let Ok(answer) = answer else {
            connection.suspect();
            return Err(Failure::TimedOut);
        };
        let (wait_us, now_us) = answer?;
        let turn = if wait_us == 0 {
            Turn::Granted
        } else {
            Turn::NotBefore(Duration::from_micros(wait_us))
        };
        Ok((turn, now_us))
    }

    /// Both keys of a call hash to one slot, as a cluster wants it.
    fn key(&self, bucket: &str) -> String {
        let mode = match self.rates.mode {
            Mode::Live => "live",
            Mode::Test => "test",
        };
        format!("{{quittance:stripe:rate:{mode}}}:{bucket}")
    }
}
