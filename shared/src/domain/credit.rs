//! Client credit: which of it pays what, and when it may be given or used.
//!
//! Credit is kept in lots. A lot that is lost sooner is used sooner, and of two that are lost on the same day (or never)
//! the one that was given first. Nothing is ever used beyond what is open, or beyond what is left of a lot.
use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;

use super::{collection::AttemptState, people::Role, predicate::Predicate, time::Person, words::word_enum};
use crate::{ids::CreditLotId, money::Money};

word_enum!(
    /// Where credit comes from.
    Source, "source":
    /// A payment was more than was open.
    Overpayment = "overpayment",
    /// A payment came for an invoice that takes none any more.
    PaymentUnapplied = "payment_unapplied",
    /// A payment was given back as credit.
    RefundToCredit = "refund_to_credit",
    /// The firm's good will.
    Goodwill = "goodwill",
    /// A promotion.
    Promotional = "promotional",
    /// Something was billed wrongly.
    Correction = "correction",
);

impl Source {
    /// Given for money that nobody paid, on one person's word: a second person must agree.
    #[must_use]
    pub fn needs_four_eyes(self) -> bool {
        matches!(self, Self::Goodwill | Self::Correction)
    }
}

/// Why credit is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGiven {
    /// Nobody says why.
    NoReason,
    /// Nobody approved it.
    NoApproval,
    /// Whoever gives it approved it himself.
    OwnApproval,
    /// A user of a client gives or approves it.
    ByClient {
        /// Who.
        name: String,
    },
    /// It would be worth nothing on the day that it is given.
    Expired,
}

impl NotGiven {
    /// For scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoReason => "reason_missing",
            Self::NoApproval | Self::OwnApproval => "needs_four_eyes",
            Self::ByClient { .. } => "role_not_allowed",
            Self::Expired => "already_expired",
        }
    }
}

impl fmt::Display for NotGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByClient { name } => {
                return write!(f, "{name} is a user of a client, who neither gives credit nor approves it");
            }
            Self::NoReason => "credit is given for a reason: say it with --reason",
            Self::NoApproval => "goodwill and corrections need a second person: name who approved it with --approved-by",
            Self::OwnApproval => "whoever gives credit cannot approve it: name another person with --approved-by",
            Self::Expired => "--expires-on is the first day on which the credit is worth nothing: it must be after the firm's today",
        })
    }
}

/// What decides whether credit may be given.
#[derive(Clone, Copy, Debug)]
pub struct Giving<'a> {
    /// Where it comes from.
    pub source: Source,
    /// Why it is given.
    pub reason: &'a str,
    /// Who gives it.
    pub by: Person<'a>,
    /// Who approved it.
    pub approved_by: Option<Person<'a>>,
    /// The first day on which it is worth nothing.
    pub expires_on: Option<NaiveDate>,
    /// Today where the firm is.
    pub today: NaiveDate,
}

impl Giving<'_> {
    /// May it be given?
    ///
    /// # Errors
    /// Why not.
    pub fn decide(&self) -> Result<(), NotGiven> {
        if self.reason.trim().is_empty() {
            return Err(NotGiven::NoReason);
        }
        for person in [Some(self.by), self.approved_by].into_iter().flatten() {
            if person.role == Some(Role::Client) {
                let name = person.name.to_owned();
                return Err(NotGiven::ByClient { name });
            }
        }
        if self.source.needs_four_eyes() {
            match self.approved_by {
                None => return Err(NotGiven::NoApproval),
                Some(approver) if approver.name == self.by.name => return Err(NotGiven::OwnApproval),
                Some(_) => {}
            }
        }
        if self.expires_on.is_some_and(|day| day <= self.today) {
            return Err(NotGiven::Expired);
        }
        Ok(())
    }
}

/// Credit as it can be used today: lots that have expired are not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Which.
    pub id: CreditLotId,
    /// What is left of it.
    pub left: Money,
    /// The first day on which it is worth nothing.
    pub expires_on: Option<NaiveDate>,
    /// When it was given.
    pub issued_at: DateTime<Utc>,
}

/// A part of a lot that pays a part of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Of which lot.
    pub lot: CreditLotId,
    /// How much.
    pub amount: Money,
}

/// One client's credit, which invoices are paid from one after the other.
#[derive(Clone, Debug)]
pub struct Purse {
    lots: Vec<Lot>,
}

impl Purse {
    /// Puts lots in the order in which they are used.
    #[must_use]
    pub fn new(mut lots: Vec<Lot>) -> Self {
        // None, which never expires, comes last.
        lots.sort_by_key(|lot| (lot.expires_on.is_none(), lot.expires_on, lot.issued_at, lot.id));
        Self { lots }
    }

