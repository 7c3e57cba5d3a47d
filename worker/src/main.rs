//! `quittance`: the worker pool and every operator command.

mod admin_http;
mod backfill;
mod brake;
mod cli;
mod collection;
mod commands;
mod context;
mod deadline;
mod delivery;
mod events;
mod generation;
mod jobs;
mod metrics;
mod output;
mod queue;
mod reconcile;
mod redis_link;
mod replay;
mod scheduler;
mod stripe;

use std::process::ExitCode;

use clap::Parser;
use shared::{
    config,
    telemetry::{self, Telemetry},
    trace,
};
use tracing::Instrument as _;

use crate::{
    cli::Cli,
    output::{Exit, Failure, Format},
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return report_usage(&usage),
    };
    let format = cli.format();
    let ended = match tell(&cli) {
        Ok(telemetry) => {
            // A worker is no one thing that happens: its jobs are.
            let span = match cli.command.name() {
                "worker" => tracing::Span::none(),
                name => trace::command(name),
            };
            let ended = cli.command.run(format).instrument(span).await;
            // Waits for the thread that sends the last spans.
            tokio::task::block_in_place(|| telemetry.finish());
            ended
        }
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => report(format, &failure),
    }
}

/// Starts logs and traces.
fn tell(cli: &Cli) -> Result<Telemetry, Failure> {
    Ok(telemetry::init(&telemetry::Settings {
        service: match cli.command.name() {
            "worker" => "quittance-worker",
            _ => "quittance",
        },
        version: env!("CARGO_PKG_VERSION"),
        format: config::log_format()?,
        collector: config::otlp_endpoint()?,
    }))
}

fn report(format: Format, failure: &Failure) -> ExitCode {
    match format.show_failure(failure) {
        Ok(()) => failure.exit.into(),
        Err(silenced) => silenced.exit.into(),
    }
}

/// `--help` and `--version` are answers, anything else is a wrong call. A script that asked for JSON gets its error so.
fn report_usage(usage: &clap::Error) -> ExitCode {
    if usage.use_stderr() && std::env::args().any(|arg| arg == "--json") {
        let text = usage.render().to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        return report(Format::Json, &Failure::usage(message));
    }
    match usage.print() {
        Ok(()) if usage.use_stderr() => Exit::Usage.into(),
        Ok(()) => Exit::Done.into(),
        Err(_) => Exit::Error.into(),
    }
}
