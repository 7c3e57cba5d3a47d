//! Runs that somebody asks for, and the clock of a test installation. A run is enqueued by the answer, which names its jobs, and done by
//! workers: the portal talks to nobody.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    actions::{
        clock::{self, Move},
        runs::{self, InvoiceRun},
    },
    ids::JobId,
    store::business_clock::{self, Reading},
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Input, Reason, said},
    route::{BILLING_ACTS, OPERATORS, Route, Scope},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/runs/invoices", BILLING_ACTS, invoices)
            .does("Make the invoices that are due; a worker does it")
            .takes::<InvoicesWanted>()
            .answers_with::<Ordered>(StatusCode::ACCEPTED),
        Route::post("/api/v1/runs/charges", BILLING_ACTS, charges)
            .does("Charge what is due; workers do it")
            .takes::<ChargesWanted>()
            .answers_with::<Ordered>(StatusCode::ACCEPTED),
        Route::post("/api/v1/runs/reconciliation", OPERATORS, reconcile)
            .on(Scope::Platform)
            .does("Compare the books of all firms with Stripe's; a worker does it, and what differs is a finding")
            .takes::<Reason>()
            .answers_with::<Ordered>(StatusCode::ACCEPTED),
        Route::get("/api/v1/clock", OPERATORS, show)
            .on(Scope::Platform)
            .does("Business time, and how far it is ahead of the real one")
            .answers::<Clock>(),
        Route::post("/api/v1/clock", OPERATORS, turn)
            .on(Scope::Platform)
            .does("Move the business clock; of a test installation alone")
            .takes::<Turn>()
            .answers::<Clock>(),
    ]
}

/// Which invoices.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoicesWanted {
    /// Plan for this date instead of the firm's today.
    as_of: Option<NaiveDate>,
    /// Bill everything in arrears, however far back: somebody has looked at it.
    #[serde(default)]
    #[schema(required = false)]
    catch_up: bool,
    /// Why, for the audit log.
    #[schema(min_length = 1)]
    reason: String,
}

/// Which charges.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChargesWanted {
    /// As if it were this time; now unless told.
    as_of: Option<DateTime<Utc>>,
    /// Why, for the audit log.
    #[schema(min_length = 1)]
    reason: String,
}

/// What was enqueued.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ordered {
    /// The run.
    run_id: Uuid,
    /// Its jobs: `/api/v1/jobs/ID` says how far each is.
    jobs: Vec<Uuid>,
}

fn ordered(run_id: Uuid, jobs: impl IntoIterator<Item = JobId>) -> Ordered {
    Ordered {
        run_id,
        jobs: jobs.into_iter().map(|job| job.0).collect(),
    }
}

async fn invoices(
    State(app): State<App>,
    caller: Caller,
    input: Input<InvoicesWanted>,
) -> Result<Response, Problem> {
    let wanted = &input.value;
    let reason = said("reason", &wanted.reason)?;
    let (firm, run) = (caller.firm()?, Uuid::now_v7());
    let order = InvoiceRun {
        as_of: wanted.as_of,
        expect_plan: None,
        catch_up: wanted.catch_up,
    };
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let job = runs::invoices(tx, firm, &order, run).await?;
    runs::record(tx, firm, ("generation.requested", reason, run), &by).await?;
    act.done(StatusCode::ACCEPTED, &ordered(run, job)).await
}

async fn charges(
    State(app): State<App>,
    caller: Caller,
    input: Input<ChargesWanted>,
) -> Result<Response, Problem> {
    let wanted = &input.value;
    let reason = said("reason", &wanted.reason)?;
    let (firm, run) = (caller.firm()?, Uuid::now_v7());
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let jobs = runs::charges(tx, Some(firm), wanted.as_of, run).await?;
    runs::record(tx, firm, ("charging.requested", reason, run), &by).await?;
    act.done(StatusCode::ACCEPTED, &ordered(run, jobs)).await
}

async fn reconcile(
    State(app): State<App>,
    caller: Caller,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let run = Uuid::now_v7();
    let job = runs::reconciliation(tx, (reason, run), &by).await?;
    act.done(StatusCode::ACCEPTED, &ordered(run, job)).await
}

/// The business clock.
#[derive(Debug, Serialize, ToSchema)]
pub struct Clock {
    /// What it says.
    now: DateTime<Utc>,
    /// How far it is ahead of the real time.
    offset_ms: i64,
    /// Whether it stands as the installation takes real money.
    live: bool,
}

impl From<Reading> for Clock {
    fn from(reading: Reading) -> Self {
        Self {
            now: reading.now,
            offset_ms: reading.offset_ms,
            live: reading.livemode == Some(true),
        }
    }
}

async fn show(State(app): State<App>) -> Result<Json<Clock>, Problem> {
    let mut tx = app.db.plain().await?;
    Ok(Json(business_clock::read(&mut tx).await?.into()))
}

/// Where to move it: one of the three.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ClockMove)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Forward by so many seconds.
    #[schema(minimum = 1)]
    advance_secs: Option<i64>,
    /// Forward to this time.
    to: Option<DateTime<Utc>>,
    /// Back to the real time.
    #[serde(default)]
    #[schema(required = false)]
    reset: bool,
    /// Why, for the record.
    #[schema(min_length = 1)]
    reason: String,
}

impl Turn {
    fn wanted(&self) -> Result<Move, Problem> {
        let one = || Problem::invalid("body", "give one of advance_secs, to and reset");
        match (self.advance_secs, self.to, self.reset) {
            (Some(secs), None, false) => TimeDelta::try_seconds(secs)
                .filter(|ahead| *ahead > TimeDelta::zero())
                .map(Move::Ahead)
                .ok_or_else(|| Problem::invalid("advance_secs", "give a number of seconds")),
            (None, Some(time), false) => Ok(Move::To(time)),
            (None, None, true) => Ok(Move::Back),
            (Some(_), Some(_), _) | (Some(_), None, true) | (None, Some(_), true) | (None, None, false) => {
                Err(one())
            }
        }
    }
}

async fn turn(State(app): State<App>, caller: Caller, input: Input<Turn>) -> Result<Response, Problem> {
    let reason = said("reason", &input.value.reason)?;
    let to = input.value.wanted()?;
    let has_live_key = app
        .publishable_key
        .as_deref()
        .is_some_and(|key| key.starts_with("pk_live_"));
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let reading = clock::turn(tx, (to, has_live_key), Some(reason), &by).await?;
    act.done(StatusCode::OK, &Clock::from(reading)).await
}
