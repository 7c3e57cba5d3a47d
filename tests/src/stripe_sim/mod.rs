//! A stateful Stripe simulator, for tests and for the local demo.
//!
//! It plays the part of Stripe that Quittance talks to: payment intents, refunds, disputes, idempotency keys, webhooks.
//! Around it stands a control API (`/_sim`) that plays everybody else: cardholders, banks, networks, a broken line.
//! Own code rather than a stub per test, because the bugs worth finding lie between calls: a charge that succeeds after
//! the client gave up, a webhook that overtakes the answer, a key that is replayed the next day.
//!
//! How a request travels: `server` (HTTP) → `exchange` (authentication, faults, idempotency) → `api` (routes) → one
//! module per kind of object, all of it synchronous on `state`; events then leave through `webhooks` and `sender`.
//! docs/SIMULATOR.md is the user's page.
mod answer;
mod api;
mod balance;
mod billing;
mod books;
mod breakage;
mod cards;
mod chaos;
mod charges;
mod charging;
mod clock;
mod control;
mod currencies;
mod customers;
mod disputes;
mod error;
mod events;
mod exchange;
mod faults;
mod idempotency;
mod ids;
mod lists;
mod model;
mod objects;
mod params;
mod payment_intents;
mod payment_methods;
mod refunds;
mod requests;
mod run;
mod sender;
mod server;
mod signature;
mod state;
mod table;
mod webhooks;

pub use run::{Error, Options, run};
