//! `/billing/explain` and `/console/explain`: what happened and why, of whatever an id means, as `quittance explain` says it.

use axum::response::Response;
use serde::Deserialize;
use shared::{
    actions::explain::{self as actions, Whose},
    domain::{explain::Answer, predicate::Predicate},
};

use super::{
    PageProblem, console,
    page::{Asked, At, chosen},
};
use crate::{
    auth::login::begin,
    route::{BILLING, OPERATORS, Route, Scope},
    view::{
        Badge, Block, Cell, Empty, Facts, Field, Filter, Step, Table, Tone, column,
        text::{maybe_time, spoken},
    },
};

const HERE: &str = "/billing/explain";
const OF_CONSOLE: &str = "/console/explain";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, BILLING, of_firm).does("Why something happened, or did not"),
        Route::page(OF_CONSOLE, OPERATORS, of_console)
            .on(Scope::Either)
            .does("Why something happened, or did not"),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    id: Option<String>,
}

async fn of_firm(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    show(at, chosen(&wanted.id), HERE).await
}

async fn of_console(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    show(at, chosen(&wanted.id), OF_CONSOLE).await
}

async fn show(at: At, id: Option<&str>, here: &'static str) -> Result<Response, PageProblem> {
    let in_console = here == OF_CONSOLE;
    let section = if in_console { console::SECTION } else { "/billing/" };
    let mut page = at.page(section, "Explain").await?.intro(
        "Give an invoice number, an external id, a UUID, or any id of Stripe's: pi_, ch_, re_, dp_, evt_.",
    );
    if in_console {
        page = page.with(console::tabs(&at, OF_CONSOLE));
    }
    let field = Field::line("id", "Id").value(id.unwrap_or_default()).required();
    page = page.with(Block::Filter(Filter {
        action: here.to_owned(),
        fields: vec![field],
    }));
    let Some(id) = id else { return page.answer() };
    let mut tx = begin(&at.app.db, at.caller.firm).await?;
    let now = tx.now();
    let meant = actions::find(&mut tx, id, Whose::Only(at.caller.firm)).await?;
    drop(tx);
    let answer = actions::answer(&at.app.db, id, meant, now).await?;
    page.with_all(told(&at, here, &answer)).answer()
}

/// An answer: the verdict, what led to it, what was checked, what to do, and where it is written.
fn told(at: &At, here: &str, answer: &Answer) -> Vec<Block> {
    let mut rows = vec![(
        "Verdict",
        Cell::two(
            answer.verdict.clone(),
            format!("{} {}", answer.question, answer.subject),
        ),
    )];
    if let Some(code) = &answer.reason_code {
        rows.push(("Reason", Cell::code(code.clone())));
    }
    if answer.since.is_some() {
        rows.push(("Since", Cell::text(maybe_time(answer.since))));
    }
    let mut blocks = vec![Block::Facts(Facts {
        title: answer.subject.clone(),
        rows,
    })];
    if !answer.remedies.is_empty() {
        let steps = answer
            .remedies
            .iter()
            .map(|text| Step {
                at: String::new(),
                what: text.clone(),
                note: String::new(),
                tone: Tone::Busy,
            })
            .collect();
        blocks.push(Block::Timeline("What to do".to_owned(), steps));
    }
    if !answer.chain.is_empty() {
        let columns = [column("What"), column("When"), column("Why"), column("Id")];
        let table = Table::new("What led to it", &columns, Empty::default()).rows(&answer.chain, |link| {
            let id = link.id.as_ref().map_or_else(
                || Cell::text("—"),
                |id| Cell::link(at.with(here, &[("id", Some(id))]), id.clone()),
            );
            vec![
                Cell::text(spoken(link.what)),
                Cell::text(maybe_time(link.at)),
                Cell::text(link.text.clone()),
                id,
            ]
        });
        blocks.push(Block::Table(table));
    }
    if !answer.checks.is_empty() {
        let table = Table::new(
            "What was checked",
            &[column("Condition"), column("Result"), column("Value")],
            Empty::default(),
        )
        .rows(&answer.checks, check);
        blocks.push(Block::Table(table));
    }
    if !answer.evidence.is_empty() {
        blocks.push(Block::Text(
            "Where it is written".to_owned(),
            answer.evidence.join("\n"),
        ));
    }
    blocks
}

fn check(check: &Predicate) -> Vec<Cell> {
    let result = match check.ok {
        Some(true) => Badge::new("Holds", Tone::Good),
        Some(false) => Badge::new("Fails", Tone::Bad),
        None => Badge::new("Nothing to judge", Tone::Plain),
    };
    let value = match &check.value {
        serde_json::Value::Null => "—".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    vec![Cell::text(spoken(check.name)), result.into(), Cell::text(value)]
}
