//! How far a dispute is, whatever the order in which we hear of it, and what it did to the money.
//!
//! The status stays Stripe's word; kind and outcome are derived from all statuses seen, the kind also from whether money
//! was taken. Both only move one way, so any order of snapshots, with any repetitions, ends the same. An inquiry that
//! closes is `inquiry_closed` and never lost: no money moved. Money is booked from the dispute's balance transactions
//! alone, and never from its outcome.
//!
//! Known limit: a dispute that Stripe sends back from `under_review` to `needs_response` keeps showing `under_review`
//! until it ends. Its deadline is copied from the fetched object by the caller and is not decided here.
use std::{collections::BTreeSet, convert::Infallible, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{predicate::Predicate, words::word_enum};
use crate::currency::Currency;

/// Stripe's status of a dispute, verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Status {
    /// Inquiry: waits for our answer.
    WarningNeedsResponse,
    /// Inquiry: answered.
    WarningUnderReview,
    /// Inquiry: ended without a chargeback.
    WarningClosed,
    /// Chargeback: waits for our evidence.
    NeedsResponse,
    /// Chargeback: evidence sent.
    UnderReview,
    /// Chargeback: decided for us.
    Won,
    /// Chargeback: decided against us.
    Lost,
    /// Stopped before it was filed.
    Prevented,
    /// Ended by a refund; Stripe's older API versions only.
    ChargeRefunded,
    /// A word that Stripe did not have when this was written.
    Unknown(String),
}

word_enum!(
    /// How serious a dispute is.
    Kind, "dispute kind":
    /// The bank asks; no money moved.
    Inquiry = "inquiry",
    /// The bank took the money back until it is decided.
    Chargeback = "chargeback",
);

word_enum!(
    /// How a dispute ended.
    Outcome, "dispute outcome":
    /// For us.
    Won = "won",
    /// Against us.
    Lost = "lost",
    /// It was taken back, prevented, or settled by a refund.
    Withdrawn = "withdrawn",
    /// The inquiry ended without a chargeback.
    InquiryClosed = "inquiry_closed",
);

/// A dispute as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Furthest status seen.
    pub status: Status,
    /// Inquiry until a snapshot says chargeback.
    pub kind: Kind,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
}

/// A dispute as a snapshot shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its status.
    pub status: Status,
    /// Whether any of its balance transactions took money: that proves a chargeback, however it ended.
    pub took_money: bool,
}

impl Seen {
    /// The kind that this snapshot proves.
    fn kind(&self) -> Kind {
        if self.took_money {
            Kind::Chargeback
        } else {
            self.status.kind()
        }
    }
}

/// What a snapshot changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing: this status, or a later one, is there already.
    AlreadyApplied,
    /// The row becomes this.
    Apply {
        /// Status to store.
        status: Status,
        /// Kind to store.
        kind: Kind,
        /// Outcome to store.
        outcome: Option<Outcome>,
        /// Nothing was on record before.
        opened: bool,
        /// An inquiry on record turned out to be a chargeback.
        escalated: bool,
        /// The outcome is new.
        closed: bool,
    },
    /// The dispute has ended, and not like this: a person has to look. The record stays.
    Contradicts {
        /// The outcome on record.
        recorded: Outcome,
        /// The outcome just seen.
        seen: Outcome,
    },
}

