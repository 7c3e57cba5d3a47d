//! The JSON API: everything that the commands do, for people with a session and for systems with a token.
//!
//! A handler finds the row that is meant within the caller's firm, calls the function that the command calls too, and answers with the
//! type that the command shows.

pub mod alert_destinations;
pub mod alerts;
pub mod brakes;
pub mod clients;
pub mod disputes;
pub mod engagements;
pub mod explain;
pub mod find;
pub mod glass;
pub mod invoices;
pub mod records;
pub mod runs;
pub mod session;
pub mod time;
pub mod work;

use axum::{Json, http::Method};

use crate::{
    app::table,
    openapi,
    route::{Kind, Route},
};

/// The routes of the API.
#[must_use]
pub fn routes() -> Vec<Route> {
    let description = Route::open(Kind::File, Method::GET, "/api/openapi.json", async || {
        Json(openapi::document(&table()))
    })
    .does("The description of this API");
    [
        vec![description],
        session::routes(),
        invoices::routes(),
        clients::routes(),
        engagements::routes(),
        time::routes(),
        disputes::routes(),
        alerts::routes(),
        alert_destinations::routes(),
        explain::routes(),
        work::routes(),
        records::routes(),
        runs::routes(),
        glass::routes(),
        brakes::routes(),
    ]
    .concat()
}
