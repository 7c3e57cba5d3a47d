//! `/api/alerts/`: what a person should look at (R207).

use axum::response::Response;
use serde::Deserialize;
use shared::{
    domain::alert::AlertType,
    ids::AlertId,
    store::{
        alerts::{self, AlertRow, Filter as Which},
        portal::lists,
    },
};

use super::{
    PageProblem,
    form::form,
    page::{Asked, At, ROWS, chosen},
};
use crate::{
    api::alerts as api,
    auth::login::begin,
    request::PageQuery,
    route::{BILLING, Route, Scope},
    view::{
        Badge, Block, Card, Cell, Empty, Field, Filter, Form, Table, Tone, column,
        text::{count, encoded, spoken, time},
        words,
    },
};

const HERE: &str = "/api/alerts/";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, BILLING, list)
            .on(Scope::Either)
            .does("Alerts, what they mean, and who has read them"),
        form(
            Route::form("/api/alerts/read-all", BILLING, api::read_all)
                .on(Scope::Either)
                .does("Mark all alerts as read"),
            "all_read",
        ),
        form(
            Route::form("/api/alerts/{id}/read", BILLING, api::read)
                .on(Scope::Either)
                .does("Mark an alert as read"),
            "read",
        ),
        form(
            Route::form("/api/alerts/{id}/resolve", BILLING, api::resolve)
                .on(Scope::Either)
                .does("Mark an alert as over"),
            "resolved",
        ),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    show: Option<String>,
    r#type: Option<String>,
    cursor: Option<String>,
}

const SHOWN: [(&str, &str); 3] = [
    ("", "Open"),
    ("unread", "Unread"),
    ("all", "All, resolved ones too"),
];

/// What each type is about, in the order of R206.
const LEGEND: [(AlertType, &str); 11] = [
    (
        AlertType::PaymentFailed,
        "A charge failed, of a client or of this firm's own plan. Retries go on by themselves unless the alert says otherwise.",
    ),
    (
        AlertType::RetryExhausted,
        "The last retry of an invoice failed: a person decides what comes next.",
    ),
    (
        AlertType::DisputeOpened,
        "A client contests a payment. Evidence counts until the deadline.",
    ),
    (
        AlertType::SubscriptionExpiring,
        "The plan ends or its card expires before it renews.",
    ),
    (AlertType::SubscriptionCancelled, "The plan has ended."),
    (
        AlertType::UsageHigh,
        "80 % or more of what the plan allows is used.",
    ),
    (
        AlertType::DriftDetected,
        "Our books and Stripe's differ. Nothing is mended without a person.",
    ),
    (AlertType::AgentOffline, "An agent has not reported for a while."),
    (
        AlertType::AgentNeverSynced,
        "An agent was installed and has never reported.",
    ),
    (AlertType::PolicyChanged, "Somebody changed a policy."),
    (
        AlertType::SystemError,
        "Something failed on our side and needs a look.",
    ),
];

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let show = chosen(&wanted.show);
    let kind = chosen(&wanted.r#type);
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let filter = Which {
        resolved_too: show == Some("all"),
        unread_only: show == Some("unread"),
        kind,
        id: None,
        after: query.after_id()?.map(AlertId),
    };
    let mut tx = begin(&at.app.db, at.caller.firm).await?;
    let now = tx.now();
    let counts = lists::alert_counts(&mut tx, at.caller.firm).await?;
    let rows = alerts::list(&mut tx, at.caller.firm, &filter, query.fetch()?).await?;
    drop(tx);
    let shown = query.page(rows, |row| row.id.to_string())?;
    let cards =
        vec![
            Card::new("Unread", count(counts.unread), "Nobody has looked at them")
                .tone(if counts.unread > 0 { Tone::Warn } else { Tone::Good }),
            Card::new(
                "Open",
                count(counts.open),
                "Not resolved, by a person or by what settles them",
            ),
            Card::new("Critical", count(counts.critical), "Open and critical").tone(if counts.critical > 0 {
                Tone::Bad
            } else {
                Tone::Good
            }),
        ];
    let mut types = vec![("", "All")];
    types.extend(AlertType::ALL.iter().map(|kind| (kind.as_str(), kind.as_str())));
    let filter_form = Filter {
        action: HERE.to_owned(),
        fields: vec![
            Field::choice("show", "Show", &SHOWN, show),
            Field::choice("type", "Type", &types, kind),
        ],
    };
    let empty = match (show, kind) {
        (None, None) => Empty::new(
            "Nothing is open.",
            "Alerts appear here when a charge fails, a dispute begins or a limit comes near.",
        ),
        _ => Empty::new("No alert is like this.", "Choose another filter.")
            .link(at.to(HERE), "Show what is open"),
    };
    let columns = [
        column("Alert"),
        column("Severity"),
        column("When"),
        column("Related"),
        column("State"),
    ];
    let number = shown.data.len();
    let table = Table::new("", &columns, empty).rows(shown.data, |alert| cells(&at, alert, now));
    let mut page = at
        .page(HERE, "Alerts")
        .await?
        .with(Block::Cards(cards))
        .with(Block::Filter(filter_form));
    if counts.unread > 0 {
        let button = Form::button("read-all", at.to("/api/alerts/read-all"), "Mark all as read", "");
        page = page.with(Block::Form(button));
    }
    page.with(Block::Table(table))
        .with(at.pager(
            HERE,
            &[("show", show), ("type", kind)],
            (wanted.cursor.as_deref(), shown.next_cursor.as_deref()),
            number,
        ))
        .with(legend())
        .answer()
}

