//! Stripe's objects as JSON, in today's shape and in the one of old API versions.
//!
//! Old means before 2022-11-15: an intent embeds its charges, a charge its refunds, both name the Stripe invoice that
//! they belong to, and a dispute does not describe the card. Webhook endpoints keep the version they were made with,
//! so a consumer meets both.
use serde_json::{Map, Value, json};

use super::cards::Decline;
use super::model::{
    BalanceTransaction, Charge, ChargeStatus, Customer, Dispute, IntentStatus, PaymentIntent, PaymentMethod,
    Refund,
};
use super::state::State;

/// The API version that the simulator speaks by default.
pub const API_VERSION: &str = "2026-09-30.endive";
/// The API version of events in the old shape.
pub const OLD_API_VERSION: &str = "2020-03-02";
/// The first version with `latest_charge` and without embedded charges and refunds.
const NEW_SHAPE_SINCE: &str = "2022-11-15";

/// How an object is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Charges and refunds embedded.
    Old,
    /// `latest_charge`; refunds only in their own list.
    New,
}

impl Shape {
    /// The shape that an API version has; versions begin with their date.
    pub fn of_version(version: &str) -> Self {
        if version < NEW_SHAPE_SINCE {
            Self::Old
        } else {
            Self::New
        }
    }
}

/// A customer.
pub fn customer(customer: &Customer) -> Value {
    let mut object = object("customer", &customer.id, customer.created);
    nulls(
        &mut object,
        &[
            "address",
            "currency",
            "default_source",
            "phone",
            "shipping",
            "test_clock",
        ],
    );
    extend(
        &mut object,
        json!({
            "balance": 0, "delinquent": false, "email": customer.email, "name": customer.name,
            "description": customer.description, "metadata": customer.metadata, "preferred_locales": [],
            "invoice_settings": { "custom_fields": null, "default_payment_method": customer.default_payment_method, "footer": null },
            "tax_exempt": "none",
        }),
    );
    Value::Object(object)
}

/// A card as a payment method.
pub fn payment_method(method: &PaymentMethod) -> Value {
    let mut object = object("payment_method", &method.id, method.created);
    extend(
        &mut object,
        json!({
            "type": "card", "allow_redisplay": "unspecified", "billing_details": billing_details(),
            "card": card(method), "customer": method.customer, "metadata": method.metadata,
        }),
    );
    Value::Object(object)
}

