//! The pages in a real browser, against the real portal, worker, door and simulator: what people do there, click by click, and what
//! came of it in the database and at Stripe.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod chromium;
mod pages;
mod stage;
mod walks;
