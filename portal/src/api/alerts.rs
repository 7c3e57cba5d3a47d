//! Alerts: what a person should look at; and those that other systems raise.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{
    actions::alerts as actions,
    domain::alert::{AlertType, Topic},
    ids::AlertId,
    store::{
        alerts::{self, AlertRow, Filter, NewAlert},
        audit::Severity,
    },
};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, Role, login::begin},
    problem::Problem,
    request::{Act, Id, Input, Page, PageQuery, Params, said},
    route::{BILLING, Route, Scope},
};

/// Longest texts: what is longer belongs into a log.
const MAX_TITLE: usize = 200;
const MAX_MESSAGE: usize = 2_000;
const MAX_KEY: usize = 200;

/// Who raises alerts.
const RAISERS: &[Role] = &[Role::Owner, Role::Admin, Role::Alerts, Role::Operator];

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/alerts", RAISERS, raise)
            .on(Scope::Either)
            .does("Raise an alert; while it is open, the same key only counts it up")
            .takes::<New>()
            .answers_with::<AlertRow>(StatusCode::CREATED),
        Route::get("/api/v1/alerts", BILLING, list)
            .on(Scope::Either)
            .does("Alerts, the newest first")
            .query::<List>()
            .paged()
            .answers_page::<AlertRow>(),
        Route::post("/api/v1/alerts/{id}/read", BILLING, read)
            .on(Scope::Either)
            .does("Mark an alert as read; it stays open")
            .takes::<Why>()
            .answers::<AlertRow>(),
        Route::post("/api/v1/alerts/{id}/resolve", BILLING, resolve)
            .on(Scope::Either)
            .does("Mark an alert as over")
            .takes::<Why>()
            .answers::<AlertRow>(),
        Route::post("/api/v1/alerts/read-all", BILLING, read_all)
            .on(Scope::Either)
            .does("Mark all open alerts as read")
            .takes::<Why>()
            .answers::<AllRead>(),
    ]
}

/// Which alerts.
#[derive(Debug, Deserialize, ToSchema)]
pub struct List {
    /// Only those that nobody has read.
    #[serde(default)]
    #[schema(required = false)]
    unread: bool,
    /// Resolved ones too.
    #[serde(default)]
    #[schema(required = false)]
    all: bool,
    /// Only of this type.
    r#type: Option<String>,
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(list): Params<List>,
    page: PageQuery,
) -> Result<Json<Page<AlertRow>>, Problem> {
    let filter = Filter {
        resolved_too: list.all,
        unread_only: list.unread,
        kind: list.r#type.as_deref(),
        id: None,
        after: page.after_id()?.map(AlertId),
    };
    let mut tx = begin(&app.db, caller.firm).await?;
    let rows = alerts::list(&mut tx, caller.firm, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}

/// The alert of this id among those that the transaction sees.
async fn shown(tx: &mut shared::store::Tx, caller: &Caller, id: AlertId) -> Result<AlertRow, Problem> {
    let filter = Filter {
        resolved_too: true,
        id: Some(id),
        ..Filter::default()
    };
    let row = alerts::list(tx, caller.firm, &filter, 1).await?.pop();
    row.ok_or_else(|| Problem::not_found(format!("there is no alert {id}")))
}

fn alert_id(id: &str) -> Result<AlertId, Problem> {
    id.parse()
        .map(AlertId)
        .map_err(|_| Problem::not_found(format!("there is no alert {id:?}")))
}

/// Why, where somebody says so.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MaybeReason)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// Why, for the audit log.
    #[schema(min_length = 1)]
    reason: Option<String>,
}

impl Why {
    fn text(&self) -> Result<Option<&str>, Problem> {
        let reason = self.reason.as_deref();
        reason.map(|reason| said("reason", reason)).transpose()
    }
}

pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Why>,
) -> Result<Response, Problem> {
    let id = alert_id(&id)?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    actions::read(tx, caller.firm, id, input.value.text()?, &by).await?;
    let row = shown(tx, &caller, id).await?;
    act.done(StatusCode::OK, &row).await
}

pub(crate) async fn resolve(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Why>,
) -> Result<Response, Problem> {
    let id = alert_id(&id)?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    actions::resolve(tx, caller.firm, id, input.value.text()?, &by).await?;
    let row = shown(tx, &caller, id).await?;
    act.done(StatusCode::OK, &row).await
}

/// How many were read.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllRead {
    /// So many that nobody had read.
    read: usize,
}

pub(crate) async fn read_all(
    State(app): State<App>,
    caller: Caller,
    input: Input<Why>,
) -> Result<Response, Problem> {
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let read = actions::read_all(tx, caller.firm, input.value.text()?, &by).await?;
    act.done(StatusCode::OK, &AllRead { read }).await
}

/// How much an alert matters.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// As it should be.
    Info,
    /// Someone may want to look.
    Warning,
    /// Someone must look.
    Critical,
}

/// An alert to be raised.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewAlert)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// What it is about, such as `AGENT_OFFLINE` or `USAGE_HIGH`.
    r#type: String,
    /// How much it matters.
    severity: Weight,
    /// A few words.
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    /// What happened and what comes next.
    #[schema(max_length = 2000)]
    message: String,
    /// Names what is wrong, so that the same again is no second alert.
    #[schema(min_length = 1, max_length = 200)]
    dedupe_key: String,
    /// Ids, codes, numbers and times that belong to it.
    #[serde(default)]
    #[schema(required = false, value_type = Object)]
    related_data: Option<serde_json::Map<String, Value>>,
}

fn at_most<'a>(path: &str, text: &'a str, most: usize) -> Result<&'a str, Problem> {
    if text.chars().count() > most {
        return Err(Problem::invalid(path, format!("at most {most} characters")));
    }
    Ok(text)
}

async fn raise(State(app): State<App>, caller: Caller, input: Input<New>) -> Result<Response, Problem> {
    let new = &input.value;
    let kind: AlertType = new
        .r#type
        .parse()
        .map_err(|fault| Problem::invalid("type", format!("{fault}")))?;
    let severity = match new.severity {
        Weight::Info => Severity::Info,
        Weight::Warning => Severity::Warning,
        Weight::Critical => Severity::Critical,
    };
    let title = at_most("title", said("title", &new.title)?, MAX_TITLE)?;
    let message = at_most("message", &new.message, MAX_MESSAGE)?;
    let key = at_most("dedupe_key", said("dedupe_key", &new.dedupe_key)?, MAX_KEY)?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let mut related = new.related_data.clone().unwrap_or_default();
    related.insert("raised_by".to_owned(), json!(by.actor.name()));
    let alert = NewAlert {
        kind,
        severity,
        topic: Topic::Named(key),
        title,
        message,
        invoice: None,
        related: Value::Object(related),
        cause: by.cause,
    };
    let id = alerts::raise(tx, caller.firm, by.at, &alert).await?;
    let row = shown(tx, &caller, id).await?;
    act.done(StatusCode::CREATED, &row).await
}