/// A payment intent.
pub fn payment_intent(state: &State, intent: &PaymentIntent, shape: Shape) -> Value {
    let mut object = object("payment_intent", &intent.id, intent.created);
    nulls(
        &mut object,
        &[
            "application",
            "application_fee_amount",
            "on_behalf_of",
            "receipt_email",
            "review",
            "shipping",
            "source",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_data",
            "transfer_group",
            "processing",
        ],
    );
    let received = if intent.status == IntentStatus::Succeeded {
        intent.amount
    } else {
        0
    };
    extend(
        &mut object,
        json!({
            "amount": intent.amount, "amount_capturable": 0, "amount_received": received,
            "amount_details": { "tip": {} }, "currency": intent.currency, "status": intent.status,
            "customer": intent.customer, "payment_method": intent.payment_method, "description": intent.description,
            "metadata": intent.metadata, "last_payment_error": intent.last_payment_error,
            "setup_future_usage": intent.setup_future_usage,
        }),
    );
    extend(
        &mut object,
        json!({
            "automatic_payment_methods": null, "canceled_at": intent.canceled_at,
            "cancellation_reason": intent.cancellation_reason, "capture_method": "automatic",
            "confirmation_method": "automatic", "client_secret": format!("{}_secret_sim", intent.id),
            "next_action": next_action(intent), "payment_method_types": ["card"],
            "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        }),
    );
    match shape {
        Shape::New => {
            object.insert("latest_charge".into(), json!(intent.latest_charge()));
        }
        Shape::Old => {
            let newest_first = intent.charges.iter().rev().filter_map(|id| state.charges.get(id));
            let charges: Vec<Value> = newest_first.map(|row| charge(state, row, shape)).collect();
            let url = format!("/v1/charges?payment_intent={}", intent.id);
            object.insert("charges".into(), embedded(charges, &url));
            object.insert("invoice".into(), Value::Null);
        }
    }
    Value::Object(object)
}

/// A charge.
pub fn charge(state: &State, charge: &Charge, shape: Shape) -> Value {
    let mut object = object("charge", &charge.id, charge.created);
    nulls(
        &mut object,
        &[
            "application",
            "application_fee",
            "application_fee_amount",
            "failure_balance_transaction",
            "on_behalf_of",
            "receipt_email",
            "receipt_number",
            "review",
            "shipping",
            "source",
            "source_transfer",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_data",
            "transfer_group",
        ],
    );
    let paid = charge.status == ChargeStatus::Succeeded;
    extend(
        &mut object,
        json!({
            "amount": charge.amount, "amount_captured": if paid { charge.amount } else { 0 },
            "amount_refunded": charge.amount_refunded, "balance_transaction": charge.balance_transaction,
            "currency": charge.currency, "customer": charge.customer, "description": charge.description,
            "status": charge.status, "paid": paid, "captured": paid, "refunded": charge.amount_refunded == charge.amount,
            "disputed": !charge.disputes.is_empty(),
        }),
    );
    extend(
        &mut object,
        json!({
            "payment_intent": charge.payment_intent, "payment_method": charge.payment_method,
            "billing_details": billing_details(), "calculated_statement_descriptor": "QUITTANCE SIM",
            "metadata": charge.metadata, "fraud_details": {}, "outcome": outcome(charge),
            "failure_code": charge.decline.as_ref().map(|decline| &decline.code),
            "failure_message": charge.decline.as_ref().map(|decline| &decline.message),
            "payment_method_details": {
                "type": "card", "card": state.payment_methods.get(&charge.payment_method).map(card),
            },
            "receipt_url": null,
        }),
    );
    if shape == Shape::Old {
        let newest_first = charge.refunds.iter().rev().filter_map(|id| state.refunds.get(id));
        let refunds: Vec<Value> = newest_first.map(|row| refund(row, shape)).collect();
        object.insert(
            "refunds".into(),
            embedded(refunds, &format!("/v1/charges/{}/refunds", charge.id)),
        );
        object.insert("dispute".into(), json!(charge.disputes.last()));
        object.insert("invoice".into(), Value::Null);
    }
    Value::Object(object)
}

/// A refund.
pub fn refund(refund: &Refund, shape: Shape) -> Value {
    let mut object = object("refund", &refund.id, refund.created);
    object.remove("livemode"); // refunds have none
    extend(
        &mut object,
        json!({
            "amount": refund.amount, "balance_transaction": refund.balance_transaction, "charge": refund.charge,
            "currency": refund.currency, "metadata": refund.metadata, "payment_intent": refund.payment_intent,
            "reason": refund.reason, "receipt_number": null, "source_transfer_reversal": null, "status": refund.status,
            "transfer_reversal": null,
        }),
    );
    if let Some(reason) = &refund.failure_reason {
        object.insert("failure_reason".into(), json!(reason));
        object.insert(
            "failure_balance_transaction".into(),
            json!(refund.failure_balance_transaction),
        );
    }
    if shape == Shape::New {
        object.insert(
            "destination_details".into(),
            json!({ "type": "card", "card": { "type": "refund" } }),
        );
    }
    Value::Object(object)
}

/// A dispute.
pub fn dispute(state: &State, dispute: &Dispute, shape: Shape) -> Value {
    let movements = dispute
        .balance_transactions
        .iter()
        .filter_map(|id| state.balance.get(id));
    let movements: Vec<Value> = movements.map(balance_transaction).collect();
    let mut object = object("dispute", &dispute.id, dispute.created);
    extend(
        &mut object,
        json!({
            "amount": dispute.amount, "balance_transactions": movements, "charge": dispute.charge,
            "currency": dispute.currency, "evidence": {}, "metadata": dispute.metadata,
            "evidence_details": {
                "due_by": dispute.due_by, "has_evidence": false, "past_due": state.clock.now() > dispute.due_by,
                "submission_count": 0,
            },
            "is_charge_refundable": dispute.is_inquiry(), "payment_intent": dispute.payment_intent,
            "reason": dispute.reason, "status": dispute.status, "network_reason_code": dispute.network_reason_code,
        }),
    );
    if shape == Shape::New {
        let case = if dispute.is_inquiry() {
            "inquiry"
        } else {
            "chargeback"
        };
        object.insert("enhanced_eligibility_types".into(), json!([]));
        object.insert("payment_method_details".into(), json!({
            "type": "card",
            "card": { "brand": "visa", "case_type": case, "network_reason_code": dispute.network_reason_code },
        }));
    }
    Value::Object(object)
}

/// A movement of the balance.
pub fn balance_transaction(row: &BalanceTransaction) -> Value {
    let mut object = object("balance_transaction", &row.id, row.created);
    object.remove("livemode"); // balance transactions have none
    let fee_details = if row.fee == 0 {
        json!([])
    } else {
        json!([{ "amount": row.fee, "currency": row.currency, "type": "stripe_fee", "application": null,
            "description": "Stripe processing fees" }])
    };
    extend(
        &mut object,
        json!({
            "amount": row.amount, "available_on": row.created, "currency": row.currency,
            "description": row.description, "exchange_rate": null, "fee": row.fee, "fee_details": fee_details,
            "net": row.amount - row.fee, "reporting_category": row.reporting_category, "source": row.source,
            "status": "available", "type": row.kind,
        }),
    );
    Value::Object(object)
}

/// `last_payment_error` of an intent and, with more fields, the error of a 402.
pub fn card_error(decline: &Decline, charge: Option<&str>, method: &PaymentMethod) -> Map<String, Value> {
    let word = decline.code.replace('_', "-");
    let mut error = Map::new();
    extend(
        &mut error,
        json!({
            "type": "card_error", "code": decline.code, "message": decline.message,
            "doc_url": format!("https://docs.stripe.com/error-codes#{word}"), "payment_method": payment_method(method),
        }),
    );
    let optional = [
        ("charge", charge),
        ("decline_code", decline.decline_code.as_deref()),
        ("advice_code", decline.advice_code.as_deref()),
        ("network_decline_code", decline.network_decline_code.as_deref()),
        ("network_advice_code", decline.network_advice_code.as_deref()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            error.insert(name.into(), value.into());
        }
    }
    error
}

fn object(kind: &str, id: &str, created: i64) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".into(), id.into());
    object.insert("object".into(), kind.into());
    object.insert("created".into(), created.into());
    object.insert("livemode".into(), false.into());
    object
}

fn extend(object: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        object.extend(more);
    }
}

