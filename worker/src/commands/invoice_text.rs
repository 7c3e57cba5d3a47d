//! An invoice as people read it: the amounts, where it stands, and what happened in the order that it happened.

use chrono::{DateTime, Utc};
use shared::{
    currency::Currency,
    money::Money,
    store::invoices_read::{Attempt, Dispute, InvoiceRow, InvoiceView},
};

use crate::output::{Page, table};

/// The rows of a list.
pub fn describe_page(page: &Page<InvoiceRow>) -> String {
    let headings = [
        "NUMBER",
        "FIRM",
        "CLIENT",
        "STATUS",
        ">TOTAL",
        ">OPEN",
        "DUE",
        "AUTOPAY",
        "NEXT CHARGE",
    ];
    page.to_text(&headings, |row| {
        vec![
            row.number.clone().unwrap_or_else(|| row.id.to_string()),
            row.firm.clone(),
            row.client.clone(),
            standing(&row.status, row.being_voided),
            amount(row.total_minor, &row.currency),
            amount(row.open_minor, &row.currency),
            row.due_date.map(|date| date.to_string()).unwrap_or_default(),
            row.autopay_state.clone(),
            row.next_charge_at.map(minute).unwrap_or_default(),
        ]
    })
}

/// Where it stands in a word, and that it will not for long.
fn standing(status: &str, being_voided: bool) -> String {
    let soon = if being_voided { ", being voided" } else { "" };
    format!("{status}{soon}")
}

/// One invoice.
pub fn describe(invoice: &InvoiceView) -> String {
    let name = invoice.number.clone().unwrap_or_else(|| invoice.id.to_string());
    let money = |minor: i64| amount(minor, &invoice.currency);
    let mut text = format!(
        "{name}  {}  {} of {} open\n",
        standing(&invoice.status, invoice.being_voided).to_uppercase(),
        money(invoice.open_minor),
        money(invoice.total_minor)
    );
    let dates = match (invoice.issue_date, invoice.due_date) {
        (Some(issued), Some(due)) => Some(format!("issued {issued}, due {due}")),
        (Some(_) | None, Some(_) | None) => None,
    };
    let facts = [
        ("id", Some(invoice.id.to_string())),
        ("external id", invoice.external_id.clone()),
        ("firm", Some(invoice.firm.clone())),
        ("client", Some(invoice.client.clone())),
        ("engagement", invoice.engagement.clone()),
        (
            "period",
            invoice
                .period
                .as_ref()
                .map(|period| format!("{} until {}", period.start, period.end)),
        ),
        ("dates", dates),
        (
            "tax in it",
            (invoice.tax_minor != 0).then(|| money(invoice.tax_minor)),
        ),
        (
            "paid",
            (invoice.paid_minor != 0).then(|| money(invoice.paid_minor)),
        ),
        (
            "credited",
            (invoice.credited_minor != 0).then(|| money(invoice.credited_minor)),
        ),
        (
            "refunded",
            (invoice.refunded_minor != 0).then(|| money(invoice.refunded_minor)),
        ),
        (
            "charged back",
            (invoice.charged_back_minor != 0).then(|| money(invoice.charged_back_minor)),
        ),
        ("autopay", Some(describe_autopay(invoice))),
        ("fenced", invoice.fenced_reason.clone()),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            text.push_str(&format!("  {name:<12}  {value}\n"));
        }
    }
    let lines: Vec<_> = invoice
        .lines
        .iter()
        .map(|line| {
            let time = line.time.as_ref().map(|time| {
                let approved = time
                    .approved_by
                    .as_deref()
                    .map(|by| format!(", approved by {by}"));
                format!(
                    "{} of {}: {} min by {} at {}{}",
                    time.time_entry,
                    time.worked_on,
                    time.minutes,
                    time.worker,
                    money(time.rate_minor),
                    approved.unwrap_or_default()
                )
            });
            vec![
                line.kind.clone(),
                line.description_code.clone(),
                money(line.amount_minor),
                time.unwrap_or_default(),
            ]
        })
        .collect();
    text.push('\n');
    let has_time = invoice.lines.iter().any(|line| line.time.is_some());
    let headings = ["LINE", "CODE", ">AMOUNT", "TIME"];
    text.push_str(&table(&headings[..if has_time { 4 } else { 3 }], &lines));
    text.push('\n');
    text.push_str(&table(&["WHEN (UTC)", "WHAT"], &timeline(invoice)));
    text
}

