//! What handlers take from a request, with faults that are problems: who asks, the query, the body, and a write under its idempotency
//! key.

use axum::{
    Json,
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use shared::{
    ids::FirmId,
    store::{
        Tx,
        audit::{Actor, By, Cause},
        idempotency::{self, Claim},
        jobs,
    },
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::{App, MAX_BODY_BYTES},
    auth::{Caller, guard, login::begin},
    problem::Problem,
};

/// The header that makes the same request once more the same request.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest key: a UUID is usual.
const MAX_KEY: usize = 255;
/// Rows of a page unless told.
const USUAL_LIMIT: u16 = 50;
/// Most rows of a page.
const MAX_LIMIT: u16 = 200;

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The guard has put it there: a handler that asks for it stands behind one.
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(Problem::unauthenticated)
    }
}

impl Caller {
    /// The firm whose rows are worked on.
    ///
    /// # Errors
    /// When there is none: an operator who has entered none.
    pub fn firm(&self) -> Result<FirmId, Problem> {
        self.firm
            .ok_or_else(|| Problem::forbidden("break_glass_required", "name a firm"))
    }
}

/// The query, as a struct that denies unknown fields or not.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if has_zero(parts.uri.query().unwrap_or_default()) {
            return Err(Problem::invalid("query", "a zero is no text"));
        }
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(fault) => Err(Problem::invalid("query", fault.body_text())),
        }
    }
}

/// Postgres keeps no text with a zero in it, so there is nothing of such a name, and nothing may be called so.
pub fn has_zero(text: &str) -> bool {
    text.contains('\0') || text.contains("%00") || text.contains("\\u0000")
}

/// A name in the path.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let axum::extract::Path(id) =
            path.map_err(|_| Problem::not_found("there is nothing of this name"))?;
        if has_zero(&id) {
            return Err(Problem::not_found("there is nothing of this name"));
        }
        Ok(Self(id))
    }
}

/// How much of a list: what all lists take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct PageQuery {
    /// Rows, 1 to 200.
    #[schema(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where the next page begins; none where this is the last.
    pub next_cursor: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Params(page) = Params::<Self>::from_request_parts(parts, state).await?;
        Ok(page)
    }
}

impl PageQuery {
    /// Rows of the page.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn shown(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(USUAL_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::invalid("limit", format!("give 1 to {MAX_LIMIT}")));
        }
        Ok(usize::from(limit))
    }

    /// Rows to ask the database for: one more tells whether there is another page.
    ///
    /// # Errors
    /// As [`PageQuery::shown`].
    pub fn fetch(&self) -> Result<i64, Problem> {
        Ok(i64::try_from(self.shown()?).unwrap_or(i64::MAX) + 1)
    }

    /// The cursor as a UUID.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn after_id(&self) -> Result<Option<Uuid>, Problem> {
        let parsed = self.cursor.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| Problem::invalid("cursor", "none of ours: give a next_cursor"))
    }

    /// The cursor as a number.
    ///
    /// # Errors
    /// As [`PageQuery::after_id`].
    pub fn after_number(&self) -> Result<Option<i64>, Problem> {
        let parsed = self.cursor.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| Problem::invalid("cursor", "none of ours: give a next_cursor"))
    }

    /// A page of the rows that were fetched.
    ///
    /// # Errors
    /// As [`PageQuery::shown`].
    pub fn page<T>(&self, mut rows: Vec<T>, cursor: impl Fn(&T) -> String) -> Result<Page<T>, Problem> {
        let shown = self.shown()?;
        let is_more = rows.len() > shown;
        rows.truncate(shown);
        let next_cursor = rows.last().filter(|_| is_more).map(cursor);
        Ok(Page {
            data: rows,
            next_cursor,
        })
    }
}

/// Nothing: the body of writes that need none, `{}` or empty.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A write: its body, and what makes it one.
pub struct Input<T> {
    /// The body.
    pub value: T,
    /// What makes it the same request as another.
    pub keyed: Keyed,
}

/// What makes a request the same as another: its key, and a hash of all that it says.
#[derive(Clone, Debug)]
pub struct Keyed {
    key: Option<String>,
    sha256: Vec<u8>,
}

impl Keyed {
    /// Whether the request names a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, MAX_BODY_BYTES)
            .await
            .map_err(|_| guard::too_large())?;
        let is_json = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                let kind = value.split(';').next().unwrap_or_default().trim();
                kind.eq_ignore_ascii_case("application/json")
            });
        let value = if bytes.iter().all(u8::is_ascii_whitespace) {
            serde_json::from_str("{}")
        } else if is_json {
            serde_json::from_slice(&bytes)
        } else {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "send JSON, with Content-Type: application/json",
            ));
        };
        if std::str::from_utf8(&bytes).is_ok_and(has_zero) {
            return Err(Problem::invalid("body", "a zero is no text"));
        }
        let value = value.map_err(|fault| {
            // What does not parse is no request; what has another shape names its member.
            Problem::invalid("body", fault.to_string())
        })?;
        let mut hash = Sha256::new();
        for part in [
            parts.method.as_str(),
            parts.uri.path(),
            parts.uri.query().unwrap_or_default(),
        ] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(&bytes);
        Ok(Self {
            value,
            keyed: Keyed {
                key: key(&parts.headers)?,
                sha256: hash.finalize().to_vec(),
            },
        })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Problem::invalid(
            "Idempotency-Key",
            format!("give 1 to {MAX_KEY} visible ASCII characters, such as a UUID"),
        ));
    }
    Ok(Some(key.to_owned()))
}

