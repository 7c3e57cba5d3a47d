//! Platform billing: tiers, a firm's subscription and invoices as Stripe has them, its usage, and what is asked of Stripe.
//!
//! The portal reads and asks; only the worker speaks to Stripe and writes what it saw there.
pub mod ask;
pub mod customers;
pub mod invoices;
pub mod requests;
pub mod subscriptions;
pub mod tiers;
pub mod usage;
