//! Refunds: money on its way back, which may take its time and may come home again.
use serde_json::{Value, json};

use super::api::Call;
use super::balance::{Movement, book};
use super::charges;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::model::{Charge, ChargeStatus, Metadata, Refund, RefundStatus};
use super::objects;
use super::state::State;

const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

/// A refund somebody asks for.
#[derive(Debug, Default)]
pub struct Order {
    pub charge: String,
    /// The rest of the charge where nothing is said.
    pub amount: Option<i64>,
    pub reason: Option<String>,
    pub metadata: Metadata,
    /// What it comes to; the card decides where nothing is said.
    pub outcome: Option<RefundStatus>,
}

/// `POST /v1/refunds`.
pub fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[
        "charge",
        "payment_intent",
        "amount",
        "reason",
        "metadata",
        "refund_application_fee",
        "reverse_transfer",
    ])?;
    let charge = charge_of(state, params.text("charge"), params.text("payment_intent"))?;
    let order = Order {
        charge,
        amount: params.integer("amount")?,
        reason: params.text("reason").map(str::to_owned),
        metadata: params.metadata()?,
        outcome: None,
    };
    let id = place(state, order)?;
    retrieve(state, call, &id)
}

/// `GET /v1/refunds/{id}`.
pub fn retrieve(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let refund = state
        .refunds
        .get(id)
        .ok_or_else(|| ApiError::missing("refund", id))?;
    Ok(objects::refund(refund, call.shape))
}

/// `GET /v1/refunds` and `/v1/charges/{id}/refunds`.
pub fn list(state: &State, call: &Call, of_path: Option<&str>) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[&LIST_PARAMS[..], &["charge", "payment_intent"]].concat())?;
    let (charge, intent) = (of_path.or(params.text("charge")), params.text("payment_intent"));
    let rows = page(&state.refunds, params, |row| {
        charge.is_none_or(|id| row.charge == id) && intent.is_none_or(|id| row.payment_intent == id)
    })?;
    Ok(rows.render(&call.path, |row| objects::refund(row, call.shape)))
}

/// The charge that a refund request means: named itself, or the one that paid its intent.
pub fn charge_of(state: &State, charge: Option<&str>, intent: Option<&str>) -> Result<String, ApiError> {
    match (charge, intent) {
        (Some(charge), _) => charges::find(state, charge)
            .map(|row| row.id.clone())
            .map_err(|error| error.in_param("charge")),
        (None, Some(intent)) => {
            let missing = || ApiError::missing("payment_intent", intent).in_param("payment_intent");
            let intent = state.intents.get(intent).ok_or_else(missing)?;
            let mut paid = intent.charges.iter().filter(|id| {
                state
                    .charges
                    .get(id)
                    .is_some_and(|charge| charge.status == ChargeStatus::Succeeded)
            });
            paid.next().cloned().ok_or_else(|| {
                ApiError::invalid(format!(
                    "This PaymentIntent ({}) does not have a successful charge to refund.",
                    intent.id
                ))
                .param("payment_intent")
            })
        }
        (None, None) => Err(ApiError::invalid(
            "One of the following params should be provided for this request: payment_intent or charge.",
        )
        .code("parameter_missing")),
    }
}

