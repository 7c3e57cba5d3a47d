//! What a story may set differently.

use std::path::PathBuf;

/// How a world is made. `WorldOptions::default()` is what most stories want.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// How many worker processes are started (0 to start them later).
    pub workers: usize,
    /// `--concurrency` of each worker.
    pub concurrency: u32,
    /// Whether the ingress is started at once.
    pub ingress: bool,
    /// Whether the portal is started.
    pub portal: bool,
    /// Another build of the ingress than the one beside the test.
    pub ingress_binary: Option<PathBuf>,
    /// Whether the programs reach Postgres through a gate that the story can close.
    pub postgres_gate: bool,
    /// Whether every two programs that talk to each other have a gate between them ([`Gates`](super::Gates)).
    pub gates: bool,
    /// Another tablespace for the database than the server's own.
    pub tablespace: Option<String>,
    /// `JOB_LEASE_SECS`.
    pub lease_secs: u64,
    /// `SHUTDOWN_GRACE_SECS`.
    pub grace_secs: u64,
    /// `STRIPE_TIMEOUT_SECS`: short, because stories wait for it.
    pub stripe_timeout_secs: u64,
    /// `STRIPE_SECRET_KEY`.
    pub stripe_key: String,
    /// `STRIPE_WEBHOOK_SECRET`, of which the simulator uses the first.
    pub webhook_secrets: Vec<String>,
    /// Webhooks that the simulator delivers at a time; 1 keeps their order.
    pub webhook_concurrency: usize,
    /// Whether the simulator's clock follows the business clock by itself, with a delay; a story that needs both to agree
    /// to the second sets it by `POST /clock` before it moves the other one.
    pub simulator_follows_clock: bool,
    /// Further variables for ingress, workers and commands.
    pub env: Vec<(String, String)>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            concurrency: 8,
            ingress: true,
            portal: false,
            ingress_binary: None,
            postgres_gate: false,
            gates: false,
            tablespace: None,
            lease_secs: 15,
            grace_secs: 25,
            stripe_timeout_secs: 3,
            stripe_key: "sk_test_world".into(),
            webhook_secrets: vec!["whsec_world".into()],
            webhook_concurrency: 1,
            simulator_follows_clock: true,
            env: Vec::new(),
        }
    }
}
