//! What a decline means: may the same card be tried again, and if not, who has to act.
//!
//! A table, because the answer is the card networks' and Stripe's and not ours: every rule names its source, the table
//! has a version, and both are kept with the attempt. A wrong "soft" costs network fees and angers an issuer, a wrong
//! "hard" only costs a question to the client; a code that nobody knows is soft, and the retry policy bounds it.
use super::words::word_enum;

word_enum!(
    /// What to do after a decline.
    DeclineClass, "decline class":
    /// May succeed later with the same card: the retry policy goes on.
    Soft = "soft",
    /// Will not succeed with this card: wait for a new or updated one.
    Hard = "hard",
    /// The client has to do something: authenticate, correct the card's data, call the bank.
    Customer = "customer",
    /// There may be a payment already: look before anything else.
    Check = "check",
    /// Our request was wrong: a person has to look.
    Bug = "bug",
);

/// The codes that Stripe gives with a failed charge, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclineCodes {
    /// `code` of the error.
    pub code: Option<String>,
    /// `decline_code` of the error, finer than `code`.
    pub decline_code: Option<String>,
    /// `advice_code` of the error or of the charge's outcome.
    pub advice_code: Option<String>,
    /// The network's raw code.
    pub network_decline_code: Option<String>,
}

/// A class, and the rule that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// What to do.
    pub class: DeclineClass,
    /// The code or advice that decided.
    pub rule: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// Version of the table.
    pub version: u32,
}

/// Version of the table below; raised with every change of a class.
pub const VERSION: u32 = 1;

const SMART_RETRIES: &str = "Stripe Smart Retries: not attempted again without a new payment method";
const STRIPE_CODES: &str = "Stripe decline codes (docs.stripe.com/declines/codes)";
const STRIPE_ERRORS: &str = "Stripe error codes (docs.stripe.com/error-codes)";
const STRIPE_ADVICE: &str = "Stripe advice_code";
const VISA: &str = "Visa Core Rules: category 1, the issuer will never approve";
const DEFAULT: &str = "default: an unknown code is retried by the policy, which bounds it";

/// Whether Stripe's advice may overrule a code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Advice {
    /// The advice is fresher than the table and wins.
    Overrules,
    /// No advice changes what the code says: Stripe itself would not try again, or the answer is not the issuer's.
    Ignored,
}
use Advice::{Ignored, Overrules};
use DeclineClass::{Bug, Check, Customer, Hard, Soft};

/// Code (a final `*` stands for any ending), class, whether advice counts, source.
const RULES: &[(&str, DeclineClass, Advice, &str)] = &[
    ("incorrect_number", Hard, Ignored, SMART_RETRIES),
    ("lost_card", Hard, Ignored, SMART_RETRIES),
    ("pickup_card", Hard, Ignored, SMART_RETRIES),
    ("stolen_card", Hard, Ignored, SMART_RETRIES),
    ("revocation_of_authorization", Hard, Ignored, SMART_RETRIES),
    ("revocation_of_all_authorizations", Hard, Ignored, SMART_RETRIES),
    ("highest_risk_level", Hard, Ignored, SMART_RETRIES),
    ("transaction_not_allowed", Hard, Ignored, SMART_RETRIES),
    ("invalid_number", Hard, Overrules, STRIPE_CODES),
    ("restricted_card", Hard, Overrules, STRIPE_CODES),
    ("stop_payment_order", Hard, Overrules, STRIPE_CODES),
    ("fraudulent", Hard, Overrules, STRIPE_CODES),
    ("merchant_blacklist", Hard, Overrules, STRIPE_CODES),
    ("security_violation", Hard, Overrules, STRIPE_CODES),
    ("invalid_account", Hard, Overrules, STRIPE_CODES),
    ("card_not_supported", Hard, Overrules, STRIPE_CODES),
    ("currency_not_supported", Hard, Overrules, STRIPE_CODES),
    ("expired_card", Hard, Overrules, STRIPE_CODES),
    ("expired_payment_method", Hard, Overrules, STRIPE_CODES),
    ("payment_method_not_available", Hard, Overrules, STRIPE_CODES),
    ("do_not_try_again", Hard, Overrules, STRIPE_CODES),
    ("new_account_information_available", Hard, Overrules, STRIPE_CODES),
    ("pin_try_exceeded", Hard, Overrules, STRIPE_CODES),
    ("authentication_required", Customer, Ignored, SMART_RETRIES),
    ("authentication_not_handled", Customer, Ignored, STRIPE_CODES),
    (
        "payment_intent_authentication_failure",
        Customer,
        Ignored,
        STRIPE_ERRORS,
    ),
    (
        "mobile_device_authentication_required",
        Customer,
        Ignored,
        STRIPE_CODES,
    ),
    ("incorrect_cvc", Customer, Overrules, STRIPE_CODES),
    ("invalid_cvc", Customer, Overrules, STRIPE_CODES),
    ("incorrect_zip", Customer, Overrules, STRIPE_CODES),
    ("incorrect_address", Customer, Overrules, STRIPE_CODES),
    ("incorrect_pin", Customer, Overrules, STRIPE_CODES),
    ("invalid_pin", Customer, Overrules, STRIPE_CODES),
    ("invalid_expiry_*", Customer, Overrules, STRIPE_CODES),
    ("call_issuer", Customer, Overrules, STRIPE_CODES),
    ("approve_with_id", Customer, Overrules, STRIPE_CODES),
    ("offline_pin_required", Customer, Overrules, STRIPE_CODES),
    (
        "online_or_offline_pin_required",
        Customer,
        Overrules,
        STRIPE_CODES,
    ),
    ("insufficient_funds", Soft, Overrules, STRIPE_CODES),
    ("card_velocity_exceeded", Soft, Overrules, STRIPE_CODES),
    ("withdrawal_count_limit_exceeded", Soft, Overrules, STRIPE_CODES),
    ("generic_decline", Soft, Overrules, STRIPE_CODES),
    ("do_not_honor", Soft, Overrules, STRIPE_CODES),
    ("issuer_not_available", Soft, Overrules, STRIPE_CODES),
    ("processing_error", Soft, Overrules, STRIPE_CODES),
    ("reenter_transaction", Soft, Overrules, STRIPE_CODES),
    ("try_again_later", Soft, Overrules, STRIPE_CODES),
    ("no_action_taken", Soft, Overrules, STRIPE_CODES),
    ("not_permitted", Soft, Overrules, STRIPE_CODES),
    ("service_not_allowed", Soft, Overrules, STRIPE_CODES),
    ("duplicate_transaction", Check, Ignored, STRIPE_CODES),
    ("invalid_amount", Bug, Ignored, STRIPE_CODES),
    ("testmode_decline", Bug, Ignored, STRIPE_CODES),
    ("live_mode_test_card", Bug, Ignored, STRIPE_CODES),
    ("amount_too_small", Bug, Ignored, STRIPE_ERRORS),
    ("amount_too_large", Bug, Ignored, STRIPE_ERRORS),
    ("parameter_*", Bug, Ignored, STRIPE_ERRORS),
];

