//! What can be asked of Stripe: one method per call, and nothing else in the program speaks to Stripe.
//!
//! Every method waits for its turn, sends, repeats where that is harmless (see `retry`), and answers with an object or an
//! [`Error`] that says what is known about the effect. A call takes at most some eight seconds of repetitions, ten of
//! waiting for its turn and one timeout of an attempt (20 s unless configured); the caller's time limit must allow for it.
use std::{collections::HashMap, sync::Arc};

use serde_json::Value;
use shared::{config::Mode, money::Money, trace};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::{
    charge::RetrieveCharge,
    dispute::RetrieveDispute,
    payment_intent::{
        CancelPaymentIntent, ConfirmPaymentIntent, ConfirmPaymentIntentOffSession, CreatePaymentIntent,
        CreatePaymentIntentAutomaticPaymentMethods, CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects,
        RetrievePaymentIntent, UpdatePaymentIntent,
    },
    refund::{CreateRefund, RetrieveRefund},
};
use stripe_payment::payment_method::RetrievePaymentMethod;
use stripe_types::Currency as StripeCurrency;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    Limiter, Observer, Operation, classify,
    config::{ConfigError, StripeConfig},
    error::Error,
    key::IdempotencyKey,
    list::List,
    objects::{
        BalanceTransaction, Charge, Dispute, Page, PaymentIntent, PaymentMethod, Refund, StripeObject,
    },
    permit::{Permit, TooLate},
    retry,
    transport::{Post, Response, SendError, Transport},
};

/// What a call comes back with.
pub type Call<T> = Result<T, Error>;

/// Longest id that is put into a path. Stripe's are under 70 characters; 255 is what it advises to allow for.
const MAX_ID_CHARS: usize = 255;

/// The client. One per process; shared by reference.
pub struct Client {
    transport: Transport,
    limiter: Limiter,
    observer: Arc<dyn Observer>,
    mode: Mode,
    access: Access,
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadAndWrite,
    /// A POST is refused before anything is sent: for dry runs and for work on copies.
    Read,
}

/// A PaymentIntent to be created. It is not confirmed yet, so no money moves.
#[derive(Clone, Debug)]
pub struct CreateIntent<'a> {
    /// What is to be collected.
    pub amount: Money,
    /// `cus_…`
    pub customer: &'a str,
    /// Our own references. Ids only: Stripe shows them to everyone with access to the account.
    pub metadata: &'a [(&'a str, String)],
}

/// A refund to be made.
#[derive(Clone, Debug)]
pub struct NewRefund<'a> {
    /// `ch_…`
    pub charge: &'a str,
    /// What goes back.
    pub amount: Money,
    /// Our own references. Ids only.
    pub metadata: &'a [(&'a str, String)],
}

/// The JSON of a success, and the request it answers.
struct Answer {
    value: Value,
    request_id: Option<String>,
}

