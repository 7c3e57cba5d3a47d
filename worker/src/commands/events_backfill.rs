//! `quittance events backfill`: the daily job now, or what it would find.

use serde_json::{Value, json};
use shared::store::{
    Db,
    jobs::{self, NewJob, Queue},
};
use uuid::Uuid;

use super::{
    connect::reading_context,
    since::{Since, parse_since},
    wait::{WaitArgs, wait_for},
};
use crate::{
    backfill::{self, OLDEST, Sink},
    jobs::backfill_events::KIND,
    output::{Exit, Failure, Format, table},
    queue::JobError,
};

/// Arguments of `events backfill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// From when on, instead of from where the last run ended: a duration before now, or a time. Stripe lists events of the
    /// last thirty days; what is older is found by its charges, refunds and disputes.
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Show what is missing; put nothing down.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs `events backfill`.
///
/// # Errors
/// When the database or Stripe is away, or no worker runs.
pub async fn run(db: &Db, args: Args, format: Format) -> Result<Exit, Failure> {
    let now = db.now().await?;
    let since = args.since.map(|since| since.at(now));
    let is_older_than_the_list = since.is_some_and(|since| since < now - OLDEST);
    if args.dry_run {
        let cx = reading_context(db.clone()).await?;
        let events = backfill::events(&cx, Sink::Nowhere, since)
            .await
            .map_err(failed)?;
        let objects = backfill::objects(&cx, Sink::Nowhere, since)
            .await
            .map_err(failed)?;
        let report = json!({ "dry_run": true, "events": events, "objects": objects,
                             "beyond_stripes_list": is_older_than_the_list });
        format.show(&report, describe)?;
        return Ok(Exit::Done);
    }
    let run = Uuid::now_v7();
    let mut tx = db.plain().await?;
    let job = NewJob::new(
        Queue::Maintenance,
        KIND,
        format!("command:{run}"),
        json!({ "since": since }),
        tx.now(),
    )
    .at_most(3);
    let id = jobs::enqueue(&mut tx, &job).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    let ids: Vec<_> = id.into_iter().collect();
    if args.wait.no_wait {
        format.show(&json!({ "run_id": run, "enqueued": ids }), |_| {
            format!("enqueued, run {run}\n")
        })?;
        return Ok(Exit::Done);
    }
    let ended = wait_for(db, &ids, args.wait, format, "backfill").await?;
    let Some(job) = ended.first().filter(|job| job.state == "completed") else {
        let why = ended.first().and_then(|job| job.last_error.clone());
        return Err(Failure::new(
            "backfill_failed",
            why.unwrap_or_else(|| "the job was not completed".to_owned()),
        ));
    };
    let report = json!({ "run_id": run, "events": job.result["events"], "objects": job.result["objects"],
                         "beyond_stripes_list": is_older_than_the_list });
    format.show(&report, describe)?;
    Ok(Exit::Done)
}

fn failed(error: JobError) -> Failure {
    Failure::new("backfill_failed", error.to_string())
}

fn describe(report: &Value) -> String {
    let row = |name: &str, found: &Value| {
        vec![
            name.to_owned(),
            found["from"].as_str().unwrap_or("").to_owned(),
            found["listed"].to_string(),
            found["new"].to_string(),
        ]
    };
    let objects = &report["objects"];
    let rows = [
        row("events", &report["events"]),
        row("charges", &objects["charges"]),
        row("refunds", &objects["refunds"]),
        row("disputes", &objects["disputes"]),
        row("open payment intents", &objects["payment_intents"]),
    ];
    let mut text = table(&["LIST", "READ FROM", ">READ", ">MISSING"], &rows);
    if report["beyond_stripes_list"] == true {
        text.push_str(
            "Stripe lists events of thirty days only: what is older was looked for among its objects\n",
        );
    }
    let is_dry = report["dry_run"] == true;
    text.push_str(if is_dry {
        "nothing was put down\n"
    } else {
        "what was missing is in the inbox, and is processed as if it had come\n"
    });
    text
}
