//! Break-glass: an operator of the platform looks into one firm, for a reason and a time, on the record. Opening shows nothing of the
//! firm; what is looked at afterwards stands in the firm's audit log, request by request.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    actions::break_glass as actions,
    ids::FirmId,
    store::{
        self,
        break_glass::{self, Filter, Session},
        resolve,
    },
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Caller, Role},
    problem::Problem,
    request::{Act, Id, Input, Page, Params, Reason, said},
    route::{BILLING_ACTS, OPERATORS, Route, Scope},
};

/// A day has no more minutes.
const MAX_MINUTES: u16 = 24 * 60;
/// Sessions listed: a person opens each, so there are few.
const MOST: i64 = 1000;

/// Who ends a session: the operator whose it is, and the firm.
const ENDERS: &[Role] = &[Role::Owner, Role::Admin, Role::Operator];

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/break-glass", BILLING_ACTS, list)
            .does("Who has looked or may look into this firm, the newest session first")
            .query::<List>()
            .answers_page::<Session>(),
        Route::get("/api/v1/break-glass/open", OPERATORS, open_ones)
            .on(Scope::Platform)
            .does("The caller's sessions that are open")
            .answers_page::<Open>(),
        Route::post("/api/v1/break-glass", OPERATORS, open)
            .on(Scope::Platform)
            .does("Open a session for the caller")
            .takes::<New>()
            .answers_with::<Session>(StatusCode::CREATED),
        Route::post("/api/v1/break-glass/{id}/revoke", ENDERS, revoke)
            .on(Scope::None)
            .does("End a session before its time")
            .takes::<Reason>()
            .answers::<Session>(),
        Route::post("/api/v1/break-glass/{id}/review", ENDERS, review)
            .on(Scope::None)
            .does("Record that the caller has looked at what was done in somebody else's session")
            .takes::<Note>()
            .answers::<Session>(),
    ]
}

/// Which sessions.
#[derive(Debug, Deserialize, ToSchema)]
pub struct List {
    /// Only those that are over and that nobody has reviewed.
    #[serde(default)]
    #[schema(required = false)]
    unreviewed: bool,
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(list): Params<List>,
) -> Result<Json<Page<Session>>, Problem> {
    let firm = caller.firm()?;
    let filter = Filter {
        id: None,
        unreviewed: list.unreviewed,
    };
    let mut tx = app.db.firm(firm).await?;
    Ok(Json(Page {
        data: break_glass::list(&mut tx, firm, filter, MOST).await?,
        next_cursor: None,
    }))
}

/// A session that is open.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenSession)]
pub struct Open {
    /// Its id.
    id: Uuid,
    /// Which firm: what `Quittance-Firm` or `?firm=` names.
    firm: Uuid,
    /// Why.
    reason: String,
    /// Until when.
    expires_at: DateTime<Utc>,
}

async fn open_ones(State(app): State<App>, caller: Caller) -> Result<Json<Page<Open>>, Problem> {
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let open = break_glass::all_open(&mut conn).await?;
    let data = open
        .into_iter()
        .filter(|session| session.operator == caller.label)
        .map(|session| Open {
            id: session.id,
            firm: session.firm.0,
            reason: session.reason,
            expires_at: session.expires_at,
        })
        .collect();
    Ok(Json(Page {
        data,
        next_cursor: None,
    }))
}

/// A session to be opened.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewBreakGlass)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Which firm: its id or `external_id`.
    firm: String,
    /// Why; it is kept for ever.
    #[schema(min_length = 1)]
    reason: String,
    /// For how long, a day at most.
    #[schema(minimum = 1, maximum = 1440)]
    minutes: u16,
}

pub(crate) async fn open(
    State(app): State<App>,
    caller: Caller,
    input: Input<New>,
) -> Result<Response, Problem> {
    let new = &input.value;
    let reason = said("reason", &new.reason)?;
    caller.check_is_person()?;
    if !(1..=MAX_MINUTES).contains(&new.minutes) {
        return Err(Problem::invalid("minutes", format!("give 1 to {MAX_MINUTES}")));
    }
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let found = resolve::resolve(&mut conn, &new.firm).await?;
    drop(conn);
    let firm = found.into_iter().find(|row| row.kind == "firm");
    let firm = firm.ok_or_else(|| Problem::not_found(format!("there is no firm {:?}", new.firm)))?;
    let mut act = Act::begin_in(&app, &caller, Some(firm.firm), &input.keyed).await?;
    let (tx, by) = act.parts();
    let who = (caller.label.as_str(), caller.label.as_str(), reason);
    let expires_in = TimeDelta::minutes(i64::from(new.minutes));
    let session = actions::open(tx, firm.firm, who, expires_in, &by).await?;
    act.done(StatusCode::CREATED, &session).await
}

/// Whose a session is, for somebody who may know: the firm, and any operator.
async fn firm_of(app: &App, caller: &Caller, id: &str) -> Result<(FirmId, Uuid), Problem> {
    let none = || Problem::not_found(format!("there is no break-glass session {id:?}"));
    let session: Uuid = id.parse().map_err(|_| none())?;
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let firm = break_glass::firm_of(&mut conn, session).await?.ok_or_else(none)?;
    if caller.role != Role::Operator && caller.firm != Some(firm) {
        return Err(none());
    }
    Ok((firm, session))
}

pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let (firm, session) = firm_of(&app, &caller, &id).await?;
    let mut act = Act::begin_in(&app, &caller, Some(firm), &input.keyed).await?;
    let (tx, by) = act.parts();
    let revoked = actions::revoke(tx, firm, session, (&caller.label, reason), &by).await?;
    act.done(StatusCode::OK, &revoked).await
}

/// What a reviewer found.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// What the caller found; it is kept for ever.
    #[schema(min_length = 1)]
    note: String,
}

pub(crate) async fn review(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Note>,
) -> Result<Response, Problem> {
    let note = said("note", &input.value.note)?;
    caller.check_is_person()?;
    let (firm, session) = firm_of(&app, &caller, &id).await?;
    let mut act = Act::begin_in(&app, &caller, Some(firm), &input.keyed).await?;
    let (tx, by) = act.parts();
    let reviewed = actions::review(tx, firm, session, (&caller.label, note), &by).await?;
    act.done(StatusCode::OK, &reviewed).await
}
