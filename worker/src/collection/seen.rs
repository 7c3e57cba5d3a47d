//! Stripe's PaymentIntent as the domain wants to see it.

use shared::{
    currency::Currency,
    domain::{
        collection::{IntentFailure, IntentSeen, IntentStatus, ProcessorFee},
        decline::DeclineCodes,
    },
    money::Money,
};

use crate::{
    queue::JobError,
    stripe::{Decline, PaymentError, PaymentIntent},
};

/// Translates an intent.
///
/// # Errors
/// When its currency is none that we charge: a person must look.
pub fn intent_seen(intent: &PaymentIntent) -> Result<IntentSeen, JobError> {
    let currency = Currency::parse(&intent.currency).map_err(|e| JobError::fail(e.to_string()))?;
    let status = IntentStatus::from(intent.status.as_str());
    Ok(IntentSeen {
        id: intent.id.clone(),
        received: (status == IntentStatus::Succeeded).then(|| Money::new(intent.amount_received, currency)),
        status,
        latest_charge: intent.latest_charge.as_ref().map(|c| c.id.clone()),
        fee: fee(intent),
        failure: why_it_failed(intent).map(|error| failure(&error, intent)),
    })
}

/// Fees of nothing are none: a firm with a price of its own may pay otherwise.
fn fee(intent: &PaymentIntent) -> Option<ProcessorFee> {
    let charge = intent.latest_charge.as_ref()?.charge.as_ref()?;
    let movement = charge.balance_transaction.as_ref().filter(|txn| txn.fee > 0)?;
    Some(ProcessorFee {
        balance_transaction: movement.id.clone(),
        amount_minor: movement.fee,
        currency: movement.currency.clone(),
        at: movement.created,
    })
}

/// Stripe clears the error of an intent that is updated for any reason; the charge that failed still stands, with the
/// issuer's reason in its outcome.
fn why_it_failed(intent: &PaymentIntent) -> Option<PaymentError> {
    intent.last_payment_error.clone().or_else(|| {
        let charge = intent.latest_charge.as_ref()?.charge.as_deref()?;
        (charge.status == "failed").then(|| PaymentError::of_charge(charge))
    })
}

/// A decline whose answer carried no intent: the intent is waiting for a payment method again.
#[must_use]
pub fn declined_without_intent(id: &str, decline: &Decline) -> IntentSeen {
    IntentSeen {
        id: id.to_owned(),
        status: IntentStatus::RequiresPaymentMethod,
        received: None,
        latest_charge: decline.error.charge.clone(),
        failure: Some(IntentFailure {
            codes: codes(&decline.error),
            charge: decline.error.charge.clone(),
            at: None,
        }),
        fee: None,
    }
}

/// A confirmation refused because the card does not exist at Stripe any more.
#[must_use]
pub fn method_gone(id: &str) -> IntentSeen {
    let codes = DeclineCodes {
        code: Some("payment_method_not_available".to_owned()),
        ..DeclineCodes::default()
    };
    IntentSeen {
        id: id.to_owned(),
        status: IntentStatus::RequiresPaymentMethod,
        received: None,
        latest_charge: None,
        failure: Some(IntentFailure {
            codes,
            ..IntentFailure::default()
        }),
        fee: None,
    }
}

/// The failure with its time, where the intent holds the charge that failed.
fn failure(error: &PaymentError, intent: &PaymentIntent) -> IntentFailure {
    let charge = intent.latest_charge.as_ref().and_then(|c| c.charge.as_deref());
    IntentFailure {
        codes: codes(error),
        charge: error.charge.clone(),
        at: charge
            .filter(|charge| error.charge.as_ref() == Some(&charge.id))
            .map(|charge| charge.created),
    }
}

