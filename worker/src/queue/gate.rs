//! The gate in front of a lane: who fills it, how full it is, and whether Redis still remembers us.
//!
//! One relay at a time fills a lane, so that its bound holds whatever the number of workers. The right to do so is a
//! short lease in Redis itself: without Redis there is nothing to fill. Two holders at once (a frozen one wakes up)
//! would push an id twice at worst, and the claim in Postgres lets one of them through.

use std::{sync::LazyLock, time::Duration};

use redis::Script;
use shared::{
    failpoint::{self, Effect},
    store::jobs::Queue,
};

use crate::redis_link::Redis;

/// A relay that is silent for this long is followed by another's.
const RELAY_LEASE: Duration = Duration::from_millis(1500);

/// Finished ids forgotten per call: apalis keeps them for ever, and one call must not block Redis for long.
const SWEEP_BATCH: usize = 500;

/// Takes or extends the lease, sets the sentinel if it is gone, measures the lane.
static ENTER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, 0, 0} end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
local fresh = redis.call('setnx', KEYS[2], '1')
return {1, fresh, redis.call('zcard', KEYS[3]) + redis.call('llen', KEYS[4])}
",
    )
});

/// Forgets what apalis keeps of finished ids: their data, their metadata and their place in the sets.
static SWEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local swept = 0
for _, set in ipairs({KEYS[1], KEYS[2]}) do
  for _, id in ipairs(redis.call('srandmember', set, ARGV[1])) do
    redis.call('hdel', KEYS[3], id)
    redis.call('del', KEYS[4] .. ':' .. id)
    redis.call('srem', set, id)
    swept = swept + 1
  end
end
return swept
",
    )
});

/// Gives the lease up if it is ours.
static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0",
    )
});

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Another relay fills this lane.
    Taken,
    /// This one does.
    Ours {
        /// Redis knew nothing of this lane: it was flushed, or is a new one.
        fresh: bool,
        /// Ids waiting in the lane.
        depth: usize,
    },
}

/// Name of a queue's lane in Redis: the prefix of all its keys. No colons: apalis splits at them.
#[must_use]
pub fn lane_name(queue: Queue) -> String {
    format!("quittance-{}", queue.as_str())
}

/// The gate of one lane, for one worker.
#[derive(Clone)]
pub struct Gate {
    redis: Redis,
    lane: String,
    worker_id: String,
}

impl Gate {
    /// The gate of `queue`'s lane.
    #[must_use]
    pub fn new(redis: Redis, queue: Queue, worker_id: &str) -> Self {
        Self {
            redis,
            lane: lane_name(queue),
            worker_id: worker_id.to_owned(),
        }
    }

    fn key(&self, part: &str) -> String {
        format!("{}:{part}", self.lane)
    }

    /// Asks to fill the lane.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn enter(&mut self) -> redis::RedisResult<Entry> {
        let mut call = ENTER.prepare_invoke();
        call.key(self.key("relay"))
            .key(self.key("sentinel"))
            .key(self.key("scheduled"))
            .key(self.key("active"))
            .arg(&self.worker_id)
            .arg(u64::try_from(RELAY_LEASE.as_millis()).unwrap_or(u64::MAX));
        let entered = call.invoke_async(&mut self.redis);
        let (ours, fresh, depth): (bool, bool, usize) = failpoint::around(Effect::Gate, entered).await?;
        Ok(if ours {
            Entry::Ours { fresh, depth }
        } else {
            Entry::Taken
        })
    }

    /// Forgets some finished ids; returns how many.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn sweep(&mut self) -> redis::RedisResult<usize> {
        let mut call = SWEEP.prepare_invoke();
        call.key(self.key("done"))
            .key(self.key("dead"))
            .key(self.key("data"))
            .key(self.key("meta"))
            .arg(SWEEP_BATCH);
        failpoint::around(Effect::Sweep, call.invoke_async(&mut self.redis)).await
    }

    /// Lets another relay in at once.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn leave(&mut self) -> redis::RedisResult<()> {
        let _gone: usize = LEAVE
            .key(self.key("relay"))
            .arg(&self.worker_id)
            .invoke_async(&mut self.redis)
            .await?;
        Ok(())
    }
}
