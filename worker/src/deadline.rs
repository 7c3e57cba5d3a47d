//! Deadlines that hold for a process that did not notice time pass: stopped by a signal, or asleep with its machine.
//!
//! The monotonic clock goes on while a process is stopped, but not while the machine sleeps; the wall clock is put right
//! after a sleep, but people and time servers set it back too. So both are asked, and the one that says first that the
//! time is up is believed: to stop too early costs an attempt, to go on too late may cost a client's money.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use shared::clock::real_now;

/// A point in real time after which something must not be done any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    monotonic: Instant,
    wall: DateTime<Utc>,
}

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self {
            monotonic: Instant::now() + time,
            wall: real_now() + time,
        }
    }

    /// Whether it has passed, by either clock.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.has_passed_by(Instant::now(), real_now())
    }

    fn has_passed_by(&self, monotonic: Instant, wall: DateTime<Utc>) -> bool {
        monotonic >= self.monotonic || wall >= self.wall
    }
}

/// A deadline that is put off again and again by whoever keeps it alive. Clones share it.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Mutex<Deadline>>);

impl Lease {
    /// Holds until then.
    #[must_use]
    pub fn until(end: Deadline) -> Self {
        Self(Arc::new(Mutex::new(end)))
    }

    /// Holds until then instead.
    pub fn renew(&self, end: Deadline) {
        *self.lock() = end;
    }

    /// Whether it ran out.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.lock().has_passed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Deadline> {
        // One value that is replaced whole: a panic elsewhere cannot have left it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_deadline_has_passed_when_either_clock_says_so() {
        let deadline = Deadline::after(MINUTE);
        let (monotonic, wall) = (deadline.monotonic, deadline.wall);
        let (earlier, before) = (monotonic - MINUTE / 60, wall - MINUTE / 60);
        assert!(!deadline.has_passed_by(earlier, before));
        assert!(
            deadline.has_passed_by(monotonic, before - MINUTE * 60),
            "the wall clock was set back"
        );
        assert!(
            deadline.has_passed_by(earlier, wall),
            "the machine was asleep, and the monotonic clock with it"
        );
    }

    #[test]
    fn a_lease_holds_for_all_who_share_it_until_it_is_not_renewed() {
        let lease = Lease::until(Deadline::after(Duration::ZERO));
        let shared = lease.clone();
        assert!(shared.has_ended());
        lease.renew(Deadline::after(MINUTE));
        assert!(!shared.has_ended());
    }
}
