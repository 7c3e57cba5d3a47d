//! Platform billing: what a firm itself pays for the platform. Stripe Billing makes the invoices and does the dunning; here is
//! decided what its objects mean, and what may be asked of it.
//!
//! Nothing of it touches client billing, and the other way round: the two share a Stripe account and no row.
pub mod ask;
pub mod expiring;
pub mod invoice;
pub mod status;
pub mod subscription;
pub mod tier;
pub mod usage;

pub use ask::{Ask, AskFacts, NotAsked, decide_ask};
pub use expiring::{Expiring, expiring};
pub use invoice::InvoiceSeen;
pub use status::SubscriptionStatus;
pub use subscription::{CardSeen, SubscriptionSeen};
pub use tier::Tier;
pub use usage::{Metric, Usage};

/// Which of two sightings of one object stands: the one that is further along, of those the later one. An order of all sightings,
/// so that they end in the same one in whatever order, and however often, they are told.
pub(crate) fn further<'a, T: Ord, R: Ord>(one: &'a T, other: &'a T, rank: impl Fn(&T) -> R) -> &'a T {
    if (rank(other), other) > (rank(one), one) {
        other
    } else {
        one
    }
}
