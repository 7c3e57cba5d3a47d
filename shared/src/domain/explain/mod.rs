//! Why: what happened and why, why nothing happened, and what comes next, from rows alone.
//!
//! Pure: [`crate::store::explain`] reads the rows, the functions here make an [`Answer`] of them. The conditions in it are those
//! that the jobs themselves evaluate (`decide_charge`, `plan`), called here once more with what stands in the database now; there is no
//! second model that could disagree. Every reason has a text and says what to do ([`reasons`]).
mod answer;
mod charge;
mod events;
mod facts;
mod invoice;
mod money;
mod parties;
#[cfg(test)]
mod period_tests;
mod periods;
pub mod reasons;
#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod tests;
mod text;

pub use answer::{Answer, Checked, Link, Subject};
pub use charge::{next, standing, why_not_charge};
pub use events::{alert, event, job};
pub use facts::{
    AlertFacts, AttemptFacts, AuditFacts, BilledPeriod, BillingFacts, CardFacts, ClientFacts, CycleFacts,
    DecisionFacts, DeliveryFacts, DisputeFacts, EventFacts, InvoiceFacts, JobFacts, JournalFacts, LineFacts,
    LotFacts, Movement, Origin, Pause, PaymentFacts, RefundFacts, TimeFacts, UserFacts, WaitingTime,
};
pub use invoice::{attempt, dispute, intent, invoice, payment, refund};
pub use money::{credit_lot, journal};
pub use parties::{client, time_entry, user};
pub use periods::{AskedPeriod, NoInvoice, NoPeriod, engagement, why_not_invoice};
pub use text::to_text;
