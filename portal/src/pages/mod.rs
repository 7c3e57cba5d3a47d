//! The pages: rendered here, without script, from the same functions that the API answers with.
//!
//! How a page is added: a handler that takes [`page::At`], reads rows through `shared::store` and answers with a [`page::Page`] of
//! blocks (`crate::view`), each of which has one template; a line in its module's `routes()`. A form is a `Block::Form` that posts to
//! a `Route::form` whose handler is the one of the API ([`form::form`]), so that a page can do nothing that the API cannot.

pub mod account;
pub mod alerts;
pub mod assets;
pub mod billing;
pub mod console;
pub mod credits;
pub mod disputes;
pub mod engagements;
pub mod error;
pub mod explain;
pub mod form;
pub mod invoices;
pub mod login;
pub mod overview;
pub mod page;
pub mod shell;
pub mod time;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};

use crate::{problem::Problem, route::Route};

pub use shell::Shell;

/// The routes of all pages.
#[must_use]
pub fn routes() -> Vec<Route> {
    [
        assets::routes(),
        login::routes(),
        account::routes(),
        overview::routes(),
        invoices::routes(),
        engagements::routes(),
        time::routes(),
        credits::routes(),
        disputes::routes(),
        alerts::routes(),
        billing::routes(),
        explain::routes(),
        console::routes(),
    ]
    .concat()
}

/// A problem, shown as a page.
pub struct PageProblem(pub Problem);

impl<E: Into<Problem>> From<E> for PageProblem {
    fn from(problem: E) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        error::page(&self.0)
    }
}

/// A page.
///
/// # Errors
/// A bug of ours.
pub fn render(page: &impl Template) -> Result<Response, PageProblem> {
    match page.render() {
        Ok(html) => Ok(Html(html).into_response()),
        Err(fault) => Err(PageProblem(Problem::bug(&fault))),
    }
}
