//! A tier: what a subscription costs and allows. Tiers are rows, not code (R200).
use serde::Serialize;
use serde_json::Value;

use super::usage::Metric;

/// A tier as the table has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// `FREE`, `PRO`, `ENTERPRISE`.
    pub tier: String,
    /// For people.
    pub name: String,
    /// What a month costs, in minor units.
    pub monthly_cost_minor: i64,
    /// Lower-case code.
    pub currency: String,
    /// `price_…` that a new subscription is made with; none: nobody can subscribe yet.
    pub stripe_price_id: Option<String>,
    /// Active employees; none: unlimited.
    pub max_employees: Option<i64>,
    /// Agents; none: unlimited.
    pub max_agents: Option<i64>,
    /// Gigabytes; none: unlimited.
    pub max_storage_gb: Option<i64>,
    /// How long data is kept.
    pub retention_days: i32,
    /// `{"screenshots": true, …}`
    pub features: Value,
    /// Place in a comparison.
    pub display_order: i32,
}

impl Tier {
    /// How much of something it allows; `None`: as much as one likes.
    #[must_use]
    pub const fn limit(&self, metric: Metric) -> Option<i64> {
        match metric {
            Metric::Employees => self.max_employees,
            Metric::Agents => self.max_agents,
            Metric::StorageGb => self.max_storage_gb,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r200_a_tier_has_a_limit_of_its_own_for_everything_that_is_counted() {
        let tier = Tier {
            tier: "PRO".into(),
            name: "Pro".into(),
            monthly_cost_minor: 2_900,
            currency: "usd".into(),
            stripe_price_id: None,
            max_employees: Some(50),
            max_agents: Some(7),
            max_storage_gb: None,
            retention_days: 90,
            features: Value::Null,
            display_order: 2,
        };
        assert_eq!(tier.limit(Metric::Employees), Some(50));
        assert_eq!(tier.limit(Metric::Agents), Some(7));
        assert_eq!(tier.limit(Metric::StorageGb), None);
    }
}
