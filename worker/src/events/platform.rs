//! Platform billing: events about a firm's own subscription and its invoices.
//!
//! Whatever the event is, the same is fetched: the firm's subscription, its latest invoice, and the invoice that the event names.
//! So each of these events alone heals everything (S17), and makes whatever row is missing (S18).

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::{
    domain::{
        alert::{self, AlertType, Topic},
        platform::{
            Expiring, InvoiceSeen, SubscriptionSeen, SubscriptionStatus, expiring,
            expiring::TOLD_BEFORE,
            invoice::{self, Told},
            subscription::Observed,
        },
    },
    ids::{FirmId, SubscriptionId},
    store::{
        Tx,
        alerts::{self, NewAlert},
        audit::{self, By, Severity},
        inbox::InboxEvent,
        jobs::{self, NewJob, Queue},
        platform::{customers, invoices, subscriptions},
        routes::{self, Scope},
    },
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Unfetched;
use crate::{
    collection::At,
    context::Context,
    queue::JobError,
    stripe::{self, Invoice, Subscription},
};

/// Job kind that looks at a subscription again. Payload: `{"subscription_id"}`.
pub const REFRESH: &str = "refresh_subscription";

/// Whose an event of platform billing is, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// By an id that we have recorded.
    Known(FirmId),
    /// By our own reference on an object whose making is not recorded yet.
    Named(FirmId),
}

impl Owner {
    /// Whose.
    #[must_use]
    pub fn firm(self) -> FirmId {
        match self {
            Self::Known(firm) | Self::Named(firm) => firm,
        }
    }
}

/// The firm that an event is about in its role as a customer of the platform: by an id of ours first, then by what we wrote on
/// the object.
///
/// # Errors
/// When the database is away.
pub async fn owner(conn: &mut PgConnection, event: &InboxEvent) -> Result<Option<Owner>, JobError> {
    let known_by = ids(event);
    let routes = routes::find_all(conn, &known_by).await?;
    let of_platform = known_by
        .iter()
        .filter_map(|id| routes.get(id))
        .find(|route| route.scope == Scope::PlatformBilling.as_str());
    if let Some(route) = of_platform {
        return Ok(Some(Owner::Known(route.firm)));
    }
    let metadata = &event.facts["metadata"];
    if metadata["q_scope"] != Scope::PlatformBilling.as_str() {
        return Ok(None);
    }
    let firm = metadata["q_firm"]
        .as_str()
        .and_then(|firm| firm.parse::<Uuid>().ok());
    Ok(firm.map(|firm| Owner::Named(FirmId(firm))))
}

/// Every id in an event by which we may know its firm, most telling first.
fn ids(event: &InboxEvent) -> Vec<String> {
    let facts = &event.facts;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let mut found: Vec<String> = event.object_id.clone().into_iter().collect();
    found.extend(subscription_of(event));
    found.extend(
        ["payment_intent", "invoice", "charge", "customer"]
            .iter()
            .filter_map(|name| text(&facts[*name])),
    );
    found
}

/// The subscription that an event names: its object, a field of it, or its parent's.
fn subscription_of(event: &InboxEvent) -> Option<String> {
    let named = [
        &event.facts["subscription"],
        &event.facts["parent"]["subscription_details"]["subscription"],
    ];
    let object = event.object_id.as_deref().filter(|id| id.starts_with("sub_"));
    object
        .or_else(|| named.iter().find_map(|value| value.as_str()))
        .map(str::to_owned)
}

/// An invoice with the intents that it is paid with.
#[derive(Clone, Debug)]
struct SeenInvoice {
    seen: InvoiceSeen,
    intents: Vec<String>,
    customer: Option<String>,
}

/// What is there at Stripe of a firm's platform billing, as far as an event concerns it.
#[derive(Clone, Debug)]
pub struct SeenPlatform {
    owner: Owner,
    subscriptions: Vec<(SubscriptionSeen, Option<String>)>,
    invoices: Vec<SeenInvoice>,
    told: Told,
}

impl SeenPlatform {
    /// Whose.
    #[must_use]
    pub fn firm(&self) -> FirmId {
        self.owner.firm()
    }
}

/// Fetches what an event is about.
///
/// # Errors
/// When Stripe does not know it, or gives no usable answer.
pub async fn fetch(cx: &Context, owner: Owner, event: &InboxEvent) -> Result<SeenPlatform, Unfetched> {
    let told = match event.event_type.as_str() {
        "invoice.payment_failed" | "payment_intent.payment_failed" => Told::Failed,
        _ => Told::Nothing,
    };
    let invoice = event.object_id.clone().filter(|id| id.starts_with("in_"));
    let named = invoice.or_else(|| event.facts["invoice"].as_str().map(str::to_owned));
    read(cx, owner, subscription_of(event), named, told).await
}

