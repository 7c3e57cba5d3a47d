//! Invoices: looked at, issued, ended, paid from elsewhere, paid by credit, given back.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use shared::{
    actions::{
        credits,
        invoices::{self, Discarded, FromElsewhere, Reissued, end_refusal},
        refunds,
    },
    domain::{
        document::{VoidDecision, WriteOffDecision},
        refund::Destination,
    },
    ids::RefundId,
    store::{
        corrections,
        invoices_read::{self, Filter, InvoiceRow, InvoiceView, Refund},
    },
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::find;
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Id, Input, Nothing, Page, PageQuery, Params, Reason, said},
    route::{BILLING_ACTS, BILLING_AND_CLIENTS, Route},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/invoices", BILLING_AND_CLIENTS, list)
            .does("Invoices, the newest first")
            .query::<List>()
            .paged()
            .answers_page::<InvoiceRow>(),
        Route::get("/api/v1/invoices/{id}", BILLING_AND_CLIENTS, show)
            .does("One invoice with all that happened to it")
            .answers::<InvoiceView>(),
        Route::post("/api/v1/invoices/{id}/issue", BILLING_ACTS, issue)
            .does("Issue a draft")
            .takes::<Nothing>()
            .answers::<InvoiceView>(),
        Route::post("/api/v1/invoices/{id}/discard", BILLING_ACTS, discard)
            .does("Give a draft up")
            .takes::<Reason>()
            .answers::<Discarded>(),
        Route::post("/api/v1/invoices/{id}/reissue", BILLING_ACTS, reissue)
            .does("Give the period of a void invoice free")
            .takes::<Reason>()
            .answers::<Reissued>(),
        Route::post("/api/v1/invoices/{id}/void", BILLING_ACTS, void)
            .does("Take an invoice back; a charge under way is given up first")
            .takes::<Reason>()
            .answers::<Ending>(),
        Route::post("/api/v1/invoices/{id}/write-off", BILLING_ACTS, write_off)
            .does("Give up what is open; a charge under way is given up first")
            .takes::<Reason>()
            .answers::<Ending>(),
        Route::post(
            "/api/v1/invoices/{id}/external-payments",
            BILLING_ACTS,
            pay_external,
        )
        .does("Record money that came by other means")
        .takes::<ExternalPayment>()
        .answers_with::<ExternallyPaid>(StatusCode::CREATED),
        Route::post("/api/v1/invoices/{id}/refunds", BILLING_ACTS, refund)
            .does("Give back what was paid; a worker asks Stripe")
            .takes::<RefundOrder>()
            .answers_with::<Refunded>(StatusCode::CREATED),
        Route::post("/api/v1/invoices/{id}/credit", BILLING_ACTS, apply_credit)
            .does("Pay with the client's credit")
            .takes::<CreditOrder>()
            .answers::<CreditApplied>(),
    ]
}

