//! What happened and why, why nothing happened, and what comes next.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shared::{
    actions::explain::{self as actions, Whose},
    domain::explain::{self, Answer, AskedPeriod},
};
use utoipa::ToSchema;

use super::find;
use crate::{
    app::App,
    auth::{Caller, login::begin},
    problem::Problem,
    request::{Id, Params},
    route::{BILLING, Route},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/explain/{id}", BILLING, what)
            .does("What happened and why, of whatever an id means")
            .query::<AsOf>()
            .answers::<Explanation>(),
        Route::get("/api/v1/why-not/charge/{id}", BILLING, why_not_charge)
            .does("Why is this invoice not charged (again)?")
            .query::<AsOf>()
            .answers::<Explanation>(),
        Route::get("/api/v1/why-not/invoice/{id}", BILLING, why_not_invoice)
            .does("Why was this engagement not invoiced for this period?")
            .query::<OfPeriod>()
            .answers::<Explanation>(),
        Route::get("/api/v1/next/{id}", BILLING, next)
            .does("The next charge of an invoice: when, how much, with which card")
            .query::<AsOf>()
            .answers::<Explanation>(),
    ]
}

/// An answer, as `quittance explain --json` has it.
#[derive(ToSchema)]
#[allow(dead_code)] // describes `Answer`, whose parts have shapes of their own
pub struct Explanation {
    /// What people call the thing asked about.
    subject: String,
    /// What was asked.
    question: String,
    /// The answer in one sentence.
    verdict: String,
    /// The reason as a code, where there is one.
    reason_code: Option<String>,
    /// Since when it holds.
    since: Option<DateTime<Utc>>,
    /// What led to it, the latest first.
    chain: Vec<Value>,
    /// Every condition with its value.
    checks: Vec<Value>,
    /// What to do.
    r#do: Vec<String>,
    /// Where it stands.
    evidence: Vec<Value>,
}

/// As of when.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AsOf {
    /// Evaluate the conditions as if it were this time; now unless told.
    at: Option<DateTime<Utc>>,
}

/// Which period, and as of when.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OfPeriod {
    /// A month (2026-05), or a day in the period (2026-05-17).
    period: String,
    /// Evaluate the conditions as if it were this time; now unless told.
    at: Option<DateTime<Utc>>,
}

async fn as_of(app: &App, at: Option<DateTime<Utc>>) -> Result<DateTime<Utc>, Problem> {
    Ok(match at {
        Some(at) => at,
        None => app.db.now().await?,
    })
}

async fn what(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Params(wanted): Params<AsOf>,
) -> Result<Json<Answer>, Problem> {
    let as_of = as_of(&app, wanted.at).await?;
    let mut tx = begin(&app.db, caller.firm).await?;
    let meant = actions::find(&mut tx, &id, Whose::Only(caller.firm)).await?;
    drop(tx);
    Ok(Json(actions::answer(&app.db, &id, meant, as_of).await?))
}

async fn why_not_charge(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Params(wanted): Params<AsOf>,
) -> Result<Json<Answer>, Problem> {
    let as_of = as_of(&app, wanted.at).await?;
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let facts = actions::invoice_facts(&app.db, firm, invoice).await?;
    Ok(Json(explain::why_not_charge(&facts, as_of)))
}

async fn why_not_invoice(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Params(wanted): Params<OfPeriod>,
) -> Result<Json<Answer>, Problem> {
    let period: AskedPeriod = wanted
        .period
        .parse()
        .map_err(|fault| Problem::invalid("period", format!("{fault}")))?;
    let as_of = as_of(&app, wanted.at).await?;
    let (firm, engagement) = find::engagement(&app.db, &caller, &id).await?;
    let facts = actions::engagement_facts(&app.db, firm, engagement, as_of).await?;
    Ok(Json(explain::why_not_invoice(&facts, period, as_of)))
}

async fn next(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Params(wanted): Params<AsOf>,
) -> Result<Json<Answer>, Problem> {
    let as_of = as_of(&app, wanted.at).await?;
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let facts = actions::invoice_facts(&app.db, firm, invoice).await?;
    Ok(Json(explain::next(&facts, as_of)))
}
