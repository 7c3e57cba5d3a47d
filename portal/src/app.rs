//! The table of all routes, and the router that is made of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, Uri},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use shared::store::Db;
use tokio::time::timeout;

use crate::{
    api,
    auth::guard::{self, Guard},
    config::Settings,
    headers,
    metrics::Metrics,
    pages,
    problem::Problem,
    rate::Limiter,
    route::{Kind, Route},
    spans,
};

/// Largest body that is read. The largest that makes sense is a form.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// A body must have arrived in full after this long, whoever sends it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// After which a request is given up: longer than any statement may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What handlers use. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The database, as the portal's own login.
    pub db: Db,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// How many requests a caller may make.
    pub limiter: Arc<Limiter>,
    /// How many of the last addresses in `X-Forwarded-For` our own proxies wrote.
    pub proxies: usize,
    /// Where browsers find us, without a path. A setting, as what a request says of it may be anybody's word.
    pub url: Arc<str>,
    /// Stripe's publishable key, for pages.
    pub publishable_key: Option<Arc<str>>,
}

impl App {
    /// Nothing is asked before the first request.
    pub fn new(db: Db, settings: &Settings, url: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            db,
            metrics,
            limiter: Arc::new(Limiter::new(settings.rate_per_min)),
            proxies: settings.proxies,
            url: Arc::from(url),
            publishable_key: settings.publishable_key.as_deref().map(Arc::from),
        }
    }
}

/// Every request that there is.
#[must_use]
pub fn table() -> Vec<Route> {
    [pages::routes(), api::routes()].concat()
}

/// The router over the whole table. What is not on it is not there.
pub fn router(app: &App) -> Router {
    let mut paths: BTreeMap<&'static str, axum::routing::MethodRouter<App>> = BTreeMap::new();
    for route in table() {
        let guard = Guard::of(app, &route);
        let guarded = route.handler.route_layer(from_fn_with_state(guard, guard::pass));
        let methods = match paths.remove(route.path) {
            Some(others) => others.merge(guarded),
            None => guarded,
        };
        paths.insert(route.path, methods);
    }
    let mut router = Router::new();
    for (path, methods) in paths {
        router = router.route(path, methods);
    }
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_like_this)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(app.clone(), limit_and_time))
        .layer(from_fn(headers::add))
        .layer(from_fn(spans::trace))
        .with_state(app.clone())
}

/// A problem as the API or as a page shows it, by where it came about.
pub fn show(problem: Problem, kind: Kind) -> Response {
    match kind {
        Kind::Page => pages::error::page(&problem),
        Kind::Api | Kind::File => problem.into_response(),
    }
}

/// What a path without a route, or with another method, is for.
fn kind_of(uri: &Uri) -> Kind {
    // The one of other systems stands where it always did, beside the page.
    if uri.path().starts_with("/api/v1/") || uri.path() == "/api/alerts" {
        Kind::Api
    } else {
        Kind::Page
    }
}

async fn nothing_here(uri: Uri) -> Response {
    show(Problem::not_found("there is nothing here"), kind_of(&uri))
}

async fn not_like_this(uri: Uri) -> Response {
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this is not done here with this method",
    );
    show(problem, kind_of(&uri))
}

/// The request with all of its body, which a slow sender cannot keep us waiting for.
async fn whole(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(_)) => Err(guard::too_large()),
        Err(_elapsed) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "the body did not arrive in time",
        )),
    }
}

/// No address asks without end, and no request lasts without end.
async fn limit_and_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let kind = kind_of(request.uri());
    let address = guard::address(&request, app.proxies);
    if let Some(problem) = guard::limited(&app, &format!("address:{}", guard::network(address)), "address") {
        return show(problem, kind);
    }
    let request = match whole(request).await {
        Ok(request) => request,
        Err(problem) => return show(problem, kind),
    };
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => {
            let problem = Problem {
                retry_after: Some(5),
                ..Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "timeout",
                    "this took too long; try again",
                )
            };
            show(problem, kind)
        }
    }
}
