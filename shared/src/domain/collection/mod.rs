//! Collecting one invoice: may it be charged now, and what does a PaymentIntent that we saw mean?
//!
//! [`decide_charge`] is asked before every attempt, under the invoice's lock. [`fn@observe`] is the one reducer for the
//! answer of our own call, for webhooks and for lookups: whichever comes first wins, and the rest changes nothing.
//! [`fn@review`] looks again at what stands still, and [`fn@restart`] says how an invoice that was given up is collected again.
mod decide;
mod observe;
mod restart;
mod review;
#[cfg(test)]
mod tests;

pub use decide::{
    AMOUNT_ABOVE_LIMIT, ChargeDecision, ChargeFacts, LIMIT_IN_OTHER_CURRENCY, Limits, PerDay,
    TOO_MANY_CHARGES, decide_by_hand, decide_charge, decide_send,
};
pub use observe::{
    AttemptChange, AttemptView, CycleChange, CycleView, IntentFailure, IntentSeen, IntentStatus,
    NO_EFFECT_AFTER, NextAttempt, Note, Observed, ProcessorFee, REJECTED_REQUEST, Source, observe, technical,
    technical_backoff,
};
pub use restart::{CardNow, Failure, History, Restart, restart};
pub use review::{Asked, Review, needs_a_person, review};

use super::words::word_enum;

word_enum!(
    /// Where the effort to collect an invoice stands.
    CycleState, "cycle state":
    /// First attempt is due at `next_attempt_at`.
    Scheduled = "scheduled",
    /// An attempt is under way.
    InFlight = "in_flight",
    /// A soft decline; the next step is due at `next_attempt_at`.
    RetryWait = "retry_wait",
    /// The client must authenticate the payment.
    ActionRequired = "action_required",
    /// The card will not work again; waits for another one.
    MethodRequired = "method_required",
    /// We do not know how the last call ended, and ask until we do.
    Unknown = "unknown",
    /// Stopped by a fence, a pause or a fault that a person must look at.
    Paused = "paused",
    /// The money is here.
    Succeeded = "succeeded",
    /// Out of steps.
    Exhausted = "exhausted",
    /// Given up: paid otherwise, switched off, void.
    Canceled = "canceled",
);

word_enum!(
    /// One try to charge.
    AttemptState, "attempt state":
    /// Decided and written down; nothing was sent.
    Created = "created",
    /// About to be sent, or sent.
    Sent = "sent",
    /// Stripe works on it.
    Processing = "processing",
    /// The client must act.
    ActionRequired = "action_required",
    /// Captured.
    Succeeded = "succeeded",
    /// Refused by the issuer or by Stripe.
    Declined = "declined",
    /// Had no effect, as a lookup or Stripe's own answer shows; tried again by itself, uses up no step.
    Technical = "technical",
    /// We do not know.
    Unknown = "unknown",
    /// Taken back before it had an effect.
    Canceled = "canceled",
);

word_enum!(
    /// Why an attempt was made.
    Trigger, "trigger":
    /// The first one.
    Auto = "auto",
    /// A step of the retry policy.
    Retry = "retry",
    /// The card was replaced or updated.
    MethodUpdated = "method_updated",
    /// A person asked for it.
    Manual = "manual",
    /// The client paid.
    Portal = "portal",
);

impl CycleState {
    /// No more attempts will be made.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Exhausted | Self::Canceled)
    }

    /// Waits for the client, which has an end; then the cycle is exhausted for this reason.
    #[must_use]
    pub fn when_waited_in_vain(self) -> Option<&'static str> {
        match self {
            Self::ActionRequired => Some("action_deadline_passed"),
            Self::MethodRequired => Some("method_deadline_passed"),
            Self::Scheduled
            | Self::InFlight
            | Self::RetryWait
            | Self::Unknown
            | Self::Paused
            | Self::Succeeded
            | Self::Exhausted
            | Self::Canceled => None,
        }
    }
}

impl AttemptState {
    /// Its outcome is not settled.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::Created | Self::Sent | Self::Processing | Self::ActionRequired | Self::Unknown
        )
    }
}

impl AttemptState {
    /// An intent with this status tells nothing new of an attempt that stands here: both wait for the same. An attempt that
    /// was made or sent waits for nothing but its answer, so every status tells something of it.
    #[must_use]
    pub fn is_told_by(self, status: &IntentStatus) -> bool {
        matches!(
            (self, status),
            (Self::Processing, IntentStatus::Processing)
                | (Self::ActionRequired, IntentStatus::RequiresAction)
        )
    }
}

impl Trigger {
    /// Whether the attempt is a step of the retry policy (A-11: manual, portal and technical ones are not).
    #[must_use]
    pub fn counts_toward_ladder(self) -> bool {
        matches!(self, Self::Auto | Self::Retry)
    }
}