impl Status {
    /// Stripe's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::WarningNeedsResponse => "warning_needs_response",
            Self::WarningUnderReview => "warning_under_review",
            Self::WarningClosed => "warning_closed",
            Self::NeedsResponse => "needs_response",
            Self::UnderReview => "under_review",
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Prevented => "prevented",
            Self::ChargeRefunded => "charge_refunded",
            Self::Unknown(word) => word,
        }
    }

    /// Reads Stripe's word; every word is accepted.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "warning_needs_response" => Self::WarningNeedsResponse,
            "warning_under_review" => Self::WarningUnderReview,
            "warning_closed" => Self::WarningClosed,
            "needs_response" => Self::NeedsResponse,
            "under_review" => Self::UnderReview,
            "won" => Self::Won,
            "lost" => Self::Lost,
            "prevented" => Self::Prevented,
            "charge_refunded" => Self::ChargeRefunded,
            _ => Self::Unknown(word.to_owned()),
        }
    }

    /// The kind that this status alone proves. What ends a dispute without a decision proves no chargeback.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::WarningNeedsResponse
            | Self::WarningUnderReview
            | Self::WarningClosed
            | Self::Prevented
            | Self::ChargeRefunded => Kind::Inquiry,
            Self::NeedsResponse | Self::UnderReview | Self::Won | Self::Lost => Kind::Chargeback,
            Self::Unknown(word) if word.starts_with("warning_") => Kind::Inquiry,
            // A status that we cannot read is taken seriously: the invoice is fenced until it ends.
            Self::Unknown(_) => Kind::Chargeback,
        }
    }

    /// The outcome, when this status ends the dispute.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Won => Some(Outcome::Won),
            Self::Lost => Some(Outcome::Lost),
            Self::WarningClosed => Some(Outcome::InquiryClosed),
            Self::Prevented | Self::ChargeRefunded => Some(Outcome::Withdrawn),
            Self::WarningNeedsResponse
            | Self::WarningUnderReview
            | Self::NeedsResponse
            | Self::UnderReview
            | Self::Unknown(_) => None,
        }
    }

    /// How far along the dispute is. Unknown words stand behind the known ones of their kind, so that they are seen;
    /// the word itself breaks ties between two unknown ones.
    fn progress(&self) -> (u8, &str) {
        let rank = match self {
            Self::WarningNeedsResponse => 1,
            Self::WarningUnderReview => 2,
            Self::Unknown(_) if self.kind() == Kind::Inquiry => 3,
            Self::NeedsResponse => 4,
            Self::UnderReview => 5,
            Self::Unknown(_) => 6,
            Self::WarningClosed | Self::Won | Self::Lost | Self::Prevented | Self::ChargeRefunded => 7,
        };
        (rank, self.as_str())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Self, Infallible> {
        Ok(Self::parse(word))
    }
}

/// Compares a snapshot with what is on record (`None` when nothing is).
///
/// `opened` and `closed` come true once in the life of a dispute, in whatever order its snapshots arrive; `escalated` at
/// most once, and not at all when the first snapshot shows a chargeback. A snapshot from before the end that proves a
/// chargeback still turns a closed inquiry into a closed chargeback.
#[must_use]
pub fn observe(current: Option<&Known>, seen: &Seen) -> Change {
    let Some(known) = current else {
        return Change::Apply {
            status: seen.status.clone(),
            kind: seen.kind(),
            outcome: seen.status.outcome(),
            opened: true,
            escalated: false,
            closed: seen.status.outcome().is_some(),
        };
    };
    if let (Some(recorded), Some(new)) = (known.outcome, seen.status.outcome())
        && recorded != new
    {
        return Change::Contradicts { recorded, seen: new };
    }
    let escalated = known.kind == Kind::Inquiry && seen.kind() == Kind::Chargeback;
    let advanced = known.outcome.is_none() && seen.status.progress() > known.status.progress();
    if !escalated && !advanced {
        return Change::AlreadyApplied;
    }
    Change::Apply {
        status: if advanced {
            seen.status.clone()
        } else {
            known.status.clone()
        },
        kind: if escalated { Kind::Chargeback } else { known.kind },
        outcome: if advanced {
            seen.status.outcome()
        } else {
            known.outcome
        },
        opened: false,
        escalated,
        closed: advanced && seen.status.outcome().is_some(),
    }
}

/// What decides whether a person may settle a dispute for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolutionFacts {
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// A person has decided about it before.
    pub decided: bool,
    /// It is to be billed again, and not given up.
    pub rebill: bool,
    /// It took money that has not come back, for an invoice.
    pub took_money: bool,
}

/// Whether a lost dispute may be billed again or written off: why not, if it may not. All conditions are looked at, and
/// the first that fails decides.
#[must_use]
pub fn decide_resolution(facts: &ResolutionFacts) -> (Option<&'static str>, Vec<Predicate>) {
    let check = Predicate::new;
    let ended = facts.outcome.map(Outcome::as_str);
    let table = [
        (
            check("dispute_ended", ended.is_some(), json!(ended)),
            "dispute_open",
        ),
        (
            check("dispute_lost", facts.outcome == Some(Outcome::Lost), json!(ended)),
            "dispute_not_lost",
        ),
        (
            check("not_decided_before", !facts.decided, json!(facts.decided)),
            "already_decided",
        ),
        (
            check(
                "money_taken",
                facts.took_money || !facts.rebill,
                json!(facts.took_money),
            ),
            "nothing_taken",
        ),
    ];
    let refusal = table.iter().find(|(check, _)| check.ok == Some(false));
    let refusal = refusal.map(|(_, reason)| *reason);
    (refusal, table.into_iter().map(|(check, _)| check).collect())
}