/// Makes a refund, after the checks that Stripe makes.
pub fn place(state: &mut State, order: Order) -> Result<String, ApiError> {
    let charge = charges::find(state, &order.charge)?.clone();
    check(state, &charge)?;
    let rest = charge.amount - charge.amount_refunded;
    let amount = order.amount.unwrap_or(rest);
    if amount < 1 {
        return Err(ApiError::invalid(format!("Invalid positive integer: {amount}"))
            .code("parameter_invalid_integer")
            .param("amount"));
    }
    if amount > rest {
        return Err(ApiError::invalid(format!(
            "Refund amount ({amount}) is greater than unrefunded amount on charge ({rest})."
        ))
        .param("amount"));
    }
    if let Some(reason) = &order.reason
        && !REASONS.contains(&reason.as_str())
    {
        return Err(
            ApiError::invalid(format!("Invalid reason: must be one of {}", REASONS.join(", ")))
                .param("reason"),
        );
    }
    let outcome = order
        .outcome
        .unwrap_or_else(|| state.cards.refund_outcome(&charge.payment_method));
    let id = state.ids.next("re");
    let movement = Movement {
        amount: -amount,
        fee: 0, // Stripe keeps the fee of the payment
        currency: &charge.currency,
        kind: "refund",
        reporting_category: "refund",
        source: &id,
        description: "REFUND FOR PAYMENT",
    };
    let balance_transaction = Some(book(state, movement));
    state.refunds.push(Refund {
        id: id.clone(),
        created: state.clock.now(),
        amount,
        currency: charge.currency.clone(),
        // A refund that will fail looks like any other at first.
        status: if outcome == RefundStatus::Failed {
            RefundStatus::Pending
        } else {
            outcome
        },
        charge: charge.id.clone(),
        payment_intent: charge.payment_intent.clone(),
        reason: order.reason,
        failure_reason: None,
        balance_transaction,
        failure_balance_transaction: None,
        metadata: order.metadata,
    });
    let before = json!({ "amount_refunded": charge.amount_refunded, "refunded": false });
    if let Some(row) = state.charges.get_mut(&charge.id) {
        row.amount_refunded += amount;
        row.refunds.push(id.clone());
    }
    state.emit_refund("refund.created", &id);
    state.emit_charge("charge.refunded", &charge.id, Some(before));
    if outcome == RefundStatus::Failed {
        move_to(state, &id, RefundStatus::Failed)?;
    }
    Ok(id)
}

/// A refund's status changes later; failing or canceling gives the money back to the account.
pub fn move_to(state: &mut State, id: &str, to: RefundStatus) -> Result<(), ApiError> {
    use RefundStatus::{Canceled, Failed, Pending, RequiresAction, Succeeded};
    let refund = state
        .refunds
        .get(id)
        .ok_or_else(|| ApiError::missing("refund", id))?
        .clone();
    match (refund.status, to) {
        (Pending | RequiresAction, _) if refund.status != to => {}
        (Succeeded, Failed) => {} // banks return money days later
        (from, to) => {
            let (from, to) = (json!(from), json!(to));
            return Err(ApiError::invalid(format!(
                "A refund that is {from} cannot become {to}."
            )));
        }
    }
    let money_returns = matches!(to, Failed | Canceled);
    let returned = money_returns.then(|| {
        let movement = Movement {
            amount: refund.amount,
            fee: 0,
            currency: &refund.currency,
            kind: "refund_failure",
            reporting_category: "refund_failure",
            source: id,
            description: "REFUND FAILURE",
        };
        book(state, movement)
    });
    if let Some(row) = state.refunds.get_mut(id) {
        row.status = to;
        if to == Failed {
            row.failure_reason = Some("expired_or_canceled_card".into());
        }
        row.failure_balance_transaction = returned;
    }
    if money_returns && let Some(charge) = state.charges.get_mut(&refund.charge) {
        charge.amount_refunded -= refund.amount;
    }
    state.emit_refund("refund.updated", id);
    state.emit_refund("charge.refund.updated", id);
    if to == Failed {
        state.emit_refund("refund.failed", id);
    }
    Ok(())
}

fn check(state: &State, charge: &Charge) -> Result<(), ApiError> {
    if charge.status != ChargeStatus::Succeeded {
        return Err(ApiError::invalid(format!(
            "Charge {} has not been captured and cannot be refunded.",
            charge.id
        ))
        .param("charge"));
    }
    let mut disputes = charge.disputes.iter().filter_map(|id| state.disputes.get(id));
    if disputes.any(|dispute| dispute.withheld() > 0) {
        return Err(ApiError::invalid(format!(
            "Charge {} has been charged back; cannot issue a refund.",
            charge.id
        ))
        .code("charge_disputed"));
    }
    if charge.amount_refunded >= charge.amount {
        return Err(
            ApiError::invalid(format!("Charge {} has already been refunded.", charge.id))
                .code("charge_already_refunded"),
        );
    }
    Ok(())
}
