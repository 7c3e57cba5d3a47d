//! What an alert can be about: its type, and the key by which the same thing told again is the same alert (B-23).
use chrono::{DateTime, NaiveDate, Utc};

use super::{platform::Metric, words::word_enum};
use crate::ids::{ClientId, InvoiceId};

word_enum!(
    /// The types of alert. Those about agents and policies belong to other systems; they come in by `alert raise`.
    AlertType, "alert type":
    /// An agent does not report.
    AgentOffline = "AGENT_OFFLINE",
    /// An agent never reported.
    AgentNeverSynced = "AGENT_NEVER_SYNCED",
    /// A charge was declined, or cannot be made without the client.
    PaymentFailed = "PAYMENT_FAILED",
    /// A subscription ends and does not renew itself.
    SubscriptionExpiring = "SUBSCRIPTION_EXPIRING",
    /// A limit of the plan is nearly reached.
    UsageHigh = "USAGE_HIGH",
    /// A policy was changed.
    PolicyChanged = "POLICY_CHANGED",
    /// Something stopped, and only a person gets it going.
    SystemError = "SYSTEM_ERROR",
    /// A subscription was cancelled.
    SubscriptionCancelled = "SUBSCRIPTION_CANCELLED",
    /// A payment is disputed.
    DisputeOpened = "DISPUTE_OPENED",
    /// The last retry failed; nothing more is tried.
    RetryExhausted = "RETRY_EXHAUSTED",
    /// What Stripe has is not what we have, or had decided.
    DriftDetected = "DRIFT_DETECTED",
    /// What was invoiced on a day.
    DailySummary = "DAILY_SUMMARY",
);

