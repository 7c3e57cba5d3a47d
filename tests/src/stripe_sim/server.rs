//! HTTP: connections in, answers out. hyper directly, because a fault may have to break a connection without answering.
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use futures::StreamExt;
use futures::stream;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;

use super::answer::Transfer;
use super::api::Call;
use super::control;
use super::exchange::exchange;
use super::objects::{API_VERSION, Shape};
use super::params::Params;
use super::state::Sim;

/// Stripe's requests are small; events injected through the control API may be larger than a webhook's limit.
const MAX_BODY: usize = 8 << 20;
/// How long calls under way may take once the simulator is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until `stop` resolves.
pub async fn serve(sim: Arc<Sim>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let (stream, _): (_, SocketAddr) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: going round at once would only spin.
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let sim = Arc::clone(&sim);
        let service = service_fn(move |request| answer(Arc::clone(&sim), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Ends with an error whenever a fault broke it or the peer left: nothing to report.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::info!("calls were still under way; stopping anyway");
    }
}

/// An error makes hyper close the connection without an answer.
async fn answer(sim: Arc<Sim>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(Body::new(body), MAX_BODY).await else {
        return respond(
            StatusCode::PAYLOAD_TOO_LARGE,
            "application/json",
            Body::from("{}"),
        );
    };
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    if let Some(route) = path.strip_prefix("/_sim") {
        let (status, answer) = control::handle(&sim, head.method.as_str(), route, &query, &body).await;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return respond(status, "application/json", Body::from(answer.to_string()));
    }
    let mut call = parse(&head.method, path, &query, &head.headers, &body);
    call.shape = sim.lock().answers.unwrap_or(call.shape);
    let (key, version) = (call.idempotency_key.clone(), call.version.clone());
    // In a task of its own: when the caller hangs up, hyper drops this future, but Stripe goes on.
    let exchanged = tokio::spawn(async move { exchange(&sim, call).await });
    let (answer, transfer) = exchanged.await.map_err(io::Error::other)?;
    let (status, length) = (answer.status, answer.body.len());
    let body = Bytes::from(answer.body);
    let body = match transfer {
        Transfer::Whole => Body::from(body),
        Transfer::Trickle(pause) => trickle(&body, pause),
        Transfer::Truncated => truncate(&body),
        Transfer::Dropped => return Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(
        status,
        if answer.html {
            "text/html"
        } else {
            "application/json"
        },
        body,
    )?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    put(headers, "request-id", &answer.request_id);
    put(headers, "stripe-version", &version);
    if let Some(key) = key {
        put(headers, "idempotency-key", &key);
    }
    if let Some(original) = answer.original_request {
        put(headers, "original-request", &original);
        put(headers, "idempotent-replayed", "true");
    }
    for (name, value) in &answer.headers {
        put(headers, name, value);
    }
    Ok(response)
}

fn parse(method: &Method, path: String, query: &str, headers: &HeaderMap, body: &Bytes) -> Call {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let version = text("stripe-version").unwrap_or_else(|| API_VERSION.to_owned());
    Call {
        method: method.as_str().to_owned(),
        path,
        params: Params::parse(query).join(Params::parse(&String::from_utf8_lossy(body))),
        authorization: text("authorization"),
        idempotency_key: text("idempotency-key").filter(|key| !key.is_empty()),
        shape: Shape::of_version(&version),
        version,
    }
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> io::Result<Response<Body>> {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind);
    response.body(body).map_err(io::Error::other)
}

/// A value that cannot stand in a header is left out.
fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Half of the body, silence, the other half.
fn trickle(body: &Bytes, pause: Duration) -> Body {
    let (first, second) = halves(body);
    let second = stream::once(async move {
        tokio::time::sleep(pause).await;
        second
    });
    Body::from_stream(stream::iter([first]).chain(second).map(Ok::<_, Infallible>))
}

/// Half of the body, then an error, which makes hyper break the connection.
fn truncate(body: &Bytes) -> Body {
    let (first, _) = halves(body);
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    Body::from_stream(stream::iter([Ok(first), Err(broken)]))
}

fn halves(body: &Bytes) -> (Bytes, Bytes) {
    let middle = body.len() / 2;
    (body.slice(..middle), body.slice(middle..))
}
