//! `/account`: where somebody is logged in, and how they end what they have left open elsewhere.

use axum::response::Response;

use super::{PageProblem, form::form, page::At};
use crate::{
    api::session as api,
    auth::caller::Via,
    route::{PEOPLE, Route, Scope},
    view::{Badge, Block, Cell, Empty, Form, Table, Tone, column, text::time},
};

const HERE: &str = "/account";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, PEOPLE, show)
            .on(Scope::None)
            .does("Where the caller is logged in"),
        form(
            Route::form("/account/sessions/{id}/end", PEOPLE, api::end)
                .on(Scope::None)
                .does("End one of the caller's own sessions"),
            "session_ended",
        ),
    ]
}

async fn show(at: At) -> Result<Response, PageProblem> {
    let sessions = api::own(&at.app, &at.caller).await?;
    let this = match &at.caller.via {
        Via::Session { id, .. } => Some(*id),
        Via::Token(_) => None,
    };
    let columns = [
        column("Began"),
        column("Used last"),
        column("Ends at the latest"),
        column("Do"),
    ];
    let empty = Empty::new("You are logged in nowhere.", "");
    let table = Table::new("Where you are logged in", &columns, empty).rows(sessions, |session| {
        let act = if Some(session.id) == this {
            Badge::new("This one", Tone::Good).into()
        } else {
            Cell::Forms(vec![Form::button(
                format!("end-{}", session.id),
                format!("{HERE}/sessions/{}/end", session.id),
                "End it",
                format!("session that began {}", time(session.created_at)),
            )])
        };
        vec![
            Cell::text(time(session.created_at)),
            Cell::text(time(session.seen_at)),
            Cell::text(time(session.expires_at)),
            act,
        ]
    });
    at.page(HERE, "Your sessions")
        .await?
        .intro("A session ends after an hour without use. End those that you do not know, and have your password changed.")
        .with(Block::Table(table))
        .answer()
}
