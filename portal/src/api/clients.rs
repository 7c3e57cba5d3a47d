//! Clients: their cards, their credit, what they owe.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use shared::{
    actions::{
        clients::{self, AutopayShown},
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
use uuid::Uuid;

use super::find;
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Id, Input, Page, PageQuery, Reason, said},
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
        Route::post("/api/v1/clients/{id}/autopay/on", BILLING_ACTS, autopay_on)
            .does("Collect this client's invoices by card")
            .takes::<AutopayOn>()
            .answers::<AutopayShown>(),
        Route::post("/api/v1/clients/{id}/autopay/off", BILLING_ACTS, autopay_off)
            .does("Stop collecting by card; retries that are planned are given up")
            .takes::<Reason>()
            .answers::<AutopayShown>(),
        Route::post("/api/v1/clients/{id}/payment-methods", BILLING_ACTS, add_card)
            .does("Attach a card that Stripe keeps for the client; a worker asks Stripe")
            .takes::<NewCard>()
            .answers_with::<CardOrdered>(StatusCode::ACCEPTED),
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

/// With which card, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutopayOn {
    /// A card of the client's, by its Stripe id; the one that is set unless told.
    payment_method: Option<String>,
    /// Why, for the audit log.
    #[schema(min_length = 1)]
    reason: String,
}

async fn autopay_on(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<AutopayOn>,
) -> Result<Response, Problem> {
    let reason = said("reason", &input.value.reason)?;
    let (firm, client) = find::client(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let wanted = (input.value.payment_method.as_deref(), Some(reason));
    let shown = clients::autopay_on(tx, firm, client, wanted, &by).await?;
    act.done(StatusCode::OK, &shown).await
}

async fn autopay_off(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let (firm, client) = find::client(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let shown = clients::autopay_off(tx, firm, client, Some(reason), &by).await?;
    act.done(StatusCode::OK, &shown).await
}

/// A card to be attached.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCard {
    /// Stripe's id of it.
    #[schema(min_length = 1)]
    payment_method: String,
    /// Charge it automatically from now on, as the client has agreed to.
    #[serde(default)]
    #[schema(required = false)]
    charge_it: bool,
}

/// Who asks Stripe for it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CardOrdered {
    /// The job: `/api/v1/jobs/ID` says what became of it.
    job: Option<Uuid>,
}

async fn add_card(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<NewCard>,
) -> Result<Response, Problem> {
    let order = (input.value.payment_method.trim(), input.value.charge_it);
    let (firm, client) = find::client(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let job = clients::order_card(tx, firm, client, order, &by).await?;
    let ordered = CardOrdered {
        job: job.map(|job| job.0),
    };
    act.done(StatusCode::ACCEPTED, &ordered).await
}
