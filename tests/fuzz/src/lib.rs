//! The readers under fuzz, taken in by path: they live inside the programs, which are no libraries.
#![allow(dead_code, unreachable_pub)]

#[path = "../../../ingress/src/envelope.rs"]
pub mod envelope;
#[path = "../../../ingress/src/facts.rs"]
pub mod facts;
#[path = "../../../ingress/src/members.rs"]
mod members;
#[path = "../../../ingress/src/signature.rs"]
pub mod signature;

/// The worker's side of Stripe's objects.
#[path = "../../../worker/src/stripe"]
pub mod stripe {
    pub mod objects;
}