/// Fetches what a subscription of a firm is like now.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_subscription(cx: &Context, firm: FirmId, id: &str) -> Result<SeenPlatform, Unfetched> {
    read(cx, Owner::Known(firm), Some(id.to_owned()), None, Told::Nothing).await
}

async fn read(
    cx: &Context,
    owner: Owner,
    subscription: Option<String>,
    invoice: Option<String>,
    told: Told,
) -> Result<SeenPlatform, Unfetched> {
    // Before anything is read: what is read is as it was then, or newer.
    let mut tx = cx.db.firm(owner.firm()).await.map_err(JobError::from)?;
    let at = tx.now();
    let of_firm = subscriptions::live(&mut tx, owner.firm())
        .await
        .map_err(JobError::from)?;
    let unsettled = match &invoice {
        Some(_) => Vec::new(),
        None => invoices::unsettled(&mut tx, owner.firm())
            .await
            .map_err(JobError::from)?,
    };
    drop(tx);
    let mut found = SeenPlatform {
        owner,
        subscriptions: Vec::new(),
        invoices: Vec::new(),
        told,
    };
    let named = invoice.clone();
    let mut to_read: BTreeSet<String> = unsettled.into_iter().chain(invoice).collect();
    let mut subscriptions: BTreeSet<String> = match subscription {
        Some(id) => BTreeSet::from([id]),
        None => of_firm.into_iter().collect(),
    };
    while let Some(id) = to_read.pop_first() {
        let invoice = match cx.stripe.invoice(&id).await {
            // A draft that was deleted at Stripe is no reason to wait, unless the event is about it.
            Err(stripe::Error::NotFound { .. }) if named.as_ref() != Some(&id) => continue,
            read => read?,
        };
        subscriptions.extend(invoice.subscription.clone());
        found.add(invoice, at);
    }
    for id in subscriptions {
        let subscription = cx.stripe.subscription(&id).await?;
        let latest = subscription.latest_invoice.clone();
        found.subscriptions.push((
            subscription_seen(&subscription, at),
            subscription.customer.clone(),
        ));
        if let Some(latest) = latest.filter(|id| !found.has(id)) {
            found.add(cx.stripe.invoice(&latest).await?, at);
        }
    }
    Ok(found)
}

impl SeenPlatform {
    fn has(&self, invoice: &str) -> bool {
        self.invoices.iter().any(|there| there.seen.id == invoice)
    }

    fn add(&mut self, invoice: Invoice, at: DateTime<Utc>) {
        self.invoices.push(SeenInvoice {
            intents: invoice.payment_intents.clone(),
            customer: invoice.customer.clone(),
            seen: invoice_seen(invoice, at),
        });
    }
}

/// A subscription as the domain knows it.
#[must_use]
pub fn subscription_seen(subscription: &Subscription, at: DateTime<Utc>) -> SubscriptionSeen {
    SubscriptionSeen {
        fetched_at: at,
        id: subscription.id.clone(),
        status: subscription.status.clone(),
        item: subscription.item.clone(),
        price: subscription.price.clone(),
        period_start: subscription.period_start,
        period_end: subscription.period_end,
        cancel_at_period_end: subscription.cancel_at_period_end,
        canceled_at: subscription.canceled_at,
        ended_at: subscription.ended_at,
        card: subscription.card.clone(),
        created: subscription.created,
    }
}

fn invoice_seen(invoice: Invoice, at: DateTime<Utc>) -> InvoiceSeen {
    InvoiceSeen {
        fetched_at: at,
        id: invoice.id,
        subscription: invoice.subscription,
        number: invoice.number,
        status: invoice.status,
        currency: invoice.currency,
        amount_due: invoice.amount_due,
        amount_paid: invoice.amount_paid,
        amount_remaining: invoice.amount_remaining,
        billing_reason: invoice.billing_reason,
        period_start: invoice.period_start,
        period_end: invoice.period_end,
        issued_at: invoice.finalized_at,
        due_at: invoice.due_date,
        paid_at: invoice.paid_at,
        attempt_count: invoice.attempt_count,
        next_attempt_at: invoice.next_payment_attempt,
        hosted_url: invoice.hosted_invoice_url,
        pdf_url: invoice.invoice_pdf,
        created: invoice.created,
    }
}

