//! One file per job: payload, policy, handler.
pub mod cancel_payment_intent;
pub mod collect_invoice;
pub mod generate_package_invoices;
pub mod process_recurring_charges;
pub mod process_stripe_event;
pub mod prune;
pub mod reconcile_payment;
pub mod review_cycle;

use crate::queue::{JobError, Registry};

/// Adds every job of this crate.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry
        .transactional::<process_stripe_event::ProcessStripeEvent>()
        .external::<generate_package_invoices::GeneratePackageInvoices>()
        .transactional::<process_recurring_charges::ProcessRecurringCharges>()
        .external::<collect_invoice::CollectInvoice>()
        .external::<reconcile_payment::ReconcilePayment>()
        .external::<cancel_payment_intent::CancelPaymentIntent>()
        .transactional::<review_cycle::ReviewCycle>()
        .external::<prune::Prune>()
}

/// The payload of the jobs about one collection cycle.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub struct CycleArgs {
    /// Which.
    pub cycle_id: shared::ids::CycleId,
    /// The time an operator asked about, instead of now.
    #[serde(default)]
    pub as_of: Option<chrono::DateTime<chrono::Utc>>,
    /// The cycle's version that the operator's question was about. A job that comes back finds a later one, and asks
    /// about now: an early charge is ordered once.
    #[serde(default)]
    pub version: Option<i32>,
}

impl CycleArgs {
    /// The time that decides what is due.
    fn due_at(&self, version: i32, now: chrono::DateTime<chrono::Utc>) -> chrono::DateTime<chrono::Utc> {
        self.as_of
            .filter(|_| self.version == Some(version))
            .unwrap_or(now)
    }
}

/// The firm that a job must have.
fn firm_of(job: &crate::queue::Job) -> Result<shared::ids::FirmId, JobError> {
    job.firm_id
        .ok_or_else(|| JobError::fail(format!("{} has no firm", job.kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_charge_is_ordered_for_one_version_of_the_cycle() {
        let now: chrono::DateTime<chrono::Utc> = "2026-03-01T03:00:00Z".parse().unwrap();
        let asked = now + chrono::Duration::days(3);
        let args = CycleArgs {
            cycle_id: shared::ids::CycleId::new(),
            as_of: Some(asked),
            version: Some(4),
        };
        assert_eq!(args.due_at(4, now), asked);
        assert_eq!(args.due_at(5, now), now, "an attempt was made since");
        let old = CycleArgs {
            version: None,
            ..args
        };
        assert_eq!(old.due_at(4, now), now);
    }
}
