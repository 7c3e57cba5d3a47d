//! What a card does when it is charged: succeed, decline in a known way, ask for authentication, take its time.
//!
//! Three sources, the first that says something wins: the script of the payment method, the script of its customer, the
//! well-known name in the payment method's id (`pm_card_visa_chargeDeclinedInsufficientFunds`). Any other card succeeds.
use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::model::RefundStatus;

/// A decline as the card network and Stripe describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decline {
    pub code: String,
    pub decline_code: Option<String>,
    pub advice_code: Option<String>,
    pub network_decline_code: Option<String>,
    pub network_advice_code: Option<String>,
    pub message: String,
}

/// What the next charge of a card comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The money is captured.
    Succeed,
    /// The bank refuses.
    Decline(Decline),
    /// The bank wants the cardholder: a decline when they are absent, `requires_action` when present.
    Authenticate,
    /// The outcome comes later, by `/_sim/payment_intents/{id}/settle`.
    Processing,
}

/// What the charge brings along once it has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aftermath {
    /// The cardholder's bank opens a chargeback at once.
    Chargeback,
    /// The cardholder's bank asks a question at once.
    Inquiry,
}

/// Advice that goes with a decline.
const STOP: &str = "do_not_try_again";
const LATER: &str = "try_again_later";
const CONFIRM: &str = "confirm_card_data";

/// decline code, network code, advice. The error's `code` is `card_declined` except for [`OWN_CODE`].
const DECLINES: &[(&str, Option<&str>, Option<&str>)] = &[
    ("generic_decline", Some("05"), Some(LATER)),
    ("insufficient_funds", Some("51"), Some(LATER)),
    ("do_not_honor", Some("05"), Some(LATER)),
    ("card_velocity_exceeded", Some("61"), Some(LATER)),
    ("withdrawal_count_limit_exceeded", Some("65"), Some(LATER)),
    ("issuer_not_available", Some("91"), Some(LATER)),
    ("processing_error", None, Some(LATER)),
    ("reenter_transaction", Some("19"), Some(LATER)),
    ("try_again_later", None, Some(LATER)),
    ("no_action_taken", Some("21"), None),
    ("not_permitted", None, None),
    ("service_not_allowed", None, None),
    ("lost_card", Some("41"), Some(STOP)),
    ("stolen_card", Some("43"), Some(STOP)),
    ("pickup_card", Some("04"), Some(STOP)),
    ("restricted_card", Some("62"), Some(STOP)),
    ("fraudulent", Some("59"), Some(STOP)),
    ("expired_card", Some("54"), Some(STOP)),
    ("incorrect_number", Some("14"), Some(STOP)),
    ("invalid_account", Some("14"), Some(STOP)),
    ("transaction_not_allowed", Some("57"), Some(STOP)),
    ("stop_payment_order", Some("R0"), Some(STOP)),
    ("revocation_of_authorization", Some("R1"), Some(STOP)),
    ("revocation_of_all_authorizations", Some("R3"), Some(STOP)),
    ("highest_risk_level", None, Some(STOP)),
    ("merchant_blacklist", None, Some(STOP)),
    ("security_violation", Some("63"), Some(STOP)),
    ("card_not_supported", None, Some(STOP)),
    ("currency_not_supported", None, Some(STOP)),
    ("pin_try_exceeded", Some("75"), Some(STOP)),
    ("new_account_information_available", None, Some(STOP)),
    ("do_not_try_again", None, Some(STOP)),
    ("incorrect_cvc", Some("N7"), Some(CONFIRM)),
    ("invalid_cvc", None, Some(CONFIRM)),
    ("incorrect_zip", None, Some(CONFIRM)),
    ("invalid_expiry_month", None, Some(CONFIRM)),
    ("invalid_expiry_year", None, Some(CONFIRM)),
    ("call_issuer", Some("01"), None),
    ("approve_with_id", None, None),
    ("duplicate_transaction", Some("94"), None),
    ("invalid_amount", Some("13"), None),
    ("testmode_decline", None, None),
    ("authentication_required", Some("1A"), None),
];

/// Declines that Stripe reports as the error's `code`, without a `decline_code`.
const OWN_CODE: &[&str] = &[
    "processing_error",
    "expired_card",
    "incorrect_number",
    "incorrect_cvc",
    "invalid_cvc",
    "incorrect_zip",
    "invalid_expiry_month",
    "invalid_expiry_year",
];