/// Writes down what was fetched. `false` when the firm is not there, or what was fetched is another customer's.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn apply(tx: &mut Tx, at: At<'_>, seen: &SeenPlatform) -> Result<bool, JobError> {
    if let Owner::Named(_) = seen.owner {
        let customer = seen
            .subscriptions
            .iter()
            .find_map(|(_, customer)| customer.clone())
            .or_else(|| seen.invoices.iter().find_map(|invoice| invoice.customer.clone()));
        let (Some(customer), true) = (customer, customers::may_be(tx, at.firm).await?) else {
            return Ok(false);
        };
        customers::record(tx, at.firm, &customer, at.now).await?;
    }
    let ours = customers::of(tx, at.firm)
        .await?
        .and_then(|customer| customer.stripe_customer_id);
    let of_subscriptions = seen.subscriptions.iter().map(|(_, customer)| customer);
    let of_invoices = seen.invoices.iter().map(|invoice| &invoice.customer);
    if of_subscriptions
        .chain(of_invoices)
        .any(|customer| *customer != ours)
    {
        return Ok(false);
    }
    let mut failing = seen.told;
    for (subscription, _) in &seen.subscriptions {
        apply_subscription(tx, at, subscription).await?;
        if subscription.meaning() == SubscriptionStatus::PastDue || subscription.status == "incomplete" {
            failing = Told::Failed;
        }
    }
    for invoice in &seen.invoices {
        apply_invoice(tx, at, invoice, failing).await?;
    }
    Ok(true)
}

/// Writes a subscription down, with what follows from its change: audit, alerts, the next look.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn apply_subscription(tx: &mut Tx, at: At<'_>, seen: &SubscriptionSeen) -> Result<(), JobError> {
    let written = subscriptions::write(tx, at.firm, seen).await?;
    let changed = match &written.observed {
        Observed::Stale => return Ok(()),
        Observed::Same => Vec::new(),
        Observed::New => vec!["new"],
        Observed::Changed(changed) => changed.clone(),
    };
    let actor = at.cause.actor();
    let by = By {
        actor: &actor,
        cause: at.cause,
        at: at.now,
    };
    let status = seen.meaning();
    if !changed.is_empty() {
        let meta = json!({"subscription": seen.id, "changed": changed, "status": status, "stripe_status": seen.status, "was": written.was,
                          "tier": written.tier, "tier_was": written.tier_was, "period_end": seen.period_end, "auto_renewal": seen.renews()});
        let is_new = written.observed == Observed::New;
        let action = if is_new {
            "subscription.started"
        } else {
            "subscription.updated"
        };
        let entry = by.entry(action, "subscription", written.id.0, meta.clone());
        audit::record(tx, at.firm, at.now, &entry).await?;
        if status == SubscriptionStatus::Cancelled && written.was != Some(SubscriptionStatus::Cancelled) {
            let mut entry = by.entry("subscription.cancelled", "subscription", written.id.0, meta);
            entry.severity = Severity::Warning;
            audit::record(tx, at.firm, at.now, &entry).await?;
            cancelled(tx, at, seen).await?;
        }
        if status.is_active() {
            // A cancellation before this one is no news any more.
            let of_others = (
                "subscription_cancelled:",
                &Topic::SubscriptionCancelled(seen.id.as_str()),
            );
            alerts::resolve_others(tx, at.firm, at.now, of_others).await?;
        }
        usage_alerts(tx, at).await?;
    }
    tell_of_end(tx, at, seen).await?;
    look_again(tx, at, written.id, seen).await
}

async fn cancelled(tx: &mut Tx, at: At<'_>, seen: &SubscriptionSeen) -> Result<(), JobError> {
    let alert = NewAlert {
        kind: AlertType::SubscriptionCancelled,
        severity: Severity::Warning,
        topic: Topic::SubscriptionCancelled(&seen.id),
        title: "The subscription is cancelled",
        message: "The firm's subscription to the platform is over. Whoever wants to go on subscribes again.",
        invoice: None,
        related: json!({"subscription": seen.id, "ended_at": seen.ended_at}),
        cause: at.cause,
    };
    alerts::raise(tx, at.firm, at.now, &alert).await?;
    Ok(())
}

