//! Pure: the ticks of a schedule since its watermark, and what is to become of each.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::{Cron, errors::CronError};

use super::schedule::CatchUp;

/// What is to become of a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It fires.
    Fire,
    /// It is recorded and does nothing.
    Skip {
        /// Why.
        reason: String,
    },
}

/// A tick and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// What is to become of it.
    pub fate: Fate,
}

/// Ticks after `watermark` up to and including `now`, the oldest `most` of them, in order.
///
/// # Errors
/// When the expression is malformed.
pub fn since(
    cron: &str,
    catch_up: CatchUp,
    enabled: bool,
    watermark: DateTime<Utc>,
    now: DateTime<Utc>,
    most: usize,
) -> Result<Vec<Tick>, CronError> {
    let cron = Cron::from_str(cron)?;
    let due: Vec<DateTime<Utc>> = cron
        .iter_after(watermark)
        .take_while(|due_at| *due_at <= now)
        .take(most)
        .collect();
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let newest = cron.find_previous_occurrence(&now, true)?;
    Ok(due
        .into_iter()
        .map(|due_at| Tick {
            due_at,
            fate: fate(catch_up, enabled, due_at, newest),
        })
        .collect())
}

fn fate(catch_up: CatchUp, enabled: bool, due_at: DateTime<Utc>, newest: DateTime<Utc>) -> Fate {
    if !enabled {
        return Fate::Skip {
            reason: "the schedule is disabled".to_owned(),
        };
    }
    match catch_up {
        CatchUp::Latest if due_at < newest => Fate::Skip {
            reason: format!("superseded by {}", newest.to_rfc3339()),
        },
        CatchUp::Latest | CatchUp::Each => Fate::Fire,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn fired(ticks: &[Tick]) -> Vec<String> {
        ticks
            .iter()
            .filter(|t| t.fate == Fate::Fire)
            .map(|t| t.due_at.format("%H:%M").to_string())
            .collect()
    }

    #[test]
    fn each_missed_tick_fires_in_order() {
        let ticks = since(
            "0 * * * *",
            CatchUp::Each,
            true,
            at("2026-03-01T01:00:00Z"),
            at("2026-03-01T04:30:00Z"),
            10,
        )
        .unwrap();
        assert_eq!(fired(&ticks), ["02:00", "03:00", "04:00"]);
        assert_eq!(ticks.len(), 3);
    }

    #[test]
    fn only_the_newest_missed_tick_fires_and_the_others_say_why_not() {
        let ticks = since(
            "*/10 * * * *",
            CatchUp::Latest,
            true,
            at("2026-03-01T01:00:00Z"),
            at("2026-03-01T01:30:00Z"),
            10,
        )
        .unwrap();
        assert_eq!(fired(&ticks), ["01:30"]);
        assert_eq!(
            ticks[0].fate,
            Fate::Skip {
                reason: "superseded by 2026-03-01T01:30:00+00:00".to_owned()
            }
        );
    }

    #[test]
    fn a_bounded_batch_of_old_ticks_knows_that_a_newer_one_will_fire() {
        let (from, now) = (at("2026-03-01T00:00:00Z"), at("2026-03-02T00:00:00Z"));
        let ticks = since("*/10 * * * *", CatchUp::Latest, true, from, now, 5).unwrap();
        assert_eq!(ticks.len(), 5);
        assert!(fired(&ticks).is_empty());
    }

    #[test]
    fn a_tick_right_now_is_due_and_one_at_the_watermark_is_not() {
        let ticks = since(
            "0 * * * *",
            CatchUp::Each,
            true,
            at("2026-03-01T01:00:00Z"),
            at("2026-03-01T02:00:00Z"),
            10,
        )
        .unwrap();
        assert_eq!(fired(&ticks), ["02:00"]);
        let none = since(
            "0 * * * *",
            CatchUp::Each,
            true,
            at("2026-03-01T02:00:00Z"),
            at("2026-03-01T02:59:59Z"),
            10,
        )
        .unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn a_disabled_schedule_records_its_ticks_as_skipped() {
        let ticks = since(
            "0 * * * *",
            CatchUp::Each,
            false,
            at("2026-03-01T01:00:00Z"),
            at("2026-03-01T02:00:00Z"),
            10,
        )
        .unwrap();
        assert!(fired(&ticks).is_empty());
        assert_eq!(ticks.len(), 1);
    }

    #[test]
    fn every_schedule_parses() {
        for schedule in super::super::schedule::ALL {
            let now = at("2026-03-01T00:00:00Z");
            since(schedule.cron, schedule.catch_up, true, now, now, 1).unwrap();
        }
    }
}
