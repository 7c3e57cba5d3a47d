//! May an invoice end without being paid: be voided, or be written off? Money decides: what has come, and what may still be
//! on its way (B-11).
//!
//! A void is asked again whenever something about the invoice's charges becomes known, until it comes about or money has
//! come instead: never both. All conditions are looked at each time, so that the record shows every reason; the first that
//! fails decides.
use serde_json::json;

use super::{predicate::Predicate, words::word_enum};
use crate::money::Money;

word_enum!(
    /// Where the document of an invoice stands, apart from its money.
    DocState, "document state":
    /// Not issued: it owes nothing.
    Draft = "draft",
    /// Issued: its content is frozen.
    Issued = "issued",
    /// To be voided as soon as no charge can succeed any more.
    VoidRequested = "void_requested",
    /// As if it had never been issued.
    Void = "void",
    /// Given up; money that comes all the same opens it again.
    WrittenOff = "written_off",
);

/// What decides how an invoice may end, read under its lock.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where the document stands.
    pub state: DocState,
    /// What is open on it.
    pub open: Money,
    /// Money has come for it, even in part, whether or not it went back since.
    pub was_paid: bool,
    /// A chargeback on a payment of it is open.
    pub open_chargeback: bool,
    /// It bills what a lost dispute took.
    pub rebills_dispute: bool,
    /// An attempt was sent, and its end is not known.
    pub charge_under_way: bool,
    /// Stripe has a PaymentIntent for it that may still capture money.
    pub intent_open: bool,
}

/// What becomes of a void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoidDecision {
    /// It is void from now on.
    Void(&'static str),
    /// Not yet: what is under way is given up first. The code says what.
    Wait(&'static str),
    /// It was asked for, and money came first: the invoice stays.
    Reject(&'static str),
    /// It may not be asked for.
    Refuse(&'static str),
}

/// What becomes of a write-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOffDecision {
    /// What is open is given up.
    WriteOff,
    /// Not yet: the charge that is under way is given up first.
    Wait(&'static str),
    /// It may not be written off.
    Refuse(&'static str),
}

impl VoidDecision {
    /// As a decision record has it: outcome and reason.
    #[must_use]
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Void(reason) => ("void", reason),
            Self::Wait(reason) => ("wait", reason),
            Self::Reject(reason) => ("reject", reason),
            Self::Refuse(reason) => ("refuse", reason),
        }
    }
}

impl WriteOffDecision {
    /// As a decision record has it: outcome and reason.
    #[must_use]
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::WriteOff => ("write_off", "given_up"),
            Self::Wait(reason) => ("wait", reason),
            Self::Refuse(reason) => ("refuse", reason),
        }
    }
}

/// Conditions in the order in which they decide, each with what follows when it does not hold.
fn first_failed<D: Copy, const N: usize>(table: [(Predicate, D); N], otherwise: D) -> (D, Vec<Predicate>) {
    let failed = table.iter().find(|(check, _)| check.ok == Some(false));
    let decision = failed.map_or(otherwise, |(_, decision)| *decision);
    (decision, table.into_iter().map(|(check, _)| check).collect())
}

fn not_in(name: &'static str, state: DocState, unwanted: DocState) -> Predicate {
    Predicate::new(name, state != unwanted, json!(state.as_str()))
}

