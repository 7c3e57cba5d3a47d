//! What became of an event or a job, and what an alert is about.
use super::{
    answer::{Answer, Link},
    charge::evidence,
    facts::{AlertFacts, AuditFacts, DeliveryFacts, EventFacts, JobFacts},
    invoice::of,
    text::time,
};
use crate::domain::job_by_hand::given_up;

/// `explain evt_…`: whether it arrived, whether it took effect, what came of it.
#[must_use]
pub fn event(facts: &EventFacts) -> Answer {
    let about = facts
        .object
        .as_ref()
        .map_or_else(String::new, |object| format!(" about {object}"));
    let why = facts
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(": {reason}"));
    let verdict = match facts.state.as_str() {
        "applied" => format!(
            "applied: {}{about}, {}",
            facts.kind,
            effects_in_words(&facts.effects)
        ),
        "ignored" => format!("ignored: we leave events of type {} alone", facts.kind),
        "pending" => format!("pending: {}{about} waits for its job", facts.kind),
        state => format!("{state}: {}{about}{why}", facts.kind),
    };
    let mut answer = Answer::new("explain", &of("event", &facts.id), verdict);
    answer.since = facts.applied_at.or(Some(facts.received_at));
    let answer = answer
        .chain(facts.effects.iter().map(effect))
        .chain(facts.job.as_ref().map(job_link))
        .chain([Link::new("event", format!("{} came in", facts.kind))
            .id(&facts.id)
            .at(facts.received_at)]);
    let answer = match facts.state.as_str() {
        "applied" | "ignored" => answer.remedy("nothing: it is as it should be"),
        "parked" => answer
            .remedy("look at Stripe whose object it is; what it tells may be missing here")
            .remedy(format!("quittance events show {}", facts.id)),
        _ => answer
            .remedy("wait: it is looked at again by itself")
            .remedy("quittance doctor"),
    };
    answer
        .evidence([format!("event {}", facts.id)])
        .evidence(facts.job.iter().map(|job| format!("job {}", job.id)))
        .evidence(evidence(&facts.effects))
}

/// `explain JOB`: what it did, or why it did not.
#[must_use]
pub fn job(facts: &JobFacts, effects: &[AuditFacts]) -> Answer {
    let (tried, most) = facts.tried;
    let result = facts
        .result
        .as_ref()
        .map_or_else(String::new, super::text::detail);
    let failed = facts
        .last_error
        .as_ref()
        .map_or_else(String::new, |error| format!(", failed last: {error}"));
    let paused = facts
        .queue_paused
        .as_ref()
        .map_or_else(String::new, |why| format!("; its queue is paused: {why}"));
    let verdict = match facts.state.as_str() {
        "completed" | "canceled" => format!("{}: {}{result}", facts.state, facts.kind),
        state => format!(
            "{state}: {}, due {}, tried {tried} of {most} time(s){failed}{paused}",
            facts.kind,
            time(facts.run_at)
        ),
    };
    let mut answer = Answer::new("explain", &of("job", &facts.id), verdict);
    answer.since = facts.finished_at.or(Some(facts.run_at));
    let answer = answer.chain(effects.iter().map(effect)).chain([job_link(facts)]);
    let answer = match facts.state.as_str() {
        "completed" | "canceled" => answer.remedy("nothing: it is as it should be"),
        "discarded" => {
            let told = given_up(&facts.id, &facts.kind, facts.tried, facts.last_error.as_deref());
            told.remedies.into_iter().fold(answer, Answer::remedy)
        }
        _ => answer
            .remedy("wait: it runs by itself")
            .remedy("quittance doctor"),
    };
    answer
        .evidence([format!("job {}", facts.id)])
        .evidence(evidence(effects))
}

/// `explain ALERT`: what it is about, and whether it is over.
#[must_use]
pub fn alert(facts: &AlertFacts) -> Answer {
    let (first, last) = facts.seen;
    let verdict = match &facts.resolved {
        Some((by, at)) => format!("over: {}, resolved by {by} on {}", facts.title, time(*at)),
        None => format!(
            "open: {}, seen {} time(s), last on {}",
            facts.title,
            facts.occurrences,
            time(last)
        ),
    };
    let (kind, id) = &facts.cause;
    let mut answer = Answer::new("explain", &of("alert", &facts.id), verdict);
    answer.since = Some(first);
    answer.reason_code = Some(facts.kind.clone());
    let read = facts
        .read_by
        .as_ref()
        .map_or("not read by anybody", String::as_str);
    answer = answer.chain([
        Link::new(
            "alert",
            format!("{} {}: {}", facts.severity, facts.kind, facts.message),
        )
        .id(&facts.id)
        .at(last),
        Link::new("read by", read),
        Link::new("cause", format!("raised last by {kind}")).id(id),
    ]);
    answer = answer.chain(facts.deliveries.iter().map(delivery));
    if facts.resolved.is_some() {
        return answer
            .remedy("nothing: it is over")
            .evidence([format!("{kind} {id}")]);
    }
    let answer = match &facts.invoice {
        Some(invoice) => answer.remedy(format!("quittance explain {invoice}")),
        None => answer,
    };
    answer
        .remedy(format!("quittance alert resolve {}", facts.id))
        .evidence([format!("{kind} {id}")])
}

/// Who was told, or why not.
fn delivery(facts: &DeliveryFacts) -> Link {
    let (kind, target) = &facts.to;
    // The rest of a URL is between whoever named it and its receiver.
    let place = target.split_once("://").map_or(target.as_str(), |(_, rest)| rest);
    let place = place.split(['/', '?', '#']).next().unwrap_or_default();
    let mut text = format!("{} to {kind} {place}: {}", facts.edge, facts.state);
    if facts.attempts > 1 {
        text.push_str(&format!(", sent {} times", facts.attempts));
    }
    if let Some(error) = &facts.error {
        text.push_str(&format!("; {error}"));
    }
    Link::new("told", text).id(&facts.id).at(facts.at)
}

fn effects_in_words(effects: &[AuditFacts]) -> String {
    match effects {
        [] => "and told nothing new".to_owned(),
        effects => {
            let actions: Vec<&str> = effects.iter().rev().map(|e| e.action.as_str()).collect();
            format!("with {}", actions.join(", "))
        }
    }
}

/// An entry of the audit in words.
pub(super) fn effect(entry: &AuditFacts) -> Link {
    let text = format!("{} of {} by {}", entry.action, entry.subject, entry.actor);
    Link::new("audit", text).id(entry.id).at(entry.at)
}

pub(super) fn job_link(job: &JobFacts) -> Link {
    Link::new("job", format!("{} {}, key {}", job.kind, job.state, job.key))
        .id(&job.id)
        .at(job.run_at)
}
