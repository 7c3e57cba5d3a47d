//! What every request of the table passes before its handler: who asks, how often, whether they may, from where, and under which
//! firm. A route cannot be served without it, as the router puts it in front of each.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, Form, FromRequest as _, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::json;
use shared::{
    clock::real_now,
    ids::FirmId,
    password,
    store::{
        self,
        access::{sessions, tokens},
        audit::{self, By, Cause},
        break_glass::{self, SUBJECT},
        resolve,
    },
};
use uuid::Uuid;

use super::{Caller, Role, caller::Via, csrf, login::begin};
use crate::{
    app::{self, App, MAX_BODY_BYTES},
    problem::Problem,
    request::has_zero,
    route::{Access, Kind, Route, Scope},
};

/// The cookie of a session. The prefix has browsers take it over TLS only, for this host only.
pub const COOKIE: &str = "__Host-quittance";
/// By which an operator names the firm; pages use the query parameter `firm`.
pub const FIRM_HEADER: HeaderName = HeaderName::from_static("quittance-firm");
/// A session or a token is noted as used no more often than this: a row is not written per request.
const NOTE_USE_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What the guard of one route knows.
#[derive(Clone)]
pub struct Guard {
    app: App,
    kind: Kind,
    scope: Scope,
    access: Access,
    sessions_only: bool,
    method: &'static str,
    path: &'static str,
}

impl Guard {
    /// The guard of a route.
    pub fn of(app: &App, route: &Route) -> Self {
        Self {
            app: app.clone(),
            kind: route.kind,
            scope: route.scope,
            access: route.access,
            sessions_only: route.sessions_only,
            method: if route.is_write() { "POST" } else { "GET" },
            path: route.path,
        }
    }
}

/// Lets a request through to its handler, or answers it.
pub async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let response = match check(&guard, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => *refused,
    };
    guard.app.metrics.answered(
        guard.method,
        guard.path,
        response.status().as_u16(),
        started.elapsed(),
    );
    response
}

async fn check(guard: &Guard, mut request: Request) -> Result<Request, Box<Response>> {
    let shown = |problem| Box::new(app::show(problem, guard.kind));
    let roles = match guard.access {
        Access::Anybody => return Ok(request),
        Access::Roles(roles) => roles,
    };
    let caller = caller(&guard.app, request.headers()).await.map_err(shown)?;
    let Some(mut caller) = caller else {
        return Err(Box::new(match guard.kind {
            Kind::Page => to_login(&request),
            Kind::Api | Kind::File => Problem::unauthenticated().into_response(),
        }));
    };
    if let Some(problem) = limited(&guard.app, &caller.key(), "caller") {
        return Err(shown(problem));
    }
    if guard.sessions_only && matches!(caller.via, Via::Token(_)) {
        return Err(shown(match guard.kind {
            Kind::Page => Problem::forbidden("no_page_for_tokens", "pages are for people: log in"),
            Kind::Api | Kind::File => Problem::forbidden(
                "not_by_token",
                "this is done by somebody who is logged in, not by a token",
            ),
        }));
    }
    if let (Via::Session { csrf, .. }, false) = (&caller.via, is_safe(request.method())) {
        let csrf = csrf.clone();
        request = from_our_page(request, &csrf).await.map_err(shown)?;
    }
    may(&caller, roles, guard.scope).map_err(shown)?;
    let named = named_firm(&request).map_err(shown)?;
    let asked = format!("{} {}", request.method(), guard.path);
    enter(guard, &mut caller, named, &asked).await.map_err(shown)?;
    request.extensions_mut().insert(caller);
    Ok(request)
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Leads to the login, and back afterwards.
fn to_login(request: &Request) -> Response {
    if !is_safe(request.method()) {
        return Redirect::to("/login").into_response();
    }
    let wanted = request
        .uri()
        .path_and_query()
        .map_or("/", axum::http::uri::PathAndQuery::as_str);
    let encoded: String = wanted
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    Redirect::to(&format!("/login?next={encoded}")).into_response()
}

/// Who asks: by token where one is sent, else by cookie; `None` for nobody.
async fn caller(app: &App, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        return match token {
            Some(token) => by_token(app, token).await,
            None => Ok(None),
        };
    }
    match cookie(headers, COOKIE) {
        Some(token) => by_session(app, &token).await,
        None => Ok(None),
    }
}

