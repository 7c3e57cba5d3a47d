//! An invoice of the platform as it was seen at Stripe, and what a sighting changes.
use chrono::{DateTime, Utc};

use super::further;

/// An invoice as it was at Stripe when it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InvoiceSeen {
    /// When it was read, by our clock.
    pub fetched_at: DateTime<Utc>,
    /// `in_…`
    pub id: String,
    /// `sub_…`: a field of its own until 2025-03-31.basil, its parent's since.
    pub subscription: Option<String>,
    /// Stripe's number for people.
    pub number: Option<String>,
    /// Stripe's word: `draft`, `open`, `paid`, `void`, `uncollectible`.
    pub status: String,
    /// Lower-case code.
    pub currency: String,
    /// Minor units.
    pub amount_due: i64,
    /// Minor units.
    pub amount_paid: i64,
    /// Minor units.
    pub amount_remaining: i64,
    /// Why it was made: `subscription_cycle`, …
    pub billing_reason: Option<String>,
    /// What it is for, from …
    pub period_start: Option<DateTime<Utc>>,
    /// … to.
    pub period_end: Option<DateTime<Utc>>,
    /// When it was finalized.
    pub issued_at: Option<DateTime<Utc>>,
    /// When it is due, where somebody has to send money.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// How often Stripe tried to collect it.
    pub attempt_count: i32,
    /// When it tries again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Where the firm can look at it and pay it.
    pub hosted_url: Option<String>,
    /// The document.
    pub pdf_url: Option<String>,
    /// When it was made, by Stripe's clock.
    pub created: DateTime<Utc>,
}

/// A sighting against what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nothing is recorded yet, whatever event told of it first (S18).
    New,
    /// What is recorded is later, or further along.
    Stale,
    /// Read again, and nothing has changed but the time of reading, which is kept.
    Same,
    /// Changed.
    Changed,
}

/// How far along: an invoice only goes forward.
fn rank(status: &str) -> u8 {
    match status {
        "draft" => 0,
        // May still be paid, or made void.
        "uncollectible" => 2,
        "void" => 3,
        "paid" => 4,
        // "open"; and Stripe's next word is as good.
        _ => 1,
    }
}

impl InvoiceSeen {
    /// What this sighting changes.
    #[must_use]
    pub fn observe(&self, recorded: Option<&Self>) -> Observed {
        let Some(recorded) = recorded else {
            return Observed::New;
        };
        let now = self.fetched_at;
        if *self
            == (Self {
                fetched_at: now,
                ..recorded.clone()
            })
        {
            return Observed::Same;
        }
        let order = |seen: &Self| (rank(&seen.status), seen.fetched_at);
        if further(recorded, self, order) == recorded {
            Observed::Stale
        } else {
            Observed::Changed
        }
    }

    /// Stripe tried to collect it and did not get the money. What is still on its way has no failed try yet, hence `told`:
    /// whether somebody said that one failed.
    #[must_use]
    pub fn has_failed(&self, told: Told) -> bool {
        let unpaid = ["open", "uncollectible"].contains(&self.status.as_str()) && self.amount_remaining > 0;
        unpaid && self.attempt_count > 0 && told == Told::Failed
    }

    /// Nobody waits for its money any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        ["paid", "void"].contains(&self.status.as_str())
    }
}

/// What was said when an invoice was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// That a payment failed: by the event's type, or by the subscription's status.
    Failed,
    /// Nothing of that kind.
    Nothing,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn seen(at: i64, status: &str, remaining: i64) -> InvoiceSeen {
        InvoiceSeen {
            fetched_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(at),
            id: "in_1".into(),
            subscription: Some("sub_1".into()),
            number: None,
            status: status.into(),
            currency: "usd".into(),
            amount_due: 2900,
            amount_paid: 2900 - remaining,
            amount_remaining: remaining,
            billing_reason: None,
            period_start: None,
            period_end: None,
            issued_at: None,
            due_at: None,
            paid_at: None,
            attempt_count: 1,
            next_attempt_at: None,
            hosted_url: None,
            pdf_url: None,
            created: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn s18_the_first_sighting_makes_the_row_whatever_its_status() {
        for status in ["draft", "open", "paid", "void", "uncollectible"] {
            assert_eq!(seen(1, status, 0).observe(None), Observed::New, "{status}");
        }
    }

    #[test]
    fn an_invoice_goes_forward_only() {
        let (open, paid) = (seen(5, "open", 2900), seen(2, "paid", 0));
        assert_eq!(paid.observe(Some(&open)), Observed::Changed);
        assert_eq!(open.observe(Some(&paid)), Observed::Stale);
        let way = ["draft", "open", "uncollectible", "void", "paid"];
        for (n, behind) in way.iter().enumerate() {
            for ahead in &way[n + 1..] {
                let (early, late) = (seen(1, ahead, 2900), seen(9, behind, 2900));
                assert_eq!(
                    early.observe(Some(&late)),
                    Observed::Changed,
                    "{behind} to {ahead}"
                );
                assert_eq!(late.observe(Some(&early)), Observed::Stale, "{ahead} to {behind}");
            }
        }
    }

    #[test]
    fn an_invoice_that_is_read_again_and_has_not_changed_is_the_same() {
        let (then, now) = (seen(1, "open", 2900), seen(9, "open", 2900));
        assert_eq!(now.observe(Some(&then)), Observed::Same);
        assert_eq!(then.observe(Some(&now)), Observed::Same);
    }

    #[test]
    fn nobody_waits_for_the_money_of_an_invoice_that_is_paid_or_void() {
        for (status, settled) in [
            ("draft", false),
            ("open", false),
            ("uncollectible", false),
            ("void", true),
            ("paid", true),
        ] {
            assert_eq!(seen(1, status, 0).is_settled(), settled, "{status}");
        }
    }

    #[test]
    fn s19_only_an_unpaid_invoice_of_which_somebody_said_so_has_failed() {
        assert!(seen(1, "open", 2900).has_failed(Told::Failed));
        assert!(!seen(1, "open", 2900).has_failed(Told::Nothing));
        assert!(!seen(1, "paid", 0).has_failed(Told::Failed));
        assert!(!seen(1, "open", 0).has_failed(Told::Failed));
        let untried = InvoiceSeen {
            attempt_count: 0,
            ..seen(1, "open", 2900)
        };
        assert!(!untried.has_failed(Told::Failed));
    }

    proptest! {
        #[test]
        fn b03_sightings_of_an_invoice_in_any_order_and_number_end_the_same(
            sightings in prop::collection::vec(
                (0_i64..4, prop::sample::select(vec!["draft", "open", "uncollectible", "void", "paid"]), 0_i64..3), 1..7),
            by in any::<prop::sample::Index>(),
        ) {
            let all: Vec<_> = sightings.iter().map(|(at, status, left)| seen(*at, status, *left)).collect();
            let end = |told: &[InvoiceSeen]| {
                let mut row: Option<InvoiceSeen> = None;
                for one in told {
                    match one.observe(row.as_ref()) {
                        Observed::New | Observed::Changed => row = Some(one.clone()),
                        Observed::Same => row = row.map(|row| InvoiceSeen { fetched_at: row.fetched_at.max(one.fetched_at), ..row }),
                        Observed::Stale => {}
                    }
                }
                row.map(|row| (row.status, row.amount_remaining))
            };
            let mut shuffled = all.clone();
            shuffled.reverse();
            shuffled.rotate_left(by.index(all.len()));
            shuffled.extend(all.clone());
            prop_assert_eq!(end(&all), end(&shuffled));
        }
    }
}
