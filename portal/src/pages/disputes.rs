//! `/billing/disputes`: what clients contest, by deadline, and what becomes of what was lost.

use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use shared::store::disputes::{self, DisputeRow, Filter as Which};

use super::{
    PageProblem,
    form::form,
    invoices::href,
    page::{Asked, At, ROWS, chosen},
};
use crate::{
    api::{disputes as api, find},
    problem::Problem,
    request::{Id, PageQuery},
    route::{BILLING, BILLING_ACTS, Route},
    view::{
        Badge, Block, Cell, Empty, Facts, Field, Filter, Form, Table, Tone, column, note, numbers,
        text::{NONE, away, encoded, money, spoken, time},
        words,
    },
};

const HERE: &str = "/billing/disputes";
/// From here on a deadline is pressing.
const SOON: TimeDelta = TimeDelta::hours(72);

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, BILLING, list).does("Disputes, the next deadline first"),
        Route::page("/billing/disputes/{id}", BILLING, show)
            .does("One dispute with what it did to the money"),
        form(
            Route::form("/billing/disputes/{id}/resolve", BILLING_ACTS, api::resolve)
                .does("Decide what becomes of what a lost dispute took"),
            "decided",
        ),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    cursor: Option<String>,
}

const STATUSES: [(&str, &str); 7] = [
    ("", "All"),
    ("open", "Open"),
    ("undecided", "Lost, to be decided"),
    ("won", "Won"),
    ("lost", "Lost"),
    ("withdrawn", "Withdrawn"),
    ("inquiry_closed", "Inquiry closed"),
];

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let status = chosen(&wanted.status);
    let after = match &wanted.cursor {
        Some(cursor) => {
            let (_, dispute) = find::dispute(&at.app.db, &at.caller, cursor).await?;
            let only = Which {
                only: Some(dispute),
                ..Which::default()
            };
            let mut tx = at.app.db.firm(firm).await?;
            disputes::list(&mut tx, firm, &only, 1)
                .await?
                .pop()
                .map(|row| row.position())
        }
        None => None,
    };
    let filter = Which {
        status,
        after: after.as_ref(),
        only: None,
    };
    let mut tx = at.app.db.firm(firm).await?;
    let now = tx.now();
    let rows = disputes::list(&mut tx, firm, &filter, query.fetch()?).await?;
    drop(tx);
    let shown = query.page(rows, |row| row.id.clone())?;
    let columns = [
        column("Dispute"),
        column("Client"),
        column("Invoice"),
        column("Status"),
        column("Evidence until"),
        column("Reason"),
        numbers("Amount"),
    ];
    let empty = match status {
        Some(_) => {
            Empty::new("No dispute is like this.", "Choose another status.").link(at.to(HERE), "Show all")
        }
        None => Empty::new(
            "There are no disputes.",
            "One appears here, with its deadline, as soon as a client contests a payment.",
        ),
    };
    let number = shown.data.len();
    let table = Table::new("", &columns, empty).rows(shown.data, |row| cells(&at, row, now));
    at.page(HERE, "Disputes")
        .await?
        .intro("Open ones first, the next deadline first. Evidence is handed in at Stripe.")
        .with(Block::Filter(Filter {
            action: HERE.to_owned(),
            fields: vec![Field::choice("status", "Status", &STATUSES, status)],
        }))
        .with(Block::Table(table))
        .with(at.pager(
            HERE,
            &[("status", status)],
            (wanted.cursor.as_deref(), shown.next_cursor.as_deref()),
            number,
        ))
        .answer()
}

fn deadline(respond_by: Option<DateTime<Utc>>, is_open: bool, now: DateTime<Utc>) -> Cell {
    match respond_by {
        Some(by) if is_open && by < now => {
            Cell::Badge(Badge::new(format!("Missed {}", away(by, now)), Tone::Bad))
        }
        Some(by) if is_open && by < now + SOON => Cell::Badge(Badge::new(
            format!("{} left", away(by, now).trim_start_matches("in ")),
            Tone::Bad,
        )),
        Some(by) if is_open => Cell::two(time(by), away(by, now)),
        Some(by) => Cell::text(time(by)),
        None => Cell::text("No deadline"),
    }
}

