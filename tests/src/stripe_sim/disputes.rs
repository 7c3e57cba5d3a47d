//! Disputes: inquiries, which move no money, and chargebacks, which take it until they are won.
//!
//! ```text
//! inquiry:    warning_needs_response ─▶ warning_under_review ─▶ warning_closed | prevented
//!                     └──────────── escalate ───────┘──────────▶ needs_response
//! chargeback: needs_response ─▶ under_review ─▶ won | lost      (or prevented, before it counts)
//! ```
use serde_json::{Value, json};

use super::api::Call;
use super::balance::{Movement, book};
use super::charges;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::model::{ChargeStatus, Dispute, DisputeStatus};
use super::objects;
use super::state::State;

/// What Stripe takes for a chargeback where nothing else is said.
const FEE: i64 = 1500;
/// How long there is to answer.
const RESPOND_WITHIN_SECS: i64 = 14 * 24 * 3600;

/// How a dispute begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Inquiry,
    Chargeback,
}

/// A dispute that the cardholder's bank opens.
#[derive(Debug)]
pub struct Opening {
    pub kind: Kind,
    /// The part of the charge that is neither refunded nor disputed where nothing is said.
    pub amount: Option<i64>,
    pub fee: i64,
    pub reason: String,
    pub network_reason_code: String,
}

impl Opening {
    /// An ordinary dispute: everything that is left of the charge, as fraudulent.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            amount: None,
            fee: FEE,
            reason: "fraudulent".into(),
            network_reason_code: "10.4".into(),
        }
    }
}

/// What happens to a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An inquiry becomes a chargeback.
    Escalate,
    /// Evidence was sent in.
    UnderReview,
    Win,
    Lose,
    /// An inquiry ends without consequence.
    CloseInquiry,
    /// Resolved before the network counts it: nothing is withheld, no fee.
    Prevent,
    /// The cardholder takes it back.
    Withdraw,
    /// A lost one is won after all.
    Overturn,
}

/// What becomes of the dispute fee when the money comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeeOnWin {
    /// As for most accounts today.
    Kept,
    /// As in the older reversals.
    Returned,
}

/// `GET /v1/disputes/{id}`.
pub fn retrieve(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    Ok(objects::dispute(state, find(state, id)?, call.shape))
}

/// `GET /v1/disputes`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[&LIST_PARAMS[..], &["charge", "payment_intent"]].concat())?;
    let (charge, intent) = (params.text("charge"), params.text("payment_intent"));
    let rows = page(&state.disputes, params, |row| {
        charge.is_none_or(|id| row.charge == id) && intent.is_none_or(|id| row.payment_intent == id)
    })?;
    Ok(rows.render("/v1/disputes", |row| objects::dispute(state, row, call.shape)))
}

/// Opens a dispute on a charge. A charge may have several, one after the other or on different parts of it.
pub fn open(state: &mut State, charge: &str, opening: Opening) -> Result<String, ApiError> {
    let charge = charges::find(state, charge)?.clone();
    if charge.status != ChargeStatus::Succeeded {
        return Err(ApiError::invalid(format!(
            "Charge {} took no money: there is nothing to dispute.",
            charge.id
        )));
    }
    let withheld: i64 = charge
        .disputes
        .iter()
        .filter_map(|id| state.disputes.get(id))
        .map(Dispute::withheld)
        .sum();
    let amount = opening
        .amount
        .unwrap_or(charge.amount - charge.amount_refunded - withheld);
    if amount < 1 || amount > charge.amount - withheld {
        return Err(ApiError::invalid(format!(
            "{amount} cannot be disputed: of the charge's {}, {} is refunded and {withheld} is withheld by other disputes.",
            charge.amount, charge.amount_refunded
        )));
    }
    let now = state.clock.now();
    let id = state.ids.next("dp");
    state.disputes.push(Dispute {
        id: id.clone(),
        created: now,
        amount,
        currency: charge.currency.clone(),
        status: match opening.kind {
            Kind::Inquiry => DisputeStatus::WarningNeedsResponse,
            Kind::Chargeback => DisputeStatus::NeedsResponse,
        },
        charge: charge.id.clone(),
        payment_intent: charge.payment_intent.clone(),
        reason: opening.reason,
        due_by: now + RESPOND_WITHIN_SECS,
        fee: opening.fee,
        network_reason_code: opening.network_reason_code,
        metadata: Default::default(),
        balance_transactions: Vec::new(),
    });
    if let Some(row) = state.charges.get_mut(&charge.id) {
        row.disputes.push(id.clone());
    }
    match opening.kind {
        Kind::Inquiry => state.emit_dispute("charge.dispute.created", &id),
        Kind::Chargeback => {
            withhold(state, &id, amount)?;
            state.emit_dispute("charge.dispute.created", &id);
            state.emit_dispute("charge.dispute.funds_withdrawn", &id);
        }
    }
    Ok(id)
}

