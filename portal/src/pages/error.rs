//! A problem as a page.

use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
};

use crate::problem::Problem;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    detail: &'a str,
}

/// The page, with the problem's status.
pub fn page(problem: &Problem) -> Response {
    let body = problem.body();
    let page = ErrorPage {
        title: &body.title,
        detail: &body.detail,
    };
    // Without a template there is still the sentence.
    let html = page.render().unwrap_or_else(|_| "something is wrong".to_owned());
    let mut response = (problem.status, Html(html)).into_response();
    if let Some(secs) = problem.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}
