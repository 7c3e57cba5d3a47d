//! `/billing/engagements`: the terms agreed with clients, what each has billed and what time waits.

use axum::response::Response;
use serde::Deserialize;
use shared::store::engagements::{self, EngagementRow};
use uuid::Uuid;

use super::{
    PageProblem,
    invoices::href,
    page::{Asked, At, ROWS, chosen},
};
use crate::{
    api::find,
    auth::Role,
    problem::Problem,
    request::{Id, PageQuery},
    route::{FIRM, Route},
    view::{
        Block, Cell, Empty, Facts, Field, Filter, Table, column, numbers,
        text::{NONE, count, day, encoded, maybe_day, maybe_time, money, spoken, worked},
        words,
    },
};

const HERE: &str = "/billing/engagements";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, FIRM, list).does("Engagements of clients"),
        Route::page("/billing/engagements/{id}", FIRM, show)
            .does("One engagement: its terms, versions and periods"),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    cursor: Option<String>,
}

const STATUSES: [(&str, &str); 5] = [
    ("", "All"),
    ("draft", "Draft"),
    ("signed", "Signed"),
    ("ended", "Ended"),
    ("canceled", "Canceled"),
];

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let status = chosen(&wanted.status);
    let after: Option<Uuid> = query.after_id()?;
    let mut tx = at.app.db.firm(firm).await?;
    let rows = engagements::list(&mut tx, firm, (None, status), after, query.fetch()?).await?;
    drop(tx);
    let shown = query.page(rows, |row| row.id.to_string())?;
    let columns = [
        column("Engagement"),
        column("Client"),
        column("Status"),
        column("Pricing"),
        numbers("Fee"),
        numbers("Hourly rate"),
        column("Term"),
    ];
    let empty = match status {
        Some(_) => {
            Empty::new("No engagement has this status.", "Choose another one.").link(at.to(HERE), "Show all")
        }
        None => Empty::new(
            "There are no engagements yet.",
            "They come with an import: quittance import FILE.",
        ),
    };
    let number = shown.data.len();
    let table = Table::new("", &columns, empty).rows(shown.data, |row| cells(&at, row));
    at.page(HERE, "Engagements")
        .await?
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

fn cells(at: &At, row: EngagementRow) -> Vec<Cell> {
    let amount =
        |minor: Option<i64>| minor.map_or_else(|| NONE.to_owned(), |minor| money(minor, &row.currency));
    vec![
        Cell::link_two(
            at.to(&format!("{HERE}/{}", row.id)),
            row.external_id.clone().unwrap_or_else(|| row.id.to_string()),
            format!("version {}", row.version),
        ),
        Cell::text(row.client.clone()),
        words::engagement(&row.status).into(),
        Cell::text(spoken(&row.pricing_mode)),
        Cell::text(amount(row.package_fee_minor)),
        Cell::text(amount(row.hourly_rate_minor)),
        Cell::two(
            format!("from {}", day(row.starts_on)),
            row.ends_on
                .map_or_else(|| "no end".to_owned(), |on| format!("until {}", day(on))),
        ),
    ]
}

async fn show(at: At, Id(id): Id) -> Result<Response, PageProblem> {
    let (firm, engagement) = find::engagement(&at.app.db, &at.caller, &id).await?;
    let mut tx = at.app.db.firm(firm).await?;
    let view = engagements::show(&mut tx, firm, engagement).await?;
    drop(tx);
    let view = view.ok_or_else(|| Problem::not_found(format!("there is no engagement {id:?}")))?;
    let amount =
        |minor: Option<i64>| minor.map_or_else(|| NONE.to_owned(), |minor| money(minor, &view.currency));
    let bills = matches!(at.caller.role, Role::Owner | Role::Admin | Role::Operator);
    let rows = vec![
        ("Client", Cell::text(view.client.clone())),
        ("Pricing", Cell::text(spoken(&view.pricing_mode))),
        (
            "Fee",
            Cell::two(
                amount(view.package_fee_minor),
                view.package_fee_schedule
                    .as_deref()
                    .map_or_else(String::new, spoken),
            ),
        ),
        (
            "Hourly rate",
            Cell::two(
                amount(view.hourly_rate_minor),
                view.hourly_schedule.as_deref().map_or_else(String::new, spoken),
            ),
        ),
        (
            "Term",
            Cell::text(format!("{} to {}", day(view.starts_on), maybe_day(view.ends_on))),
        ),
        ("Signed", Cell::text(maybe_time(view.signed_at))),
        ("Periods run by", Cell::text(spoken(&view.period_anchor))),
        ("A clipped period costs", Cell::text(spoken(&view.proration))),
        ("Charged", Cell::text(spoken(&view.charge_timing))),
        (
            "Renews",
            view.renews.clone().map_or_else(
                || Cell::text(NONE),
                |old| Cell::link(at.to(&format!("{HERE}/{}", encoded(&old))), old),
            ),
        ),
    ];
    let periods = Table::new(
        "Periods",
        &[
            column("From"),
            column("Until"),
            column("Invoice"),
            column("State"),
        ],
        Empty::new(
            "No period has been billed yet.",
            "The scheduler bills a period when it begins or ends, as the terms say.",
        ),
    )
    .rows(&view.periods, |period| {
        let invoice = if bills {
            Cell::link(href(&at, encoded(&period.invoice)), period.invoice.clone())
        } else {
            Cell::text(period.invoice.clone())
        };
        let state = if period.released {
            "Released: may be billed again"
        } else if period.generation > 1 {
            "Billed again"
        } else {
            "Billed"
        };
        vec![
            Cell::text(day(period.start)),
            Cell::text(day(period.end.pred_opt().unwrap_or(period.end))),
            invoice,
            Cell::text(state),
        ]
    });
    let time = Table::new(
        "Time",
        &[column("State"), numbers("Entries"), numbers("Time")],
        Empty::new(
            "No time is written down for this engagement.",
            "Time entries appear here by state.",
        ),
    )
    .rows(&view.time, |sum| {
        vec![
            words::time(&sum.state).into(),
            Cell::text(count(sum.entries)),
            Cell::text(worked(sum.minutes)),
        ]
    })
    .more(
        at.with("/billing/time", &[("engagement", Some(&view.id.to_string()))]),
        "All entries",
    );
    let versions = Table::new(
        "Versions",
        &[
            column("Version"),
            column("Engagement"),
            column("Status"),
            column("Term"),
        ],
        Empty::default(),
    )
    .rows(&view.versions, |version| {
        vec![
            Cell::text(version.version.to_string()),
            Cell::link(
                at.to(&format!("{HERE}/{}", encoded(&version.engagement))),
                version.engagement.clone(),
            ),
            words::engagement(&version.status).into(),
            Cell::text(format!(
                "{} to {}",
                day(version.starts_on),
                maybe_day(version.ends_on)
            )),
        ]
    });
    at.page(
        HERE,
        format!(
            "Engagement {}",
            view.external_id.clone().unwrap_or_else(|| view.id.to_string())
        ),
    )
    .await?
    .badge(words::engagement(&view.status))
    .up(at.to(HERE), "Engagements")
    .with(Block::Facts(Facts {
        title: "Terms".to_owned(),
        rows,
    }))
    .with(Block::Table(periods))
    .with(Block::Table(time))
    .with(Block::Table(versions))
    .answer()
}
