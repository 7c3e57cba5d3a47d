//! `quittance events replay`: events once more, by the job that processed them; or what that would do.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    ids::{FirmId, JobId},
    store::{
        self, Db,
        audit::{By, Cause, NO_REASON},
        jobs,
        replays::{self, Chosen, Filter, Request},
        written::Effect,
    },
};
use uuid::Uuid;

use super::{
    connect::reading_context,
    events_copy, operator, operator_name,
    reason::said,
    since::{Since, parse_since},
    wait::{Ended, WaitArgs, progress, wait_for},
};
use crate::{
    output::{Exit, Failure, Format, table},
    replay,
};

/// Events per command: a wrong filter must not keep the workers busy for a day.
const MOST: i64 = 10_000;
/// Events per dry run, which asks Stripe for each of them itself, at a command's share of the rate.
const MOST_DRY: i64 = 1_000;
/// Events per transaction.
const CHUNK: usize = 500;

/// Arguments of `events replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stripe's ids.
    #[arg(value_name = "ID", conflicts_with_all = ["kind", "state", "since", "until"])]
    ids: Vec<String>,
    /// Only of this type, such as charge.refunded.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only in this state.
    #[arg(long, value_parser = ["pending", "applied", "ignored", "unmatched", "parked"])]
    state: Option<String>,
    /// Made by Stripe at this time or later: a duration before now, or a time.
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Made by Stripe before this time.
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_since)]
    until: Option<Since>,
    /// Show every row that would be new or change, normally none; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "R", value_parser = said)]
    reason: Option<String>,
    #[command(flatten)]
    copy: events_copy::CopyArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs `events replay`.
///
/// # Errors
/// When there is no such event, there are too many, the database or Stripe is away, or no worker runs.
pub async fn run(db: &Db, args: Args, format: Format) -> Result<Exit, Failure> {
    if args.ids.is_empty() && args.kind.is_none() && args.state.is_none() && args.since.is_none() {
        return Err(Failure::usage(
            "say which events: their ids, or --type, --state, --since",
        ));
    }
    let now = db.now().await?;
    let (since, until) = (
        args.since.map(|since| since.at(now)),
        args.until.map(|until| until.at(now)),
    );
    let filter = Filter {
        ids: &args.ids,
        kind: args.kind.as_deref(),
        state: args.state.as_deref(),
        since,
        until,
    };
    let most = if args.dry_run { MOST_DRY } else { MOST };
    let chosen = choose(db, &filter, most).await?;
    if args.copy.is_asked_for() {
        return events_copy::run(db, &args.copy, &chosen, format).await;
    }
    if args.dry_run {
        return dry_run(db, &chosen, format).await;
    }
    if chosen.is_empty() {
        return Err(Failure::not_found("no event is like that"));
    }
    let what =
        json!({"ids": args.ids, "type": args.kind, "state": args.state, "since": since, "until": until});
    let reason = args.reason.as_deref().unwrap_or(NO_REASON);
    let run = Uuid::now_v7();
    let request = Request {
        run,
        requested_by: &operator_name(),
        reason,
        chosen: &what,
    };
    let jobs = enqueue(db, &request, &chosen).await?;
    if args.wait.no_wait {
        format.show(&json!({"run_id": run, "enqueued": jobs.len()}), |_| {
            format!("enqueued {} event(s), run {run}\n", jobs.len())
        })?;
        return Ok(Exit::Done);
    }
    let ids: Vec<JobId> = jobs.iter().map(|(job, _)| *job).collect();
    let ended = wait_for(db, &ids, args.wait, format, "replays").await?;
    conclude(run, &jobs, &ended, format)
}

async fn choose(db: &Db, filter: &Filter<'_>, most: i64) -> Result<Vec<Chosen>, Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let chosen = replays::choose(&mut conn, filter, most + 1).await?;
    if i64::try_from(chosen.len()).unwrap_or(i64::MAX) > most {
        return Err(Failure::refused(
            "too_many_events",
            format!("more than {most} events: narrow it down with --type, --since, --until"),
        ));
    }
    let unknown: Vec<&str> = filter
        .ids
        .iter()
        .filter(|id| !chosen.iter().any(|event| event.id == **id))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(Failure::not_found(format!(
            "not in the inbox: {}; `quittance events backfill` finds what never came",
            unknown.join(", ")
        )));
    }
    Ok(chosen)
}