fn cells(at: &At, row: DisputeRow, now: DateTime<Utc>) -> Vec<Cell> {
    let is_open = row.closed_at.is_none();
    vec![
        Cell::link_two(
            at.to(&format!("{HERE}/{}", encoded(&row.id))),
            spoken(&row.kind),
            row.id.clone(),
        ),
        Cell::text(row.client),
        row.invoice.map_or_else(
            || Cell::text(NONE),
            |invoice| Cell::link(href(at, encoded(&invoice)), invoice),
        ),
        words::dispute(&row.status, row.outcome.as_deref()).into(),
        deadline(row.respond_by, is_open, now),
        Cell::text(row.reason.as_deref().map_or_else(|| NONE.to_owned(), spoken)),
        Cell::text(money(row.amount_minor, &row.currency)),
    ]
}

async fn show(at: At, Id(id): Id) -> Result<Response, PageProblem> {
    let (firm, dispute) = find::dispute(&at.app.db, &at.caller, &id).await?;
    let mut tx = at.app.db.firm(firm).await?;
    let now = tx.now();
    let view = disputes::show(&mut tx, firm, dispute).await?;
    drop(tx);
    let view = view.ok_or_else(|| Problem::not_found(format!("there is no dispute {id:?}")))?;
    let row = view.row;
    let is_open = row.closed_at.is_none();
    let mut rows = vec![
        ("Client", Cell::text(row.client)),
        (
            "Invoice",
            row.invoice.map_or_else(
                || Cell::text(NONE),
                |invoice| Cell::link(href(&at, encoded(&invoice)), invoice),
            ),
        ),
        (
            "Amount",
            Cell::two(
                money(row.amount_minor, &row.currency),
                format!("of a payment of {}", money(view.payment_minor, &row.currency)),
            ),
        ),
        (
            "Reason",
            Cell::two(
                row.reason.as_deref().map_or_else(|| NONE.to_owned(), spoken),
                view.network_reason_code.unwrap_or_default(),
            ),
        ),
        ("Opened", Cell::text(time(row.opened_at))),
        ("Evidence until", deadline(row.respond_by, is_open, now)),
        (
            "Charge",
            Cell::code(view.stripe_charge_id.unwrap_or_else(|| NONE.to_owned())),
        ),
    ];
    if let Some(done) = view.resolution {
        rows.push((
            "Decided",
            Cell::two(
                spoken(&done.kind),
                format!(
                    "{} by {}: {}",
                    time(done.resolved_at),
                    done.resolved_by,
                    done.reason
                ),
            ),
        ));
    }
    let movements = Table::new(
        "Money that moved",
        &[
            column("What"),
            column("When"),
            column("Balance transaction"),
            numbers("Amount"),
        ],
        Empty::new(
            "No money has moved yet.",
            "Stripe takes it when a chargeback begins, and gives it back when it is won.",
        ),
    )
    .rows(&view.movements, |part| {
        vec![
            Cell::text(spoken(&part.kind)),
            Cell::text(time(part.at)),
            Cell::code(part.stripe_balance_transaction_id.clone()),
            Cell::text(money(part.amount_minor, &part.currency)),
        ]
    });
    let ledger = Table::new(
        "In the books",
        &[column("Account"), numbers("Holds")],
        Empty::new("The books hold nothing for it.", "They follow the money above."),
    )
    .rows(&view.ledger, |part| {
        vec![
            Cell::text(spoken(&part.account)),
            Cell::text(money(part.minor, &part.currency)),
        ]
    });
    let mut page = at
        .page(HERE, format!("{} {}", spoken(&row.kind), row.id))
        .await?
        .badge(words::dispute(&row.status, row.outcome.as_deref()))
        .up(at.to(HERE), "Disputes");
    if is_open {
        page = page.with(note(Tone::Warn, "The invoice is not charged automatically while this is open. Evidence is handed in at Stripe; `quittance dispute evidence` collects what belongs into it."));
    }
    page = page
        .with(Block::Facts(Facts {
            title: String::new(),
            rows,
        }))
        .with(Block::Table(movements))
        .with(Block::Table(ledger));
    if at.acts() && row.decision.as_deref() == Some("needed") {
        let to = format!("{HERE}/{}/resolve", encoded(&row.id));
        let rebill = Form::new("rebill", "Bill the client again", &to, "Bill again")
            .intro("A new invoice over what was taken.")
            .field(Field::hidden("decision", "rebill"))
            .field(Field::check(
                "autopay",
                "It may be charged to the client's card by itself",
                false,
            ))
            .field(Field::reason());
        let write_off = Form::new("write-off", "Write it off", to, "Write off")
            .intro("What was taken is a loss.")
            .field(Field::hidden("decision", "write_off"))
            .field(Field::reason())
            .danger();
        page = page.with(Block::Actions(
            "Lost: decide what becomes of it".to_owned(),
            vec![rebill, write_off],
        ));
    }
    page.answer()
}