/// A write under way: one transaction with the change, its audit entry, its jobs, and the answer under its key.
pub struct Act {
    /// The transaction, of the caller's firm or of none.
    pub tx: Tx,
    actor: Actor,
    cause: Cause,
    claimed: Option<Uuid>,
}

impl Act {
    /// Begins one. Where the same request was answered before, that answer comes back as the `Err`.
    ///
    /// # Errors
    /// When the key was used for something else, or the database is away.
    pub async fn begin(app: &App, caller: &Caller, keyed: &Keyed) -> Result<Self, Problem> {
        Self::begin_in(app, caller, caller.firm, keyed).await
    }

    /// The same in a firm that is not the caller's: what the platform does to a firm without looking into it.
    ///
    /// # Errors
    /// As [`Act::begin`].
    pub async fn begin_in(
        app: &App,
        caller: &Caller,
        firm: Option<FirmId>,
        keyed: &Keyed,
    ) -> Result<Self, Problem> {
        let mut tx = begin(&app.db, firm).await?;
        let claimed = match &keyed.key {
            None => None,
            Some(key) => {
                let claim = idempotency::claim(&mut tx, firm, &caller.key(), key, &keyed.sha256).await?;
                match claim {
                    Claim::New(id) => Some(id),
                    Claim::Other => {
                        return Err(Problem::new(
                            StatusCode::UNPROCESSABLE_ENTITY,
                            "idempotency_key_reused",
                            "this Idempotency-Key was used for another request",
                        ));
                    }
                    Claim::Answered { status, answer } => {
                        let mut problem = Problem::new(StatusCode::OK, "replay", "answered before");
                        problem.replay = Some(Box::new(replay(status, &answer)));
                        return Err(problem);
                    }
                }
            }
        };
        Ok(Self {
            tx,
            actor: caller.actor(),
            cause: Cause::request(Uuid::now_v7()),
            claimed,
        })
    }

    /// The transaction, and in whose name it changes something.
    pub fn parts(&mut self) -> (&mut Tx, By<'_>) {
        let at = self.tx.now();
        let by = By {
            actor: &self.actor,
            cause: &self.cause,
            at,
        };
        (&mut self.tx, by)
    }

    /// Ends without the change; that it was asked for and refused is kept on record.
    pub async fn refused(mut self, code: &'static str, detail: String) -> Problem {
        let problem = Problem::refused(code, detail);
        let status = i32::from(problem.status.as_u16());
        let answer = serde_json::to_value(problem.body()).unwrap_or_default();
        let kept = async {
            if let Some(id) = self.claimed {
                idempotency::keep(&mut self.tx, id, status, &answer).await?;
            }
            jobs::nudge(&mut self.tx).await?;
            self.tx.commit().await
        };
        match kept.await {
            Ok(()) => problem,
            Err(fault) => fault.into(),
        }
    }

    /// Keeps the answer, wakes the workers, commits, answers.
    ///
    /// # Errors
    /// When the database is away; nothing has happened then.
    pub async fn done<T: Serialize>(mut self, status: StatusCode, answer: &T) -> Result<Response, Problem> {
        let answer = serde_json::to_value(answer).map_err(|fault| Problem::bug(&fault))?;
        if let Some(id) = self.claimed {
            idempotency::keep(&mut self.tx, id, i32::from(status.as_u16()), &answer).await?;
        }
        jobs::nudge(&mut self.tx).await?;
        self.tx.commit().await?;
        Ok((status, Json(answer)).into_response())
    }
}

/// What was given as a reason, which must say something.
///
/// # Errors
/// When it does not.
pub fn said<'a>(path: &str, text: &'a str) -> Result<&'a str, Problem> {
    match text.trim() {
        "" => Err(Problem::invalid(path, "it must say something")),
        text => Ok(text),
    }
}

/// A reason, for the audit log.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, for the audit log.
    #[schema(min_length = 1)]
    pub reason: String,
}

impl Reason {
    /// The reason, without the blanks around it.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn text(&self) -> Result<&str, Problem> {
        said("reason", &self.reason)
    }
}

fn replay(status: i32, answer: &serde_json::Value) -> Response {
    let status = u16::try_from(status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::OK);
    let mut response = (status, Json(answer)).into_response();
    response.headers_mut().insert(
        "idempotent-replayed",
        axum::http::HeaderValue::from_static("true"),
    );
    if status.is_client_error() {
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            axum::http::HeaderValue::from_static("application/problem+json"),
        );
    }
    response
}
