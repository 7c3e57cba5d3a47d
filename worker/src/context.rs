//! What every job handler may use.

use std::sync::Arc;

use shared::store::Db;

use crate::{delivery::Deliverer, metrics::Metrics, stripe};

/// Handed to every handler. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The database, as the worker's role sees it.
    pub db: Db,
    /// The boundary to Stripe.
    pub stripe: Arc<stripe::Client>,
    /// The ways to destinations of alerts.
    pub delivery: Arc<Deliverer>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// This process: unique per start.
    pub worker_id: Arc<str>,
}
