//! `/console/jobs`: jobs by state, kind and queue; each in full; and those that were given up run again, one or all that a filter
//! lets through.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    actions::jobs as actions,
    domain::job_by_hand::{JobState, Wish},
    ids::JobId,
    store::{
        jobs::Queue,
        jobs_by_hand,
        jobs_read::{self, Filter as Which, JobRow, JobView},
    },
};

use super::{SECTION, tabs, whose};
use crate::{
    api::work as api,
    app::App,
    auth::{Caller, login::begin},
    pages::{
        PageProblem,
        form::form,
        page::{Asked, At, ROWS, chosen},
    },
    problem::Problem,
    request::{Act, Id, Input, PageQuery, said},
    route::{OPERATORS, Route, Scope},
    view::{
        Block, Cell, Empty, Facts, Field, Filter, Form, Table, column, numbers,
        text::{NONE, maybe_time, spoken, time},
        words,
    },
};

const HERE: &str = "/console/jobs";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, OPERATORS, list)
            .on(Scope::Either)
            .does("Jobs, those enqueued last first"),
        Route::page("/console/jobs/{id}", OPERATORS, show)
            .on(Scope::Either)
            .does("One job"),
        form(
            Route::form("/console/jobs/retry", OPERATORS, retry_all)
                .on(Scope::Either)
                .does("Run again all jobs that a filter lets through"),
            "retried",
        ),
        form(
            Route::form("/console/jobs/{id}/retry", OPERATORS, api::retry_job)
                .on(Scope::Either)
                .does("Run a job again, now"),
            "retried",
        ),
        form(
            Route::form("/console/jobs/{id}/cancel", OPERATORS, api::cancel_job)
                .on(Scope::Either)
                .does("Give a job up"),
            "canceled",
        ),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    state: Option<String>,
    kind: Option<String>,
    queue: Option<String>,
    cursor: Option<String>,
}

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let (state, kind, queue) = (chosen(&wanted.state), chosen(&wanted.kind), chosen(&wanted.queue));
    let filter = Which {
        state,
        kind,
        queue,
        before_seq: query.after_number()?,
    };
    let mut tx = begin(&at.app.db, at.caller.firm).await?;
    let rows = jobs_read::list(&mut tx, &filter, query.fetch()?).await?;
    drop(tx);
    let shown = query.page(rows, |row| row.seq.to_string())?;
    let columns = [
        column("Job"),
        column("State"),
        column("Queue"),
        numbers("Attempt"),
        column("Runs"),
        column("Last error"),
    ];
    let empty = Empty::new(
        "No job is like this.",
        "Choose another filter, or enter a firm by break-glass: its jobs are seen there.",
    )
    .link(at.to("/console/break-glass"), "Break-glass");
    let number = shown.data.len();
    let table = Table::new("", &columns, empty).rows(shown.data, |row| cells(&at, row));
    let mut states = vec![("", "All")];
    states.extend(JobState::ALL.iter().map(|state| (state.as_str(), state.as_str())));
    let mut queues = vec![("", "All")];
    queues.extend(Queue::ALL.iter().map(|queue| (queue.as_str(), queue.as_str())));
    let fields = vec![
        Field::choice("state", "State", &states, state),
        Field::choice("queue", "Queue", &queues, queue),
        Field::line("kind", "Kind").value(kind.unwrap_or_default()),
    ];
    let mut page = at
        .page(SECTION, "Jobs")
        .await?
        .intro(whose(&at))
        .with(tabs(&at, HERE))
        .with(Block::Filter(Filter {
            action: HERE.to_owned(),
            fields,
        }))
        .with(Block::Table(table))
        .with(at.pager(
            HERE,
            &[("state", state), ("kind", kind), ("queue", queue)],
            (wanted.cursor.as_deref(), shown.next_cursor.as_deref()),
            number,
        ));
    if let (Some(state @ ("discarded" | "retryable")), true) = (state, number > 0) {
        let mut form = Form::new(
            "retry-all",
            format!("Run all {state} jobs of this filter again"),
            at.to("/console/jobs/retry"),
            "Run them all again",
        )
        .intro("All that match, not only those on this page; 10,000 at most.")
        .field(Field::hidden("state", state));
        for (name, value) in [("kind", kind), ("queue", queue)] {
            if let Some(value) = value {
                form = form.field(Field::hidden(name, value));
            }
        }
        let form = form
            .field(Field::line("error", "Only where the last error contains"))
            .field(Field::reason());
        page = page.with(Block::Form(form));
    }
    page.answer()
}

fn cells(at: &At, row: JobRow) -> Vec<Cell> {
    vec![
        Cell::link_two(
            at.to(&format!("{HERE}/{}", row.id)),
            row.kind.clone(),
            row.id.to_string(),
        ),
        words::job(&row.state).into(),
        Cell::text(spoken(&row.queue)),
        Cell::text(format!("{} of {}", row.attempt, row.max_attempts)),
        match row.finished_at {
            Some(at) => Cell::two(time(at), "ended"),
            None => Cell::two(time(row.run_at), "due"),
        },
        Cell::text(
            row.last_error
                .map_or_else(|| NONE.to_owned(), |error| shortened(&error)),
        ),
    ]
}

