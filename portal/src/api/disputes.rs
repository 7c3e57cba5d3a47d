//! Disputes: what clients contest, and what becomes of what was lost.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use shared::store::{
    disputes::{self, Choice, Decided, DisputeRow, DisputeView, Filter},
    invoices_read,
};
use utoipa::ToSchema;

use super::find;
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Id, Input, Page, PageQuery, Params, said},
    route::{BILLING, BILLING_ACTS, Route},
};

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/disputes", BILLING, list)
            .does("Disputes: open ones first, the next deadline first")
            .query::<List>()
            .paged()
            .answers_page::<DisputeRow>(),
        Route::get("/api/v1/disputes/{id}", BILLING, show)
            .does("One dispute with what it did to the money and the books")
            .answers::<DisputeView>(),
        Route::post("/api/v1/disputes/{id}/resolve", BILLING_ACTS, resolve)
            .does("Decide what becomes of what a lost dispute took")
            .takes::<Decision>()
            .answers::<Resolved>(),
    ]
}

/// Which disputes.
#[derive(Debug, Deserialize, ToSchema)]
pub struct List {
    /// `open`, `undecided`, `won`, `lost`, `withdrawn` or `inquiry_closed`.
    status: Option<String>,
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(list): Params<List>,
    page: PageQuery,
) -> Result<Json<Page<DisputeRow>>, Problem> {
    let firm = caller.firm()?;
    let after = match &page.cursor {
        Some(cursor) => {
            let (_, dispute) = find::dispute(&app.db, &caller, cursor).await?;
            let only = Filter {
                only: Some(dispute),
                ..Filter::default()
            };
            let mut tx = app.db.firm(firm).await?;
            let row = disputes::list(&mut tx, firm, &only, 1).await?.pop();
            row.map(|row| row.position())
        }
        None => None,
    };
    let filter = Filter {
        status: list.status.as_deref(),
        after: after.as_ref(),
        only: None,
    };
    let mut tx = app.db.firm(firm).await?;
    let rows = disputes::list(&mut tx, firm, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.clone())?))
}

async fn show(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<DisputeView>, Problem> {
    let (firm, dispute) = find::dispute(&app.db, &caller, &id).await?;
    let mut tx = app.db.firm(firm).await?;
    let shown = disputes::show(&mut tx, firm, dispute).await?;
    shown
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("there is no dispute {id:?}")))
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A new invoice over what was taken.
    Rebill,
    /// A loss.
    WriteOff,
}

/// A decision.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What becomes of it.
    decision: Fate,
    /// The new invoice may be charged to the client's card by itself.
    #[serde(default)]
    #[schema(required = false)]
    autopay: bool,
    /// Why.
    #[schema(min_length = 1)]
    reason: String,
}

/// What was decided.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DisputeResolved)]
pub struct Resolved {
    /// The dispute.
    dispute: String,
    /// `rebill` or `write_off`.
    decision: String,
    /// The invoice that bills it again.
    invoice: Option<String>,
    /// What that comes to.
    total_minor: Option<i64>,
    /// In which currency.
    currency: Option<String>,
}

pub(crate) async fn resolve(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Decision>,
) -> Result<Response, Problem> {
    let order = &input.value;
    let reason = said("reason", &order.reason)?;
    let (choice, word) = match order.decision {
        Fate::Rebill => (
            Choice::Rebill {
                autopay: order.autopay,
            },
            "rebill",
        ),
        Fate::WriteOff => (Choice::WriteOff, "write_off"),
    };
    let (firm, dispute) = find::dispute(&app.db, &caller, &id).await?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let said = (reason, caller.label.as_str());
    let billed = match disputes::resolve(tx, firm, dispute, choice, said, &by).await? {
        Decided::Done(billed) => billed,
        Decided::Refused(why) => {
            let detail = format!("{id} {}", disputes::refusal(why));
            return Err(act.refused(why, detail).await);
        }
    };
    let invoice = match billed {
        Some(invoice) => invoices_read::show(tx, firm, invoice).await?,
        None => None,
    };
    let shown = disputes::show(tx, firm, dispute).await?;
    let resolved = Resolved {
        dispute: shown.map_or_else(|| dispute.to_string(), |view| view.row.id),
        decision: word.to_owned(),
        total_minor: invoice.as_ref().map(|invoice| invoice.total_minor),
        currency: invoice.as_ref().map(|invoice| invoice.currency.clone()),
        invoice: invoice.map(|invoice| invoice.number.unwrap_or_else(|| invoice.id.to_string())),
    };
    act.done(StatusCode::OK, &resolved).await
}
