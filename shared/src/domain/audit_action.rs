//! The names of everything that the audit log may tell, and the category of each.
//!
//! One list, so that whoever searches the log knows what to search for, and nobody invents a second word for a thing. A name
//! is a noun and what happened to it. Tests hold the sources, and the log of every story, against it.
use super::words::word_enum;

word_enum!(
    /// What kind of entry it is: what `audit list` picks by.
    Category, "category":
    /// Money, and what leads to it.
    Billing = "billing",
    /// Who may do what.
    Auth = "auth",
    /// The platform's people looking into a firm.
    BreakGlass = "break_glass",
    /// Rows that were removed because their time was over.
    Purge = "purge",
    /// Settings.
    Config = "config",
);

/// Every action, by noun.
pub const ACTIONS: &[&str] = &[
    "invoice.created",
    "invoice.issued",
    "invoice.void_requested",
    "invoice.voided",
    "invoice.void_rejected",
    "invoice.written_off",
    "invoice.reopened",
    "invoice.discarded",
    "invoice.period_released",
    "invoice.override_used",
    "time.approved",
    "time.client_approved",
    "time.rejected",
    "time.reopened",
    "time.released",
    "payment.attempted",
    "payment.succeeded",
    "payment.failed",
    "payment.action_required",
    "payment.unknown",
    "payment.resolved",
    "retry.scheduled",
    "retry.superseded",
    "retry.exhausted",
    "autopay.enabled",
    "autopay.disabled",
    "autopay.paused",
    "autopay.resumed",
    "payment_method.attached",
    "payment_method.updated",
    "payment_method.detached",
    "dispute.opened",
    "dispute.updated",
    "dispute.resolved",
    "chargeback.received",
    "chargeback.reversed",
    "refund.requested",
    "refund.succeeded",
    "refund.failed",
    "credit.issued",
    "credit.applied",
    "credit.expired",
    "credit.reversed",
    "engagement.signed",
    "engagement.renewed",
    "engagement.ended",
    "generation.requested",
    "charging.requested",
    "subscription.started",
    "subscription.updated",
    "subscription.cancelled",
    "platform.asked",
    "platform.done",
    "platform.refused",
    "platform.customer_created",
    "platform.invoice_updated",
    "platform.usage_reported",
    "event.replayed",
    "job.retried",
    "job.canceled",
    "break_glass.activated",
    "break_glass.expired",
    "break_glass.revoked",
    "break_glass.accessed",
    "break_glass.reviewed",
    "alert.read",
    "alert.resolved",
    "recon.finding",
    "recon.repaired",
    "config.changed",
    "login.succeeded",
    "login.password_set",
    "login.disabled",
    "token.created",
    "token.revoked",
    "alert_destination.added",
    "alert_destination.removed",
    "alert_destination.enabled",
    "alert_destination.disabled",
    "alert_destination.tested",
];

/// The category of an action.
#[must_use]
pub fn category(action: &str) -> Category {
    match action.split_once('.').map(|(noun, _)| noun) {
        Some("break_glass") => Category::BreakGlass,
        Some("config" | "alert_destination") => Category::Config,
        Some("login" | "token") => Category::Auth,
        // Ours are all on the list; what is not is money until somebody says otherwise.
        Some(_) | None => Category::Billing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r090_every_action_is_a_noun_and_what_happened_to_it_and_is_there_once() {
        let mut seen = std::collections::BTreeSet::new();
        for action in ACTIONS {
            let (noun, happened) = action.split_once('.').unwrap();
            let is_word =
                |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(is_word(noun) && is_word(happened), "{action}");
            assert!(seen.insert(action), "{action} twice");
        }
        assert_eq!(category("break_glass.accessed"), Category::BreakGlass);
        assert_eq!(category("config.changed"), Category::Config);
        assert_eq!(category("alert_destination.added"), Category::Config);
        assert_eq!(category("token.created"), Category::Auth);
        assert_eq!(category("invoice.issued"), Category::Billing);
    }
}
