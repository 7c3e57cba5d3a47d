//! `quittance-portal`: billing pages, operator console and JSON API.
//!
//! It has a login of its own in Postgres that sees one firm at a time, and no key of Stripe's: what needs Stripe becomes a job in the
//! transaction of its audit entry, and a worker does it. Which requests there are, who may make them and what they answer is one
//! table ([`app::table`]): the router, the description of the API and the test of every permission are made of it.
#![warn(missing_docs)]

mod admin;
mod api;
mod app;
mod auth;
mod config;
mod headers;
mod health;
mod metrics;
mod openapi;
mod pages;
mod problem;
mod rate;
mod request;
mod route;
mod spans;
mod start;
mod view;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use shared::telemetry;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use config::Settings;
use start::Running;

/// How long answers say `Connection: close` before idle connections are closed: a busy client's next request falls in it.
const DRAIN_NOTICE: Duration = Duration::from_millis(500);

/// Serves billing pages, the operator console and the JSON API.
#[derive(Parser)]
#[command(name = "quittance-portal", version, about, after_help = config::ENVIRONMENT)]
struct Cli {
    /// Write the description of the API (OpenAPI, JSON) to stdout and end.
    #[arg(long)]
    openapi: bool,
    /// Write the table of routes to stdout, as JSON, and end: method, path, who may.
    #[arg(long)]
    routes: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.openapi || cli.routes {
        let table = app::table();
        return show(&if cli.openapi {
            openapi::document(&table)
        } else {
            route::describe(&table)
        });
    }
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(fault) => return fail(&fault),
    };
    let telemetry = telemetry::init(&telemetry::Settings {
        service: "quittance-portal",
        version: env!("CARGO_PKG_VERSION"),
        format: settings.log_format,
        collector: settings.collector.clone(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(fault) => fail(&fault),
    };
    telemetry.finish();
    ended
}

#[allow(clippy::print_stdout)] // what was asked for
fn show(document: &serde_json::Value) -> ExitCode {
    println!("{document:#}");
    ExitCode::SUCCESS
}

/// One line on stderr, exit code 1.
fn fail(fault: &dyn std::error::Error) -> ExitCode {
    eprintln!("quittance-portal: {fault}");
    ExitCode::FAILURE
}

async fn run(settings: Settings) -> ExitCode {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(fault), _) | (_, Err(fault)) => return fail(&fault),
        };
    let draining = CancellationToken::new();
    let running = tokio::select! {
        started = start::start(&settings, &draining) => match started {
            Ok(running) => running,
            Err(fault) => return fail(&fault),
        },
        () = next(&mut terminate, &mut interrupt) => return ExitCode::SUCCESS,
    };
    let Running {
        addr,
        admin_addr,
        stopped,
        public,
        admin,
    } = running;
    announce(addr, admin_addr);
    let mut public = tokio::spawn(public);
    let mut admin = tokio::spawn(admin);
    tokio::select! {
        () = next(&mut terminate, &mut interrupt) => {}
        _ = &mut public => return broken("the public port"),
        _ = &mut admin => return broken("the admin port"),
    }
    tracing::info!("draining");
    draining.cancel();
    let drained = async {
        sleep(DRAIN_NOTICE).await;
        stopped.cancel();
        public.await
    };
    tokio::select! {
        drained = timeout(settings.shutdown_grace, drained) => match drained {
            Ok(Ok(())) => {
                tracing::info!("stopped; every request was answered");
                ExitCode::SUCCESS
            }
            Ok(Err(_panicked)) => broken("the public port"),
            Err(_elapsed) => {
                tracing::error!("the grace time is over; requests were cut off");
                ExitCode::FAILURE
            }
        },
        () = next(&mut terminate, &mut interrupt) => {
            tracing::warn!("second signal: stopped at once");
            ExitCode::FAILURE
        }
    }
}

/// SIGTERM and SIGINT mean the same.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// A task that must not end has ended: whoever supervises us starts us again.
fn broken(what: &str) -> ExitCode {
    tracing::error!("{what} ended unexpectedly");
    ExitCode::FAILURE
}

/// Tells people (log) and scripts (stdout) where we listen.
#[allow(clippy::print_stdout)] // the one line that scripts wait for
fn announce(addr: std::net::SocketAddr, admin_addr: std::net::SocketAddr) {
    tracing::info!(%addr, admin.addr = %admin_addr, version = env!("CARGO_PKG_VERSION"), "listening");
    println!("quittance-portal listening on http://{addr} admin http://{admin_addr}");
}
