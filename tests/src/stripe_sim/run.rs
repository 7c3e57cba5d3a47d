//! Starts a simulator: binds, announces its address, serves until it is told to stop.
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::state::{Rules, Sim, State};
use super::{clock, sender, server};

/// How a simulator is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Webhook endpoints.
    pub webhook_urls: Vec<String>,
    /// Every one of them signs every delivery.
    pub webhook_secrets: Vec<String>,
    /// Deliveries to one endpoint at a time; 1 keeps the order of creation.
    pub webhook_concurrency: usize,
    /// A Quittance database whose clock to follow.
    pub clock_database_url: Option<String>,
    /// Whether unknown customers and payment methods are made when something refers to them.
    pub auto_create: bool,
}

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Webhooks could not be signed.
    #[error("a webhook URL needs a secret to sign with: add --webhook-secret whsec_…")]
    NoSecret,
    /// The HTTP client for webhooks could not be made.
    #[error("cannot make the HTTP client that delivers webhooks: {0}")]
    Client(#[from] reqwest::Error),
    /// Whoever started the simulator does not listen to it.
    #[error("cannot announce the address on standard output: {0}")]
    Announce(io::Error),
}

/// Runs a simulator until `stop` resolves.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), Error> {
    if !options.webhook_urls.is_empty() && options.webhook_secrets.is_empty() {
        return Err(Error::NoSecret);
    }
    let addr = options.addr;
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|source| Error::Listen { addr, source })?;
    let bound = listener
        .local_addr()
        .map_err(|source| Error::Listen { addr, source })?;
    let mut state = State::new(Rules {
        auto_create: options.auto_create,
        webhook_concurrency: options.webhook_concurrency.max(1),
        webhook_secrets: options.webhook_secrets,
    });
    if options.clock_database_url.is_some() {
        state.clock.follow_database();
    }
    let sim = Arc::new(Sim::new(state, sender::client()?));
    for url in options.webhook_urls {
        sender::start(&sim, url, Vec::new());
    }
    if let Some(url) = options.clock_database_url {
        tokio::spawn(clock::follow(Arc::clone(&sim), url));
    }
    // The announcement is the contract with whoever started us: they read the port from it.
    let mut stdout = io::stdout();
    writeln!(stdout, "stripe-sim listening on http://{bound}")
        .and_then(|()| stdout.flush())
        .map_err(Error::Announce)?;
    server::serve(sim, listener, stop).await;
    Ok(())
}
