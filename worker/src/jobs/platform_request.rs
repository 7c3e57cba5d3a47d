//! Asks Stripe for what somebody wants of a firm's own subscription.
//! Trigger: a command or the portal (`shared::store::platform::ask`).   Effect: a customer where there is none, and one call.
//! Idempotent: the request's row is there before anything is sent and its id is the key of the call; a subscription is looked for
//! before it is made again.
//! Gives up: a refusal by Stripe ends the request with Stripe's code; an outcome that nobody knows is asked for again.

use std::time::Duration;

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::json;
use shared::{
    domain::platform::Ask,
    ids::{FirmId, PlatformRequestId},
    store::{
        Tx,
        audit::{self, Actor, By, Cause, Severity},
        jobs::Queue,
        platform::{
            ask::REQUEST,
            customers,
            requests::{self, Order},
            subscriptions, tiers,
        },
        routes::Scope,
    },
};

use super::firm_of;
use crate::{
    collection::At,
    context::Context,
    events::platform,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, secs},
    stripe::{self, ChangeSubscription, IdempotencyKey, Permit, SessionPage, Subscription},
};

/// How long a page of Stripe's works where Stripe does not say: the portal's are good for five minutes until they are opened.
const PAGE_WORKS: TimeDelta = match TimeDelta::try_minutes(5) {
    Some(delta) => delta,
    None => TimeDelta::MAX,
};

/// See the head of this file.
pub struct PlatformRequest;

#[derive(Debug, Deserialize)]
struct Args {
    request_id: PlatformRequestId,
}

impl ExternalJob for PlatformRequest {
    const KIND: &'static str = REQUEST;
    const QUEUE: Queue = Queue::Charges;
    const RETRY: Retry = Retry::exponential(Attempts(200), secs(10), hours(1));
    /// A look, a customer and a call of at most 60 s each.
    const TIME_LIMIT: Duration = Duration::from_secs(240);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let args: Args = claim.job.args()?;
        let run = Run {
            cx,
            claim,
            firm: firm_of(&claim.job)?,
            id: args.request_id,
            cause: Cause::job(claim.job.id),
        };
        let (tx, order) = run.begin().await?;
        drop(tx);
        if order.is_over {
            return Ok(Outcome::AlreadyApplied("the request has an outcome"));
        }
        match run.carry_out(&order).await {
            Ok(done) => run.record(done).await,
            Err(Stopped::Refused(code)) => run.refused(&code).await,
            Err(Stopped::Failed(error)) => Err(error),
        }
    }
}

/// What a call came back with.
enum Done {
    /// The firm is a customer.
    Customer,
    /// A subscription as it is now.
    Subscription(Box<Subscription>),
    /// Stripe has this address.
    Email(String),
    /// A page for the firm.
    Page(SessionPage),
}

/// Why nothing came of it.
enum Stopped {
    /// For good, with a code.
    Refused(String),
    /// This run.
    Failed(JobError),
}

impl<E: Into<JobError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Codes of refusals that are ours, not Stripe's: they say nothing about the request.
const NOT_STRIPES: [&str; 4] = [
    "missing_field",
    "livemode_mismatch",
    "endless_list",
    "refused_by_us",
];

/// What an answer of Stripe's means for the request: a refusal ends it, everything else is tried again with the same key.
fn asked<T>(answer: stripe::Call<T>) -> Result<T, Stopped> {
    answer.map_err(|error| match &error {
        stripe::Error::Invalid { code, .. } if !NOT_STRIPES.contains(&code.as_str()) => {
            Stopped::Refused(code.clone())
        }
        stripe::Error::Declined(decline) => {
            let code = decline.error.decline_code.clone().or(decline.error.code.clone());
            Stopped::Refused(code.unwrap_or_else(|| "declined".to_owned()))
        }
        stripe::Error::NotFound { .. } => Stopped::Refused("no_such_object".to_owned()),
        _ => Stopped::Failed(error.into()),
    })
}

/// One run of the job.
struct Run<'a> {
    cx: &'a Context,
    claim: &'a Claim,
    firm: FirmId,
    id: PlatformRequestId,
    cause: Cause,
}

