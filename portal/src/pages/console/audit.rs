//! `/console/audit`: who did what and why: of a firm, or of the installation itself.

use axum::response::Response;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Deserialize;
use shared::{
    domain::audit_action::Category,
    store::{
        self,
        audit_read::{self, AuditRow},
        portal::console as rows,
        resolve,
    },
};

use super::{SECTION, tabs, whose};
use crate::{
    pages::{
        PageProblem,
        page::{Asked, At, chosen},
    },
    problem::Problem,
    route::{OPERATORS, Route, Scope},
    view::{
        Block, Cell, Empty, Field, Filter, Table, column,
        text::{spoken, time},
        words,
    },
};

const HERE: &str = "/console/audit";
/// Entries on a page.
const MOST: i64 = 50;
/// How far back it goes unless told.
const USUAL: TimeDelta = TimeDelta::days(7);

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, OPERATORS, list)
            .on(Scope::Either)
            .does("Audit log of a firm, or of the installation"),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    category: Option<String>,
    since: Option<String>,
    about: Option<String>,
    cursor: Option<String>,
}

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let page = at
        .page(SECTION, "Audit log")
        .await?
        .intro(whose(&at))
        .with(tabs(&at, HERE));
    let cursor = chosen(&wanted.cursor);
    let Some(firm) = at.caller.firm else {
        let before = cursor
            .map(str::parse)
            .transpose()
            .map_err(|_| Problem::invalid("cursor", "none of ours"))?;
        let mut conn = at.app.db.pool().acquire().await.map_err(store::Error::from)?;
        let changes = rows::changes(&mut conn, before, MOST).await?;
        drop(conn);
        let next = changes
            .last()
            .filter(|_| changes.len() == usize::try_from(MOST).unwrap_or(0))
            .map(|row| row.id.to_string());
        let (number, columns) = (
            changes.len(),
            [column("When"), column("What"), column("Who"), column("Why")],
        );
        let empty = Empty::new(
            "Nothing was changed by hand yet.",
            "Pauses, retries, logins and tokens of the platform appear here.",
        );
        let table = Table::new("Changes of the installation", &columns, empty).rows(changes, |row| {
            vec![
                Cell::text(time(row.at)),
                Cell::text(spoken(&row.action)),
                Cell::text(row.changed_by),
                Cell::text(row.reason),
            ]
        });
        return page
            .with(Block::Table(table))
            .with(at.pager(HERE, &[], (cursor, next.as_deref()), number))
            .answer();
    };
    let category: Category = chosen(&wanted.category)
        .unwrap_or(Category::Billing.as_str())
        .parse()
        .map_err(|fault| Problem::invalid("category", format!("{fault}")))?;
    let about = chosen(&wanted.about);
    let subjects = match about {
        Some(reference) => {
            let mut conn = at.app.db.pool().acquire().await.map_err(store::Error::from)?;
            let found = resolve::resolve(&mut conn, reference).await?;
            Some(
                found
                    .into_iter()
                    .filter(|row| row.firm == firm)
                    .map(|row| row.id)
                    .collect::<Vec<_>>(),
            )
        }
        None => None,
    };
    let mut tx = at.app.db.firm(firm).await?;
    let since = match chosen(&wanted.since) {
        Some(day) => day
            .parse::<NaiveDate>()
            .ok()
            .and_then(|day| day.and_hms_opt(0, 0, 0))
            .map(|at| at.and_utc())
            .ok_or_else(|| Problem::invalid("since", "give a day"))?,
        None => tx.now() - USUAL,
    };
    let before = cursor.map(position).transpose()?;
    let filter = audit_read::Filter {
        category,
        since,
        subjects: subjects.as_deref(),
        before,
    };
    let entries = audit_read::list(&mut tx, firm, &filter, MOST).await?;
    drop(tx);
    let next = entries
        .last()
        .filter(|_| entries.len() == usize::try_from(MOST).unwrap_or(0))
        .map(|row| format!("{}-{}", row.at.timestamp_micros(), row.id));
    let categories: Vec<(&str, &str)> = Category::ALL
        .iter()
        .map(|category| (category.as_str(), category.as_str()))
        .collect();
    let day = since.format("%F").to_string();
    let fields = vec![
        Field::choice("category", "Category", &categories, Some(category.as_str())),
        Field::typed("since", "Since", "date").value(&day),
        Field::line("about", "About")
            .value(about.unwrap_or_default())
            .hint("An id, a number or an external id"),
    ];
    let columns = [
        column("When"),
        column("What"),
        column("Who"),
        column("About"),
        column("Details"),
    ];
    let empty = Empty::new(
        "Nothing is on record like this.",
        "Look further back, or at another category.",
    );
    let number = entries.len();
    let table = Table::new("", &columns, empty).rows(entries, |row| cells(&at, row));
    let query = [
        ("category", Some(category.as_str())),
        ("since", Some(day.as_str())),
        ("about", about),
    ];
    page.with(Block::Filter(Filter {
        action: HERE.to_owned(),
        fields,
    }))
    .with(Block::Table(table))
    .with(at.pager(HERE, &query, (cursor, next.as_deref()), number))
    .answer()
}

fn position(cursor: &str) -> Result<(DateTime<Utc>, i64), Problem> {
    let parts = cursor.split_once('-').and_then(|(at, id)| {
        Some((
            DateTime::from_timestamp_micros(at.parse().ok()?)?,
            id.parse().ok()?,
        ))
    });
    parts.ok_or_else(|| Problem::invalid("cursor", "none of ours"))
}

fn cells(at: &At, row: AuditRow) -> Vec<Cell> {
    let about = match row.subject_id {
        Some(id) => Cell::link_two(
            at.with("/console/explain", &[("id", Some(&id.to_string()))]),
            spoken(&row.subject_kind),
            id.to_string(),
        ),
        None => Cell::text(spoken(&row.subject_kind)),
    };
    let severity = words::severity(&row.severity);
    vec![
        Cell::two(time(row.at), format!("entry {}", row.id)),
        Cell::two(spoken(&row.action), severity.text),
        Cell::two(
            row.actor_id.unwrap_or_else(|| spoken(&row.actor_kind)),
            row.actor_kind,
        ),
        about,
        Cell::Fold {
            summary: "Details".to_owned(),
            about: format!("of entry {}", row.id),
            text: format!(
                "{}\ncause: {} {}",
                serde_json::to_string_pretty(&row.meta).unwrap_or_default(),
                row.cause_kind,
                row.cause_id
            ),
            link: None,
        },
    ]
}
