//! `/billing/time`: worked time, and who says that it may be invoiced.

use axum::response::Response;
use serde::Deserialize;
use shared::{
    ids::TimeEntryId,
    store::time_read::{self, Filter as Which, TimeRow},
};
use uuid::Uuid;

use super::{
    PageProblem,
    form::form,
    page::{Asked, At, ROWS, chosen},
};
use crate::{
    api::{find, time as api},
    auth::Role,
    request::PageQuery,
    route::{FIRM, FIRM_ACTS, MANAGERS, Route},
    view::{
        Block, Cell, Empty, Field, Filter, Form, Table, column, numbers,
        text::{NONE, encoded, maybe_day, money, worked},
        words,
    },
};

const HERE: &str = "/billing/time";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, FIRM, list).does("Worked time and its approval"),
        form(
            Route::form("/billing/time/{id}/submit", FIRM_ACTS, api::submit).does("Hand time in"),
            "submitted",
        ),
        form(
            Route::form("/billing/time/{id}/approve", MANAGERS, api::approve)
                .does("Say that time may be invoiced"),
            "approved",
        ),
        form(
            Route::form("/billing/time/{id}/reject", MANAGERS, api::reject)
                .does("Say that time may not be invoiced"),
            "rejected",
        ),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    state: Option<String>,
    engagement: Option<String>,
    cursor: Option<String>,
}

const STATES: [(&str, &str); 5] = [
    ("", "All"),
    ("submitted", "Waits for approval"),
    ("draft", "Draft"),
    ("approved", "Approved"),
    ("rejected", "Rejected"),
];

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let (state, engagement) = (chosen(&wanted.state), chosen(&wanted.engagement));
    let of = match engagement {
        Some(reference) => Some(find::engagement(&at.app.db, &at.caller, reference).await?.1),
        None => None,
    };
    let filter = Which {
        id: None,
        engagement: of,
        state,
        uninvoiced: false,
        after: query.after_id()?.map(TimeEntryId),
    };
    let mut tx = at.app.db.firm(firm).await?;
    let rows = time_read::list(&mut tx, firm, &filter, query.fetch()?).await?;
    drop(tx);
    let shown = query.page(rows, |row| row.id.to_string())?;
    let columns = [
        column("Worked on"),
        column("By"),
        column("Engagement"),
        numbers("Time"),
        numbers("Amount"),
        column("State"),
        column("Invoice"),
        column("Do"),
    ];
    let empty = match (state, engagement) {
        (None, None) => Empty::new(
            "No time is written down yet.",
            "It comes with an import or through the API: POST /api/v1/time.",
        ),
        (Some("submitted"), _) => Empty::new(
            "Nothing waits for approval.",
            "Time appears here when it is handed in.",
        )
        .link(at.to(HERE), "Show all time"),
        _ => Empty::new("No time is like this.", "Choose another filter.").link(at.to(HERE), "Show all time"),
    };
    let number = shown.data.len();
    let table = Table::new("", &columns, empty).rows(shown.data, |row| cells(&at, row));
    let fields = vec![
        Field::choice("state", "State", &STATES, state),
        Field::line("engagement", "Engagement").value(engagement.unwrap_or_default()),
    ];
    at.page(HERE, "Time")
        .await?
        .intro("Only approved time is ever invoiced. Nobody approves their own.")
        .with(Block::Filter(Filter {
            action: HERE.to_owned(),
            fields,
        }))
        .with(Block::Table(table))
        .with(at.pager(
            HERE,
            &[("state", state), ("engagement", engagement)],
            (wanted.cursor.as_deref(), shown.next_cursor.as_deref()),
            number,
        ))
        .answer()
}

fn cells(at: &At, row: TimeRow) -> Vec<Cell> {
    let about = format!("{} of {}", worked(i64::from(row.minutes)), row.worker);
    let to = |what: &str| format!("{HERE}/{}/{what}", row.id);
    let (role, own) = (at.caller.role, row.worker == at.caller.label);
    let mut acts = Vec::new();
    if matches!(role, Role::Owner | Role::Admin | Role::Manager) && row.state == "submitted" && !own {
        acts.push(Form::button(
            format!("approve-{}", row.id),
            to("approve"),
            "Approve",
            &about,
        ));
        acts.push(
            Form::button(format!("reject-{}", row.id), to("reject"), "Reject", &about)
                .field(Field::reason())
                .folded(),
        );
    }
    if row.state == "draft" && (own || matches!(role, Role::Owner | Role::Admin | Role::Manager)) {
        acts.push(Form::button(
            format!("submit-{}", row.id),
            to("submit"),
            "Hand in",
            &about,
        ));
    }
    let state = match (&row.approved_by, &row.client_approved_by) {
        (Some(by), None) => Cell::two(words::time(&row.state).text, format!("by {by}")),
        (Some(by), Some(client)) => Cell::two(
            words::time(&row.state).text,
            format!("by {by} and {client} of the client"),
        ),
        (None, _) => words::time(&row.state).into(),
    };
    let bills = matches!(role, Role::Owner | Role::Admin | Role::Operator);
    // A draft has no number yet, and its id tells nobody anything.
    let called = |invoice: &str| match invoice.parse::<Uuid>() {
        Ok(_) => "Draft".to_owned(),
        Err(_) => invoice.to_owned(),
    };
    let invoice = match row.invoice {
        Some(invoice) if bills => Cell::link(super::invoices::href(at, encoded(&invoice)), called(&invoice)),
        Some(invoice) => Cell::text(called(&invoice)),
        None => Cell::text(if row.invoiceable { "May be invoiced" } else { NONE }),
    };
    vec![
        Cell::two(
            maybe_day(Some(row.worked_on)),
            row.external_id.unwrap_or_default(),
        ),
        Cell::text(row.worker),
        Cell::link_two(
            at.to(&format!("/billing/engagements/{}", encoded(&row.engagement))),
            row.engagement.clone(),
            row.client,
        ),
        Cell::text(worked(i64::from(row.minutes))),
        Cell::two(
            row.amount_minor
                .map_or_else(|| NONE.to_owned(), |minor| money(minor, &row.currency)),
            row.rate_minor
                .map_or_else(String::new, |rate| format!("at {}", money(rate, &row.currency))),
        ),
        state,
        invoice,
        if acts.is_empty() {
            Cell::text(NONE)
        } else {
            Cell::Forms(acts)
        },
    ]
}