/// The part of a test card's id that decides, and the script word it stands for.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("chargeDeclined", "generic_decline"),
    ("chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ("chargeDeclinedLostCard", "lost_card"),
    ("chargeDeclinedStolenCard", "stolen_card"),
    ("chargeDeclinedExpiredCard", "expired_card"),
    ("chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    ("chargeDeclinedProcessingError", "processing_error"),
    ("chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
    ("chargeDeclinedFraudulent", "fraudulent"),
    ("chargeCustomerFail", "generic_decline"),
    ("authenticationRequired", "authenticate"),
    // Names that the issue trackers of integrations abbreviate to.
    ("InsufficientFunds", "insufficient_funds"),
    ("LostCard", "lost_card"),
    ("StolenCard", "stolen_card"),
    ("ExpiredCard", "expired_card"),
    ("ProcessingError", "processing_error"),
];

impl Decline {
    /// The decline with this decline code, with the codes and the message that belong to it.
    pub fn named(name: &str) -> Option<Self> {
        let (name, network, advice) = DECLINES.iter().find(|(known, ..)| *known == name)?;
        let own = OWN_CODE.contains(name);
        let code = match *name {
            "authentication_required" => "authentication_required",
            name if own => name,
            _ => "card_declined",
        };
        Some(Self {
            code: code.to_owned(),
            decline_code: (!own).then(|| (*name).to_owned()),
            advice_code: advice.map(str::to_owned),
            network_decline_code: network.map(str::to_owned),
            network_advice_code: None,
            message: message(name).to_owned(),
        })
    }
}

fn message(name: &str) -> &'static str {
    match name {
        "insufficient_funds" => "Your card has insufficient funds.",
        "expired_card" => "Your card has expired.",
        "incorrect_cvc" | "invalid_cvc" => "Your card's security code is incorrect.",
        "incorrect_number" => "Your card number is incorrect.",
        "incorrect_zip" => "Your card's ZIP code is incorrect.",
        "processing_error" => "An error occurred while processing your card. Try again in a little bit.",
        "authentication_required" => "Your card was declined. This transaction requires authentication.",
        _ => "Your card was declined.",
    }
}

impl Step {
    /// Reads a step of a script: a word, or an object with the codes of a decline.
    pub fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(word) => Self::named(word),
            Value::Object(codes) => {
                let text = |name: &str| codes.get(name).and_then(Value::as_str).map(str::to_owned);
                let decline_code = text("decline_code");
                let code = text("code").unwrap_or_else(|| "card_declined".into());
                Ok(Self::Decline(Decline {
                    message: text("message")
                        .unwrap_or_else(|| message(decline_code.as_deref().unwrap_or(&code)).into()),
                    code,
                    decline_code,
                    advice_code: text("advice_code"),
                    network_decline_code: text("network_decline_code"),
                    network_advice_code: text("network_advice_code"),
                }))
            }
            other => Err(format!(
                "a script step is a word or an object of decline codes, not {other}"
            )),
        }
    }

    fn named(word: &str) -> Result<Self, String> {
        match word {
            "succeed" | "succeeded" | "success" => Ok(Self::Succeed),
            "authenticate" | "authentication_required" | "requires_action" => Ok(Self::Authenticate),
            "processing" => Ok(Self::Processing),
            name => Decline::named(name).map(Self::Decline).ok_or_else(|| {
                format!("\"{name}\" is neither succeed, authenticate, processing nor a known decline code; for a code of your own write {{\"decline_code\":\"{name}\"}}")
            }),
        }
    }
}

/// The scripts of payment methods and customers, and what their refunds come to.
#[derive(Default)]
pub struct Cards {
    scripts: HashMap<String, Script>,
    refunds: HashMap<String, RefundStatus>,
    cleared_later: HashSet<String>,
}

/// When a captured charge is on the balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clearing {
    /// With the capture.
    AtOnce,
    /// By `/_sim/charges/{id}/clear`: Stripe captures asynchronously unless told otherwise.
    Later,
}

#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
    /// `"..."` at the end: the last step again and again.
    forever: Option<Step>,
}

impl Cards {
    /// Gives a payment method or a customer its script; an empty one takes it away.
    pub fn script(&mut self, id: &str, steps: &[Value]) -> Result<(), String> {
        let mut script = Script::default();
        for (index, step) in steps.iter().enumerate() {
            if step == "..." {
                if index + 1 != steps.len() || script.steps.is_empty() {
                    return Err("\"...\" repeats the step before it and must come last".into());
                }
                script.forever = script.steps.back().cloned();
            } else {
                script.steps.push_back(Step::parse(step)?);
            }
        }
        self.scripts.insert(id.to_owned(), script);
        Ok(())
    }

    /// Takes the next step of a charge.
    pub fn next(&mut self, payment_method: &str, customer: Option<&str>) -> Step {
        for id in [Some(payment_method), customer].into_iter().flatten() {
            if let Some(script) = self.scripts.get_mut(id)
                && let Some(step) = script.steps.pop_front().or_else(|| script.forever.clone())
            {
                return step;
            }
        }
        well_known(payment_method).unwrap_or(Step::Succeed)
    }