impl Client {
    /// Makes a client; connects to nothing yet.
    ///
    /// # Errors
    /// When a setting is unusable.
    pub fn new(
        config: &StripeConfig,
        limiter: Limiter,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            transport: Transport::try_new(config)?,
            limiter,
            observer,
            mode: config.mode()?,
            access: Access::ReadAndWrite,
        })
    }

    /// The same client, unable to change anything at Stripe.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self {
            access: Access::Read,
            ..self
        }
    }

    /// Of which of Stripe's two worlds its key is.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Creates a PaymentIntent for later, off-session confirmation by card.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_payment_intent(
        &self,
        new: &CreateIntent<'_>,
        key: &IdempotencyKey,
    ) -> Call<PaymentIntent> {
        let request = CreatePaymentIntent::new(new.amount.minor(), currency(new.amount))
            .customer(new.customer)
            .automatic_payment_methods(without_redirects())
            .metadata(metadata(new.metadata));
        self.intent(Operation::CreatePaymentIntent, &request, Some(Post::with(key)))
            .await
    }

    /// Changes the amount of an intent that is not confirmed, such as after a part was paid otherwise. Not put on the wire once
    /// its permit has ended: another worker may rely on another amount by then.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update_payment_intent_amount(
        &self,
        id: &str,
        amount: Money,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<PaymentIntent> {
        let request = UpdatePaymentIntent::new(checked(id)?)
            .amount(amount.minor())
            .currency(currency(amount));
        self.intent(
            Operation::UpdatePaymentIntent,
            &request,
            Some(Post::with(key).under(permit)),
        )
        .await
    }

    /// Charges: confirms the intent with a stored card while the customer is away. The one call that moves money. Not put on
    /// the wire once its permit has ended: that is [`Error::NotSent`].
    ///
    /// # Errors
    /// See [`Error`]; a declined card is [`Error::Declined`].
    pub async fn confirm_payment_intent(
        &self,
        id: &str,
        payment_method: &str,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<PaymentIntent> {
        let request = ConfirmPaymentIntent::new(checked(id)?)
            .payment_method(payment_method)
            .off_session(ConfirmPaymentIntentOffSession::Bool(true))
            .expand(charge_and_fee());
        self.intent(
            Operation::ConfirmPaymentIntent,
            &request,
            Some(Post::with(key).under(permit)),
        )
        .await
    }

    /// Cancels an intent, so that nothing can be charged with it any more.
    ///
    /// # Errors
    /// See [`Error`]; one that has succeeded is [`Error::UnexpectedState`].
    pub async fn cancel_payment_intent(&self, id: &str, key: &IdempotencyKey) -> Call<PaymentIntent> {
        let request = CancelPaymentIntent::new(checked(id)?);
        self.intent(Operation::CancelPaymentIntent, &request, Some(Post::with(key)))
            .await
    }

    /// Reads an intent as it is now, with its latest charge.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn payment_intent(&self, id: &str) -> Call<PaymentIntent> {
        let request = RetrievePaymentIntent::new(checked(id)?).expand(charge_and_fee());
        self.intent(Operation::RetrievePaymentIntent, &request, None)
            .await
    }

    /// Reads a charge.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn charge(&self, id: &str) -> Call<Charge> {
        self.read(Operation::RetrieveCharge, &RetrieveCharge::new(checked(id)?))
            .await
    }

    /// Gives a charge back to its card, in whole or in part. Money moves, at once or later: see the refund's status. Not put on
    /// the wire once its permit has ended: another worker may have searched for it in vain by then.
    ///
    /// # Errors
    /// See [`Error`]; what Stripe does not want to give back is [`Error::Invalid`].
    pub async fn create_refund(
        &self,
        new: &NewRefund<'_>,
        key: &IdempotencyKey,
        permit: &Permit,
    ) -> Call<Refund> {
        let request = CreateRefund::new()
            .charge(checked(new.charge)?)
            .amount(new.amount.minor())
            .metadata(metadata(new.metadata));
        let post = Post::with(key).under(permit);
        Ok(self.call(Operation::CreateRefund, &request, Some(post)).await?.0)
    }

    /// Reads all refunds of a charge, in Stripe's order (newest first).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn refunds_of_charge(&self, charge: &str) -> Call<Vec<Refund>> {
        self.pages(List::refunds_of_charge(charge)).collect().await
    }

    /// Reads a refund.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn refund(&self, id: &str) -> Call<Refund> {
        self.read(Operation::RetrieveRefund, &RetrieveRefund::new(checked(id)?))
            .await
    }

    /// Reads a movement of the balance.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn balance_transaction(&self, id: &str) -> Call<BalanceTransaction> {
        self.read(
            Operation::RetrieveBalanceTransaction,
            &RetrieveBalanceTransaction(checked(id)?),
        )
        .await
    }

    /// Reads a dispute with all its movements of money.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dispute(&self, id: &str) -> Call<Dispute> {
        let dispute = self
            .read(Operation::RetrieveDispute, &RetrieveDispute::new(checked(id)?))
            .await?;
        self.with_movements(dispute).await
    }

    /// Reads all disputes of a charge with all their movements of money, in Stripe's order (newest first).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn disputes_of_charge(&self, charge: &str) -> Call<Vec<Dispute>> {
        let found: Vec<Dispute> = self.pages(List::disputes_of_charge(charge)).collect().await?;
        let mut disputes = Vec::with_capacity(found.len());
        for dispute in found {
            disputes.push(self.with_movements(dispute).await?);
        }
        Ok(disputes)
    }

    /// Reads a payment method.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn payment_method(&self, id: &str) -> Call<PaymentMethod> {
        self.read(
            Operation::RetrievePaymentMethod,
            &RetrievePaymentMethod::new(checked(id)?),
        )
        .await
    }

    /// Asks whose account the key belongs to: proves that Stripe is reachable and takes the key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn account_id(&self) -> Call<String> {
        let request = Get("/account");
        Ok(self
            .read::<Account>(Operation::RetrieveAccount, &request)
            .await?
            .0)
    }

    /// Reads the webhook endpoints of the account (the first hundred).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn webhook_endpoints(&self) -> Call<Vec<WebhookEndpoint>> {
        let request = Get("/webhook_endpoints");
        let page: Page<WebhookEndpoint> = self.read(Operation::ListWebhookEndpoints, &request).await?;
        Ok(page.data)
    }
}

