//! Spans, and how a trace crosses the queue.
//!
//! A trace begins at the door, at a command or with a job that fell due, and goes on in whatever that enqueues: the context of
//! the span that sends a job is stored in its row (`jobs.traceparent`, W3C). The run of a job is always *linked* to it. It is
//! also its child, by way of the span that received it, so that one trace tells of one payment from the webhook to the last row,
//! unless the job was put off for later: a retry in three days is a trace of its own, linked to the attempt before it.
//!
//! Spans have ids, kinds, codes and numbers, never anything of a customer's. Where no collector is named nothing is made: the
//! spans below are disabled like any log line that nobody wants.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Link, Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{clock, ids::JobId};

/// Of spans that are for traces and would only lengthen log lines.
pub const TARGET: &str = "quittance::trace";

/// A job that is due later than this after it was enqueued was put off: its run is another trace.
const PUT_OFF: TimeDelta = TimeDelta::minutes(1);

/// Makes the spans; nobody takes any where it is not set.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Says that somebody takes spans, once, at start.
pub(crate) fn switch_on(tracer: SdkTracer) {
    // A second call changes nothing, as with everything that is set up at start.
    drop(TRACER.set(tracer));
}

fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The current span as a job's row keeps it.
#[must_use]
pub fn traceparent() -> Option<String> {
    is_on()
        .then(|| encode(Context::current().span().span_context()))
        .flatten()
}

/// A given span as a job's row keeps it.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    is_on()
        .then(|| encode(span.context().span().span_context()))
        .flatten()
}

/// The trace and span that a log line is written in.
pub(crate) fn current_ids() -> Option<(TraceId, SpanId)> {
    if !is_on() {
        return None;
    }
    let context = Context::current();
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| (ids.trace_id(), ids.span_id()))
}

fn encode(span: &SpanContext) -> Option<String> {
    span.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            span.trace_id(),
            span.span_id(),
            span.trace_flags().to_u8()
        )
    })
}

/// Reads what [`encode`] wrote; `None` where it is something else.
fn decode(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let ("00", trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?) else {
        return None;
    };
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// A command that somebody runs.
#[must_use]
pub fn command(name: &str) -> Span {
    info_span!(target: TARGET, parent: None, "command", otel.name = format!("quittance {name}"), otel.kind = "internal")
}

/// A delivery at the door.
#[must_use]
pub fn delivery(route: &str) -> Span {
    info_span!(
        target: TARGET, parent: None, "delivery", otel.name = format!("POST {route}"), otel.kind = "server",
        http.request.method = "POST", http.route = route, http.response.status_code = Empty, error.type = Empty,
        otel.status_code = Empty, quittance.webhook.result = Empty,
    )
}

/// How a delivery was answered.
pub fn answered(span: &Span, status: u16, result: &str) {
    span.record("quittance.webhook.result", result);
    request_answered(span, status);
}

/// Methods by their own name; whatever else somebody sends is `_OTHER`, as the conventions have it, so that names stay few.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
];

/// A request to the portal, by the route that takes it. A trace from outside is not believed.
#[must_use]
pub fn request(method: &str, route: Option<&str>) -> Span {
    let method = METHODS
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("_OTHER");
    // The name of a method that is not known is HTTP.
    let verb = if method == "_OTHER" { "HTTP" } else { method };
    let name = route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}"));
    let span = info_span!(
        target: TARGET, parent: None, "request", otel.name = name, otel.kind = "server",
        http.request.method = method, http.route = Empty, http.response.status_code = Empty, error.type = Empty,
        otel.status_code = Empty,
    );
    if let Some(route) = route {
        span.record("http.route", route);
    }
    span
}

/// How a request was answered. That somebody asked for what they may not have, or what is not there, is no fault of ours.
pub fn request_answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("error.type", status.to_string());
        span.record("otel.status_code", "ERROR");
    }
}

/// Putting a job into its queue. Its context goes into the row.
#[must_use]
pub fn sending(kind: &str, queue: &str, id: &str) -> Span {
    info_span!(
        target: TARGET, "send", otel.name = format!("send {kind}"), otel.kind = "producer",
        messaging.system = "quittance", messaging.operation.name = "send", messaging.operation.type = "send",
        messaging.destination.name = kind, messaging.message.id = id, quittance.queue = queue,
    )
}

/// A job that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Consumed<'a> {
    /// Which.
    pub id: JobId,
    /// What it does.
    pub kind: &'a str,
    /// Its lane.
    pub queue: &'a str,
    /// Who runs it.
    pub worker: &'a str,
    /// Number of the run.
    pub attempt: i32,
    /// When it was enqueued, and when it is due.
    pub times: (DateTime<Utc>, DateTime<Utc>),
    /// The span that sent it.
    pub traceparent: Option<&'a str>,
    /// How long it took to receive it: to read its row, and to note the run.
    pub receiving: Duration,
}

