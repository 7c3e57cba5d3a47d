//! Engagements: the terms agreed with clients.

use axum::{Json, extract::State};
use serde::Deserialize;
use shared::store::engagements::{self, EngagementRow, EngagementView};
use utoipa::ToSchema;

use super::find;
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Id, Page, PageQuery, Params},
    route::{FIRM, Route},
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