/// What is wrong. Its key names it, and not when or how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic<'a> {
    /// An invoice's charge failed and is tried again, or waits for the client.
    PaymentFailed(InvoiceId),
    /// An invoice's last retry failed.
    RetryExhausted(InvoiceId),
    /// An invoice's collection is stopped until a person has looked.
    CollectionStopped(InvoiceId),
    /// The firm's charges of a day have reached their number.
    TooManyCharges,
    /// Money came by this charge for a collection that had been given up, or for an invoice that was not open any more.
    LateMoney(&'a str),
    /// A dispute, by its Stripe id.
    Dispute(&'a str),
    /// Stripe says of a dispute that ended something else than its end, which stands. Decided for itself: neither the end of
    /// the dispute nor a decision about it says why.
    DisputeContradicts(&'a str),
    /// An event that nobody could apply.
    EventParked(&'a str),
    /// A client's automatic payment was paused by itself.
    ClientPaused(ClientId),
    /// A schedule fired long after it was due.
    ScheduleLate(&'a str),
    /// Our books and Stripe's differ, by the daily comparison.
    Drift,
    /// More of a firm's charges of this local day failed than it bears.
    FailureRate(NaiveDate),
    /// What a firm invoiced on this local day.
    DailySummary(NaiveDate),
    /// An invoice of the platform, by its Stripe id, that Stripe could not collect.
    PlatformPaymentFailed(&'a str),
    /// A firm's subscription, by its Stripe id, that ends with the period whose end this is.
    SubscriptionExpiring(&'a str, DateTime<Utc>),
    /// A firm's subscription, by its Stripe id, that is over.
    SubscriptionCancelled(&'a str),
    /// A limit of the firm's tier is nearly reached.
    UsageHigh(Metric),
    /// Whatever a person or another system names. Its key begins with [`NAMED`], so that nobody counts up, hides or resolves one of
    /// ours by giving it the same name.
    Named(&'a str),
}

/// What [`Topic::Named`] begins with, and no key of ours. It is not shown: whoever named an alert finds it under that name.
pub const NAMED: &str = "named:";
/// What [`Topic::FailureRate`] begins with, whatever the day.
pub const FAILURE_RATE: &str = "failure_rate:";
/// What [`Topic::DailySummary`] begins with, whatever the day.
pub const DAILY_SUMMARY: &str = "daily_summary:";

/// What every [`Topic::SubscriptionExpiring`] of a subscription begins with, whatever the end.
#[must_use]
pub fn expiring_of(subscription: &str) -> String {
    format!("subscription_expiring:{subscription}:")
}

/// Whether more of these charges failed than so many of a hundred.
#[must_use]
pub fn too_many_fail(failed: i64, charges: i64, percent: i32) -> bool {
    i128::from(failed) * 100 > i128::from(charges) * i128::from(percent)
}

impl Topic<'_> {
    /// The `dedupe_key`. Triggers of migrations 0014 and 0019 know those of a dispute, of a pause and of a discarded job.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Topic::PaymentFailed(invoice) => format!("payment_failed:{invoice}"),
            Topic::RetryExhausted(invoice) => format!("retry_exhausted:{invoice}"),
            Topic::CollectionStopped(invoice) => format!("collection_stopped:{invoice}"),
            Topic::TooManyCharges => "too_many_charges".to_owned(),
            Topic::LateMoney(charge) => format!("late_money:{charge}"),
            Topic::Dispute(dispute) => format!("dispute:{dispute}"),
            Topic::DisputeContradicts(dispute) => format!("dispute_contradicts:{dispute}"),
            Topic::EventParked(event) => format!("event_parked:{event}"),
            Topic::ClientPaused(client) => format!("client_paused:{client}"),
            Topic::ScheduleLate(schedule) => format!("schedule_late:{schedule}"),
            Topic::Drift => "drift".to_owned(),
            Topic::FailureRate(date) => format!("failure_rate:{date}"),
            Topic::DailySummary(date) => format!("daily_summary:{date}"),
            Topic::PlatformPaymentFailed(invoice) => format!("platform_payment_failed:{invoice}"),
            Topic::SubscriptionExpiring(subscription, end) => {
                format!("subscription_expiring:{subscription}:{}", end.timestamp())
            }
            Topic::SubscriptionCancelled(subscription) => format!("subscription_cancelled:{subscription}"),
            Topic::UsageHigh(metric) => format!("usage_high:{metric}"),
            Topic::Named(key) => [NAMED, *key].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a26_a_rate_is_exceeded_above_its_limit_and_not_at_it() {
        for (failed, charges, percent, exceeds) in [
            (0, 0, 10, false),
            (0, 5, 10, false),
            (1, 10, 10, false),
            (2, 19, 10, true),
            (1, 1, 10, true),
            (1, 1, 100, false),
            (i64::MAX, i64::MAX, 99, true),
        ] {
            let case = (failed, charges, percent);
            assert_eq!((case, too_many_fail(failed, charges, percent)), (case, exceeds));
        }
    }

    #[test]
    fn r205_no_name_that_somebody_gives_is_the_key_of_an_alert_of_ours() {
        let (invoice, client) = (InvoiceId::new(), ClientId::new());
        let ours = [
            Topic::PaymentFailed(invoice),
            Topic::RetryExhausted(invoice),
            Topic::CollectionStopped(invoice),
            Topic::TooManyCharges,
            Topic::LateMoney(FAILURE_RATE),
            Topic::Dispute(FAILURE_RATE),
            Topic::DisputeContradicts(FAILURE_RATE),
            Topic::EventParked(FAILURE_RATE),
            Topic::ClientPaused(client),
            Topic::ScheduleLate(FAILURE_RATE),
            Topic::Drift,
            Topic::FailureRate(NaiveDate::MIN),
            Topic::DailySummary(NaiveDate::MIN),
            Topic::PlatformPaymentFailed(FAILURE_RATE),
            Topic::SubscriptionExpiring(FAILURE_RATE, DateTime::UNIX_EPOCH),
            Topic::SubscriptionCancelled(FAILURE_RATE),
            Topic::UsageHigh(Metric::Agents),
        ];
        for topic in ours {
            let key = topic.key();
            assert!(!key.starts_with(NAMED));
            assert_ne!(Topic::Named(&key).key(), key);
        }
    }

    #[test]
    fn topics_of_days_begin_with_what_names_all_of_them() {
        let date = NaiveDate::MIN;
        assert!(Topic::FailureRate(date).key().starts_with(FAILURE_RATE));
        assert!(Topic::DailySummary(date).key().starts_with(DAILY_SUMMARY));
        let expiring = Topic::SubscriptionExpiring(FAILURE_RATE, DateTime::UNIX_EPOCH).key();
        assert!(expiring.starts_with(&expiring_of(FAILURE_RATE)));
    }
}
