//! Tells in sentences what happened between two looks at the books. Everything told was read, nothing is assumed.

use chrono::{DateTime, Utc};

use crate::snapshot::{Attempt, Invoice, money};

/// What became of one invoice; `before` is `None` when it is new.
pub(crate) fn changes(name: &str, before: Option<&Invoice>, after: &Invoice) -> Vec<String> {
    let mut told = Vec::new();
    if before.is_none() {
        told.push(format!(
            "{name} is invoiced {} ({}), due on {}.",
            money(after.total_minor, &after.currency),
            after.number,
            after.due_date.format("%-d %B")
        ));
        if after.autopay.state == "none" {
            told.push(format!(
                "{name} has no autopay: the invoice is sent and nothing is charged."
            ));
        }
    }
    let known = |attempt: &Attempt| before.is_some_and(|before| before.attempts.contains(attempt));
    for attempt in after.attempts.iter().filter(|attempt| !known(attempt)) {
        let last = after.attempts.last() == Some(attempt);
        told.push(format!("{name}: {}", attempt_told(attempt, after, last)));
    }
    for dispute in &after.disputes {
        let earlier = before.and_then(|before| before.disputes.iter().find(|other| other.id == dispute.id));
        let amount = money(dispute.amount_minor, &after.currency);
        if earlier.is_none() {
            told.push(format!(
                "{name}: the cardholder disputes {amount}; evidence is due {}. \
                 Until it is decided nothing more is charged on this invoice.",
                dispute
                    .respond_by
                    .map_or("soon".into(), |at| format!("on {}", day(at)))
            ));
        }
        if earlier.and_then(|earlier| earlier.outcome.as_ref()) != dispute.outcome.as_ref() {
            told.push(match dispute.outcome.as_deref() {
                Some("won") => format!("{name}: the dispute is won; {amount} stay with the firm, the invoice is paid."),
                Some("lost") => format!(
                    "{name}: the dispute is lost; {amount} are charged back. The payment stays in the books, the loss \
                     stands beside it, and no card is charged for it again unless a person says so."
                ),
                other => format!("{name}: the dispute ends as {}.", other.unwrap_or("undecided")),
            });
        }
    }
    told
}

fn attempt_told(attempt: &Attempt, invoice: &Invoice, last: bool) -> String {
    let which = match attempt.number {
        0 => "the card is charged".to_owned(),
        n => format!("try {} on the card", n + 1),
    };
    match attempt.state.as_str() {
        "succeeded" => format!("{which}: {} paid.", money(invoice.paid_minor, &invoice.currency)),
        "declined" => {
            let reason = attempt
                .decline_code
                .as_deref()
                .unwrap_or("no reason given")
                .replace('_', " ");
            let next = match (invoice.autopay.state.as_str(), invoice.autopay.next_charge_at) {
                _ if !last => String::new(),
                ("retry_wait", Some(at)) => format!(" It is tried again on {}.", day(at)),
                ("method_required", _) => " Trying again would be useless: it waits for a new card.".into(),
                ("exhausted", _) => " That was the last try; a person has to talk to the customer.".into(),
                _ => String::new(),
            };
            let class = attempt.failure_class.as_deref().unwrap_or("unclassed");
            format!("{which}: declined, {reason} ({class} decline).{next}")
        }
        "action_required" => format!("{which}: the bank wants the customer to confirm; it waits for that."),
        other => format!("{which}: {}.", other.replace('_', " ")),
    }
}

/// `Tue 24 November`.
pub(crate) fn day(at: DateTime<Utc>) -> String {
    at.format("%a %-d %B").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn invoice(changed: serde_json::Value) -> Invoice {
        let mut base = json!({
            "number": "PKG-1", "firm": "acme", "client": "initech", "currency": "usd", "status": "sent",
            "total_minor": 75_000, "paid_minor": 0, "charged_back_minor": 0, "due_date": "2026-12-31",
            "autopay": { "state": "scheduled", "next_charge_at": null }, "attempts": [], "disputes": []
        });
        for (key, value) in changed.as_object().unwrap() {
            base[key] = value.clone();
        }
        serde_json::from_value(base).unwrap()
    }

    #[test]
    fn a_decline_says_why_and_when_it_is_tried_again() {
        let before = invoice(json!({}));
        let after = invoice(json!({
            "autopay": { "state": "retry_wait", "next_charge_at": "2026-12-04T02:00:00Z" },
            "attempts": [{ "number": 0, "state": "declined", "failure_class": "soft", "decline_code": "insufficient_funds",
                           "stripe_payment_intent_id": "pi_1" }]
        }));
        assert_eq!(
            changes("Initech", Some(&before), &after),
            [
                "Initech: the card is charged: declined, insufficient funds (soft decline). It is tried again on Fri 4 December."
            ]
        );
    }

    #[test]
    fn what_did_not_change_is_not_told() {
        let same = invoice(json!({ "status": "paid", "paid_minor": 75_000 }));
        assert!(changes("Initech", Some(&same), &same).is_empty());
    }

    #[test]
    fn a_lost_dispute_is_told_once() {
        let open = json!([{ "id": "dp_1", "amount_minor": 75_000, "outcome": null, "respond_by": null }]);
        let lost = json!([{ "id": "dp_1", "amount_minor": 75_000, "outcome": "lost", "respond_by": null }]);
        let before = invoice(json!({ "status": "disputed", "disputes": open }));
        let after = invoice(json!({ "status": "charged_back", "disputes": lost }));
        let told = changes("Initech", Some(&before), &after);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("the dispute is lost; 750.00 USD are charged back"),
            "{told:?}"
        );
    }
}
