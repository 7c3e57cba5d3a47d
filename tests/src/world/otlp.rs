//! A collector: takes OTLP over HTTP on loopback, as protobuf, and keeps the spans.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value as Any,
    trace::v1::{Span as Sent, span::SpanKind, status::StatusCode as Said},
};
use prost::Message as _;
use tokio::net::TcpListener;

use super::error::{Result, io};

/// One span that arrived.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of the program.
    pub service: String,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// Its parent's id; empty where it is the root.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// `Server`, `Producer` …
    pub kind: SpanKind,
    /// Whether it says that it failed.
    pub failed: bool,
    /// When it began, in nanoseconds.
    pub start: u64,
    /// What it says.
    pub attributes: BTreeMap<String, String>,
    /// Spans that it is linked to: trace and id.
    pub links: Vec<(String, String)>,
    /// What happened meanwhile, by name.
    pub events: Vec<String>,
}

/// Listens until dropped. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Collector {
    url: String,
    kept: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Begins to listen on a free port.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(io("the collector's port"))?;
        let address = listener.local_addr().map_err(io("the collector's port"))?;
        let collector = Self {
            url: format!("http://{address}"),
            kept: Arc::default(),
        };
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(collector)
    }

    /// Variables that make the programs send their spans here, soon.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// All spans so far, by their beginning.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spans.sort_by_key(|span| span.start);
        spans
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut kept = collector.kept.lock().unwrap_or_else(PoisonError::into_inner);
    for of_program in request.resource_spans {
        let resource = of_program
            .resource
            .map(|it| attributes(it.attributes))
            .unwrap_or_default();
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for scope in of_program.scope_spans {
            kept.extend(scope.spans.into_iter().map(|span| Span::of(&service, span)));
        }
    }
    StatusCode::OK
}

fn attributes(sent: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    sent.into_iter()
        .map(|pair| (pair.key, text(pair.value.and_then(|value| value.value))))
        .collect()
}

impl Span {
    fn of(service: &str, sent: Sent) -> Self {
        Self {
            service: service.to_owned(),
            kind: sent.kind(),
            failed: sent
                .status
                .as_ref()
                .is_some_and(|status| status.code() == Said::Error),
            trace: hex::encode(&sent.trace_id),
            id: hex::encode(&sent.span_id),
            parent: hex::encode(&sent.parent_span_id),
            name: sent.name,
            start: sent.start_time_unix_nano,
            attributes: attributes(sent.attributes),
            links: sent
                .links
                .iter()
                .map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)))
                .collect(),
            events: sent.events.into_iter().map(|event| event.name).collect(),
        }
    }

    /// What it says under this name; empty where it says nothing.
    #[must_use]
    pub fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// One trace as a tree, in the order of time: name, kind, then what happened meanwhile.
#[must_use]
pub fn tree(spans: &[Span], trace: &str) -> String {
    fn add(spans: &[&Span], parent: &str, depth: usize, text: &mut String) {
        for span in spans.iter().filter(|span| span.parent == parent) {
            let linked = if span.links.is_empty() { "" } else { "  ⇠" };
            text.push_str(&format!(
                "{}{} [{}, {}]{linked}\n",
                "  ".repeat(depth),
                span.name,
                format!("{:?}", span.kind).to_lowercase(),
                span.service
            ));
            for event in &span.events {
                text.push_str(&format!("{}· {event}\n", "  ".repeat(depth + 1)));
            }
            add(spans, &span.id, depth + 1, text);
        }
    }
    let these: Vec<&Span> = spans.iter().filter(|span| span.trace == trace).collect();
    let mut text = String::new();
    let roots: Vec<&Span> = these
        .iter()
        .copied()
        .filter(|span| !these.iter().any(|other| other.id == span.parent))
        .collect();
    for root in roots {
        add(&these, &root.parent, 0, &mut text);
    }
    text
}
