//! Clients: their cards, their credit, what they owe.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use shared::{
    actions::{
        credits::{self as actions, Issued},
        people::Acting,
    },
    currency::Currency,
    domain::credit::Source,
    ids::CreditLotId,
    store::{
        clients_read::{self, ClientRow, ClientView},
        credits::{self, Balance, LotRow},
    },
};
use utoipa::ToSchema;

use super::find;
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Id, Input, Page, PageQuery, said},
    route::{BILLING, BILLING_ACTS, BILLING_AND_CLIENTS, Route},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/clients", BILLING, list)
            .does("Clients, the newest first")
            .paged()
            .answers_page::<ClientRow>(),
        Route::get("/api/v1/clients/{id}", BILLING_AND_CLIENTS, show)
            .does("One client with its cards, credit and what it owes")
            .answers::<ClientView>(),
        Route::get("/api/v1/clients/{id}/credit", BILLING_AND_CLIENTS, balance)
            .does("What a client may spend, by currency")
            .answers::<Balances>(),
        Route::get("/api/v1/clients/{id}/credits", BILLING_AND_CLIENTS, lots)
            .does("A client's credit lot by lot, the newest first")
            .paged()
            .answers_page::<LotRow>(),
        Route::post("/api/v1/clients/{id}/credits", BILLING_ACTS, issue)
            .does("Give a client credit")
            .takes::<CreditOrder>()
            .answers_with::<Issued>(StatusCode::CREATED),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    page: PageQuery,
) -> Result<Json<Page<ClientRow>>, Problem> {
    let firm = caller.firm()?;
    let mut tx = app.db.firm(firm).await?;
    let rows = clients_read::list(&mut tx, firm, page.after_id()?, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}

async fn show(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<ClientView>, Problem> {
    let (firm, client) = find::client(&app.db, &caller, &id).await?;
    let mut tx = app.db.firm(firm).await?;
    let shown = clients_read::show(&mut tx, firm, client).await?;
    shown
        .map(|view| {
            Json(if caller.is_client() {
                view.for_client()
            } else {
                view
            })
        })
        .ok_or_else(|| Problem::not_found(format!("there is no client {id:?}")))
}

/// What a client may spend.
#[derive(Debug, Serialize, ToSchema)]
pub struct Balances {
    /// The client.
    client: String,
    /// By currency.
    balances: Vec<Balance>,
}

async fn balance(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<Balances>, Problem> {
    let (firm, client) = find::client(&app.db, &caller, &id).await?;
    let mut tx = app.db.firm(firm).await?;
    Ok(Json(Balances {
        client: credits::client_and_currency(&mut tx, firm, client).await?.0,
        balances: credits::balances(&mut tx, firm, client).await?,
    }))
}

async fn lots(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    page: PageQuery,
) -> Result<Json<Page<LotRow>>, Problem> {
    let (firm, client) = find::client(&app.db, &caller, &id).await?;
    let after = page.after_id()?.map(CreditLotId);
    let mut tx = app.db.firm(firm).await?;
    let mut rows = credits::lots(&mut tx, firm, client, after, page.fetch()?).await?;
    if caller.is_client() {
        rows = rows.into_iter().map(LotRow::for_client).collect();
    }
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}

/// Credit to be given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditOrder {
    /// How much, such as 12.50.
    amount: String,
    /// In which currency; the firm's unless told.
    currency: Option<String>,
    /// Why.
    #[schema(min_length = 1)]
    reason: String,
    /// `promotional` unless told. `goodwill` and `correction` take the word of a second person, which nobody gives for another here.
    source: Option<String>,
    /// The firm's first day on which it is worth nothing.
    expires_on: Option<NaiveDate>,
}

pub(crate) async fn issue(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<CreditOrder>,
) -> Result<Response, Problem> {
    let order = &input.value;
    let reason = said("reason", &order.reason)?;
    let source: Source = order
        .source
        .as_deref()
        .unwrap_or("promotional")
        .parse()
        .map_err(|fault| Problem::invalid("source", format!("{fault}")))?;
    if ![Source::Promotional, Source::Goodwill, Source::Correction].contains(&source) {
        return Err(Problem::invalid(
            "source",
            "use promotional, goodwill or correction",
        ));
    }
    let currency = order
        .currency
        .as_deref()
        .map(Currency::parse)
        .transpose()
        .map_err(|fault| Problem::invalid("currency", fault.to_string()))?;
    let (firm, client) = find::client(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let giver = Acting::find(tx, firm, &caller.label).await?;
    let wanted = actions::Order {
        client,
        amount: &order.amount,
        currency,
        reason,
        source,
        giver: &giver,
        approver: None,
        expires_on: order.expires_on,
    };
    let (issued, _) = actions::issue(tx, firm, &wanted, &by).await?;
    act.done(StatusCode::CREATED, &issued).await
}
