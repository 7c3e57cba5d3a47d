//! R211, R004: every route × every role × the firm's own and another one, made from the program's own table of routes: a route that is
//! new is tried without anybody's doing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::World;

use super::{
    client::{Answer, Browser},
    logged_in, operator, token, two_firms,
};

/// A route of the program's table.
#[derive(Debug)]
pub struct Route {
    pub method: String,
    pub path: String,
    pub kind: String,
    scope: String,
    /// Not for tokens.
    sessions_only: bool,
    /// None: anybody.
    roles: Option<Vec<String>>,
}

/// The program's own table.
pub fn routes(world: &World) -> Vec<Route> {
    let shown = std::process::Command::new(world.portal_binary())
        .arg("--routes")
        .output()
        .unwrap();
    let table: Vec<Value> = serde_json::from_slice(&shown.stdout).unwrap();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    table
        .iter()
        .map(|row| Route {
            method: text(row, "method"),
            path: text(row, "path"),
            kind: text(row, "kind"),
            scope: text(row, "scope"),
            sessions_only: row["sessions_only"].as_bool().unwrap(),
            roles: row["roles"].as_array().map(|roles| {
                roles
                    .iter()
                    .map(|role| role.as_str().unwrap().to_owned())
                    .collect()
            }),
        })
        .collect()
}

/// The paths of all pages that people look at.
pub fn pages(world: &World) -> Vec<String> {
    let pages = routes(world)
        .into_iter()
        .filter(|route| route.kind == "page" && route.method == "GET");
    pages.map(|route| route.path).collect()
}

/// What of acme's a path can name.
pub struct Things {
    job: String,
    event: String,
    alert: String,
}

