//! Stripe Billing: prices, subscriptions that renew themselves by the virtual clock, invoices that are collected and tried again,
//! and the pages that Stripe shows to customers.
//!
//! `renewal` is the heart: it brings a subscription up to now. Everything else changes what it finds.
pub mod catalogue;
pub mod customers;
pub mod dashboard;
pub mod invoices;
pub mod model;
pub mod objects;
pub mod renewal;
pub mod sessions;
pub mod subscriptions;