fn codes(error: &PaymentError) -> DeclineCodes {
    DeclineCodes {
        code: error.code.clone(),
        decline_code: error.decline_code.clone(),
        advice_code: error.advice_code.clone(),
        network_decline_code: error.network_decline_code.clone(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};
    use shared::domain::decline::{
        self,
        DeclineClass::{self, Customer, Hard, Soft},
    };

    use super::*;
    use crate::stripe::objects::StripeObject as _;

    /// A failed charge with this code and outcome.
    fn charge(failure_code: &str, outcome: &Value) -> Value {
        json!({
            "id": "ch_1", "object": "charge", "status": "failed", "amount": 500, "amount_refunded": 0, "currency": "usd",
            "created": 1_790_000_001, "paid": false, "failure_code": failure_code, "outcome": outcome,
        })
    }

    /// An intent with that charge, in today's shape and in the old one; its error is gone.
    fn intents(charge: &Value) -> [PaymentIntent; 2] {
        let base = json!({
            "id": "pi_1", "object": "payment_intent", "status": "requires_payment_method", "amount": 500, "currency": "usd",
            "created": 1_790_000_000, "last_payment_error": null,
        });
        let (mut new, mut old) = (base.clone(), base);
        new["latest_charge"] = charge.clone();
        old["charges"] = json!({ "object": "list", "data": [charge] });
        [new, old].map(|intent| PaymentIntent::parse(&intent).unwrap())
    }

    #[test]
    fn b24_a_charge_whose_error_stripe_has_cleared_is_classed_by_its_outcome() {
        let cases: [(&str, Value, Option<&str>, DeclineClass); 9] = [
            (
                "card_declined",
                json!({ "type": "issuer_declined", "reason": "insufficient_funds" }),
                Some("insufficient_funds"),
                Soft,
            ),
            (
                "card_declined",
                json!({ "reason": "lost_card" }),
                Some("lost_card"),
                Hard,
            ),
            (
                "card_declined",
                json!({ "type": "blocked", "reason": "highest_risk_level" }),
                Some("highest_risk_level"),
                Hard,
            ),
            (
                "card_declined",
                json!({ "reason": "generic_decline", "advice_code": "do_not_try_again" }),
                Some("generic_decline"),
                Hard,
            ),
            (
                "card_declined",
                json!({ "reason": "do_not_honor", "network_decline_code": "57" }),
                Some("do_not_honor"),
                Hard,
            ),
            // a reason that only repeats the code is no decline code
            ("expired_card", json!({ "reason": "expired_card" }), None, Hard),
            (
                "authentication_required",
                json!({ "reason": "authentication_required" }),
                None,
                Customer,
            ),
            (
                "card_declined",
                json!({ "reason": "novel_reason" }),
                Some("novel_reason"),
                Soft,
            ),
            ("card_declined", Value::Null, None, Soft),
        ];
        for (failure_code, outcome, decline_code, class) in cases {
            for intent in intents(&charge(failure_code, &outcome)) {
                let failure = intent_seen(&intent).unwrap().failure.unwrap();
                assert_eq!(failure.charge.as_deref(), Some("ch_1"));
                assert_eq!(failure.codes.code.as_deref(), Some(failure_code));
                assert_eq!(failure.codes.decline_code.as_deref(), decline_code, "{outcome}");
                assert_eq!(decline::classify(&failure.codes).class, class, "{outcome}");
            }
        }
    }

    #[test]
    fn a11_a_failure_has_the_time_of_its_own_charge_and_of_no_other() {
        let made_at = DateTime::from_timestamp(1_790_000_001, 0);
        let [mut intent, _] = intents(&charge("card_declined", &Value::Null));
        let at = |intent: &PaymentIntent| intent_seen(intent).unwrap().failure.unwrap().at;
        assert_eq!(at(&intent), made_at);
        intent.last_payment_error = Some(PaymentError {
            charge: Some("ch_1".into()),
            ..PaymentError::default()
        });
        assert_eq!(at(&intent), made_at);
        intent.last_payment_error = Some(PaymentError {
            charge: Some("ch_2".into()),
            ..PaymentError::default()
        });
        assert_eq!(at(&intent), None);
    }
}