impl Things {
    pub async fn of(world: &World) -> Self {
        let one = async |sql: &str| world.texts(sql).await.first().unwrap().clone();
        let acme = "(select id from firms where external_id = 'acme')";
        Self {
            job: one(&format!(
                "select id::text from jobs where firm_id = {acme} limit 1"
            ))
            .await,
            event: one(&format!(
                "select stripe_event_id from stripe_events where firm_id = {acme} limit 1"
            ))
            .await,
            alert: world
                .json(&[
                    "alert",
                    "raise",
                    "--firm-id",
                    "acme",
                    "--type",
                    "USAGE_HIGH",
                    "--severity",
                    "info",
                    "--title",
                    "zebra",
                    "--message",
                    "zebra",
                    "--dedupe-key",
                    "zebra",
                ])
                .await["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        }
    }

    /// What of acme's this route can name.
    pub fn id(&self, route: &Route) -> &str {
        let before = route.path.split_once("/{id}").map_or("", |(before, _)| before);
        match (noun(route, before), route.path.contains("/invoice/")) {
            ("why-not", true) | ("engagements", _) => "eng-zebra",
            ("invoices" | "explain" | "why-not" | "next", _) => "inv-zebra",
            ("clients" | "credits", _) => "zebra",
            ("time", _) => "t-zebra",
            ("jobs", _) => &self.job,
            ("events", _) => &self.event,
            ("alerts", _) => &self.alert,
            _ => "00000000-0000-7000-8000-000000000001",
        }
    }

    /// The path with a thing of acme's in it.
    fn named(&self, route: &Route) -> String {
        let id = self.id(route);
        let path = route.path.replace("{id}", id).replace("{name}", "charges");
        if route.path.contains("/why-not/") && id == "eng-zebra" {
            format!("{path}?period=2026-05")
        } else {
            path
        }
    }
}

/// What kind of thing a route names.
fn noun<'a>(route: &'a Route, before: &'a str) -> &'a str {
    if route.kind == "page" {
        before.rsplit('/').next().unwrap_or_default()
    } else {
        route.path.split('/').nth(3).unwrap_or_default()
    }
}

async fn ask(caller: &mut Browser, route: &Route, path: &str) -> Answer {
    match route.method.as_str() {
        "GET" => caller.get(path).await,
        _ if route.kind == "page" => {
            let csrf = caller.csrf.clone();
            caller.submit(path, &[("csrf", &csrf)]).await
        }
        _ => caller.post_nothing(path).await,
    }
}

/// What an answer must be, and is not.
fn fault(route: &Route, who: &str, answer: &Answer, may: bool) -> Option<String> {
    // Staff are let in, and their own rule is about whose time it is.
    let is_refused = [401, 403].contains(&answer.status) && !answer.text.contains("\"not_own_time\"");
    let ok = answer.status < 500 && is_refused != may;
    (!ok).then(|| {
        format!(
            "{who} {} {}: {} {}",
            route.method, route.path, answer.status, answer.text
        )
    })
}

#[tokio::test]
async fn r004_r211_every_route_lets_in_its_roles_and_nobody_else_and_shows_no_other_firm() {
    let world = two_firms().await;
    let add = [
        "time",
        "add",
        "--engagement",
        "eng-zebra",
        "--worker",
        "staff-acme",
        "--worked-on",
        &crate::acme::today(&world).await,
        "--minutes",
        "60",
        "--external-id",
        "t-zebra",
    ];
    world.json(&add).await;
    let things = Things::of(&world).await;
    let routes = routes(&world);
    assert!(routes.len() > 50, "{}", routes.len());
    let mut faults = Vec::new();

    // Nobody.
    let mut nobody = Browser::at(&world);
    for route in routes.iter().filter(|route| route.roles.is_some()) {
        let answer = ask(&mut nobody, route, &things.named(route)).await;
        let ok = match route.kind.as_str() {
            "page" => answer.status == 303 && answer.header("location").starts_with("/login"),
            _ => answer.status == 401 && answer.code() == "unauthenticated",
        };
        if !ok {
            faults.push(format!(
                "nobody {} {}: {}",
                route.method, route.path, answer.status
            ));
        }
    }

    // Everybody in the firm, by session; the operator has entered it.
    let mut callers = Vec::new();
    for role in ["owner", "admin", "manager", "staff", "client"] {
        callers.push((role, logged_in(&world, &format!("{role}-acme")).await));
    }
    let mut alice = operator(&world, "alice").await;
    let enter = json!({"firm": "acme", "reason": "ticket 17", "minutes": 600});
    assert_eq!(alice.post("/api/v1/break-glass", &enter).await.status, 201);
    callers.push(("operator", alice));
    for (role, mut caller) in callers {
        for route in &routes {
            let Some(roles) = &route.roles else { continue };
            let mut path = things.named(route);
            if role == "operator" && route.scope == "firm" {
                path = of_acme(&path);
            }
            let may = roles.iter().any(|allowed| allowed == role);
            if may && route.path == "/logout" {
                continue; // r212_a_session_begins_with_the_right_password_… tries it
            }
            let answer = ask(&mut caller, route, &path).await;
            faults.extend(fault(route, role, &answer, may));
        }
    }

    // Tokens: their role on the API, no page, and nothing that opens doors.
    for role in ["owner", "admin", "manager", "staff", "alerts"] {
        let mut caller = token(&world, Some("acme"), role).await;
        for route in &routes {
            let Some(roles) = &route.roles else { continue };
            let answer = ask(&mut caller, route, &things.named(route)).await;
            let may = !route.sessions_only && roles.iter().any(|allowed| allowed == role);
            faults.extend(fault(route, &format!("token {role}"), &answer, may));
        }
    }

    // A portal user who may not see what is billed sees nothing.
    let mut clerk = logged_in(&world, "clerk-acme").await;
    for route in routes
        .iter()
        .filter(|route| route.roles.is_some() && route.path != "/logout")
    {
        let answer = ask(&mut clerk, route, &things.named(route)).await;
        let knows = route.scope == "none" && route.roles.iter().flatten().any(|role| role == "client");
        faults.extend(fault(route, "clerk", &answer, knows));
    }

    // An operator who has entered no firm, on what is a firm's.
    let mut bob = operator(&world, "bob").await;
    for route in routes.iter().filter(|route| route.scope == "firm") {
        let answer = ask(&mut bob, route, &of_acme(&things.named(route))).await;
        faults.extend(fault(route, "bob", &answer, false));
    }

    // Another firm's admin and client: whatever they may do, acme is not there.
    for user in ["admin-other", "owner-other", "client-other"] {
        let mut stranger = logged_in(&world, user).await;
        for route in routes
            .iter()
            .filter(|route| route.roles.is_some() && route.path != "/logout")
        {
            let named = things.named(route);
            let answer = ask(&mut stranger, route, &named).await;
            let found_by_name = route.path.contains("{id}") && ![400, 403, 404].contains(&answer.status);
            if answer.status >= 500 || found_by_name || shows_acme(&answer, &things, &named) {
                faults.push(format!(
                    "{user} {} {named}: {} {}",
                    route.method, answer.status, answer.text
                ));
            }
            let asked = ask(&mut stranger, route, &of_acme(&named)).await;
            if asked.status < 400 {
                faults.push(format!(
                    "{user} {} {named} of acme: {}",
                    route.method, asked.status
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The same path, with the firm named.
fn of_acme(path: &str) -> String {
    let join = if path.contains('?') { '&' } else { '?' };
    format!("{path}{join}firm=acme")
}

/// Whether an answer to a stranger tells of acme what the question did not.
fn shows_acme(answer: &Answer, things: &Things, asked: &str) -> bool {
    let mut marks = vec!["zebra", "yak", "acme", &things.alert, &things.job, &things.event];
    marks.retain(|mark| !asked.contains(*mark));
    marks.iter().any(|mark| answer.text.contains(*mark))
}

/// The client's user sees their own client, and no other of the same firm.
#[tokio::test]
async fn r004_a_portal_user_sees_their_own_clients_invoices_only() {
    let world = two_firms().await;
    let mut ceo = logged_in(&world, "client-acme").await;
    let list = ceo.get("/api/v1/invoices").await.json();
    let clients: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["client"].as_str().unwrap())
        .collect();
    assert_eq!(clients, ["zebra"]);
    assert_eq!(ceo.get("/api/v1/invoices/inv-zebra").await.status, 200);
    for foreign in [
        "/api/v1/invoices/inv-yak",
        "/api/v1/invoices?client=yak",
        "/api/v1/clients/yak",
        "/api/v1/clients/cus_yak/credit",
        "/api/v1/invoices/inv-wolf",
    ] {
        assert_eq!(ceo.get(foreign).await.code(), "not_found", "{foreign}");
    }
}