/// The beginning of a long error.
fn shortened(error: &str) -> String {
    const MOST: usize = 120;
    if error.chars().count() <= MOST {
        return error.to_owned();
    }
    format!("{}…", error.chars().take(MOST).collect::<String>())
}

async fn show(at: At, Id(id): Id) -> Result<Response, PageProblem> {
    let none = || Problem::not_found(format!("there is no job {id:?} (any more)"));
    let job: uuid::Uuid = id.parse().map_err(|_| none())?;
    let mut tx = begin(&at.app.db, at.caller.firm).await?;
    let view = jobs_read::show(&mut tx, JobId(job)).await?;
    drop(tx);
    let view = view.ok_or_else(none)?;
    let row = view.row.clone();
    let page = at
        .page(SECTION, row.kind.clone())
        .await?
        .badge(words::job(&row.state))
        .up(at.to(HERE), "Jobs")
        .with(tabs(&at, HERE))
        .with(Block::Facts(facts(&at, &view)))
        .with(Block::Text("Payload".to_owned(), pretty(&view.payload)));
    let page = match &view.result {
        Some(result) => page.with(Block::Text("Result".to_owned(), pretty(result))),
        None => page,
    };
    let page = match &row.last_error {
        Some(error) => page.with(Block::Text("Last error".to_owned(), error.clone())),
        None => page,
    };
    let to = |what: &str| at.to(&format!("{HERE}/{}/{what}", row.id));
    let mut forms = Vec::new();
    if matches!(row.state.as_str(), "discarded" | "retryable") {
        forms.push(
            Form::new("retry", "Run it again", to("retry"), "Run again")
                .intro("Now, with all its attempts.")
                .field(Field::reason()),
        );
    }
    if matches!(row.state.as_str(), "available" | "retryable" | "discarded") {
        forms.push(
            Form::new("cancel", "Cancel it", to("cancel"), "Cancel the job")
                .intro("It never runs again.")
                .field(Field::reason())
                .danger(),
        );
    }
    if forms.is_empty() {
        page.answer()
    } else {
        page.with(Block::Actions("Do something".to_owned(), forms))
            .answer()
    }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn facts(at: &At, view: &JobView) -> Facts {
    let row = &view.row;
    let lease = match (&view.lease_owner, view.lease_until) {
        (Some(owner), Some(until)) => Cell::two(owner.clone(), format!("until {}", time(until))),
        _ => Cell::text(NONE),
    };
    Facts {
        title: String::new(),
        rows: vec![
            ("Id", Cell::code(row.id.to_string())),
            ("Queue", Cell::text(spoken(&row.queue))),
            (
                "Attempt",
                Cell::two(
                    format!("{} of {}", row.attempt, row.max_attempts),
                    format!("{} crashes", view.crashes),
                ),
            ),
            ("Priority", Cell::text(view.priority.to_string())),
            ("Due", Cell::text(time(row.run_at))),
            ("Enqueued", Cell::text(time(view.created_at))),
            ("Began", Cell::text(maybe_time(view.started_at))),
            ("Ended", Cell::text(maybe_time(row.finished_at))),
            ("Held by", lease),
            ("Once per", Cell::code(view.dedupe_key.clone())),
            (
                "In order of",
                Cell::code(view.order_key.clone().unwrap_or_else(|| NONE.to_owned())),
            ),
            (
                "Trace",
                Cell::code(view.traceparent.clone().unwrap_or_else(|| NONE.to_owned())),
            ),
            (
                "Why?",
                Cell::link(
                    at.with("/console/explain", &[("id", Some(&row.id.to_string()))]),
                    "Explain this job",
                ),
            ),
        ],
    }
}

/// Which jobs are to run again, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    state: String,
    kind: Option<String>,
    queue: Option<String>,
    error: Option<String>,
    reason: String,
}

/// What came of it.
#[derive(Serialize)]
struct Retried {
    jobs: usize,
    left_alone: usize,
}

async fn retry_all(State(app): State<App>, caller: Caller, input: Input<Bulk>) -> Result<Response, Problem> {
    let wanted = &input.value;
    let reason = said("reason", &wanted.reason)?;
    if !["discarded", "retryable"].contains(&wanted.state.as_str()) {
        return Err(Problem::invalid(
            "state",
            "only what was discarded or failed runs again",
        ));
    }
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let states = [wanted.state.clone()];
    let filter = jobs_by_hand::Filter {
        states: &states,
        kind: wanted.kind.as_deref(),
        queue: wanted.queue.as_deref(),
        firm: caller.firm.map(|firm| firm.0),
        error: wanted.error.as_deref(),
        ..jobs_by_hand::Filter::default()
    };
    let choice = actions::choose(tx, Wish::Retry, &filter).await?;
    let subject = json!({ "state": wanted.state, "kind": wanted.kind, "queue": wanted.queue, "error": wanted.error, "firm": caller.firm, "jobs": choice.jobs.len() });
    if choice.jobs.is_empty() {
        return Err(Problem::refused("no_jobs", "no job is like this any more"));
    }
    actions::act(tx, Wish::Retry, &choice.jobs, (reason, &subject), &by).await?;
    let answer = Retried {
        jobs: choice.jobs.len(),
        left_alone: choice.left_alone.len(),
    };
    act.done(StatusCode::OK, &answer).await
}
