//! Versions of an engagement: signing one, renewing it, ending it.
//!
//! Terms are frozen once signed, and days belong to one signed version only: where two versions would cover a day, both
//! would bill it. So a renewal that overlaps is refused, and an end can only come nearer. Nothing here touches an invoice.
use std::fmt;

use chrono::NaiveDate;

use super::generate::EngagementStatus;
use crate::money::Money;

/// Days that a version covers: half-open, open-ended where the end is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after it.
    pub ends_on: Option<NaiveDate>,
}

impl Days {
    /// Whether two versions would both cover a day.
    #[must_use]
    pub fn overlap(&self, other: &Days) -> bool {
        let begins_before_end =
            |one: &Days, of: &Days| of.ends_on.is_none_or(|ends_on| one.starts_on < ends_on);
        begins_before_end(self, other) && begins_before_end(other, self)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ends_on {
            Some(ends_on) => write!(f, "{} until {ends_on}", self.starts_on),
            None => write!(f, "{} without an end", self.starts_on),
        }
    }
}

/// One version of an engagement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What people call it.
    pub label: String,
    /// Where it stands.
    pub status: EngagementStatus,
    /// What it covers.
    pub days: Days,
}

impl Version {
    /// Whether its days are taken.
    fn is_binding(&self) -> bool {
        match self.status {
            EngagementStatus::Signed | EngagementStatus::Ended => true,
            EngagementStatus::Draft | EngagementStatus::Canceled => false,
        }
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another version that is signed covers some of the days.
    Overlap {
        /// The days that were wanted.
        wanted: Days,
        /// Of which version.
        label: String,
        /// What that one covers.
        taken: Days,
    },
    /// Only what was signed is renewed or ended.
    NotSigned,
    /// Called off.
    Canceled,
    /// The old version has no end, so the new one has no beginning.
    NoEnd,
    /// The end is not after the beginning.
    EndBeforeStart {
        /// What was wanted.
        wanted: Days,
    },
    /// An end can only come nearer.
    OnlyShorter {
        /// Where it is.
        ends_on: NaiveDate,
    },
    /// The pricing mode has no such amount.
    NotInTerms {
        /// Which option.
        option: &'static str,
    },
}

/// Whether a draft may be signed, given the other versions.
///
/// # Errors
/// With the reason why not.
pub fn may_sign(draft: &Version, others: &[Version]) -> Result<(), Refusal> {
    match draft.status {
        EngagementStatus::Canceled => Err(Refusal::Canceled),
        EngagementStatus::Draft | EngagementStatus::Signed | EngagementStatus::Ended => {
            free(draft.days, others)
        }
    }
}

fn free(wanted: Days, others: &[Version]) -> Result<(), Refusal> {
    match others.iter().find(|v| v.is_binding() && v.days.overlap(&wanted)) {
        None => Ok(()),
        Some(version) => Err(Refusal::Overlap {
            wanted,
            label: version.label.clone(),
            taken: version.days,
        }),
    }
}

/// The days of a renewal: from where the old version ends, unless told. `all` are the versions that there are, the old one
/// among them.
///
/// # Errors
/// With the reason why not.
pub fn renewal_days(
    old: &Version,
    all: &[Version],
    starts_on: Option<NaiveDate>,
    ends_on: NaiveDate,
) -> Result<Days, Refusal> {
    match old.status {
        EngagementStatus::Draft => return Err(Refusal::NotSigned),
        EngagementStatus::Canceled => return Err(Refusal::Canceled),
        EngagementStatus::Signed | EngagementStatus::Ended => {}
    }
    let starts_on = starts_on.or(old.days.ends_on).ok_or(Refusal::NoEnd)?;
    let wanted = Days {
        starts_on,
        ends_on: Some(ends_on),
    };
    if ends_on <= starts_on {
        return Err(Refusal::EndBeforeStart { wanted });
    }
    free(wanted, all)?;
    Ok(wanted)
}

/// An amount of a renewal: the old one unless another is given, and none where the pricing mode has none.
///
/// # Errors
/// With the reason why not.
pub fn renewal_amount(
    old: Option<Money>,
    wanted: Option<Money>,
    option: &'static str,
) -> Result<Option<Money>, Refusal> {
    match (old, wanted) {
        (None, Some(_)) => Err(Refusal::NotInTerms { option }),
        (old, wanted) => Ok(wanted.or(old)),
    }
}

/// Whether an engagement may end on a day.
///
/// # Errors
/// With the reason why not.
pub fn may_end(version: &Version, on: NaiveDate) -> Result<(), Refusal> {
    match (version.status, version.days.ends_on) {
        (EngagementStatus::Draft, _) => Err(Refusal::NotSigned),
        (EngagementStatus::Canceled, _) => Err(Refusal::Canceled),
        (EngagementStatus::Signed | EngagementStatus::Ended, Some(ends_on)) if on >= ends_on => {
            Err(Refusal::OnlyShorter { ends_on })
        }
        (EngagementStatus::Signed | EngagementStatus::Ended, _) if on <= version.days.starts_on => {
            Err(Refusal::EndBeforeStart {
                wanted: Days {
                    ends_on: Some(on),
                    ..version.days
                },
            })
        }
        (EngagementStatus::Signed | EngagementStatus::Ended, _) => Ok(()),
    }
}

impl Refusal {
    /// The word for scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overlap { .. } => "terms_overlap",
            Self::NotSigned => "not_signed",
            Self::Canceled => "canceled",
            Self::NoEnd => "no_end",
            Self::EndBeforeStart { .. } => "end_before_start",
            Self::OnlyShorter { .. } => "only_shorter",
            Self::NotInTerms { .. } => "not_in_terms",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { wanted, label, taken } => write!(
                f,
                "{wanted} overlaps {label}, which is signed for {taken}: both would bill the same days; end that one \
                 earlier or choose other days"
            ),
            Self::NotSigned => f.write_str("the engagement is a draft: it is changed by an import, and signed first"),
            Self::Canceled => f.write_str("the engagement was canceled"),
            Self::NoEnd => f.write_str(
                "the engagement has no end for a renewal to begin at: end it first (engagement end), or give --starts-on \
                 with days that it does not cover",
            ),
            Self::EndBeforeStart { wanted } => write!(f, "an engagement covers at least a day, {wanted} is none"),
            Self::OnlyShorter { ends_on } => write!(
                f,
                "the engagement ends on {ends_on} as it is signed; its end can only come nearer: renew it for more days"
            ),
            Self::NotInTerms { option } => {
                write!(f, "{option} does not go with the engagement's pricing mode, which a renewal keeps")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::currency::Currency;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn signed(starts_on: &str, ends_on: Option<&str>) -> Version {
        Version {
            label: "retainer".into(),
            status: EngagementStatus::Signed,
            days: Days {
                starts_on: day(starts_on),
                ends_on: ends_on.map(day),
            },
        }
    }

    fn code<T: fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn a16_a_renewal_begins_where_the_old_version_ends_and_overlaps_none() {
        let old = signed("2026-01-01", Some("2027-01-01"));
        let all = [old.clone()];
        let renew = |starts_on: Option<&str>, ends_on: &str| {
            renewal_days(&old, &all, starts_on.map(day), day(ends_on))
        };
        let next = renew(None, "2028-01-01").unwrap();
        assert_eq!(next.to_string(), "2027-01-01 until 2028-01-01");
        assert!(
            renew(Some("2027-03-01"), "2028-01-01").is_ok(),
            "a gap is no overlap"
        );
        assert_eq!(code(renew(Some("2026-12-31"), "2028-01-01")), "terms_overlap");
        assert_eq!(code(renew(Some("2025-01-01"), "2026-01-02")), "terms_overlap");
        assert!(renew(Some("2025-01-01"), "2026-01-01").is_ok());
        assert_eq!(code(renew(None, "2027-01-01")), "end_before_start");
        for status in [EngagementStatus::Draft, EngagementStatus::Canceled] {
            let unsigned = Version {
                status,
                ..signed("2027-01-01", Some("2029-01-01"))
            };
            let days = renewal_days(&old, &[old.clone(), unsigned], None, day("2028-01-01"));
            assert!(days.is_ok(), "what is {status} takes no days");
        }
        assert_eq!(
            renew(Some("2026-12-31"), "2028-01-01").unwrap_err().to_string(),
            "2026-12-31 until 2028-01-01 overlaps retainer, which is signed for 2026-01-01 until 2027-01-01: both would \
             bill the same days; end that one earlier or choose other days"
        );
    }

    #[test]
    fn what_was_never_signed_or_has_no_end_is_not_renewed() {
        let open = signed("2026-01-01", None);
        let all = [open.clone()];
        assert_eq!(code(renewal_days(&open, &all, None, day("2028-01-01"))), "no_end");
        let after = Some(day("2027-01-01"));
        assert_eq!(
            code(renewal_days(&open, &all, after, day("2028-01-01"))),
            "terms_overlap"
        );
        for (status, why) in [
            (EngagementStatus::Draft, "not_signed"),
            (EngagementStatus::Canceled, "canceled"),
        ] {
            let old = Version {
                status,
                ..signed("2026-01-01", Some("2027-01-01"))
            };
            assert_eq!(code(renewal_days(&old, &[], None, day("2028-01-01"))), why);
            assert_eq!(code(may_end(&old, day("2026-06-01"))), why);
        }
    }

    #[test]
    fn a15_an_end_only_comes_nearer() {
        let open = signed("2026-01-01", None);
        assert_eq!(may_end(&open, day("2029-01-01")), Ok(()));
        let year = signed("2026-01-01", Some("2027-01-01"));
        assert_eq!(may_end(&year, day("2026-12-31")), Ok(()));
        assert_eq!(code(may_end(&year, day("2027-01-01"))), "only_shorter");
        let wanted = Days {
            starts_on: day("2026-01-01"),
            ends_on: Some(day("2026-01-01")),
        };
        assert_eq!(
            may_end(&year, day("2026-01-01")),
            Err(Refusal::EndBeforeStart { wanted })
        );
    }

    #[test]
    fn r015_a_renewal_keeps_the_pricing_mode() {
        let fee = |minor| Some(Money::new(minor, Currency::USD));
        assert_eq!(renewal_amount(fee(1), None, "--package-fee"), Ok(fee(1)));
        assert_eq!(renewal_amount(fee(1), fee(2), "--package-fee"), Ok(fee(2)));
        assert_eq!(renewal_amount(None, None, "--package-fee"), Ok(None));
        assert_eq!(
            code(renewal_amount(None, fee(2), "--package-fee")),
            "not_in_terms"
        );
    }

    proptest! {
        /// whatever is renewed, signed and ended in whatever order, no day is covered by two signed versions.
        #[test]
        fn a16_signed_versions_never_share_a_day(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, 0..400_u64, 1..400_u64), 1..40)
        ) {
            let first = day("2026-01-01");
            let mut versions = vec![signed("2026-01-01", Some("2027-01-01"))];
            for (which, step, offset, length) in steps {
                let at = which.index(versions.len());
                let from = first + chrono::Days::new(offset);
                let others: Vec<Version> = versions.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, v)| v.clone()).collect();
                match step {
                    0 => if let Ok(days) = renewal_days(&versions[at], &versions, Some(from), from + chrono::Days::new(length)) {
                        versions.push(Version { label: "renewal".into(), status: EngagementStatus::Draft, days });
                    },
                    1 => if may_sign(&versions[at], &others).is_ok() {
                        versions[at].status = EngagementStatus::Signed;
                    },
                    _ => if may_end(&versions[at], from).is_ok() {
                        versions[at].days.ends_on = Some(from);
                    },
                }
            }
            let binding: Vec<&Version> = versions.iter().filter(|v| v.is_binding()).collect();
            for (n, one) in binding.iter().enumerate() {
                for other in &binding[n + 1..] {
                    prop_assert!(!one.days.overlap(&other.days), "{} and {}", one.days, other.days);
                }
            }
        }
    }
}
