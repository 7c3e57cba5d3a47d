//! Break-glass as pages: an operator opens a session for a firm, for a reason and a time; the firm sees who looked in, ends a session
//! and puts on record that it has looked at what was done.

use axum::response::Response;
use shared::store::{
    self,
    break_glass::{self, Filter as Which},
};

use super::{SECTION, tabs};
use crate::{
    api::glass as api,
    auth::Role,
    pages::{PageProblem, form::form, page::At},
    route::{BILLING_ACTS, OPERATORS, Route, Scope},
    view::{
        Badge, Block, Cell, Empty, Field, Form, Table, Tone, column, numbers,
        text::{away, count, spoken, time},
    },
};

const HERE: &str = "/console/break-glass";
const OF_FIRM: &str = "/billing/break-glass";
/// Sessions shown.
const MOST: i64 = 200;
/// Who ends a session.
const ENDERS: &[Role] = &[Role::Owner, Role::Admin, Role::Operator];

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, OPERATORS, list)
            .on(Scope::Either)
            .does("The caller's break-glass sessions"),
        form(
            Route::form("/console/break-glass/open", OPERATORS, api::open)
                .on(Scope::Platform)
                .does("Open a break-glass session"),
            "opened",
        ),
        form(
            Route::form("/console/break-glass/{id}/revoke", ENDERS, api::revoke)
                .on(Scope::None)
                .does("End a break-glass session"),
            "revoked",
        ),
        Route::page(OF_FIRM, BILLING_ACTS, of_firm).does("Who of the platform has looked into this firm"),
        form(
            Route::form("/billing/break-glass/{id}/review", BILLING_ACTS, api::review)
                .on(Scope::None)
                .does("Record that a session was looked at"),
            "reviewed",
        ),
    ]
}

async fn list(at: At) -> Result<Response, PageProblem> {
    let mut conn = at.app.db.pool().acquire().await.map_err(store::Error::from)?;
    let open = break_glass::all_open(&mut conn).await?;
    drop(conn);
    let now = at.app.db.now().await?;
    let own = open
        .into_iter()
        .filter(|session| session.operator == at.caller.label);
    let columns = [column("Firm"), column("Why"), column("Until"), column("Do")];
    let empty = Empty::new(
        "You have no open session.",
        "Without one you see nothing of any firm. Open one below when a ticket needs it.",
    );
    let table = Table::new("Your open sessions", &columns, empty).rows(own, |session| {
        let end = Form::button(
            format!("end-{}", session.id),
            format!("{HERE}/{}/revoke", session.id),
            "End it",
            format!("session for {}", session.firm),
        )
        .field(Field::reason())
        .folded();
        let firm = session.firm.to_string();
        vec![
            Cell::link_two(
                crate::view::text::address("/billing/", &[("firm", Some(&firm))]),
                "Look into this firm",
                firm.clone(),
            ),
            Cell::text(session.reason),
            Cell::two(time(session.expires_at), away(session.expires_at, now)),
            Cell::Forms(vec![end]),
        ]
    });
    let lengths = [
        ("30", "Half an hour"),
        ("60", "An hour"),
        ("240", "Four hours"),
        ("1440", "A day"),
    ];
    let new = Form::new(
        "open",
        "Open a session",
        "/console/break-glass/open",
        "Open the session",
    )
    .intro("The firm sees a banner for as long as it is open, and every look is recorded in its audit log.")
    .field(
        Field::line("firm", "Firm")
            .hint("Its id or external id.")
            .required(),
    )
    .field(Field::reason())
    .field(Field::choice("minutes", "For", &lengths, Some("60")));
    at.page(SECTION, "Break-glass")
        .await?
        .with(tabs(&at, HERE))
        .with(Block::Table(table))
        .with(Block::Form(new))
        .answer()
}

async fn of_firm(at: At) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let mut tx = at.app.db.firm(firm).await?;
    let sessions = break_glass::list(
        &mut tx,
        firm,
        Which {
            id: None,
            unreviewed: false,
        },
        MOST,
    )
    .await?;
    drop(tx);
    let columns = [
        column("Operator"),
        column("Why"),
        column("State"),
        column("From and until"),
        numbers("Looks"),
        column("Review"),
    ];
    let empty = Empty::new(
        "Nobody of the platform has looked into this firm.",
        "A session appears here as soon as it is opened.",
    );
    let table = Table::new("", &columns, empty).rows(sessions, |session| {
        let about = format!("session of {}", session.operator);
        let state = match session.state.as_str() {
            "open" => Badge::new("Open", Tone::Bad),
            other => Badge::new(spoken(other), Tone::Plain),
        };
        let review = match (&session.reviewed_by, session.state.as_str()) {
            (Some(by), _) => Cell::two(
                format!("Reviewed by {by}"),
                session.review_note.clone().unwrap_or_default(),
            ),
            (None, "open") => Cell::Forms(vec![
                Form::button(
                    format!("end-{}", session.id),
                    format!("{HERE}/{}/revoke", session.id),
                    "End it now",
                    &about,
                )
                .field(Field::reason())
                .folded(),
            ]),
            (None, _) => Cell::Forms(vec![
                Form::button(
                    format!("review-{}", session.id),
                    format!("{OF_FIRM}/{}/review", session.id),
                    "Review",
                    &about,
                )
                .field(Field::line("note", "What you found").required())
                .folded(),
            ]),
        };
        vec![
            Cell::two(
                session.operator.clone(),
                format!("opened by {}", session.opened_by),
            ),
            Cell::text(session.reason.clone()),
            state.into(),
            Cell::two(
                time(session.opened_at),
                time(session.revoked_at.unwrap_or(session.expires_at)),
            ),
            Cell::text(count(session.accesses)),
            review,
        ]
    });
    at.page(OF_FIRM, "Break-glass sessions")
        .await?
        .intro("When somebody of the platform looked into this firm, why, and how often.")
        .with(Block::Table(table))
        .answer()
}
