//! Control calls that play banks and the dashboard: refunds and disputes.
use serde::Deserialize;

use super::Answer;
use crate::stripe_sim::disputes::{self, Action, FeeOnWin, Kind, Opening};
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::model::RefundStatus;
use crate::stripe_sim::objects::{self, Shape};
use crate::stripe_sim::refunds::{self, Order};
use crate::stripe_sim::state::State;
use crate::stripe_sim::{charges, charging};

/// `POST /_sim/refunds`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRefund {
    charge: Option<String>,
    payment_intent: Option<String>,
    amount: Option<i64>,
    outcome: Option<RefundStatus>,
    reason: Option<String>,
}

/// `POST /_sim/refunds/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundMove {
    status: RefundStatus,
}

/// `POST /_sim/disputes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDispute {
    charge: Option<String>,
    payment_intent: Option<String>,
    kind: Kind,
    amount: Option<i64>,
    fee: Option<i64>,
    reason: Option<String>,
    network_reason_code: Option<String>,
}

/// `POST /_sim/disputes/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisputeMove {
    action: Action,
    #[serde(default)]
    fee_returned: bool,
}

pub fn refund(state: &mut State, new: NewRefund) -> Answer {
    let charge = refunds::charge_of(state, new.charge.as_deref(), new.payment_intent.as_deref())?;
    let order = Order {
        charge,
        amount: new.amount,
        reason: new.reason,
        metadata: Default::default(),
        outcome: new.outcome,
    };
    let id = refunds::place(state, order)?;
    show_refund(state, &id)
}

pub fn move_refund(state: &mut State, id: &str, order: RefundMove) -> Answer {
    refunds::move_to(state, id, order.status)?;
    show_refund(state, id)
}

pub fn clear(state: &mut State, charge: &str) -> Answer {
    charging::clear(state, charge)?;
    Ok(objects::charge(state, charges::find(state, charge)?, Shape::New))
}

pub fn open_dispute(state: &mut State, new: NewDispute) -> Answer {
    let charge = refunds::charge_of(state, new.charge.as_deref(), new.payment_intent.as_deref())?;
    let usual = Opening::of(new.kind);
    let opening = Opening {
        kind: new.kind,
        amount: new.amount,
        fee: new.fee.unwrap_or(usual.fee),
        reason: new.reason.unwrap_or(usual.reason),
        network_reason_code: new.network_reason_code.unwrap_or(usual.network_reason_code),
    };
    let id = disputes::open(state, &charge, opening)?;
    show_dispute(state, &id)
}

pub fn move_dispute(state: &mut State, id: &str, order: DisputeMove) -> Answer {
    let fee = if order.fee_returned {
        FeeOnWin::Returned
    } else {
        FeeOnWin::Kept
    };
    disputes::act(state, id, order.action, fee)?;
    show_dispute(state, id)
}

fn show_refund(state: &State, id: &str) -> Answer {
    let refund = state
        .refunds
        .get(id)
        .ok_or_else(|| ApiError::missing("refund", id))?;
    Ok(objects::refund(refund, Shape::New))
}

fn show_dispute(state: &State, id: &str) -> Answer {
    Ok(objects::dispute(state, disputes::find(state, id)?, Shape::New))
}
