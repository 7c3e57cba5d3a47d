//! Log lines as JSON, one object a line, under names that stay: `ts`, `level`, `msg`, `target`, then the fields of the line and
//! of the spans around it, then `trace_id` and `span_id` where a trace is being made.
//!
//! Fields are called in JSON as in the code, with `_` for the dots (`event.id` is `event_id`); of a job `job_id`, `kind`, `queue`
//! and `attempt`.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

use crate::{clock::real_now, trace};

/// The format.
pub(super) struct Lines;

/// Fields by their names in JSON, in order.
#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl<S> FormatEvent<S, JsonFields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    JsonFields: for<'a> FormatFields<'a>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            if let Some(of_span) = extensions.get::<FormattedFields<JsonFields>>()
                && let Ok(Value::Object(of_span)) = serde_json::from_str(&of_span.fields)
            {
                for (name, value) in of_span {
                    fields.add(&name, value);
                }
            }
        }
        event.record(&mut fields);
        if let Some((trace, span)) = trace::current_ids() {
            fields.add("trace_id", trace.to_string().into());
            fields.add("span_id", span.to_string().into());
        }
        let message = fields.0.remove("message").unwrap_or_default();
        let meta = event.metadata();
        let first = [
            (
                "ts",
                Value::from(real_now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
            ),
            ("level", meta.level().as_str().to_ascii_lowercase().into()),
            ("msg", message),
            ("target", meta.target().into()),
        ];
        let rest = fields
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        writer.write_char('{')?;
        for (place, (name, value)) in first.into_iter().chain(rest).enumerate() {
            if place > 0 {
                writer.write_char(',')?;
            }
            write!(writer, "{}:{value}", Value::from(name))?;
        }
        writeln!(writer, "}}")
    }
}

impl Fields {
    fn add(&mut self, name: &str, value: Value) {
        self.0.insert(stable(name), value);
    }
}

/// The name of a field in JSON.
fn stable(name: &str) -> String {
    match name {
        "job.id" => "job_id".to_owned(),
        name => name.strip_prefix("job.").unwrap_or(name).replace('.', "_"),
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_object_with_the_names_that_are_promised() {
        let kept = Kept::default();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(Lines)
            .with_writer(kept.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("process", job.id = "j1", job.kind = "prune", job.attempt = 2);
            let _entered = span.enter();
            tracing::warn!(event.id = "evt_1", lost = true, "a \"quoted\" message");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("{\"ts\":\"") && text.ends_with("}\n"), "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        let is = |name: &str| line[name].clone();
        assert_eq!(is("level"), "warn");
        assert_eq!(is("msg"), "a \"quoted\" message");
        assert_eq!(is("target"), "shared::telemetry::json::tests");
        assert_eq!(
            (is("job_id"), is("kind"), is("attempt")),
            ("j1".into(), "prune".into(), 2.into())
        );
        assert_eq!((is("event_id"), is("lost")), ("evt_1".into(), true.into()));
        assert_eq!(is("trace_id"), Value::Null, "none is made here");
    }
}
