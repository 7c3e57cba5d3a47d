//! What we answer, and under which code. The table of the public contract, as types.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use shared::domain::event::NotAnEvent;

use crate::{refusals::Reason, signature};

/// What `Retry-After` says: long enough for a failover's worst moment, short enough to lose no time.
const RETRY_AFTER_SECS: u64 = 5;

/// Committed in Postgres, event and job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// By this delivery.
    New,
    /// By an earlier one.
    Duplicate,
}

/// Not stored as far as this delivery is concerned; Stripe delivers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No `Stripe-Signature` header.
    #[error("the Stripe-Signature header is missing")]
    MissingSignature,
    /// The signature is not genuine, or too old.
    #[error(transparent)]
    Signature(#[from] signature::Fault),
    /// Genuine, and no event.
    #[error(transparent)]
    InvalidPayload(#[from] NotAnEvent),
    /// Genuine, from Stripe's other world.
    #[error("the event's livemode differs from the mode of this installation")]
    WrongMode,
    /// The body is over the limit.
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    SlowBody,
    /// The connection broke, or the body was malformed HTTP.
    #[error("the body could not be read")]
    BrokenBody,
    /// As much is under way as we take on.
    #[error("too many deliveries at once")]
    Saturated(Reason),
    /// Postgres is away, slow, or its answer never came.
    #[error("the event could not be committed")]
    Unavailable(Reason),
    /// Postgres refused this very event.
    #[error("the event could not be stored")]
    NotStored,
    /// Another path.
    #[error("there is nothing here")]
    NotFound,
    /// Another method.
    #[error("only POST is taken here")]
    MethodNotAllowed,
}

/// Every value of the metric's `result` label.
pub const RESULTS: &[&str] = &[
    "accepted",
    "duplicate",
    "missing_signature",
    "bad_signature",
    "stale_timestamp",
    "invalid_payload",
    "wrong_mode",
    "too_large",
    "slow_body",
    "broken_body",
    "saturated",
    "db_unavailable",
    "not_stored",
];

impl Receipt {
    /// Value of the metric's `result` label.
    pub fn result(self) -> &'static str {
        match self {
            Receipt::New => "accepted",
            Receipt::Duplicate => "duplicate",
        }
    }
}

impl Rejection {
    /// Status and code.
    fn shape(self) -> (StatusCode, &'static str) {
        use signature::Fault;
        match self {
            Self::MissingSignature => (StatusCode::BAD_REQUEST, "missing_signature"),
            Self::Signature(Fault::Invalid) => (StatusCode::BAD_REQUEST, "invalid_signature"),
            Self::Signature(Fault::Stale) => (StatusCode::BAD_REQUEST, "stale_timestamp"),
            Self::InvalidPayload(_) => (StatusCode::BAD_REQUEST, "invalid_payload"),
            Self::WrongMode => (StatusCode::BAD_REQUEST, "wrong_mode"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::BrokenBody => (StatusCode::BAD_REQUEST, "incomplete_body"),
            Self::Saturated(_) => (StatusCode::SERVICE_UNAVAILABLE, "saturated"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::NotStored => (StatusCode::INTERNAL_SERVER_ERROR, "not_stored"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        }
    }

    /// Value of the metric's `result` label.
    pub fn result(self) -> &'static str {
        match self {
            Self::Signature(signature::Fault::Invalid) => "bad_signature",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::BrokenBody => "broken_body",
            Self::Unavailable(_) => "db_unavailable",
            other => other.shape().1,
        }
    }

    /// Why it is a 503; nothing for all that is none.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Saturated(reason) | Self::Unavailable(reason) => Some(reason),
            _ => None,
        }
    }
}

impl IntoResponse for Receipt {
    fn into_response(self) -> Response {
        // Fixed texts: this is the answer to nearly every request.
        let text = match self {
            Receipt::New => r#"{"received":true}"#,
            Receipt::Duplicate => r#"{"received":true,"duplicate":true}"#,
        };
        (
            [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
            text,
        )
            .into_response()
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let (status, code) = self.shape();
        let body = Json(json!({"error": {"code": code, "message": self.to_string()}}));
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
        }
        if matches!(self, Self::TooLarge | Self::SlowBody | Self::BrokenBody) {
            // The rest of the body may still be on its way: the next request cannot be told from it.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Rejection] = &[
        Rejection::MissingSignature,
        Rejection::Signature(signature::Fault::Invalid),
        Rejection::Signature(signature::Fault::Stale),
        Rejection::InvalidPayload(NotAnEvent("")),
        Rejection::WrongMode,
        Rejection::TooLarge,
        Rejection::SlowBody,
        Rejection::BrokenBody,
        Rejection::Saturated(Reason::Memory),
        Rejection::Unavailable(Reason::CommitLate),
        Rejection::NotStored,
    ];

    #[test]
    fn every_result_is_announced_to_prometheus() {
        let mut results: Vec<_> = [Receipt::New, Receipt::Duplicate].map(Receipt::result).to_vec();
        results.extend(ALL.iter().map(|rejection| rejection.result()));
        assert_eq!(results, RESULTS);
    }

    #[test]
    fn only_503_asks_to_come_back_and_has_a_reason() {
        for rejection in ALL {
            let response = rejection.into_response();
            let unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                unavailable,
                "{rejection:?}"
            );
            assert_eq!(rejection.reason().is_some(), unavailable, "{rejection:?}");
            assert!(!response.status().is_success());
        }
    }
}
