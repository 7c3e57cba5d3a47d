//! Why a request was not done, as RFC 9457 says it: `application/problem+json`. Pages show the same as a page.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::{actions::Fault, store};

/// One fault among several, and where it is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Detail {
    /// The parameter or the member of the body.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// What the client is told.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// Always `about:blank`: `code` says more.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// One word for scripts.
    pub code: String,
    /// One sentence for people.
    pub detail: String,
    /// Every single fault, where there may be several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Detail>,
}

/// Why a request was not done.
#[derive(Debug)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// One word for scripts.
    pub code: &'static str,
    /// One sentence for people.
    pub detail: String,
    /// Every single fault.
    pub errors: Vec<Detail>,
    /// After so many seconds the same may succeed.
    pub retry_after: Option<u64>,
    /// Not a problem after all: the answer to the same request before.
    pub replay: Option<Box<Response>>,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            replay: None,
        }
    }

    /// A parameter or a member of the body that is wrong.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        let detail = format!("{path}: {message}");
        Self {
            errors: vec![Detail { path, message }],
            ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
        }
    }

    /// Nothing of this name, or nothing that this caller may know of.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// Whoever asks has not said who they are.
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "log in, or send a token: Authorization: Bearer …",
        )
    }

    /// Whoever asks may not.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// A rule of the business refuses.
    pub fn refused(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Too many requests.
    pub fn too_many(code: &'static str, detail: impl Into<String>, secs: u64) -> Self {
        Self {
            retry_after: Some(secs.max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
        }
    }

    /// A bug of ours, which is logged and not shown.
    pub fn bug(fault: &dyn std::fmt::Display) -> Self {
        tracing::error!(%fault, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something is wrong on our side; it is logged",
        )
    }

    /// As a document.
    #[must_use]
    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            r#type: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl From<store::Error> for Problem {
    fn from(fault: store::Error) -> Self {
        match fault {
            store::Error::Refused { message, .. } => Self::refused("refused", message),
            store::Error::Conflict { constraint } => {
                tracing::info!(constraint, "a request met a unique constraint");
                Self::refused("conflict", "something of this name is there already")
            }
            store::Error::Unavailable(_) => {
                tracing::warn!(%fault, "the database is not available");
                Self {
                    retry_after: Some(5),
                    ..Self::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "try_again",
                        "the database does not answer; try again",
                    )
                }
            }
            store::Error::Lost { .. } => {
                tracing::info!(%fault, "a request met a change by somebody else");
                Self::refused(
                    "changed_meanwhile",
                    "somebody else changed it meanwhile: look again",
                )
            }
            store::Error::Other(_) => Self::bug(&fault),
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(fault) => fault.into(),
            Fault::NotFound(what) => Self::not_found(what),
            Fault::Ambiguous { message, things } => Self {
                errors: things
                    .into_iter()
                    .map(|(path, message)| Detail { path, message })
                    .collect(),
                ..Self::refused("ambiguous", message)
            },
            Fault::Refused { code, message } => Self::refused(code, message),
            Fault::Invalid { field, message } => Self::invalid(field, message),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Some(answer) = self.replay {
            return *answer;
        }
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(secs) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
