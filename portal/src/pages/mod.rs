//! The pages: rendered here, without script, from the same functions that the API answers with.
//!
//! How a page is added: a template in `portal/templates` that extends `base.html`; a struct with `#[derive(Template)]` and the field
//! `shell: Shell`; a handler that takes `State<App>`, `Caller` and what it needs, and answers with [`render`]; a line in its module's
//! `routes()`. A form posts to a `Route::form` and contains `<input type="hidden" name="csrf" value="{{ shell.csrf }}">`.

pub mod assets;
pub mod billing;
pub mod error;
pub mod login;
pub mod shell;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};

use crate::{problem::Problem, route::Route};

pub use shell::Shell;

/// The routes of all pages.
#[must_use]
pub fn routes() -> Vec<Route> {
    [assets::routes(), login::routes(), billing::routes()].concat()
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
