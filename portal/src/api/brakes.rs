//! Stopping automatic charging, and letting it go on: a firm for itself or one of its clients, an operator for everybody or, under
//! break-glass, for that firm.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use shared::{
    actions::brakes as actions,
    store::brakes::{self, Scope as Of},
};
use utoipa::ToSchema;

use super::find;
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Input, said},
    route::{BILLING, Route, Scope},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/autopay/pause", BILLING, pause)
            .on(Scope::Either)
            .does("Stop automatic charging within a second; everything else goes on")
            .takes::<Order>()
            .answers::<Brake>(),
        Route::post("/api/v1/autopay/resume", BILLING, resume)
            .on(Scope::Either)
            .does("Let automatic charging go on; what fell due meanwhile is charged")
            .takes::<Order>()
            .answers::<Brake>(),
    ]
}

/// For whom, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BrakeOrder)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// One client; the whole firm unless told.
    client: Option<String>,
    /// Why, for the audit log and for whoever asks why nothing is charged.
    #[schema(min_length = 1)]
    reason: String,
}

/// How it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Brake {
    /// `all`, `firm` or `client`.
    scope: String,
    /// Whether it is stopped now.
    paused: bool,
    /// By this request.
    changed: bool,
    /// Charges that are due again.
    enqueued: Option<usize>,
    /// Of those, collections that a limit had stopped.
    released: Option<usize>,
}

async fn scope(app: &App, caller: &Caller, order: &Order) -> Result<(Of, &'static str), Problem> {
    match (caller.firm, &order.client) {
        (None, None) => Ok((Of::All, "all")),
        (None, Some(_)) => Err(Problem::invalid(
            "client",
            "name its firm as well: Quittance-Firm",
        )),
        (Some(firm), None) => Ok((Of::Firm(firm), "firm")),
        (Some(_), Some(client)) => {
            let (firm, client) = find::client(&app.db, caller, client).await?;
            Ok((Of::Client(firm, client), "client"))
        }
    }
}

async fn pause(State(app): State<App>, caller: Caller, input: Input<Order>) -> Result<Response, Problem> {
    let reason = said("reason", &input.value.reason)?;
    let (of, word) = scope(&app, &caller, &input.value).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let changed = brakes::pause(tx, of, reason, &by).await?;
    let brake = Brake {
        scope: word.to_owned(),
        paused: true,
        changed,
        enqueued: None,
        released: None,
    };
    act.done(StatusCode::OK, &brake).await
}

async fn resume(State(app): State<App>, caller: Caller, input: Input<Order>) -> Result<Response, Problem> {
    let reason = said("reason", &input.value.reason)?;
    let (of, word) = scope(&app, &caller, &input.value).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let resumed = actions::resume(tx, of, reason, &by).await?;
    let brake = Brake {
        scope: word.to_owned(),
        paused: false,
        changed: resumed.changed,
        enqueued: Some(resumed.enqueued),
        released: resumed.released,
    };
    act.done(StatusCode::OK, &brake).await
}
