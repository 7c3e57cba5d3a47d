//! What every job handler may use.

use std::sync::Arc;

use shared::store::Db;

use crate::{metrics::Metrics, stripe};

/// Handed to every handler. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The database, as the worker's role sees it.
    pub db: Db,
    /// The boundary to Stripe.
    pub stripe: Arc<stripe::Client>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// This process: unique per start.
    pub worker_id: Arc<str>,
}
