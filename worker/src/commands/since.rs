//! A moment as people give it: how long ago, or when.

use chrono::{DateTime, TimeDelta, Utc};

use super::clock::{parse_duration, parse_time};

/// What `--since` says.
#[derive(Clone, Copy, Debug)]
pub enum Since {
    /// So long before now.
    Ago(TimeDelta),
    /// Then.
    At(DateTime<Utc>),
}

impl Since {
    /// The moment, seen from `now`.
    pub fn at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Since::Ago(ago) => now - ago,
            Since::At(at) => at,
        }
    }
}

/// Reads `3d`, `12h` …, or a time.
///
/// # Errors
/// With what is wrong, when it is neither.
pub fn parse_since(text: &str) -> Result<Since, String> {
    match parse_duration(text) {
        Ok(ago) => Ok(Since::Ago(ago)),
        Err(fault) => parse_time(text)
            .map(Since::At)
            .map_err(|other| format!("{fault}; {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_time() {
        assert!(matches!(parse_since("7d"), Ok(Since::Ago(ago)) if ago.num_days() == 7));
        assert!(matches!(parse_since("2026-03-01T00:00:00Z"), Ok(Since::At(_))));
        assert!(parse_since("yesterday").is_err());
    }
}
