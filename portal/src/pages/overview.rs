//! `/billing/`: what clients owe and what comes in, at a glance (R118, R207).

use axum::response::Response;
use chrono::TimeDelta;
use shared::store::{
    disputes,
    portal::{collections as sums, lists},
};

use super::{PageProblem, page::At};
use crate::{
    route::{BILLING, Route},
    view::{
        Block, Card, Tone,
        collections::{ageing, declines, funnel, months, since},
        text::{away, count, money},
    },
};

const HERE: &str = "/billing/";
/// How far back reasons and steps are counted.
const RECENT: TimeDelta = TimeDelta::days(90);
/// Open disputes that are counted.
const MOST_DISPUTES: i64 = 100;

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![Route::page(HERE, BILLING, overview).does("What clients owe and what comes in")]
}

async fn overview(at: At) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let mut tx = at.app.db.firm(firm).await?;
    let now = tx.now();
    let (currency, today) = sums::usual_currency(&mut tx, firm).await?;
    let sums = sums::sums(&mut tx, firm, &currency, (since(today), today)).await?;
    let reasons = sums::declines(&mut tx, firm, now - RECENT).await?;
    let rungs = sums::rungs(&mut tx, firm, now - RECENT).await?;
    let open = disputes::Filter {
        status: Some("open"),
        ..disputes::Filter::default()
    };
    let open = disputes::list(&mut tx, firm, &open, MOST_DISPUTES).await?;
    let alerts = lists::alert_counts(&mut tx, Some(firm)).await?;
    drop(tx);
    let total: i64 = sums.ages.iter().map(|age| age.open_minor).sum();
    let late: i64 = sums
        .ages
        .iter()
        .filter(|age| age.bucket != "not_due")
        .map(|age| age.open_minor)
        .sum();
    let deadline = open
        .iter()
        .filter_map(|dispute| dispute.respond_by)
        .filter(|by| *by > now)
        .min();
    let deadline = deadline.map_or_else(
        || "No deadline is ahead".to_owned(),
        |by| format!("Next deadline {}", away(by, now)),
    );
    let cards = vec![
        Card::new(
            "Open",
            money(total, &currency),
            "On invoices of the last 12 months",
        )
        .href(at.with("/billing/invoices", &[("open", Some("true"))])),
        Card::new("Overdue", money(late, &currency), "Past the due date")
            .tone(if late > 0 { Tone::Warn } else { Tone::Good })
            .href(at.with("/billing/invoices", &[("status", Some("overdue"))])),
        Card::new(
            "Open disputes",
            count(i64::try_from(open.len()).unwrap_or(i64::MAX)),
            deadline,
        )
        .tone(if open.is_empty() { Tone::Good } else { Tone::Bad })
        .href(at.to("/billing/disputes")),
        Card::new(
            "Alerts",
            format!("{} unread", count(alerts.unread)),
            format!("{} open", count(alerts.open)),
        )
        .tone(if alerts.critical > 0 {
            Tone::Bad
        } else if alerts.unread > 0 {
            Tone::Warn
        } else {
            Tone::Good
        })
        .href(at.to("/api/alerts/")),
    ];
    at.page(HERE, "Overview")
        .await?
        .intro(format!(
            "Amounts in {}, the firm's own currency.",
            currency.to_uppercase()
        ))
        .with(Block::Cards(cards))
        .with(Block::Columns(months(&sums.months, today, &currency)))
        .with(Block::Bars(ageing(&sums.ages, &currency)))
        .with(Block::Bars(funnel(&rungs)))
        .with(Block::Bars(declines(&reasons).alone()))
        .answer()
}