impl Run<'_> {
    /// A transaction of a claim that holds, and the request with its row locked.
    async fn begin(&self) -> Result<(Tx, Order), JobError> {
        let mut tx = self.cx.db.firm(self.firm).await?;
        self.claim.guard(&mut tx).await?;
        let order = requests::lock(&mut tx, self.firm, self.id).await?;
        Ok((tx, order.ok_or_else(|| JobError::fail("no such request"))?))
    }

    fn permit(&self) -> Permit {
        Permit::under(&self.claim.lease)
    }

    fn metadata(&self) -> [(&'static str, String); 3] {
        [
            ("q_scope", Scope::PlatformBilling.as_str().to_owned()),
            ("q_firm", self.firm.to_string()),
            ("q_request", self.id.to_string()),
        ]
    }

    async fn carry_out(&self, order: &Order) -> Result<Done, Stopped> {
        let customer = self.customer(order).await?;
        let key = IdempotencyKey::platform(self.id);
        let stripe = &self.cx.stripe;
        match &order.ask {
            Ask::Customer => Ok(Done::Customer),
            Ask::BillingEmail => {
                let (tx, _) = self.begin().await?;
                let Some(email) = self.email(tx).await? else {
                    return Err(Stopped::Refused("no_address".to_owned()));
                };
                // Another address may have been set meanwhile, and each is a call of its own.
                asked(
                    stripe
                        .set_customer_email(&customer, &email, &key, &self.permit())
                        .await,
                )?;
                Ok(Done::Email(email))
            }
            Ask::Subscribe { tier } => {
                let price = self.price(tier).await?;
                if let Some(made) = self.made_before(order, &customer).await? {
                    return Ok(Done::Subscription(Box::new(made)));
                }
                self.mark_sent().await?;
                let metadata = self.metadata();
                let made = stripe
                    .create_subscription(&customer, &price, &metadata, &key, &self.permit())
                    .await;
                Ok(Done::Subscription(Box::new(asked(made)?)))
            }
            Ask::ChangeTier { tier } => {
                let price = self.price(tier).await?;
                let (id, item) = self.live().await?;
                let item = item.ok_or_else(|| Stopped::Refused("subscription_without_item".to_owned()))?;
                let change = ChangeSubscription::Price {
                    item: &item,
                    price: &price,
                };
                self.change(&id, change, &key).await
            }
            Ask::AutoRenewal { on } => {
                let (id, _) = self.live().await?;
                self.change(&id, ChangeSubscription::Renewal { on: *on }, &key)
                    .await
            }
            Ask::Cancel => {
                let (id, _) = self.live().await?;
                // It may be over by an earlier run of this request: what is gone cannot be ended again.
                let there = asked(stripe.subscription(&id).await)?;
                if there.ended_at.is_some() {
                    return Ok(Done::Subscription(Box::new(there)));
                }
                self.mark_sent().await?;
                let ended = stripe.cancel_subscription(&id, &key, &self.permit()).await;
                Ok(Done::Subscription(Box::new(asked(ended)?)))
            }
            Ask::BillingLink { return_url } => {
                let page = stripe
                    .billing_page(&customer, return_url, &key, &self.permit())
                    .await;
                Ok(Done::Page(asked(page)?))
            }
            Ask::CheckoutLink { tier, return_url } => {
                let price = self.price(tier).await?;
                let metadata = self.metadata();
                let page = stripe
                    .checkout_page((&customer, &price), return_url, &metadata, &key, &self.permit())
                    .await;
                Ok(Done::Page(asked(page)?))
            }
        }
    }

    async fn change(
        &self,
        id: &str,
        change: ChangeSubscription<'_>,
        key: &IdempotencyKey,
    ) -> Result<Done, Stopped> {
        self.mark_sent().await?;
        let changed = self
            .cx
            .stripe
            .change_subscription(id, change, key, &self.permit())
            .await;
        Ok(Done::Subscription(Box::new(asked(changed)?)))
    }

    /// The firm's customer, which is made where there is none.
    async fn customer(&self, _: &Order) -> Result<String, Stopped> {
        let (mut tx, _) = self.begin().await?;
        let there = customers::of(&mut tx, self.firm).await?;
        let name = customers::name_of_firm(&mut tx, self.firm).await?;
        drop(tx);
        let email = there.as_ref().and_then(|there| there.billing_email.clone());
        if let Some(customer) = there.and_then(|there| there.stripe_customer_id) {
            return Ok(customer);
        }
        let metadata = self.metadata();
        let key = IdempotencyKey::platform_customer(self.id);
        let made = self
            .cx
            .stripe
            .create_customer((&name, email.as_deref()), &metadata, &key, &self.permit())
            .await;
        let made = asked(made)?;
        let (mut tx, _) = self.begin().await?;
        let now = tx.now();
        // Another way in may have been faster; then the first customer stands, and this one stays without a subscription.
        let is_new = match customers::of(&mut tx, self.firm).await? {
            Some(there) if there.stripe_customer_id.is_some() => false,
            Some(_) | None => customers::record(&mut tx, self.firm, &made, now).await?,
        };
        if let Some(email) = email.filter(|_| is_new) {
            customers::email_synced(&mut tx, self.firm, &email, now).await?;
        }
        if is_new {
            let by = self.by(&tx);
            let entry = by.entry(
                "platform.customer_created",
                "firm",
                self.firm.0,
                json!({"stripe_customer_id": made, "request": self.id}),
            );
            audit::record(&mut tx, self.firm, now, &entry).await?;
        }
        let customer = customers::of(&mut tx, self.firm).await?;
        tx.commit().await?;
        let customer = customer.and_then(|customer| customer.stripe_customer_id);
        Ok(customer.ok_or_else(|| JobError::retry("the firm's customer was not recorded"))?)
    }

    async fn email(&self, mut tx: Tx) -> Result<Option<String>, JobError> {
        let customer = customers::of(&mut tx, self.firm).await?;
        Ok(customer.and_then(|customer| customer.billing_email))
    }

    /// What the tier costs, at Stripe.
    async fn price(&self, tier: &str) -> Result<String, Stopped> {
        let mut tx = self.cx.db.firm(self.firm).await?;
        let tier = tiers::find(&mut tx, tier).await?;
        let price = tier.and_then(|tier| tier.stripe_price_id);
        price.ok_or_else(|| Stopped::Refused("tier_without_price".to_owned()))
    }

    /// The firm's subscription that is not over, and its item.
    async fn live(&self) -> Result<(String, Option<String>), Stopped> {
        let mut tx = self.cx.db.firm(self.firm).await?;
        let current = subscriptions::current(&mut tx, self.firm).await?;
        let live = current.filter(|subscription| !subscription.is_over());
        let live = live.ok_or_else(|| Stopped::Refused("not_subscribed".to_owned()))?;
        Ok((live.stripe_subscription_id, live.item))
    }

    /// A subscription that an earlier run of this request made: a key is forgotten after a day, what was made is not.
    async fn made_before(&self, order: &Order, customer: &str) -> Result<Option<Subscription>, Stopped> {
        if order.sent_at.is_none() {
            return Ok(None);
        }
        let ours = self.id.to_string();
        let all = asked(self.cx.stripe.subscriptions_of(customer).await)?;
        Ok(all
            .into_iter()
            .find(|made| made.metadata.get("q_request") == Some(&ours)))
    }

    async fn mark_sent(&self) -> Result<(), JobError> {
        let (mut tx, _) = self.begin().await?;
        let now = tx.now();
        requests::mark_sent(&mut tx, self.firm, self.id, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The answer goes the way that events go, and the request ends.
    async fn record(&self, done: Done) -> Result<Outcome, JobError> {
        let (mut tx, order) = self.begin().await?;
        let now = tx.now();
        if order.is_over {
            return Ok(Outcome::AlreadyApplied("the request has an outcome"));
        }
        let at = At {
            firm: self.firm,
            now,
            cause: &self.cause,
        };
        let mut told = json!({"kind": order.ask.kind(), "request": self.id});
        match &done {
            Done::Customer => {}
            Done::Subscription(subscription) => {
                let seen = platform::subscription_seen(subscription, now);
                platform::apply_subscription(&mut tx, at, &seen).await?;
                told["subscription"] = json!(subscription.id);
            }
            Done::Email(email) => customers::email_synced(&mut tx, self.firm, email, now).await?,
            Done::Page(page) => {
                let until = page.expires_at.unwrap_or(now + PAGE_WORKS);
                requests::keep_link(&mut tx, self.firm, self.id, (&page.url, until), now).await?;
            }
        }
        requests::end(&mut tx, self.firm, self.id, None, now).await?;
        let entry = self
            .by(&tx)
            .entry("platform.done", "firm", self.firm.0, told.clone());
        audit::record(&mut tx, self.firm, now, &entry).await?;
        tx.commit().await?;
        Ok(Outcome::Done(told))
    }

    async fn refused(&self, code: &str) -> Result<Outcome, JobError> {
        let (mut tx, order) = self.begin().await?;
        let now = tx.now();
        if order.is_over {
            return Ok(Outcome::AlreadyApplied("the request has an outcome"));
        }
        requests::end(&mut tx, self.firm, self.id, Some(code), now).await?;
        let meta = json!({"kind": order.ask.kind(), "request": self.id, "reason": code});
        let mut entry = self.by(&tx).entry("platform.refused", "firm", self.firm.0, meta);
        entry.severity = Severity::Warning;
        audit::record(&mut tx, self.firm, now, &entry).await?;
        tx.commit().await?;
        Ok(Outcome::Done(json!({"refused": code})))
    }

    fn by(&self, tx: &Tx) -> By<'_> {
        By {
            actor: &Actor::System,
            cause: &self.cause,
            at: tx.now(),
        }
    }
}
