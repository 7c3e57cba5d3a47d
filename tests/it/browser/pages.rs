//! Every page of the program's own table of routes, in a real browser, on a desk by day and on a phone by night: answered, no wider than
//! the screen, without serious findings of axe, nothing from elsewhere. A page that is new fails until somebody is sent to it.
//!
//! With `QUITTANCE_TEST_SCREENS`, a folder, it leaves a picture of each page there in its four looks; `tests/portal-screens` does that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    chromium::{Chromium, DESK, PHONE, Person, View},
    stage::{self, OPERATOR, Things},
};
use crate::portal::{PASSWORD, client::totp, logged_in, matrix};

/// A page, as who comes to it sees it.
struct Visit {
    /// The route.
    route: &'static str,
    /// The address.
    path: String,
    /// What the picture is called, if the route has others.
    also: &'static str,
}

fn visit(route: &'static str) -> Visit {
    to(route, route)
}

fn to(route: &'static str, path: impl Into<String>) -> Visit {
    Visit {
        route,
        path: path.into(),
        also: "",
    }
}

impl Visit {
    fn also(mut self, also: &'static str) -> Self {
        self.also = also;
        self
    }

    fn picture(&self) -> String {
        let parts = self.route.split('/').filter(|part| !part.is_empty());
        let named = parts.map(|part| if part.starts_with('{') { "one" } else { part });
        let mut name = named.collect::<Vec<_>>().join("-");
        if !self.also.is_empty() {
            name.push('-');
            name.push_str(self.also);
        }
        name
    }
}

