//! The simulator's virtual clock: the machine's clock plus an offset.
//!
//! `created` stamps, the age of idempotency keys and the retention of events follow it. Signatures do not: a receiver
//! checks their age by its own wall clock. The offset is set by hand, or follows the `clock` table of a Quittance
//! database, so that simulator and product agree on what day it is.
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::postgres::PgPoolOptions;

use super::billing::renewal;
use super::state::Sim;

/// How often a followed database is asked; the product promises to follow it within a second.
const POLL: Duration = Duration::from_millis(200);

/// Virtual time.
#[derive(Debug, Default)]
pub struct Clock {
    offset_ms: i64,
    follows_database: bool,
}

impl Clock {
    /// Seconds since 1970 in virtual time, as in `created`.
    pub fn now(&self) -> i64 {
        (wall_ms() + self.offset_ms).div_euclid(1000)
    }

    /// How far virtual time is ahead of the machine's.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// Whether a database owns the offset, so that nobody else may set it.
    pub fn follows_database(&self) -> bool {
        self.follows_database
    }

    /// Sets the offset.
    pub fn set_offset_ms(&mut self, offset_ms: i64) {
        self.offset_ms = offset_ms;
    }

    /// Hands the offset over to a database.
    pub fn follow_database(&mut self) {
        self.follows_database = true;
    }
}

/// Real seconds since 1970: what a webhook signature carries.
pub fn wall_seconds() -> i64 {
    wall_ms().div_euclid(1000)
}

/// Real milliseconds since 1970.
pub fn wall_ms() -> i64 {
    wall_time()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

/// The one reading of the real clock. The product's own clock cannot be used: this program plays Stripe, which has its
/// own, and a signature is stamped with real time even when business time was moved.
#[allow(clippy::disallowed_methods)]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// Follows `clock.offset_ms` of a Quittance database for as long as the process lives.
pub async fn follow(sim: Arc<Sim>, url: String) {
    // Lazy: the database may come up after the simulator.
    let pool = match PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy(&url)
    {
        Ok(pool) => pool,
        Err(error) => {
            tracing::error!(%error, "the clock database's URL cannot be used; virtual time stays at real time");
            return;
        }
    };
    let mut reachable = true;
    loop {
        match sqlx::query_scalar::<_, i64>("select offset_ms from clock")
            .fetch_one(&pool)
            .await
        {
            Ok(offset_ms) => {
                {
                    let mut state = sim.lock();
                    state.clock.set_offset_ms(offset_ms);
                    // What has fallen due by then happens, whoever asks.
                    renewal::tick(&mut state);
                }
                sim.wake.notify_waiters();
                if !reachable {
                    tracing::info!("following the clock database again");
                }
                reachable = true;
            }
            Err(error) => {
                if reachable {
                    tracing::warn!(%error, "cannot read the clock database; keeping the last offset and trying again");
                }
                reachable = false;
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
