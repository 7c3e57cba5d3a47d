//! Idempotency keys: what makes it safe to send a POST again.
//!
//! A key names one logical operation, so it is derived from our own row and never drawn at random: after a crash the same
//! row gives the same key. Two operations that may both be wanted must never share one, or Stripe answers the second with
//! the outcome of the first; hence one constructor per kind of call, and the attempt (not the invoice) in a confirmation.
use std::fmt;

use shared::{
    ids::{AttemptId, CycleId, PlatformRequestId, RefundId},
    money::Money,
    sabotage::{self, Sabotage},
};

/// Stripe's limit.
const MAX_CHARS: usize = 255;

/// The key of one POST: not empty, at most 255 characters, made of our ids, so it holds no personal data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey(String);

/// A stored key that Stripe would not accept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {MAX_CHARS} visible ASCII characters")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// Creating the cycle's one PaymentIntent, for the attempt that needs it. Not the cycle: Stripe would answer a
    /// second creation, of another amount or after a server error, from memory for a day. Creating moves no money.
    #[must_use]
    pub fn create(attempt: AttemptId) -> Self {
        Self(format!("create:{attempt}"))
    }

    /// Confirming the intent for one attempt: the call that moves money.
    #[must_use]
    pub fn confirm(attempt: AttemptId) -> Self {
        Self(format!("confirm:{attempt}"))
    }

    /// Changing the intent's amount ahead of an attempt. The attempt is part of it because an amount may come back: of
    /// 100, 50 and 100 again, Stripe would answer the second 100 from memory and leave the intent at 50.
    #[must_use]
    pub fn update(attempt: AttemptId, amount: Money) -> Self {
        Self(format!("update:{attempt}:{}", amount.minor()))
    }

    /// Canceling the cycle's PaymentIntent, `run` times so far. Canceling twice does no harm, while Stripe would answer
    /// a repetition of the same key from memory: "still processing", hours after that has ended.
    #[must_use]
    pub fn cancel(cycle: CycleId, run: i64) -> Self {
        Self(format!("cancel:{cycle}:{run}"))
    }

    /// Giving money back for one refund: the other call that moves money. One key for as long as the refund lives.
    #[must_use]
    pub fn refund(refund: RefundId) -> Self {
        if sabotage::is_on(Sabotage::P3KeyPerCall) {
            return Self(format!("refund:{}", RefundId::new()));
        }
        Self(format!("refund:{refund}"))
    }

    /// Making a firm the platform's customer, for the request that needs one. Not the firm: another request may send another
    /// address, which Stripe would refuse under the same key.
    #[must_use]
    pub fn platform_customer(request: PlatformRequestId) -> Self {
        Self(format!("platform_customer:{request}"))
    }

    /// Whatever somebody asked of platform billing: one request, one key.
    #[must_use]
    pub fn platform(request: PlatformRequestId) -> Self {
        Self(format!("platform:{request}"))
    }

    /// A key as it was stored with its attempt.
    ///
    /// # Errors
    /// When Stripe would not accept it.
    pub fn parse(stored: &str) -> Result<Self, InvalidKey> {
        let fits = (1..=MAX_CHARS).contains(&stored.len());
        if fits && stored.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(stored.to_owned()))
        } else {
            Err(InvalidKey)
        }
    }

    /// The text, as it is stored and sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use shared::currency::Currency;

    use super::*;

    /// B-17.
    #[test]
    fn every_operation_has_its_own_key() {
        let (cycle, attempt) = (CycleId::new(), AttemptId::new());
        let amount = Money::new(1000, Currency::USD);
        let keys = [
            IdempotencyKey::create(attempt),
            IdempotencyKey::cancel(cycle, 1),
            IdempotencyKey::cancel(cycle, 2),
            IdempotencyKey::confirm(attempt),
            IdempotencyKey::update(attempt, amount),
            IdempotencyKey::update(attempt, Money::new(500, Currency::USD)),
            IdempotencyKey::confirm(AttemptId::new()),
            IdempotencyKey::refund(RefundId(attempt.0)),
            IdempotencyKey::platform_customer(PlatformRequestId(attempt.0)),
            IdempotencyKey::platform(PlatformRequestId(attempt.0)),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(
                keys.iter().skip(i + 1).all(|other| other != key),
                "{key} is used twice"
            );
        }
        assert_eq!(
            IdempotencyKey::create(attempt).as_str(),
            format!("create:{attempt}")
        );
    }

    #[test]
    fn stored_key_survives_the_round_trip_and_a_bad_one_is_refused() {
        let key = IdempotencyKey::confirm(AttemptId::new());
        assert_eq!(IdempotencyKey::parse(key.as_str()), Ok(key));
        for bad in ["", "a b", "schlüssel", &"x".repeat(256)] {
            assert_eq!(IdempotencyKey::parse(bad), Err(InvalidKey), "{bad:?}");
        }
    }
}