const ADVICE: &[(&str, DeclineClass)] = &[
    ("do_not_try_again", Hard),
    ("confirm_card_data", Customer),
    ("try_again_later", Soft),
];

/// Raw codes after which Visa bills every further attempt. Other networks use the same numbers for the same things.
const CATEGORY_1: &[&str] = &[
    "04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3",
];

impl DeclineClass {
    /// The word of `payment_attempts.failure_class` and of the invoice document, which have no word for `check`: it is
    /// kept as `bug`, because a person has to look and no other card would help.
    #[must_use]
    pub const fn failure_class(self) -> &'static str {
        match self {
            Self::Check => Self::Bug.as_str(),
            Self::Soft | Self::Hard | Self::Customer | Self::Bug => self.as_str(),
        }
    }
}

/// Classes a decline. In order: a code that no advice changes; the network's category 1, which makes the same card
/// pointless; advice that overrules; the code; and soft when nothing is known.
#[must_use]
pub fn classify(codes: &DeclineCodes) -> Classified {
    let classified = |class, rule, source| Classified {
        class,
        rule,
        source,
        version: VERSION,
    };
    let by_code = [&codes.decline_code, &codes.code]
        .into_iter()
        .flatten()
        .find_map(|code| rule_for(code));

    if let Some((rule, class, Advice::Ignored, source)) = by_code {
        return classified(*class, rule, source);
    }
    let advised = codes
        .advice_code
        .as_deref()
        .and_then(|advice| ADVICE.iter().find(|(known, _)| *known == advice));
    if codes.network_decline_code.as_deref().is_some_and(is_category_1) {
        return classified(Hard, "network_category_1", VISA);
    }
    if let Some((advice, class)) = advised {
        return classified(*class, advice, STRIPE_ADVICE);
    }
    match by_code {
        Some((rule, class, Advice::Overrules | Advice::Ignored, source)) => classified(*class, rule, source),
        None => classified(Soft, "unknown", DEFAULT),
    }
}

fn rule_for(code: &str) -> Option<&'static (&'static str, DeclineClass, Advice, &'static str)> {
    RULES
        .iter()
        .find(|(pattern, ..)| match pattern.strip_suffix('*') {
            Some(prefix) => code.starts_with(prefix),
            None => *pattern == code,
        })
}

