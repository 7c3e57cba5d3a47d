//! A subscription of Stripe Billing, and the card that it is collected with.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::domain::platform::CardSeen;

use super::{Fields, ShapeError, StripeObject, fields};

/// A subscription, of which the first item counts: ours have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// `sub_…`
    pub id: String,
    /// `cus_…`
    pub customer: Option<String>,
    /// Verbatim: `active`, `past_due`, …
    pub status: String,
    /// `si_…`
    pub item: Option<String>,
    /// `price_…`; a plan's id in the oldest versions.
    pub price: Option<String>,
    /// The item's since 2025-03-31.basil, the subscription's own before.
    pub period_start: Option<DateTime<Utc>>,
    /// As its start.
    pub period_end: Option<DateTime<Utc>>,
    /// It does not renew itself.
    pub cancel_at_period_end: bool,
    /// When its end was asked for.
    pub canceled_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its card, else its customer's, as far as the answer tells of it.
    pub card: Option<CardSeen>,
    /// `in_…`
    pub latest_invoice: Option<String>,
    /// Our own references.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created: DateTime<Utc>,
}

impl StripeObject for Subscription {
    const NAME: &'static str = "subscription";

    fn read(subscription: &Fields<'_>) -> Result<Self, ShapeError> {
        let first = subscription.entries("items").first();
        let path = subscription.entry_path("items", 0);
        let item = first.and_then(|item| Fields::of(&path, item).ok());
        let of_item = |name: &str| item.as_ref().and_then(|item| item.time_if_any(name));
        let customer = subscription.child("customer");
        let customers_card = customer
            .as_ref()
            .and_then(|customer| customer.child("invoice_settings"))
            .and_then(|settings| settings.get("default_payment_method").and_then(card));
        Ok(Self {
            id: subscription.text("id")?,
            customer: subscription.reference("customer"),
            status: subscription.text("status")?,
            item: item.as_ref().and_then(|item| item.text_if_any("id")),
            price: item
                .as_ref()
                .and_then(|item| item.reference("price").or_else(|| item.reference("plan"))),
            period_start: of_item("current_period_start")
                .or_else(|| subscription.time_if_any("current_period_start")),
            period_end: of_item("current_period_end")
                .or_else(|| subscription.time_if_any("current_period_end")),
            cancel_at_period_end: subscription.flag_if_any("cancel_at_period_end").unwrap_or(false),
            canceled_at: subscription.time_if_any("canceled_at"),
            ended_at: subscription.time_if_any("ended_at"),
            card: subscription
                .get("default_payment_method")
                .and_then(card)
                .or(customers_card),
            latest_invoice: subscription.reference("latest_invoice"),
            metadata: subscription.metadata(),
            created: subscription.time("created")?,
        })
    }
}

/// A card where it is an object, its id alone where it is not.
fn card(value: &Value) -> Option<CardSeen> {
    let id = fields::reference(value)?;
    let card = &value["card"];
    let number = |name: &str| card[name].as_i64().and_then(|number| i32::try_from(number).ok());
    Some(CardSeen {
        id,
        brand: card["brand"].as_str().map(str::to_owned),
        last4: card["last4"].as_str().map(str::to_owned),
        exp_month: number("exp_month"),
        exp_year: number("exp_year"),
    })
}

/// Anything of which only the id matters: a customer that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made(pub String);

impl StripeObject for Made {
    const NAME: &'static str = "object";

    fn read(made: &Fields<'_>) -> Result<Self, ShapeError> {
        Ok(Self(made.text("id")?))
    }
}

/// A page of Stripe's that a firm is sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionPage {
    /// Where. Whoever has it may act for the firm: never logged.
    pub url: String,
    /// Until when it works, where Stripe says so.
    pub expires_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for SessionPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionPage")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl StripeObject for SessionPage {
    const NAME: &'static str = "session";

    fn read(session: &Fields<'_>) -> Result<Self, ShapeError> {
        Ok(Self {
            url: session.text("url")?,
            expires_at: session.time_if_any("expires_at"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b22_periods_and_prices_are_read_from_either_shape() {
        let old = json!({"id": "sub_1", "customer": "cus_1", "status": "active", "created": 1, "current_period_start": 10,
            "current_period_end": 20, "cancel_at_period_end": true, "default_payment_method": "pm_1", "latest_invoice": "in_1",
            "items": {"data": [{"id": "si_1", "plan": {"id": "price_1"}}]}});
        let card = json!({"id": "pm_1", "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2030}});
        let new = json!({"id": "sub_1", "status": "active", "created": 1, "cancel_at_period_end": true, "latest_invoice": {"id": "in_1"},
            "customer": {"id": "cus_1", "invoice_settings": {"default_payment_method": card}}, "default_payment_method": null,
            "items": {"data": [{"id": "si_1", "price": {"id": "price_1"}, "current_period_start": 10, "current_period_end": 20}]}});
        let old = Subscription::parse(&old).unwrap();
        let mut new = Subscription::parse(&new).unwrap();
        let seen = new.card.take().unwrap();
        assert_eq!((seen.last4.as_deref(), seen.exp_year), (Some("4242"), Some(2030)));
        assert_eq!(old.card.as_ref().map(|card| card.id.as_str()), Some("pm_1"));
        assert_eq!(
            new,
            Subscription {
                card: None,
                ..old.clone()
            }
        );
        assert_eq!(old.period_end.map(|end| end.timestamp()), Some(20));
    }
}
