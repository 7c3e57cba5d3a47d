//! `stripe-sim`: the Stripe simulator as a program.
//!
//! Started by the integration tests and by the local demo; docs/SIMULATOR.md says how to use it by hand.
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{ArgAction, Parser};
use tests::stripe_sim::{Options, run};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A stateful Stripe simulator: the Stripe API under /v1, a control API under /_sim.
///
/// Prints one line, "stripe-sim listening on http://ADDRESS", on standard output; logs go to standard error (RUST_LOG).
/// Accepts any sk_test_ key and refuses to start with a live one in STRIPE_SECRET_KEY. Everything is in memory.
#[derive(Debug, Parser)]
#[command(name = "stripe-sim", version)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:12111", env = "STRIPE_SIM_ADDR")]
    addr: SocketAddr,
    /// Deliver events to this URL; may be repeated.
    #[arg(long = "webhook-url", value_name = "URL")]
    webhook_urls: Vec<String>,
    /// Sign deliveries with this secret; may be repeated: every secret signs every delivery.
    #[arg(
        long = "webhook-secret",
        value_name = "WHSEC",
        env = "STRIPE_WEBHOOK_SECRET",
        value_delimiter = ',',
        hide_env_values = true
    )]
    webhook_secrets: Vec<String>,
    /// Deliveries to one endpoint at a time. 1 keeps the order of creation.
    #[arg(long, value_name = "N", default_value_t = 1)]
    webhook_concurrency: usize,
    /// Follow the business clock of this Quittance database.
    #[arg(
        long,
        value_name = "URL",
        env = "STRIPE_SIM_CLOCK_DATABASE_URL",
        hide_env_values = true
    )]
    clock_database_url: Option<String>,
    /// Make unknown cus_ and pm_ ids when something refers to them.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    auto_create: bool,
}

/// As for every Quittance program: 2 is usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .init();
    let key = std::env::var("STRIPE_SECRET_KEY").unwrap_or_default();
    if key.starts_with("sk_live_") || key.starts_with("rk_live_") {
        eprintln!(
            "stripe-sim: STRIPE_SECRET_KEY holds a live key; a simulator has no business near one. Not starting."
        );
        return ExitCode::from(USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("stripe-sim: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(args.into(), told_to_stop())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stripe-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

impl From<Args> for Options {
    fn from(args: Args) -> Self {
        Self {
            addr: args.addr,
            webhook_urls: args.webhook_urls,
            webhook_secrets: args.webhook_secrets,
            webhook_concurrency: args.webhook_concurrency,
            clock_database_url: args.clock_database_url,
            auto_create: args.auto_create,
        }
    }
}

/// SIGTERM or Ctrl-C.
async fn told_to_stop() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "cannot listen for signals; only SIGKILL will stop this process");
            std::future::pending().await
        }
    }
}
