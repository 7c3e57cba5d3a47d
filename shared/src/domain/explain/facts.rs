//! The rows that answers are made of, as the store reads them.
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;

use crate::{
    domain::{
        collection::{AttemptState, ChargeFacts, CycleState, Trigger},
        generate::EngagementFacts,
        retry_policy::RetryPolicy,
    },
    money::Money,
};

/// An invoice with everything that has to do with its being charged.
#[derive(Clone, Debug)]
pub struct InvoiceFacts {
    /// Number, else `external_id`, else UUID.
    pub label: String,
    /// Its client.
    pub client: String,
    /// Its firm.
    pub firm: String,
    /// The derived one-word status.
    pub status: String,
    /// The state of the document.
    pub doc_state: String,
    /// What was billed.
    pub total: Money,
    /// What was paid.
    pub paid: Money,
    /// What credit covers.
    pub credited: Money,
    /// When it was issued.
    pub issued_at: Option<DateTime<Utc>>,
    /// Until when it is to be paid.
    pub due_date: Option<NaiveDate>,
    /// What the decision to charge depends on: of its latest cycle, or as if one were begun.
    pub charge: ChargeFacts,
    /// Its latest cycle.
    pub cycle: Option<CycleFacts>,
    /// Every attempt, oldest first.
    pub attempts: Vec<AttemptFacts>,
    /// Money that arrived.
    pub payments: Vec<PaymentFacts>,
    /// Money that went back.
    pub refunds: Vec<RefundFacts>,
    /// What was contested.
    pub disputes: Vec<DisputeFacts>,
    /// The card that would be charged.
    pub card: Option<CardFacts>,
    /// Who stopped automatic charging of it.
    pub pauses: Vec<Pause>,
    /// The newest job that collects it.
    pub job: Option<JobFacts>,
    /// What jobs decided about it, the latest first.
    pub decisions: Vec<DecisionFacts>,
    /// What happened to it, and to its client's automatic payment, the latest first.
    pub audit: Vec<AuditFacts>,
    /// What it bills.
    pub lines: Vec<LineFacts>,
    /// Whose terms it bills.
    pub engagement: Option<String>,
    /// What made it.
    pub origin: Option<Origin>,
}