/// Who comes to which pages.
fn visits(things: &Things) -> [(&'static str, Vec<Visit>); 6] {
    let Things {
        invoice,
        own_invoice,
        draft,
        dispute,
        job,
        event,
        stray,
        ..
    } = things;
    const INVOICE: &str = "/billing/invoices/{id}";
    [
        ("nobody", vec![visit("/login")]),
        (
            "olivia",
            vec![
                visit("/billing/"),
                visit("/billing/invoices"),
                to(INVOICE, format!("/billing/invoices/{invoice}")),
                to(INVOICE, format!("/billing/invoices/{draft}")).also("draft"),
                visit("/billing/engagements"),
                to(
                    "/billing/engagements/{id}",
                    "/billing/engagements/globex-retainer",
                ),
                visit("/billing/time"),
                visit("/billing/credits"),
                to("/billing/credits/{id}", "/billing/credits/wayne"),
                visit("/billing/disputes"),
                to("/billing/disputes/{id}", format!("/billing/disputes/{dispute}")),
                to("/billing/explain", format!("/billing/explain?id={invoice}")),
                visit("/billing/break-glass"),
                visit("/api/alerts/"),
                visit("/api/billing/"),
                visit("/api/billing/upgrade/"),
                visit("/api/billing/payment-history/"),
                visit("/api/billing/settings/"),
                visit("/account"),
            ],
        ),
        ("sam", vec![visit("/billing/time").also("staff")]),
        (
            "gina",
            vec![
                visit("/billing/invoices").also("client"),
                to(INVOICE, format!("/billing/invoices/{own_invoice}")).also("client"),
                to("/billing/credits/{id}", "/billing/credits/globex").also("client"),
            ],
        ),
        (
            OPERATOR,
            vec![
                visit("/console/"),
                visit("/console/jobs"),
                visit("/console/events"),
                to("/console/events/{id}", format!("/console/events/{stray}")),
                visit("/console/schedules"),
                visit("/console/workers"),
                visit("/console/audit"),
                visit("/console/break-glass"),
                visit("/console/explain"),
                to("/api/alerts/", "/api/alerts/").also("operator"),
            ],
        ),
        (
            "alice in acme",
            vec![
                to("/billing/", "/billing/?firm=acme").also("operator"),
                to("/console/jobs", "/console/jobs?firm=acme").also("firm"),
                to("/console/jobs/{id}", format!("/console/jobs/{job}?firm=acme")),
                to("/console/events", "/console/events?firm=acme").also("firm"),
                to(
                    "/console/events/{id}",
                    format!("/console/events/{event}?firm=acme"),
                )
                .also("firm"),
                to("/console/findings", "/console/findings?firm=acme"),
                to("/console/audit", "/console/audit?firm=acme").also("firm"),
                to(
                    "/console/explain",
                    format!("/console/explain?id={invoice}&firm=acme"),
                )
                .also("firm"),
            ],
        ),
    ]
}

/// The looks of a picture, beside each other.
const LOOKS: [View; 4] = [
    DESK,
    View {
        scheme: "dark",
        ..DESK
    },
    View {
        scheme: "light",
        ..PHONE
    },
    PHONE,
];

fn look(person: &Person<'_>, visit: &Visit, screens: Option<&PathBuf>) -> Vec<String> {
    let status = person.visit(&visit.path);
    let mut faults = Vec::new();
    if status != 200 || person.address() != visit.path {
        faults.push(format!(
            "{}: {status}, and {} is shown",
            visit.path,
            person.address()
        ));
    }
    person.resize(PHONE);
    if let Some(folder) = screens {
        for view in LOOKS {
            person.resize(view);
            person.picture();
        }
        person.sheet(&folder.join(format!("{}.webp", visit.picture())));
    }
    person.resize(DESK);
    faults.extend(person.faults());
    faults
}

/// Each status is looked for in a place of its own (`shared::store::invoices_read`); here is a firm that has nearly all of them.
#[tokio::test]
async fn r207_a_list_by_status_has_exactly_the_invoices_of_that_status_the_newest_first() {
    const STATUSES: [&str; 12] = [
        "draft",
        "sent",
        "partial",
        "overdue",
        "processing",
        "failed",
        "paid",
        "disputed",
        "charged_back",
        "refunded",
        "void",
        "written_off",
    ];
    let (world, _) = stage::set().await;
    let mut owner = logged_in(&world, "olivia").await;
    let mut found = 0;
    for status in STATUSES {
        for (client, of) in [("", ""), ("&client=wayne", "and c.external_id = 'wayne'")] {
            let path = format!("/api/v1/invoices?limit=100&status={status}{client}");
            let listed = owner.get(&path).await.json();
            let rows = listed["data"].as_array().unwrap();
            let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
            let wanted = world
                .texts(&format!(
                    "select i.id::text from invoices i join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
                       join clients c on c.firm_id = i.firm_id and c.id = i.client_id where s.status = '{status}' {of} order by i.id desc"
                ))
                .await;
            assert_eq!(ids, wanted, "{path}");
            found += wanted.len();
        }
    }
    assert!(found > 20, "{found} invoices are too few to tell");
}

#[tokio::test]
async fn r207_every_page_fits_on_a_phone_and_is_accessible_by_day_and_by_night() {
    let (world, things) = stage::set().await;
    let Some(chromium) = Chromium::start(&world) else {
        return;
    };
    let screens = std::env::var_os("QUITTANCE_TEST_SCREENS").map(PathBuf::from);
    let (mut faults, mut seen) = (Vec::new(), BTreeSet::new());
    let all = visits(&things);
    let alice = chromium.person(OPERATOR, DESK);
    alice.log_in(OPERATOR, PASSWORD, &totp(&things.secret));
    for (who, visits) in &all {
        let person = match *who {
            OPERATOR => alice.again(),
            "alice in acme" => {
                alice.visit("/console/break-glass");
                alice.fill("Firm", "acme");
                alice.fill("Reason", "ticket 4711: a client asks about an invoice");
                alice.press("Open the session");
                alice.again()
            }
            who => chromium.person(who, DESK),
        };
        if world
            .count(&format!("select count(*) from users where external_id = '{who}'"))
            .await
            == 1
        {
            person.log_in(who, PASSWORD, "");
        }
        for visit in visits {
            faults.extend(look(&person, visit, screens.as_ref()));
            seen.insert(visit.route.to_owned());
        }
    }
    // `/` only leads on.
    let pages: BTreeSet<String> = matrix::pages(&world)
        .into_iter()
        .filter(|path| path != "/")
        .collect();
    assert_eq!(
        pages, seen,
        "left: what the program has; right: where somebody was sent"
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
