//! `quittance events replay --into URL`: the history on a copy of the database, in another order, doubled and with gaps, to see
//! that it still ends in one state.
//!
//! The copy is a database of its own, made by whoever asks (a restored backup, or `createdb --template`), with the books as
//! they were at some time. The chosen events of the database that `DATABASE_URL` names are put into its inbox and processed
//! there by this process, with the code of the job and a client that can only read. What they call for afterwards is enqueued
//! in the copy and done by nobody.

use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::{
    clock::real_now,
    config::Mode,
    domain::event::Event,
    store::{
        self, Db, DbOptions,
        inbox_insert::{self, Via},
        replays::{self, Chosen, Filter, StateHash},
    },
};
use uuid::Uuid;

use super::{
    connect::{open_db_at, reading_context},
    stripe_mode,
    wait::progress,
};
use crate::{
    backfill::{self, Sink},
    context::Context,
    output::{Exit, Failure, Format, table},
    replay,
};

/// Longest statement on the copy: its hashes read every fact.
const LONGEST: Duration = Duration::from_secs(600);
/// Of so many events, one is dropped.
const ONE_IN: u64 = 4;
/// An event is processed up to so often.
const MOST_TIMES: u64 = 3;
/// Events that a sweep may find on a copy.
const MOST_FOUND: i64 = 100_000;

/// What of `events replay` is about a copy.
#[derive(Debug, clap::Args)]
pub struct CopyArgs {
    /// Work on this database, a copy made before, instead of the real one; its workers must not run. Test mode only.
    #[arg(long, value_name = "URL", conflicts_with = "dry_run")]
    into: Option<String>,
    /// On the copy: in random order.
    #[arg(long, requires = "into")]
    shuffle: bool,
    /// On the copy: each up to three times.
    #[arg(long, requires = "into")]
    duplicate: bool,
    /// On the copy: leave out one in four, and heal that by a sweep as the daily backfill makes it.
    #[arg(long, requires = "into")]
    drop: bool,
    /// What the disorder is made from: the same seed makes the same one.
    #[arg(long, requires = "into", default_value_t = 1, value_name = "N")]
    seed: u64,
}

impl CopyArgs {
    /// Whether it is about a copy at all.
    pub fn is_asked_for(&self) -> bool {
        self.into.is_some()
    }
}

/// What became of the copy.
#[derive(Debug, Serialize)]
struct Report {
    events: usize,
    dropped: usize,
    processed: usize,
    found_by_sweep: usize,
    failed: Vec<String>,
    state_hash: String,
    facts: Vec<StateHash>,
}

/// Runs `events replay --into`.
///
/// # Errors
/// In live mode, when the copy is the real database or has workers, or when a database or Stripe is away.
pub async fn run(db: &Db, args: &CopyArgs, chosen: &[Chosen], format: Format) -> Result<Exit, Failure> {
    if stripe_mode()? == Some(Mode::Live) {
        return Err(Failure::refused(
            "live_mode",
            "a history is not played through on a copy in live mode",
        ));
    }
    let url = SecretString::from(args.into.clone().unwrap_or_default());
    let options = DbOptions {
        statement_timeout: LONGEST,
        ..DbOptions::command("quittance")
    };
    let copy = open_db_at(&url, &options).await?;
    refuse_if_not_a_copy(db, &copy).await?;
    let cx = reading_context(copy).await?;

    let plan = disorder(chosen.len(), args);
    let kept: Vec<&Chosen> = plan.kept.iter().map(|n| &chosen[*n]).collect();
    hand_over(db, &cx, &kept).await?;

    let run = Uuid::now_v7();
    let bar = progress(plan.sequence.len(), format, "events");
    let mut failed = Vec::new();
    for n in &plan.sequence {
        process(&cx, &chosen[*n].id, run, &mut failed).await;
        bar.inc(1);
    }
    bar.finish_and_clear();
    // What came too early has had to wait; what was dropped is found by what it was about.
    again(&cx, run, &mut failed).await?;
    let mut found = 0;
    if args.drop {
        let oldest = oldest_made(db, chosen).await?;
        let swept = backfill::objects(&cx, Sink::Inbox, Some(oldest))
            .await
            .map_err(|error| Failure::new("sweep_failed", error.to_string()))?;
        found = usize::try_from(swept.found()).unwrap_or(usize::MAX);
        again(&cx, run, &mut failed).await?;
    }
    let mut conn = cx.db.pool().acquire().await.map_err(store::Error::from)?;
    let facts = replays::state_hashes(&mut conn).await?;
    let report = Report {
        events: chosen.len(),
        dropped: chosen.len() - kept.len(),
        processed: plan.sequence.len(),
        found_by_sweep: found,
        failed,
        state_hash: hash_of(&facts),
        facts,
    };
    let exit = if report.failed.is_empty() {
        Exit::Done
    } else {
        Exit::PartlyFailed
    };
    format.show(&json!(report), |_| describe(&report))?;
    Ok(exit)
}

/// The copy must not be the database itself, must not be a live one, and nobody else may work on it.
async fn refuse_if_not_a_copy(db: &Db, copy: &Db) -> Result<(), Failure> {
    let (mut here, mut there) = (db.plain().await?, copy.plain().await?);
    if replays::is_same_database(&mut here, &mut there).await? {
        return Err(Failure::refused(
            "not_a_copy",
            "--into names the database of DATABASE_URL itself: make a copy, and name that",
        ));
    }
    let (livemode, workers) = replays::who_works_here(&mut there).await?;
    if livemode == Some(true) {
        return Err(Failure::refused(
            "live_mode",
            "--into names a database of live mode",
        ));
    }
    if workers {
        return Err(Failure::refused(
            "copy_has_workers",
            "a worker runs on the database that --into names: it would do what the events call for",
        ));
    }
    Ok(())
}

