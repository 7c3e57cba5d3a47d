//! Reconciliation: what Stripe has beside what we have, and what differs.
//!
//! Two sides are compared object by object; each difference is a [`Finding`] with the evidence of both sides. Nothing here
//! decides what becomes of it: a repair shows the object to the reducers of the events once more, and the rest is a person's.
mod compare;
mod finding;
#[cfg(test)]
mod tests;

pub use compare::{
    ChargeHere, ChargeThere, ClosedCycle, CycleHere, DisputeHere, DisputeThere, FeeHere, FeeThere,
    MovementHere, RefundHere, RefundRow, RefundThere, charge, closed_intent, cycle, dispute, fee,
    missing_there, refund,
};
pub use finding::{Action, Finding, Kind, Layer, Repair, Side, id_of, plan_hash};