/// Puts the request on record and enqueues a job per event, chunk by chunk. Returns each job with its event.
async fn enqueue(db: &Db, request: &Request<'_>, chosen: &[Chosen]) -> Result<Vec<(JobId, String)>, Failure> {
    let (actor, cause) = (operator(), Cause::command(request.run));
    let mut all = Vec::with_capacity(chosen.len());
    for (n, chunk) in chosen.chunks(CHUNK).enumerate() {
        let mut tx = db.plain().await?;
        let now = tx.now();
        if n == 0 {
            replays::record(&mut tx, request, chosen.len(), now).await?;
        }
        let ids = replays::enqueue(&mut tx, request.run, chunk, now).await?;
        all.extend(ids.into_iter().zip(chunk.iter().map(|event| event.id.clone())));
        let by = By {
            actor: &actor,
            cause: &cause,
            at: now,
        };
        let mut firms: BTreeMap<Uuid, Vec<&str>> = BTreeMap::new();
        for event in chunk {
            if let Some(firm) = event.firm_id {
                firms.entry(firm).or_default().push(&event.id);
            }
        }
        for (firm, ids) in firms {
            tx.set_firm(FirmId(firm)).await?;
            replays::record_for_firm(&mut tx, FirmId(firm), &by, request, &ids).await?;
        }
        jobs::nudge(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(all)
}

/// What became of one event.
#[derive(Debug, Serialize)]
struct Replayed {
    id: String,
    /// The state that it has now.
    state: Option<String>,
    /// Why it has no effect, where it should have one.
    not_applied: Option<String>,
    error: Option<String>,
}

fn conclude(run: Uuid, jobs: &[(JobId, String)], ended: &[Ended], format: Format) -> Result<Exit, Failure> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let replayed: Vec<Replayed> = jobs
        .iter()
        .map(|(job, id)| {
            let ended = ended.iter().find(|ended| ended.id == *job);
            let failed = ended.filter(|ended| ended.state != "completed");
            Replayed {
                id: id.clone(),
                state: ended.and_then(|ended| text(&ended.result["event"])),
                not_applied: ended.and_then(|ended| text(&ended.result["not_applied"])),
                error: failed.map(|ended| ended.last_error.clone().unwrap_or_else(|| ended.state.clone())),
            }
        })
        .collect();
    let failed = replayed.iter().filter(|event| event.error.is_some()).count();
    let not_applied = replayed
        .iter()
        .filter(|event| event.not_applied.is_some())
        .count();
    let document = json!({"run_id": run, "replayed": replayed.len(), "not_applied": not_applied, "failed": failed, "events": replayed});
    format.show(&document, |_| {
        let rows: Vec<Vec<String>> = replayed
            .iter()
            .filter_map(|event| {
                let why = event.error.as_ref().or(event.not_applied.as_ref())?;
                Some(vec![
                    event.id.clone(),
                    event.state.clone().unwrap_or_default(),
                    why.clone(),
                ])
            })
            .collect();
        let mut text = format!(
            "replayed {} event(s), {not_applied} could not be applied, {failed} failed, run {run}\n",
            replayed.len()
        );
        if !rows.is_empty() {
            text.push_str(&table(&["EVENT", "STATE", "WHY"], &rows));
        }
        text
    })?;
    Ok(if failed > 0 {
        Exit::PartlyFailed
    } else if not_applied > 0 {
        Exit::Findings
    } else {
        Exit::Done
    })
}

/// One event of a dry run.
#[derive(Debug, Serialize)]
struct Tried {
    #[serde(flatten)]
    event: Chosen,
    not_applied: Option<String>,
    error: Option<String>,
    effects: Vec<Effect>,
}

/// Each event by itself, against the books as they are: what one would write, the next one does not find.
async fn dry_run(db: &Db, chosen: &[Chosen], format: Format) -> Result<Exit, Failure> {
    let cx = reading_context(db.clone()).await?;
    let bar = progress(chosen.len(), format, "events");
    let mut tried = Vec::with_capacity(chosen.len());
    for event in chosen {
        let event = event.clone();
        tried.push(match replay::dry_run(&cx, &event.id).await {
            Ok(run) => Tried {
                event,
                not_applied: run.report["not_applied"].as_str().map(str::to_owned),
                error: None,
                effects: run.effects,
            },
            Err(error) => Tried {
                event,
                not_applied: None,
                error: Some(error.to_string()),
                effects: Vec::new(),
            },
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let failed = tried.iter().filter(|event| event.error.is_some()).count();
    let with_effects = tried.iter().filter(|event| !event.effects.is_empty()).count();
    let document = json!({"dry_run": true, "events": tried, "with_effects": with_effects, "failed": failed});
    format.show(&document, |_| tried_text(&tried, with_effects))?;
    Ok(if failed > 0 {
        Exit::PartlyFailed
    } else {
        Exit::Done
    })
}

fn tried_text(tried: &[Tried], with_effects: usize) -> String {
    let mut text = String::new();
    for event in tried {
        let says = match (&event.error, &event.not_applied, event.effects.len()) {
            (Some(error), ..) => format!("failed: {error}"),
            (None, Some(why), _) => format!("not applied: {why}"),
            (None, None, 0) => "no effects".to_owned(),
            (None, None, rows) => format!("{rows} row(s)"),
        };
        text.push_str(&format!(
            "{} {} ({}): {says}\n",
            event.event.id, event.event.kind, event.event.state
        ));
        for effect in &event.effects {
            text.push_str(&effect_text(effect));
        }
    }
    text.push_str(&format!(
        "{} event(s), {with_effects} with effects; nothing was changed\n",
        tried.len()
    ));
    text
}

/// `+ payments {"id":…}` for a new row, `~ invoices {"id":…}` and its changed columns for another.
fn effect_text(effect: &Effect) -> String {
    let Some(before) = &effect.before else {
        return format!("  + {} {}\n", effect.table, Value::Object(effect.after.clone()));
    };
    let mut text = format!("  ~ {} {}\n", effect.table, effect.key);
    for (column, after) in &effect.after {
        let before = before.get(column).unwrap_or(&Value::Null);
        text.push_str(&format!("      {column}: {before} -> {after}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_row_and_a_changed_one_read_like_a_diff() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let new = Effect {
            table: "payments".into(),
            key: json!({"id": 1}),
            before: None,
            after: object(json!({"id": 1, "amount_minor": 500})),
        };
        assert_eq!(
            effect_text(&new),
            "  + payments {\"amount_minor\":500,\"id\":1}\n"
        );
        let changed = Effect {
            table: "disputes".into(),
            key: json!({"id": 2}),
            before: Some(object(json!({"outcome": null}))),
            after: object(json!({"outcome": "lost"})),
        };
        assert_eq!(
            effect_text(&changed),
            "  ~ disputes {\"id\":2}\n      outcome: null -> \"lost\"\n"
        );
    }
}
