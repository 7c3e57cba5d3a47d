//! What this process has done so far, counted where it is done: jobs put into the queue, and entries of the audit log.
//!
//! The store counts when its statement has run, so a transaction that is rolled back afterwards has been counted too: these
//! are for rates, never for books. The program that serves metrics prints them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{domain::audit_action::ACTIONS, store::jobs::Queue};

static ENQUEUED: [AtomicU64; Queue::ALL.len()] = [const { AtomicU64::new(0) }; Queue::ALL.len()];
static AUDITED: [AtomicU64; ACTIONS.len()] = [const { AtomicU64::new(0) }; ACTIONS.len()];

/// Jobs were put into a queue.
pub(crate) fn enqueued(queue: Queue, jobs: u64) {
    let place = Queue::ALL.iter().position(|known| *known == queue);
    if let Some(count) = place.and_then(|place| ENQUEUED.get(place)) {
        count.fetch_add(jobs, Ordering::Relaxed);
    }
}

/// Entries were made in the audit log. A name that is on no list is not counted: labels are of a known few.
pub(crate) fn audited(action: &str, entries: usize) {
    let place = ACTIONS.iter().position(|known| *known == action);
    if let Some(count) = place.and_then(|place| AUDITED.get(place)) {
        count.fetch_add(u64::try_from(entries).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Jobs put into each queue since the start.
pub fn jobs_enqueued() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = ENQUEUED.iter().map(|count| count.load(Ordering::Relaxed));
    Queue::ALL.map(Queue::as_str).into_iter().zip(counts)
}

/// Entries of each name since the start.
pub fn audit_entries() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = AUDITED.iter().map(|count| count.load(Ordering::Relaxed));
    ACTIONS.iter().copied().zip(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_under_its_own_name() {
        enqueued(Queue::Charges, 3);
        audited("nothing.that_does_not_exist", 1);
        audited("invoice.reopened", 2);
        assert_eq!(
            jobs_enqueued().find(|(queue, _)| *queue == "charges"),
            Some(("charges", 3))
        );
        assert_eq!(
            audit_entries().find(|(action, _)| *action == "invoice.reopened"),
            Some(("invoice.reopened", 2))
        );
    }
}
