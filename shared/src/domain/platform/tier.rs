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
