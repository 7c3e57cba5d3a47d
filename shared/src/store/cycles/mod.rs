//! Collection cycles and their attempts.
//!
//! Lock order: the invoice's row first, always ([`lock`] does it); everything about its collection is then still. Whoever
//! touches several invoices of a client, or its cards, locks all of them before ([`crate::store::autopay::lock_collection`]).
mod attempts;
mod by_hand;
mod change;
mod cycle;
mod enqueue;
mod give_up;
mod resume;
mod start;
mod sweep;
mod words;

pub use attempts::{
    AttemptOrder, AttemptOutcome, NewAttempt, attempt_order, class_word, insert_attempt, mark_sent,
    method_refused, update_attempt,
};
pub use by_hand::{ByHand, charge_by_hand};
pub use change::{set_amount, set_intent, tell_exhausted, update_cycle};
pub use cycle::{Cycle, charge_facts, charge_facts_without_cycle, lock, look_at, order_key, take_turns};
pub use enqueue::{
    CANCEL_INTENT, CANCELLATIONS, COLLECT, RECONCILE, REVIEW, enqueue_cancel, enqueue_reconcile, enqueue_send,
};
pub use give_up::{cancel, cancel_live_cycles, intent_closed, take_back};
pub use resume::{
    method_updated, release_limited, resume_held, review, review_paused, try_new_card, waiting_for_a_card,
};
pub use start::start_if_autopay;
pub use sweep::{
    AttemptReport, LiveCycle, attempts_of_jobs, due_or_stuck, enqueue_cancellations, enqueue_due,
    enqueue_lookups, enqueue_reviews,
};
