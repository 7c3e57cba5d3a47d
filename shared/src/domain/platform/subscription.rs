//! A subscription as it was seen at Stripe, and what a sighting changes.
//!
//! Every event about it is a hint: the subscription is fetched. Two fetches may be applied in the other order, and an old one
//! twice; what is over stays over, and of two others the later fetch stands.
use chrono::{DateTime, Utc};

use super::{
    further,
    status::{SubscriptionStatus, is_final},
};

/// The card that Stripe collects with, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CardSeen {
    /// `pm_…`
    pub id: String,
    /// `visa`, …
    pub brand: Option<String>,
    /// The last four digits.
    pub last4: Option<String>,
    /// Month of its end.
    pub exp_month: Option<i32>,
    /// Year of its end.
    pub exp_year: Option<i32>,
}

/// A subscription as it was at Stripe when it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriptionSeen {
    /// When it was read, by our clock.
    pub fetched_at: DateTime<Utc>,
    /// `sub_…`
    pub id: String,
    /// Stripe's word.
    pub status: String,
    /// `si_…`, what a change of tier changes; the first of its items.
    pub item: Option<String>,
    /// `price_…` of that item.
    pub price: Option<String>,
    /// The period that runs: the item's since 2025-03-31.basil, the subscription's own before.
    pub period_start: Option<DateTime<Utc>>,
    /// Where it ends.
    pub period_end: Option<DateTime<Utc>>,
    /// It does not renew itself.
    pub cancel_at_period_end: bool,
    /// When its end was asked for.
    pub canceled_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its card, or its customer's.
    pub card: Option<CardSeen>,
    /// When it was made, by Stripe's clock.
    pub created: DateTime<Utc>,
}

/// A sighting against what is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nothing is recorded yet.
    New,
    /// What is recorded is later, or further along.
    Stale,
    /// Read again, and nothing has changed but the time of reading, which is kept: what was read before then is older.
    Same,
    /// Changed, in these of the names that the audit log tells: `status`, `tier`, `period`, `auto_renewal`, `card`.
    Changed(Vec<&'static str>),
}

impl SubscriptionSeen {
    /// What its status means.
    #[must_use]
    pub fn meaning(&self) -> SubscriptionStatus {
        SubscriptionStatus::of(&self.status)
    }

    /// Whether it goes on by itself.
    #[must_use]
    pub fn renews(&self) -> bool {
        !self.cancel_at_period_end && !is_final(&self.status)
    }

    fn same_but_for_time(&self, other: &Self) -> bool {
        let then = other.fetched_at;
        Self {
            fetched_at: then,
            ..self.clone()
        } == *other
    }

    /// What this sighting changes.
    #[must_use]
    pub fn observe(&self, recorded: Option<&Self>) -> Observed {
        let Some(recorded) = recorded else {
            return Observed::New;
        };
        if self.same_but_for_time(recorded) {
            return Observed::Same;
        }
        let rank = |seen: &Self| (is_final(&seen.status), seen.fetched_at);
        if further(recorded, self, rank) == recorded {
            return Observed::Stale;
        }
        let changes = [
            ("status", self.status != recorded.status),
            ("tier", self.price != recorded.price),
            (
                "period",
                (self.period_start, self.period_end) != (recorded.period_start, recorded.period_end),
            ),
            (
                "auto_renewal",
                self.cancel_at_period_end != recorded.cancel_at_period_end,
            ),
            ("card", self.card != recorded.card),
        ];
        let changed = changes.iter().filter(|(_, differs)| *differs);
        Observed::Changed(changed.map(|(name, _)| *name).collect())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn seen(at: i64, status: &str, price: &str) -> SubscriptionSeen {
        let time = |seconds: i64| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        SubscriptionSeen {
            fetched_at: time(at),
            id: "sub_1".into(),
            status: status.into(),
            item: Some("si_1".into()),
            price: Some(price.into()),
            period_start: Some(time(0)),
            period_end: Some(time(1000)),
            cancel_at_period_end: false,
            canceled_at: None,
            ended_at: None,
            card: None,
            created: time(0),
        }
    }

    #[test]
    fn r201_a_subscription_renews_itself_until_it_is_told_not_to_or_has_ended() {
        for (status, cancel_at_period_end, renews) in [
            ("active", false, true),
            ("past_due", false, true),
            ("active", true, false),
            ("canceled", false, false),
            ("canceled", true, false),
        ] {
            let seen = SubscriptionSeen {
                cancel_at_period_end,
                ..seen(1, status, "price_pro")
            };
            assert_eq!(seen.renews(), renews, "{status}, {cancel_at_period_end}");
        }
    }

    #[test]
    fn s17_a_later_sighting_changes_status_and_tier_and_an_older_one_nothing() {
        let past_due = seen(1, "past_due", "price_pro");
        let healed = seen(2, "active", "price_enterprise");
        assert_eq!(past_due.observe(None), Observed::New);
        assert_eq!(
            healed.observe(Some(&past_due)),
            Observed::Changed(vec!["status", "tier"])
        );
        assert_eq!(past_due.observe(Some(&healed)), Observed::Stale);
        assert_eq!(
            seen(9, "past_due", "price_pro").observe(Some(&past_due)),
            Observed::Same
        );
    }

    #[test]
    fn what_is_over_stays_over() {
        let over = seen(1, "canceled", "p");
        assert_eq!(seen(2, "active", "p").observe(Some(&over)), Observed::Stale);
        assert!(matches!(
            over.observe(Some(&seen(2, "active", "p"))),
            Observed::Changed(_)
        ));
    }

    proptest! {
        /// B-03: whatever the order and however often, sightings end in the same row.
        #[test]
        fn b03_sightings_in_any_order_and_number_end_the_same(
            sightings in prop::collection::vec(
                (0_i64..4, prop::sample::select(vec!["active", "past_due", "canceled", "incomplete_expired"]), prop::sample::select(vec!["a", "b"])),
                1..7,
            ),
            order in any::<prop::sample::Index>(),
            again in any::<prop::sample::Index>(),
        ) {
            let all: Vec<_> = sightings.iter().map(|(at, status, price)| seen(*at, status, price)).collect();
            let end = |told: &[SubscriptionSeen]| {
                let mut row: Option<SubscriptionSeen> = None;
                for one in told {
                    match one.observe(row.as_ref()) {
                        Observed::New | Observed::Changed(_) => row = Some(one.clone()),
                        Observed::Same => row = row.map(|row| SubscriptionSeen { fetched_at: row.fetched_at.max(one.fetched_at), ..row }),
                        Observed::Stale => {}
                    }
                }
                row.map(|row| (row.status, row.price))
            };
            let mut shuffled = all.clone();
            shuffled.rotate_left(order.index(all.len()));
            shuffled.reverse();
            shuffled.push(all[again.index(all.len())].clone());
            prop_assert_eq!(end(&all), end(&shuffled));
        }
    }
}
