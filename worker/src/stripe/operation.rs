//! The calls that we make, by name: for metrics, for logs, and for the rate limiter, which counts each by itself.

/// One kind of call to Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /v1/payment_intents`
    CreatePaymentIntent,
    /// `POST /v1/payment_intents/{id}`
    UpdatePaymentIntent,
    /// `POST /v1/payment_intents/{id}/confirm`
    ConfirmPaymentIntent,
    /// `POST /v1/payment_intents/{id}/cancel`
    CancelPaymentIntent,
    /// `GET /v1/payment_intents/{id}`
    RetrievePaymentIntent,
    /// `GET /v1/charges/{id}`
    RetrieveCharge,
    /// `POST /v1/refunds`
    CreateRefund,
    /// `GET /v1/refunds`
    ListRefunds,
    /// `GET /v1/disputes`
    ListDisputes,
    /// `GET /v1/disputes/{id}`
    RetrieveDispute,
    /// `GET /v1/balance_transactions/{id}`
    RetrieveBalanceTransaction,
    /// `GET /v1/payment_methods/{id}`
    RetrievePaymentMethod,
    /// `GET /v1/account`
    RetrieveAccount,
    /// `GET /v1/webhook_endpoints`
    ListWebhookEndpoints,
}

/// Whether a call can change anything at Stripe. Everything about failures follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A GET: may be repeated at will.
    Reads,
    /// A POST: once it may have arrived, its outcome must be looked up.
    Writes,
}

impl Operation {
    /// Its name in metrics, logs and the limiter's keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreatePaymentIntent => "create_payment_intent",
            Self::UpdatePaymentIntent => "update_payment_intent",
            Self::ConfirmPaymentIntent => "confirm_payment_intent",
            Self::CancelPaymentIntent => "cancel_payment_intent",
            Self::RetrievePaymentIntent => "retrieve_payment_intent",
            Self::RetrieveCharge => "retrieve_charge",
            Self::CreateRefund => "create_refund",
            Self::ListRefunds => "list_refunds",
            Self::ListDisputes => "list_disputes",
            Self::RetrieveDispute => "retrieve_dispute",
            Self::RetrieveBalanceTransaction => "retrieve_balance_transaction",
            Self::RetrievePaymentMethod => "retrieve_payment_method",
            Self::RetrieveAccount => "retrieve_account",
            Self::ListWebhookEndpoints => "list_webhook_endpoints",
        }
    }

    /// Whether it can change anything.
    pub(super) fn effect(self) -> Effect {
        match self {
            Self::CreatePaymentIntent
            | Self::UpdatePaymentIntent
            | Self::ConfirmPaymentIntent
            | Self::CancelPaymentIntent
            | Self::CreateRefund => Effect::Writes,
            Self::RetrievePaymentIntent
            | Self::RetrieveCharge
            | Self::ListRefunds
            | Self::ListDisputes
            | Self::RetrieveDispute
            | Self::RetrieveBalanceTransaction
            | Self::RetrievePaymentMethod
            | Self::RetrieveAccount
            | Self::ListWebhookEndpoints => Effect::Reads,
        }
    }
}