fn legend() -> Block {
    let mut words: Vec<(Badge, String)> = vec![
        (
            words::severity("critical"),
            "Act today: money or a deadline is at stake.".to_owned(),
        ),
        (words::severity("warning"), "Look at it soon.".to_owned()),
        (words::severity("info"), "Good to know; nothing to do.".to_owned()),
    ];
    words.extend(LEGEND.iter().map(|(kind, means)| {
        (
            Badge::new(spoken(kind.as_str()), Tone::Plain),
            (*means).to_owned(),
        )
    }));
    Block::Legend("What the words mean".to_owned(), words)
}

fn cells(at: &At, alert: AlertRow, now: chrono::DateTime<chrono::Utc>) -> Vec<Cell> {
    let id = alert.id;
    let about = alert.title.clone();
    let mut when = crate::view::text::away(alert.last_seen_at, now);
    if alert.occurrences > 1 {
        when = format!("{when}, {} times", alert.occurrences);
    }
    let related = serde_json::to_string_pretty(&alert.related_data).unwrap_or_default();
    let invoice = alert.invoice.map(|invoice| {
        let href = super::invoices::href(at, encoded(&invoice));
        (href, format!("Invoice {invoice}"))
    });
    let mut acts = Vec::new();
    if !alert.is_read {
        acts.push(Form::button(
            format!("read-{id}"),
            at.to(&format!("/api/alerts/{id}/read")),
            "Mark read",
            &about,
        ));
    }
    if !alert.is_resolved {
        acts.push(Form::button(
            format!("resolve-{id}"),
            at.to(&format!("/api/alerts/{id}/resolve")),
            "Resolve",
            &about,
        ));
    }
    let state = match (&alert.resolved_by, alert.is_resolved) {
        (Some(by), true) => Cell::two("Resolved", format!("by {by}")),
        (None, true) => Cell::text("Resolved"),
        (_, false) => Cell::Forms(acts),
    };
    let title = if alert.is_read {
        alert.title
    } else {
        format!("{} · unread", alert.title)
    };
    vec![
        Cell::two(title, alert.message),
        words::severity(&alert.severity).into(),
        Cell::two(time(alert.created_at), when),
        Cell::Fold {
            summary: spoken(&alert.alert_type),
            about: format!("details of {about}"),
            text: related,
            link: invoice,
        },
        state,
    ]
}
