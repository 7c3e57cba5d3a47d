//! `/console/events`: what Stripe told us, by facts on an allow-list; and applying one once more.

use axum::response::Response;
use serde::Deserialize;
use shared::store::inbox_read::{self, EventRow, Filter as Which};

use super::{SECTION, tabs, whose};
use crate::{
    api::work as api,
    auth::login::begin,
    pages::{
        PageProblem,
        form::form,
        page::{Asked, At, ROWS, chosen},
    },
    problem::Problem,
    request::{Id, PageQuery},
    route::{OPERATORS, Route, Scope},
    view::{
        Block, Cell, Empty, Facts, Field, Filter, Form, Table, column,
        text::{NONE, encoded, lasting, maybe_time, spoken, time},
        words,
    },
};

const HERE: &str = "/console/events";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, OPERATORS, list)
            .on(Scope::Either)
            .does("Events of Stripe's, those received last first"),
        Route::page("/console/events/{id}", OPERATORS, show)
            .on(Scope::Either)
            .does("One event: its facts and its job"),
        form(
            Route::form("/console/events/{id}/replay", OPERATORS, api::replay_event)
                .on(Scope::Either)
                .does("Process an event once more"),
            "replayed",
        ),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    state: Option<String>,
    r#type: Option<String>,
    cursor: Option<String>,
}

const STATES: [(&str, &str); 6] = [
    ("", "All"),
    ("pending", "Pending"),
    ("applied", "Applied"),
    ("ignored", "Ignored"),
    ("unmatched", "Unmatched"),
    ("parked", "Parked"),
];

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let (state, kind) = (chosen(&wanted.state), chosen(&wanted.r#type));
    let filter = Which {
        state,
        kind,
        after: wanted.cursor.as_deref(),
    };
    let mut tx = begin(&at.app.db, at.caller.firm).await?;
    let rows = inbox_read::list(&mut tx, &filter, query.fetch()?).await?;
    drop(tx);
    let shown = query.page(rows, |row| row.id.clone())?;
    let columns = [
        column("Event"),
        column("State"),
        column("Object"),
        column("Received"),
        column("Applied after"),
    ];
    let empty = Empty::new(
        "No event is like this.",
        "Events that belong to a firm are seen under that firm, by break-glass.",
    )
    .link(at.to("/console/break-glass"), "Break-glass");
    let number = shown.data.len();
    let table = Table::new("", &columns, empty).rows(shown.data, |row| cells(&at, row));
    let fields = vec![
        Field::choice("state", "State", &STATES, state),
        Field::line("type", "Type").value(kind.unwrap_or_default()),
    ];
    at.page(SECTION, "Events")
        .await?
        .intro(whose(&at))
        .with(tabs(&at, HERE))
        .with(Block::Filter(Filter {
            action: HERE.to_owned(),
            fields,
        }))
        .with(Block::Table(table))
        .with(at.pager(
            HERE,
            &[("state", state), ("type", kind)],
            (wanted.cursor.as_deref(), shown.next_cursor.as_deref()),
            number,
        ))
        .answer()
}

fn cells(at: &At, row: EventRow) -> Vec<Cell> {
    let state = match &row.state_reason {
        Some(reason) => Cell::two(spoken(&row.state), spoken(reason)),
        None => words::job(&row.state).into(),
    };
    vec![
        Cell::link_two(
            at.to(&format!("{HERE}/{}", encoded(&row.id))),
            row.kind.clone(),
            row.id.clone(),
        ),
        state,
        Cell::code(row.object_id.unwrap_or_else(|| NONE.to_owned())),
        Cell::text(time(row.received_at)),
        Cell::text(row.applied_at.map_or_else(
            || NONE.to_owned(),
            |at| lasting((at - row.received_at).num_seconds()),
        )),
    ]
}

async fn show(at: At, Id(id): Id) -> Result<Response, PageProblem> {
    let mut tx = begin(&at.app.db, at.caller.firm).await?;
    let view = inbox_read::show(&mut tx, &id).await?;
    drop(tx);
    let view = view.ok_or_else(|| Problem::not_found(format!("there is no event {id:?}")))?;
    let row = &view.row;
    let job = match &view.job {
        Some(job) => Cell::link_two(
            at.to(&format!("/console/jobs/{}", job.id)),
            spoken(&job.state),
            format!("attempt {}", job.attempt),
        ),
        None => Cell::text(NONE),
    };
    let rows = vec![
        ("Id", Cell::code(row.id.clone())),
        (
            "Object",
            Cell::two(
                view.object_type
                    .clone()
                    .map_or_else(|| NONE.to_owned(), |kind| spoken(&kind)),
                row.object_id.clone().unwrap_or_default(),
            ),
        ),
        (
            "Why in this state",
            Cell::text(
                row.state_reason
                    .as_deref()
                    .map_or_else(|| NONE.to_owned(), spoken),
            ),
        ),
        ("Made by Stripe", Cell::text(time(row.created_at))),
        (
            "Received",
            Cell::two(
                time(row.received_at),
                format!("by {}", spoken(&view.via).to_lowercase()),
            ),
        ),
        ("Applied", Cell::text(maybe_time(row.applied_at))),
        (
            "API version",
            Cell::text(view.api_version.clone().unwrap_or_else(|| NONE.to_owned())),
        ),
        ("Mode", Cell::text(if view.livemode { "Live" } else { "Test" })),
        ("Job", job),
        (
            "Why?",
            Cell::link(
                at.with("/console/explain", &[("id", Some(&row.id))]),
                "Explain this event",
            ),
        ),
    ];
    let facts = serde_json::to_string_pretty(&view.facts).unwrap_or_default();
    let replay = Form::new("replay", "Apply it once more", at.to(&format!("{HERE}/{}/replay", encoded(&row.id))), "Apply once more")
        .intro("The object is fetched anew and what differs is put right. An event that was applied changes nothing the second time.")
        .field(Field::reason());
    at.page(SECTION, row.kind.clone())
        .await?
        .badge(words::job(&row.state))
        .up(at.to(HERE), "Events")
        .with(tabs(&at, HERE))
        .with(Block::Facts(Facts {
            title: String::new(),
            rows,
        }))
        .with(Block::Text("Facts that are kept".to_owned(), facts))
        .with(Block::Actions("Do something".to_owned(), vec![replay]))
        .answer()
}
