//! One exchange with Stripe: a typed request of async-stripe out, the whole answer back.
//!
//! async-stripe offers its `StripeClient` trait for transports of one's own. The trait takes any of its typed requests
//! and wants bytes, which async-stripe then parses strictly, into a type that fails on older and on newer objects; status
//! and headers have no place in it. So an [`Exchange`] lives for one request: it implements the trait, keeps the answer
//! for us (status, headers, body), and hands async-stripe `null` for the unit type that we ask it to make of it.
//!
//! Sent as is: bearer key, pinned `Stripe-Version`, our `Idempotency-Key` on every POST (one without is refused here),
//! one attempt, a timeout from connecting to the last byte, connections kept alive, no redirects, no proxies.
use std::{error::Error as _, sync::OnceLock, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use shared::failpoint::{self, Effect};
use stripe_client_core::{
    CustomizedStripeRequest, RequestStrategy, StripeClient, StripeClientErr, StripeMethod, StripeRequest,
};
use stripe_shared::version::VERSION;

use super::{
    config::{ConfigError, StripeConfig},
    key::IdempotencyKey,
    permit::{Permit, PermittedBody, TooLate},
};

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("stripe-should-retry");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Longest answer that is read. A page of a hundred objects is well under one mebibyte.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Longest wait for a connection. Kept apart from the whole timeout because until then nothing has been sent, which is
/// worth knowing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection unused for this long is closed by us, before Stripe's side closes it under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The way to Stripe.
pub(super) struct Transport {
    http: reqwest::Client,
    origin: String,
    timeout: Duration,
}

/// What a POST goes out with, beside its parameters.
#[derive(Clone, Copy)]
pub(super) struct Post<'a> {
    key: &'a IdempotencyKey,
    permit: Option<&'a Permit>,
}

impl<'a> Post<'a> {
    /// This key, at any time.
    pub(super) fn with(key: &'a IdempotencyKey) -> Self {
        Self { key, permit: None }
    }

    /// Only while the permit holds.
    pub(super) fn under(self, permit: &'a Permit) -> Self {
        Self {
            permit: Some(permit),
            ..self
        }
    }

    /// Until when it may go out, where that is limited.
    pub(super) fn permit(self) -> Option<&'a Permit> {
        self.permit
    }
}

/// An answer, whatever it says.
pub(super) struct Response {
    pub(super) status: u16,
    /// `Request-Id`: Stripe's name for this exchange.
    pub(super) request_id: Option<String>,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<Duration>,
    /// `Stripe-Should-Retry`: Stripe's own opinion, where it has one.
    pub(super) should_retry: Option<bool>,
    /// `Idempotent-Replayed`: the stored answer of an earlier request with this key.
    pub(super) replayed: bool,
    /// The bytes as they came. Never printed: client secrets and billing details are in them.
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It cannot have reached Stripe.
    #[error("{0}")]
    NotSent(String),
    /// We do not send such a request.
    #[error("{0}")]
    Refused(String),
    /// Its permit ended before it was put on the wire.
    #[error(transparent)]
    TooLate(TooLate),
    /// The timeout passed after it may have been sent.
    #[error("no answer within the timeout")]
    TimedOut,
    /// The connection broke after it may have been sent, or within the answer.
    #[error("{reason}")]
    Lost {
        reason: String,
        request_id: Option<String>,
    },
}

impl SendError {
    /// Stripe's id of the request, where its headers came.
    pub(super) fn into_request_id(self) -> Option<String> {
        match self {
            Self::Lost { request_id, .. } => request_id,
            Self::NotSent(_) | Self::Refused(_) | Self::TooLate(_) | Self::TimedOut => None,
        }
    }

    /// The label for metrics.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotSent(_) | Self::Refused(_) => "not_sent",
            Self::TooLate(_) => "too_late",
            Self::TimedOut => "timed_out",
            Self::Lost { .. } => "lost",
        }
    }
}

impl Transport {
    /// Sets up HTTPS; connects to nothing yet.
    pub(super) fn try_new(config: &StripeConfig) -> Result<Self, ConfigError> {
        let origin = config.origin()?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, config.authorization()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("quittance/", env!("CARGO_PKG_VERSION")))
            .timeout(config.timeout)
            // Less than the whole, or the whole would always pass first and leave us in doubt.
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout / 2))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy();
        // A simulator over plain HTTP needs no trust in anyone, so it needs no CA certificates on the machine either.
        let http = if origin.starts_with("http://") {
            http.tls_certs_only([])
        } else {
            http.https_only(true)
        };
        Ok(Self {
            http: http.build().map_err(ConfigError::Http)?,
            origin,
            timeout: config.timeout,
        })
    }

    /// Sends a request once, if its permit holds to the last moment, and returns the answer, whatever its status.
    pub(super) async fn send(
        &self,
        request: &impl StripeRequest,
        post: Option<Post<'_>>,
    ) -> Result<Response, SendError> {
        let strategy = match post {
            None => RequestStrategy::Once,
            Some(post) => RequestStrategy::Idempotent(
                stripe_client_core::IdempotencyKey::new(post.key.as_str())
                    .map_err(|fault| SendError::Refused(fault.to_string()))?,
            ),
        };
        let exchange = Exchange {
            transport: self,
            permit: post.and_then(|post| post.permit),
            response: OnceLock::new(),
        };
        let customized = request
            .build()
            .customize::<()>()
            .request_strategy(strategy)
            .timeout(self.timeout);
        failpoint::around(Effect::Stripe, customized.send(&exchange)).await?;
        exchange
            .response
            .into_inner()
            .ok_or_else(|| lost("the exchange kept no answer".into(), None))
    }
}