impl Client {
    async fn intent(
        &self,
        operation: Operation,
        request: &(impl StripeRequest + Sync),
        post: Option<Post<'_>>,
    ) -> Call<PaymentIntent> {
        let (mut intent, request_id) = self.call::<PaymentIntent>(operation, request, post).await?;
        intent.request_id = request_id;
        Ok(intent)
    }

    /// Asks for an object, which changes nothing.
    pub(super) async fn read<T: StripeObject>(
        &self,
        operation: Operation,
        request: &(impl StripeRequest + Sync),
    ) -> Call<T> {
        Ok(self.call(operation, request, None).await?.0)
    }

    /// Asks for a change, and reads what has become of it.
    pub(super) async fn write<T: StripeObject>(
        &self,
        operation: Operation,
        request: &(impl StripeRequest + Sync),
        post: Post<'_>,
    ) -> Call<T> {
        Ok(self.call(operation, request, Some(post)).await?.0)
    }

    /// Reads the movements of which a version gives only the id.
    async fn with_movements(&self, mut dispute: Dispute) -> Call<Dispute> {
        for id in std::mem::take(&mut dispute.unread_balance_transactions) {
            let request = RetrieveBalanceTransaction(checked(&id)?);
            dispute
                .balance_transactions
                .push(self.read(Operation::RetrieveBalanceTransaction, &request).await?);
        }
        Ok(dispute)
    }

    /// Sends, with harmless repetitions, and reads the object out of the answer.
    async fn call<T: StripeObject>(
        &self,
        operation: Operation,
        request: &(impl StripeRequest + Sync),
        post: Option<Post<'_>>,
    ) -> Call<(T, Option<String>)> {
        if post.is_some() && self.access == Access::Read {
            return Err(invalid(
                "read_only",
                format!("{} is not sent by who only reads", operation.as_str()),
            ));
        }
        let Answer { value, request_id } = retry::bounded(|| self.attempt(operation, request, post)).await?;
        self.check_mode(&value, request_id.as_ref())?;
        match T::parse(&value) {
            Ok(object) => Ok((object, request_id)),
            Err(fault) => Err(classify::misshapen(operation.effect(), &fault, request_id)),
        }
    }

    /// One attempt: its turn, one exchange, the meaning of the answer.
    async fn attempt(
        &self,
        operation: Operation,
        request: &(impl StripeRequest + Sync),
        post: Option<Post<'_>>,
    ) -> Result<Answer, classify::Failed> {
        let effect = operation.effect();
        let started = Instant::now();
        if let Err(saturated) = self.limiter.acquire(operation).await {
            self.observer
                .on_request(operation, "rate_limited", started.elapsed());
            return Err(classify::out_of_turn(effect, saturated.retry_after));
        }
        let started = Instant::now();
        if let Some(Err(late)) = look(post).await {
            self.observer.on_request(operation, "too_late", started.elapsed());
            return Err(classify::no_answer(effect, SendError::TooLate(late)));
        }
        let span = trace::stripe_call(operation.as_str(), operation.route());
        match self.transport.send(request, post).instrument(span.clone()).await {
            Ok(response) => {
                trace::stripe_answered(&span, Ok(response.status), response.request_id.as_deref());
                self.note(operation, &response, started);
                let value = classify::answer(effect, &response)?;
                Ok(Answer {
                    value,
                    request_id: response.request_id,
                })
            }
            Err(failure) => {
                trace::stripe_answered(&span, Err(failure.code()), None);
                self.observer
                    .on_request(operation, failure.code(), started.elapsed());
                Err(classify::no_answer(effect, failure))
            }
        }
    }

