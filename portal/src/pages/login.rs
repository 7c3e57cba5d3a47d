//! Logging in and out, as pages.
//!
//! Before there is a session, the form's token belongs to a cookie of its own, so that nobody can be logged in by a foreign page under
//! another name.

use askama::Template;
use axum::extract::FromRequest as _;
use axum::{
    extract::{Form, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;
use shared::{password, store::access::sessions};

use super::PageProblem;
use crate::{
    app::App,
    auth::{
        Caller, Role,
        caller::Via,
        csrf,
        guard::{self, COOKIE},
        login::{self, Attempt, begin},
    },
    problem::Problem,
    request::Params,
    route::{Kind, PEOPLE, Route, Scope},
};

/// The cookie that the token of the login form belongs to.
const FORM_COOKIE: &str = "__Host-quittance-form";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::open(Kind::Page, Method::GET, "/login", show).does("The form to log in"),
        Route::open(Kind::Page, Method::POST, "/login", enter).does("Log in"),
        Route::form("/logout", PEOPLE, leave)
            .on(Scope::None)
            .does("Log out"),
        Route::page("/", PEOPLE, home)
            .on(Scope::None)
            .does("Leads to where the caller works"),
    ]
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    csrf: &'a str,
    next: &'a str,
    name: &'a str,
    fault: Option<&'a str>,
}

#[derive(Deserialize)]
struct Wanted {
    next: Option<String>,
}

async fn show(headers: HeaderMap, Params(wanted): Params<Wanted>) -> Result<Response, PageProblem> {
    let word = guard::cookie(&headers, FORM_COOKIE).unwrap_or_else(password::random_word);
    page(&word, local(wanted.next.as_deref()), "", None)
}

/// The form, with the cookie that its token belongs to.
fn page(word: &str, next: &str, name: &str, fault: Option<&Problem>) -> Result<Response, PageProblem> {
    let page = LoginPage {
        csrf: &csrf::token(word),
        next,
        name,
        fault: fault.map(|problem| problem.detail.as_str()),
    };
    let html = page.render().map_err(|fault| PageProblem(Problem::bug(&fault)))?;
    let status = fault.map_or(StatusCode::OK, |problem| problem.status);
    let mut response = (status, Html(html)).into_response();
    set_cookie(&mut response, FORM_COOKIE, word, "Strict")?;
    Ok(response)
}

/// Where to go afterwards: only to a page of ours.
pub(super) fn local(next: Option<&str>) -> &str {
    match next {
        Some(path)
            if path.starts_with('/')
                && !path.starts_with("//")
                && !path.contains(['\\', '\r', '\n', '\t']) =>
        {
            path
        }
        Some(_) | None => "/",
    }
}

#[derive(Deserialize)]
struct Typed {
    csrf: String,
    name: String,
    password: String,
    #[serde(default)]
    code: String,
    next: Option<String>,
}

async fn enter(State(app): State<App>, request: Request) -> Result<Response, PageProblem> {
    let address = guard::address(&request, app.proxies);
    let word = guard::cookie(request.headers(), FORM_COOKIE).unwrap_or_default();
    let typed = Form::<Typed>::from_request(request, &()).await;
    let Form(typed) = typed.map_err(|fault| Problem::invalid("form", fault.body_text()))?;
    if word.is_empty() || !csrf::is_right(&csrf::token(&word), &typed.csrf) {
        return Err(PageProblem(Problem::forbidden(
            "csrf",
            "this form is too old, or not of this browser: load the page again",
        )));
    }
    let attempt = Attempt {
        name: &typed.name,
        password: &typed.password,
        code: &typed.code,
        address,
    };
    let token = if typed.name.contains('\0') {
        Err(Problem::invalid("name", "a zero is no text"))
    } else {
        login::log_in(&app, &attempt).await
    };
    match token {
        Ok(token) => {
            let mut response = Redirect::to(local(typed.next.as_deref())).into_response();
            set_cookie(&mut response, COOKIE, &token, "Lax")?;
            Ok(response)
        }
        Err(problem) => page(&word, local(typed.next.as_deref()), &typed.name, Some(&problem)),
    }
}

async fn leave(State(app): State<App>, caller: Caller) -> Result<Response, PageProblem> {
    if let Via::Session { id, .. } = caller.via {
        let mut tx = begin(&app.db, caller.firm).await?;
        sessions::end(&mut tx, id).await?;
        tx.commit().await?;
    }
    let mut response = Redirect::to("/login").into_response();
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    let value = HeaderValue::from_str(&gone).map_err(|fault| Problem::bug(&fault))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

async fn home(caller: Caller) -> Redirect {
    Redirect::to(match caller.role {
        Role::Owner | Role::Admin => "/billing/",
        Role::Manager | Role::Staff => "/billing/time",
        Role::Client => "/billing/invoices",
        Role::Operator => "/console/",
        Role::Alerts => "/login",
    })
}

fn set_cookie(response: &mut Response, name: &str, word: &str, same_site: &str) -> Result<(), PageProblem> {
    let max_age = sessions::LIFE.num_seconds();
    let line = format!("{name}={word}; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={max_age}");
    let value = HeaderValue::from_str(&line).map_err(|fault| Problem::bug(&fault))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r212_after_the_login_nobody_is_led_elsewhere() {
        for (next, to) in [
            (Some("/api/billing/?page=2"), "/api/billing/?page=2"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (None, "/"),
        ] {
            assert_eq!(local(next), to);
        }
    }
}
