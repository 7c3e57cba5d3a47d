//! `/billing/credits`: what clients may spend, lot by lot. A portal user sees their own.

use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use shared::{
    ids::CreditLotId,
    store::{clients_read, credits as lots, portal::lists},
};

use super::{
    PageProblem,
    form::form,
    page::{Asked, At, ROWS},
};
use crate::{
    api::{clients as api, find},
    problem::Problem,
    request::{Id, PageQuery},
    route::{BILLING_ACTS, BILLING_AND_CLIENTS, Route},
    view::{
        Block, Card, Cell, Empty, Facts, Field, Form, Table, Tone, column, note, numbers,
        text::{NONE, encoded, maybe_day, money, spoken, time},
    },
};

const HERE: &str = "/billing/credits";
/// Clients listed: those with the largest balances.
const MOST_CLIENTS: i64 = 200;

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, BILLING_AND_CLIENTS, list).does("Clients with credit"),
        Route::page("/billing/credits/{id}", BILLING_AND_CLIENTS, show)
            .does("One client: cards, credit and what was done with it"),
        form(
            Route::form("/billing/credits/{id}/give", BILLING_ACTS, api::issue).does("Give a client credit"),
            "credit",
        ),
    ]
}

async fn list(at: At) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    if let Some(own) = at.caller.client {
        return Ok(Redirect::to(&format!("{HERE}/{own}")).into_response());
    }
    let mut tx = at.app.db.firm(firm).await?;
    let rows = lists::credits(&mut tx, firm, MOST_CLIENTS).await?;
    let clients = clients_read::list(&mut tx, firm, None, 50).await?;
    drop(tx);
    let link = |client: &str| at.to(&format!("{HERE}/{}", encoded(client)));
    let columns = [column("Client"), numbers("Credit")];
    let empty = Empty::new(
        "No client has credit.",
        "Credit comes from refunds, overpayments and what is given by hand.",
    );
    let table = Table::new("Credit", &columns, empty).rows(rows, |row| {
        vec![
            Cell::link(link(&row.client.to_string()), row.label),
            Cell::text(money(row.balance_minor, &row.currency)),
        ]
    });
    let columns = [column("Client"), column("Name"), column("Pays automatically")];
    let empty = Empty::new(
        "There are no clients yet.",
        "They come with an import: quittance import FILE.",
    );
    let all = Table::new("Clients, the newest first", &columns, empty).rows(clients, |row| {
        let pays = match (&row.autopay_paused_reason, row.autopay_enabled) {
            (Some(reason), _) => Cell::two("Paused", spoken(reason)),
            (None, true) => Cell::text("Yes"),
            (None, false) => Cell::text("No"),
        };
        vec![
            Cell::link(
                link(&row.id.to_string()),
                row.external_id.unwrap_or_else(|| row.id.to_string()),
            ),
            Cell::text(row.name),
            pays,
        ]
    });
    at.page(HERE, "Credits")
        .await?
        .intro("Credit pays invoices as they are issued, the soonest to expire first.")
        .with(Block::Table(table))
        .with(Block::Table(all))
        .answer()
}

#[derive(Deserialize)]
struct Wanted {
    cursor: Option<String>,
}