/// A balance transaction of a dispute, as Stripe gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// Its id (`txn_…`).
    pub id: String,
    /// What it did to the balance, fee apart: negative when money was taken.
    pub amount_minor: i64,
    /// The fee: negative when it was given back.
    pub fee_minor: i64,
    /// Currency of the balance, not always the charge's.
    pub currency: Currency,
    /// When.
    pub created: DateTime<Utc>,
}

word_enum!(
    /// What a balance transaction did.
    MovementKind, "movement kind":
    /// The disputed amount was taken.
    Withdrawn = "withdrawn",
    /// The disputed amount came back.
    Reinstated = "reinstated",
    /// A fee was taken.
    Fee = "fee",
    /// A fee was given back.
    FeeRefund = "fee_refund",
);

/// One movement of money. Transaction id and kind identify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The balance transaction that it is part of.
    pub txn_id: String,
    /// What happened.
    pub kind: MovementKind,
    /// How much; always positive.
    pub amount_minor: i64,
    /// Currency of the balance.
    pub currency: Currency,
    /// When.
    pub at: DateTime<Utc>,
}

/// Takes balance transactions apart into movements: Stripe puts the amount and its fee into one. A transaction that is
/// listed twice counts once; a part that is zero is no movement.
#[must_use]
pub fn movements(txns: &[Txn]) -> Vec<Movement> {
    let mut taken = BTreeSet::new();
    let once = txns.iter().filter(|txn| taken.insert(txn.id.as_str()));
    once.flat_map(|txn| {
        let amount = part(
            txn,
            txn.amount_minor,
            MovementKind::Reinstated,
            MovementKind::Withdrawn,
        );
        let fee = part(txn, txn.fee_minor, MovementKind::Fee, MovementKind::FeeRefund);
        [amount, fee].into_iter().flatten()
    })
    .collect()
}

