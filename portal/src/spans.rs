//! Every request as a span, by OpenTelemetry's conventions for HTTP servers. What a handler does is within it, so that a job which it
//! enqueues leads back to the request.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use shared::trace;
use tracing::Instrument as _;

/// The span of a request, from its head to its answer. Its name is the route and never the path, in which there are ids.
pub async fn trace(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let span = trace::request(request.method().as_str(), route.map(MatchedPath::as_str));
    let response = next.run(request).instrument(span.clone()).await;
    trace::request_answered(&span, response.status().as_u16());
    response
}
