//! What Stripe's word for a subscription's status means here. Stripe's word is kept beside it.
use crate::domain::words::word_enum;

word_enum!(
    /// What a subscription's status means to us.
    SubscriptionStatus, "subscription status":
    /// Paid, or on trial.
    Active = "ACTIVE",
    /// A payment failed, and Stripe tries again or has given up.
    PastDue = "PAST_DUE",
    /// Never began, or was paused.
    Inactive = "INACTIVE",
    /// Over.
    Cancelled = "CANCELLED",
);

impl SubscriptionStatus {
    /// From Stripe's word. A word that Stripe invents tomorrow opens nothing: it is inactive until somebody reads what it means.
    /// The generated column of `platform_subscriptions` says the same.
    #[must_use]
    pub fn of(stripe_status: &str) -> Self {
        match stripe_status {
            "active" | "trialing" => Self::Active,
            "past_due" | "unpaid" => Self::PastDue,
            "canceled" => Self::Cancelled,
            _ => Self::Inactive,
        }
    }

    /// Whether the firm has what it pays for.
    #[must_use]
    pub const fn is_active(self) -> bool {
        match self {
            Self::Active => true,
            Self::PastDue | Self::Inactive | Self::Cancelled => false,
        }
    }
}

/// Whether a subscription with this word of Stripe's is over for good: no later word changes it.
#[must_use]
pub fn is_final(stripe_status: &str) -> bool {
    ["canceled", "incomplete_expired"].contains(&stripe_status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r203_a24_stripes_eight_words_are_four_of_ours_and_an_unknown_one_opens_nothing() {
        for (word, ours, active, over) in [
            ("active", SubscriptionStatus::Active, true, false),
            ("trialing", SubscriptionStatus::Active, true, false),
            ("past_due", SubscriptionStatus::PastDue, false, false),
            ("unpaid", SubscriptionStatus::PastDue, false, false),
            ("incomplete", SubscriptionStatus::Inactive, false, false),
            ("incomplete_expired", SubscriptionStatus::Inactive, false, true),
            ("paused", SubscriptionStatus::Inactive, false, false),
            ("canceled", SubscriptionStatus::Cancelled, false, true),
            ("something_new", SubscriptionStatus::Inactive, false, false),
        ] {
            let status = SubscriptionStatus::of(word);
            assert_eq!(
                (status, status.is_active(), is_final(word)),
                (ours, active, over),
                "{word}"
            );
        }
    }
}
