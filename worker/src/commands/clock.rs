//! `quittance clock`: shows or moves the one business clock, in test mode and forward only. Who moved it, and why, stays on record.

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use shared::{
    actions::clock::{FURTHEST, Move, turn},
    config::Mode,
    store::{
        audit::{By, Cause},
        business_clock::{self, Reading},
    },
};
use uuid::Uuid;

use super::{open_db, operator, reason::MaybeReason, stripe_mode};
use crate::output::{Exit, Failure, Format};

/// Arguments of `clock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show business time and how far it is ahead of the real one.
    #[command(after_help = "Examples:\n  quittance clock show\n  quittance clock show --json")]
    Show,
    /// Move it forward.
    #[command(
        after_help = "Examples:\n  quittance clock advance 3d\n  quittance clock advance 1w2d12h --reason 'the second retry'"
    )]
    Advance {
        /// Weeks, days, hours, minutes, seconds: `3d`, `12h`, `90m`, `1w2d`.
        #[arg(value_parser = parse_duration)]
        duration: TimeDelta,
        #[command(flatten)]
        reason: MaybeReason,
    },
    /// Move it forward to a moment.
    #[command(
        after_help = "Examples:\n  quittance clock set 2026-02-01T03:00:00Z\n  quittance clock set 2026-02-01"
    )]
    Set {
        /// RFC 3339, or a date (midnight UTC).
        #[arg(value_parser = parse_time)]
        time: DateTime<Utc>,
        #[command(flatten)]
        reason: MaybeReason,
    },
    /// Back to the real time: the one way backwards, for a database used in tests.
    #[command(after_help = "Examples:\n  quittance clock reset")]
    Reset {
        #[command(flatten)]
        reason: MaybeReason,
    },
}

impl Command {
    /// Why, where somebody says so.
    fn reason(&self) -> Option<&str> {
        match self {
            Command::Show => None,
            Command::Advance { reason, .. } | Command::Set { reason, .. } | Command::Reset { reason } => {
                reason.text()
            }
        }
    }
}

/// What every subcommand shows in the end.
#[derive(Debug, Serialize)]
struct Shown {
    now: String,
    offset_ms: i64,
    mode: &'static str,
}

/// Runs `clock`.
///
/// # Errors
/// When the database is away; a refusal in live mode or backwards.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let live_key = stripe_mode()? == Some(Mode::Live);
    let db = open_db().await?;
    let mut tx = db.plain().await?;
    let after = match args.command.moves() {
        Some(to) => {
            let by = By {
                actor: &operator(),
                cause: &Cause::command(Uuid::now_v7()),
                at: tx.now(),
            };
            turn(&mut tx, (to, live_key), args.command.reason(), &by).await?
        }
        None => business_clock::read(&mut tx).await?,
    };
    tx.commit().await?;
    out.show(&Shown::of(&after, live_key), describe)?;
    Ok(Exit::Done)
}

impl Command {
    /// Where it is to be moved to; `None` when the command only looks.
    fn moves(&self) -> Option<Move> {
        match self {
            Self::Show => None,
            Self::Advance { duration, .. } => Some(Move::Ahead(*duration)),
            Self::Set { time, .. } => Some(Move::To(*time)),
            Self::Reset { .. } => Some(Move::Back),
        }
    }
}

impl Shown {
    fn of(clock: &Reading, live_key: bool) -> Self {
        let mode = match clock.livemode {
            Some(true) => "live",
            Some(false) => "test",
            None if live_key => "live",
            None => "undecided",
        };
        Self {
            now: rfc3339(clock.now),
            offset_ms: clock.offset_ms,
            mode,
        }
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn describe(shown: &Shown) -> String {
    match shown.offset_ms {
        0 => format!("{}  (the real time)", shown.now),
        ahead => format!(
            "{}  ({} ahead of the real time)",
            shown.now,
            describe_duration(ahead / 1000)
        ),
    }
}

/// `93784` → `1d2h3m4s`.
fn describe_duration(seconds: i64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let text: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        "less than a second".to_owned()
    } else {
        text
    }
}

/// Numbers with units, largest first or not, at least one: `1w2d` is nine days.
pub(super) fn parse_duration(text: &str) -> Result<TimeDelta, String> {
    let fault = || format!("{text:?} is no duration: write 3d, 12h, 90m, 45s, 2w or a sum such as 1w2d");
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let count: i64 = rest[..digits].parse().map_err(|_| fault())?;
        let seconds = match rest.as_bytes().get(digits) {
            Some(b'w') => 7 * 86_400,
            Some(b'd') => 86_400,
            Some(b'h') => 3_600,
            Some(b'm') => 60,
            Some(b's') => 1,
            Some(_) | None => return Err(fault()),
        };
        total = count
            .checked_mul(seconds)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(fault)?;
        rest = &rest[digits + 1..];
    }
    match TimeDelta::try_seconds(total) {
        Some(duration) if total > 0 && duration <= FURTHEST => Ok(duration),
        Some(_) | None => Err(fault()),
    }
}

pub(super) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    match text.parse::<NaiveDate>() {
        Ok(date) => Ok(date.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => Err(format!(
            "{text:?} is no time: write 2026-02-01T03:00:00Z or 2026-02-01"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        parse_time(text).unwrap()
    }

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, hours) in [
            ("3d", 72),
            ("12h", 12),
            ("90m", 1),
            ("1w2d", 9 * 24),
            ("1w2d12h", 9 * 24 + 12),
        ] {
            assert_eq!(parse_duration(text).unwrap().num_hours(), hours, "{text}");
        }
        for text in [
            "",
            "3",
            "d",
            "3x",
            "-3d",
            "3 d",
            "0d",
            "1d2",
            "99999999999w",
            "9999999999999999999d",
            "3é",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(describe_duration(93_784), "1d2h3m4s");
        assert_eq!(describe_duration(0), "less than a second");
    }

    #[test]
    fn times_are_rfc3339_or_dates() {
        assert_eq!(at("2026-02-01T04:00:00+01:00"), at("2026-02-01T03:00:00Z"));
        assert_eq!(rfc3339(at("2026-02-01")), "2026-02-01T00:00:00.000Z");
        assert!(parse_time("2026-02-30").is_err());
        assert!(parse_time("tomorrow").is_err());
    }
}
