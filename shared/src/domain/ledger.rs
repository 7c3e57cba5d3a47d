//! What a check of the ledger finds, and the comparisons that need no query: totals against accounts.
//!
//! A difference is an error: the books and the facts disagree, or the books with themselves. Something that Stripe did and
//! that is booked as it was, but that a person should look at, is a warning.
use std::collections::BTreeMap;

use serde::Serialize;

use super::words::word_enum;

word_enum!(
    /// How bad a finding is.
    Severity, "severity":
    /// The books are wrong.
    Error = "error",
    /// The books are right, and tell of something that a person should look at.
    Warning = "warning",
);

word_enum!(
    /// What was compared.
    Check, "check":
    /// The postings of a journal sum to zero in each currency.
    JournalBalances = "journal_balances",
    /// A journal has postings.
    JournalHasPostings = "journal_has_postings",
    /// A journal that takes another one back is its exact opposite.
    ReversalIsExact = "reversal_is_exact",
    /// Every fact has its postings, and every posting its fact.
    FactsArePosted = "facts_are_posted",
    /// What is receivable for an invoice is what is open on it.
    ReceivableIsOpen = "receivable_is_open",
    /// What was written off of an invoice is what it left unpaid, and nothing once it is open again.
    WriteOffIsUnpaid = "write_off_is_unpaid",
    /// A client's credit, his lots and the account say the same.
    CreditAgrees = "credit_agrees",
    /// No lot is overdrawn.
    LotIsNotOverdrawn = "lot_is_not_overdrawn",
    /// Nothing is held for a dispute that has ended.
    DisputeHoldIsOver = "dispute_hold_is_over",
    /// Nothing is owed for a lost dispute that was written off.
    LostDisputeIsSettled = "lost_dispute_is_settled",
    /// The accounts that hold money say what the facts add up to.
    MoneyAddsUp = "money_adds_up",
    /// All accounts together are zero in each currency.
    TrialBalance = "trial_balance",
    /// No more went back of a payment than it brought.
    CapturedCoversReturned = "captured_covers_returned",
);

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was compared.
    pub check: Check,
    /// What it is about: a journal by its source key, an invoice, a client, an account.
    pub what: String,
    /// In which currency.
    pub currency: String,
    /// What should be there, in minor units; nothing where nothing should.
    pub expected_minor: Option<i64>,
    /// What is there; nothing where nothing is.
    pub found_minor: Option<i64>,
}

/// The balance of an account in one currency, debit positive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Such as `receivable`.
    pub account: String,
    /// Lower-case code.
    pub currency: String,
    /// Debit positive.
    pub balance_minor: i64,
}

/// What the facts of one currency add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Lower-case code.
    pub currency: String,
    /// Captured by Stripe.
    pub captured: i64,
    /// Received otherwise.
    pub external: i64,
    /// Kept by Stripe of what was captured.
    pub fees: i64,
    /// Refunded to cards.
    pub refunded: i64,
    /// Taken by disputes.
    pub withdrawn: i64,
    /// Given back by disputes.
    pub reinstated: i64,
    /// Fees of disputes.
    pub dispute_fees: i64,
    /// Fees of disputes given back.
    pub dispute_fees_returned: i64,
}

