//! How long and from which seed: a small fixed budget in `tests/run`, whatever `tests/soak` asks for otherwise.

use std::{collections::BTreeMap, fs::File, io::Write as _, time::Duration};

use serde_json::{Value, json};

/// Invoices of a run that nobody asked more of.
const SMALL: usize = 28;

/// Invoices of one run where thousands are asked for.
const LARGE: usize = 250;

/// Bounds of the simulation: the first one that is reached ends it.
#[derive(Clone, Debug)]
pub struct Budget {
    pub seed: u64,
    pub runs: u64,
    pub time: Option<Duration>,
    pub charges: Option<usize>,
}

impl Budget {
    pub fn from_env() -> Self {
        let minutes = number("MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
        let charges = number("CHARGES").and_then(|charges| usize::try_from(charges).ok());
        let unbounded = minutes.is_some() || charges.is_some();
        Self {
            seed: number("SEED").unwrap_or(1),
            runs: number("RUNS").unwrap_or(if unbounded { u64::MAX } else { 1 }),
            time: minutes,
            charges,
        }
    }

    /// How many invoices the next run has after these, or none when this was enough.
    pub fn next(&self, runs: u64, spent: Duration, charges: usize) -> Option<usize> {
        if runs >= self.runs || self.time.is_some_and(|time| spent >= time) {
            return None;
        }
        match self.charges {
            None => Some(SMALL),
            Some(wanted) => Some((wanted.saturating_sub(charges)).min(LARGE)).filter(|left| *left > 0),
        }
    }
}

/// How many workers are killed.
pub fn kills() -> usize {
    number("KILLS")
        .and_then(|kills| kills.try_into().ok())
        .unwrap_or(4)
}

/// The seed of whatever else draws.
pub fn seed() -> u64 {
    number("SEED").unwrap_or(1)
}

/// The outage of this length, or the full one where `tests/soak` asks for it.
pub fn outage(short_secs: u64, full_secs: u64) -> Duration {
    let full = number("OUTAGES").is_some();
    Duration::from_secs(if full { full_secs } else { short_secs })
}

fn number(name: &str) -> Option<u64> {
    let name = format!("QUITTANCE_SOAK_{name}");
    let text = std::env::var(&name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Counts that add up over runs.
#[derive(Debug, Default)]
pub struct Figures {
    counts: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
}

impl Figures {
    pub fn count(&mut self, what: &str, more: u64) {
        *self.counts.entry(what.into()).or_default() += more;
    }

    pub fn fault(&mut self, kind: &str, more: u64) {
        *self.faults.entry(kind.into()).or_default() += more;
    }

    /// Prints them, and leaves them where `tests/soak` finds them.
    pub fn report(&self, test: &str, more: Value) {
        let mut line = json!({ "test": test, "faults": self.faults });
        let fields = line.as_object_mut().unwrap();
        fields.extend(
            self.counts
                .iter()
                .map(|(name, count)| (name.clone(), json!(count))),
        );
        fields.extend(more.as_object().cloned().unwrap_or_default());
        eprintln!("{line}");
        if let Ok(path) = std::env::var("QUITTANCE_SOAK_REPORT") {
            let mut file = File::options().create(true).append(true).open(path).unwrap();
            writeln!(file, "{line}").unwrap();
        }
    }
}
