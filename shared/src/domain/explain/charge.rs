//! Why an invoice is not charged, and what comes next: the conditions of [`decide_charge`], and where its collection stands.
use chrono::{DateTime, Utc};

use super::{
    answer::{Answer, Checked, Decided, Link, Subject},
    facts::{AttemptFacts, AuditFacts, CycleFacts, InvoiceFacts, JobFacts, Pause},
    reasons,
    text::time,
};
use crate::domain::{
    collection::{AttemptState, ChargeDecision, CycleState, Trigger, decide_charge},
    predicate::Predicate,
};

/// Entries of the audit that an answer names; the rest is in `audit list`.
const EVIDENCE: usize = 6;

/// Why an invoice is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The reason, as a code of [`reasons`].
    pub code: String,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// `charged`, `being charged` or `not charged`.
    pub head: &'static str,
}

/// Why an invoice is, or is not, charged as of a time. Never without a reason.
#[must_use]
pub fn standing(invoice: &InvoiceFacts, as_of: DateTime<Utc>) -> Standing {
    let code = code(invoice, as_of);
    let head = match code.as_str() {
        "paid" | "succeeded" | "refunded" | "charged_back" => "charged",
        "in_flight" | "processing" | "unknown" => "being charged",
        _ => "not charged",
    };
    Standing {
        since: since(invoice, &code),
        head,
        code,
    }
}

/// `why-not charge`.
#[must_use]
pub fn why_not_charge(invoice: &InvoiceFacts, as_of: DateTime<Utc>) -> Answer {
    let standing = standing(invoice, as_of);
    let verdict = format!("{}: {}", standing.head, reasons::text(&standing.code));
    let mut answer = Answer::new("why-not charge", &subject(invoice), verdict);
    answer.question = "why-not charge".to_owned();
    explained(answer, invoice, &standing, as_of).chain(around(invoice, &standing))
}

/// `next`: the next charge, when, of what, with which card; or why there is none.
#[must_use]
pub fn next(invoice: &InvoiceFacts, as_of: DateTime<Utc>) -> Answer {
    let standing = standing(invoice, as_of);
    let upcoming = invoice.cycle.as_ref().filter(|_| is_upcoming(&standing.code));
    let verdict = match upcoming.and_then(|cycle| cycle.next_attempt_at) {
        Some(at) => format!(
            "next charge: {} {} with {}",
            invoice.charge.open,
            if at <= as_of {
                "at once".to_owned()
            } else {
                format!("on {}", time(at))
            },
            card(invoice)
        ),
        None => format!("no charge is planned: {}", reasons::text(&standing.code)),
    };
    let mut answer = Answer::new("next", &subject(invoice), verdict);
    answer.question = "next".to_owned();
    let mut answer = explained(answer, invoice, &standing, as_of).chain([planned(invoice, &standing)]);
    answer.since = answer.since.filter(|_| upcoming.is_none());
    answer
}

/// What every answer about charging an invoice has: reason, conditions, remedies, evidence.
pub(super) fn explained(
    answer: Answer,
    invoice: &InvoiceFacts,
    standing: &Standing,
    as_of: DateTime<Utc>,
) -> Answer {
    let mut answer = answer.because(&standing.code, standing.since, &names(invoice));
    if standing.code == "autopay_paused" {
        answer
            .remedies
            .retain(|remedy| ends_a_pause(&invoice.pauses, remedy));
        if answer.remedies.is_empty() {
            // parked: whoever parked it knows what is to be done
            answer.remedies = vec![
                "quittance doctor".to_owned(),
                format!("quittance client show {}", invoice.client),
            ];
        }
    }
    let decided = invoice.decisions.iter().find(|d| d.reason_code == standing.code);
    answer.checks = checks(invoice, as_of);
    answer.checked = Some(Checked {
        at: as_of,
        decided: decided.map(|d| Decided {
            times: d.times,
            first_at: d.first_at,
        }),
    });
    let cycle = invoice.cycle.iter().map(|cycle| format!("cycle {}", cycle.id));
    let decision = decided.map(|d| format!("decision {}", d.id));
    answer.evidence(cycle.chain(decision).chain(evidence(&invoice.audit)))
}

/// What fills the places in a remedy.
pub(super) fn names(invoice: &InvoiceFacts) -> Vec<(&'static str, &str)> {
    let mut names = vec![
        ("invoice", invoice.label.as_str()),
        ("client", invoice.client.as_str()),
        ("firm", invoice.firm.as_str()),
    ];
    names.extend(
        invoice
            .disputes
            .last()
            .map(|dispute| ("dispute", dispute.id.as_str())),
    );
    names
}

