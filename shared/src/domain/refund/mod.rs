//! Giving back what was paid: may it be, out of which payments, and how far is it?
mod decide;
mod state;

pub use decide::{Destination, NotRefunded, Part, RefundFacts, Refundable, decide_refund};
pub use state::{Change, RefundState, UnknownRefundStatus, observe};
