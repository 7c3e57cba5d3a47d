//! What the simulator remembers about each Stripe object. How they look as JSON is `objects`' concern.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cards::Decline;
use super::table::Row;

/// `metadata` of an object.
pub type Metadata = BTreeMap<String, String>;

/// A customer.
#[derive(Debug, Clone)]
pub struct Customer {
    pub id: String,
    pub created: i64,
    pub email: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    /// What pays its invoices.
    pub default_payment_method: Option<String>,
    pub metadata: Metadata,
}

/// A card, as a payment method.
#[derive(Debug, Clone)]
pub struct PaymentMethod {
    pub id: String,
    pub created: i64,
    pub customer: Option<String>,
    pub brand: String,
    pub last4: String,
    pub exp_month: i64,
    pub exp_year: i64,
    pub fingerprint: String,
    pub metadata: Metadata,
}

/// `payment_intent.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    Succeeded,
    Canceled,
}

/// A payment intent.
#[derive(Debug, Clone)]
pub struct PaymentIntent {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub status: IntentStatus,
    pub customer: Option<String>,
    pub payment_method: Option<String>,
    pub description: Option<String>,
    pub setup_future_usage: Option<String>,
    pub metadata: Metadata,
    /// Oldest first; at most one of them succeeds.
    pub charges: Vec<String>,
    pub last_payment_error: Option<Value>,
    pub canceled_at: Option<i64>,
    pub cancellation_reason: Option<String>,
}

/// `charge.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    Pending,
    Succeeded,
    Failed,
}

/// One try to take money from a card.
#[derive(Debug, Clone)]
pub struct Charge {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub status: ChargeStatus,
    pub payment_intent: String,
    pub customer: Option<String>,
    pub payment_method: String,
    pub description: Option<String>,
    pub metadata: Metadata,
    /// Why it failed.
    pub decline: Option<Decline>,
    pub balance_transaction: Option<String>,
    /// Refunds that are neither failed nor canceled.
    pub amount_refunded: i64,
    /// Newest last.
    pub refunds: Vec<String>,
    /// Newest last.
    pub disputes: Vec<String>,
}

/// `refund.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    Pending,
    RequiresAction,
    Succeeded,
    Failed,
    Canceled,
}

/// Money on its way back to a card.
#[derive(Debug, Clone)]
pub struct Refund {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub status: RefundStatus,
    pub charge: String,
    pub payment_intent: String,
    pub reason: Option<String>,
    pub failure_reason: Option<String>,
    pub balance_transaction: Option<String>,
    pub failure_balance_transaction: Option<String>,
    pub metadata: Metadata,
}

/// `dispute.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    WarningNeedsResponse,
    WarningUnderReview,
    WarningClosed,
    NeedsResponse,
    UnderReview,
    Won,
    Lost,
    Prevented,
}

/// An inquiry or a chargeback.
#[derive(Debug, Clone)]
pub struct Dispute {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub status: DisputeStatus,
    pub charge: String,
    pub payment_intent: String,
    pub reason: String,
    pub due_by: i64,
    /// What Stripe takes on top when the money is withdrawn.
    pub fee: i64,
    pub network_reason_code: String,
    pub metadata: Metadata,
    /// None, the withdrawal, or the withdrawal and its reversal.
    pub balance_transactions: Vec<String>,
}

/// One movement of the account's balance.
#[derive(Debug, Clone)]
pub struct BalanceTransaction {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub fee: i64,
    pub currency: String,
    /// Stripe's `type`.
    pub kind: &'static str,
    pub reporting_category: &'static str,
    pub source: String,
    pub description: String,
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
rows!(
    Customer,
    PaymentMethod,
    PaymentIntent,
    Charge,
    Refund,
    Dispute,
    BalanceTransaction
);

impl PaymentIntent {
    /// The newest charge, good or bad.
    pub fn latest_charge(&self) -> Option<&str> {
        self.charges.last().map(String::as_str)
    }
}

impl Dispute {
    /// An inquiry moves no money.
    pub fn is_inquiry(&self) -> bool {
        use DisputeStatus::{WarningClosed, WarningNeedsResponse, WarningUnderReview};
        matches!(
            self.status,
            WarningNeedsResponse | WarningUnderReview | WarningClosed
        )
    }

    /// The amount that is with the cardholder's bank: withdrawn and not given back.
    pub fn withheld(&self) -> i64 {
        if self.balance_transactions.len() == 1 {
            self.amount
        } else {
            0
        }
    }
}