fn describe_autopay(invoice: &InvoiceView) -> String {
    let autopay = &invoice.autopay;
    let mut text = if autopay.opt_in {
        autopay.state.clone()
    } else {
        "not opted in".to_owned()
    };
    if let Some(reason) = &autopay.reason {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(at) = autopay.next_charge_at {
        text.push_str(&format!(", next charge {} UTC", minute(at)));
    }
    if let Some(at) = autopay.waits_until {
        text.push_str(&format!(", until {} UTC", minute(at)));
    }
    text
}

/// Everything with a time, oldest first.
fn timeline(invoice: &InvoiceView) -> Vec<Vec<String>> {
    let money = |minor: i64| amount(minor, &invoice.currency);
    let mut entries: Vec<(DateTime<Utc>, String)> = Vec::new();
    entries.extend(
        invoice
            .issued_at
            .map(|at| (at, format!("issued over {}", money(invoice.total_minor)))),
    );
    entries.extend(
        invoice
            .attempts
            .iter()
            .map(|attempt| (attempt.at, describe_attempt(attempt, &invoice.currency))),
    );
    entries.extend(invoice.payments.iter().map(|payment| {
        let source = payment
            .stripe_charge_id
            .as_deref()
            .or(payment.reference.as_deref())
            .unwrap_or_default();
        (
            payment.received_at,
            format!(
                "paid {} ({} {source})",
                money(payment.amount_minor),
                payment.method
            ),
        )
    }));
    entries.extend(invoice.refunds.iter().map(|refund| {
        let amount = money(refund.amount_minor);
        let mut text = format!("refund of {amount} to {} {}", refund.to, refund.state);
        for detail in [&refund.stripe_refund_id, &refund.failure_code]
            .into_iter()
            .flatten()
        {
            text.push_str(&format!(": {detail}"));
        }
        (refund.at, text)
    }));
    for dispute in &invoice.disputes {
        entries.push((dispute.opened_at, describe_dispute(dispute, &invoice.currency)));
        let outcome = dispute.outcome.as_deref().unwrap_or(&dispute.status);
        entries.extend(
            dispute
                .closed_at
                .map(|at| (at, format!("{} {} {outcome}", dispute.kind, dispute.id))),
        );
    }
    entries.sort_by_key(|(at, _)| *at);
    entries
        .into_iter()
        .map(|(at, what)| vec![minute(at), what])
        .collect()
}

fn describe_attempt(attempt: &Attempt, currency: &str) -> String {
    let which = match attempt.number {
        0 => "first charge".to_owned(),
        retry => format!("retry {retry}"),
    };
    let code = attempt.decline_code.as_ref().or(attempt.failure_code.as_ref());
    let why = match (code, &attempt.failure_class) {
        (Some(code), Some(class)) => format!(": {code} ({class})"),
        (Some(code), None) => format!(": {code}"),
        (None, Some(class)) => format!(" ({class})"),
        (None, None) => String::new(),
    };
    let id = attempt.stripe_payment_intent_id.as_deref().unwrap_or_default();
    let text = format!(
        "{which} ({}) of {} {}{why} {id}",
        attempt.trigger,
        amount(attempt.amount_minor, currency),
        attempt.state
    );
    text.trim_end().to_owned()
}

fn describe_dispute(dispute: &Dispute, currency: &str) -> String {
    let reason = dispute.reason.as_deref().unwrap_or("no reason given");
    let mut text = format!(
        "{} {} opened over {}: {reason}",
        dispute.kind,
        dispute.id,
        amount(dispute.amount_minor, currency)
    );
    if let (Some(at), None) = (dispute.respond_by, &dispute.outcome) {
        text.push_str(&format!(", respond by {} UTC", minute(at)));
    }
    text
}

/// `1,000.00 USD`; the plain number where the currency is none that we know.
pub fn amount(minor: i64, currency: &str) -> String {
    match Currency::parse(currency) {
        Ok(currency) => Money::new(minor, currency).to_string(),
        Err(_) => format!("{minor} minor units of {currency}"),
    }
}

/// A time as people read it.
pub fn minute(at: DateTime<Utc>) -> String {
    at.format("%F %H:%M").to_string()
}

#[cfg(test)]
mod tests;
