//! Which answer is which: the table from an HTTP answer, or the lack of one, to an [`Error`]. Pure.
//!
//! | | after a POST | after a GET | again with the same key? |
//! |---|---|---|---|
//! | no connection, DNS, TLS | not sent | unavailable | yes |
//! | not put on the wire in time, or charging was stopped meanwhile | not sent | – | no |
//! | not certain that charging was not stopped meanwhile | not sent | – | yes |
//! | timeout, connection lost, answer cut off | **unknown** | unavailable | GET only |
//! | 2xx that is no JSON | **unknown** | unavailable | GET only |
//! | 2xx without a needed field | **unknown** | invalid | no |
//! | 429 (rate, concurrency, `lock_timeout`) | not sent | unavailable | yes |
//! | 402, or a `card_error` | declined | declined | no |
//! | 409 (same key in use) | **unknown** | unavailable | GET only |
//! | 400 `payment_intent_unexpected_state` | unexpected state | – | no |
//! | 400 and other 4xx of Stripe's, `idempotency_error` | invalid | invalid | no |
//! | 401, 403 / 404 | auth / not found | auth / not found | no |
//! | 5xx, 424, 3xx, and any error that Stripe did not write | **unknown** | unavailable | GET only |
//!
//! Stripe answers 429 ahead of its idempotency layer, so nothing has happened; a 5xx is stored with the key and replayed,
//! so asking again would only repeat it (docs.stripe.com/error-low-level). An error without Stripe's JSON comes from
//! something in between, which cannot know what Stripe did.
use std::time::Duration;

use serde_json::Value;

use super::{
    error::{Decline, Error},
    objects::{Fields, PaymentError, PaymentIntent, ShapeError, StripeObject},
    operation::Effect,
    permit::TooLate,
    transport::{Response, SendError},
};

/// Longest text of Stripe's that an error keeps.
const MAX_MESSAGE_CHARS: usize = 300;

/// A failed attempt, and whether the same request may follow it.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) again: Again,
}

/// Whether the same request, with the same key, may be sent again within this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    AfterBackoff,
    /// Not before this long.
    After(Duration),
}

/// Reads an answer: the JSON of a success, or what the failure means.
pub(super) fn answer(effect: Effect, response: &Response) -> Result<Value, Failed> {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    if (200..300).contains(&response.status) {
        return body.ok_or_else(|| {
            indefinite(
                effect,
                response,
                format!("HTTP {} with a body that is no JSON", response.status),
            )
        });
    }
    let error = body.as_ref().and_then(|body| body.get("error"));
    let Some(fields) = error.and_then(|error| Fields::of("error", error).ok()) else {
        return Err(indefinite(
            effect,
            response,
            format!("HTTP {} without Stripe's error", response.status),
        ));
    };
    Err(refusal(effect, response, &fields))
}

/// Reads an answer that is Stripe's error.
fn refusal(effect: Effect, response: &Response, error: &Fields<'_>) -> Failed {
    let request_id = response.request_id.clone();
    let code = error.text_if_any("code");
    let kind = error.text_if_any("type").unwrap_or_default();
    let message = || presentable(&error.text_if_any("message").unwrap_or_default());
    let label = || code.clone().unwrap_or_else(|| kind.clone());
    let intent = || {
        error
            .get("payment_intent")
            .and_then(|intent| PaymentIntent::parse(intent).ok())
    };
    let error = match response.status {
        429 => return limited(effect, response, &label()),
        409 | 424 | 300..=399 | 500.. => {
            return indefinite(effect, response, format!("HTTP {} {}", response.status, label()));
        }
        401 | 403 => Error::Auth {
            status: response.status,
            code,
            request_id,
        },
        404 => Error::NotFound {
            message: message(),
            request_id,
        },
        _ if response.status == 402 || kind == "card_error" => Error::Declined(Box::new(Decline {
            error: PaymentError::read(error),
            intent: intent(),
            request_id,
        })),
        _ if code.as_deref() == Some("payment_intent_unexpected_state") => Error::UnexpectedState {
            intent: intent().map(Box::new),
            code: label(),
            request_id,
        },
        _ => Error::Invalid {
            code: label(),
            param: error.text_if_any("param"),
            message: message(),
            request_id,
        },
    };
    Failed {
        error,
        again: Again::Never,
    }
}