/// One part of a transaction, by its sign.
fn part(txn: &Txn, minor: i64, if_positive: MovementKind, if_negative: MovementKind) -> Option<Movement> {
    let kind = match minor {
        0 => return None,
        1.. => if_positive,
        _ => if_negative,
    };
    let (txn_id, amount_minor) = (txn.id.clone(), minor.saturating_abs());
    Some(Movement {
        txn_id,
        kind,
        amount_minor,
        currency: txn.currency,
        at: txn.created,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(word: &str) -> Status {
        Status::parse(word)
    }

    #[test]
    fn a18_each_of_stripes_words_is_read_as_itself_and_another_is_kept_as_it_came() {
        let words = [
            "warning_needs_response",
            "warning_under_review",
            "warning_closed",
            "needs_response",
            "under_review",
            "won",
            "lost",
            "prevented",
            "charge_refunded",
        ];
        for word in words {
            assert!(!matches!(status(word), Status::Unknown(_)), "{word} is known");
            assert_eq!(status(word).as_str(), word);
        }
        assert_eq!(status("warning_new"), Status::Unknown("warning_new".to_owned()));
    }

    #[test]
    fn a19_each_condition_of_a_resolution_alone_refuses_with_its_own_reason() {
        let lost = ResolutionFacts {
            outcome: Some(Outcome::Lost),
            decided: false,
            rebill: true,
            took_money: true,
        };
        type Break = fn(&mut ResolutionFacts);
        let cases: [(Break, Option<&str>); 6] = [
            (|_| {}, None),
            (|f| f.outcome = None, Some("dispute_open")),
            (|f| f.outcome = Some(Outcome::Won), Some("dispute_not_lost")),
            (
                |f| f.outcome = Some(Outcome::InquiryClosed),
                Some("dispute_not_lost"),
            ),
            (|f| f.decided = true, Some("already_decided")),
            (|f| f.took_money = false, Some("nothing_taken")),
        ];
        for (break_it, refusal) in cases {
            let mut facts = lost;
            break_it(&mut facts);
            assert_eq!(decide_resolution(&facts).0, refusal);
        }
        // what took nothing is given up all the same, so that nobody waits for a decision
        let nothing = ResolutionFacts {
            rebill: false,
            took_money: false,
            ..lost
        };
        assert_eq!(decide_resolution(&nothing).0, None);
    }

    fn seen(word: &str) -> Seen {
        Seen {
            status: status(word),
            took_money: false,
        }
    }

    /// Applies snapshots in order; gives the record and how often it opened, escalated and closed.
    fn run(words: &[&str]) -> (Option<Known>, [u32; 3]) {
        let (mut record, mut times) = (None, [0; 3]);
        for word in words {
            match observe(record.as_ref(), &seen(word)) {
                Change::Apply {
                    status,
                    kind,
                    outcome,
                    opened,
                    escalated,
                    closed,
                } => {
                    record = Some(Known {
                        status,
                        kind,
                        outcome,
                    });
                    for (count, happened) in times.iter_mut().zip([opened, escalated, closed]) {
                        *count += u32::from(happened);
                    }
                }
                Change::AlreadyApplied | Change::Contradicts { .. } => {}
            }
        }
        (record, times)
    }

    fn known(word: &str, kind: Kind, outcome: Option<Outcome>) -> Option<Known> {
        Some(Known {
            status: status(word),
            kind,
            outcome,
        })
    }

    /// The lives that a dispute can have, with how each ends.
    fn lives() -> Vec<(Vec<&'static str>, Option<Known>)> {
        use Kind::{Chargeback, Inquiry};
        vec![
            (
                vec!["warning_needs_response"],
                known("warning_needs_response", Inquiry, None),
            ),
            (
                vec!["warning_needs_response", "warning_under_review", "warning_closed"],
                known("warning_closed", Inquiry, Some(Outcome::InquiryClosed)),
            ),
            (
                vec!["needs_response", "under_review"],
                known("under_review", Chargeback, None),
            ),
            (
                vec!["needs_response", "under_review", "won"],
                known("won", Chargeback, Some(Outcome::Won)),
            ),
            (
                vec!["needs_response", "lost"],
                known("lost", Chargeback, Some(Outcome::Lost)),
            ),
            (
                vec![
                    "warning_needs_response",
                    "warning_under_review",
                    "needs_response",
                    "under_review",
                    "lost",
                ],
                known("lost", Chargeback, Some(Outcome::Lost)),
            ),
            (
                vec!["warning_needs_response", "prevented"],
                known("prevented", Inquiry, Some(Outcome::Withdrawn)),
            ),
            (
                vec!["needs_response", "prevented"],
                known("prevented", Chargeback, Some(Outcome::Withdrawn)),
            ),
            (
                vec!["prevented"],
                known("prevented", Inquiry, Some(Outcome::Withdrawn)),
            ),
            (
                vec!["needs_response", "charge_refunded"],
                known("charge_refunded", Chargeback, Some(Outcome::Withdrawn)),
            ),
            (
                vec!["needs_response", "arbitration", "won"],
                known("won", Chargeback, Some(Outcome::Won)),
            ),
            (
                vec!["warning_needs_response", "warning_x", "warning_y"],
                known("warning_y", Inquiry, None),
            ),
            // an unknown word is seen behind the known ones of its kind, and not behind those of the other
            (vec!["arbitration"], known("arbitration", Chargeback, None)),
            (
                vec!["needs_response", "under_review", "arbitration"],
                known("arbitration", Chargeback, None),
            ),
            (
                vec!["warning_under_review", "warning_x", "needs_response"],
                known("needs_response", Chargeback, None),
            ),
        ]
    }

    #[test]
    fn a_life_in_order_opens_once_and_ends_as_it_should() {
        for (words, end) in lives() {
            let closes = u32::from(end.as_ref().is_some_and(|known| known.outcome.is_some()));
            let (record, [opened, _, closed]) = run(&words);
            assert_eq!((record, opened, closed), (end, 1, closes), "{words:?}");
        }
    }

    #[test]
    fn an_inquiry_that_closes_is_not_lost() {
        let (record, _) = run(&["warning_needs_response", "warning_closed"]);
        assert_eq!(record.unwrap().outcome, Some(Outcome::InquiryClosed));
    }

    #[test]
    fn an_inquiry_that_becomes_a_chargeback_escalates_once() {
        assert_eq!(
            run(&["warning_needs_response", "needs_response", "under_review"]).1,
            [1, 1, 0]
        );
        assert_eq!(run(&["needs_response", "warning_needs_response"]).1, [1, 0, 0]);
    }

    #[test]
    fn a_dispute_first_heard_of_at_its_end_opens_and_closes_at_once() {
        assert_eq!(
            run(&["lost"]),
            (known("lost", Kind::Chargeback, Some(Outcome::Lost)), [1, 0, 1])
        );
    }

    #[test]
    fn a_prevented_dispute_that_took_money_was_a_chargeback_even_when_nothing_else_was_seen() {
        let prevented = Seen {
            took_money: true,
            ..seen("prevented")
        };
        let Change::Apply { kind, outcome, .. } = observe(None, &prevented) else {
            panic!("it is new");
        };
        assert_eq!((kind, outcome), (Kind::Chargeback, Some(Outcome::Withdrawn)));
    }

    /// It closed when its end was first seen, and not again when more is known of the money.
    #[test]
    fn an_end_seen_again_with_the_money_that_it_took_escalates_and_closes_no_second_time() {
        let ended = known("prevented", Kind::Inquiry, Some(Outcome::Withdrawn)).unwrap();
        let with_money = Seen {
            took_money: true,
            ..seen("prevented")
        };
        assert_eq!(
            observe(Some(&ended), &with_money),
            Change::Apply {
                status: Status::Prevented,
                kind: Kind::Chargeback,
                outcome: Some(Outcome::Withdrawn),
                opened: false,
                escalated: true,
                closed: false,
            }
        );
    }

    #[test]
    fn the_same_status_again_changes_nothing() {
        for (words, end) in lives() {
            let last = seen(words.last().unwrap());
            assert_eq!(observe(end.as_ref(), &last), Change::AlreadyApplied, "{words:?}");
        }
    }

    #[test]
    fn a_second_and_different_end_is_pointed_out_and_changes_nothing() {
        let won = known("won", Kind::Chargeback, Some(Outcome::Won)).unwrap();
        let change = observe(Some(&won), &seen("lost"));
        assert_eq!(
            change,
            Change::Contradicts {
                recorded: Outcome::Won,
                seen: Outcome::Lost
            }
        );
        assert_eq!(observe(Some(&won), &seen("won")), Change::AlreadyApplied);
    }

    #[test]
    fn the_word_is_kept_verbatim() {
        for word in [
            "warning_needs_response",
            "won",
            "charge_refunded",
            "prevented",
            "a_new_word",
            "",
        ] {
            assert_eq!(status(word).to_string(), word);
        }
    }

    fn txn(id: &str, amount_minor: i64, fee_minor: i64) -> Txn {
        let created = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Txn {
            id: id.into(),
            amount_minor,
            fee_minor,
            currency: Currency::USD,
            created,
        }
    }

    #[test]
    fn a_balance_transaction_is_taken_apart_into_amount_and_fee() {
        let list = [
            txn("txn_1", -1_000, 1_500),
            txn("txn_2", 1_000, -1_500),
            txn("txn_3", 1_000, 0),
            txn("txn_1", -1_000, 1_500),
        ];
        let moved: Vec<(String, MovementKind, i64)> = movements(&list)
            .into_iter()
            .map(|m| (m.txn_id, m.kind, m.amount_minor))
            .collect();
        let expected = [
            ("txn_1", MovementKind::Withdrawn, 1_000),
            ("txn_1", MovementKind::Fee, 1_500),
            ("txn_2", MovementKind::Reinstated, 1_000),
            ("txn_2", MovementKind::FeeRefund, 1_500),
            ("txn_3", MovementKind::Reinstated, 1_000),
        ];
        assert_eq!(
            moved,
            expected.map(|(id, kind, minor)| (id.to_owned(), kind, minor))
        );
        assert_eq!(movements(&[txn("txn_1", 0, 0)]), []);
    }

    proptest! {
        #[test]
        fn any_order_with_any_repetition_ends_the_same(
            ((words, end), order) in prop::sample::select(lives()).prop_flat_map(|life| {
                let words = life.0.clone();
                let more = prop::collection::vec(prop::sample::select(words.clone()), 0..6);
                let all = more.prop_map(move |more| [words.clone(), more].concat());
                (Just(life), all.prop_shuffle())
            }),
        ) {
            let (record, [opened, escalated, closed]) = run(&order);
            prop_assert_eq!(&record, &end, "{:?} as {:?}", words, order);
            let closes = u32::from(end.is_some_and(|known| known.outcome.is_some()));
            prop_assert!(opened == 1 && escalated <= 1 && closed == closes);
        }

        #[test]
        fn movements_add_up_to_the_net_of_their_transactions(
            raw in prop::collection::vec((-1_000_000_i64..1_000_000, -5_000_i64..5_000), 0..6),
        ) {
            let txns: Vec<Txn> = raw.iter().enumerate().map(|(n, (amount, fee))| txn(&format!("txn_{n}"), *amount, *fee)).collect();
            let net: i64 = movements(&txns).iter().map(|m| match m.kind {
                MovementKind::Reinstated | MovementKind::FeeRefund => m.amount_minor,
                MovementKind::Withdrawn | MovementKind::Fee => -m.amount_minor,
            }).sum();
            prop_assert_eq!(net, raw.iter().map(|(amount, fee)| amount - fee).sum::<i64>());
            prop_assert!(movements(&txns).iter().all(|m| m.amount_minor > 0));
        }
    }
}
