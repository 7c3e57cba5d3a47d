//! Logs: to stderr, as text or JSON, filtered by `RUST_LOG`. Never payloads, keys, e-mail addresses or card data. Colours are for
//! people at a terminal; in a file they would be noise.

use std::io::IsTerminal as _;

use crate::config::LogFormat;

/// Starts logging. Called once, first thing in `main`; a second call changes nothing.
pub fn init(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn,apalis=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was already started");
    }
}
