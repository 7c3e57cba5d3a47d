//! Stripe's PaymentIntent as the domain wants to see it.

use shared::{
    currency::Currency,
    domain::{
        collection::{IntentFailure, IntentSeen, IntentStatus},
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
        failure: intent
            .last_payment_error
            .as_ref()
            .map(failure)
            .or_else(|| failed_charge(intent)),
    })
}

/// Stripe clears the error of an intent that is updated for any reason; the charge that failed still stands.
fn failed_charge(intent: &PaymentIntent) -> Option<IntentFailure> {
    let charge = intent.latest_charge.as_ref()?.charge.as_ref()?;
    let outcome = charge.outcome.clone().unwrap_or_default();
    (charge.status == "failed").then(|| IntentFailure {
        codes: DeclineCodes {
            code: charge.failure_code.clone(),
            decline_code: None,
            advice_code: outcome.advice_code,
            network_decline_code: outcome.network_decline_code,
        },
        charge: Some(charge.id.clone()),
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
        failure: Some(failure(&decline.error)),
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
        failure: Some(IntentFailure { codes, charge: None }),
    }
}

fn failure(error: &PaymentError) -> IntentFailure {
    IntentFailure {
        codes: DeclineCodes {
            code: error.code.clone(),
            decline_code: error.decline_code.clone(),
            advice_code: error.advice_code.clone(),
            network_decline_code: error.network_decline_code.clone(),
        },
        charge: error.charge.clone(),
    }
}