/// Reads the lack of an answer.
pub(super) fn no_answer(effect: Effect, failure: SendError) -> Failed {
    match (failure, effect) {
        (SendError::NotSent(reason), Effect::Writes) => Failed {
            error: Error::NotSent {
                reason,
                retry_after: None,
                request_id: None,
            },
            again: Again::AfterBackoff,
        },
        (SendError::TooLate(late), _) => Failed {
            error: Error::NotSent {
                reason: late.to_string(),
                retry_after: None,
                request_id: None,
            },
            again: match late {
                TooLate::Unsure => Again::AfterBackoff,
                TooLate::Lease | TooLate::Deadline | TooLate::Stopped => Again::Never,
            },
        },
        (SendError::Refused(reason), _) => Failed {
            error: Error::Invalid {
                code: "refused_by_us".into(),
                param: None,
                message: reason,
                request_id: None,
            },
            again: Again::Never,
        },
        (SendError::Lost { reason, request_id }, Effect::Writes) => Failed {
            error: Error::Unknown { reason, request_id },
            again: Again::Never,
        },
        (SendError::TimedOut, Effect::Writes) => Failed {
            error: Error::Unknown {
                reason: SendError::TimedOut.to_string(),
                request_id: None,
            },
            again: Again::Never,
        },
        (failure @ (SendError::NotSent(_) | SendError::Lost { .. } | SendError::TimedOut), Effect::Reads) => {
            let reason = failure.to_string();
            Failed {
                error: Error::Unavailable {
                    reason,
                    retry_after: None,
                    request_id: failure.into_request_id(),
                },
                again: Again::AfterBackoff,
            }
        }
    }
}

/// It did not get its turn within our own limits: nothing was sent, and trying at once would only stand in line again.
pub(super) fn out_of_turn(effect: Effect, wait: Duration) -> Failed {
    let reason = "our own rate limit leaves no room".to_owned();
    let retry_after = Some(wait);
    let error = match effect {
        Effect::Writes => Error::NotSent {
            reason,
            retry_after,
            request_id: None,
        },
        Effect::Reads => Error::Unavailable {
            reason,
            retry_after,
            request_id: None,
        },
    };
    Failed {
        error,
        again: Again::Never,
    }
}

/// A success of which a needed field is missing. After a POST it happened all the same.
pub(super) fn misshapen(effect: Effect, fault: &ShapeError, request_id: Option<String>) -> Error {
    match effect {
        Effect::Writes => Error::Unknown {
            reason: format!("the answer cannot be read: {fault}"),
            request_id,
        },
        Effect::Reads => Error::Invalid {
            code: "missing_field".into(),
            param: Some(fault.path.clone()),
            message: fault.to_string(),
            request_id,
        },
    }
}

/// Stripe asks for patience before it did anything.
fn limited(effect: Effect, response: &Response, label: &str) -> Failed {
    let reason = format!("HTTP 429 {label}");
    let (retry_after, request_id) = (response.retry_after, response.request_id.clone());
    let again = match (response.should_retry, retry_after) {
        (Some(false), _) => Again::Never,
        (_, Some(wait)) => Again::After(wait),
        (_, None) => Again::AfterBackoff,
    };
    // Without a number of Stripe's a job waits its own backoff, but does not lose an attempt over our rate.
    let retry_after = Some(retry_after.unwrap_or_default());
    let error = match effect {
        Effect::Writes => Error::NotSent {
            reason,
            retry_after,
            request_id,
        },
        Effect::Reads => Error::Unavailable {
            reason,
            retry_after,
            request_id,
        },
    };
    Failed { error, again }
}

/// Something answered, but whether Stripe did the work cannot be told from it.
fn indefinite(effect: Effect, response: &Response, reason: String) -> Failed {
    let request_id = response.request_id.clone();
    match effect {
        Effect::Writes => Failed {
            error: Error::Unknown { reason, request_id },
            again: Again::Never,
        },
        Effect::Reads => {
            let again = match (response.should_retry, response.retry_after) {
                (Some(false), _) => Again::Never,
                (_, Some(wait)) => Again::After(wait),
                (_, None) => Again::AfterBackoff,
            };
            Failed {
                error: Error::Unavailable {
                    reason,
                    retry_after: response.retry_after,
                    request_id,
                },
                again,
            }
        }
    }
}

/// Stripe's words, bounded, and without anything that looks like a secret: messages may quote what was sent.
fn presentable(message: &str) -> String {
    let words = message.split_inclusive(char::is_whitespace).map(|word| {
        let secret = ["sk_", "rk_", "whsec_", "_secret_"]
            .iter()
            .any(|mark| word.contains(mark));
        if secret { "[redacted] " } else { word }
    });
    words
        .collect::<String>()
        .chars()
        .take(MAX_MESSAGE_CHARS)
        .collect()
}
