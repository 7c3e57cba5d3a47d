//! Work: jobs, queues, events, schedules, workers. What belongs to a firm is seen under that firm; the rest is the platform's own.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    actions::jobs as actions,
    domain::job_by_hand::Wish,
    ids::JobId,
    store::{
        self,
        inbox_read::{self, EventRow, EventView},
        jobs::Queue,
        jobs_by_hand::{self, Chosen},
        jobs_read::{self, JobRow, JobView},
        operations::{self, OccurrenceRow, ScheduleRow, WorkerRow},
        queues::{self, QueueRow},
        replays,
    },
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Caller, login::begin},
    problem::Problem,
    request::{Act, Id, Input, Page, PageQuery, Params, Reason},
    route::{BILLING, OPERATORS, Route, Scope},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/jobs", BILLING, list_jobs)
            .on(Scope::Either)
            .does("Jobs, those enqueued last first")
            .query::<Jobs>()
            .paged()
            .answers_page::<JobRow>(),
        Route::get("/api/v1/jobs/{id}", BILLING, show_job)
            .on(Scope::Either)
            .does("One job")
            .answers::<JobView>(),
        Route::post("/api/v1/jobs/{id}/retry", BILLING, retry_job)
            .on(Scope::Either)
            .does("Run a job again, now")
            .takes::<Reason>()
            .answers::<Chosen>(),
        Route::post("/api/v1/jobs/{id}/cancel", BILLING, cancel_job)
            .on(Scope::Either)
            .does("Give a job up")
            .takes::<Reason>()
            .answers::<Chosen>(),
        Route::get("/api/v1/queues", OPERATORS, list_queues)
            .on(Scope::Platform)
            .does("What is in each queue, and whether it is paused")
            .answers_page::<QueueRow>(),
        Route::post("/api/v1/queues/{name}/pause", OPERATORS, pause_queue)
            .on(Scope::Platform)
            .does("Let no further job of a queue begin")
            .takes::<Reason>()
            .answers::<QueueRow>(),
        Route::post("/api/v1/queues/{name}/resume", OPERATORS, resume_queue)
            .on(Scope::Platform)
            .does("Let the jobs of a queue begin again")
            .takes::<Reason>()
            .answers::<QueueRow>(),
        Route::get("/api/v1/events", BILLING, list_events)
            .on(Scope::Either)
            .does("Events of Stripe's, those received last first")
            .query::<Events>()
            .paged()
            .answers_page::<EventRow>(),
        Route::get("/api/v1/events/{id}", BILLING, show_event)
            .on(Scope::Either)
            .does("One event: its facts and its job")
            .answers::<EventView>(),
        Route::post("/api/v1/events/{id}/replay", BILLING, replay_event)
            .on(Scope::Either)
            .does("Process an event once more")
            .takes::<Reason>()
            .answers_with::<Replay>(StatusCode::ACCEPTED),
        Route::get("/api/v1/schedules", OPERATORS, list_schedules)
            .on(Scope::Platform)
            .does("Schedules, and up to when each has fired")
            .answers_page::<ScheduleRow>(),
        Route::get("/api/v1/schedule-occurrences", OPERATORS, list_occurrences)
            .on(Scope::Platform)
            .does("Ticks of schedules, the latest first")
            .query::<Occurrences>()
            .paged()
            .answers_page::<OccurrenceRow>(),
        Route::get("/api/v1/workers", OPERATORS, list_workers)
            .on(Scope::Platform)
            .does("Workers that gave a sign of life within a minute")
            .answers_page::<WorkerRow>(),
    ]
}

fn all<T>(data: Vec<T>) -> Page<T> {
    Page {
        data,
        next_cursor: None,
    }
}

/// Which jobs.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Jobs {
    /// Only in this state.
    state: Option<String>,
    /// Only of this kind, such as `collect_invoice`.
    kind: Option<String>,
    /// Only in this queue.
    queue: Option<String>,
}

async fn list_jobs(
    State(app): State<App>,
    caller: Caller,
    Params(jobs): Params<Jobs>,
    page: PageQuery,
) -> Result<Json<Page<JobRow>>, Problem> {
    let filter = jobs_read::Filter {
        state: jobs.state.as_deref(),
        kind: jobs.kind.as_deref(),
        queue: jobs.queue.as_deref(),
        before_seq: page.after_number()?,
    };
    let mut tx = begin(&app.db, caller.firm).await?;
    let rows = jobs_read::list(&mut tx, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.seq.to_string())?))
}

fn job_id(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| no_job(id))
}

fn no_job(id: &str) -> Problem {
    Problem::not_found(format!("there is no job {id:?} (any more)"))
}

