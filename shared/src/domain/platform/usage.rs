//! What a firm uses of what its tier allows.
use serde::Serialize;

use crate::domain::words::word_enum;

word_enum!(
    /// Something that tiers limit.
    Metric, "metric":
    /// Active employees.
    Employees = "employees",
    /// Agents.
    Agents = "agents",
    /// Gigabytes stored.
    StorageGb = "storage_gb",
);

/// From this share of a limit on, in percent, the firm is told (R206).
pub const HIGH_PERCENT: i64 = 80;

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of what.
    pub metric: Metric,
    /// So much.
    pub used: i64,
    /// Of so much; `None`: unlimited.
    pub limit: Option<i64>,
}

impl Usage {
    /// In percent, rounded down; `None` where nothing is limited.
    #[must_use]
    pub fn percent(&self) -> Option<i64> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        i64::try_from(i128::from(self.used) * 100 / i128::from(limit)).ok()
    }

    /// Whether the limit is nearly reached, or passed.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.percent().is_some_and(|percent| percent >= HIGH_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r206_usage_is_high_from_eighty_percent_on_and_never_without_a_limit() {
        for (used, limit, percent, high) in [
            (0, Some(5), Some(0), false),
            (3, Some(0), None, false),
            (39, Some(50), Some(78), false),
            (40, Some(50), Some(80), true),
            (51, Some(50), Some(102), true),
            (i64::MAX, None, None, false),
            (i64::MAX, Some(i64::MAX), Some(100), true),
        ] {
            let usage = Usage {
                metric: Metric::Employees,
                used,
                limit,
            };
            assert_eq!(
                (usage.percent(), usage.is_high()),
                (percent, high),
                "{used} of {limit:?}"
            );
        }
    }
}
