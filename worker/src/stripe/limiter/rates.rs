//! How fast Stripe may be called, with the sources of the numbers.
use std::num::NonZeroU32;

use shared::config::Mode;

use super::{super::operation::Urgency, Operation};

/// Stripe allows 100 requests a second in live mode (docs.stripe.com/rate-limits, read in October 2026); a fifth is left
/// for everything else that uses the account.
const LIVE_PER_SEC: NonZeroU32 = NonZeroU32::new(80).unwrap();
/// Stripe allows 25 requests a second in a sandbox (same page); a fifth is left.
const TEST_PER_SEC: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Stripe allows 25 requests a second to each endpoint unless it says otherwise (same page); a fifth is left.
const ENDPOINT_PER_SEC: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// What reads everything there is (backfill, reconciliation) takes one in so many requests, so that payments go on beside it.
const BULK_PART: u32 = 4;
/// How many workers we assume to run when they cannot agree, because Redis is away. With more, the fifth that is left
/// shrinks, and beyond five Stripe may answer 429, which costs time but no correctness.
const ASSUMED_WORKERS: u32 = 4;

/// Requests per second that all workers together may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// To all of Stripe.
    pub(super) overall: NonZeroU32,
    /// To one endpoint.
    pub(super) endpoint: NonZeroU32,
    /// By all calls that read in bulk.
    pub(super) bulk: NonZeroU32,
    /// Buckets of one mode know nothing of the other's: Stripe counts them apart.
    pub(super) mode: Mode,
}

impl Rates {
    /// The rates of a mode, or `STRIPE_RATE_PER_SEC` where it is set: who sets it has agreed on it with Stripe, or talks to
    /// the simulator, so it also replaces the rate per endpoint.
    #[must_use]
    pub fn of(mode: Mode, configured: Option<NonZeroU32>) -> Self {
        let (overall, endpoint) = match (configured, mode) {
            (Some(rate), _) => (rate, rate),
            (None, Mode::Live) => (LIVE_PER_SEC, ENDPOINT_PER_SEC),
            (None, Mode::Test) => (TEST_PER_SEC, ENDPOINT_PER_SEC),
        };
        Self {
            overall,
            endpoint,
            bulk: part(overall, BULK_PART),
            mode,
        }
    }

    /// What one worker takes when it cannot ask the others: a share, and at least one a second.
    pub(super) fn share_without_redis(self) -> Self {
        Self {
            overall: part(self.overall, ASSUMED_WORKERS),
            endpoint: part(self.endpoint, ASSUMED_WORKERS),
            bulk: part(self.bulk, ASSUMED_WORKERS),
            mode: self.mode,
        }
    }

    /// The bucket that a call takes from beside the one for everything, by its name and its rate.
    pub(super) fn own_bucket(self, operation: Operation) -> (&'static str, NonZeroU32) {
        match operation.urgency() {
            Urgency::Prompt => (operation.as_str(), self.endpoint),
            Urgency::Bulk => ("bulk", self.bulk),
        }
    }
}

/// A part of a rate, and at least one a second.
fn part(rate: NonZeroU32, of: u32) -> NonZeroU32 {
    NonZeroU32::new(rate.get() / of).unwrap_or(NonZeroU32::MIN)
}
