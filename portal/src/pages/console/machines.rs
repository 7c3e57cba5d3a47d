//! `/console/schedules` and `/console/workers`: what ticks, and who works.

use axum::response::Response;
use serde::Deserialize;
use shared::{
    clock::real_now,
    store::{self, operations},
};

use super::{SECTION, tabs};
use crate::{
    pages::{
        PageProblem,
        page::{Asked, At, chosen},
    },
    route::{OPERATORS, Route, Scope},
    view::{
        Badge, Block, Cell, Empty, Field, Filter, Table, Tone, column, numbers,
        text::{NONE, away, count, maybe_time, spoken, time},
        words,
    },
};

const SCHEDULES: &str = "/console/schedules";
const WORKERS: &str = "/console/workers";
/// Ticks shown.
const TICKS: i64 = 50;
/// After so many seconds without a sign of life a worker is taken for dead.
const SILENT_SECS: i64 = 10;

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(SCHEDULES, OPERATORS, schedules)
            .on(Scope::Either)
            .does("Schedules and their ticks"),
        Route::page(WORKERS, OPERATORS, workers)
            .on(Scope::Either)
            .does("Workers and their last sign of life"),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    schedule: Option<String>,
}

async fn schedules(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let only = chosen(&wanted.schedule);
    let mut conn = at.app.db.pool().acquire().await.map_err(store::Error::from)?;
    let all = operations::schedules(&mut conn).await?;
    let ticks = operations::occurrences(&mut conn, only, None, None, TICKS).await?;
    drop(conn);
    let mut names = vec![("", "All")];
    names.extend(
        all.iter()
            .map(|schedule| (schedule.name.as_str(), schedule.name.as_str())),
    );
    let fields = vec![Field::choice("schedule", "Schedule", &names, only)];
    let table = Table::new(
        "Schedules",
        &[
            column("Schedule"),
            column("Ticks (UTC)"),
            column("After a gap"),
            column("State"),
            column("Looked up to"),
        ],
        Empty::new(
            "There are no schedules.",
            "The worker makes them when it first starts.",
        ),
    )
    .rows(&all, |schedule| {
        let state = if schedule.enabled {
            Badge::new("Ticks", Tone::Good)
        } else {
            Badge::new("Switched off", Tone::Warn)
        };
        vec![
            Cell::two(schedule.name.clone(), schedule.job_kind.clone()),
            Cell::code(schedule.cron.clone()),
            Cell::text(spoken(&schedule.catch_up)),
            state.into(),
            Cell::text(time(schedule.watermark_at)),
        ]
    });
    let columns = [
        column("Due"),
        column("Schedule"),
        column("State"),
        numbers("Jobs"),
        column("Fired"),
    ];
    let occurrences = Table::new(
        "Latest ticks",
        &columns,
        Empty::new(
            "Nothing has ticked yet.",
            "The leader of the workers writes each tick down.",
        ),
    )
    .rows(ticks, |tick| {
        let state = match tick.reason {
            Some(reason) => Cell::two(spoken(&tick.state), reason),
            None => words::job(&tick.state).into(),
        };
        vec![
            Cell::text(time(tick.due_at)),
            Cell::text(tick.schedule),
            state,
            Cell::text(count(i64::from(tick.jobs_enqueued))),
            Cell::text(maybe_time(tick.fired_at)),
        ]
    });
    at.page(SECTION, "Schedules")
        .await?
        .with(tabs(&at, SCHEDULES))
        .with(Block::Table(table))
        .with(Block::Filter(Filter {
            action: SCHEDULES.to_owned(),
            fields,
        }))
        .with(Block::Table(occurrences))
        .answer()
}

async fn workers(at: At) -> Result<Response, PageProblem> {
    let mut conn = at.app.db.pool().acquire().await.map_err(store::Error::from)?;
    let rows = operations::workers(&mut conn).await?;
    drop(conn);
    let now = real_now();
    let columns = [
        column("Worker"),
        column("State"),
        column("Version"),
        column("Queues"),
        numbers("At a time"),
        column("Since"),
        column("Last sign of life"),
    ];
    let empty = Empty::new(
        "No worker is alive.",
        "Nothing is processed until one starts: quittance worker.",
    );
    let table = Table::new("", &columns, empty).rows(rows, |worker| {
        let silent = (now - worker.heartbeat_at).num_seconds();
        let state = match (silent > SILENT_SECS, worker.draining) {
            (true, _) => Badge::new("Silent", Tone::Bad),
            (false, true) => Badge::new("Draining", Tone::Warn),
            (false, false) => Badge::new("Works", Tone::Good),
        };
        vec![
            Cell::two(worker.host, format!("process {}, {}", worker.pid, worker.id)),
            state.into(),
            Cell::text(worker.version),
            Cell::text(if worker.queues.is_empty() {
                NONE.to_owned()
            } else {
                worker.queues.join(", ")
            }),
            Cell::text(worker.concurrency.to_string()),
            Cell::text(time(worker.started_at)),
            Cell::two(away(worker.heartbeat_at, now), time(worker.heartbeat_at)),
        ]
    });
    at.page(SECTION, "Workers")
        .await?
        .with(tabs(&at, WORKERS))
        .with(Block::Table(table))
        .answer()
}
