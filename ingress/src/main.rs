//! `quittance-ingress`: the public webhook door and nothing else.
//!
//! Stripe's signed POST → signature → event and job in one commit → 200. It links no Stripe client, no queue and no
//! Redis, so that a busy or broken rest of the system cannot keep it from taking events in.
#![warn(missing_docs)]

mod admin;
mod body;
mod config;
mod health;
mod inbox;
mod metrics;
mod refusals;
mod reply;
mod signature;
mod start;
mod webhook;

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

/// Takes Stripe's webhooks, checks their signatures and commits each event with its job to Postgres.
#[derive(Parser)]
#[command(name = "quittance-ingress", version, about, after_help = config::ENVIRONMENT)]
struct Cli {}

fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(fault) => return fail(&fault),
    };
    let telemetry = telemetry::init(&telemetry::Settings {
        service: "quittance-ingress",
        version: env!("CARGO_PKG_VERSION"),
        format: settings.log_format,
        collector: settings.collector.clone(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(fault) => fail(&fault),
    };
    telemetry.finish();
    ended
}

/// One line on stderr, exit code 1.
fn fail(fault: &dyn std::error::Error) -> ExitCode {
    eprintln!("quittance-ingress: {fault}");
    ExitCode::FAILURE
}

async fn run(settings: Settings) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(fault) => return fail(&fault),
    };
    let draining = CancellationToken::new();
    let running = tokio::select! {
        started = start::start(&settings, &draining) => match started {
            Ok(running) => running,
            Err(fault) => return fail(&fault),
        },
        () = signals.next() => return ExitCode::SUCCESS,
    };
    announce(&running);
    let Running {
        public,
        admin,
        mut committers,
        db,
        ..
    } = running;
    let stopped = public.stopped.clone();
    let mut public = tokio::spawn(public.run());
    let mut admin = tokio::spawn(admin.run());
    tokio::select! {
        () = signals.next() => {}
        _ = &mut public => return broken("the public port"),
        _ = &mut admin => return broken("the admin port"),
        _ = committers.join_next() => return broken("a committer"),
    }

    tracing::info!("draining");
    draining.cancel();
    let drained = async {
        sleep(DRAIN_NOTICE).await;
        stopped.cancel();
        let served = public.await;
        while committers.join_next().await.is_some() {}
        db.pool().close().await;
        served
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
        () = signals.next() => {
            tracing::warn!("second signal: stopped at once");
            ExitCode::FAILURE
        }
    }
}

/// A task that must not end has ended: whoever supervises us starts us again.
fn broken(what: &str) -> ExitCode {
    tracing::error!("{what} ended unexpectedly");
    ExitCode::FAILURE
}

/// SIGTERM and SIGINT mean the same.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells people (log) and scripts (stdout) where we listen.
#[allow(clippy::print_stdout)] // the one line that scripts wait for
fn announce(running: &Running) {
    let Running { addr, admin_addr, .. } = running;
    tracing::info!(%addr, admin.addr = %admin_addr, version = env!("CARGO_PKG_VERSION"), "listening");
    println!("quittance-ingress listening on http://{addr} admin http://{admin_addr}");
}
