//! What Stripe answers, in any shape: an object that says what the answer says, or a fault that names the field.
#![no_main]

use fuzz::stripe::objects::{
    Charge, Dispute, Page, PaymentIntent, PaymentMethod, Refund, ShapeError, StripeObject,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    // An event carries its object inside.
    let object = value.pointer("/data/object").unwrap_or(&value);
    let amount = object.get("amount").and_then(Value::as_i64);
    let id = object.get("id").and_then(Value::as_str);
    if let Some(charge) = read::<Charge>(object) {
        assert_eq!((Some(charge.id.as_str()), Some(charge.amount)), (id, amount));
    }
    if let Some(intent) = read::<PaymentIntent>(object) {
        assert_eq!((Some(intent.id.as_str()), Some(intent.amount)), (id, amount));
    }
    if let Some(refund) = read::<Refund>(object) {
        assert_eq!((Some(refund.id.as_str()), Some(refund.amount)), (id, amount));
    }
    if let Some(dispute) = read::<Dispute>(object) {
        assert_eq!((Some(dispute.id.as_str()), Some(dispute.amount)), (id, amount));
    }
    if let Some(method) = read::<PaymentMethod>(object) {
        assert_eq!(Some(method.id.as_str()), id);
    }
    if let Some(page) = read::<Page<Charge>>(object) {
        let entries = object.get("data").and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!(page.data.len(), entries, "no entry is lost");
    }
});

fn read<T: StripeObject>(value: &Value) -> Option<T> {
    let read: Result<T, ShapeError> = T::parse(value);
    match read {
        Ok(object) => Some(object),
        Err(fault) => {
            assert!(fault.to_string().contains(T::NAME), "{fault} does not say where");
            None
        }
    }
}