/// Once per subscription and end of a period, however often it is looked at and whoever resolved it meanwhile.
async fn tell_of_end(tx: &mut Tx, at: At<'_>, seen: &SubscriptionSeen) -> Result<(), JobError> {
    let (why, end) = match (expiring(seen, at.now), seen.period_end) {
        (Some(why), Some(end)) => (why, end),
        _ => {
            alerts::resolve_all(tx, at.firm, at.now, &alert::expiring_of(&seen.id)).await?;
            return Ok(());
        }
    };
    let topic = Topic::SubscriptionExpiring(&seen.id, end);
    alerts::resolve_others(tx, at.firm, at.now, (&alert::expiring_of(&seen.id), &topic)).await?;
    if alerts::was_raised(tx, at.firm, &topic).await? {
        return Ok(());
    }
    let on = end.format("%F");
    let message = match why {
        Expiring::NotRenewed => format!("The subscription ends on {on} and does not renew itself."),
        Expiring::CardExpires => {
            format!("The card that pays for the subscription expires before it is renewed on {on}.")
        }
    };
    let alert = NewAlert {
        kind: AlertType::SubscriptionExpiring,
        severity: Severity::Warning,
        topic,
        title: "The subscription runs out",
        message: &message,
        invoice: None,
        related: json!({"subscription": seen.id, "period_end": end, "reason": why.code()}),
        cause: at.cause,
    };
    alerts::raise(tx, at.firm, at.now, &alert).await?;
    Ok(())
}

/// When a subscription is looked at without anybody telling of it: thirty days before its period ends, an hour after that, and
/// every day while a payment is missing. So lost events heal by themselves.
fn next_look(seen: &SubscriptionSeen, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if shared::domain::platform::status::is_final(&seen.status) {
        return None;
    }
    let end = seen.period_end;
    let tomorrow = (seen.meaning() != SubscriptionStatus::Active).then(|| {
        let midnight = now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        midnight + chrono::TimeDelta::days(1)
    });
    let times = [
        end.map(|end| end - TOLD_BEFORE),
        end.map(|end| end + chrono::TimeDelta::hours(1)),
        tomorrow,
    ];
    times.into_iter().flatten().filter(|time| *time > now).min()
}

async fn look_again(
    tx: &mut Tx,
    at: At<'_>,
    id: SubscriptionId,
    seen: &SubscriptionSeen,
) -> Result<(), JobError> {
    let Some(then) = next_look(seen, at.now) else {
        return Ok(());
    };
    let key = format!("{id}:{}", then.timestamp());
    let job = NewJob::new(
        Queue::Maintenance,
        REFRESH,
        key,
        json!({"subscription_id": id}),
        then,
    )
    .firm(at.firm);
    jobs::enqueue(tx, &job).await?;
    Ok(())
}

async fn apply_invoice(tx: &mut Tx, at: At<'_>, invoice: &SeenInvoice, told: Told) -> Result<(), JobError> {
    let SeenInvoice { seen, intents, .. } = invoice;
    let written = invoices::write(tx, at.firm, seen, intents).await?;
    let is_news = match written.observed {
        invoice::Observed::Stale => return Ok(()),
        invoice::Observed::Same => false,
        invoice::Observed::New | invoice::Observed::Changed => true,
    };
    if is_news {
        let actor = at.cause.actor();
        let by = By {
            actor: &actor,
            cause: at.cause,
            at: at.now,
        };
        let meta = json!({"stripe_invoice_id": seen.id, "status": seen.status, "currency": seen.currency, "amount_due_minor": seen.amount_due,
                          "amount_paid_minor": seen.amount_paid, "attempt_count": seen.attempt_count});
        let entry = by.entry("platform.invoice_updated", "platform_invoice", written.id.0, meta);
        audit::record(tx, at.firm, at.now, &entry).await?;
    }
    let topic = Topic::PlatformPaymentFailed(&seen.id);
    if seen.is_settled() {
        alerts::resolve(tx, at.firm, at.now, &[topic], "stripe").await?;
    } else if seen.has_failed(told) && (is_news || !alerts::was_raised(tx, at.firm, &topic).await?) {
        let next = seen.next_attempt_at.map_or_else(
            || "Stripe does not try again by itself.".to_owned(),
            |next| format!("Stripe tries again on {}.", next.format("%F %H:%M UTC")),
        );
        let alert = NewAlert {
            kind: AlertType::PaymentFailed,
            severity: Severity::Critical,
            topic,
            title: "The payment for the subscription failed",
            message: &format!(
                "Invoice {} of the platform could not be collected. {next}",
                seen.number.as_deref().unwrap_or(&seen.id)
            ),
            invoice: None,
            related: json!({"stripe_invoice_id": seen.id, "attempt_count": seen.attempt_count,
                            "amount_remaining_minor": seen.amount_remaining, "currency": seen.currency}),
            cause: at.cause,
        };
        alerts::raise(tx, at.firm, at.now, &alert).await?;
    }
    Ok(())
}

/// Raises an alert for each limit that is nearly reached, and resolves those of limits that are not.
///
/// # Errors
/// When the database is away.
pub async fn usage_alerts(tx: &mut Tx, at: At<'_>) -> Result<(), JobError> {
    shared::store::platform::usage::tell(tx, at.firm, at.now, at.cause).await?;
    Ok(())
}