/// Puts events of the real inbox into the copy's, as they are there.
async fn hand_over(db: &Db, cx: &Context, kept: &[&Chosen]) -> Result<(), Failure> {
    for chunk in kept.chunks(100) {
        let ids: Vec<String> = chunk.iter().map(|event| event.id.clone()).collect();
        let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
        let bodies = replays::bodies(&mut conn, &ids).await?;
        drop(conn);
        let events = bodies
            .into_iter()
            .map(|body| Event::parse(body.into(), cx.stripe.mode(), real_now()))
            .collect::<Result<Vec<Event>, _>>()
            .map_err(|fault| Failure::new("body", fault.to_string()))?;
        if events.len() < chunk.len() {
            return Err(Failure::refused(
                "bodies_are_gone",
                "the bytes of some of these events are not kept any more (35 days): choose younger ones with --since",
            ));
        }
        let mut tx = cx.db.plain().await?;
        inbox_insert::insert(&mut tx, &events.iter().collect::<Vec<_>>(), Via::Backfill).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn process(cx: &Context, event: &str, run: Uuid, failed: &mut Vec<String>) {
    if let Err(error) = replay::here(cx, event, run).await {
        failed.push(format!("{event}: {error}"));
    }
}

/// Processes what the copy's inbox still has open, the oldest first.
async fn again(cx: &Context, run: Uuid, failed: &mut Vec<String>) -> Result<(), Failure> {
    let open = Filter {
        state: Some("pending"),
        ..Filter::default()
    };
    let mut conn = cx.db.pool().acquire().await.map_err(store::Error::from)?;
    let open = replays::choose(&mut conn, &open, MOST_FOUND).await?;
    drop(conn);
    for event in open {
        process(cx, &event.id, run, failed).await;
    }
    Ok(())
}

async fn oldest_made(db: &Db, chosen: &[Chosen]) -> Result<chrono::DateTime<chrono::Utc>, Failure> {
    let now = db.now().await?;
    Ok(chosen.iter().map(|event| event.created_at).min().unwrap_or(now))
}

/// Which events are kept, and the order in which they are processed, by their place in the history.
#[derive(Debug, PartialEq, Eq)]
struct Disorder {
    kept: Vec<usize>,
    sequence: Vec<usize>,
}

fn disorder(events: usize, args: &CopyArgs) -> Disorder {
    let mut dice = Dice(args.seed);
    let kept: Vec<usize> = (0..events)
        .filter(|_| !args.drop || dice.below(ONE_IN) != 0)
        .collect();
    let mut sequence: Vec<usize> = Vec::with_capacity(kept.len());
    for n in &kept {
        let times = if args.duplicate {
            1 + dice.below(MOST_TIMES)
        } else {
            1
        };
        sequence.extend((0..times).map(|_| *n));
    }
    if args.shuffle {
        for end in (1..sequence.len()).rev() {
            let other =
                usize::try_from(dice.below(u64::try_from(end).unwrap_or(u64::MAX) + 1)).unwrap_or(end);
            sequence.swap(end, other);
        }
    }
    Disorder { kept, sequence }
}

/// SplitMix64: the same numbers for the same seed, on every machine and in every version.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// One hash of all of them.
fn hash_of(facts: &[StateHash]) -> String {
    let mut all = Sha256::new();
    for fact in facts {
        all.update(format!("{} {} {}\n", fact.facts, fact.rows, fact.hash));
    }
    hex::encode(all.finalize())
}

fn describe(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .facts
        .iter()
        .map(|fact| {
            vec![
                fact.facts.clone(),
                fact.rows.to_string(),
                fact.hash[..16].to_owned(),
            ]
        })
        .collect();
    let mut text = format!(
        "{} event(s), {} dropped, processed {} times, {} found by the sweep, {} failed\n",
        report.events,
        report.dropped,
        report.processed,
        report.found_by_sweep,
        report.failed.len()
    );
    for failure in &report.failed {
        text.push_str(&format!("  {failure}\n"));
    }
    text.push_str(&table(&["FACTS", ">ROWS", "HASH"], &rows));
    text.push_str(&format!("state hash {}\n", report.state_hash));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(seed: u64) -> CopyArgs {
        CopyArgs {
            into: None,
            shuffle: true,
            duplicate: true,
            drop: true,
            seed,
        }
    }

    #[test]
    fn a_seed_makes_one_disorder_and_another_seed_another() {
        let one = disorder(100, &args(7));
        assert_eq!(one, disorder(100, &args(7)));
        assert_ne!(one, disorder(100, &args(8)));
        assert!((60..90).contains(&one.kept.len()), "{}", one.kept.len());
        assert!(one.sequence.len() > one.kept.len());
        let mut once = one.sequence.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once, one.kept, "each that is kept is processed, and no other");
        assert_ne!(one.sequence, {
            let mut s = one.sequence.clone();
            s.sort_unstable();
            s
        });
    }

    #[test]
    fn without_any_wish_the_history_stays_as_it_is() {
        let plain = CopyArgs {
            shuffle: false,
            duplicate: false,
            drop: false,
            ..args(7)
        };
        assert_eq!(disorder(3, &plain).sequence, [0, 1, 2]);
    }
}
