//! Engagements: the terms agreed with clients.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::NaiveDate;
use serde::Deserialize;
use shared::{
    actions::engagements::{self as actions, Changed, NextVersion},
    store::engagements::{self, EngagementRow, EngagementView},
};
use utoipa::ToSchema;

use super::find;
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Id, Input, Nothing, Page, PageQuery, Params, said},
    route::{BILLING_ACTS, FIRM, Route},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/engagements", FIRM, list)
            .does("Engagements, the newest first")
            .query::<List>()
            .paged()
            .answers_page::<EngagementRow>(),
        Route::get("/api/v1/engagements/{id}", FIRM, show)
            .does("One engagement: its terms, its versions, what it billed")
            .answers::<EngagementView>(),
        Route::post("/api/v1/engagements/{id}/sign", BILLING_ACTS, sign)
            .does("Make the terms of a draft final; it is billed from then on")
            .takes::<Nothing>()
            .answers::<Changed>(),
        Route::post("/api/v1/engagements/{id}/renew", BILLING_ACTS, renew)
            .does("Write the next version, a draft until it is signed")
            .takes::<Renew>()
            .answers_with::<Changed>(StatusCode::CREATED),
        Route::post("/api/v1/engagements/{id}/end", BILLING_ACTS, end)
            .does("Bring the end of a signed engagement nearer")
            .takes::<End>()
            .answers::<Changed>(),
    ]
}

/// Which engagements.
#[derive(Debug, Deserialize, ToSchema)]
pub struct List {
    /// Only of this client.
    client: Option<String>,
    /// Only in this state: `draft`, `signed`, `ended` or `canceled`.
    status: Option<String>,
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(list): Params<List>,
    page: PageQuery,
) -> Result<Json<Page<EngagementRow>>, Problem> {
    let firm = caller.firm()?;
    let client = match &list.client {
        Some(reference) => Some(find::client(&app.db, &caller, reference).await?.1),
        None => None,
    };
    let mut tx = app.db.firm(firm).await?;
    let rows = engagements::list(
        &mut tx,
        firm,
        (client, list.status.as_deref()),
        page.after_id()?,
        page.fetch()?,
    )
    .await?;
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}

async fn show(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<EngagementView>, Problem> {
    let (firm, engagement) = find::engagement(&app.db, &caller, &id).await?;
    let mut tx = app.db.firm(firm).await?;
    let shown = engagements::show(&mut tx, firm, engagement).await?;
    shown
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("there is no engagement {id:?}")))
}

async fn sign(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Nothing>,
) -> Result<Response, Problem> {
    let (firm, engagement) = find::engagement(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let done = actions::sign(tx, firm, engagement, &by).await?;
    act.done(StatusCode::OK, &done).await
}

/// The next version: what is to be other than it was.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// First day after it.
    ends_on: NaiveDate,
    /// First day; where the old version ends unless told.
    starts_on: Option<NaiveDate>,
    /// Fee of a period, such as 1200.00.
    package_fee: Option<String>,
    /// Rate per hour, such as 160.00.
    hourly_rate: Option<String>,
    /// What a clipped period costs: all of the fee, or its share by days.
    proration: Option<ClippedPeriods>,
    /// What documents and commands may call it; the old one's with -v2, -v3 and so on unless told.
    external_id: Option<String>,
}

/// What a clipped period costs.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClippedPeriods {
    /// All of the fee.
    FullFee,
    /// Its share by days.
    Daily,
}

async fn renew(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Renew>,
) -> Result<Response, Problem> {
    let wanted = &input.value;
    let external_id = wanted
        .external_id
        .as_deref()
        .map(|id| said("external_id", id))
        .transpose()?;
    let next = NextVersion {
        starts_on: wanted.starts_on,
        ends_on: wanted.ends_on,
        package_fee: wanted.package_fee.as_deref(),
        hourly_rate: wanted.hourly_rate.as_deref(),
        proration: wanted.proration.map(|how| match how {
            ClippedPeriods::FullFee => "full_fee",
            ClippedPeriods::Daily => "daily",
        }),
        external_id,
    };
    let (firm, engagement) = find::engagement(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let done = actions::renew(tx, firm, engagement, &next, &by).await?;
    act.done(StatusCode::CREATED, &done).await
}

/// When it ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// First day that it no longer covers.
    on: NaiveDate,
    /// Why, for the audit log.
    #[schema(min_length = 1)]
    reason: String,
}

async fn end(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<End>,
) -> Result<Response, Problem> {
    let reason = said("reason", &input.value.reason)?;
    let (firm, engagement) = find::engagement(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let done = actions::end(tx, firm, engagement, input.value.on, reason, &by).await?;
    act.done(StatusCode::OK, &done).await
}