/// Decides whether an invoice is voided now, later or not at all.
#[must_use]
pub fn decide_void(facts: &Facts) -> (VoidDecision, Vec<Predicate>) {
    use VoidDecision::{Refuse, Reject, Void, Wait};
    let check = Predicate::new;
    // Asked for already: money that has come since takes it back, and only money does.
    let on_money = |refusal| match facts.state {
        DocState::VoidRequested => Reject("money_arrived"),
        _ => Refuse(refusal),
    };
    let table = [
        (
            not_in("not_draft", facts.state, DocState::Draft),
            Refuse("never_issued"),
        ),
        (
            not_in("not_void", facts.state, DocState::Void),
            Refuse("already_void"),
        ),
        (
            not_in("not_written_off", facts.state, DocState::WrittenOff),
            Refuse("written_off"),
        ),
        (
            check(
                "no_open_chargeback",
                !facts.open_chargeback,
                json!(facts.open_chargeback),
            ),
            on_money("open_chargeback"),
        ),
        (
            check("nothing_paid", !facts.was_paid, json!(facts.was_paid)),
            on_money("paid"),
        ),
        (
            check(
                "bills_no_lost_dispute",
                !facts.rebills_dispute,
                json!(facts.rebills_dispute),
            ),
            Refuse("rebills_dispute"),
        ),
        (
            check(
                "no_charge_under_way",
                !facts.charge_under_way,
                json!(facts.charge_under_way),
            ),
            Wait("charge_under_way"),
        ),
        (
            check(
                "no_payment_intent_open",
                !facts.intent_open,
                json!(facts.intent_open),
            ),
            Wait("payment_intent_open"),
        ),
    ];
    first_failed(table, Void("nothing_under_way"))
}

/// Decides whether what is open on an invoice is written off now, later or not at all. An intent that is merely open does
/// not hold it up: should it capture money after all, the invoice is opened again.
#[must_use]
pub fn decide_write_off(facts: &Facts) -> (WriteOffDecision, Vec<Predicate>) {
    use WriteOffDecision::{Refuse, Wait, WriteOff};
    let check = Predicate::new;
    let table = [
        (
            not_in("not_draft", facts.state, DocState::Draft),
            Refuse("never_issued"),
        ),
        (
            not_in("not_void", facts.state, DocState::Void),
            Refuse("already_void"),
        ),
        (
            not_in("no_void_requested", facts.state, DocState::VoidRequested),
            Refuse("void_requested"),
        ),
        (
            not_in("not_written_off", facts.state, DocState::WrittenOff),
            Refuse("already_written_off"),
        ),
        (
            check(
                "no_open_chargeback",
                !facts.open_chargeback,
                json!(facts.open_chargeback),
            ),
            Refuse("open_chargeback"),
        ),
        (
            check(
                "open_balance_positive",
                facts.open.is_positive(),
                json!(facts.open.minor()),
            ),
            Refuse("nothing_open"),
        ),
        (
            check(
                "no_charge_under_way",
                !facts.charge_under_way,
                json!(facts.charge_under_way),
            ),
            Wait("charge_under_way"),
        ),
    ];
    first_failed(table, WriteOff)
}

