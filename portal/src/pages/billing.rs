//! `/api/billing/`: where somebody who bills begins (R207).

use askama::Template;
use axum::{extract::State, response::Response};
use shared::store::invoices_read::{self, Filter, InvoiceRow};

use super::{PageProblem, Shell, render};
use crate::{
    app::App,
    auth::Caller,
    route::{BILLING, Route},
};

/// Invoices shown.
const MOST_INVOICES: i64 = 10;

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![Route::page("/api/billing/", BILLING, dashboard).does("Plan, renewal, usage, recent invoices")]
}

#[derive(Template)]
#[template(path = "billing.html")]
struct Dashboard {
    shell: Shell,
    invoices: Vec<InvoiceRow>,
}

async fn dashboard(State(app): State<App>, caller: Caller) -> Result<Response, PageProblem> {
    let firm = caller.firm()?;
    let mut tx = app.db.firm(firm).await?;
    let invoices = invoices_read::list(&mut tx, firm, &Filter::default(), MOST_INVOICES).await?;
    drop(tx);
    let shell = Shell::of(&app, &caller, "/api/billing/").await?;
    render(&Dashboard { shell, invoices })
}
