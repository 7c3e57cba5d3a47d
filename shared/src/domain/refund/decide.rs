//! May an invoice be refunded, and out of which of its payments?
//!
//! A refund is never more than what is left of the payments: what was given back already, what a chargeback took or holds,
//! and what became credit on arrival is gone. The newest payment is given back first, because its card is the likeliest to
//! take the money, and an amount that it does not cover is split over the ones before it.
use std::fmt;

use serde_json::json;

use crate::{
    domain::{predicate::Predicate, words::word_enum},
    ids::PaymentId,
    money::Money,
};

word_enum!(
    /// Where money that is given back goes. One refund goes to one of them, never to both.
    Destination, "destination":
    /// To the card that it came from.
    Card = "card",
    /// Into the client's credit.
    Credit = "credit",
);

/// A payment that may be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refundable {
    /// Which.
    pub payment: PaymentId,
    /// It came by card, so that it can go back to one.
    pub by_card: bool,
    /// What is left of it.
    pub left: Money,
}

/// What is given back of one payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of which.
    pub payment: PaymentId,
    /// How much.
    pub amount: Money,
}

/// What decides whether an invoice is refunded, read under its lock.
#[derive(Clone, Debug)]
pub struct RefundFacts {
    /// Where the money shall go.
    pub to: Destination,
    /// How much.
    pub amount: Money,
    /// The invoice is issued or written off: no draft, not void, not being voided.
    pub issued: bool,
    /// A chargeback on one of its payments is open.
    pub chargeback_open: bool,
    /// Its payments, the newest first.
    pub payments: Vec<Refundable>,
}

/// Why nothing is refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRefunded {
    /// A draft or a void invoice.
    NotIssued,
    /// Nobody paid anything.
    NothingPaid,
    /// The bank may give the money back as well.
    ChargebackOpen,
    /// More than is left.
    AboveLeft {
        /// What is.
        left: Money,
    },
    /// More than is left of what came by card.
    NotByCard {
        /// What did.
        by_card: Money,
    },
}

impl NotRefunded {
    /// For scripts, and in decisions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotIssued => "invoice_not_issued",
            Self::NothingPaid => "nothing_paid",
            Self::ChargebackOpen => "chargeback_open",
            Self::AboveLeft { .. } => "above_what_is_left",
            Self::NotByCard { .. } => "not_paid_by_card",
        }
    }
}

impl fmt::Display for NotRefunded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIssued => f.write_str("only an issued invoice is refunded, and this one is a draft, void, or being voided"),
            Self::NothingPaid => f.write_str("nothing was paid on this invoice that could be given back"),
            Self::ChargebackOpen => f.write_str(
                "a chargeback on this invoice is open: the bank may give the money back too, so nothing is refunded until it ends",
            ),
            Self::AboveLeft { left } => write!(f, "only {left} is left of what was paid on this invoice"),
            Self::NotByCard { by_card } => {
                write!(f, "only {by_card} of what is left came by card and can go back to one: give the rest as credit")
            }
        }
    }
}

/// Which payments are given back, and how much of each; or why nothing is. And every condition, in the order in which they
/// decide.
pub fn decide_refund(facts: &RefundFacts) -> (Result<Vec<Part>, NotRefunded>, Vec<Predicate>) {
    let amount = facts.amount;
    let of_currency = facts
        .payments
        .iter()
        .filter(|p| p.left.currency() == amount.currency());
    let sum = |by_card_only: bool| {
        let minor = of_currency
            .clone()
            .filter(|p| p.by_card || !by_card_only)
            .fold(0_i64, |sum, p| sum.saturating_add(p.left.minor().max(0)));
        Money::new(minor, amount.currency())
    };
    let (left, by_card) = (sum(false), sum(true));
    let minor = |money: Money| json!({"minor": money.minor(), "currency": money.currency()});
    let to_card = facts.to == Destination::Card;
    let checks = [
        (
            Predicate::new("invoice_issued", facts.issued, json!(facts.issued)),
            NotRefunded::NotIssued,
        ),
        (
            Predicate::new(
                "something_paid",
                !facts.payments.is_empty(),
                json!(facts.payments.len()),
            ),
            NotRefunded::NothingPaid,
        ),
        (
            Predicate::new(
                "no_open_chargeback",
                !facts.chargeback_open,
                json!(facts.chargeback_open),
            ),
            NotRefunded::ChargebackOpen,
        ),
        (
            Predicate::new(
                "amount_within_what_is_left",
                amount.minor() <= left.minor(),
                minor(left),
            ),
            NotRefunded::AboveLeft { left },
        ),
        (
            Predicate::new(
                "amount_came_by_card",
                !to_card || amount.minor() <= by_card.minor(),
                minor(by_card),
            ),
            NotRefunded::NotByCard { by_card },
        ),
    ];
    let refused = checks
        .iter()
        .find(|(check, _)| check.ok == Some(false))
        .map(|(_, why)| *why);
    let decision = match refused {
        Some(why) => Err(why),
        None => Ok(split(of_currency.filter(|p| p.by_card || !to_card), amount)),
    };
    (decision, checks.into_iter().map(|(check, _)| check).collect())
}