fn is_category_1(raw: &str) -> bool {
    CATEGORY_1.iter().any(|known| known.eq_ignore_ascii_case(raw))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decline(decline_code: &str) -> DeclineCodes {
        DeclineCodes {
            code: Some("card_declined".into()),
            decline_code: Some(decline_code.into()),
            ..DeclineCodes::default()
        }
    }

    fn advised(decline_code: &str, advice: &str) -> DeclineCodes {
        DeclineCodes {
            advice_code: Some(advice.into()),
            ..decline(decline_code)
        }
    }

    #[test]
    fn a_code_is_classed_by_the_table() {
        for (code, class) in [
            ("insufficient_funds", Soft),
            ("generic_decline", Soft),
            ("lost_card", Hard),
            ("expired_card", Hard),
            ("authentication_required", Customer),
            ("incorrect_cvc", Customer),
            ("invalid_expiry_year", Customer),
            ("duplicate_transaction", Check),
            ("parameter_missing", Bug),
        ] {
            let found = classify(&decline(code));
            assert_eq!(found.class, class, "{code}");
            assert_eq!(found.version, VERSION);
        }
    }

    #[test]
    fn the_code_of_the_error_counts_when_the_decline_code_is_absent_or_unknown() {
        let code = Some("expired_card".to_owned());
        assert_eq!(
            classify(&DeclineCodes {
                code: code.clone(),
                ..DeclineCodes::default()
            })
            .rule,
            "expired_card"
        );
        assert_eq!(
            classify(&DeclineCodes {
                code,
                ..decline("novel_code")
            })
            .rule,
            "expired_card"
        );
    }

    #[test]
    fn an_unknown_code_is_soft() {
        for codes in [
            DeclineCodes::default(),
            decline("novel_code"),
            decline(""),
            advised("novel_code", "novel_advice"),
        ] {
            let found = classify(&codes);
            assert_eq!((found.class, found.rule), (Soft, "unknown"), "{codes:?}");
        }
    }

    #[test]
    fn advice_overrules_the_table() {
        for (code, advice, class) in [
            ("insufficient_funds", "do_not_try_again", Hard),
            ("generic_decline", "confirm_card_data", Customer),
            ("expired_card", "try_again_later", Soft),
            ("novel_code", "do_not_try_again", Hard),
        ] {
            let found = classify(&advised(code, advice));
            assert_eq!(
                (found.class, found.rule, found.source),
                (class, advice, STRIPE_ADVICE),
                "{code} {advice}"
            );
        }
    }

    #[test]
    fn no_advice_reopens_what_stripe_would_not_try_again() {
        for (code, class) in [
            ("stolen_card", Hard),
            ("authentication_required", Customer),
            ("duplicate_transaction", Check),
        ] {
            for (advice, _) in ADVICE {
                assert_eq!(classify(&advised(code, advice)).class, class, "{code} {advice}");
            }
        }
    }

    /// B-24.
    #[test]
    fn a_network_code_of_category_1_is_hard_whatever_the_advice() {
        for raw in ["04", "57", "R0", "r1"] {
            let codes = DeclineCodes {
                network_decline_code: Some(raw.into()),
                ..advised("generic_decline", "try_again_later")
            };
            assert_eq!(
                (classify(&codes).class, classify(&codes).source),
                (Hard, VISA),
                "{raw}"
            );
        }
        for raw in ["51", "4", "", "570"] {
            let codes = DeclineCodes {
                network_decline_code: Some(raw.into()),
                ..decline("generic_decline")
            };
            assert_eq!(classify(&codes).class, Soft, "{raw}");
        }
    }

    #[test]
    fn every_rule_has_one_code_and_is_reachable() {
        for (position, (pattern, class, ..)) in RULES.iter().enumerate() {
            let code = pattern.replace('*', "x");
            let found = classify(&decline(&code));
            assert_eq!(
                (found.rule, found.class),
                (*pattern, *class),
                "rule {position} is hidden by another"
            );
        }
    }

    #[test]
    fn a_possible_duplicate_is_kept_as_something_for_a_person() {
        assert_eq!(Check.failure_class(), "bug");
        assert_eq!(Soft.failure_class(), "soft");
    }

    fn any_code() -> impl Strategy<Value = Option<String>> {
        let known: Vec<&str> = RULES
            .iter()
            .map(|(code, ..)| *code)
            .chain(ADVICE.iter().map(|a| a.0))
            .chain(CATEGORY_1.iter().copied())
            .collect();
        prop::option::of(prop_oneof![
            prop::sample::select(known).prop_map(str::to_owned),
            "\\PC{0,12}"
        ])
    }

    proptest! {
        #[test]
        fn any_codes_get_a_class_with_a_rule_and_a_source(
            code in any_code(), decline_code in any_code(), advice_code in any_code(), network_decline_code in any_code(),
        ) {
            let found = classify(&DeclineCodes { code, decline_code, advice_code, network_decline_code });
            prop_assert!(!found.rule.is_empty() && !found.source.is_empty());
        }
    }
}
