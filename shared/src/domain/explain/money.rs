//! A journal of the ledger, and what became of a client's credit.
use super::{
    answer::{Answer, Link},
    facts::{JournalFacts, LotFacts},
    invoice::of,
    text::time,
};

/// `explain JOURNAL`: which fact posted it, and what it moved.
#[must_use]
pub fn journal(facts: &JournalFacts) -> Answer {
    let about = facts.invoice.as_ref().map_or_else(
        || facts.client.clone(),
        |invoice| format!("{invoice} of {}", facts.client),
    );
    let verdict = format!(
        "{}: posted by {} about {about}",
        facts.kind.replace('_', " "),
        facts.source
    );
    let mut answer = Answer::new("explain", &of("journal", &facts.id), verdict);
    answer.since = Some(facts.effective_at);
    let undone = facts
        .reversed_by
        .as_ref()
        .map(|by| Link::new("reversed by", "taken back exactly").id(by));
    let undoes = facts
        .reverses
        .as_ref()
        .map(|what| Link::new("reverses", "takes back exactly").id(what));
    let postings = facts.postings.iter().map(|(account, amount)| {
        let side = if amount.minor() > 0 { "debit" } else { "credit" };
        Link::new(side, format!("{account} {amount}"))
    });
    let answer = answer.chain(undone).chain(undoes).chain(postings);
    match &facts.invoice {
        Some(invoice) => answer.remedy(format!("quittance explain {invoice}")),
        None => answer.remedy(format!("quittance explain {}", facts.client)),
    }
    .evidence([facts.source.clone()])
}

/// `explain CREDIT`: where it came from and where it went.
#[must_use]
pub fn credit_lot(facts: &LotFacts) -> Answer {
    let verdict = format!(
        "{} left: of {} given to {} as {}",
        facts.remaining,
        facts.amount,
        facts.client,
        facts.source.replace('_', " ")
    );
    let mut answer = Answer::new("explain", &of("credit", &facts.id), verdict);
    answer.since = Some(facts.issued_at);
    let mut went: Vec<Link> = facts
        .applications
        .iter()
        .map(|(invoice, amount, at, released)| {
            let back = if *released {
                ", taken back as the invoice is void"
            } else {
                ""
            };
            Link::new("applied", format!("{amount} to {invoice}{back}")).at(*at)
        })
        .chain(
            facts
                .expired
                .iter()
                .map(|(amount, at)| Link::new("expired", amount.to_string()).at(*at)),
        )
        .collect();
    went.sort_by_key(|link| std::cmp::Reverse(link.at));
    let (issued, approved) = &facts.by;
    let by = issued.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let approved = approved
        .as_ref()
        .map_or_else(String::new, |by| format!(", approved by {by}"));
    let why = if facts.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", facts.reason)
    };
    let expires = facts
        .expires_on
        .map_or_else(String::new, |on| format!("; worth nothing from {on} on"));
    let given =
        Link::new("given", format!("{}{by}{approved}{why}{expires}", facts.amount)).at(facts.issued_at);
    answer
        .chain(went)
        .chain([given])
        .remedy(format!("quittance explain {}", facts.client))
        .evidence([format!("credit {} of {}", facts.id, time(facts.issued_at))])
}