fn split<'a>(payments: impl Iterator<Item = &'a Refundable>, amount: Money) -> Vec<Part> {
    let mut missing = amount.minor();
    let mut parts = Vec::new();
    for payment in payments {
        let part = missing.min(payment.left.minor());
        if part > 0 {
            missing -= part;
            parts.push(Part {
                payment: payment.payment,
                amount: Money::new(part, amount.currency()),
            });
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::currency::Currency;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn payment(by_card: bool, left: i64) -> Refundable {
        Refundable {
            payment: PaymentId::new(),
            by_card,
            left: usd(left),
        }
    }

    #[test]
    fn r075_the_newest_payment_is_given_back_first_and_the_rest_comes_from_the_ones_before() {
        let payments = vec![payment(true, 30), payment(false, 50), payment(true, 100)];
        let facts = |to, amount| RefundFacts {
            to,
            amount: usd(amount),
            issued: true,
            chargeback_open: false,
            payments: payments.clone(),
        };
        let parts = |to, amount| {
            let parts = decide_refund(&facts(to, amount)).0.unwrap();
            let at = |p: &Part| payments.iter().position(|q| q.payment == p.payment).unwrap();
            parts
                .iter()
                .map(|p| (at(p), p.amount.minor()))
                .collect::<Vec<_>>()
        };
        assert_eq!(parts(Destination::Card, 30), [(0, 30)]);
        assert_eq!(parts(Destination::Card, 45), [(0, 30), (2, 15)]);
        assert_eq!(parts(Destination::Credit, 85), [(0, 30), (1, 50), (2, 5)]);
        let refused = |to, amount| decide_refund(&facts(to, amount)).0.unwrap_err();
        assert_eq!(
            refused(Destination::Card, 131),
            NotRefunded::NotByCard { by_card: usd(130) }
        );
        assert_eq!(
            refused(Destination::Credit, 181),
            NotRefunded::AboveLeft { left: usd(180) }
        );
    }

    #[test]
    fn each_condition_alone_refuses_with_its_own_reason() {
        let base = RefundFacts {
            to: Destination::Card,
            amount: usd(40),
            issued: true,
            chargeback_open: false,
            payments: vec![payment(true, 40)],
        };
        assert!(decide_refund(&base).0.is_ok());
        let external = vec![payment(false, 40)];
        for (facts, reason) in [
            (
                RefundFacts {
                    issued: false,
                    ..base.clone()
                },
                "invoice_not_issued",
            ),
            (
                RefundFacts {
                    payments: Vec::new(),
                    ..base.clone()
                },
                "nothing_paid",
            ),
            (
                RefundFacts {
                    chargeback_open: true,
                    ..base.clone()
                },
                "chargeback_open",
            ),
            (
                RefundFacts {
                    amount: usd(41),
                    ..base.clone()
                },
                "above_what_is_left",
            ),
            (
                RefundFacts {
                    payments: external,
                    ..base.clone()
                },
                "not_paid_by_card",
            ),
            (
                RefundFacts {
                    amount: Money::new(1, Currency::parse("eur").unwrap()),
                    ..base.clone()
                },
                "above_what_is_left",
            ),
        ] {
            let (decision, checks) = decide_refund(&facts);
            assert_eq!(decision.unwrap_err().code(), reason);
            assert_eq!(checks.len(), 5);
            assert!(checks.iter().any(|c| c.ok == Some(false)));
        }
    }

    #[test]
    fn whoever_is_refused_is_told_why() {
        for (why, says) in [
            (NotRefunded::NotIssued, "only an issued invoice"),
            (NotRefunded::NothingPaid, "nothing was paid"),
            (NotRefunded::ChargebackOpen, "chargeback"),
            (NotRefunded::AboveLeft { left: usd(1_234) }, "only 12.34 USD"),
            (NotRefunded::NotByCard { by_card: usd(1_234) }, "only 12.34 USD"),
        ] {
            assert!(why.to_string().contains(says), "{why}");
        }
    }

    proptest! {
        #[test]
        fn b09_parts_add_up_to_the_amount_and_no_payment_gives_more_than_is_left_of_it(
            payments in prop::collection::vec((any::<bool>(), -10_i64..50), 1..6),
            amount in 1_i64..150,
            to_card in any::<bool>(),
        ) {
            let payments: Vec<Refundable> = payments.into_iter().map(|(card, left)| payment(card, left)).collect();
            let to = if to_card { Destination::Card } else { Destination::Credit };
            let eligible: i64 = payments.iter().filter(|p| p.by_card || !to_card).map(|p| p.left.minor().max(0)).sum();
            let facts = RefundFacts { to, amount: usd(amount), issued: true, chargeback_open: false, payments: payments.clone() };
            match decide_refund(&facts).0 {
                Err(_) => prop_assert!(amount > eligible),
                Ok(parts) => {
                    prop_assert_eq!(parts.iter().map(|p| p.amount.minor()).sum::<i64>(), amount);
                    for part in parts {
                        let of = payments.iter().find(|p| p.payment == part.payment).unwrap();
                        prop_assert!(part.amount.is_positive() && part.amount.minor() <= of.left.minor());
                        prop_assert!(of.by_card || !to_card);
                    }
                }
            }
        }
    }
}
