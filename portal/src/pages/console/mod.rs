//! `/console/`: what an operator of the platform looks at. Of firms there are counts; rows of a firm only with an open break-glass
//! session, named by `?firm=`. Whatever is done here asks for a reason and is put on record.

pub mod audit;
pub mod events;
pub mod findings;
pub mod glass;
pub mod jobs;
pub mod machines;
pub mod queues;

use super::page::At;
use crate::{route::Route, view::Block};

/// The section of the navigation.
pub const SECTION: &str = "/console/";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    [
        queues::routes(),
        jobs::routes(),
        events::routes(),
        machines::routes(),
        findings::routes(),
        audit::routes(),
        glass::routes(),
    ]
    .concat()
}

const TABS: [(&str, &str); 9] = [
    ("/console/", "Queues"),
    ("/console/jobs", "Jobs"),
    ("/console/events", "Events"),
    ("/console/schedules", "Schedules"),
    ("/console/workers", "Workers"),
    ("/console/findings", "Findings"),
    ("/console/audit", "Audit"),
    ("/console/break-glass", "Break-glass"),
    ("/console/explain", "Explain"),
];

/// The links between the pages of the console.
#[must_use]
pub fn tabs(at: &At, here: &str) -> Block {
    let tabs = TABS
        .iter()
        .map(|(href, text)| (at.to(href), (*text).to_owned(), *href == here))
        .collect();
    Block::Tabs("Console".to_owned(), tabs)
}

/// Whose rows a list shows, in a sentence.
#[must_use]
pub fn whose(at: &At) -> &'static str {
    if at.caller.firm.is_some() {
        "Rows of the firm that you have entered by break-glass. Each look is recorded."
    } else {
        "The platform's own rows. Those of a firm are seen with a break-glass session for it."
    }
}
