//! What is on record: the audit log, findings of the reconciliation, tokens.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    actions::access::{self, TokenOrder},
    clock::real_now,
    domain::audit_action::Category,
    store::{
        access::tokens::{self, TokenRow},
        audit_read::{self, AuditRow},
        reconcile::findings::{self, FindingRow},
    },
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Id, Input, Nothing, Page, PageQuery, Params, said},
    route::{BILLING, BILLING_ACTS, Route},
};

/// How far back the audit log goes unless told.
const USUAL_SINCE: TimeDelta = TimeDelta::days(7);
/// Longest life of a token.
const MAX_DAYS: u16 = 366;

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/audit", BILLING, audit)
            .does("What happened, by whom and why, the latest first")
            .query::<Audit>()
            .paged()
            .answers_page::<AuditRow>(),
        Route::get("/api/v1/findings", BILLING, list_findings)
            .does("Where our books differ from Stripe's or from themselves, the latest first")
            .query::<Findings>()
            .paged()
            .answers_page::<FindingRow>(),
        Route::get("/api/v1/tokens", BILLING_ACTS, list_tokens)
            .does("Tokens of this firm, the newest first")
            .paged()
            .answers_page::<TokenRow>(),
        Route::post("/api/v1/tokens", BILLING_ACTS, create_token)
            .for_sessions()
            .does("Make a token, which acts in the caller's name; it is shown once")
            .takes::<NewToken>()
            .answers_with::<MadeToken>(StatusCode::CREATED),
        Route::post("/api/v1/tokens/{id}/revoke", BILLING_ACTS, revoke_token)
            .for_sessions()
            .does("End a token")
            .takes::<Nothing>()
            .answers::<RevokedToken>(),
    ]
}

/// Which entries.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Audit {
    /// `billing`, `auth`, `break_glass`, `purge` or `config`; billing unless told.
    category: Option<String>,
    /// How far back; a week unless told.
    since: Option<DateTime<Utc>>,
    /// Only about the thing with this UUID.
    subject: Option<Uuid>,
}

async fn audit(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<Audit>,
    page: PageQuery,
) -> Result<Json<Page<AuditRow>>, Problem> {
    let firm = caller.firm()?;
    let category: Category = wanted
        .category
        .as_deref()
        .unwrap_or(Category::Billing.as_str())
        .parse()
        .map_err(|fault| Problem::invalid("category", format!("{fault}")))?;
    let before = match &page.cursor {
        Some(cursor) => {
            let parts = cursor.split_once('-').and_then(|(at, id)| {
                Some((
                    DateTime::from_timestamp_micros(at.parse().ok()?)?,
                    id.parse().ok()?,
                ))
            });
            Some(parts.ok_or_else(|| Problem::invalid("cursor", "none of ours: give a next_cursor"))?)
        }
        None => None,
    };
    let subjects = wanted.subject.map(|subject| vec![subject]);
    let mut tx = app.db.firm(firm).await?;
    let filter = audit_read::Filter {
        category,
        since: wanted.since.unwrap_or(tx.now() - USUAL_SINCE),
        subjects: subjects.as_deref(),
        before,
    };
    let rows = audit_read::list(&mut tx, firm, &filter, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| {
        format!("{}-{}", row.at.timestamp_micros(), row.id)
    })?))
}

/// Which findings.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Findings {
    /// Settled ones too.
    #[serde(default)]
    #[schema(required = false)]
    all: bool,
}

async fn list_findings(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<Findings>,
    page: PageQuery,
) -> Result<Json<Page<FindingRow>>, Problem> {
    let firm = caller.firm()?;
    let after = match &page.cursor {
        Some(cursor) => {
            let mut parts = cursor.splitn(3, '_');
            let parsed = (|| {
                let at = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
                let seq = parts.next()?.parse().ok()?;
                Some((at, parts.next()?.parse().ok()?, seq))
            })();
            Some(parsed.ok_or_else(|| Problem::invalid("cursor", "none of ours: give a next_cursor"))?)
        }
        None => None,
    };
    let mut tx = app.db.firm(firm).await?;
    let rows = findings::list(&mut tx, firm, wanted.all, after, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| {
        format!("{}_{}_{}", row.found_at.timestamp_micros(), row.seq, row.id)
    })?))
}

async fn list_tokens(
    State(app): State<App>,
    caller: Caller,
    page: PageQuery,
) -> Result<Json<Page<TokenRow>>, Problem> {
    let mut tx = app.db.firm(caller.firm()?).await?;
    let rows = tokens::list(&mut tx, page.after_id()?, page.fetch()?).await?;
    Ok(Json(page.page(rows, |row| row.id.to_string())?))
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What to call it.
    #[schema(min_length = 1)]
    name: String,
    /// What it may do: `owner`, `admin`, `manager`, `staff` or `alerts`; no more than the caller.
    role: String,
    /// For how many days it is good.
    #[schema(minimum = 1, maximum = 366)]
    days: u16,
}

/// A token that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeToken {
    /// Its id.
    id: Uuid,
    /// The token, shown once. The same request again shows it no more.
    token: String,
}

async fn create_token(
    State(app): State<App>,
    caller: Caller,
    input: Input<NewToken>,
) -> Result<Response, Problem> {
    let new = &input.value;
    let name = said("name", &new.name)?;
    if !(1..=MAX_DAYS).contains(&new.days) {
        return Err(Problem::invalid("days", format!("give 1 to {MAX_DAYS}")));
    }
    if new.role == "owner" && caller.role.as_str() != "owner" {
        return Err(Problem::forbidden(
            "role",
            "nobody makes a token that may do more than they",
        ));
    }
    let firm = caller.firm()?;
    // Not under a key: the answer, which holds the token, is never kept.
    if input.keyed.has_key() {
        return Err(Problem::invalid(
            "Idempotency-Key",
            "a token is made without one: its answer is not kept",
        ));
    }
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    let order = TokenOrder {
        firm: Some(firm),
        login: caller.login,
        name,
        role: &new.role,
        expires_at: real_now() + TimeDelta::days(i64::from(new.days)),
    };
    let (id, token) = access::create_token(tx, &order, &by).await?;
    act.done(StatusCode::CREATED, &MadeToken { id, token }).await
}

/// A token that is good for nothing any more.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedToken {
    /// Its id.
    id: Uuid,
}

async fn revoke_token(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    input: Input<Nothing>,
) -> Result<Response, Problem> {
    let id: Uuid = id
        .parse()
        .map_err(|_| Problem::not_found(format!("there is no token {id:?}")))?;
    let firm = caller.firm()?;
    let mut act = Act::begin(&app, &caller, &input.keyed).await?;
    let (tx, by) = act.parts();
    access::revoke_token(tx, Some(firm), id, &by).await?;
    act.done(StatusCode::OK, &RevokedToken { id }).await
}