/// Moves a dispute on.
pub fn act(state: &mut State, id: &str, action: Action, fee: FeeOnWin) -> Result<(), ApiError> {
    use DisputeStatus as S;
    let dispute = find(state, id)?;
    let was_withheld = dispute.withheld() > 0;
    match (dispute.status, action) {
        (S::WarningNeedsResponse | S::WarningUnderReview, Action::Escalate) => {
            // "After the payment has been fully refunded, no further funds are withdrawn."
            let charge = charges::find(state, &dispute.charge)?;
            let amount = dispute.amount.min(charge.amount - charge.amount_refunded);
            set(state, id, S::NeedsResponse);
            if amount > 0 {
                withhold(state, id, amount)?;
            }
            state.emit_dispute("charge.dispute.updated", id);
            if amount > 0 {
                state.emit_dispute("charge.dispute.funds_withdrawn", id);
            }
            Ok(())
        }
        (S::WarningNeedsResponse, Action::UnderReview) => update(state, id, S::WarningUnderReview),
        (S::NeedsResponse, Action::UnderReview) => update(state, id, S::UnderReview),
        (S::WarningNeedsResponse | S::WarningUnderReview, Action::CloseInquiry | Action::Withdraw) => {
            close(state, id, S::WarningClosed, None)
        }
        (S::NeedsResponse | S::UnderReview, Action::Win | Action::Withdraw) => {
            close(state, id, S::Won, was_withheld.then_some(fee))
        }
        (S::Lost, Action::Overturn) => close(state, id, S::Won, was_withheld.then_some(fee)),
        (S::NeedsResponse | S::UnderReview, Action::Lose) => close(state, id, S::Lost, None),
        (S::WarningNeedsResponse | S::WarningUnderReview | S::NeedsResponse, Action::Prevent) => close(
            state,
            id,
            S::Prevented,
            was_withheld.then_some(FeeOnWin::Returned),
        ),
        (status, action) => {
            let (status, action) = (json!(status), json!(action));
            Err(ApiError::invalid(format!(
                "A dispute that is {status} cannot be moved on by {action}."
            )))
        }
    }
}

/// A dispute, or 404.
pub fn find<'s>(state: &'s State, id: &str) -> Result<&'s Dispute, ApiError> {
    state
        .disputes
        .get(id)
        .ok_or_else(|| ApiError::missing("dispute", id))
}

fn set(state: &mut State, id: &str, status: DisputeStatus) {
    if let Some(row) = state.disputes.get_mut(id) {
        row.status = status;
    }
}

fn update(state: &mut State, id: &str, status: DisputeStatus) -> Result<(), ApiError> {
    set(state, id, status);
    state.emit_dispute("charge.dispute.updated", id);
    Ok(())
}

fn close(
    state: &mut State,
    id: &str,
    status: DisputeStatus,
    give_back: Option<FeeOnWin>,
) -> Result<(), ApiError> {
    set(state, id, status);
    if let Some(fee) = give_back {
        let dispute = find(state, id)?;
        let fee = if fee == FeeOnWin::Returned {
            -dispute.fee
        } else {
            0
        };
        move_money(state, id, dispute.amount, fee, "dispute_reversal")?;
    }
    state.emit_dispute("charge.dispute.closed", id);
    if give_back.is_some() {
        state.emit_dispute("charge.dispute.funds_reinstated", id);
    }
    Ok(())
}

fn withhold(state: &mut State, id: &str, amount: i64) -> Result<(), ApiError> {
    if let Some(row) = state.disputes.get_mut(id) {
        row.amount = amount;
    }
    let fee = find(state, id)?.fee;
    move_money(state, id, -amount, fee, "dispute")
}

fn move_money(
    state: &mut State,
    id: &str,
    amount: i64,
    fee: i64,
    category: &'static str,
) -> Result<(), ApiError> {
    let currency = find(state, id)?.currency.clone();
    let movement = Movement {
        amount,
        fee,
        currency: &currency,
        kind: "adjustment",
        reporting_category: category,
        source: id,
        description: if amount < 0 {
            "Chargeback withdrawal"
        } else {
            "Chargeback reversal"
        },
    };
    let movement = book(state, movement);
    if let Some(row) = state.disputes.get_mut(id) {
        row.balance_transactions.push(movement);
    }
    Ok(())
}
