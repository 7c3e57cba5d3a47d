//! The readers under fuzz that live inside the programs, which are no libraries: taken in by path.
#![allow(dead_code, unreachable_pub)]

#[path = "../../../ingress/src/signature.rs"]
pub mod signature;

/// The worker's side of Stripe's objects.
#[path = "../../../worker/src/stripe"]
pub mod stripe {
    pub mod objects;
}