    /// What there is in the currency of `like`.
    #[must_use]
    pub fn available(&self, like: Money) -> Money {
        let minor = self
            .lots
            .iter()
            .filter(|lot| lot.left.currency() == like.currency())
            .fold(0_i64, |sum, lot| sum.saturating_add(lot.left.minor().max(0)));
        Money::new(minor, like.currency())
    }

    /// Takes up to `wanted` out of it, from lots of that currency alone.
    pub fn take(&mut self, wanted: Money) -> Vec<Use> {
        let mut missing = wanted.minor();
        let mut uses = Vec::new();
        for lot in &mut self.lots {
            let part = missing.min(lot.left.minor());
            if part <= 0 || lot.left.currency() != wanted.currency() {
                continue;
            }
            missing -= part;
            lot.left = Money::new(lot.left.minor() - part, wanted.currency());
            uses.push(Use {
                lot: lot.id,
                amount: Money::new(part, wanted.currency()),
            });
        }
        uses
    }
}

/// What decides whether credit pays an invoice, read under the locks of the invoice and of the client's credit.
#[derive(Clone, Copy, Debug)]
pub struct UseFacts {
    /// Whether anybody asked for this amount: `None` when the invoice was just issued and credit uses itself up.
    pub asked: Option<Asked>,
    /// The firm lets credit use itself up.
    pub auto_apply: bool,
    /// The invoice is issued and not void, voided or written off.
    pub issued: bool,
    /// An attempt to charge the invoice whose outcome is open, and which the client or Stripe may yet complete.
    pub under_way: Option<AttemptState>,
    /// What is open on the invoice.
    pub open: Money,
    /// What credit there is.
    pub available: Money,
}

/// What a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As much as fits.
    All,
    /// This, or nothing.
    Exactly(Money),
}

/// Why credit pays nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotUsed {
    /// The firm wants to decide each time.
    AutoApplyOff,
    /// The invoice is no issued one.
    NotIssued,
    /// A charge is under way for the whole of it.
    ChargeUnderWay,
    /// Nothing is open.
    NothingOpen,
    /// There is no credit.
    NoCredit,
    /// More was asked for than is open.
    AboveOpen {
        /// What is.
        open: Money,
    },
    /// More was asked for than there is.
    AboveCredit {
        /// What there is.
        available: Money,
    },
}

impl NotUsed {
    /// For scripts, and in decisions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::AutoApplyOff => "auto_apply_off",
            Self::NotIssued => "invoice_not_issued",
            Self::ChargeUnderWay => "charge_under_way",
            Self::NothingOpen => "nothing_open",
            Self::NoCredit => "no_credit",
            Self::AboveOpen { .. } => "above_open_balance",
            Self::AboveCredit { .. } => "above_credit",
        }
    }
}

impl fmt::Display for NotUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AutoApplyOff => f.write_str("the firm applies credit by hand"),
            Self::NotIssued => f.write_str("credit is applied to issued invoices only"),
            Self::ChargeUnderWay => f.write_str(
                "the card is being charged for what is open: apply credit when the outcome is known, or there would be too much",
            ),
            Self::NothingOpen => f.write_str("nothing is open on this invoice"),
            Self::NoCredit => f.write_str("the client has no credit in the invoice's currency that can be used today"),
            Self::AboveOpen { open } => write!(f, "only {open} is open on this invoice"),
            Self::AboveCredit { available } => write!(f, "the client has only {available} of credit that can be used today"),
        }
    }
}

