//! Time: written down, handed in, judged. Staff do so with their own.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::NaiveDate;
use serde::Deserialize;
use shared::{
    actions::{
        people::Acting,
        time::{self as actions, Changed},
    },
    domain::time::Change,
    ids::{FirmId, TimeEntryId},
    store::{
        Tx,
        time_read::{self, Filter, TimeRow},
    },
};
use utoipa::ToSchema;

use super::find;
use crate::{
    app::App,
    auth::{Caller, Role},
    problem::Problem,
    request::{Act, Id, Input, Keyed, Page, PageQuery, Params, said},
    route::{FIRM, FIRM_ACTS, MANAGERS, Route},
};

/// A day has no more minutes.
const MAX_MINUTES: i32 = 24 * 60;

/// Whoever speaks for a client.
const CLIENTS: &[Role] = &[Role::Client];

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/time", FIRM, list)
            .does("Time entries, the newest first")
            .query::<List>()
            .paged()
            .answers_page::<TimeRow>(),
        Route::post("/api/v1/time", FIRM_ACTS, add)
            .does("Write time down, as a draft")
            .takes::<New>()
            .answers_with::<Changed>(StatusCode::CREATED),
        Route::post("/api/v1/time/{id}/edit", FIRM_ACTS, edit)
            .does("Change what was worked; approved time is a draft again")
            .takes::<Edit>()
            .answers::<Changed>(),
        Route::post("/api/v1/time/{id}/submit", FIRM_ACTS, submit)
            .does("Hand a draft in for approval")
            .takes::<Said>()
            .answers::<Changed>(),
        Route::post("/api/v1/time/{id}/reopen", FIRM_ACTS, reopen)
            .does("Make time a draft again")
            .takes::<Said>()
            .answers::<Changed>(),
        Route::post("/api/v1/time/{id}/approve", MANAGERS, approve)
            .does("Say that time may be invoiced")
            .takes::<Said>()
            .answers::<Changed>(),
        Route::post("/api/v1/time/{id}/reject", MANAGERS, reject)
            .does("Say that time may not be invoiced")
            .takes::<Said>()
            .answers::<Changed>(),
        Route::post("/api/v1/time/{id}/client-approve", CLIENTS, client_approve)
            .does("Approve time as the client")
            .takes::<Said>()
            .answers::<Changed>(),
    ]
}

/// Which time.
#[derive(Debug, Deserialize, ToSchema)]
pub struct List {
    /// Only of this engagement.
    engagement: Option<String>,
    /// Only in this state: `draft`, `submitted`, `approved` or `rejected`.
    state: Option<String>,
    /// Only what is on no invoice.
    #[serde(default)]
    #[schema(required = false)]
    uninvoiced: bool,
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(list): Params<List>,
    page: PageQuery,
) -> Result<Json<Page<TimeRow>>, Problem> {
    let firm = caller.firm()?;
    let engagement = match &list.engagement {
        Some(reference) => Some(find::engagement(&app.db, &caller, reference).await?.1),
        None => None,
    };
    let filter = Filter {
        id: None,
        engagement,
        state: list.state.as_deref(),
        uninvoiced: list.uninvoiced,
        after: page.after_id()?.map(TimeEntryId),
    };
    let mut tx = app.db.firm(firm).await?;
    let rows = time_read::list(&mut tx, firm, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}

/// Time to be written down.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewTime)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Worked for.
    engagement: String,
    /// Worked by; the caller unless told, and always the caller where that is staff.
    worker: Option<String>,
    /// On which day.
    worked_on: NaiveDate,
    /// How long.
    #[schema(minimum = 1, maximum = 1440)]
    minutes: i32,
    /// What documents and commands may call it.
    external_id: Option<String>,
}

fn check_minutes(minutes: i32) -> Result<(), Problem> {
    if (1..=MAX_MINUTES).contains(&minutes) {
        return Ok(());
    }
    Err(Problem::invalid("minutes", format!("give 1 to {MAX_MINUTES}")))
}

