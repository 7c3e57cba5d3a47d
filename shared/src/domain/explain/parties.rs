//! A client and its automatic payment, and an entry of time.
use chrono::{DateTime, Utc};

use super::{
    answer::{Answer, Link},
    charge::{ends_a_pause, evidence, standing},
    events::effect,
    facts::{ClientFacts, TimeFacts, UserFacts},
    invoice::of,
    reasons,
    text::time,
};

/// Open invoices that an answer lists.
const INVOICES: usize = 20;

/// `explain CLIENT`: whether it is charged, who decided that, and what is open.
#[must_use]
pub fn client(facts: &ClientFacts, as_of: DateTime<Utc>) -> Answer {
    let (on, since) = facts.autopay;
    let card = facts.card.as_ref().map_or_else(
        || "no card".to_owned(),
        |card| format!("{} ({})", card.label, card.status),
    );
    let code = match (&facts.parked, facts.pauses.is_empty(), on) {
        (Some(_), ..) => Some("client_parked"),
        (None, false, _) => Some("autopay_paused"),
        (None, true, false) => Some("autopay_off"),
        (None, true, true) => None,
    };
    let verdict = match code {
        Some(code) => format!("not charged automatically: {}", reasons::text(code)),
        None => format!("charged automatically: with {card}"),
    };
    let names = [("client", facts.label.as_str()), ("firm", facts.firm.as_str())];
    let mut answer = Answer::new("explain", &of("client", &facts.label), verdict);
    answer = match code {
        Some(code) => answer.because(code, facts.pauses.first().map(|p| p.at).or(since), &names),
        None => answer,
    };
    answer.since = answer.since.or(since);
    if code == Some("autopay_paused") {
        answer
            .remedies
            .retain(|remedy| ends_a_pause(&facts.pauses, remedy));
    }
    let pauses = facts
        .pauses
        .iter()
        .map(|pause| Link::new("pause", format!("of {}: {}", pause.whom, pause.reason)).at(pause.at));
    let invoices = facts.invoices.iter().take(INVOICES).map(|invoice| {
        let standing = standing(invoice, as_of);
        let text = format!(
            "{} of {} open, {}: {}",
            invoice.charge.open,
            invoice.total,
            standing.head,
            reasons::text(&standing.code)
        );
        Link::new("invoice", text).id(&invoice.label).at(standing.since)
    });
    let customer = facts.customer.clone().unwrap_or_else(|| "none".to_owned());
    answer
        .chain(pauses)
        .chain([Link::new("card", card), Link::new("customer at Stripe", customer)])
        .chain(invoices)
        .chain(facts.audit.iter().map(effect))
        .evidence(evidence(&facts.audit))
        .evidence([format!("client {}", facts.label)])
}

/// `explain TIME-ENTRY`: who approved it, and which invoice bills it.
#[must_use]
pub fn time_entry(facts: &TimeFacts) -> Answer {
    let work = format!(
        "{} min of {} on {} for {}",
        facts.minutes, facts.worker, facts.worked_on, facts.engagement
    );
    let verdict = match (&facts.billed, facts.state.as_str()) {
        (Some((invoice, amount)), _) => format!("billed: {work}, as {amount} on {invoice}"),
        (None, "approved") => format!("approved, not billed: {work}"),
        (None, state) => format!("{state}, not billed: {work}; only approved time is billed"),
    };
    let mut answer = Answer::new("explain", &of("time entry", &facts.label), verdict);
    answer.since = facts.approved.as_ref().map(|(_, at)| *at);
    let rate = facts
        .rate
        .map_or_else(String::new, |rate| format!(" at {rate} per hour"));
    let approved = facts
        .approved
        .as_ref()
        .map(|(by, at)| Link::new("approved", format!("by {by}{rate}")).at(*at));
    let answer = answer.chain(approved).chain(facts.audit.iter().map(effect));
    let answer = match (&facts.billed, facts.state.as_str()) {
        (Some((invoice, _)), _) => answer.remedy(format!("quittance explain {invoice}")),
        (None, "approved") => answer.remedy("wait: the next invoice of its engagement bills it"),
        (None, _) => answer.remedy("have it approved"),
    };
    let stamp = facts
        .approved
        .iter()
        .map(|(by, at)| format!("approved by {by} on {}", time(*at)));
    answer.evidence(stamp).evidence(evidence(&facts.audit))
}

/// `explain USER`: what somebody may do, and what he did.
#[must_use]
pub fn user(facts: &UserFacts) -> Answer {
    let whose = facts
        .client
        .as_ref()
        .map_or_else(String::new, |client| format!(" of client {client}"));
    let verdict = format!("{}{whose}: {}", facts.role, facts.name);
    let mut answer = Answer::new("explain", &of("user", &facts.label), verdict);
    answer.since = facts.audit.first().map(|entry| entry.at);
    answer
        .chain([Link::new(
            "user",
            format!("{}, called {} in the books", facts.name, facts.label),
        )
        .id(&facts.id)])
        .chain(facts.audit.iter().map(effect))
        .remedy(format!("quittance audit list --subject {}", facts.label))
        .evidence(evidence(&facts.audit))
        .evidence([format!("user {}", facts.id)])
}