/// A collection cycle.
#[derive(Clone, Debug)]
pub struct CycleFacts {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: CycleState,
    /// Why.
    pub reason: Option<String>,
    /// Its PaymentIntent.
    pub intent: Option<String>,
    /// When its first attempt failed.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// When the next one is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Its step.
    pub next_step: u32,
    /// Why it will be made.
    pub next_trigger: Trigger,
    /// Until when it waits for the client.
    pub deadline_at: Option<DateTime<Utc>>,
    /// The retry policy in force for it.
    pub policy: RetryPolicy,
    /// When it began.
    pub created_at: DateTime<Utc>,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct AttemptFacts {
    /// Its id.
    pub id: String,
    /// Its step.
    pub step: i32,
    /// Why it was made.
    pub trigger: Trigger,
    /// How it ended, or where it stands.
    pub state: AttemptState,
    /// What kind of failure.
    pub class: Option<String>,
    /// The issuer's reason, else Stripe's.
    pub code: Option<String>,
    /// How much.
    pub amount: Money,
    /// Its card.
    pub card: String,
    /// Its charge.
    pub charge: Option<String>,
    /// Its PaymentIntent.
    pub intent: Option<String>,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
    /// When its end was known.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// Money that arrived.
#[derive(Clone, Debug)]
pub struct PaymentFacts {
    /// Our id.
    pub id: String,
    /// Its charge at Stripe, or the reference of a payment from elsewhere.
    pub reference: String,
    /// `stripe` or `external`.
    pub method: String,
    /// Its PaymentIntent.
    pub intent: Option<String>,
    /// How much.
    pub amount: Money,
    /// When.
    pub received_at: DateTime<Utc>,
    /// The event or job that recorded it.
    pub cause: String,
}

/// Money that went back.
#[derive(Clone, Debug)]
pub struct RefundFacts {
    /// Our id.
    pub id: String,
    /// Stripe's.
    pub stripe_id: Option<String>,
    /// The charge or reference of its payment.
    pub payment: String,
    /// How much.
    pub amount: Money,
    /// `card` or `credit`.
    pub destination: String,
    /// Where it stands.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Who asked for it; nobody of ours where it was made at Stripe.
    pub requested_by: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What was contested.
#[derive(Clone, Debug)]
pub struct DisputeFacts {
    /// Stripe's id.
    pub id: String,
    /// Ours.
    pub uuid: String,
    /// Inquiry or chargeback.
    pub kind: String,
    /// Stripe's word.
    pub status: String,
    /// The cardholder's reason.
    pub reason: Option<String>,
    /// How much.
    pub amount: Money,
    /// The charge.
    pub payment: String,
    /// Since when.
    pub opened_at: DateTime<Utc>,
    /// Until when to answer.
    pub respond_by: Option<DateTime<Utc>>,
    /// How it ended, and when.
    pub ended: Option<(String, DateTime<Utc>)>,
    /// What it did to the balance.
    pub movements: Vec<Movement>,
    /// What a person decided after it was lost.
    pub resolution: Option<String>,
}

/// What a dispute did to the balance.
#[derive(Clone, Debug)]
pub struct Movement {
    /// The balance transaction.
    pub id: String,
    /// Withdrawn, reinstated, fee, fee refund.
    pub kind: String,
    /// How much.
    pub amount: Money,
    /// When.
    pub at: DateTime<Utc>,
}

/// A stored card.
#[derive(Clone, Debug)]
pub struct CardFacts {
    /// Stripe's id.
    pub id: String,
    /// Brand and last digits, as far as known.
    pub label: String,
    /// `active`, `needs_update`, `detached`.
    pub status: String,
}

/// Automatic charging that somebody stopped.
#[derive(Clone, Debug)]
pub struct Pause {
    /// `all`, `firm` or `client`.
    pub whom: &'static str,
    /// Since when.
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: String,
}

/// A job.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// Its id.
    pub id: String,
    /// Which handler.
    pub kind: String,
    /// Its lane.
    pub queue: String,
    /// Where it stands.
    pub state: String,
    /// How often it was tried, of how often at most.
    pub tried: (i32, i32),
    /// Why it failed last.
    pub last_error: Option<String>,
    /// When it is or was due.
    pub run_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its key.
    pub key: String,
    /// What it reported.
    pub result: Option<Value>,
    /// Whether a person stopped its queue, and why.
    pub queue_paused: Option<String>,
}

/// What a job decided.
#[derive(Clone, Debug)]
pub struct DecisionFacts {
    /// Its number.
    pub id: i64,
    /// `charge`, `retry` …
    pub kind: String,
    /// What was decided.
    pub outcome: String,
    /// Why.
    pub reason_code: String,
    /// First when.
    pub first_at: DateTime<Utc>,
    /// Last when.
    pub last_at: DateTime<Utc>,
    /// How often.
    pub times: i32,
}

/// One entry of the audit.
#[derive(Clone, Debug)]
pub struct AuditFacts {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub action: String,
    /// Who: `system`, `stripe`, or a person.
    pub actor: String,
    /// What it is about.
    pub subject: String,
    /// `event`, `job` or `command`.
    pub cause_kind: String,
    /// Which.
    pub cause_id: String,
    /// Ids, amounts, codes.
    pub meta: Value,
}

/// One line of an invoice.
#[derive(Clone, Debug)]
pub struct LineFacts {
    /// What for.
    pub kind: String,
    /// How much.
    pub amount: Money,
    /// How the amount came about.
    pub derivation: Value,
    /// Minutes and rate per hour, of hours.
    pub hours: Option<(i32, Money)>,
    /// The time entry, who worked, who approved it.
    pub time: Option<(String, String, Option<String>)>,
}

/// What made an invoice.
#[derive(Clone, Debug)]
pub struct Origin {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// The job, where a job made it.
    pub job: Option<JobFacts>,
    /// `job`, `command` or `event`, and its id.
    pub cause: (String, String),
}

/// A client.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// `external_id`, else UUID.
    pub label: String,
    /// Its firm.
    pub firm: String,
    /// Its customer at Stripe.
    pub customer: Option<String>,
    /// Whether automatic payment is on, and since when.
    pub autopay: (bool, Option<DateTime<Utc>>),
    /// Its card.
    pub card: Option<CardFacts>,
    /// Who stopped automatic charging.
    pub pauses: Vec<Pause>,
    /// Why it is parked.
    pub parked: Option<String>,
    /// Its open invoices.
    pub invoices: Vec<InvoiceFacts>,
    /// Changes of its automatic payment and its cards, the latest first.
    pub audit: Vec<AuditFacts>,
}

/// An event of the inbox.
#[derive(Clone, Debug)]
pub struct EventFacts {
    /// Stripe's id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// Where it stands.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// What it is about.
    pub object: Option<String>,
    /// When it came in, by the real clock.
    pub received_at: DateTime<Utc>,
    /// When it took effect.
    pub applied_at: Option<DateTime<Utc>>,
    /// The job that applies it.
    pub job: Option<JobFacts>,
    /// What came of it.
    pub effects: Vec<AuditFacts>,
}

/// A journal of the ledger.
#[derive(Clone, Debug)]
pub struct JournalFacts {
    /// Its id.
    pub id: String,
    /// What kind of fact posted it.
    pub kind: String,
    /// Which fact.
    pub source: String,
    /// Whose.
    pub client: String,
    /// About which invoice.
    pub invoice: Option<String>,
    /// The journal that it takes back.
    pub reverses: Option<String>,
    /// The journal that takes it back.
    pub reversed_by: Option<String>,
    /// When the fact was.
    pub effective_at: DateTime<Utc>,
    /// Account and amount, debit positive.
    pub postings: Vec<(String, Money)>,
}

/// A time entry.
#[derive(Clone, Debug)]
pub struct TimeFacts {
    /// `external_id`, else UUID.
    pub label: String,
    /// For which engagement.
    pub engagement: String,
    /// Who worked.
    pub worker: String,
    /// When.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// Per hour, frozen at approval.
    pub rate: Option<Money>,
    /// Where it stands.
    pub state: String,
    /// Who approved it, and when.
    pub approved: Option<(String, DateTime<Utc>)>,
    /// The invoice that it stands on, and its amount there.
    pub billed: Option<(String, Money)>,
    /// What happened to it, the latest first.
    pub audit: Vec<AuditFacts>,
}

/// A user of a firm.
#[derive(Clone, Debug)]
pub struct UserFacts {
    /// Our id.
    pub id: String,
    /// `external_id`, else UUID: what the books call it.
    pub label: String,
    /// The name.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// The client that a portal user belongs to.
    pub client: Option<String>,
    /// What it did and what was done to it, the latest first.
    pub audit: Vec<AuditFacts>,
}

/// An alert.
#[derive(Clone, Debug)]
pub struct AlertFacts {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// How much it matters.
    pub severity: String,
    /// A few words.
    pub title: String,
    /// What happened and what comes next.
    pub message: String,
    /// How often it was seen.
    pub occurrences: i32,
    /// First and last when.
    pub seen: (DateTime<Utc>, DateTime<Utc>),
    /// Who read it.
    pub read_by: Option<String>,
    /// Who or what resolved it, and when.
    pub resolved: Option<(String, DateTime<Utc>)>,
    /// `event`, `job` or `command`, and its id.
    pub cause: (String, String),
    /// About which invoice.
    pub invoice: Option<String>,
    /// Who was told of it, the latest first.
    pub deliveries: Vec<DeliveryFacts>,
}

/// A destination that was told of an alert, or was to be.
#[derive(Clone, Debug)]
pub struct DeliveryFacts {
    /// Its id.
    pub id: String,
    /// `webhook` or `email`, and where.
    pub to: (String, String),
    /// `opened`, `reopened` or `worsened`.
    pub edge: String,
    /// `waiting`, `delivered`, `failed` or `dropped`.
    pub state: String,
    /// How often it was sent.
    pub attempts: i32,
    /// What went wrong last.
    pub error: Option<String>,
    /// When it was called for.
    pub at: DateTime<Utc>,
}

/// Credit given to a client.
#[derive(Clone, Debug)]
pub struct LotFacts {
    /// Its id.
    pub id: String,
    /// Whose.
    pub client: String,
    /// How much was given.
    pub amount: Money,
    /// How much is left.
    pub remaining: Money,
    /// Where it came from.
    pub source: String,
    /// Why.
    pub reason: String,
    /// Who gave it, and who approved.
    pub by: (Option<String>, Option<String>),
    /// When.
    pub issued_at: DateTime<Utc>,
    /// The first day on which it is worth nothing.
    pub expires_on: Option<NaiveDate>,
    /// Invoice, amount, when, and whether it was taken back.
    pub applications: Vec<(String, Money, DateTime<Utc>, bool)>,
    /// What expired, and when.
    pub expired: Vec<(Money, DateTime<Utc>)>,
}

/// An engagement as far as its invoices go.
#[derive(Clone, Debug)]
pub struct BillingFacts {
    /// Its id.
    pub id: String,
    /// `external_id`, else UUID.
    pub label: String,
    /// Whose, the same.
    pub client: String,
    /// The firm, the same.
    pub firm: String,
    /// Where it stands.
    pub status: String,
    /// Its terms in words.
    pub words: String,
    /// Where the firm is.
    pub timezone: String,
    /// The date there.
    pub today: NaiveDate,
    /// What the generation job knows of it; nothing where it is not billed on a schedule.
    pub terms: Option<EngagementFacts>,
    /// What was billed of it, the earliest first.
    pub billed: Vec<BilledPeriod>,
    /// What was billed of other versions of it, with their labels.
    pub siblings: Vec<(String, BilledPeriod)>,
    /// Time that is not ready to be billed.
    pub waiting: Vec<WaitingTime>,
    /// What the generation job decided about it, the latest first.
    pub decisions: Vec<DecisionFacts>,
    /// The firm's last generation.
    pub run: Option<JobFacts>,
    /// What happened to it, the latest first.
    pub audit: Vec<AuditFacts>,
}

/// A period that was billed.
#[derive(Clone, Debug)]
pub struct BilledPeriod {
    /// First day.
    pub start: NaiveDate,
    /// First day after it.
    pub end: NaiveDate,
    /// The number of the invoice, else its UUID.
    pub invoice: String,
    /// Where its document stands.
    pub doc_state: String,
    /// What it came to.
    pub total: Money,
    /// When it was issued.
    pub issued_at: Option<DateTime<Utc>>,
    /// When it was given free to be billed again, and why.
    pub released: Option<(DateTime<Utc>, String)>,
}

/// Time that is not ready to be billed, by day.
#[derive(Clone, Debug)]
pub struct WaitingTime {
    /// On which day it was worked.
    pub worked_on: NaiveDate,
    /// `approval`, or `client` for the client's.
    pub waits_for: String,
    /// How many entries.
    pub entries: i64,
}