async fn add(State(app): State<App>, caller: Caller, input: Input<New>) -> Result<Response, Problem> {
    let new = &input.value;
    check_minutes(new.minutes)?;
    let worker = match &new.worker {
        Some(worker) => said("worker", worker)?,
        None => &caller.label,
    };
    if caller.role == Role::Staff && worker != caller.label {
        return Err(not_own());
    }
    let external_id = match &new.external_id {
        Some(id) => Some(said("external_id", id)?),
        None => None,
    };
    let (firm, engagement) = find::engagement(&app.db, &caller, &new.engagement).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, _) = act.parts();
    let entry = actions::New {
        engagement,
        worker,
        worked_on: new.worked_on,
        minutes: new.minutes,
        external_id,
    };
    let added = actions::add(tx, firm, &entry).await?;
    act.done(StatusCode::CREATED, &added).await
}

fn not_own() -> Problem {
    Problem::forbidden(
        "not_own_time",
        "staff write down, change and hand in their own time",
    )
}

/// What is said with it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = OptionalReason)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Why, for the audit log.
    reason: Option<String>,
}

/// What to change.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TimeEdit)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Another day.
    worked_on: Option<NaiveDate>,
    /// Another length.
    #[schema(minimum = 1, maximum = 1440)]
    minutes: Option<i32>,
    /// Why, for the audit log.
    reason: Option<String>,
}

/// What is to be done to an entry.
#[derive(Default)]
struct Order<'a> {
    reason: Option<&'a str>,
    worked_on: Option<NaiveDate>,
    minutes: Option<i32>,
}

async fn change(
    app: &App,
    caller: &Caller,
    id: &str,
    keyed: &Keyed,
    (change, order): (Change, Order<'_>),
) -> Result<Response, Problem> {
    let (firm, entry) = find::time_entry(&app.db, caller, id).await?;
    if change == Change::Approve {
        caller.check_is_person()?;
    }
    let mut act = Act::begin(app, caller, keyed).await?;
    let (tx, by) = act.parts();
    if caller.role == Role::Staff && !is_own(tx, firm, entry, &caller.label).await? {
        return Err(not_own());
    }
    let acting = Acting::find(tx, firm, &caller.label).await?;
    let wanted = actions::Order {
        change,
        entry,
        acting: Some(&acting),
        reason: order.reason,
        worked_on: order.worked_on,
        minutes: order.minutes,
    };
    let changed = actions::change(tx, firm, &wanted, &by).await?;
    act.done(StatusCode::OK, &changed).await
}

async fn is_own(tx: &mut Tx, firm: FirmId, entry: TimeEntryId, label: &str) -> Result<bool, Problem> {
    let filter = Filter {
        id: Some(entry),
        ..Filter::default()
    };
    let rows = time_read::list(tx, firm, &filter, 1).await?;
    Ok(rows.first().is_some_and(|row| row.worker == label))
}

async fn edit(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Edit>,
) -> Result<Response, Problem> {
    let Edit {
        worked_on,
        minutes,
        reason,
    } = &input.value;
    if let Some(minutes) = minutes {
        check_minutes(*minutes)?;
    }
    let order = Order {
        reason: reason.as_deref(),
        worked_on: *worked_on,
        minutes: *minutes,
    };
    change(&app, &caller, &id, &input.keyed, (Change::Edit, order)).await
}

/// Declares a handler that takes nothing but a reason.
macro_rules! says {
    ($name:ident, $change:expr) => {
        pub(crate) async fn $name(
            State(app): State<App>,
            caller: Caller,
            Id(id): Id,
            input: Input<Said>,
        ) -> Result<Response, Problem> {
            let order = Order {
                reason: input.value.reason.as_deref(),
                ..Order::default()
            };
            change(&app, &caller, &id, &input.keyed, ($change, order)).await
        }
    };
}

says!(submit, Change::Submit);
says!(reopen, Change::Reopen);
says!(approve, Change::Approve);
says!(reject, Change::Reject);
says!(client_approve, Change::ClientApprove);
