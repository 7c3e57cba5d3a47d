//! What is asked of Stripe Billing: a firm's customer, its subscription, its invoices, and pages that Stripe shows the firm.
//!
//! Requests are written out here, a handful of fields each, in place of async-stripe's modules for them, which would be the
//! largest part of a build.
use std::collections::BTreeMap;

use serde::Serialize;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};

use super::{
    List, Operation,
    client::{Call, Client, checked},
    key::IdempotencyKey,
    objects::{Invoice, Made, SessionPage, Subscription},
    permit::Permit,
    transport::Post,
};

/// Our own references on what we make.
type Metadata<'a> = &'a [(&'a str, String)];

/// A request with its fields.
struct Request<F> {
    method: StripeMethod,
    path: String,
    fields: F,
}

impl<F: Serialize> StripeRequest for Request<F> {
    type Output = ();

    fn build(&self) -> RequestBuilder {
        let request = RequestBuilder::new(self.method, self.path.clone());
        match self.method {
            StripeMethod::Get => request.query(&self.fields),
            StripeMethod::Post | StripeMethod::Delete => request.form(&self.fields),
        }
    }
}

#[derive(Serialize)]
struct Expand {
    expand: &'static [&'static str],
}

/// The card of a subscription, or of its customer.
const WITH_CARD: &[&str] = &[
    "default_payment_method",
    "customer.invoice_settings.default_payment_method",
];
/// What it was paid with, which newer versions leave out unless asked.
const WITH_PAYMENTS: &[&str] = &["payments"];

#[derive(Serialize)]
struct NewCustomer<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    metadata: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Email<'a> {
    email: &'a str,
}

#[derive(Serialize)]
struct PriceOf<'a> {
    price: &'a str,
}

#[derive(Serialize)]
struct NewSubscription<'a> {
    customer: &'a str,
    items: [PriceOf<'a>; 1],
    /// A first payment that fails leaves it incomplete, and its invoice open for a day.
    payment_behavior: &'static str,
    off_session: bool,
    metadata: BTreeMap<&'a str, &'a str>,
    expand: &'static [&'static str],
}

/// A change of a subscription.
#[derive(Clone, Copy, Debug)]
pub enum ChangeSubscription<'a> {
    /// Another price for its item; Stripe credits what is left of the old one and bills the new one with the next invoice.
    Price {
        /// `si_…`
        item: &'a str,
        /// `price_…`
        price: &'a str,
    },
    /// Whether it renews itself.
    Renewal {
        /// On or off.
        on: bool,
    },
}

#[derive(Serialize)]
struct ItemPrice<'a> {
    id: &'a str,
    price: &'a str,
}

#[derive(Serialize)]
struct Changes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<[ItemPrice<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proration_behavior: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_at_period_end: Option<bool>,
    expand: &'static [&'static str],
}

#[derive(Serialize)]
struct Cancel {
    invoice_now: bool,
    prorate: bool,
    expand: &'static [&'static str],
}

#[derive(Serialize)]
struct PortalSession<'a> {
    customer: &'a str,
    return_url: &'a str,
}

#[derive(Serialize)]
struct LineItem<'a> {
    price: &'a str,
    quantity: u32,
}

#[derive(Serialize)]
struct SubscriptionData<'a> {
    metadata: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct CheckoutSession<'a> {
    mode: &'static str,
    customer: &'a str,
    line_items: [LineItem<'a>; 1],
    success_url: &'a str,
    cancel_url: &'a str,
    subscription_data: SubscriptionData<'a>,
}

