//! The shape of `invoice show` is a contract; its text is for people.

use shared::store::invoices_read::{Autopay, Line, Payment, Period, Refund};
use uuid::Uuid;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn attempt(number: i32, day: &str, state: &str) -> Attempt {
    let declined = state == "declined";
    Attempt {
        number,
        trigger: if number == 0 { "auto" } else { "retry" }.into(),
        state: state.into(),
        failure_class: declined.then(|| "soft".into()),
        failure_code: declined.then(|| "card_declined".into()),
        decline_code: declined.then(|| "insufficient_funds".into()),
        amount_minor: 100_000,
        payment_method: "pm_1".into(),
        stripe_payment_intent_id: Some("pi_1".into()),
        stripe_charge_id: Some(format!("ch_{number}")),
        at: at(&format!("{day}T02:00:00Z")),
        resolved_at: Some(at(&format!("{day}T02:00:02Z"))),
    }
}

fn invoice() -> InvoiceView {
    InvoiceView {
        id: Uuid::nil(),
        number: Some("PKG-0001-000001".into()),
        external_id: None,
        firm: "acme".into(),
        client: "globex".into(),
        engagement: Some("globex-retainer".into()),
        currency: "usd".into(),
        being_voided: false,
        status: "failed".into(),
        subtotal_minor: 100_000,
        tax_minor: 0,
        total_minor: 100_000,
        paid_minor: 0,
        credited_minor: 0,
        refunded_minor: 0,
        charged_back_minor: 0,
        open_minor: 100_000,
        issue_date: Some("2026-01-01".parse().unwrap()),
        due_date: Some("2026-01-31".parse().unwrap()),
        issued_at: Some(at("2026-01-01T01:59:00Z")),
        period: Some(Period {
            start: "2026-01-01".parse().unwrap(),
            end: "2026-02-01".parse().unwrap(),
        }),
        fenced_reason: None,
        lines: vec![Line {
            kind: "package_fee".into(),
            description_code: "package_fee".into(),
            amount_minor: 100_000,
            time: None,
        }],
        autopay: Autopay {
            opt_in: true,
            state: "retry_wait".into(),
            reason: None,
            next_charge_at: Some(at("2026-01-04T02:00:00Z")),
            waits_until: None,
        },
        attempts: vec![attempt(0, "2026-01-01", "declined")],
        payments: Vec::new(),
        refunds: Vec::new(),
        disputes: Vec::new(),
    }
}

/// R026.
#[test]
fn an_invoice_that_waits_for_a_retry_is_shown_in_the_promised_shape() {
    insta::assert_json_snapshot!(invoice());
}

#[test]
fn what_happened_to_an_invoice_is_told_in_order() {
    let mut paid = invoice();
    paid.status = "disputed".into();
    paid.paid_minor = 100_000;
    paid.refunded_minor = 1_000;
    paid.open_minor = 0;
    paid.autopay.state = "succeeded".into();
    paid.autopay.next_charge_at = None;
    paid.attempts.push(attempt(1, "2026-01-04", "succeeded"));
    paid.payments.push(Payment {
        id: Uuid::nil(),
        method: "stripe".into(),
        amount_minor: 100_000,
        stripe_charge_id: Some("ch_1".into()),
        stripe_payment_intent_id: Some("pi_1".into()),
        reference: None,
        received_at: at("2026-01-04T02:00:02Z"),
    });
    paid.refunds.push(Refund {
        id: Uuid::nil(),
        stripe_refund_id: Some("re_1".into()),
        amount_minor: 1_000,
        to: "card".into(),
        state: "succeeded".into(),
        failure_code: None,
        reason: "requested_by_customer".into(),
        at: at("2026-01-05T09:00:00Z"),
    });
    paid.disputes.push(Dispute {
        id: "dp_1".into(),
        kind: "chargeback".into(),
        status: "needs_response".into(),
        outcome: None,
        amount_minor: 100_000,
        reason: Some("fraudulent".into()),
        respond_by: Some(at("2026-01-20T23:59:00Z")),
        opened_at: at("2026-01-06T09:00:00Z"),
        closed_at: None,
    });
    insta::assert_snapshot!(describe(&paid));
}

#[test]
fn amounts_have_the_decimals_of_their_currency() {
    assert_eq!(amount(500, "jpy"), "500 JPY");
    assert_eq!(amount(500, "xxx"), "500 minor units of xxx");
}