async fn show_job(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<JobView>, Problem> {
    let mut tx = begin(&app.db, caller.firm).await?;
    let job = jobs_read::show(&mut tx, JobId(job_id(&id)?)).await?;
    job.map(Json).ok_or_else(|| no_job(&id))
}

pub(crate) async fn retry_job(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    act_on_job(&app, &caller, &id, &input, Wish::Retry).await
}

pub(crate) async fn cancel_job(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    act_on_job(&app, &caller, &id, &input, Wish::Cancel).await
}

async fn act_on_job(
    app: &App,
    caller: &Caller,
    id: &str,
    input: &Input<Reason>,
    wish: Wish,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let ids = [job_id(id)?];
    let mut act = Act::begin(app, caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let filter = jobs_by_hand::Filter {
        ids: &ids,
        ..jobs_by_hand::Filter::default()
    };
    let choice = actions::choose(tx, wish, &filter).await?;
    if let Some((job, refusal)) = choice.left_alone.first() {
        let detail = format!("job {} {}", job.id, refusal.text());
        return Err(Problem::refused(refusal.code(), detail));
    }
    let subject = json!({ "ids": ids, "jobs": 1 });
    actions::act(tx, wish, &choice.jobs, (reason, &subject), &by).await?;
    let mut now = jobs_by_hand::choose(tx, &filter, 1).await?;
    let job = now.pop().ok_or_else(|| no_job(id))?;
    act.done(StatusCode::OK, &job).await
}

async fn list_queues(State(app): State<App>, _: Caller) -> Result<Json<Page<QueueRow>>, Problem> {
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    Ok(Json(all(queues::status(&mut conn, None).await?)))
}

pub(crate) async fn pause_queue(
    State(app): State<App>,
    caller: Caller,
    Id(name): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    act_on_queue(&app, &caller, &name, &input, true).await
}

pub(crate) async fn resume_queue(
    State(app): State<App>,
    caller: Caller,
    Id(name): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    act_on_queue(&app, &caller, &name, &input, false).await
}

async fn act_on_queue(
    app: &App,
    caller: &Caller,
    name: &str,
    input: &Input<Reason>,
    pause: bool,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let queue: Queue = name.parse().map_err(|fault: String| Problem::not_found(fault))?;
    let mut act = Act::begin(app, caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    if pause {
        queues::pause(tx, queue, reason, &by).await?;
    } else {
        queues::resume(tx, queue, reason, &by).await?;
    }
    let status = queues::status(tx, Some(queue)).await?.pop();
    let status = status.ok_or_else(|| Problem::not_found(format!("there is no queue {name:?}")))?;
    act.done(StatusCode::OK, &status).await
}

/// Which events.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Events {
    /// Only in this state: `pending`, `applied`, `ignored`, `unmatched` or `parked`.
    state: Option<String>,
    /// Only of this type.
    r#type: Option<String>,
}

async fn list_events(
    State(app): State<App>,
    caller: Caller,
    Params(events): Params<Events>,
    page: PageQuery,
) -> Result<Json<Page<EventRow>>, Problem> {
    let filter = inbox_read::Filter {
        state: events.state.as_deref(),
        kind: events.r#type.as_deref(),
        after: page.cursor.as_deref(),
    };
    let mut tx = begin(&app.db, caller.firm).await?;
    let rows = inbox_read::list(&mut tx, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.clone())?))
}

fn no_event(id: &str) -> Problem {
    Problem::not_found(format!("there is no event {id:?}"))
}

async fn show_event(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<EventView>, Problem> {
    let mut tx = begin(&app.db, caller.firm).await?;
    let event = inbox_read::show(&mut tx, &id).await?;
    event.map(Json).ok_or_else(|| no_event(&id))
}

/// An event that is processed once more.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replay {
    /// The run.
    run_id: Uuid,
    /// The event.
    event: String,
    /// The job that does it.
    job: Uuid,
}

pub(crate) async fn replay_event(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let ids = [id.clone()];
    let filter = replays::Filter {
        ids: &ids,
        ..replays::Filter::default()
    };
    let chosen = replays::choose(tx, &filter, 1).await?;
    if chosen.is_empty() {
        return Err(no_event(&id));
    }
    let run = Uuid::now_v7();
    let request = replays::Request {
        run,
        requested_by: by.actor.name(),
        reason,
        chosen: &json!({ "ids": ids }),
    };
    replays::record(tx, &request, chosen.len(), by.at).await?;
    let jobs = replays::enqueue(tx, run, &chosen, by.at).await?;
    if let Some(firm) = caller.firm {
        replays::record_for_firm(tx, firm, &by, &request, &[&id]).await?;
    }
    let job = jobs.first().ok_or_else(|| no_event(&id))?.0;
    let replay = Replay {
        run_id: run,
        event: id,
        job,
    };
    act.done(StatusCode::ACCEPTED, &replay).await
}

async fn list_schedules(State(app): State<App>, _: Caller) -> Result<Json<Page<ScheduleRow>>, Problem> {
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    Ok(Json(all(operations::schedules(&mut conn).await?)))
}

/// Which ticks.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Occurrences {
    /// Only of this schedule.
    schedule: Option<String>,
    /// Only before this time.
    before: Option<DateTime<Utc>>,
}

async fn list_occurrences(
    State(app): State<App>,
    _: Caller,
    Params(wanted): Params<Occurrences>,
    page: PageQuery,
) -> Result<Json<Page<OccurrenceRow>>, Problem> {
    let after = match &page.cursor {
        Some(cursor) => {
            let parts = cursor.split_once('@').and_then(|(at, schedule)| {
                Some((
                    DateTime::from_timestamp_micros(at.parse().ok()?)?,
                    schedule.to_owned(),
                ))
            });
            Some(parts.ok_or_else(|| Problem::invalid("cursor", "none of ours: give a next_cursor"))?)
        }
        None => None,
    };
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let rows = operations::occurrences(
        &mut conn,
        wanted.schedule.as_deref(),
        wanted.before,
        after,
        page.fetch()?,
    )
    .await?;
    Ok(Json(page.page(rows, |row| {
        format!("{}@{}", row.due_at.timestamp_micros(), row.schedule)
    })?))
}

async fn list_workers(State(app): State<App>, _: Caller) -> Result<Json<Page<WorkerRow>>, Problem> {
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    Ok(Json(all(operations::workers(&mut conn).await?)))
}
