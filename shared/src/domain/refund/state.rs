//! How far a refund is, whatever the order in which we hear of it.
//!
//! A refund only moves forward: requested, pending, succeeded, and it may still fail after that, when the card's bank
//! sends the money back. Failed and canceled are final. The states form a ladder, so any order of snapshots, with any
//! repetitions, ends on the same rung.
use crate::domain::words::word_enum;

word_enum!(
    /// How far a refund is.
    RefundState, "refund status":
    /// Asked for by us; Stripe has not answered.
    Requested = "requested",
    /// At Stripe, on its way.
    Pending = "pending",
    /// The money left.
    Succeeded = "succeeded",
    /// The money did not leave, or came back.
    Failed = "failed",
    /// Called off before the money left.
    Canceled = "canceled",
);

/// A refund status that Stripe did not have when this was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown refund status '{0}' from Stripe")]
pub struct UnknownRefundStatus(pub String);

/// What a snapshot changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: this state, or a later one, is there already.
    AlreadyApplied,
    /// The refund moves to this state.
    Apply(RefundState),
    /// The refund has ended, and not like this: a person has to look.
    Contradicts {
        /// The end on record.
        recorded: RefundState,
        /// The end just seen.
        seen: RefundState,
    },
}

impl RefundState {
    /// Reads Stripe's word. A refund that waits for the customer (`requires_action`) is pending.
    ///
    /// # Errors
    /// When Stripe says a word that we do not know: guessing could book money that has not moved.
    pub fn from_stripe(status: &str) -> Result<Self, UnknownRefundStatus> {
        match status {
            "pending" | "requires_action" => Ok(Self::Pending),
            "succeeded" => Ok(Self::Succeeded),
            "failed" => Ok(Self::Failed),
            "canceled" => Ok(Self::Canceled),
            _ => Err(UnknownRefundStatus(status.to_owned())),
        }
    }

    /// No later snapshot changes it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled)
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Requested => 0,
            Self::Pending => 1,
            Self::Succeeded => 2,
            Self::Failed | Self::Canceled => 3,
        }
    }
}

/// Compares a snapshot with what is on record (`None` when nothing is).
#[must_use]
pub fn observe(current: Option<RefundState>, seen: RefundState) -> Change {
    match current {
        Some(recorded) if recorded.is_final() && seen.is_final() && recorded != seen => {
            Change::Contradicts { recorded, seen }
        }
        Some(recorded) if seen.rank() <= recorded.rank() => Change::AlreadyApplied,
        Some(_) | None => Change::Apply(seen),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::RefundState::{Canceled, Failed, Pending, Requested, Succeeded};
    use super::*;

    #[test]
    fn a_refund_moves_forward_only() {
        for (current, seen, expected) in [
            (None, Succeeded, Change::Apply(Succeeded)),
            (Some(Requested), Pending, Change::Apply(Pending)),
            (Some(Pending), Succeeded, Change::Apply(Succeeded)),
            (Some(Succeeded), Failed, Change::Apply(Failed)),
            (Some(Pending), Canceled, Change::Apply(Canceled)),
            (Some(Succeeded), Pending, Change::AlreadyApplied),
            (Some(Failed), Succeeded, Change::AlreadyApplied),
            (Some(Failed), Failed, Change::AlreadyApplied),
            (
                Some(Failed),
                Canceled,
                Change::Contradicts {
                    recorded: Failed,
                    seen: Canceled,
                },
            ),
        ] {
            assert_eq!(observe(current, seen), expected, "{current:?} {seen}");
        }
    }

    #[test]
    fn stripes_words_are_read_and_an_unknown_one_is_not_guessed() {
        assert_eq!(RefundState::from_stripe("requires_action"), Ok(Pending));
        for state in RefundState::ALL.iter().filter(|state| **state != Requested) {
            assert_eq!(RefundState::from_stripe(state.as_str()), Ok(*state));
        }
        for word in ["requested", "reversed", ""] {
            assert!(RefundState::from_stripe(word).is_err(), "{word:?}");
        }
    }

    fn end_of(snapshots: &[RefundState]) -> Option<RefundState> {
        snapshots
            .iter()
            .fold(None, |current, seen| match observe(current, *seen) {
                Change::Apply(state) => Some(state),
                Change::AlreadyApplied | Change::Contradicts { .. } => current,
            })
    }

    proptest! {
        #[test]
        fn any_order_with_any_repetition_ends_the_same(
            (lifecycle, order) in prop::sample::select(vec![
                vec![Requested, Pending, Succeeded],
                vec![Requested, Pending, Succeeded, Failed],
                vec![Pending, Failed],
                vec![Requested, Pending, Canceled],
                vec![Succeeded],
            ]).prop_flat_map(|lifecycle| {
                let more = prop::collection::vec(prop::sample::select(lifecycle.clone()), 0..6);
                let all = more.prop_map({ let lifecycle = lifecycle.clone(); move |more| [lifecycle.clone(), more].concat() });
                (Just(lifecycle), all.prop_shuffle())
            }),
        ) {
            prop_assert_eq!(end_of(&order), lifecycle.last().copied());
        }
    }
}
