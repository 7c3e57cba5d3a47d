//! The door itself: six paths, one handler.
//!
//! Read the bytes, check the signature, read the envelope, have it committed, answer. It calls nobody but Postgres,
//! and says 2xx for nothing that is not committed there (P1).

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::post,
};
use chrono::{DateTime, Utc};
use shared::{
    clock::real_now,
    config::Mode,
    domain::event::Event,
    store::{jobs::Queue, replays::KIND},
    trace,
};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::{
    body::{self, Budget},
    inbox::Inbox,
    metrics::{Counted, Metrics},
    refusals::{Reason, Refusals},
    reply::{Receipt, Rejection},
    signature::{Fault, Verifier},
};

/// All that Stripe may have been told to deliver to.
const PATHS: [&str; 6] = [
    "/webhooks/stripe",
    "/webhooks/stripe/",
    "/api/webhooks/stripe",
    "/api/webhooks/stripe/",
    "/api/stripe/webhook",
    "/api/stripe/webhook/",
];

/// What the handler needs.
pub struct Door {
    verifier: Verifier,
    mode: Mode,
    inbox: Inbox,
    places: Semaphore,
    budget: Budget,
    refusals: Refusals,
    metrics: Arc<Metrics>,
}

impl Door {
    /// A door that takes on `max_in_flight` deliveries at once.
    pub fn new(
        verifier: Verifier,
        mode: Mode,
        inbox: Inbox,
        max_in_flight: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            verifier,
            mode,
            inbox,
            places: Semaphore::new(max_in_flight),
            budget: Budget::new(max_in_flight),
            refusals: Refusals::new(metrics.unavailable.clone()),
            metrics,
        }
    }

    /// The public port's routes.
    pub fn routes(self) -> Router {
        let mut router = Router::new();
        for path in PATHS {
            router = router.route(path, post(receive));
        }
        router
            .fallback(async || Rejection::NotFound)
            .method_not_allowed_fallback(async || Rejection::MethodNotAllowed)
            .with_state(Arc::new(self))
    }

    async fn take(
        &self,
        request: Request,
        received_at: DateTime<Utc>,
    ) -> Result<(Receipt, DateTime<Utc>), Rejection> {
        let place = self.places.try_acquire();
        let _place = place.map_err(|_| Rejection::Saturated(Reason::InFlight))?;
        let _counted = Counted::new(&self.metrics.in_flight);
        let (head, body) = request.into_parts();
        let (body, _memory) = body::read(&head.headers, body, &self.budget).await?;
        self.verifier
            .verify(signature_header(&head.headers)?, &body, received_at)?;
        let mut event = Event::parse(body, self.mode, received_at).inspect_err(|fault| {
            tracing::warn!(%fault, "a delivery with a genuine signature is no event");
        })?;
        if event.livemode != self.mode.livemode() {
            tracing::warn!(
                event.id,
                event.livemode,
                "an event of the other Stripe mode was rejected"
            );
            return Err(Rejection::WrongMode);
        }
        let created_at = event.created_at;
        let sending = trace::sending(KIND, Queue::Events.as_str(), &event.id);
        event.traceparent = trace::traceparent_of(&sending);
        Ok((self.inbox.store(event).instrument(sending).await?, created_at))
    }
}

async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let started = Instant::now();
    let received_at = real_now();
    let span = trace::delivery(request.uri().path());
    let outcome = door.take(request, received_at).instrument(span.clone()).await;
    let result = match &outcome {
        Ok((receipt, created_at)) => {
            let delay = (received_at - created_at).to_std().unwrap_or_default(); // a clock ahead of ours: no delay
            door.metrics.acknowledged(started.elapsed(), delay);
            receipt.result()
        }
        Err(rejection) => {
            if let Some(reason) = rejection.reason() {
                door.refusals.note(reason);
            }
            rejection.result()
        }
    };
    door.metrics.requests.with_label_values(&[result]).inc();
    let response = match outcome {
        Ok((receipt, _)) => receipt.into_response(),
        Err(rejection) => rejection.into_response(),
    };
    trace::answered(&span, response.status().as_u16(), result);
    response
}

fn signature_header(headers: &HeaderMap) -> Result<&str, Rejection> {
    let header = headers
        .get("stripe-signature")
        .ok_or(Rejection::MissingSignature)?;
    header.to_str().map_err(|_| Rejection::Signature(Fault::Invalid))
}