    fn note(&self, operation: Operation, response: &Response, started: Instant) {
        let elapsed = started.elapsed();
        self.observer
            .on_request(operation, &response.status.to_string(), elapsed);
        tracing::debug!(
            stripe.operation = operation.as_str(),
            stripe.request_id = response.request_id.as_deref(),
            http.status = response.status,
            stripe.replayed = response.replayed,
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "Stripe answered"
        );
    }

    /// Objects of test and live mode never mix, even if someone swaps the key under a running system.
    fn check_mode(&self, value: &Value, request_id: Option<&String>) -> Call<()> {
        match value.get("livemode").and_then(Value::as_bool) {
            Some(livemode) if livemode != self.mode.livemode() => Err(Error::Invalid {
                code: "livemode_mismatch".into(),
                param: Some("livemode".into()),
                message: format!(
                    "the object says livemode {livemode}, our key is for {:?} mode",
                    self.mode
                ),
                request_id: request_id.cloned(),
            }),
            _ => Ok(()),
        }
    }
}

/// Asks the permit, where there is one, whether the request is still wanted.
async fn look(post: Option<Post<'_>>) -> Option<Result<(), TooLate>> {
    let permit = post?.permit()?;
    Some(permit.look().await)
}

/// A GET without parameters. Written out here because async-stripe's modules for these would be compiled for one call.
struct Get(&'static str);

impl StripeRequest for Get {
    type Output = ();

    fn build(&self) -> RequestBuilder {
        RequestBuilder::new(StripeMethod::Get, self.0)
    }
}

/// An account, by its id.
struct Account(String);

impl StripeObject for Account {
    const NAME: &'static str = "account";

    fn read(account: &super::objects::Fields<'_>) -> Result<Self, super::objects::ShapeError> {
        Ok(Self(account.text("id")?))
    }
}

/// A webhook endpoint as the account has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// Where events go.
    pub url: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// Types that are sent; `*` for all.
    pub enabled_events: Vec<String>,
    /// Version that events are rendered in; the account's own where none is set.
    pub api_version: Option<String>,
}

impl StripeObject for WebhookEndpoint {
    const NAME: &'static str = "webhook_endpoint";

    fn read(endpoint: &super::objects::Fields<'_>) -> Result<Self, super::objects::ShapeError> {
        let events = endpoint.entries("enabled_events").iter();
        Ok(Self {
            url: endpoint.text("url")?,
            status: endpoint.text("status")?,
            enabled_events: events.filter_map(|e| e.as_str().map(str::to_owned)).collect(),
            api_version: endpoint.text_if_any("api_version"),
        })
    }
}

/// `GET /v1/balance_transactions/{id}`. Written out here because it is all we would use of async-stripe's module for them.
struct RetrieveBalanceTransaction<'a>(&'a str);

impl StripeRequest for RetrieveBalanceTransaction<'_> {
    type Output = ();

    fn build(&self) -> RequestBuilder {
        RequestBuilder::new(StripeMethod::Get, format!("/balance_transactions/{}", self.0))
    }
}

/// Whatever is stored may be charged, except by a method that needs the customer's browser: nobody is there, and Stripe
/// would refuse the confirmation for want of a `return_url`.
fn without_redirects() -> CreatePaymentIntentAutomaticPaymentMethods {
    CreatePaymentIntentAutomaticPaymentMethods {
        allow_redirects: Some(CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects::Never),
        enabled: true,
    }
}

/// An intent is read with its latest charge, and that with its balance transaction: only there is what Stripe kept.
fn charge_and_fee() -> Vec<String> {
    vec!["latest_charge.balance_transaction".to_owned()]
}

/// Our own references, as async-stripe wants them.
fn metadata(pairs: &[(&str, String)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// async-stripe's type for a currency of ours.
fn currency(amount: Money) -> StripeCurrency {
    let code = amount.currency().as_str();
    code.parse()
        .unwrap_or_else(|never: std::convert::Infallible| match never {})
}

/// An id that may be put into a path: people type them, and one with a slash would call something else.
pub(super) fn checked(id: &str) -> Result<&str, Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(plain) {
        Ok(id)
    } else {
        Err(invalid(
            "malformed_id",
            "an id of Stripe's has letters, digits and underscores only".to_owned(),
        ))
    }
}

fn invalid(code: &str, message: String) -> Error {
    Error::Invalid {
        code: code.to_owned(),
        param: None,
        message,
        request_id: None,
    }
}
