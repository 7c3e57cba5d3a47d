//! `/console/`: how deep each queue is, how old its oldest job, and how fast it empties; and what stops it.

use axum::{
    http::{HeaderValue, header},
    response::Response,
};
use serde::Deserialize;
use shared::store::{
    self,
    portal::console::{self as counts, Depth},
    queues,
};

use super::{SECTION, tabs};
use crate::{
    api::work as api,
    pages::{
        PageProblem,
        form::form,
        page::{Asked, At, chosen},
    },
    route::{OPERATORS, Route, Scope},
    view::{
        Badge, Block, Card, Cell, Empty, Field, Form, Table, Tone, column, note, numbers,
        text::{count, lasting, spoken, time},
    },
};

const HERE: &str = "/console/";
/// From here on the oldest job of a queue is pressing.
const OLD_SECS: i64 = 300;
/// How often a live page is loaded again.
const LIVE_SECS: &str = "5";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, OPERATORS, list)
            .on(Scope::Either)
            .does("Queues: depth, oldest age, rates"),
        form(
            Route::form("/console/queues/{name}/pause", OPERATORS, api::pause_queue)
                .on(Scope::Platform)
                .does("Let no further job of a queue begin"),
            "paused",
        ),
        form(
            Route::form("/console/queues/{name}/resume", OPERATORS, api::resume_queue)
                .on(Scope::Platform)
                .does("Let the jobs of a queue begin again"),
            "resumed",
        ),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    live: Option<String>,
}

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let mut conn = at.app.db.pool().acquire().await.map_err(store::Error::from)?;
    let depths = counts::depths(&mut conn).await?;
    let pauses = queues::pauses(&mut conn).await?;
    let workers = counts::alive(&mut conn).await?;
    drop(conn);
    let sum = |of: &dyn Fn(&Depth) -> i64| depths.iter().map(of).sum::<i64>();
    let oldest = depths
        .iter()
        .map(|depth| depth.oldest_due_secs)
        .max()
        .unwrap_or(0);
    let discarded = sum(&|depth| depth.discarded);
    let cards = vec![
        Card::new(
            "Due now",
            count(sum(&|depth| depth.due)),
            format!("{} running", count(sum(&|depth| depth.running))),
        ),
        Card::new(
            "Oldest due",
            lasting(oldest),
            "How long the oldest job could have run already",
        )
        .tone(if oldest > OLD_SECS { Tone::Bad } else { Tone::Good }),
        Card::new(
            "Given up",
            count(discarded),
            format!("{} in the last hour", count(sum(&|depth| depth.failed_last_hour))),
        )
        .tone(if discarded > 0 { Tone::Bad } else { Tone::Good })
        .href(at.with("/console/jobs", &[("state", Some("discarded"))])),
        Card::new(
            "Workers alive",
            count(workers),
            "With a sign of life in the last 10 seconds",
        )
        .tone(if workers == 0 { Tone::Bad } else { Tone::Good })
        .href(at.to("/console/workers")),
        Card::new(
            "Done",
            format!("{} / min", count(sum(&|depth| depth.done_last_minute))),
            format!("{} in the last hour", count(sum(&|depth| depth.done_last_hour))),
        ),
    ];
    let columns = [
        column("Queue"),
        column("State"),
        numbers("Due"),
        numbers("Oldest"),
        numbers("Running"),
        numbers("Later"),
        numbers("Failed, again later"),
        numbers("Given up"),
        numbers("Done / min"),
        column("Do"),
    ];
    let table = Table::new("Queues", &columns, Empty::default()).rows(&depths, |depth| {
        let pause = pauses.iter().find(|pause| pause.queue == depth.queue);
        let state = match pause {
            Some(pause) => Cell::two(
                "Paused",
                format!("{} by {}: {}", time(pause.at), pause.by, pause.reason),
            ),
            None if depth.oldest_due_secs > OLD_SECS => Badge::new("Behind", Tone::Bad).into(),
            None => Badge::new("Runs", Tone::Good).into(),
        };
        let (what, word) = if pause.is_some() {
            ("resume", "Resume")
        } else {
            ("pause", "Pause")
        };
        let button = Form::button(
            format!("{what}-{}", depth.queue),
            format!("/console/queues/{}/{what}", depth.queue),
            word,
            &depth.queue,
        )
        .field(Field::reason())
        .folded();
        let jobs = |state: &str| {
            at.with(
                "/console/jobs",
                &[("queue", Some(&depth.queue)), ("state", Some(state))],
            )
        };
        vec![
            Cell::link(
                at.with("/console/jobs", &[("queue", Some(&depth.queue))]),
                spoken(&depth.queue),
            ),
            state,
            Cell::text(count(depth.due)),
            Cell::text(if depth.due == 0 {
                "none".to_owned()
            } else {
                lasting(depth.oldest_due_secs)
            }),
            Cell::text(count(depth.running)),
            Cell::text(count(depth.later)),
            Cell::link(jobs("retryable"), count(depth.retryable)),
            Cell::link(jobs("discarded"), count(depth.discarded)),
            Cell::text(count(depth.done_last_minute)),
            Cell::Forms(vec![button]),
        ]
    });
    let is_live = chosen(&wanted.live) == Some("1");
    let live = if is_live {
        crate::view::blocks::Note {
            tone: Tone::Busy,
            text: format!("Live: loaded again every {LIVE_SECS} seconds."),
            link: Some((at.to(HERE), "Stop".to_owned())),
        }
    } else {
        crate::view::blocks::Note {
            tone: Tone::Plain,
            text: "These figures are of the moment in which the page was loaded.".to_owned(),
            link: Some((at.with(HERE, &[("live", Some("1"))]), "Show them live".to_owned())),
        }
    };
    let mut page = at
        .page(SECTION, "Queues")
        .await?
        .with(tabs(&at, HERE))
        .with(Block::Note(live));
    if workers == 0 {
        page = page.with(note(
            Tone::Bad,
            "No worker is alive: nothing is processed. Start one with `quittance worker`.",
        ));
    }
    let mut response = page
        .with(Block::Cards(cards))
        .with(Block::Table(table))
        .answer()?;
    if is_live {
        response
            .headers_mut()
            .insert(header::REFRESH, HeaderValue::from_static(LIVE_SECS));
    }
    Ok(response)
}