async fn by_token(app: &App, word: &str) -> Result<Option<Caller>, Problem> {
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let found = tokens::find(&mut conn, &password::fingerprint(word)).await?;
    drop(conn);
    let Some(token) = found else { return Ok(None) };
    if token.used_at.is_none_or(|at| at + NOTE_USE_EVERY < real_now()) {
        let mut tx = begin(&app.db, token.firm).await?;
        tokens::touch(&mut tx, token.id).await?;
        tx.commit().await?;
    }
    Ok(Caller::of_token(token))
}

async fn by_session(app: &App, word: &str) -> Result<Option<Caller>, Problem> {
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let found = sessions::find(&mut conn, &password::fingerprint(word)).await?;
    drop(conn);
    let Some(session) = found else { return Ok(None) };
    if session.seen_at + NOTE_USE_EVERY < real_now() {
        let mut tx = begin(&app.db, session.firm).await?;
        sessions::touch(&mut tx, session.id).await?;
        tx.commit().await?;
    }
    Ok(Caller::of_session(session, csrf::token(word)))
}

/// A cookie's value.
#[must_use]
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// What a form carries beside its own fields.
#[derive(Deserialize)]
struct Carried {
    csrf: String,
}

/// Browsers send cookies along from anywhere; the token is sent by our own pages alone.
async fn from_our_page(request: Request, wanted: &str) -> Result<Request, Problem> {
    let refused = || {
        Problem::forbidden(
            "csrf",
            "this does not come from a page of this session: load the page again",
        )
    };
    if let Some(sent) = request.headers().get(csrf::HEADER) {
        let sent = sent.to_str().unwrap_or_default();
        return if csrf::is_right(wanted, sent) {
            Ok(request)
        } else {
            Err(refused())
        };
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|_| too_large())?;
    let copy = |bytes: &Bytes| Request::from_parts(parts.clone(), Body::from(bytes.clone()));
    let sent = match Form::<Carried>::from_request(copy(&bytes), &()).await {
        Ok(Form(carried)) => carried.csrf,
        Err(_no_form) => return Err(refused()),
    };
    if csrf::is_right(wanted, &sent) {
        Ok(copy(&bytes))
    } else {
        Err(refused())
    }
}

/// The body is larger than any that makes sense.
#[must_use]
pub fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("a body has at most {MAX_BODY_BYTES} bytes"),
    )
}

fn may(caller: &Caller, roles: &[Role], scope: Scope) -> Result<(), Problem> {
    if !roles.contains(&caller.role) {
        return Err(Problem::forbidden(
            "role",
            format!("this is not for the role {}", caller.role),
        ));
    }
    // Who they are, and the way out, are not what is billed.
    if caller.role == Role::Client && !caller.can_view_billing && scope != Scope::None {
        return Err(Problem::forbidden(
            "no_billing",
            "this user may not see what is billed",
        ));
    }
    Ok(())
}

/// Under which firm the request goes on. A user's is their own, whatever is asked for; an operator enters one by an open break-glass
/// session of theirs, which is written into the firm's audit log before anything is seen.
async fn enter(
    guard: &Guard,
    caller: &mut Caller,
    named: Option<String>,
    asked: &str,
) -> Result<(), Problem> {
    if caller.role != Role::Operator {
        return own_firm(guard, caller, named.as_deref()).await;
    }
    let named = match (guard.scope, named) {
        (Scope::None | Scope::Platform, _) | (Scope::Either, None) => return Ok(()),
        (Scope::Firm, None) => {
            return Err(Problem::forbidden(
                "break_glass_required",
                "name a firm that you have an open break-glass session for: the header Quittance-Firm, or ?firm=",
            ));
        }
        (Scope::Firm | Scope::Either, Some(named)) => named,
    };
    let mut conn = guard.app.db.pool().acquire().await.map_err(store::Error::from)?;
    let firm = firm_named(&mut conn, &named).await?;
    let open = break_glass::all_open(&mut conn).await?;
    drop(conn);
    let session = open
        .into_iter()
        .find(|session| Some(session.firm) == firm && session.operator == caller.label);
    let session = session.ok_or_else(|| {
        Problem::forbidden(
            "break_glass_required",
            "you have no open break-glass session for a firm of this name",
        )
    })?;
    let mut tx = guard.app.db.firm(session.firm).await?;
    let (actor, cause) = (caller.actor(), Cause::request(Uuid::now_v7()));
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let meta = json!({ "request": asked });
    let entry = by.entry("break_glass.accessed", SUBJECT, session.id, meta);
    audit::record(&mut tx, session.firm, by.at, &entry).await?;
    tx.commit().await?;
    caller.firm = Some(session.firm);
    caller.glass = Some(session.id);
    Ok(())
}

