//! One file per job: payload, policy, handler. `cycle.rs` is what those about a collection cycle share.
pub mod attach_card;
pub mod backfill_events;
pub mod cancel_payment_intent;
pub mod collect_invoice;
pub mod deliver_alert;
pub mod expire_break_glass;
pub mod expire_credit;
pub mod generate_package_invoices;
pub mod platform_request;
pub mod process_recurring_charges;
pub mod process_stripe_event;
pub mod prune;
pub mod reconcile;
pub mod reconcile_payment;
pub mod refresh_subscription;
pub mod refund_payment;
pub mod report_day;
pub mod review_cycle;
pub mod seal_audit;

mod cycle;

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
        .external::<refund_payment::RefundPayment>()
        .external::<platform_request::PlatformRequest>()
        .external::<deliver_alert::DeliverAlert>()
        .transactional::<refresh_subscription::RefreshSubscription>()
        .external::<expire_credit::ExpireCredit>()
        .external::<backfill_events::BackfillEvents>()
        .transactional::<attach_card::AttachCard>()
        .transactional::<report_day::ReportDay>()
        .external::<prune::Prune>()
        .external::<reconcile::Reconcile>()
        .external::<seal_audit::SealAudit>()
        .transactional::<expire_break_glass::ExpireBreakGlass>()
}

/// The firm that a job must have.
fn firm_of(job: &crate::queue::Job) -> Result<shared::ids::FirmId, JobError> {
    job.firm_id
        .ok_or_else(|| JobError::fail(format!("{} has no firm", job.kind)))
}