/// Compares the accounts that hold money, and what it cost, with the facts.
#[must_use]
pub fn money_adds_up(totals: &[Totals], balances: &[Balance]) -> Vec<Finding> {
    let mut expected: BTreeMap<(&str, &str), i128> = BTreeMap::new();
    for of in totals {
        let wide = i128::from;
        let dispute_fees = wide(of.dispute_fees) - wide(of.dispute_fees_returned);
        let clearing = wide(of.captured) - wide(of.fees) - wide(of.refunded) - wide(of.withdrawn)
            + wide(of.reinstated)
            - dispute_fees;
        expected.insert(("stripe_clearing", &of.currency), clearing);
        expected.insert(("external_cash", &of.currency), wide(of.external));
        expected.insert(("processor_fees", &of.currency), wide(of.fees) + dispute_fees);
    }
    let mut found: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for balance in balances {
        if ["stripe_clearing", "external_cash", "processor_fees"].contains(&balance.account.as_str()) {
            found.insert((&balance.account, &balance.currency), balance.balance_minor);
            expected.entry((&balance.account, &balance.currency)).or_insert(0);
        }
    }
    expected
        .into_iter()
        .map(|(key, wanted)| (key, wanted, found.get(&key).copied().unwrap_or(0)))
        .filter(|(_, wanted, found)| *wanted != i128::from(*found))
        .map(|((account, currency), wanted, found)| Finding {
            severity: Severity::Error,
            check: Check::MoneyAddsUp,
            what: account.to_owned(),
            currency: currency.to_owned(),
            expected_minor: i64::try_from(wanted).ok(),
            found_minor: Some(found),
        })
        .collect()
}

/// All accounts of a currency are zero together.
#[must_use]
pub fn trial_balance(balances: &[Balance]) -> Vec<Finding> {
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for balance in balances {
        *sums.entry(&balance.currency).or_default() += i128::from(balance.balance_minor);
    }
    sums.into_iter()
        .filter(|(_, sum)| *sum != 0)
        .map(|(currency, sum)| Finding {
            severity: Severity::Error,
            check: Check::TrialBalance,
            what: "all accounts".to_owned(),
            currency: currency.to_owned(),
            expected_minor: Some(0),
            found_minor: i64::try_from(sum).ok(),
        })
        .collect()
}

/// Whether the books are right: warnings do not count.
#[must_use]
pub fn is_right(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| match finding.severity {
        Severity::Error => false,
        Severity::Warning => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(account: &str, currency: &str, balance_minor: i64) -> Balance {
        Balance {
            account: account.into(),
            currency: currency.into(),
            balance_minor,
        }
    }

    fn totals() -> Totals {
        Totals {
            currency: "usd".into(),
            captured: 100_000,
            external: 5_000,
            fees: 3_200,
            refunded: 10_000,
            withdrawn: 20_000,
            reinstated: 20_000,
            dispute_fees: 1_500,
            dispute_fees_returned: 500,
        }
    }

    #[test]
    fn p9_money_that_the_facts_account_for_is_no_finding() {
        let balances = [
            balance("stripe_clearing", "usd", 100_000 - 3_200 - 10_000 - 1_000),
            balance("external_cash", "usd", 5_000),
            balance("processor_fees", "usd", 4_200),
            balance("receivable", "usd", 77),
        ];
        assert_eq!(money_adds_up(&[totals()], &balances), []);
        assert_eq!(money_adds_up(&[], &[]), []);
    }

    #[test]
    fn p9_money_without_a_fact_and_facts_without_money_are_both_found() {
        let missing = money_adds_up(&[totals()], &[]);
        let accounts: Vec<_> = missing
            .iter()
            .map(|f| (f.what.as_str(), f.expected_minor, f.found_minor))
            .collect();
        assert_eq!(
            accounts,
            [
                ("external_cash", Some(5_000), Some(0)),
                ("processor_fees", Some(4_200), Some(0)),
                ("stripe_clearing", Some(85_800), Some(0)),
            ]
        );
        let invented = money_adds_up(&[], &[balance("stripe_clearing", "jpy", 1)]);
        assert_eq!(invented.len(), 1);
        assert_eq!(
            (invented[0].expected_minor, invented[0].found_minor),
            (Some(0), Some(1))
        );
    }

    #[test]
    fn p9_accounts_that_do_not_sum_to_zero_are_found_in_their_currency() {
        let balances = [
            balance("receivable", "usd", 100),
            balance("revenue_package", "usd", -100),
            balance("receivable", "eur", 100),
            balance("revenue_package", "eur", -99),
        ];
        let findings = trial_balance(&balances);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].currency.as_str(), findings[0].found_minor),
            ("eur", Some(1))
        );
        assert!(!is_right(&findings));
        assert!(is_right(&[]));
    }
}
