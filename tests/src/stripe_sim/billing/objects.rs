//! Objects of Stripe Billing as JSON, in today's shape and in the old one: a subscription's period stands on its items since
//! 2025-03-31.basil and on itself before; an invoice names its subscription in its parent and its payments on demand, and had fields
//! for both before.
use serde_json::{Value, json};

use super::model::{Invoice, InvoiceStatus, Line, Price, Product, Session, Subscription};
use crate::stripe_sim::objects::Shape;
use crate::stripe_sim::state::State;

/// A product.
pub fn product(product: &Product) -> Value {
    json!({"id": product.id, "object": "product", "created": product.created, "livemode": false, "active": true, "name": product.name,
           "metadata": product.metadata})
}

/// A price.
pub fn price(price: &Price) -> Value {
    json!({"id": price.id, "object": "price", "created": price.created, "livemode": false, "active": true, "product": price.product,
           "unit_amount": price.unit_amount, "currency": price.currency, "type": "recurring", "metadata": price.metadata,
           "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"}})
}

/// A subscription.
pub fn subscription(state: &State, row: &Subscription, shape: Shape) -> Value {
    let its_price = state.prices.get(&row.price).map(price);
    let mut item = json!({"id": row.item, "object": "subscription_item", "created": row.created, "quantity": 1, "price": its_price,
                          "subscription": row.id, "metadata": {}});
    let mut object = json!({"id": row.id, "object": "subscription", "created": row.created, "livemode": false, "customer": row.customer,
        "status": row.status, "cancel_at_period_end": row.cancel_at_period_end, "canceled_at": row.canceled_at,
        "cancel_at": row.cancel_at_period_end.then_some(row.period_end), "ended_at": row.ended_at, "start_date": row.created,
        "billing_cycle_anchor": row.anchor, "collection_method": "charge_automatically", "latest_invoice": row.latest_invoice,
        "default_payment_method": row.default_payment_method, "metadata": row.metadata});
    match shape {
        Shape::New => {
            item["current_period_start"] = json!(row.period_start);
            item["current_period_end"] = json!(row.period_end);
        }
        Shape::Old => {
            object["current_period_start"] = json!(row.period_start);
            object["current_period_end"] = json!(row.period_end);
            object["plan"] = json!({"id": row.price, "object": "plan"});
            item["plan"] = object["plan"].clone();
        }
    }
    object["items"] = json!({"object": "list", "data": [item], "has_more": false,
                             "url": format!("/v1/subscription_items?subscription={}", row.id)});
    object
}

fn line(line: &Line, number: usize, invoice: &Invoice) -> Value {
    json!({"id": format!("il_{}_{number}", invoice.id), "object": "line_item", "amount": line.amount, "currency": invoice.currency,
           "period": {"start": line.start, "end": line.end}, "proration": line.proration, "price": {"id": line.price, "object": "price"}})
}

/// An invoice.
pub fn invoice(state: &State, row: &Invoice, shape: Shape) -> Value {
    let due = row.due();
    let lines: Vec<Value> = row
        .lines
        .iter()
        .enumerate()
        .map(|(n, one)| line(one, n, row))
        .collect();
    let is_final = row.status != InvoiceStatus::Draft;
    let page = format!("https://invoice.stripe.sim/{}", row.id);
    let mut object = json!({"id": row.id, "object": "invoice", "created": row.created, "livemode": false, "customer": row.customer,
        "number": is_final.then_some(&row.number), "status": row.status, "currency": row.currency, "billing_reason": row.billing_reason,
        "amount_due": due, "amount_paid": row.amount_paid, "amount_remaining": due - row.amount_paid, "total": due, "subtotal": due,
        "attempt_count": row.attempt_count, "attempted": row.attempt_count > 0, "next_payment_attempt": row.next_attempt,
        "collection_method": "charge_automatically", "auto_advance": row.status == InvoiceStatus::Open, "due_date": null,
        "period_start": row.period_start, "period_end": row.period_end, "metadata": {},
        "hosted_invoice_url": is_final.then_some(&page), "invoice_pdf": is_final.then(|| format!("{page}/pdf")),
        "status_transitions": {"finalized_at": row.finalized_at, "paid_at": row.paid_at, "voided_at": null,
                               "marked_uncollectible_at": null},
        "lines": {"object": "list", "data": lines, "has_more": false, "url": format!("/v1/invoices/{}/lines", row.id)}});
    match shape {
        Shape::New => {
            object["parent"] = json!({"type": "subscription_details", "quote_details": null,
                                      "subscription_details": {"subscription": row.subscription, "metadata": {}}});
        }
        Shape::Old => {
            let charge = row
                .intent
                .as_ref()
                .and_then(|id| state.intents.get(id)?.latest_charge());
            object["subscription"] = json!(row.subscription);
            object["payment_intent"] = json!(row.intent);
            object["charge"] = json!(charge);
            object["paid"] = json!(row.status == InvoiceStatus::Paid);
        }
    }
    object
}

/// What an invoice was paid with: an object of its own since 2025-03-31.basil, there only when asked for.
pub fn payments(state: &State, invoice: &str) -> Value {
    let row = state.invoices.get(invoice);
    let payment = row.and_then(|row| {
        let intent = row.intent.as_ref()?;
        let status = if row.status == InvoiceStatus::Paid {
            "paid"
        } else {
            "open"
        };
        Some(json!({"id": format!("inpay_{}", row.id), "object": "invoice_payment", "invoice": row.id, "status": status,
                    "amount_paid": row.amount_paid, "payment": {"type": "payment_intent", "payment_intent": intent}}))
    });
    let data: Vec<Value> = payment.into_iter().collect();
    json!({"object": "list", "data": data, "has_more": false, "url": "/v1/invoice_payments"})
}

/// A page of the billing portal, or of a checkout.
pub fn session(row: &Session) -> Value {
    match &row.price {
        None => {
            json!({"id": row.id, "object": "billing_portal.session", "created": row.created, "livemode": false,
                       "customer": row.customer, "return_url": row.return_url,
                       "url": format!("https://billing.stripe.sim/session/{}", row.id)})
        }
        Some(_) => {
            json!({"id": row.id, "object": "checkout.session", "created": row.created, "livemode": false, "mode": "subscription",
                          "customer": row.customer, "success_url": row.return_url, "cancel_url": row.return_url,
                          "subscription": row.subscription, "metadata": {},
                          "status": if row.subscription.is_some() { "complete" } else { "open" },
                          "payment_status": if row.subscription.is_some() { "paid" } else { "unpaid" },
                          "expires_at": row.created + 24 * 3600, "url": format!("https://checkout.stripe.sim/c/{}", row.id)})
        }
    }
}

impl State {
    /// Something happened to a subscription.
    pub fn emit_subscription(&mut self, kind: &str, id: &str) {
        let shape = self.webhooks.settings.shape;
        if let Some(object) = self
            .subscriptions
            .get(id)
            .map(|row| subscription(self, row, shape))
        {
            self.emit(kind, &object, None);
        }
    }

    /// Something happened to an invoice.
    pub fn emit_invoice(&mut self, kind: &str, id: &str) {
        let shape = self.webhooks.settings.shape;
        if let Some(object) = self.invoices.get(id).map(|row| invoice(self, row, shape)) {
            self.emit(kind, &object, None);
        }
    }
}