/// The adapter between async-stripe and the transport, for one request.
struct Exchange<'a> {
    transport: &'a Transport,
    permit: Option<&'a Permit>,
    response: OnceLock<Response>,
}

/// What async-stripe is given to parse: the answer itself stays in the exchange.
const NOTHING_TO_PARSE: &[u8] = b"null";

impl StripeClient for Exchange<'_> {
    type Err = SendError;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, SendError> {
        let response = self.transport.execute(request, self.permit).await?;
        if self.response.set(response).is_err() {
            return Err(lost("one exchange was used for two requests".into(), None));
        }
        Ok(Bytes::from_static(NOTHING_TO_PARSE))
    }
}

impl StripeClientErr for SendError {
    /// async-stripe could not read what it was handed. An answer had come, so its effect is unknown.
    fn deserialize_err(msg: impl std::fmt::Display) -> Self {
        lost(msg.to_string(), None)
    }
}

impl Transport {
    /// Turns async-stripe's description of a request into HTTP.
    async fn execute(
        &self,
        request: CustomizedStripeRequest,
        permit: Option<&Permit>,
    ) -> Result<Response, SendError> {
        let (request, overrides) = request.into_pieces();
        let key = overrides.request_strategy.and_then(|strategy| strategy.get_key());
        let method = match request.method {
            StripeMethod::Get => Method::GET,
            StripeMethod::Post => Method::POST,
            StripeMethod::Delete => Method::DELETE,
        };
        let mut url = format!("{}/v1{}", self.origin, request.path);
        if let Some(query) = request.query.filter(|query| !query.is_empty()) {
            url = format!("{url}?{query}");
        }
        let mut http = self
            .http
            .request(method.clone(), url)
            // The version that the request types were made for.
            .header(STRIPE_VERSION, VERSION.as_str())
            .timeout(overrides.timeout.unwrap_or(self.timeout));
        // A DELETE has an effect too; Stripe ignores its key, and what is gone stays gone.
        if method != Method::GET {
            let Some(key) = key else {
                return Err(SendError::Refused(
                    "a request that changes something is never sent without an idempotency key".into(),
                ));
            };
            http = http
                .header(IDEMPOTENCY_KEY, key.as_str())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            let body = request.body.unwrap_or_default();
            let Some(permit) = permit else {
                return read(http.body(body).send().await.map_err(failure)?).await;
            };
            if body.is_empty() {
                return Err(SendError::Refused(
                    "a request under a permit needs a body, which asks for it".into(),
                ));
            }
            let (body, refusal) = PermittedBody::new(body.into(), permit);
            let sent = http.body(reqwest::Body::wrap(body)).send().await;
            return match (sent, refusal.get()) {
                (Ok(response), _) => read(response).await,
                (Err(_), Some(late)) => Err(SendError::TooLate(late)),
                (Err(error), None) => Err(failure(error)),
            };
        }
        read(http.send().await.map_err(failure)?).await
    }
}

/// Keeps what matters of the headers, then reads the body, which must not be too long.
async fn read(mut response: reqwest::Response) -> Result<Response, SendError> {
    let headers = response.headers();
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let request_id = text(REQUEST_ID);
    let mut kept = Response {
        status: response.status().as_u16(),
        request_id: request_id.clone(),
        retry_after: text(RETRY_AFTER)
            .and_then(|secs| secs.trim().parse().ok())
            .map(Duration::from_secs),
        should_retry: text(SHOULD_RETRY).and_then(|flag| flag.parse().ok()),
        replayed: text(REPLAYED).as_deref() == Some("true"),
        body: Bytes::new(),
    };
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(lost("the answer is too long to be Stripe's".into(), request_id)),
            Ok(None) => break,
            Err(error) => {
                let reason = format!("the answer broke off: {}", causes(error));
                return Err(lost(reason, request_id));
            }
        }
    }
    kept.body = body.freeze();
    Ok(kept)
}

/// Tells a request that cannot have been sent from one that may have been.
fn failure(error: reqwest::Error) -> SendError {
    if error.is_builder() || error.is_connect() {
        SendError::NotSent(causes(error))
    } else if error.is_timeout() {
        SendError::TimedOut
    } else {
        lost(causes(error), None)
    }
}

/// The chain of causes in one line, without the URL.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn lost(reason: String, request_id: Option<String>) -> SendError {
    SendError::Lost { reason, request_id }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
