//! `/console/findings`: where our books differ from Stripe's.

use axum::response::Response;
use serde::Deserialize;
use shared::store::{self, reconcile::findings};

use super::{SECTION, tabs, whose};
use crate::{
    pages::{
        PageProblem,
        page::{Asked, At, chosen},
    },
    route::{OPERATORS, Route, Scope},
    view::{
        Badge, Block, Cell, Empty, Field, Filter, Table, Tone, column, numbers,
        text::{count, spoken, time},
    },
};

const HERE: &str = "/console/findings";
/// Findings shown.
const MOST: i64 = 200;

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, OPERATORS, list)
            .on(Scope::Either)
            .does("Differences to Stripe's books"),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    all: Option<String>,
}

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let settled_too = chosen(&wanted.all) == Some("true");
    let page = at
        .page(SECTION, "Reconciliation findings")
        .await?
        .intro(whose(&at))
        .with(tabs(&at, HERE));
    let Some(firm) = at.caller.firm else {
        let mut conn = at.app.db.pool().acquire().await.map_err(store::Error::from)?;
        let open = findings::open(&mut conn).await?;
        drop(conn);
        let empty = Empty::new(
            "Our books and Stripe's agree for every firm.",
            "Each run of the reconciliation looks again.",
        );
        let table = Table::new(
            "Firms with open findings",
            &[column("Firm"), numbers("Open findings")],
            empty,
        )
        .rows(open, |row| {
            vec![Cell::text(row.firm), Cell::text(count(row.findings))]
        });
        return page.with(Block::Table(table)).answer();
    };
    let mut tx = at.app.db.firm(firm).await?;
    let rows = findings::list(&mut tx, firm, settled_too, None, MOST).await?;
    drop(tx);
    let columns = [
        column("Finding"),
        column("Subject"),
        column("State"),
        column("Found"),
        column("Both sides"),
    ];
    let empty = Empty::new(
        "Nothing differs.",
        "Our books of this firm and Stripe's agree as of the last run.",
    );
    let table = Table::new("", &columns, empty).rows(rows, |row| {
        let side = |value: &Option<serde_json::Value>| {
            value.as_ref().map_or_else(
                || "nothing".to_owned(),
                |value| serde_json::to_string_pretty(value).unwrap_or_default(),
            )
        };
        let text = format!(
            "ours: {}\nStripe's: {}\nrepair: {}",
            side(&row.ours),
            side(&row.stripe),
            side(&row.repair)
        );
        let state = if row.settled_at.is_some() {
            Badge::new("Settled", Tone::Good)
        } else {
            Badge::new("Open", Tone::Bad)
        };
        vec![
            Cell::two(spoken(&row.kind), row.layer),
            Cell::code(row.subject.clone()),
            state.into(),
            Cell::two(time(row.found_at), format!("last seen {}", time(row.seen_at))),
            Cell::Fold {
                summary: "Compare".to_owned(),
                about: row.subject,
                text,
                link: None,
            },
        ]
    });
    page.with(Block::Filter(Filter {
        action: HERE.to_owned(),
        fields: vec![Field::check("all", "Settled ones too", settled_too)],
    }))
    .with(Block::Table(table))
    .answer()
}
