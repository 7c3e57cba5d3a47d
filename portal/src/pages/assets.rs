//! Files of the pages, embedded in the program: nothing is loaded from elsewhere.

use axum::{
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::route::{Kind, Route};

const STYLE: &str = include_str!("../../assets/style.css");
const ICON: &str = include_str!("../../assets/icon.svg");

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::open(
            Kind::File,
            Method::GET,
            "/assets/style.css",
            async |headers: HeaderMap| file(&headers, "text/css; charset=utf-8", STYLE),
        )
        .does("How pages look"),
        Route::open(
            Kind::File,
            Method::GET,
            "/assets/icon.svg",
            async |headers: HeaderMap| file(&headers, "image/svg+xml", ICON),
        )
        .does("The mark in a browser's tab"),
    ]
}

/// A file, which a browser may keep until this build is replaced.
fn file(asked: &HeaderMap, kind: &'static str, text: &'static str) -> Response {
    let tag = format!("\"{}\"", hex::encode(&shared::password::fingerprint(text)[..8]));
    let has_it = asked
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CACHE_CONTROL, "public, max-age=300".to_owned()),
        (header::ETAG, tag),
    ];
    if has_it {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, text).into_response()
    }
}
