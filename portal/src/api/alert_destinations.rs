//! Where alerts go by themselves: webhooks and mailboxes of a firm, or of the platform. Nothing is sent from here: a worker does that.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use shared::{
    actions::alert_destinations::{self as actions, Added, Order},
    domain::{
        alert::AlertType,
        delivery::{Channel, DeliveryState},
    },
    ids::{AlertId, DeliveryId, DestinationId},
    store::{
        audit::Severity,
        delivery::{
            deliveries::{self, DeliveryRow, Filter},
            destinations::{self, DestinationRow},
        },
    },
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::alerts::Weight;
use crate::{
    app::App,
    auth::{Caller, Role, login::begin},
    problem::Problem,
    request::{Act, Id, Input, Nothing, Page, PageQuery, Params, Reason, said},
    route::{BILLING, Route, Scope},
};

/// Who says where alerts go: of a firm who runs its billing, of the platform an operator.
const NAMERS: &[Role] = &[Role::Owner, Role::Admin, Role::Operator];

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/alert-destinations", BILLING, list)
            .on(Scope::Either)
            .does("Where alerts go by themselves")
            .answers_page::<DestinationRow>(),
        Route::post("/api/v1/alert-destinations", NAMERS, add)
            .on(Scope::Either)
            .does("Have alerts sent to a webhook or a mailbox; what a webhook is signed with is in this answer only")
            .takes::<New>()
            .answers_with::<Added>(StatusCode::CREATED),
        Route::post("/api/v1/alert-destinations/{id}/remove", NAMERS, remove)
            .on(Scope::Either)
            .does("Send nothing there any more")
            .takes::<Reason>()
            .answers::<DestinationRow>(),
        Route::post("/api/v1/alert-destinations/{id}/enable", NAMERS, enable)
            .on(Scope::Either)
            .does("Send there again, after its receiver had answered 410")
            .takes::<Reason>()
            .answers::<DestinationRow>(),
        Route::post("/api/v1/alert-destinations/{id}/test", NAMERS, test)
            .on(Scope::Either)
            .does("Send a message that tells of nothing, once; what became of it is the result of the job")
            .takes::<Nothing>()
            .answers_with::<Ordered>(StatusCode::ACCEPTED),
        Route::get("/api/v1/alert-deliveries", BILLING, sent)
            .on(Scope::Either)
            .does("What destinations were told, the newest first")
            .query::<Sent>()
            .paged()
            .answers_page::<DeliveryRow>(),
    ]
}

async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<DestinationRow>>, Problem> {
    let mut tx = begin(&app.db, caller.firm).await?;
    Ok(Json(Page {
        data: destinations::list(&mut tx, caller.firm, None).await?,
        next_cursor: None,
    }))
}

/// How a destination is told.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An HTTP request with a signature.
    Webhook,
    /// A mail.
    Email,
}

/// A destination to be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewAlertDestination)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// How it is told.
    kind: Kind,
    /// An `https://` URL on the internet, or the address of a mailbox.
    #[schema(min_length = 1, max_length = 500)]
    target: String,
    /// What matters less is not sent; everything unless told.
    #[serde(default)]
    #[schema(required = false)]
    min_severity: Option<Weight>,
    /// Only alerts of these types; all unless told.
    #[serde(default)]
    #[schema(required = false)]
    alert_types: Vec<String>,
    /// Why.
    #[schema(min_length = 1)]
    reason: String,
}

async fn add(State(app): State<App>, caller: Caller, input: Input<New>) -> Result<Response, Problem> {
    let new = &input.value;
    let types = new.alert_types.iter().map(|word| {
        word.parse::<AlertType>()
            .map_err(|fault| Problem::invalid("alert_types", format!("{fault}")))
    });
    let types = types.collect::<Result<Vec<_>, _>>()?;
    let order = Order {
        channel: match new.kind {
            Kind::Webhook => Channel::Webhook,
            Kind::Email => Channel::Email,
        },
        target: said("target", &new.target)?,
        min_severity: match new.min_severity {
            Some(Weight::Critical) => Severity::Critical,
            Some(Weight::Warning) => Severity::Warning,
            Some(Weight::Info) | None => Severity::Info,
        },
        types: &types,
        // A network inside is opened by whoever runs the installation, at the command line.
        allowed: &[],
        reason: said("reason", &new.reason)?,
    };
    // Not under a key: the answer, which may hold a secret, is never kept.
    if input.keyed.has_key() {
        return Err(Problem::invalid(
            "Idempotency-Key",
            "a destination is added without one: its answer is not kept",
        ));
    }
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let added = actions::add(tx, caller.firm, &order, &by).await?;
    act.done(StatusCode::CREATED, &added).await
}

fn destination(id: &str) -> Result<DestinationId, Problem> {
    let id = id.parse().map(DestinationId);
    id.map_err(|_| Problem::not_found("there is no such destination".to_owned()))
}

async fn remove(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let (id, reason) = (destination(&id)?, input.value.text()?);
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let gone = actions::remove(tx, caller.firm, id, reason, &by).await?;
    act.done(StatusCode::OK, &gone).await
}

async fn enable(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Reason>,
) -> Result<Response, Problem> {
    let (id, reason) = (destination(&id)?, input.value.text()?);
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let there = actions::enable(tx, caller.firm, id, reason, &by).await?;
    act.done(StatusCode::OK, &there).await
}

/// A job that was enqueued.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderedTest)]
pub struct Ordered {
    /// Its id.
    job: Uuid,
}

async fn test(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Nothing>,
) -> Result<Response, Problem> {
    let id = destination(&id)?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let job = actions::test(tx, caller.firm, id, &by).await?;
    act.done(StatusCode::ACCEPTED, &Ordered { job: job.0 }).await
}

/// Which deliveries.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WhichDeliveries)]
pub struct Sent {
    /// Only of this alert.
    alert: Option<Uuid>,
    /// Only in this state: `waiting`, `delivered`, `failed` or `dropped`.
    state: Option<String>,
}

async fn sent(
    State(app): State<App>,
    caller: Caller,
    Params(which): Params<Sent>,
    page: PageQuery,
) -> Result<Json<Page<DeliveryRow>>, Problem> {
    let state = which
        .state
        .as_deref()
        .map(str::parse::<DeliveryState>)
        .transpose();
    let filter = Filter {
        alert: which.alert.map(AlertId),
        state: state.map_err(|fault| Problem::invalid("state", format!("{fault}")))?,
        after: page.after_id()?.map(DeliveryId),
    };
    let mut tx = begin(&app.db, caller.firm).await?;
    let rows = deliveries::list(&mut tx, caller.firm, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}