impl Consumed<'_> {
    /// The span that sent it, and whether it is the parent too.
    fn sender(&self) -> (Option<SpanContext>, bool) {
        let (created_at, run_at) = self.times;
        (self.traceparent.and_then(decode), run_at - created_at <= PUT_OFF)
    }

    /// How its row was received, which is over by now: only that the job may be run made it something to tell. The run is its child.
    fn received(&self) -> Option<SpanContext> {
        let tracer = TRACER.get()?;
        let (sender, is_parent) = self.sender();
        let ended = SystemTime::from(clock::real_now());
        let attributes = [
            ("messaging.system", "quittance".to_owned()),
            ("messaging.operation.name", "receive".to_owned()),
            ("messaging.operation.type", "receive".to_owned()),
            ("messaging.destination.name", self.kind.to_owned()),
            ("messaging.message.id", self.id.to_string()),
            ("messaging.client.id", self.worker.to_owned()),
            ("quittance.queue", self.queue.to_owned()),
        ];
        let within = match &sender {
            Some(sender) if is_parent => Context::new().with_remote_span_context(sender.clone()),
            _ => Context::new(),
        };
        let mut span = tracer
            .span_builder(format!("receive {}", self.kind))
            .with_kind(SpanKind::Client)
            .with_start_time(ended.checked_sub(self.receiving).unwrap_or(ended))
            .with_attributes(attributes.map(|(name, value)| KeyValue::new(name, value)))
            .with_links(sender.into_iter().map(Link::with_context).collect())
            .start_with_context(tracer, &within);
        span.end_with_timestamp(ended);
        Some(span.span_context().clone())
    }
}

/// The run of a job.
#[must_use]
pub fn consuming(job: Consumed<'_>) -> Span {
    let Consumed {
        id,
        kind,
        queue,
        worker,
        attempt,
        ..
    } = job;
    let span = info_span!(
        target: TARGET, parent: None, "process", otel.name = format!("process {kind}"), otel.kind = "consumer",
        messaging.system = "quittance", messaging.operation.name = "process", messaging.operation.type = "process",
        messaging.destination.name = kind, messaging.message.id = %id, messaging.client.id = worker, quittance.queue = queue,
        quittance.job.attempt = attempt, quittance.job.outcome = Empty, error.type = Empty, otel.status_code = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let (Some(sender), _) = job.sender() {
        span.add_link(sender);
    }
    if let Some(received) = job.received() {
        let within = Context::new().with_remote_span_context(received);
        if let Err(fault) = span.set_parent(within) {
            tracing::debug!("a job's trace begins anew: {fault}");
        }
    }
    span
}

/// Writing down how a run ended, from which on the job is not handed out again, or later.
#[must_use]
pub fn settling(kind: &str, id: JobId, outcome: &str) -> Span {
    info_span!(
        target: TARGET, "settle", otel.name = format!("settle {kind}"), otel.kind = "client",
        messaging.system = "quittance", messaging.operation.name = "settle", messaging.operation.type = "settle",
        messaging.destination.name = kind, messaging.message.id = %id, quittance.job.outcome = outcome,
    )
}

/// How a run ended. A job that was given up is an error; one that will be retried is business as usual.
pub fn ran(span: &Span, outcome: &str) {
    span.record("quittance.job.outcome", outcome);
    if matches!(outcome, "failed" | "discarded") {
        span.record("error.type", outcome);
        span.record("otel.status_code", "ERROR");
    }
}

/// A call of Stripe's API: one attempt.
#[must_use]
pub fn stripe_call(operation: &str, (method, template): (&str, &str)) -> Span {
    info_span!(
        target: TARGET, "stripe", otel.name = format!("{method} {template}"), otel.kind = "client",
        http.request.method = method, url.template = template, peer.service = "stripe",
        http.response.status_code = Empty, error.type = Empty, otel.status_code = Empty,
        quittance.stripe.operation = operation, quittance.stripe.request_id = Empty,
    )
}

/// What Stripe answered, or why there is no answer.
pub fn stripe_answered(span: &Span, answer: Result<u16, &str>, request_id: Option<&str>) {
    if let Some(id) = request_id {
        span.record("quittance.stripe.request_id", id);
    }
    match answer {
        Ok(status) => {
            span.record("http.response.status_code", status);
            if status >= 400 {
                span.record("error.type", status.to_string());
                span.record("otel.status_code", "ERROR");
            }
        }
        Err(code) => {
            span.record("error.type", code);
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// A transaction, if something is being traced: the loops that look for work begin many, which tell nothing.
#[must_use]
pub fn transaction() -> Span {
    if current_ids().is_none() {
        return Span::none();
    }
    info_span!(
        target: TARGET, "transaction", otel.name = "transaction", otel.kind = "client", db.system.name = "postgresql",
        db.operation.name = "transaction", quittance.db.outcome = Empty,
    )
}

/// The statement by which events come in: of many deliveries at once, so it is linked to each and a child of none.
#[must_use]
pub fn storing<'a>(senders: impl Iterator<Item = &'a str>, events: usize) -> Span {
    let span = info_span!(
        target: TARGET, parent: None, "store", otel.name = "INSERT stripe_events", otel.kind = "client",
        db.system.name = "postgresql", db.operation.name = "INSERT", db.collection.name = "stripe_events",
        db.operation.batch.size = events,
    );
    if !span.is_disabled() {
        senders
            .filter_map(decode)
            .for_each(|sender| span.add_link(sender));
    }
    span
}

/// Something that was written into the audit log: an effect, noted on the span that had it.
pub(crate) fn effect(action: &str, subject_kind: &str, subject: uuid::Uuid) {
    if is_on() {
        tracing::info!(target: TARGET, subject_kind, %subject, "{action}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_was_written_and_nothing_else_is() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = decode(text).unwrap();
        assert!(read.is_remote() && read.is_sampled());
        assert_eq!(encode(&read).as_deref(), Some(text));
        for wrong in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-zz",
        ] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