/// Every condition of the charging job as it would find it.
fn checks(invoice: &InvoiceFacts, as_of: DateTime<Utc>) -> Vec<Predicate> {
    match &invoice.cycle {
        Some(_) => decide_charge(&invoice.charge, as_of).1,
        None => decide_charge(&invoice.charge.as_if_due(as_of), as_of).1,
    }
}

/// The entries of an audit, and the events and jobs behind them.
pub(super) fn evidence(audit: &[AuditFacts]) -> Vec<String> {
    let mut evidence: Vec<String> = audit
        .iter()
        .take(EVIDENCE)
        .map(|a| format!("audit {}", a.id))
        .collect();
    evidence.extend(
        audit
            .iter()
            .take(EVIDENCE)
            .map(|a| format!("{} {}", a.cause_kind, a.cause_id)),
    );
    evidence
}

pub(super) fn subject(invoice: &InvoiceFacts) -> Subject {
    Subject {
        kind: "invoice",
        label: invoice.label.clone(),
    }
}

/// A remedy that ends a pause that there is.
pub(super) fn ends_a_pause(pauses: &[Pause], remedy: &str) -> bool {
    pauses.iter().any(|pause| match pause.whom {
        "all" => remedy.contains("--all"),
        "firm" => remedy.contains("--firm-id"),
        _ => remedy.contains("--client-id"),
    })
}

fn is_upcoming(code: &str) -> bool {
    matches!(
        code,
        "not_due" | "due" | "retry_due" | "retry_wait" | "technical" | "method_updated"
    )
}

/// The first thing that stands in the way, or where the collection stands.
fn code(invoice: &InvoiceFacts, as_of: DateTime<Utc>) -> String {
    match invoice.doc_state.as_str() {
        "issued" => {}
        other => return other.to_owned(),
    }
    match invoice.status.as_str() {
        "disputed" => return "open_dispute".to_owned(),
        word @ ("charged_back" | "refunded" | "paid") => return word.to_owned(),
        _ => {}
    }
    if let Some(open) = invoice.attempts.iter().rev().find(|a| a.state.is_open()) {
        return match open.state {
            AttemptState::Unknown => "unknown",
            AttemptState::Processing => "processing",
            AttemptState::ActionRequired => "action_required",
            AttemptState::Created
            | AttemptState::Sent
            | AttemptState::Succeeded
            | AttemptState::Declined
            | AttemptState::Technical
            | AttemptState::Canceled => "in_flight",
        }
        .to_owned();
    }
    match &invoice.cycle {
        None => without_cycle(invoice, as_of).to_owned(),
        Some(cycle) => of_cycle(invoice, cycle, as_of),
    }
}

/// Nobody collects it: what would stand in the way if somebody did?
fn without_cycle(invoice: &InvoiceFacts, as_of: DateTime<Utc>) -> &'static str {
    match decide_charge(&invoice.charge.as_if_due(as_of), as_of).0 {
        ChargeDecision::Charge { .. } => "not_collected",
        other => other.reason_code(),
    }
}

fn of_cycle(invoice: &InvoiceFacts, cycle: &CycleFacts, as_of: DateTime<Utc>) -> String {
    let reason = cycle.reason.as_deref();
    match cycle.state {
        CycleState::Scheduled | CycleState::RetryWait => {
            let code = decide_charge(&invoice.charge, as_of).0.reason_code();
            match (code, reason, cycle.state) {
                ("not_due", Some("technical"), _) => "technical",
                ("not_due", _, CycleState::RetryWait) if cycle.next_trigger == Trigger::Retry => "retry_wait",
                (code, _, _) => code,
            }
            .to_owned()
        }
        CycleState::Paused
        | CycleState::ActionRequired
        | CycleState::MethodRequired
        | CycleState::Exhausted
        | CycleState::Canceled => reason.unwrap_or(cycle.state.as_str()).to_owned(),
        CycleState::InFlight | CycleState::Unknown | CycleState::Succeeded => cycle.state.as_str().to_owned(),
    }
}

