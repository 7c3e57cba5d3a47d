//! Every object in its old and its new shape.
use serde_json::{Value, json};

use super::*;

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn seconds(at: chrono::DateTime<chrono::Utc>) -> i64 {
    at.timestamp()
}

#[test]
fn new_intent_has_its_charge_and_the_reasons_of_the_failure() {
    let intent = PaymentIntent::parse(&fixture(include_str!("../fixtures/payment_intent.new.json"))).unwrap();
    assert_eq!(
        (intent.id.as_str(), intent.status.as_str()),
        ("pi_new", "requires_payment_method")
    );
    assert_eq!(
        (intent.amount, intent.amount_received, intent.currency.as_str()),
        (12500, 0, "usd")
    );
    assert_eq!(
        (intent.customer.as_deref(), seconds(intent.created)),
        (Some("cus_1"), 1_790_000_000)
    );
    // What is no text in the metadata is not ours.
    assert_eq!(
        intent.metadata.into_iter().collect::<Vec<_>>(),
        [("cycle_id".into(), "0199-cycle".into())]
    );
    let charge = intent.latest_charge.unwrap();
    assert_eq!(
        (charge.id.as_str(), charge.charge.unwrap().failure_code.as_deref()),
        ("ch_new", Some("card_declined"))
    );
    let text = |s: &str| Some(s.to_owned());
    assert_eq!(
        intent.last_payment_error.unwrap(),
        PaymentError {
            code: text("card_declined"),
            decline_code: text("insufficient_funds"),
            advice_code: text("try_again_later"),
            network_advice_code: text("02"),
            network_decline_code: text("51"),
            charge: text("ch_new"),
            payment_method: text("pm_1"),
        }
    );
}

#[test]
fn old_intent_has_its_charge_in_a_list_and_its_customer_expanded() {
    let intent = PaymentIntent::parse(&fixture(include_str!("../fixtures/payment_intent.old.json"))).unwrap();
    assert_eq!(intent.customer.as_deref(), Some("cus_1"));
    assert_eq!(intent.payment_method.as_deref(), Some("card_1"));
    assert_eq!(intent.invoice.as_deref(), Some("in_1"));
    assert_eq!(intent.last_payment_error, None);
    let charge = intent.latest_charge.unwrap();
    let whole = charge.charge.unwrap();
    assert_eq!(
        (charge.id.as_str(), whole.amount_captured, whole.amount_refunded),
        ("ch_second", 2000, 500)
    );
    assert!(whole.paid && !whole.refunded && !whole.disputed);
}

#[test]
fn intent_without_an_expanded_charge_still_names_it() {
    let mut intent = fixture(include_str!("../fixtures/payment_intent.new.json"));
    intent["latest_charge"] = json!("ch_new");
    let charge = PaymentIntent::parse(&intent).unwrap().latest_charge.unwrap();
    assert_eq!(
        charge,
        ChargeRef {
            id: "ch_new".into(),
            charge: None
        }
    );
    // Neither does one that we cannot read whole hide its id.
    intent["latest_charge"] = json!({ "id": "ch_new", "object": "charge", "amount": "12500" });
    assert_eq!(
        PaymentIntent::parse(&intent).unwrap().latest_charge.unwrap().id,
        "ch_new"
    );
}

#[test]
fn advice_that_only_the_charge_has_is_found() {
    let mut intent = fixture(include_str!("../fixtures/payment_intent.new.json"));
    intent["last_payment_error"] = json!({ "type": "card_error", "code": "card_declined" });
    let error = PaymentIntent::parse(&intent).unwrap().last_payment_error.unwrap();
    assert_eq!(error.advice_code.as_deref(), Some("try_again_later"));
    assert_eq!(
        (error.network_decline_code.as_deref(), error.charge.as_deref()),
        (Some("51"), Some("ch_new"))
    );
    // Another charge's advice is no advice for this failure.
    intent["last_payment_error"]["charge"] = json!("ch_earlier");
    assert_eq!(
        PaymentIntent::parse(&intent)
            .unwrap()
            .last_payment_error
            .unwrap()
            .advice_code,
        None
    );
}

#[test]
fn old_charge_says_captured_and_disputed_in_other_words() {
    let charge = Charge::parse(&fixture(include_str!("../fixtures/charge.old.json"))).unwrap();
    assert_eq!(
        (
            charge.amount_captured,
            charge.amount_refunded,
            charge.currency.as_str()
        ),
        (900, 900, "jpy")
    );
    assert!(charge.disputed && charge.refunded);
    assert_eq!(charge.payment_method.as_deref(), Some("card_1"));
}

