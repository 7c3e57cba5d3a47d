//! Who the caller is, as the portal sees it.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use shared::store::access::sessions::{self, SessionRow};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Caller, caller::Via, login::begin},
    problem::Problem,
    request::{Act, Id, Input, Nothing, Page},
    route::{PEOPLE, Route, Scope},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/session", PEOPLE, show)
            .on(Scope::None)
            .does("Who the caller is")
            .answers::<Session>(),
        Route::get("/api/v1/sessions", PEOPLE, list)
            .on(Scope::None)
            .for_sessions()
            .does("Where the caller is logged in")
            .answers_page::<SessionRow>(),
        Route::post("/api/v1/sessions/{id}/end", PEOPLE, end)
            .on(Scope::None)
            .for_sessions()
            .does("End one of the caller's own sessions")
            .takes::<Nothing>()
            .answers::<EndedSession>(),
    ]
}

/// The sessions of whoever asks.
///
/// # Errors
/// When the database is away.
pub(crate) async fn own(app: &App, caller: &Caller) -> Result<Vec<SessionRow>, Problem> {
    let Some(login) = caller.login else {
        return Ok(Vec::new());
    };
    let mut tx = begin(&app.db, caller.firm).await?;
    Ok(sessions::list(&mut tx, login).await?)
}

async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<SessionRow>>, Problem> {
    Ok(Json(Page {
        data: own(&app, &caller).await?,
        next_cursor: None,
    }))
}

/// A session that is over.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndedSession {
    /// Its id.
    id: Uuid,
}

pub(crate) async fn end(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Nothing>,
) -> Result<Response, Problem> {
    let none = || Problem::not_found(format!("you have no open session {id:?}"));
    let session: Uuid = id.parse().map_err(|_| none())?;
    let login = caller.login.ok_or_else(none)?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, _) = act.parts();
    if !sessions::end_own(tx, login, session).await? {
        return Err(none());
    }
    act.done(StatusCode::OK, &EndedSession { id: session }).await
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Caller)]
pub struct Session {
    /// What the books call them.
    pub label: String,
    /// What people call them.
    pub name: String,
    /// What they are.
    pub role: String,
    /// The firm whose rows they see; none for an operator outside of break-glass.
    pub firm: Option<Uuid>,
    /// The user of that firm; none for an operator or a token.
    pub user: Option<Uuid>,
    /// The client that a portal user belongs to.
    pub client: Option<Uuid>,
    /// `session` or `token`.
    pub via: String,
    /// What writes of this session send as `X-CSRF-Token`; none for a token.
    pub csrf_token: Option<String>,
    /// Stripe's key for browsers, where this installation has one.
    pub stripe_publishable_key: Option<String>,
}

async fn show(State(app): State<App>, caller: Caller) -> Json<Session> {
    let csrf = caller.csrf().to_owned();
    Json(Session {
        label: caller.label,
        name: caller.name,
        role: caller.role.to_string(),
        firm: caller.firm.map(|firm| firm.0),
        user: caller.user.map(|user| user.0),
        client: caller.client.map(|client| client.0),
        via: match caller.via {
            Via::Session { .. } => "session",
            Via::Token(_) => "token",
        }
        .to_owned(),
        csrf_token: Some(csrf).filter(|csrf| !csrf.is_empty()),
        stripe_publishable_key: app.publishable_key.as_deref().map(str::to_owned),
    })
}
