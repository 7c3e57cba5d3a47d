//! Whether a firm is to be told that its subscription runs out. On a monthly plan the end is always near; it is worth telling
//! only where the subscription does not go on by itself.
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::subscription::{CardSeen, SubscriptionSeen};

/// How long before the end of the period a firm is told.
pub const TOLD_BEFORE: TimeDelta = TimeDelta::days(30);

/// Why a subscription will not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiring {
    /// It was told not to renew itself.
    NotRenewed,
    /// The card that pays for it ends before.
    CardExpires,
}

impl Expiring {
    /// For the alert's data.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotRenewed => "not_renewed",
            Self::CardExpires => "card_expires",
        }
    }
}

/// Why this subscription ends within thirty days, if it does.
#[must_use]
pub fn expiring(seen: &SubscriptionSeen, now: DateTime<Utc>) -> Option<Expiring> {
    let end = seen.period_end?;
    let lives = ["active", "trialing", "past_due"].contains(&seen.status.as_str());
    if !lives || end <= now || now < end - TOLD_BEFORE {
        return None;
    }
    if seen.cancel_at_period_end {
        return Some(Expiring::NotRenewed);
    }
    let card_ends = seen.card.as_ref().and_then(ends_at)?;
    (card_ends <= end).then_some(Expiring::CardExpires)
}

/// A card is good until the last day of its month.
fn ends_at(card: &CardSeen) -> Option<DateTime<Utc>> {
    let (year, month) = (card.exp_year?, u32::try_from(card.exp_month?).ok()?);
    let (year, month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    let first = NaiveDate::from_ymd_opt(year, month, 1)?;
    Some(first.and_hms_opt(0, 0, 0)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a27_only_what_does_not_go_on_by_itself_expires_and_only_thirty_days_before() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let card = |month, year| CardSeen {
            id: "pm_1".into(),
            exp_month: Some(month),
            exp_year: Some(year),
            ..CardSeen::default()
        };
        let seen = |status: &str, renews: bool, card: Option<CardSeen>| SubscriptionSeen {
            fetched_at: time("2028-01-01T00:00:00Z"),
            id: "sub_1".into(),
            status: status.into(),
            item: None,
            price: None,
            period_start: Some(time("2028-01-15T00:00:00Z")),
            period_end: Some(time("2028-02-15T00:00:00Z")),
            cancel_at_period_end: !renews,
            canceled_at: None,
            ended_at: None,
            card,
            created: time("2028-01-15T00:00:00Z"),
        };
        let in_time = "2028-01-20T00:00:00Z";
        for (status, renews, pays, now, told) in [
            ("active", true, None, in_time, None),
            ("active", true, Some(card(2, 2028)), in_time, None),
            ("active", true, Some(card(12, 2028)), in_time, None),
            (
                "active",
                true,
                Some(card(1, 2028)),
                in_time,
                Some(Expiring::CardExpires),
            ),
            (
                "active",
                true,
                Some(card(12, 2027)),
                in_time,
                Some(Expiring::CardExpires),
            ),
            ("active", false, None, in_time, Some(Expiring::NotRenewed)),
            (
                "active",
                false,
                None,
                "2028-01-16T00:00:00Z",
                Some(Expiring::NotRenewed),
            ),
            ("active", false, None, "2028-01-15T23:59:59Z", None),
            ("active", false, None, "2028-02-15T00:00:00Z", None),
            ("canceled", false, None, in_time, None),
            ("incomplete", false, None, in_time, None),
        ] {
            let case = (status, renews, now);
            assert_eq!(
                (case, expiring(&seen(status, renews, pays), time(now))),
                (case, told)
            );
        }
    }
}
