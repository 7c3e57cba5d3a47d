//! `quittance`: the worker pool and every operator command.

mod admin_http;
mod backfill;
mod brake;
mod cli;
mod collection;
mod commands;
mod context;
mod deadline;
mod events;
mod generation;
mod jobs;
mod metrics;
mod output;
mod queue;
mod reconcile;
mod replay;
mod scheduler;
mod stripe;

use std::process::ExitCode;

use clap::Parser;
use shared::{config, telemetry};

use crate::{
    cli::Cli,
    output::{Exit, Failure, Format},
};

#[tokio::main]
async fn main() -> ExitCode {
    let (format, ended) = match Cli::try_parse() {
        Ok(cli) => (cli.format(), run(cli).await),
        Err(usage) => return report_usage(&usage),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => report(format, &failure),
    }
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    telemetry::init(config::log_format()?);
    let format = cli.format();
    cli.command.run(format).await
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