/// Which invoices.
#[derive(Debug, Deserialize, ToSchema)]
pub struct List {
    /// Only of this client.
    client: Option<String>,
    /// Only with this status.
    status: Option<String>,
    /// Only those on which something is open.
    #[serde(default)]
    #[schema(required = false)]
    open: bool,
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(list): Params<List>,
    page: PageQuery,
) -> Result<Json<Page<InvoiceRow>>, Problem> {
    let firm = caller.firm()?;
    let client = match &list.client {
        Some(reference) => Some(find::client(&app.db, &caller, reference).await?.1),
        None => caller.client,
    };
    let after = match &page.cursor {
        Some(cursor) => Some(find::invoice(&app.db, &caller, cursor).await?.1),
        None => None,
    };
    let filter = Filter {
        client,
        status: list.status.as_deref(),
        after,
        open_only: list.open,
        issued_only: caller.is_client(),
    };
    let mut tx = app.db.firm(firm).await?;
    let rows = invoices_read::list(&mut tx, firm, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}

async fn show(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<InvoiceView>, Problem> {
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut tx = app.db.firm(firm).await?;
    let shown = invoices_read::show(&mut tx, firm, invoice).await?;
    shown
        .map(|view| {
            Json(if caller.is_client() {
                view.for_client()
            } else {
                view
            })
        })
        .ok_or_else(|| Problem::not_found(format!("there is no invoice {id:?}")))
}

pub(crate) async fn issue(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Nothing>,
) -> Result<Response, Problem> {
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let issued = invoices::issue(tx, firm, invoice, &by).await?;
    act.done(StatusCode::OK, &issued).await
}

pub(crate) async fn discard(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    // First, as afterwards there is nothing of this name any more, and the same again gets the same answer.
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let (tx, by) = act.parts();
    let discarded = invoices::discard(tx, firm, invoice, reason, &by).await?;
    act.done(StatusCode::OK, &discarded).await
}

async fn reissue(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let reissued = invoices::reissue(tx, firm, invoice, reason, &by).await?;
    act.done(StatusCode::OK, &reissued).await
}

/// How an invoice that is to end stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ending {
    /// The invoice.
    invoice: Uuid,
    /// Its number.
    number: String,
    /// `void`, `void_requested` (until the charges under way are given up), `written_off` or `issued`.
    state: String,
    /// What is open.
    open_minor: i64,
    /// In which currency.
    currency: String,
}

async fn ending(
    mut act: Act,
    firm: shared::ids::FirmId,
    invoice: shared::ids::InvoiceId,
) -> Result<Response, Problem> {
    let (tx, _) = act.parts();
    let standing = corrections::read(tx, firm, invoice).await?;
    let ending = Ending {
        invoice: invoice.0,
        number: standing.label,
        state: standing.facts.state.as_str().to_owned(),
        open_minor: standing.facts.open.minor(),
        currency: standing.facts.open.currency().as_str().to_owned(),
    };
    act.done(StatusCode::OK, &ending).await
}

pub(crate) async fn void(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    match corrections::request_void(tx, firm, invoice, reason, &by).await? {
        VoidDecision::Void(_) | VoidDecision::Wait(_) => ending(act, firm, invoice).await,
        VoidDecision::Refuse(why) | VoidDecision::Reject(why) => {
            let label = corrections::read(tx, firm, invoice).await?.label;
            Err(act.refused(why, format!("{label} {}", end_refusal(why))).await)
        }
    }
}

pub(crate) async fn write_off(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let reason = input.value.text()?;
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    match corrections::write_off(tx, firm, invoice, reason, &by).await? {
        WriteOffDecision::WriteOff => ending(act, firm, invoice).await,
        WriteOffDecision::Wait(_) => {
            // That it is given up is committed with the refusal.
            let why = "a charge is under way and is being given up: write it off again, with another key, when that has ended";
            Err(act.refused("charge_under_way", why.to_owned()).await)
        }
        WriteOffDecision::Refuse(why) => {
            let label = corrections::read(tx, firm, invoice).await?.label;
            Err(act.refused(why, format!("{label} {}", end_refusal(why))).await)
        }
    }
}

/// Money that came by other means.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalPayment {
    /// How much, in the invoice's currency, such as 12.50.
    amount: String,
    /// Names the money in the firm's books; the same again is recorded once.
    #[schema(min_length = 1)]
    reference: String,
    /// The day on which it came; now unless told.
    received_on: Option<NaiveDate>,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExternallyPaid {
    /// The invoice.
    invoice: Uuid,
    /// Its number.
    number: String,
    /// The payment.
    payment: Uuid,
    /// By this request; `false` when it was on record already.
    recorded: bool,
    /// How much.
    amount_minor: i64,
    /// In which currency.
    currency: String,
    /// What was more than was open: the client's credit.
    credit_minor: i64,
    /// What is open now.
    open_minor: i64,
    /// The invoice had been written off, and is open again.
    reopened: bool,
}

pub(crate) async fn pay_external(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<ExternalPayment>,
) -> Result<Response, Problem> {
    let order = &input.value;
    let money = FromElsewhere {
        amount: &order.amount,
        reference: said("reference", &order.reference)?,
        received_on: order.received_on,
    };
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let recorded = invoices::pay_external(tx, firm, invoice, &money, &by).await?;
    let arrived = &recorded.arrived;
    let answer = ExternallyPaid {
        invoice: invoice.0,
        number: recorded.label.clone(),
        payment: arrived.payment.0,
        recorded: arrived.is_new,
        amount_minor: recorded.amount.minor(),
        currency: recorded.amount.currency().as_str().to_owned(),
        credit_minor: arrived
            .unapplied
            .as_ref()
            .map_or(0, |credit| credit.amount.minor()),
        open_minor: arrived.open.minor(),
        reopened: arrived.reopened,
    };
    act.done(StatusCode::CREATED, &answer).await
}

/// Where money goes back to.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RefundTo {
    /// The card that it came from.
    Card,
    /// The client's credit.
    Credit,
}

/// Money to be given back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundOrder {
    /// How much, in the invoice's currency, such as 12.50.
    amount: String,
    /// Where to.
    to: RefundTo,
    /// Why.
    #[schema(min_length = 1)]
    reason: String,
}

/// What was ordered: one row per payment of which something goes back.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refunded {
    /// The invoice.
    invoice: Uuid,
    /// In which currency.
    currency: String,
    /// The refunds.
    refunds: Vec<Refund>,
}

pub(crate) async fn refund(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<RefundOrder>,
) -> Result<Response, Problem> {
    let order = &input.value;
    let reason = said("reason", &order.reason)?;
    let to = match order.to {
        RefundTo::Card => Destination::Card,
        RefundTo::Credit => Destination::Credit,
    };
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let ordered = refunds::order(tx, firm, invoice, (&order.amount, to, reason), &by).await?;
    let mut rows = invoices_read::refunds(tx, firm, invoice).await?;
    rows.retain(|row| ordered.ids.contains(&RefundId(row.id)));
    let answer = Refunded {
        invoice: invoice.0,
        currency: ordered.paid.currency.as_str().to_owned(),
        refunds: rows,
    };
    act.done(StatusCode::CREATED, &answer).await
}

/// How much credit.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreditUse)]
#[serde(deny_unknown_fields)]
pub struct CreditOrder {
    /// Exactly so much; as much as fits unless told.
    amount: Option<String>,
}

/// What credit paid.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreditApplied {
    /// The invoice.
    invoice: Uuid,
    /// In which currency.
    currency: String,
    /// In all.
    applied_minor: i64,
    /// What is open now.
    open_minor: i64,
    /// Lot by lot.
    applications: Vec<CreditUsed>,
}

/// What one lot paid.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreditUsed {
    /// The lot.
    lot: Uuid,
    /// How much.
    amount_minor: i64,
}

pub(crate) async fn apply_credit(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<CreditOrder>,
) -> Result<Response, Problem> {
    let (firm, invoice) = find::invoice(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let applied = credits::apply(tx, firm, invoice, input.value.amount.as_deref(), &by).await?;
    let answer = CreditApplied {
        invoice: invoice.0,
        currency: applied.amount.currency().as_str().to_owned(),
        applied_minor: applied.amount.minor(),
        open_minor: applied.open.minor(),
        applications: applied
            .uses
            .iter()
            .map(|part| CreditUsed {
                lot: part.lot.0,
                amount_minor: part.amount.minor(),
            })
            .collect(),
    };
    act.done(StatusCode::OK, &answer).await
}
