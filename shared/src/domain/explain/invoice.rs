//! What happened to an invoice and its money, from the latest back to what made it.
use chrono::{DateTime, Utc};

use super::{
    answer::{Answer, Link, Subject},
    charge::{attempt_text, evidence, explained, last_attempt, names, standing, subject},
    facts::{
        AttemptFacts, CycleFacts, DisputeFacts, InvoiceFacts, LineFacts, Origin, PaymentFacts, RefundFacts,
    },
    reasons,
    text::time,
};
use crate::domain::collection::Trigger;

/// `explain INVOICE`: where it stands and why, and everything that led there.
#[must_use]
pub fn invoice(facts: &InvoiceFacts, as_of: DateTime<Utc>) -> Answer {
    let standing = standing(facts, as_of);
    let verdict = format!(
        "{}: {} of {} is open; {}",
        facts.status,
        facts.charge.open,
        facts.total,
        reasons::text(&standing.code)
    );
    let answer = Answer::new("explain", &subject(facts), verdict);
    explained(answer, facts, &standing, as_of).chain(history(facts))
}

/// `explain ch_…`: why this was charged, or what a payment from elsewhere was.
#[must_use]
pub fn payment(facts: &InvoiceFacts, paid: &PaymentFacts) -> Answer {
    let made = facts
        .attempts
        .iter()
        .find(|a| a.charge.as_deref() == Some(paid.reference.as_str()));
    let why = match made.map(|a| (a.trigger, a.step)) {
        Some((Trigger::Auto, _)) => "its first attempt was due".to_owned(),
        Some((Trigger::Retry, step)) => format!("its retry, step {step}, was due"),
        Some((Trigger::MethodUpdated, _)) => "the card was replaced".to_owned(),
        Some((Trigger::Manual, _)) => "a person asked for it".to_owned(),
        Some((Trigger::Portal, _)) => "the client paid".to_owned(),
        None if paid.method == "external" => "it was paid from elsewhere".to_owned(),
        None => "the client paid, or somebody at Stripe's dashboard".to_owned(),
    };
    let verdict = format!(
        "charged: {} for {} on {}, because {why}",
        paid.amount,
        facts.label,
        time(paid.received_at)
    );
    let head = Link::new("payment", format!("{} by {}", paid.amount, paid.method))
        .id(&paid.reference)
        .at(paid.received_at);
    let answer = Answer::new("explain", &of("charge", &paid.reference), verdict).chain([head]);
    answer
        .chain(made.map(last_attempt))
        .chain(causes(facts))
        .evidence([paid.cause.replacen(':', " ", 1)])
        .evidence(evidence(&facts.audit))
}

/// `explain ATTEMPT`.
#[must_use]
pub fn attempt(facts: &InvoiceFacts, asked: &AttemptFacts) -> Answer {
    let verdict = format!("{}: {} for {}", asked.state, attempt_text(asked), facts.label);
    let mut answer = Answer::new("explain", &of("attempt", &asked.id), verdict);
    if let Some(class) = &asked.class {
        answer = answer.because(class, asked.resolved_at, &names(facts));
    }
    answer
        .chain([last_attempt(asked)])
        .chain(causes(facts))
        .evidence(evidence(&facts.audit))
}

/// `explain pi_…`: the attempts of one collection.
#[must_use]
pub fn intent(facts: &InvoiceFacts, intent: &str) -> Answer {
    let attempts: Vec<&AttemptFacts> = facts
        .attempts
        .iter()
        .filter(|a| a.intent.as_deref() == Some(intent))
        .collect();
    let paid: Vec<&PaymentFacts> = facts
        .payments
        .iter()
        .filter(|p| p.intent.as_deref() == Some(intent))
        .collect();
    let verdict = match paid.as_slice() {
        [] => format!(
            "nothing captured: {} attempt(s) for {}",
            attempts.len(),
            facts.label
        ),
        [one] => format!(
            "captured once: {} for {} on {}",
            one.amount,
            facts.label,
            time(one.received_at)
        ),
        several => format!("captured {} times: look at once", several.len()),
    };
    let answer = Answer::new("explain", &of("payment_intent", intent), verdict);
    answer
        .chain(paid.into_iter().map(payment_link))
        .chain(attempts.into_iter().rev().map(last_attempt))
        .chain(causes(facts))
        .evidence(evidence(&facts.audit))
}

/// `explain re_…`: who gave the money back, and why.
#[must_use]
pub fn refund(facts: &InvoiceFacts, refund: &RefundFacts) -> Answer {
    let by = match &refund.requested_by {
        Some(person) => format!("asked for by {person}"),
        None => "made at Stripe's dashboard".to_owned(),
    };
    let why = if refund.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", refund.reason)
    };
    let label = refund.stripe_id.as_ref().unwrap_or(&refund.id);
    let verdict = format!(
        "refund {}: {} of {} to the client's {}, {by}{why}",
        refund.state, refund.amount, refund.payment, refund.destination
    );
    let paid = facts
        .payments
        .iter()
        .filter(|p| p.reference == refund.payment)
        .map(payment_link);
    let mut answer = Answer::new("explain", &of("refund", label), verdict);
    answer.since = Some(refund.created_at);
    answer
        .chain([refund_link(refund)])
        .chain(paid)
        .chain(causes(facts))
        .evidence(evidence(&facts.audit))
}

