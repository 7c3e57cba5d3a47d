//! Stripe's events, by family. An event is a hint: its object is fetched and applied, whatever the event itself said.
//!
//! Each family has a `fetch` (no transaction open; reads Stripe) and an `apply` (the event's transaction). Types that are
//! not in [`family`] are stored, counted and left alone.
pub mod charge;
pub mod dispute;
pub mod intent;
pub mod payment_method;
pub mod platform;

mod dispute_alert;

use serde_json::Value;
use shared::store::inbox::InboxEvent;

use crate::{queue::JobError, stripe};

/// Why an event's object could not be fetched.
#[derive(Debug)]
pub enum Unfetched {
    /// Stripe does not know it, or not yet: an event may be faster than what it tells of. It is asked for again.
    NotThere(String),
    /// No usable answer.
    Failed(JobError),
}

impl From<stripe::Error> for Unfetched {
    fn from(error: stripe::Error) -> Self {
        match error {
            stripe::Error::NotFound { .. } => Unfetched::NotThere(error.to_string()),
            other => Unfetched::Failed(other.into()),
        }
    }
}

impl From<JobError> for Unfetched {
    fn from(error: JobError) -> Self {
        Unfetched::Failed(error)
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A PaymentIntent.
    Intent,
    /// A charge, or a refund of one.
    Charge,
    /// A dispute.
    Dispute,
    /// A stored card.
    PaymentMethod,
    /// An invoice of Stripe Billing: a client's when its PaymentIntent is, else one of platform billing.
    StripeInvoice,
    /// A subscription, or a page on which one was begun: of platform billing.
    Subscription,
}

/// The types of platform billing, which a backfill asks for by themselves: Stripe takes twenty types per call.
pub const OF_PLATFORM: [&str; 14] = [
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "checkout.session.completed",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.updated",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice.payment_action_required",
    "invoice.overdue",
];

/// The types of client billing that we do something about, and those that both billings have: what a backfill asks Stripe for.
pub const HANDLED: [&str; 19] = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.canceled",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "charge.refunded",
    "charge.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
    "payment_method.automatically_updated",
];

/// What a sweep found: an object of Stripe's that the books do not show as it is. Named by ourselves, so that nobody takes it
/// for something that Stripe has said.
pub const SWEPT: [(&str, Family); 4] = [
    ("sweep.payment_intent", Family::Intent),
    ("sweep.charge", Family::Charge),
    ("sweep.refund", Family::Charge),
    ("sweep.dispute", Family::Dispute),
];

/// The family of an event type; `None` for types that we leave alone.
#[must_use]
pub fn family(event_type: &str) -> Option<Family> {
    if let Some((_, family)) = SWEPT.iter().find(|(swept, _)| *swept == event_type) {
        return Some(*family);
    }
    Some(match event_type {
        "payment_intent.succeeded"
        | "payment_intent.payment_failed"
        | "payment_intent.processing"
        | "payment_intent.requires_action"
        | "payment_intent.canceled" => Family::Intent,
        "charge.refunded"
        | "charge.updated"
        | "refund.created"
        | "refund.updated"
        | "refund.failed"
        | "charge.refund.updated" => Family::Charge,
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated"
        | "charge.dispute.closed" => Family::Dispute,
        "payment_method.automatically_updated" => Family::PaymentMethod,
        "invoice.payment_succeeded"
        | "invoice.payment_failed"
        | "invoice.created"
        | "invoice.finalized"
        | "invoice.paid"
        | "invoice.updated"
        | "invoice.voided"
        | "invoice.marked_uncollectible"
        | "invoice.payment_action_required"
        | "invoice.overdue" => Family::StripeInvoice,
        "customer.subscription.created"
        | "customer.subscription.updated"
        | "customer.subscription.deleted"
        | "customer.subscription.paused"
        | "customer.subscription.resumed"
        | "checkout.session.completed" => Family::Subscription,
        _ => return None,
    })
}

/// The ids by which an event of client billing may be known to us, most telling first. Whose a subscription is, `platform` knows.
#[must_use]
pub fn known_by(event: &InboxEvent, family: Family) -> Vec<String> {
    let fact = |name: &str| event.facts[name].as_str().map(str::to_owned);
    let object = event.object_id.clone();
    let ids = match family {
        Family::Intent | Family::PaymentMethod => vec![object],
        Family::Charge => vec![fact("payment_intent"), fact("charge"), object],
        Family::Dispute => vec![object, fact("payment_intent"), fact("charge")],
        Family::StripeInvoice => invoice_intents(event),
        Family::Subscription => Vec::new(),
    };
    ids.into_iter().flatten().collect()
}

/// The PaymentIntents of a Stripe invoice: a field of its own until 2025-03-31.basil, among its payments since.
fn invoice_intents(event: &InboxEvent) -> Vec<Option<String>> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let payments = event.facts["payments"]["data"].as_array();
    let paid_with = payments
        .into_iter()
        .flatten()
        .map(|p| text(&p["payment"]["payment_intent"]));
    std::iter::once(text(&event.facts["payment_intent"]))
        .chain(paid_with)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known_by_facts(event_type: &str, facts: Value) -> Vec<String> {
        let event = InboxEvent {
            id: "evt_1".into(),
            event_type: event_type.into(),
            object_id: Some("object".into()),
            facts,
            state: "pending".into(),
            received_at: chrono::DateTime::UNIX_EPOCH,
        };
        known_by(&event, family(event_type).unwrap())
    }

    #[test]
    fn an_invoice_of_any_api_version_is_known_by_its_payment_intents() {
        let payment = |intent: &str| json!({"payment": {"type": "payment_intent", "payment_intent": intent}});
        for (facts, wanted) in [
            (json!({"payment_intent": "pi_1"}), vec!["pi_1"]),
            (
                json!({"payments": {"data": [payment("pi_1"), {}, payment("pi_2")]}}),
                vec!["pi_1", "pi_2"],
            ),
            (json!({}), vec![]),
        ] {
            assert_eq!(known_by_facts("invoice.payment_succeeded", facts), wanted);
        }
    }

    /// R081.
    #[test]
    fn every_event_of_the_contract_has_a_family_and_no_other_type_is_guessed() {
        for event in HANDLED.iter().chain(&OF_PLATFORM) {
            assert!(family(event).is_some(), "{event}");
        }
        for event in [
            "customer.updated",
            "charge.dispute",
            "payment_intent.succeeded.v2",
            "",
            "charge.succeeded",
        ] {
            assert!(family(event).is_none(), "{event}");
        }
    }
}