fn map<'a>(metadata: Metadata<'a>) -> BTreeMap<&'a str, &'a str> {
    metadata
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

impl Client {
    /// Reads a subscription with its card.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn subscription(&self, id: &str) -> Call<Subscription> {
        let request = Request {
            method: StripeMethod::Get,
            path: format!("/subscriptions/{}", checked(id)?),
            fields: Expand { expand: WITH_CARD },
        };
        self.read(Operation::RetrieveSubscription, &request).await
    }

    /// Reads all subscriptions of a customer with their cards, also those that are over.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn subscriptions_of(&self, customer: &str) -> Call<Vec<Subscription>> {
        let all = List::subscriptions_of(customer);
        // Without, one that is found here would be written down as one without a card.
        let all = WITH_CARD
            .iter()
            .fold(all, |list, path| list.expand(&format!("data.{path}")));
        self.pages(all).collect().await
    }

    /// Reads an invoice with what it was paid with.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn invoice(&self, id: &str) -> Call<Invoice> {
        let request = Request {
            method: StripeMethod::Get,
            path: format!("/invoices/{}", checked(id)?),
            fields: Expand {
                expand: WITH_PAYMENTS,
            },
        };
        self.read(Operation::RetrieveInvoice, &request).await
    }

    /// Makes a customer. No money moves.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn create_customer(
        &self,
        (name, email): (&str, Option<&str>),
        metadata: Metadata<'_>,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<String> {
        let fields = NewCustomer {
            name,
            email,
            metadata: map(metadata),
        };
        let request = post("/customers".to_owned(), fields);
        let made: Made = self
            .write(Operation::CreateCustomer, &request, Post::with(key).under(permit))
            .await?;
        Ok(made.0)
    }

    /// Sends invoices and receipts to another address from now on.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn set_customer_email(
        &self,
        customer: &str,
        email: &str,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<()> {
        let request = post(format!("/customers/{}", checked(customer)?), Email { email });
        let _: Made = self
            .write(Operation::UpdateCustomer, &request, Post::with(key).under(permit))
            .await?;
        Ok(())
    }

    /// Subscribes a customer to a price; its card is charged for the first period at once.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn create_subscription(
        &self,
        customer: &str,
        price: &str,
        metadata: Metadata<'_>,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<Subscription> {
        let fields = NewSubscription {
            customer,
            items: [PriceOf { price }],
            payment_behavior: "allow_incomplete",
            off_session: true,
            metadata: map(metadata),
            expand: WITH_CARD,
        };
        let request = post("/subscriptions".to_owned(), fields);
        self.write(
            Operation::CreateSubscription,
            &request,
            Post::with(key).under(permit),
        )
        .await
    }

    /// Changes a subscription.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn change_subscription(
        &self,
        id: &str,
        change: ChangeSubscription<'_>,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<Subscription> {
        let none = Changes {
            items: None,
            proration_behavior: None,
            cancel_at_period_end: None,
            expand: WITH_CARD,
        };
        let fields = match change {
            ChangeSubscription::Price { item, price } => Changes {
                items: Some([ItemPrice { id: item, price }]),
                proration_behavior: Some("create_prorations"),
                ..none
            },
            ChangeSubscription::Renewal { on } => Changes {
                cancel_at_period_end: Some(!on),
                ..none
            },
        };
        let request = post(format!("/subscriptions/{}", checked(id)?), fields);
        self.write(
            Operation::UpdateSubscription,
            &request,
            Post::with(key).under(permit),
        )
        .await
    }

    /// Ends a subscription at once. Nothing is given back and nothing more is billed.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn cancel_subscription(
        &self,
        id: &str,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<Subscription> {
        let request = Request {
            method: StripeMethod::Delete,
            path: format!("/subscriptions/{}", checked(id)?),
            fields: Cancel {
                invoice_now: false,
                prorate: false,
                expand: WITH_CARD,
            },
        };
        self.write(
            Operation::CancelSubscription,
            &request,
            Post::with(key).under(permit),
        )
        .await
    }

    /// Makes a page where a customer looks after its card, its address and its invoices.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn billing_page(
        &self,
        customer: &str,
        return_url: &str,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<SessionPage> {
        let fields = PortalSession { customer, return_url };
        let request = post("/billing_portal/sessions".to_owned(), fields);
        self.write(
            Operation::CreatePortalSession,
            &request,
            Post::with(key).under(permit),
        )
        .await
    }

    /// Makes a page where a customer gives a card and subscribes to a price.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub async fn checkout_page(
        &self,
        (customer, price): (&str, &str),
        return_url: &str,
        metadata: Metadata<'_>,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<SessionPage> {
        let fields = CheckoutSession {
            mode: "subscription",
            customer,
            line_items: [LineItem { price, quantity: 1 }],
            success_url: return_url,
            cancel_url: return_url,
            subscription_data: SubscriptionData {
                metadata: map(metadata),
            },
        };
        let request = post("/checkout/sessions".to_owned(), fields);
        self.write(
            Operation::CreateCheckoutSession,
            &request,
            Post::with(key).under(permit),
        )
        .await
    }
}

fn post<F>(path: String, fields: F) -> Request<F> {
    Request {
        method: StripeMethod::Post,
        path,
        fields,
    }
}
