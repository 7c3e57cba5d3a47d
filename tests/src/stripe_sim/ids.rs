//! Ids that look like Stripe's and never repeat, not even after a restart of the simulator.
//!
//! A product's database outlives a simulator process, so a counter alone would give a second run the ids of the first.
use rand::RngExt;

const RUN_LETTERS: usize = 8;
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

/// Makes ids: a prefix, letters drawn once per process, a counter.
pub struct Ids {
    run: String,
    next: u64,
}

impl Ids {
    /// Draws this process's letters.
    pub fn new() -> Self {
        let mut rng = rand::rng();
        let run = (0..RUN_LETTERS)
            .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
            .collect();
        Self { run, next: 0 }
    }

    /// The next id with this prefix: `pi_` and so on, without the underscore.
    pub fn next(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}_{}{:08}", self.run, self.next)
    }
}