/// Why money from elsewhere cannot be recorded on an invoice, if it cannot. On one that is to be voided it can: it came
/// first.
#[must_use]
pub fn refuse_payment(state: DocState) -> Option<&'static str> {
    match state {
        DocState::Draft => Some("never_issued"),
        DocState::Void => Some("already_void"),
        DocState::Issued | DocState::VoidRequested | DocState::WrittenOff => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::currency::Currency;

    /// An issued invoice that nobody has paid or charges.
    fn quiet() -> Facts {
        Facts {
            state: DocState::Issued,
            open: Money::new(10_000, Currency::USD),
            was_paid: false,
            open_chargeback: false,
            rebills_dispute: false,
            charge_under_way: false,
            intent_open: false,
        }
    }

    type Break = fn(&mut Facts);
    /// What is broken, and what becomes of a void and of a write-off then.
    type Case = (Break, (&'static str, &'static str), (&'static str, &'static str));

    #[test]
    fn money_from_elsewhere_is_taken_for_whatever_was_issued_and_is_not_void() {
        let refusals = [
            (DocState::Draft, Some("never_issued")),
            (DocState::Void, Some("already_void")),
            (DocState::Issued, None),
            (DocState::VoidRequested, None),
            (DocState::WrittenOff, None),
        ];
        for (state, refusal) in refusals {
            assert_eq!(refuse_payment(state), refusal, "{state}");
        }
    }

    #[test]
    fn b11_each_condition_of_a_void_alone_decides_with_its_own_reason() {
        let cases: [Case; 8] = [
            (
                |_| {},
                ("void", "nothing_under_way"),
                ("void", "nothing_under_way"),
            ),
            (
                |f| f.state = DocState::Draft,
                ("refuse", "never_issued"),
                ("refuse", "never_issued"),
            ),
            (
                |f| f.state = DocState::Void,
                ("refuse", "already_void"),
                ("refuse", "already_void"),
            ),
            (
                |f| f.state = DocState::WrittenOff,
                ("refuse", "written_off"),
                ("refuse", "written_off"),
            ),
            (
                |f| f.was_paid = true,
                ("refuse", "paid"),
                ("reject", "money_arrived"),
            ),
            (
                |f| f.open_chargeback = true,
                ("refuse", "open_chargeback"),
                ("reject", "money_arrived"),
            ),
            (
                |f| f.charge_under_way = true,
                ("wait", "charge_under_way"),
                ("wait", "charge_under_way"),
            ),
            (
                |f| f.intent_open = true,
                ("wait", "payment_intent_open"),
                ("wait", "payment_intent_open"),
            ),
        ];
        for (break_it, asked, requested) in cases {
            let mut facts = quiet();
            break_it(&mut facts);
            assert_eq!(decide_void(&facts).0.words(), asked);
            if facts.state == DocState::Issued {
                facts.state = DocState::VoidRequested;
                assert_eq!(decide_void(&facts).0.words(), requested);
            }
        }
    }

    #[test]
    fn each_condition_of_a_write_off_alone_decides_with_its_own_reason() {
        let cases: [(Break, (&str, &str)); 8] = [
            (|_| {}, ("write_off", "given_up")),
            (|f| f.state = DocState::Draft, ("refuse", "never_issued")),
            (|f| f.state = DocState::Void, ("refuse", "already_void")),
            (
                |f| f.state = DocState::VoidRequested,
                ("refuse", "void_requested"),
            ),
            (
                |f| f.state = DocState::WrittenOff,
                ("refuse", "already_written_off"),
            ),
            (|f| f.open_chargeback = true, ("refuse", "open_chargeback")),
            (
                |f| f.open = Money::new(0, Currency::USD),
                ("refuse", "nothing_open"),
            ),
            (|f| f.charge_under_way = true, ("wait", "charge_under_way")),
        ];
        for (break_it, wanted) in cases {
            let mut facts = quiet();
            break_it(&mut facts);
            assert_eq!(decide_write_off(&facts).0.words(), wanted);
        }
        // part of it paid: the rest can be given up
        let partly = Facts {
            was_paid: true,
            ..quiet()
        };
        assert_eq!(decide_write_off(&partly).0, WriteOffDecision::WriteOff);
    }

    #[test]
    fn an_invoice_that_bills_a_lost_dispute_again_is_written_off_and_not_voided() {
        let rebill = Facts {
            rebills_dispute: true,
            ..quiet()
        };
        assert_eq!(decide_void(&rebill).0, VoidDecision::Refuse("rebills_dispute"));
        assert_eq!(decide_write_off(&rebill).0, WriteOffDecision::WriteOff);
    }

    proptest! {
        /// Whatever is known: an invoice is void or written off only when nothing can come any more, and void only when
        /// nothing ever came.
        #[test]
        fn b11_no_invoice_ends_while_money_may_be_on_its_way(
            state in 0..DocState::ALL.len(), open in 0_i64..2, was_paid: bool, open_chargeback: bool, rebills_dispute: bool,
            charge_under_way: bool, intent_open: bool,
        ) {
            let facts = Facts {
                state: DocState::ALL[state], open: Money::new(open, Currency::USD),
                was_paid, open_chargeback, rebills_dispute, charge_under_way, intent_open,
            };
            let (void, checks) = decide_void(&facts);
            prop_assert_eq!(checks.len(), 8);
            if let VoidDecision::Void(_) = void {
                prop_assert!(!was_paid && !charge_under_way && !intent_open);
            }
            if decide_write_off(&facts).0 == WriteOffDecision::WriteOff {
                prop_assert!(!charge_under_way && open > 0 && state == 1);
            }
        }
    }
}