fn nulls(object: &mut Map<String, Value>, names: &[&str]) {
    object.extend(names.iter().map(|name| ((*name).to_owned(), Value::Null)));
}

fn embedded(data: Vec<Value>, url: &str) -> Value {
    json!({ "object": "list", "total_count": data.len(), "data": data, "has_more": false, "url": url })
}

fn billing_details() -> Value {
    json!({ "address": null, "email": null, "name": null, "phone": null })
}

fn card(method: &PaymentMethod) -> Value {
    json!({
        "brand": method.brand, "country": "US", "display_brand": method.brand, "exp_month": method.exp_month,
        "exp_year": method.exp_year, "fingerprint": method.fingerprint, "funding": "credit", "last4": method.last4,
        "network": method.brand, "wallet": null,
        "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
    })
}

fn outcome(charge: &Charge) -> Value {
    match (&charge.decline, charge.status) {
        (Some(decline), _) => json!({
            "type": "issuer_declined", "network_status": "declined_by_network",
            "reason": decline.decline_code.as_ref().unwrap_or(&decline.code), "seller_message": decline.message,
            "risk_level": "normal", "advice_code": decline.advice_code,
            "network_advice_code": decline.network_advice_code, "network_decline_code": decline.network_decline_code,
        }),
        (None, ChargeStatus::Pending) => Value::Null,
        (None, _) => json!({
            "type": "authorized", "network_status": "approved_by_network", "reason": null,
            "seller_message": "Payment complete.", "risk_level": "normal", "advice_code": null,
            "network_advice_code": null, "network_decline_code": null,
        }),
    }
}

fn next_action(intent: &PaymentIntent) -> Value {
    match intent.status {
        IntentStatus::RequiresAction => {
            json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect" } })
        }
        _ => Value::Null,
    }
}