    /// Decides what refunds to a card come to.
    pub fn refunds_become(&mut self, payment_method: &str, status: RefundStatus) {
        self.refunds.insert(payment_method.to_owned(), status);
    }

    /// Decides when charges of a card reach the balance.
    pub fn clears(&mut self, payment_method: &str, clearing: Clearing) {
        match clearing {
            Clearing::AtOnce => self.cleared_later.remove(payment_method),
            Clearing::Later => self.cleared_later.insert(payment_method.to_owned()),
        };
    }

    /// When a charge of this card reaches the balance.
    pub fn clearing(&self, payment_method: &str) -> Clearing {
        if self.cleared_later.contains(payment_method) {
            Clearing::Later
        } else {
            Clearing::AtOnce
        }
    }

    /// What a refund to this card comes to.
    pub fn refund_outcome(&self, payment_method: &str) -> RefundStatus {
        let named = |name| parts(payment_method).any(|part| part == name);
        match self.refunds.get(payment_method) {
            Some(status) => *status,
            None if named("refundFail") => RefundStatus::Failed,
            None if named("pendingRefund") => RefundStatus::Pending,
            None => RefundStatus::Succeeded,
        }
    }
}

/// What follows a success of this card by itself.
pub fn aftermath(payment_method: &str) -> Option<Aftermath> {
    parts(payment_method).find_map(|part| match part {
        "createDispute" | "createDisputeProductNotReceived" => Some(Aftermath::Chargeback),
        "createDisputeInquiry" => Some(Aftermath::Inquiry),
        _ => None,
    })
}

/// Whether the id is one of Stripe's shared test cards, which belong to no customer.
pub fn is_test_card(payment_method: &str) -> bool {
    payment_method.starts_with("pm_card_")
}

fn well_known(payment_method: &str) -> Option<Step> {
    let word = parts(payment_method).find_map(|part| {
        WELL_KNOWN
            .iter()
            .find(|(name, _)| *name == part)
            .map(|(_, word)| *word)
    })?;
    Step::named(word).ok()
}

/// The words of `pm_card_visa_chargeDeclined_7`; nothing for an id that is not a test card's.
fn parts(payment_method: &str) -> impl Iterator<Item = &str> {
    payment_method
        .strip_prefix("pm_card_")
        .unwrap_or_default()
        .split('_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decline_code(step: Step) -> String {
        match step {
            Step::Decline(decline) => decline.decline_code.unwrap_or(decline.code),
            other => panic!("{other:?} is no decline"),
        }
    }

    #[test]
    fn a_well_known_name_decides_and_may_carry_a_suffix() {
        let mut cards = Cards::default();
        assert_eq!(cards.next("pm_card_visa", None), Step::Succeed);
        assert_eq!(cards.next("pm_1", None), Step::Succeed);
        assert_eq!(
            cards.next("pm_card_authenticationRequired", None),
            Step::Authenticate
        );
        assert_eq!(
            decline_code(cards.next("pm_card_visa_chargeDeclinedLostCard_7", None)),
            "lost_card"
        );
        assert_eq!(
            decline_code(cards.next("pm_card_chargeDeclinedExpiredCard", None)),
            "expired_card"
        );
    }

    #[test]
    fn a_script_is_used_up_and_then_the_card_is_itself_again() {
        let mut cards = Cards::default();
        cards
            .script(
                "pm_1",
                &[json!("insufficient_funds"), json!({"decline_code": "brand_new"})],
            )
            .unwrap();
        assert_eq!(
            decline_code(cards.next("pm_1", Some("cus_1"))),
            "insufficient_funds"
        );
        assert_eq!(decline_code(cards.next("pm_1", Some("cus_1"))), "brand_new");
        assert_eq!(cards.next("pm_1", Some("cus_1")), Step::Succeed);
    }

    #[test]
    fn three_dots_repeat_the_last_step() {
        let mut cards = Cards::default();
        cards
            .script("cus_1", &[json!("succeed"), json!("lost_card"), json!("...")])
            .unwrap();
        assert_eq!(cards.next("pm_1", Some("cus_1")), Step::Succeed);
        for _ in 0..3 {
            assert_eq!(decline_code(cards.next("pm_1", Some("cus_1"))), "lost_card");
        }
    }

    #[test]
    fn a_misspelt_step_is_refused() {
        let refused = Cards::default().script("pm_1", &[json!("suceed")]).unwrap_err();
        assert!(refused.contains("\"suceed\""), "{refused}");
    }

    #[test]
    fn every_well_known_card_has_a_step() {
        for (name, _) in WELL_KNOWN {
            assert!(well_known(&format!("pm_card_visa_{name}")).is_some(), "{name}");
        }
    }
}
