//! Forms of pages. Each does what a request of the API does, through the same handler: the form becomes that request, and what it
//! answers becomes a page again. So no rule is written twice, and what a page can do the API can do.

use axum::{
    body::{Body, to_bytes},
    extract::{Form, FromRequest as _, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::error;
use crate::{
    app::MAX_BODY_BYTES, auth::guard, problem::Problem, request::IDEMPOTENCY_KEY, route::Route,
    view::text::address,
};

/// Fields that every form carries and no request of the API has.
const OURS: [&str; 3] = ["csrf", "once", "back"];
/// Fields that are numbers in the API. Whatever else is typed is text.
const NUMBERS: [&str; 1] = ["minutes"];
/// Fields that are yes or no in the API.
const SWITCHES: [&str; 2] = ["autopay", "on"];

/// Has the handler of a route, made for the API, take a form of a page and lead back to it. `done` says afterwards what was done.
#[must_use]
pub fn form(mut route: Route, done: &'static str) -> Route {
    route.handler = route.handler.layer(from_fn(move |request: Request, next: Next| {
        through(request, next, done)
    }));
    route
}

async fn through(request: Request, next: Next, done: &'static str) -> Response {
    match translated(request).await {
        Ok((request, back)) => answer(next.run(request).await, &back, done).await,
        Err(problem) => error::page(&problem),
    }
}

/// The request that the API takes, and the page to come back to.
async fn translated(request: Request) -> Result<(Request, String), Problem> {
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|_| guard::too_large())?;
    let copy = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
    let Form(fields) = Form::<Vec<(String, String)>>::from_request(copy, &())
        .await
        .map_err(|fault| Problem::invalid("form", fault.body_text()))?;
    let back = fields
        .iter()
        .find(|(name, _)| name == "back")
        .map_or("/", |(_, value)| value);
    let back = super::login::local(Some(back)).to_owned();
    if fields.iter().any(|(name, _)| name == "once") {
        // The same form sent twice, by a double click or a reload, is one request.
        let mut hash = Sha256::new();
        hash.update(parts.uri.path());
        hash.update([0]);
        hash.update(&bytes);
        let key =
            HeaderValue::from_str(&hex::encode(hash.finalize())).map_err(|fault| Problem::bug(&fault))?;
        parts
            .headers
            .insert(HeaderName::from_static(IDEMPOTENCY_KEY), key);
    }
    let json = serde_json::to_vec(&body_of(fields)?).map_err(|fault| Problem::bug(&fault))?;
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok((Request::from_parts(parts, Body::from(json)), back))
}

/// The members of a request: what was filled in.
fn body_of(fields: Vec<(String, String)>) -> Result<Map<String, Value>, Problem> {
    let mut members = Map::new();
    for (name, value) in fields {
        let value = value.trim();
        if OURS.contains(&name.as_str()) || value.is_empty() {
            continue;
        }
        let value = if NUMBERS.contains(&name.as_str()) {
            Value::from(
                value
                    .parse::<i64>()
                    .map_err(|_| Problem::invalid(name.as_str(), "give a whole number"))?,
            )
        } else if SWITCHES.contains(&name.as_str()) {
            Value::from(value == "true")
        } else {
            Value::from(value)
        };
        members.insert(name, value);
    }
    Ok(members)
}

/// What pages read of an answer.
#[derive(Default, Deserialize)]
struct Said {
    /// Why not, in a sentence.
    detail: Option<String>,
    /// Another page than the one it came from.
    see: Option<String>,
}

/// Back to the page, or a page that says why not.
async fn answer(response: Response, back: &str, done: &'static str) -> Response {
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap_or_default();
    let said: Said = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        let to = super::login::local(said.see.as_deref().or(Some(back)));
        return Redirect::to(&address(to, &[("done", Some(done))])).into_response();
    }
    let detail = said.detail.unwrap_or_else(|| "this could not be done".to_owned());
    let status = if status.is_redirection() {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        status
    };
    error::page(&Problem::new(status, "refused", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r207_a_form_is_the_request_that_the_api_takes() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let fields = vec![
            field("csrf", "x"),
            field("once", "y"),
            field("back", "/z"),
            field("reason", " true "),
            field("minutes", "60"),
            field("autopay", "true"),
            field("received_on", ""),
        ];
        let body = body_of(fields).unwrap();
        assert_eq!(
            Value::Object(body),
            serde_json::json!({"reason": "true", "minutes": 60, "autopay": true})
        );
        assert!(body_of(vec![field("minutes", "an hour")]).is_err());
    }
}
