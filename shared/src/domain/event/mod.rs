//! What Stripe tells, from bytes to what is kept of it.
//!
//! The door and the backfill read events in the same way, so that nobody can see from a row how it came in, but by its
//! `via`. Order of reading: `envelope` (an event of the inbox), `facts` (what may be kept of its object), `members` (JSON).
mod envelope;
mod facts;
mod members;

pub use envelope::{Event, NotAnEvent, order_key};
