//! Who the caller is, as the portal sees it.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Caller, caller::Via},
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
    ]
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
