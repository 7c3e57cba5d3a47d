//! What a call can come back with instead of an object, by what it means for money.
//!
//! The one question that matters after a failed POST is whether it may have had an effect. [`Error::NotSent`] says no, so
//! the same operation may be tried again; [`Error::Unknown`] says nobody knows, so the outcome is looked up and never
//! guessed. Neither holds a body, a key or a client secret: errors end up in logs and in job rows.
use std::{fmt, time::Duration};

use super::objects::{PaymentError, PaymentIntent};

/// How long a job rests before it looks up an unknown outcome: Stripe needs a moment to finish what it was doing.
const UNKNOWN_REST: Duration = Duration::from_secs(10);
/// How long a job rests while our key is refused: it takes a person to put that right.
const AUTH_REST: Duration = Duration::from_secs(60);
/// How long a job rests when it must wait for its turn and Stripe does not say how long.
const RATE_REST: Duration = Duration::from_secs(2);

/// What a failed call deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Run again with backoff; counts as an attempt.
    Retry,
    /// Run again after this long; no attempt is lost, as the fault is not the job's.
    Snooze(Duration),
    /// Running again would end the same way.
    Fail,
}

/// Why a call has no object to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The card was declined: a business answer, final for this attempt.
    Declined(Box<Decline>),
    /// A POST whose outcome nobody knows: the answer timed out, broke off, was a server error, or could not be read; or
    /// another request with the same key is still running. Only a lookup may decide.
    Unknown {
        /// What happened, in words.
        reason: String,
        /// Stripe's id of the request, where an answer came.
        request_id: Option<String>,
    },
    /// Refused before anything could happen: no connection, or Stripe's rate or lock limits. No effect.
    NotSent {
        /// What happened, in words.
        reason: String,
        /// How long to wait, where it is known.
        retry_after: Option<Duration>,
        /// Stripe's id of the request, where an answer came.
        request_id: Option<String>,
    },
    /// A GET that got no usable answer. Reading has no effect, so it is simply read again.
    Unavailable {
        /// What happened, in words.
        reason: String,
        /// How long to wait, where Stripe says so.
        retry_after: Option<Duration>,
        /// Stripe's id of the request, where an answer came.
        request_id: Option<String>,
    },
    /// There is no such object, or not for this key.
    NotFound {
        /// Stripe's words, such as `No such payment_intent: 'pi_1'`.
        message: String,
        /// Stripe's id of the request.
        request_id: Option<String>,
    },
    /// The intent is in a state that does not allow the call, such as a confirmation of one that has succeeded. No effect.
    UnexpectedState {
        /// The intent as it is, where Stripe sent it along.
        intent: Option<Box<PaymentIntent>>,
        /// Stripe's code.
        code: String,
        /// Stripe's id of the request.
        request_id: Option<String>,
    },
    /// The request is wrong, or the answer is not what it should be: our bug, which only a person can mend. No effect.
    Invalid {
        /// Stripe's code, or ours: `missing_field`, `livemode_mismatch`, `malformed_id`, `endless_list`.
        code: String,
        /// Which parameter, or which field of the answer.
        param: Option<String>,
        /// In words.
        message: String,
        /// Stripe's id of the request, where an answer came.
        request_id: Option<String>,
    },
    /// The key is refused (401) or may not do this (403). No effect.
    Auth {
        /// 401 or 403.
        status: u16,
        /// Stripe's code.
        code: Option<String>,
        /// Stripe's id of the request.
        request_id: Option<String>,
    },
}

/// A declined charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// Stripe's and the network's codes, with the failed charge and the payment method.
    pub error: PaymentError,
    /// The intent after the failure.
    pub intent: Option<PaymentIntent>,
    /// Stripe's id of the request.
    pub request_id: Option<String>,
}

impl Error {
    /// What a job that meets this error should do, unless it knows better: those that move money look at the value.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } => Class::Snooze(UNKNOWN_REST),
            Self::NotSent {
                retry_after: Some(wait),
                ..
            }
            | Self::Unavailable {
                retry_after: Some(wait),
                ..
            } => Class::Snooze((*wait).max(RATE_REST)),
            Self::NotSent {
                retry_after: None, ..
            }
            | Self::Unavailable {
                retry_after: None, ..
            } => Class::Retry,
            Self::Auth { .. } => Class::Snooze(AUTH_REST),
            Self::Declined(_)
            | Self::NotFound { .. }
            | Self::UnexpectedState { .. }
            | Self::Invalid { .. } => Class::Fail,
        }
    }

    /// Stripe's id of the request (`req_…`), to find it in Stripe's logs.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Declined(decline) => decline.request_id.as_deref(),
            Self::Unknown { request_id, .. }
            | Self::NotSent { request_id, .. }
            | Self::Unavailable { request_id, .. }
            | Self::NotFound { request_id, .. }
            | Self::UnexpectedState { request_id, .. }
            | Self::Invalid { request_id, .. }
            | Self::Auth { request_id, .. } => request_id.as_deref(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined(decline) => {
                let code = decline.error.code.as_deref().unwrap_or("no code");
                write!(f, "Stripe declined the charge: {code}")?;
                if let Some(decline_code) = &decline.error.decline_code {
                    write!(f, " ({decline_code})")?;
                }
            }
            Self::Unknown { reason, .. } => write!(f, "the outcome at Stripe is unknown: {reason}")?,
            Self::NotSent { reason, .. } => write!(f, "Stripe did not take the request: {reason}")?,
            Self::Unavailable { reason, .. } => write!(f, "Stripe gave no usable answer: {reason}")?,
            Self::NotFound { message, .. } => write!(f, "Stripe knows no such object: {message}")?,
            Self::UnexpectedState { intent, code, .. } => {
                write!(f, "the PaymentIntent does not allow this: {code}")?;
                if let Some(intent) = intent {
                    write!(f, " ({} is {})", intent.id, intent.status)?;
                }
            }
            Self::Invalid {
                code, param, message, ..
            } => {
                write!(f, "the exchange with Stripe is invalid: {code}")?;
                if let Some(param) = param {
                    write!(f, " ({param})")?;
                }
                write!(f, ": {message}")?;
            }
            Self::Auth { status, .. } => {
                write!(
                    f,
                    "Stripe refuses our key (HTTP {status}): check STRIPE_SECRET_KEY and its permissions"
                )?;
            }
        }
        match self.request_id() {
            Some(request_id) => write!(f, " [{request_id}]"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