async fn show(at: At, Id(id): Id, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let (firm, client) = find::client(&at.app.db, &at.caller, &id).await?;
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let mut tx = at.app.db.firm(firm).await?;
    let view = clients_read::show(&mut tx, firm, client).await?;
    let mut rows = lots::lots(
        &mut tx,
        firm,
        client,
        query.after_id()?.map(CreditLotId),
        query.fetch()?,
    )
    .await?;
    drop(tx);
    let mut view = view.ok_or_else(|| Problem::not_found(format!("there is no client {id:?}")))?;
    if at.caller.is_client() {
        view = view.for_client();
        rows = rows.into_iter().map(lots::LotRow::for_client).collect();
    }
    let shown = query.page(rows, |row| row.id.to_string())?;
    let mut cards: Vec<Card> = view
        .credit
        .iter()
        .map(|credit| {
            Card::new("Credit", money(credit.minor, &credit.currency), "May be spent").tone(Tone::Good)
        })
        .collect();
    if cards.is_empty() {
        cards.push(Card::new("Credit", "None", "Nothing to spend"));
    }
    cards.push(
        Card::new("Open invoices", view.open_invoices.len().to_string(), "").href(at.with(
            "/billing/invoices",
            &[("client", Some(&id)), ("open", Some("true"))],
        )),
    );
    let autopay = if view.autopay.enabled { "Yes" } else { "No" };
    let paused = view
        .autopay
        .paused_reason
        .as_deref()
        .map_or_else(String::new, |reason| format!("paused: {}", spoken(reason)));
    let mut rows = vec![
        ("Name", Cell::text(view.name.clone())),
        ("Pays automatically", Cell::two(autopay, paused)),
    ];
    for card in &view.payment_methods {
        let until = card
            .exp_month
            .zip(card.exp_year)
            .map_or_else(String::new, |(month, year)| {
                format!("until {month:02}/{year}, {}", spoken(&card.status).to_lowercase())
            });
        rows.push((
            "Card",
            Cell::two(
                format!(
                    "{} ending {}",
                    card.brand.as_deref().map_or("Card".to_owned(), spoken),
                    card.last4.as_deref().unwrap_or(NONE)
                ),
                until,
            ),
        ));
    }
    let columns = [
        column("Lot"),
        column("Given"),
        numbers("Amount"),
        numbers("Left"),
        column("Expires"),
        column("Used for"),
    ];
    let empty = Empty::new(
        "This client has never had credit.",
        "It comes from refunds, overpayments and what is given by hand.",
    );
    let number = shown.data.len();
    let table = Table::new("Lots", &columns, empty).rows(shown.data, |lot| {
        let uses: Vec<String> = lot
            .applications
            .iter()
            .map(|part| {
                format!(
                    "{} {}{}",
                    part.invoice,
                    money(part.amount_minor, &lot.currency),
                    if part.released_at.is_some() {
                        " (given back)"
                    } else {
                        ""
                    }
                )
            })
            .collect();
        vec![
            Cell::two(spoken(&lot.source), lot.reason.clone()),
            Cell::two(time(lot.issued_at), lot.issued_by.clone().unwrap_or_default()),
            Cell::text(money(lot.amount_minor, &lot.currency)),
            Cell::two(
                money(lot.remaining_minor, &lot.currency),
                if lot.expired_minor > 0 {
                    format!("{} expired", money(lot.expired_minor, &lot.currency))
                } else {
                    String::new()
                },
            ),
            Cell::text(maybe_day(lot.expires_on)),
            Cell::text(if uses.is_empty() {
                NONE.to_owned()
            } else {
                uses.join(", ")
            }),
        ]
    });
    let path = format!("{HERE}/{}", encoded(&id));
    let title = view.external_id.clone().unwrap_or_else(|| view.name.clone());
    let mut page = at.page(HERE, title).await?;
    if at.caller.client.is_none() {
        page = page.up(at.to(HERE), "Credits");
    }
    page = page
        .with(Block::Cards(cards))
        .with(Block::Facts(Facts {
            title: "Client".to_owned(),
            rows,
        }))
        .with(Block::Table(table))
        .with(at.pager(
            &path,
            &[],
            (wanted.cursor.as_deref(), shown.next_cursor.as_deref()),
            number,
        ));
    if at.acts() {
        let form = Form::new("give", "Give credit", format!("{path}/give"), "Give credit")
            .intro("It is spent by itself on the next invoices.")
            .field(Field::line("amount", "Amount in the firm's currency").required())
            .field(Field::reason())
            .field(Field::typed("expires_on", "Worth nothing from", "date").hint("Never unless told."));
        page = page.with(Block::Actions("Do something".to_owned(), vec![form]));
    }
    if view.disputes.is_empty() {
        page.answer()
    } else {
        page.with(note(
            Tone::Warn,
            format!("Disputes of this client: {}.", view.disputes.join(", ")),
        ))
        .answer()
    }
}
