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
    /// `GET /v1/refunds/{id}`
    RetrieveRefund,
    /// `GET /v1/refunds` of one charge
    ListRefunds,
    /// `GET /v1/disputes` of one charge
    ListDisputes,
    /// `GET /v1/events`
    ListEvents,
    /// `GET /v1/payment_intents`
    ListPaymentIntents,
    /// `GET /v1/charges`
    ListCharges,
    /// `GET /v1/refunds` of everybody
    ListAllRefunds,
    /// `GET /v1/disputes` of everybody
    ListAllDisputes,
    /// `GET /v1/balance_transactions`
    ListBalanceTransactions,
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
    /// `POST /v1/customers`
    CreateCustomer,
    /// `POST /v1/customers/{id}`
    UpdateCustomer,
    /// `POST /v1/subscriptions`
    CreateSubscription,
    /// `POST /v1/subscriptions/{id}`
    UpdateSubscription,
    /// `DELETE /v1/subscriptions/{id}`
    CancelSubscription,
    /// `POST /v1/billing_portal/sessions`
    CreatePortalSession,
    /// `POST /v1/checkout/sessions`
    CreateCheckoutSession,
    /// `GET /v1/subscriptions/{id}`
    RetrieveSubscription,
    /// `GET /v1/subscriptions` of one customer
    ListSubscriptions,
    /// `GET /v1/invoices/{id}`
    RetrieveInvoice,
}

/// Whether a call can change anything at Stripe. Everything about failures follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A GET: may be repeated at will.
    Reads,
    /// A POST: once it may have arrived, its outcome must be looked up.
    Writes,
}

