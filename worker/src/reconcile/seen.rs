//! Which of Stripe's objects the lists have shown, in eight bytes each.
//!
//! Ids are kept as 64-bit hashes: two of ten million share one with a probability of about one in three hundred thousand, and
//! then a record of ours that Stripe does not know would pass unnoticed in this run.
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

/// Objects of one run: two hundred megabytes. More than that is for several runs with a shorter look back.
pub const MOST: usize = 10_000_000;

/// The objects seen.
#[derive(Default)]
pub struct Seen {
    hasher: RandomState,
    hashes: HashSet<u64>,
}

impl Seen {
    /// Notes an id; `false` once there are too many.
    pub fn add(&mut self, id: &str) -> bool {
        self.hashes.insert(self.hasher.hash_one(id));
        self.hashes.len() <= MOST
    }

    /// Whether it was noted.
    pub fn has(&self, id: &str) -> bool {
        self.hashes.contains(&self.hasher.hash_one(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_and_nothing_else() {
        let mut seen = Seen::default();
        assert!(seen.add("ch_1"));
        assert!(seen.add("ch_1"));
        assert!(seen.has("ch_1"));
        assert!(!seen.has("ch_2"));
    }
}