/// How much credit pays, or why none does; and every condition, in the order in which they decide.
pub fn decide_use(facts: &UseFacts) -> (Result<Money, NotUsed>, Vec<Predicate>) {
    let (open, available) = (facts.open, facts.available);
    let amount = match facts.asked {
        Some(Asked::Exactly(amount)) => amount,
        Some(Asked::All) | None => Money::new(open.minor().min(available.minor()), open.currency()),
    };
    let minor = |money: Money| json!({"minor": money.minor(), "currency": money.currency()});
    let under_way = facts.under_way.map(AttemptState::as_str);
    let checks = [
        (
            Predicate::new(
                "auto_apply_credit",
                facts.asked.is_some() || facts.auto_apply,
                json!(facts.auto_apply),
            ),
            NotUsed::AutoApplyOff,
        ),
        (
            Predicate::new("invoice_issued", facts.issued, json!(facts.issued)),
            NotUsed::NotIssued,
        ),
        (
            Predicate::new("no_charge_under_way", under_way.is_none(), json!(under_way)),
            NotUsed::ChargeUnderWay,
        ),
        (
            Predicate::new("open_balance_positive", open.is_positive(), minor(open)),
            NotUsed::NothingOpen,
        ),
        (
            Predicate::new("credit_available", available.is_positive(), minor(available)),
            NotUsed::NoCredit,
        ),
        (
            Predicate::new(
                "amount_within_open_balance",
                amount.minor() <= open.minor(),
                minor(amount),
            ),
            NotUsed::AboveOpen { open },
        ),
        (
            Predicate::new(
                "amount_within_credit",
                amount.minor() <= available.minor(),
                minor(amount),
            ),
            NotUsed::AboveCredit { available },
        ),
    ];
    let refused = checks
        .iter()
        .find(|(check, _)| check.ok == Some(false))
        .map(|(_, why)| *why);
    let decision = refused.map_or(Ok(amount), Err);
    (decision, checks.into_iter().map(|(check, _)| check).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::currency::Currency;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn day(n: i64) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + chrono::Duration::days(n)
    }

    fn lot(minor: i64, expires: Option<i64>, issued: i64) -> Lot {
        Lot {
            id: CreditLotId::new(),
            left: usd(minor),
            expires_on: expires.map(day),
            issued_at: DateTime::from_timestamp(1_800_000_000 + issued, 0).unwrap(),
        }
    }

    #[test]
    fn a17_credit_that_is_lost_first_is_used_first_then_the_oldest() {
        let forever_old = lot(10, None, 1);
        let forever_new = lot(10, None, 2);
        let late = lot(10, Some(9), 0);
        let soon_new = lot(10, Some(3), 5);
        let soon_old = lot(10, Some(3), 4);
        let wanted = [&soon_old, &soon_new, &late, &forever_old, &forever_new].map(|lot| lot.id);
        let given = [&forever_new, &late, &soon_new, &forever_old, &soon_old].map(Clone::clone);
        let mut purse = Purse::new(given.to_vec());
        let uses = purse.take(usd(45));
        assert_eq!(uses.iter().map(|u| u.lot).collect::<Vec<_>>(), wanted);
        assert_eq!(
            uses.iter().map(|u| u.amount.minor()).collect::<Vec<_>>(),
            [10, 10, 10, 10, 5]
        );
        assert_eq!(
            purse.take(usd(100)),
            [Use {
                lot: forever_new.id,
                amount: usd(5)
            }]
        );
        assert_eq!(purse.take(usd(1)), []);
    }

    ///
    #[test]
    fn b12_credit_of_one_currency_never_pays_in_another() {
        let euros = Lot {
            left: Money::new(50, Currency::parse("eur").unwrap()),
            ..lot(0, None, 0)
        };
        let mut purse = Purse::new(vec![euros.clone(), lot(7, None, 1)]);
        assert_eq!(purse.available(usd(0)), usd(7));
        assert_eq!(
            purse.take(usd(100)).iter().map(|u| u.amount).collect::<Vec<_>>(),
            [usd(7)]
        );
        assert_eq!(purse.available(euros.left), euros.left);
    }

    #[test]
    fn goodwill_and_corrections_need_a_second_person_and_every_credit_a_reason() {
        let named = |name, role| Person {
            name,
            role,
            client: None,
        };
        let giving = Giving {
            source: Source::Promotional,
            reason: "spring",
            by: named("ann", Some(Role::Staff)),
            approved_by: None,
            expires_on: None,
            today: day(0),
        };
        assert_eq!(giving.decide(), Ok(()));
        assert_eq!(
            Giving {
                reason: "  ",
                ..giving
            }
            .decide(),
            Err(NotGiven::NoReason)
        );
        for source in Source::ALL.iter().copied() {
            let four_eyes = matches!(source, Source::Goodwill | Source::Correction);
            for (approved_by, refused) in [
                (None, four_eyes.then_some(NotGiven::NoApproval)),
                (
                    Some(named("ann", Some(Role::Staff))),
                    four_eyes.then_some(NotGiven::OwnApproval),
                ),
                (Some(named("bob", None)), None),
                (
                    Some(named("ceo", Some(Role::Client))),
                    Some(NotGiven::ByClient { name: "ceo".into() }),
                ),
            ] {
                let decided = Giving {
                    source,
                    approved_by,
                    ..giving
                }
                .decide();
                assert_eq!(decided.err(), refused, "{source} {approved_by:?}");
            }
        }
        for (expires_on, refused) in [(-1, true), (0, true), (1, false)] {
            let decided = Giving {
                expires_on: Some(day(expires_on)),
                ..giving
            }
            .decide();
            assert_eq!(decided.is_err(), refused, "{expires_on}");
        }
    }

    #[test]
    fn whoever_is_refused_is_told_why() {
        let by_client = NotGiven::ByClient { name: "ceo".into() };
        for (why, code, says) in [
            (NotGiven::NoReason, "reason_missing", "--reason"),
            (NotGiven::NoApproval, "needs_four_eyes", "--approved-by"),
            (NotGiven::OwnApproval, "needs_four_eyes", "another person"),
            (by_client, "role_not_allowed", "ceo"),
            (NotGiven::Expired, "already_expired", "--expires-on"),
        ] {
            assert_eq!(why.code(), code);
            assert!(why.to_string().contains(says), "{why}");
        }
        for (why, says) in [
            (NotUsed::AutoApplyOff, "by hand"),
            (NotUsed::NotIssued, "issued"),
            (NotUsed::ChargeUnderWay, "the outcome"),
            (NotUsed::NothingOpen, "nothing is open"),
            (NotUsed::NoCredit, "no credit"),
            (NotUsed::AboveOpen { open: usd(1_234) }, "12.34 USD is open"),
            (
                NotUsed::AboveCredit {
                    available: usd(1_234),
                },
                "12.34 USD of credit",
            ),
        ] {
            assert!(why.to_string().contains(says), "{why}");
        }
    }

    /// An invoice of 100 that the client's credit of 60 may pay in part.
    fn usable() -> UseFacts {
        UseFacts {
            asked: Some(Asked::All),
            auto_apply: true,
            issued: true,
            under_way: None,
            open: usd(100),
            available: usd(60),
        }
    }

    #[test]
    fn each_condition_alone_refuses_with_its_own_reason() {
        let exactly = |minor| Some(Asked::Exactly(usd(minor)));
        let base = usable();
        for (facts, wanted) in [
            (base, Ok(usd(60))),
            (
                UseFacts {
                    available: usd(250),
                    ..base
                },
                Ok(usd(100)),
            ),
            (UseFacts { asked: None, ..base }, Ok(usd(60))),
            (
                UseFacts {
                    asked: None,
                    auto_apply: false,
                    ..base
                },
                Err("auto_apply_off"),
            ),
            // a person may do by hand what does not happen by itself
            (
                UseFacts {
                    auto_apply: false,
                    ..base
                },
                Ok(usd(60)),
            ),
            (
                UseFacts {
                    issued: false,
                    ..base
                },
                Err("invoice_not_issued"),
            ),
            (
                UseFacts {
                    under_way: Some(AttemptState::Sent),
                    ..base
                },
                Err("charge_under_way"),
            ),
            (UseFacts { open: usd(0), ..base }, Err("nothing_open")),
            (
                UseFacts {
                    available: usd(0),
                    ..base
                },
                Err("no_credit"),
            ),
            (
                UseFacts {
                    asked: exactly(60),
                    ..base
                },
                Ok(usd(60)),
            ),
            (
                UseFacts {
                    asked: exactly(61),
                    ..base
                },
                Err("above_credit"),
            ),
            (
                UseFacts {
                    asked: exactly(101),
                    available: usd(200),
                    ..base
                },
                Err("above_open_balance"),
            ),
        ] {
            let (decision, checks) = decide_use(&facts);
            assert_eq!(decision.map_err(NotUsed::code), wanted, "{facts:?}");
            assert_eq!(checks.len(), 7);
            assert_eq!(checks.iter().all(|c| c.ok == Some(true)), wanted.is_ok());
        }
    }

    proptest! {
        #[test]
        fn b12_uses_add_up_to_what_is_open_or_to_all_there_is_and_no_lot_gives_more_than_it_has(
            lots in prop::collection::vec((0_i64..50, prop::option::of(0_i64..5), 0_i64..5), 0..8),
            invoices in prop::collection::vec(0_i64..120, 1..6),
        ) {
            let lots: Vec<Lot> = lots.into_iter().map(|(minor, expires, issued)| lot(minor, expires, issued)).collect();
            let there_is: i64 = lots.iter().map(|lot| lot.left.minor()).sum();
            let open: i64 = invoices.iter().sum();
            let mut purse = Purse::new(lots.clone());
            let mut used = std::collections::HashMap::new();
            for open in invoices {
                let before = purse.available(usd(0)).minor();
                let uses = purse.take(usd(open));
                let taken: i64 = uses.iter().map(|u| u.amount.minor()).sum();
                prop_assert_eq!(taken, open.min(before));
                for part in uses {
                    prop_assert!(part.amount.is_positive());
                    *used.entry(part.lot).or_insert(0) += part.amount.minor();
                }
            }
            prop_assert_eq!(used.values().sum::<i64>(), open.min(there_is));
            for lot in &lots {
                prop_assert!(used.get(&lot.id).copied().unwrap_or(0) <= lot.left.minor());
            }
            // What is lost later is not touched while what is lost sooner is left.
            let left: Vec<i64> = purse.lots.iter().map(|lot| lot.left.minor()).collect();
            let first_left = left.iter().position(|minor| *minor > 0).unwrap_or(left.len());
            for (at, lot) in purse.lots.iter().enumerate().skip(first_left + 1) {
                prop_assert!(!used.contains_key(&lot.id), "{at}");
            }
        }
    }
}