/// How much of the rate a call may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// All of it.
    Prompt,
    /// A part, shared with all others of the kind: somebody is paying meanwhile.
    Bulk,
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
            Self::RetrieveRefund => "retrieve_refund",
            Self::ListRefunds => "list_refunds",
            Self::ListDisputes => "list_disputes",
            Self::ListEvents => "list_events",
            Self::ListPaymentIntents => "list_payment_intents",
            Self::ListCharges => "list_charges",
            Self::ListAllRefunds => "list_all_refunds",
            Self::ListAllDisputes => "list_all_disputes",
            Self::ListBalanceTransactions => "list_balance_transactions",
            Self::RetrieveDispute => "retrieve_dispute",
            Self::RetrieveBalanceTransaction => "retrieve_balance_transaction",
            Self::RetrievePaymentMethod => "retrieve_payment_method",
            Self::RetrieveAccount => "retrieve_account",
            Self::ListWebhookEndpoints => "list_webhook_endpoints",
            Self::CreateCustomer => "create_customer",
            Self::UpdateCustomer => "update_customer",
            Self::CreateSubscription => "create_subscription",
            Self::UpdateSubscription => "update_subscription",
            Self::CancelSubscription => "cancel_subscription",
            Self::CreatePortalSession => "create_portal_session",
            Self::CreateCheckoutSession => "create_checkout_session",
            Self::RetrieveSubscription => "retrieve_subscription",
            Self::ListSubscriptions => "list_subscriptions",
            Self::RetrieveInvoice => "retrieve_invoice",
        }
    }

    /// Method and path, without any id.
    #[must_use]
    pub fn route(self) -> (&'static str, &'static str) {
        match self {
            Self::CreatePaymentIntent => ("POST", "/v1/payment_intents"),
            Self::UpdatePaymentIntent => ("POST", "/v1/payment_intents/{id}"),
            Self::ConfirmPaymentIntent => ("POST", "/v1/payment_intents/{id}/confirm"),
            Self::CancelPaymentIntent => ("POST", "/v1/payment_intents/{id}/cancel"),
            Self::RetrievePaymentIntent => ("GET", "/v1/payment_intents/{id}"),
            Self::RetrieveCharge => ("GET", "/v1/charges/{id}"),
            Self::CreateRefund => ("POST", "/v1/refunds"),
            Self::RetrieveRefund => ("GET", "/v1/refunds/{id}"),
            Self::ListRefunds => ("GET", "/v1/refunds"),
            Self::ListDisputes => ("GET", "/v1/disputes"),
            Self::ListEvents => ("GET", "/v1/events"),
            Self::ListPaymentIntents => ("GET", "/v1/payment_intents"),
            Self::ListCharges => ("GET", "/v1/charges"),
            Self::ListAllRefunds => ("GET", "/v1/refunds"),
            Self::ListAllDisputes => ("GET", "/v1/disputes"),
            Self::ListBalanceTransactions => ("GET", "/v1/balance_transactions"),
            Self::RetrieveDispute => ("GET", "/v1/disputes/{id}"),
            Self::RetrieveBalanceTransaction => ("GET", "/v1/balance_transactions/{id}"),
            Self::RetrievePaymentMethod => ("GET", "/v1/payment_methods/{id}"),
            Self::RetrieveAccount => ("GET", "/v1/account"),
            Self::ListWebhookEndpoints => ("GET", "/v1/webhook_endpoints"),
            Self::CreateCustomer => ("POST", "/v1/customers"),
            Self::UpdateCustomer => ("POST", "/v1/customers/{id}"),
            Self::CreateSubscription => ("POST", "/v1/subscriptions"),
            Self::UpdateSubscription => ("POST", "/v1/subscriptions/{id}"),
            Self::CancelSubscription => ("DELETE", "/v1/subscriptions/{id}"),
            Self::CreatePortalSession => ("POST", "/v1/billing_portal/sessions"),
            Self::CreateCheckoutSession => ("POST", "/v1/checkout/sessions"),
            Self::RetrieveSubscription => ("GET", "/v1/subscriptions/{id}"),
            Self::ListSubscriptions => ("GET", "/v1/subscriptions"),
            Self::RetrieveInvoice => ("GET", "/v1/invoices/{id}"),
        }
    }

    /// Whether it can change anything.
    pub(super) fn effect(self) -> Effect {
        match self {
            Self::CreatePaymentIntent
            | Self::UpdatePaymentIntent
            | Self::ConfirmPaymentIntent
            | Self::CancelPaymentIntent
            | Self::CreateRefund
            | Self::CreateCustomer
            | Self::UpdateCustomer
            | Self::CreateSubscription
            | Self::UpdateSubscription
            | Self::CancelSubscription
            | Self::CreatePortalSession
            | Self::CreateCheckoutSession => Effect::Writes,
            Self::RetrievePaymentIntent
            | Self::RetrieveCharge
            | Self::RetrieveRefund
            | Self::ListRefunds
            | Self::ListDisputes
            | Self::ListEvents
            | Self::ListPaymentIntents
            | Self::ListCharges
            | Self::ListAllRefunds
            | Self::ListAllDisputes
            | Self::ListBalanceTransactions
            | Self::RetrieveDispute
            | Self::RetrieveBalanceTransaction
            | Self::RetrievePaymentMethod
            | Self::RetrieveAccount
            | Self::ListWebhookEndpoints
            | Self::RetrieveSubscription
            | Self::ListSubscriptions
            | Self::RetrieveInvoice => Effect::Reads,
        }
    }

    /// Whether it reads everything there is, for nobody who waits: such calls together get a part of the rate only.
    pub(super) fn urgency(self) -> Urgency {
        match self {
            Self::ListEvents
            | Self::ListPaymentIntents
            | Self::ListCharges
            | Self::ListAllRefunds
            | Self::ListAllDisputes
            | Self::ListBalanceTransactions => Urgency::Bulk,
            Self::CreatePaymentIntent
            | Self::UpdatePaymentIntent
            | Self::ConfirmPaymentIntent
            | Self::CancelPaymentIntent
            | Self::CreateRefund
            | Self::RetrievePaymentIntent
            | Self::RetrieveCharge
            | Self::RetrieveRefund
            | Self::ListRefunds
            | Self::ListDisputes
            | Self::RetrieveDispute
            | Self::RetrieveBalanceTransaction
            | Self::RetrievePaymentMethod
            | Self::RetrieveAccount
            | Self::ListWebhookEndpoints
            | Self::CreateCustomer
            | Self::UpdateCustomer
            | Self::CreateSubscription
            | Self::UpdateSubscription
            | Self::CancelSubscription
            | Self::CreatePortalSession
            | Self::CreateCheckoutSession
            | Self::RetrieveSubscription
            | Self::ListSubscriptions
            | Self::RetrieveInvoice => Urgency::Prompt,
        }
    }
}