/// A user may name their own firm, and learns nothing about any other.
async fn own_firm(guard: &Guard, caller: &Caller, named: Option<&str>) -> Result<(), Problem> {
    let Some(named) = named else { return Ok(()) };
    let mut conn = guard.app.db.pool().acquire().await.map_err(store::Error::from)?;
    let firm = firm_named(&mut conn, named).await?;
    if firm.is_some() && firm == caller.firm {
        Ok(())
    } else {
        Err(Problem::forbidden("other_firm", "this is not your firm"))
    }
}

async fn firm_named(conn: &mut sqlx::PgConnection, named: &str) -> Result<Option<FirmId>, Problem> {
    let found = resolve::resolve(conn, named).await?;
    let firm = found.into_iter().find(|row| row.kind == "firm");
    Ok(firm.map(|row| row.firm))
}

#[derive(Deserialize)]
struct FirmQuery {
    firm: Option<String>,
}

fn named_firm(request: &Request) -> Result<Option<String>, Problem> {
    if let Some(value) = request.headers().get(FIRM_HEADER) {
        let text = value
            .to_str()
            .map_err(|_| Problem::invalid("Quittance-Firm", "no text"))?;
        return Ok(Some(text.to_owned()));
    }
    let query = axum::extract::Query::<FirmQuery>::try_from_uri(request.uri());
    let named = query.map_err(|_| Problem::invalid("firm", "no text"))?.0.firm;
    if named.as_deref().is_some_and(has_zero) {
        return Err(Problem::invalid("firm", "no text"));
    }
    Ok(named)
}

/// Where a request comes from: the connection's address, or what our own proxies say of it.
#[must_use]
pub fn address(request: &Request, proxies: usize) -> IpAddr {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(addr)| addr.ip());
    forwarded(request.headers(), proxies).unwrap_or(peer)
}

/// Each proxy adds the address that it saw; the one that our outermost proxy added is counted from the end, so that what a client
/// wrote there itself is never believed.
fn forwarded(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    let all: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let at = all.len().checked_sub(proxies).filter(|_| proxies > 0)?;
    all.get(at)?.parse().ok()
}

/// The problem of a caller who asks too often.
#[must_use]
pub fn limited(app: &App, caller: &str, by: &str) -> Option<Problem> {
    let wait = app.limiter.take(caller, Instant::now()).err()?;
    app.metrics.limited.with_label_values(&[by]).inc();
    Some(Problem::too_many(
        "rate_limited",
        "too many requests: go on more slowly",
        wait.as_secs() + 1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(line: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", line.parse().unwrap());
        headers
    }

    #[test]
    fn r212_what_a_client_writes_into_x_forwarded_for_is_not_believed() {
        let line = headers("6.6.6.6, 10.0.0.1, 10.0.0.2");
        assert_eq!(forwarded(&line, 0), None);
        assert_eq!(forwarded(&line, 1), Some("10.0.0.2".parse().unwrap()));
        assert_eq!(forwarded(&line, 2), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(forwarded(&headers("10.0.0.1"), 2), None);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=1; __Host-quittance=word; b=2".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE), Some("word".into()));
        assert_eq!(cookie(&headers, "quittance"), None);
    }
}