/// Since when: as precisely as the rows say.
fn since(invoice: &InvoiceFacts, code: &str) -> Option<DateTime<Utc>> {
    let last_attempt = invoice.attempts.last();
    let audited = |action: &str| invoice.audit.iter().find(|a| a.action == action).map(|a| a.at);
    let decided = || {
        let found = invoice.decisions.iter().find(|d| d.reason_code == code);
        found.map(|d| d.first_at)
    };
    let found = match code {
        "paid" | "refunded" | "succeeded" => invoice.payments.last().map(|p| p.received_at),
        "open_dispute" | "invoice_fenced" | "charged_back" => invoice.disputes.last().map(|d| d.opened_at),
        "autopay_paused" => invoice.pauses.iter().map(|pause| pause.at).min(),
        "autopay_off" | "autopay_disabled" => audited("autopay.disabled"),
        "in_flight" | "processing" | "unknown" => last_attempt.map(|a| a.created_at),
        "retry_wait" | "technical" | "method_required" | "action_required" | "exhausted" => {
            last_attempt.and_then(|a| a.resolved_at)
        }
        "void" => audited("invoice.voided"),
        "written_off" => audited("invoice.written_off"),
        _ => decided(),
    };
    found.or_else(decided).or(invoice.issued_at)
}

/// What lies around: the last attempt, the next one, who stopped it, what is contested, what the queue does about it.
fn around(invoice: &InvoiceFacts, standing: &Standing) -> Vec<Link> {
    let mut links: Vec<Link> = invoice.attempts.last().map(last_attempt).into_iter().collect();
    links.push(planned(invoice, standing));
    links.extend(
        invoice
            .pauses
            .iter()
            .map(|pause| Link::new("pause", format!("of {}: {}", pause.whom, pause.reason)).at(pause.at)),
    );
    links.extend(
        invoice
            .disputes
            .iter()
            .filter(|d| d.ended.is_none())
            .map(|dispute| {
                let due = dispute
                    .respond_by
                    .map_or_else(String::new, |at| format!(", evidence is due by {}", time(at)));
                Link::new(
                    "dispute",
                    format!(
                        "{} over {}, {}{due}",
                        dispute.kind, dispute.amount, dispute.status
                    ),
                )
                .id(&dispute.id)
                .at(dispute.opened_at)
            }),
    );
    let waits = invoice
        .job
        .as_ref()
        .filter(|job| is_upcoming(&standing.code) && job.finished_at.is_none());
    links.extend(waits.map(queued));
    links
}

/// The job that will make the next attempt.
fn queued(job: &JobFacts) -> Link {
    let paused = job
        .queue_paused
        .as_ref()
        .map_or_else(String::new, |why| format!("; its queue is paused: {why}"));
    let failed = job
        .last_error
        .as_ref()
        .map_or_else(String::new, |error| format!("; failed last: {error}"));
    Link::new(
        "job",
        format!(
            "{} is {}, due {}{failed}{paused}",
            job.kind,
            job.state,
            time(job.run_at)
        ),
    )
    .id(&job.id)
}

/// An attempt in words.
pub(super) fn last_attempt(attempt: &AttemptFacts) -> Link {
    Link::new("attempt", attempt_text(attempt))
        .id(&attempt.id)
        .at(attempt.created_at)
}

pub(super) fn attempt_text(attempt: &AttemptFacts) -> String {
    let why = match attempt.trigger {
        Trigger::Auto => "first attempt".to_owned(),
        Trigger::Retry => format!("retry, step {}", attempt.step),
        Trigger::MethodUpdated => "because the card was replaced".to_owned(),
        Trigger::Manual => "asked for by a person".to_owned(),
        Trigger::Portal => "the client's own".to_owned(),
    };
    let end = match (&attempt.class, &attempt.code) {
        (Some(class), Some(code)) => format!("{} {code} ({class})", attempt.state),
        (Some(class), None) => format!("{} ({class})", attempt.state),
        (None, _) => attempt.state.to_string(),
    };
    format!("{why}: {end}, {} with {}", attempt.amount, attempt.card)
}

/// The next attempt, or why there is none.
fn planned(invoice: &InvoiceFacts, standing: &Standing) -> Link {
    let cycle = invoice.cycle.as_ref();
    let next = cycle
        .filter(|_| is_upcoming(&standing.code))
        .and_then(|c| Some((c, c.next_attempt_at?)));
    if let Some((cycle, at)) = next {
        let steps = cycle.policy.offsets_days().len();
        let step = match (cycle.next_trigger, cycle.next_step) {
            (Trigger::Retry, step) => format!("step {step} of {steps}, "),
            _ => String::new(),
        };
        return Link::new(
            "next attempt",
            format!("{step}{} with {}", invoice.charge.open, card(invoice)),
        )
        .at(at);
    }
    let until = cycle
        .and_then(|c| c.deadline_at)
        .map_or_else(String::new, |at| format!("; waits until {}", time(at)));
    Link::new(
        "next attempt",
        format!("none: {}{until}", reasons::text(&standing.code)),
    )
}

fn card(invoice: &InvoiceFacts) -> String {
    invoice
        .card
        .as_ref()
        .map_or_else(|| "no card".to_owned(), |card| card.label.clone())
}