/// `explain dp_…`: what is contested, what it did to the money, what it does to the invoice.
#[must_use]
pub fn dispute(facts: &InvoiceFacts, dispute: &DisputeFacts) -> Answer {
    let end = match (&dispute.ended, &dispute.resolution) {
        (None, _) => dispute.respond_by.map_or_else(
            || "open".to_owned(),
            |at| format!("open, evidence is due by {}", time(at)),
        ),
        (Some((outcome, at)), None) => format!("{outcome} on {}", time(*at)),
        (Some((outcome, at)), Some(resolution)) => format!("{outcome} on {}; {resolution}", time(*at)),
    };
    let reason = dispute
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let verdict = format!(
        "{}: {} of {}{reason}, {end}",
        dispute.kind, dispute.amount, facts.label
    );
    let mut answer = Answer::new("explain", &of("dispute", &dispute.id), verdict);
    let names = [
        ("invoice", facts.label.as_str()),
        ("dispute", dispute.id.as_str()),
    ];
    answer = match &dispute.ended {
        None => answer.because("open_dispute", Some(dispute.opened_at), &names),
        Some((outcome, at)) if outcome == "lost" && dispute.resolution.is_none() => {
            answer.because("dispute_lost_needs_choice", Some(*at), &names)
        }
        Some((_, at)) => {
            answer.since = Some(*at);
            answer
        }
    };
    let movements = dispute.movements.iter().rev().map(|m| {
        Link::new("movement", format!("{} {}", m.kind, m.amount))
            .id(&m.id)
            .at(m.at)
    });
    let paid = facts
        .payments
        .iter()
        .filter(|p| p.reference == dispute.payment)
        .map(payment_link);
    answer
        .chain([dispute_link(dispute)])
        .chain(movements)
        .chain(paid)
        .chain(causes(facts))
        .evidence(evidence(&facts.audit))
}

pub(super) fn of(kind: &'static str, label: &str) -> Subject {
    Subject {
        kind,
        label: label.to_owned(),
    }
}

/// Everything that happened to an invoice, the latest first, and then what made it.
fn history(facts: &InvoiceFacts) -> Vec<Link> {
    let mut happened: Vec<Link> = facts.payments.iter().map(payment_link).collect();
    happened.extend(facts.refunds.iter().map(refund_link));
    happened.extend(facts.disputes.iter().map(dispute_link));
    happened.extend(facts.attempts.iter().map(last_attempt));
    happened.sort_by_key(|link| std::cmp::Reverse(link.at));
    happened.extend(causes(facts));
    happened
}

/// Why anything was charged: the collection, what it collects, by which terms, and what made the invoice.
fn causes(facts: &InvoiceFacts) -> Vec<Link> {
    let mut links: Vec<Link> = facts.cycle.iter().map(cycle_link).collect();
    links.extend(facts.lines.iter().map(line_link));
    links.extend(
        facts
            .engagement
            .iter()
            .map(|engagement| Link::new("engagement", engagement.clone())),
    );
    links.extend(facts.origin.iter().map(origin_link));
    links
}

fn cycle_link(cycle: &CycleFacts) -> Link {
    let reason = cycle
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let days: Vec<String> = cycle.policy.offsets_days().iter().map(u32::to_string).collect();
    let text = format!(
        "{}{reason}; retries {} days after the first failure",
        cycle.state,
        days.join(", ")
    );
    Link::new("cycle", text).id(&cycle.id).at(cycle.created_at)
}

fn payment_link(paid: &PaymentFacts) -> Link {
    Link::new("payment", format!("{} by {}", paid.amount, paid.method))
        .id(&paid.reference)
        .at(paid.received_at)
}

fn refund_link(refund: &RefundFacts) -> Link {
    let text = format!("{} to {}: {}", refund.amount, refund.destination, refund.state);
    Link::new("refund", text)
        .id(refund.stripe_id.as_ref().unwrap_or(&refund.id))
        .at(refund.created_at)
}

fn dispute_link(dispute: &DisputeFacts) -> Link {
    let end = dispute.ended.as_ref().map_or("open", |(outcome, _)| outcome);
    Link::new(
        "dispute",
        format!("{} over {}: {end}", dispute.kind, dispute.amount),
    )
    .id(&dispute.id)
    .at(dispute.opened_at)
}

/// A line, and how its amount came about: which period by which rule, or whose hours at which rate, approved by whom.
fn line_link(line: &LineFacts) -> Link {
    let how = match (&line.hours, &line.time) {
        (Some((minutes, rate)), Some((entry, worker, approver))) => {
            let approved = approver
                .as_ref()
                .map_or_else(String::new, |by| format!(", approved by {by}"));
            format!(": {minutes} min at {rate} per hour, worked by {worker}{approved} [{entry}]")
        }
        (Some((minutes, rate)), None) => format!(": {minutes} min at {rate} per hour"),
        (None, _) => super::text::detail(&line.derivation),
    };
    Link::new(
        "line",
        format!("{} {}{how}", line.kind.replace('_', " "), line.amount),
    )
}

fn origin_link(origin: &Origin) -> Link {
    let (kind, id) = &origin.cause;
    let text = match &origin.job {
        Some(job) => format!("issued by job {} ({})", job.kind, job.key),
        None => format!("issued by {}, {kind}", origin.actor),
    };
    Link::new("origin", text).id(id).at(origin.at)
}
