//! What the simulator remembers of Stripe Billing.
use serde::Serialize;

use crate::stripe_sim::model::Metadata;
use crate::stripe_sim::table::Row;

/// A product.
#[derive(Debug, Clone)]
pub struct Product {
    pub id: String,
    pub created: i64,
    pub name: String,
    pub metadata: Metadata,
}

/// A monthly price.
#[derive(Debug, Clone)]
pub struct Price {
    pub id: String,
    pub created: i64,
    pub product: String,
    pub unit_amount: i64,
    pub currency: String,
    pub metadata: Metadata,
}

/// `subscription.status`, as far as it is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    Active,
    PastDue,
    Incomplete,
    IncompleteExpired,
    Canceled,
}

impl SubscriptionStatus {
    /// Nothing more happens to it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }
}

/// A subscription to one price.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub id: String,
    pub created: i64,
    pub customer: String,
    pub item: String,
    pub price: String,
    pub status: SubscriptionStatus,
    pub period_start: i64,
    pub period_end: i64,
    /// Where its first period began: every period is counted from there.
    pub anchor: i64,
    /// Periods that have begun.
    pub periods: u32,
    pub cancel_at_period_end: bool,
    pub canceled_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub default_payment_method: Option<String>,
    pub latest_invoice: Option<String>,
    /// What the next invoice also has: credit and charge of a change of price.
    pub pending: Vec<Line>,
    pub metadata: Metadata,
}

/// A line of an invoice.
#[derive(Debug, Clone)]
pub struct Line {
    pub amount: i64,
    pub start: i64,
    pub end: i64,
    pub proration: bool,
    pub price: String,
}

/// `invoice.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    Draft,
    Open,
    Paid,
    Void,
    Uncollectible,
}

/// An invoice.
#[derive(Debug, Clone)]
pub struct Invoice {
    pub id: String,
    pub created: i64,
    pub number: String,
    pub customer: String,
    pub subscription: String,
    pub status: InvoiceStatus,
    pub currency: String,
    pub billing_reason: &'static str,
    pub period_start: i64,
    pub period_end: i64,
    pub lines: Vec<Line>,
    pub amount_paid: i64,
    pub attempt_count: u32,
    pub next_attempt: Option<i64>,
    pub finalized_at: Option<i64>,
    pub paid_at: Option<i64>,
    pub intent: Option<String>,
}

impl Invoice {
    /// What is to be paid: never less than nothing, as what a proration gives back goes to the customer's balance.
    pub fn due(&self) -> i64 {
        self.lines.iter().map(|line| line.amount).sum::<i64>().max(0)
    }
}

/// A page for a customer.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: String,
    pub created: i64,
    pub customer: String,
    /// What a checkout subscribes to; none on a page of the billing portal.
    pub price: Option<String>,
    pub return_url: String,
    pub metadata: Metadata,
    pub subscription: Option<String>,
}

macro_rules! rows {
    ($($row:ty),+) => {$(
        impl Row for $row {
            fn id(&self) -> &str {
                &self.id
            }
            fn created(&self) -> i64 {
                self.created
            }
        }
    )+};
}
rows!(Product, Price, Subscription, Invoice, Session);
