//! The business clock, moved by hand in a test installation, on record: everything that is due follows it.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;

use super::{Fault, Result};
use crate::store::{
    Tx,
    audit::{By, NO_REASON},
    business_clock::{self, Reading},
    jobs, jobs_by_hand,
};

/// Beyond this a slip of the finger is likelier than a wish; dates stay within what calendars agree on.
pub const FURTHEST: TimeDelta = TimeDelta::days(366 * 100);

/// Where it is to be moved to.
#[derive(Clone, Copy, Debug)]
pub enum Move {
    /// So much forward.
    Ahead(TimeDelta),
    /// Forward to a moment.
    To(DateTime<Utc>),
    /// Back to the real time: the one way backwards.
    Back,
}

/// Moves it, on record. `has_live_key`: whoever asks deals with real money, whatever the database knows of it.
///
/// # Errors
/// When the installation is live, the move is backwards or too far, or the database is away.
pub async fn turn(
    tx: &mut Tx,
    (to, has_live_key): (Move, bool),
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<Reading> {
    let before = business_clock::lock(tx).await?;
    let offset_ms = offset(to, &before, has_live_key)?;
    set(tx, &before, offset_ms, reason, by).await
}

/// Sets how far the clock is ahead, which the caller has locked and decided. What falls due by that starts at once.
///
/// # Errors
/// When the database is away; a refusal (`QT001`) in live mode.
async fn set(
    tx: &mut Tx,
    was: &Reading,
    offset_ms: i64,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<Reading> {
    business_clock::set_offset(tx, offset_ms).await?;
    let is = business_clock::read(tx).await?;
    let shown = |clock: &Reading| clock.now.to_rfc3339_opts(SecondsFormat::Millis, true);
    let subject = json!({
        "was": shown(was), "is": shown(&is), "was_offset_ms": was.offset_ms, "offset_ms": is.offset_ms,
    });
    let reason = reason.unwrap_or(NO_REASON);
    jobs_by_hand::record(tx, "clock.moved", reason, &subject, by).await?;
    jobs::nudge_of_clock(tx).await?;
    Ok(is)
}

/// The offset that a move asks for.
///
/// # Errors
/// As [`turn`].
pub fn offset(to: Move, clock: &Reading, has_live_key: bool) -> Result<i64> {
    if has_live_key || clock.livemode == Some(true) {
        return Err(Fault::refused(
            "live_mode",
            "the business clock of a live installation cannot be moved",
        ));
    }
    let ahead = match to {
        Move::Back => return Ok(0),
        Move::Ahead(stretch) => stretch,
        Move::To(time) => time - clock.now,
    };
    if ahead < TimeDelta::zero() {
        return Err(Fault::refused(
            "clock_backwards",
            format!(
                "the business clock only moves forward; it says {}",
                clock.now.to_rfc3339_opts(SecondsFormat::Millis, true)
            ),
        ));
    }
    let offset_ms = clock.offset_ms.saturating_add(ahead.num_milliseconds());
    if offset_ms > FURTHEST.num_milliseconds() {
        return Err(Fault::invalid(
            "id",
            "the business clock cannot run more than 100 years ahead",
        ));
    }
    Ok(offset_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn reading() -> Reading {
        Reading {
            now: at("2026-02-01T00:00:00Z"),
            offset_ms: 1000,
            livemode: Some(false),
        }
    }

    fn code(done: Result<i64>) -> &'static str {
        match done {
            Err(Fault::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_clock_moves_forward_only() {
        let to = |text: &str| Move::To(at(text));
        let moved = |to| offset(to, &reading(), false);
        assert_eq!(moved(to("2026-02-01T00:00:01Z")).unwrap(), 2000);
        assert_eq!(moved(Move::Ahead(TimeDelta::days(1))).unwrap(), 86_401_000);
        assert_eq!(code(moved(to("2026-01-31T00:00:00Z"))), "clock_backwards");
        assert_eq!(moved(Move::Back).unwrap(), 0);
        assert!(matches!(moved(Move::Ahead(FURTHEST)), Err(Fault::Invalid { .. })));
    }

    #[test]
    fn the_clock_of_a_live_installation_stands() {
        let live = Reading {
            livemode: Some(true),
            ..reading()
        };
        for (clock, live_key) in [(live, false), (reading(), true)] {
            for to in [Move::Ahead(TimeDelta::days(1)), Move::Back] {
                assert_eq!(code(offset(to, &clock, live_key)), "live_mode");
            }
        }
    }
}
