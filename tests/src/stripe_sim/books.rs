//! The books: what really happened to money, added up from charges, refunds and movements. Tests count effects by it.
//!
//! Deliberately independent of what intents say about themselves, so that it would show a second capture.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::model::{ChargeStatus, RefundStatus};
use super::state::State;

type Totals = BTreeMap<String, i64>;

/// The whole account.
pub fn books(state: &State) -> Value {
    let mut account = totals(state);
    account["by_payment_intent"] = by_payment_intent(state).into();
    account
}

/// The account without its intents: for whoever asks often.
pub fn totals(state: &State) -> Value {
    let (mut captured, mut refunded, mut refunds_pending) = (Totals::new(), Totals::new(), Totals::new());
    for charge in state
        .charges
        .iter()
        .filter(|charge| charge.status == ChargeStatus::Succeeded)
    {
        add(&mut captured, &charge.currency, charge.amount);
    }
    for refund in state.refunds.iter() {
        match refund.status {
            RefundStatus::Succeeded => add(&mut refunded, &refund.currency, refund.amount),
            RefundStatus::Pending | RefundStatus::RequiresAction => {
                add(&mut refunds_pending, &refund.currency, refund.amount);
            }
            RefundStatus::Failed | RefundStatus::Canceled => {}
        }
    }
    let (mut disputed_net, mut balance_net) = (Totals::new(), Totals::new());
    for row in state.balance.iter() {
        add(&mut balance_net, &row.currency, row.amount - row.fee);
        if row.reporting_category.starts_with("dispute") {
            add(&mut disputed_net, &row.currency, row.amount - row.fee);
        }
    }
    json!({
        "captured_minor": captured,
        "refunded_minor": refunded,
        "refunds_pending_minor": refunds_pending,
        "disputed_net_minor": disputed_net,
        "balance_net_minor": balance_net,
    })
}

fn by_payment_intent(state: &State) -> Map<String, Value> {
    let mut intents = Map::new();
    for intent in state.intents.iter() {
        let charges: Vec<_> = intent
            .charges
            .iter()
            .filter_map(|id| state.charges.get(id))
            .collect();
        let captured: i64 = charges
            .iter()
            .filter(|charge| charge.status == ChargeStatus::Succeeded)
            .map(|charge| charge.amount)
            .sum();
        let refunds = charges
            .iter()
            .flat_map(|charge| &charge.refunds)
            .filter_map(|id| state.refunds.get(id));
        let refunded: i64 = refunds
            .filter(|refund| refund.status == RefundStatus::Succeeded)
            .map(|refund| refund.amount)
            .sum();
        let charges: Vec<Value> = charges
            .iter()
            .map(|charge| json!({ "id": charge.id, "status": charge.status, "amount": charge.amount }))
            .collect();
        intents.insert(intent.id.clone(), json!({
            "status": intent.status, "amount": intent.amount, "currency": intent.currency, "captured": captured,
            "refunded": refunded, "customer": intent.customer, "metadata": intent.metadata, "charges": charges,
        }));
    }
    intents
}

fn add(totals: &mut Totals, currency: &str, amount: i64) {
    *totals.entry(currency.to_owned()).or_default() += amount;
}