#[test]
fn dispute_has_its_movements_as_objects_or_as_ids() {
    let new = Dispute::parse(&fixture(include_str!("../fixtures/dispute.new.json"))).unwrap();
    let net: Vec<i64> = new
        .balance_transactions
        .iter()
        .map(|movement| movement.net)
        .collect();
    assert_eq!(
        (net, new.unread_balance_transactions.is_empty()),
        (vec![-2500, 1000], true)
    );
    assert_eq!(new.network_reason_code.as_deref(), Some("10.4"));
    assert_eq!(new.due_by.map(seconds), Some(1_791_000_000));

    let old = Dispute::parse(&fixture(include_str!("../fixtures/dispute.old.json"))).unwrap();
    assert_eq!(
        (old.balance_transactions.len(), old.unread_balance_transactions),
        (0, vec!["txn_1".to_owned()])
    );
    assert_eq!(
        (old.charge.as_str(), old.network_reason_code.as_deref()),
        ("ch_1", Some("4853"))
    );
    assert!(old.is_charge_refundable && old.due_by.is_none() && old.payment_intent.is_none());
}

#[test]
fn movement_of_money_that_cannot_be_read_is_an_error_and_not_a_zero() {
    let mut dispute = fixture(include_str!("../fixtures/dispute.new.json"));
    dispute["balance_transactions"][1]["fee"] = json!("15.00");
    let fault = Dispute::parse(&dispute).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "dispute.balance_transactions[1].fee is not an integer"
    );
}

#[test]
fn card_details_are_inside_a_payment_method_or_are_the_object_itself() {
    let card =
        json!({ "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2030, "fingerprint": "fp" });
    let new = json!({ "id": "pm_1", "object": "payment_method", "type": "card", "customer": "cus_1", "card": card });
    let mut old = card.clone();
    old["id"] = json!("pm_1");
    old["customer"] = json!("cus_1");
    let new = PaymentMethod::parse(&new).unwrap();
    assert_eq!(new, PaymentMethod::parse(&old).unwrap());
    assert_eq!((new.last4.as_deref(), new.exp_year), (Some("4242"), Some(2030)));
    let debit =
        json!({ "id": "pm_2", "type": "sepa_debit", "customer": null, "sepa_debit": { "last4": "3000" } });
    let debit = PaymentMethod::parse(&debit).unwrap();
    assert_eq!((debit.brand, debit.customer), (None, None));
}

#[test]
fn refund_without_a_status_is_of_a_time_when_it_was_final() {
    let mut refund = json!({ "id": "re_1", "object": "refund", "amount": 500, "currency": "usd", "charge": "ch_1",
                             "created": 1_400_000_000, "reason": null });
    assert_eq!(Refund::parse(&refund).unwrap().status, "succeeded");
    refund["status"] = json!("pending");
    refund["charge"] = json!({ "id": "ch_2", "object": "charge" });
    let refund = Refund::parse(&refund).unwrap();
    assert_eq!(
        (refund.status.as_str(), refund.charge.as_deref()),
        ("pending", Some("ch_2"))
    );
}

/// B-22.
#[test]
fn needed_field_that_is_missing_or_wrong_is_named_with_its_path() {
    let whole = fixture(include_str!("../fixtures/payment_intent.new.json"));
    for (field, value, message) in [
        ("amount", Value::Null, "payment_intent.amount is missing"),
        ("amount", json!(12.5), "payment_intent.amount is not an integer"),
        (
            "amount",
            json!("12500"),
            "payment_intent.amount is not an integer",
        ),
        (
            "amount_received",
            json!("0"),
            "payment_intent.amount_received is not an integer",
        ),
        ("status", json!(7), "payment_intent.status is not a string"),
        (
            "created",
            json!("today"),
            "payment_intent.created is not a time in seconds",
        ),
    ] {
        let mut intent = whole.clone();
        intent[field] = value;
        assert_eq!(PaymentIntent::parse(&intent).unwrap_err().to_string(), message);
    }
    assert_eq!(
        Charge::parse(&json!([])).unwrap_err().to_string(),
        "charge is not an object"
    );
    let page = json!({ "data": [{ "id": "re_1" }], "has_more": false });
    assert_eq!(
        Page::<Refund>::parse(&page).unwrap_err().to_string(),
        "refund.amount is missing"
    );
    assert_eq!(
        Page::<Refund>::parse(&json!({})).unwrap_err().to_string(),
        "list.data is missing"
    );
}
