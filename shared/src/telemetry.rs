//! What a program tells of itself: log lines, and spans where a collector is named.
//!
//! Logs go to stderr, as text or JSON, filtered by `RUST_LOG`. Never payloads, keys, e-mail addresses or card data. Colours are for
//! people at a terminal; in a file they would be noise. Spans go to `OTEL_EXPORTER_OTLP_ENDPOINT`; without it none is made.

mod json;

use std::{io::IsTerminal as _, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{config::LogFormat, otlp::Post, trace};

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info,sqlx=warn,apalis=warn";

/// How long the end of a program may wait for the last spans to leave.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// A program that tells.
#[derive(Debug)]
#[must_use = "the last spans are sent by `finish`"]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

/// How a program tells.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `service.name`, unless `OTEL_SERVICE_NAME` says otherwise.
    pub service: &'static str,
    /// Its version.
    pub version: &'static str,
    /// How log lines look.
    pub format: LogFormat,
    /// Where spans go.
    pub collector: Option<String>,
}

/// Starts telling. Called once, first thing in `main`; a second call changes nothing.
pub fn init(settings: &Settings) -> Telemetry {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // Spans that are for traces would only lengthen log lines.
    let filter = match format!("{}=off", trace::TARGET).parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let lines = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![match settings.format {
        LogFormat::Json => lines
            .fmt_fields(fmt::format::JsonFields::new())
            .event_format(json::Lines)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => lines.with_target(false).with_filter(filter).boxed(),
    }];
    let (spans, fault) = match settings.collector.as_deref().map(|url| provider(settings, url)) {
        None => (None, None),
        Some(Ok(provider)) => (Some(provider), None),
        Some(Err(fault)) => (None, Some(fault)),
    };
    let tracer = spans.as_ref().map(|provider| provider.tracer("quittance"));
    if let Some(tracer) = &tracer {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(trace::TARGET, tracing::Level::INFO));
        layers.push(layer.boxed());
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    match (started, fault) {
        (Err(_), _) => tracing::debug!("logging was already started"),
        (Ok(()), Some(fault)) => tracing::error!("no spans are sent: {fault}"),
        (Ok(()), None) => {
            if let Some(tracer) = tracer {
                trace::switch_on(tracer);
            }
        }
    }
    Telemetry { spans }
}

impl Telemetry {
    /// Sends the last spans. Blocks for at most some seconds.
    pub fn finish(self) {
        let Some(spans) = self.spans else { return };
        if let Err(fault) = spans.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!("the last spans may be lost: {fault}");
        }
    }
}

fn provider(settings: &Settings, collector: &str) -> Result<SdkTracerProvider, String> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Post::default())
        .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
        .build()
        .map_err(|fault| fault.to_string())?;
    // The builder looks at OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which win.
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(settings.service);
    }
    let resource = resource
        .with_attribute(KeyValue::new("service.namespace", "quittance"))
        .with_attribute(KeyValue::new("service.version", settings.version))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}
