//! The boundary to Stripe, and the only place that names its URLs.
//!
//! Requests are async-stripe's typed builders, sent through its `StripeClient` trait over a transport of our own, because
//! money needs what the stock client drops: our idempotency key on every POST, the headers, and the body of an answer
//! that does not parse. What comes back is an object that we can read in its old and its new shape, or an [`Error`] that
//! says whether anything may have happened.
//!
//! Read in this order: [`client`] (what can be asked; [`billing`] for platform billing), `list` (page by page), [`error`] (what can come back), `classify` (which answer is which),
//! `transport` (one exchange), `permit` (until when it may be sent), `retry` (when the same request is sent again),
//! [`limiter`] (how fast).
pub mod billing;
pub mod client;
pub mod config;
pub mod error;
pub mod limiter;
pub mod objects;
pub mod observer;

mod classify;
mod key;
mod list;
mod operation;
mod permit;
mod retry;
mod transport;

#[cfg(test)]
mod classify_tests;
#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod test_server;

pub use billing::ChangeSubscription;
pub use client::{Call, Client, CreateIntent, NewRefund, WebhookEndpoint};
pub use config::{ConfigError, LONGEST_TIMEOUT, StripeConfig};
pub use error::{Class, Decline, Error};
pub use key::IdempotencyKey;
pub use limiter::{Limiter, Rates};
pub use list::List;
pub use objects::{
    BalanceTransaction, Charge, Dispute, EventRef, Invoice, PaymentError, PaymentIntent, PaymentMethod, Raw,
    Refund, SessionPage, ShapeError, StripeObject, Subscription,
};
pub use observer::Observer;
pub use operation::Operation;
pub use permit::Permit;
