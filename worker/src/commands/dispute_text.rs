//! Disputes as people read them: what is contested, until when to answer, and what it did to the money.

use shared::store::{
    dispute_evidence::Evidence,
    disputes::{DisputeRow, DisputeView},
};

use super::{
    dispute::Resolved,
    invoice_text::{amount, minute},
};
use crate::output::{Page, table};

/// The rows of a list.
pub fn describe_page(page: &Page<DisputeRow>) -> String {
    let headings = [
        "DISPUTE",
        "FIRM",
        "CLIENT",
        "INVOICE",
        "KIND",
        "STATUS",
        "REASON",
        ">AMOUNT",
        "ANSWER BY",
        "DECISION",
    ];
    page.to_text(&headings, |row| {
        vec![
            row.id.clone(),
            row.firm.clone(),
            row.client.clone(),
            row.invoice.clone().unwrap_or_default(),
            row.kind.clone(),
            row.status.clone(),
            row.reason.clone().unwrap_or_default(),
            amount(row.amount_minor, &row.currency),
            deadline(row),
            row.decision.clone().unwrap_or_default(),
        ]
    })
}

/// The deadline, as long as there is something to answer.
fn deadline(row: &DisputeRow) -> String {
    match (row.respond_by, &row.outcome) {
        (Some(at), None) => minute(at),
        (Some(_) | None, _) => String::new(),
    }
}

/// One dispute.
pub fn describe(view: &DisputeView) -> String {
    let row = &view.row;
    let end = row.outcome.as_deref().unwrap_or("open");
    let mut text = format!(
        "{}  {}  {} {}\n",
        row.id,
        end.to_uppercase(),
        row.kind,
        amount(row.amount_minor, &row.currency)
    );
    let decision = match (&view.resolution, row.decision.as_deref()) {
        (Some(resolution), _) => {
            let by_what = resolution.invoice.as_ref().map(|number| format!(" by {number}"));
            Some(format!(
                "{}{}, {} {}: {}",
                resolution.kind,
                by_what.unwrap_or_default(),
                minute(resolution.resolved_at),
                resolution.resolved_by,
                resolution.reason
            ))
        }
        (None, Some("needed")) => {
            Some("needed: quittance dispute resolve --rebill or --write-off".to_owned())
        }
        (None, _) => None,
    };
    let facts = [
        ("id", Some(row.uuid.to_string())),
        ("firm", Some(row.firm.clone())),
        ("client", Some(row.client.clone())),
        ("invoice", row.invoice.clone()),
        ("charge", view.stripe_charge_id.clone()),
        ("status", Some(row.status.clone())),
        ("reason", row.reason.clone()),
        ("network code", view.network_reason_code.clone()),
        ("opened", Some(minute(row.opened_at))),
        ("answer by", row.respond_by.map(minute)),
        ("ended", row.closed_at.map(minute)),
        ("fence", view.fenced_reason.clone()),
        ("decision", decision),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            text.push_str(&format!("  {name:<12}  {value}\n"));
        }
    }
    let movements: Vec<_> = view
        .movements
        .iter()
        .map(|moved| {
            vec![
                minute(moved.at),
                moved.kind.clone(),
                amount(moved.amount_minor, &moved.currency),
                moved.stripe_balance_transaction_id.clone(),
            ]
        })
        .collect();
    section(
        &mut text,
        &["WHEN (UTC)", "MOVED", ">AMOUNT", "BALANCE TRANSACTION"],
        &movements,
    );
    let ledger: Vec<_> = view
        .ledger
        .iter()
        .map(|held| vec![held.account.clone(), amount(held.minor, &held.currency)])
        .collect();
    section(&mut text, &["ACCOUNT", ">HOLDS"], &ledger);
    text
}

/// What was decided.
pub fn describe_resolved(resolved: &Resolved) -> String {
    match (&resolved.invoice, resolved.total_minor, &resolved.currency) {
        (Some(invoice), Some(minor), Some(currency)) => {
            format!(
                "{}: billed again by {invoice}, {}\n",
                resolved.dispute,
                amount(minor, currency)
            )
        }
        _ => format!("{}: written off\n", resolved.dispute),
    }
}

/// What speaks for the charge, in the order in which an answer tells it.
pub fn describe_evidence(pack: &Evidence) -> String {
    let row = &pack.dispute.row;
    let mut text = format!(
        "{}  {} for {}; answer by {}\n",
        row.id,
        amount(row.amount_minor, &row.currency),
        row.reason.as_deref().unwrap_or("no reason given"),
        row.respond_by.map_or_else(|| "no date".to_owned(), minute)
    );
    let terms: Vec<_> = pack
        .engagement
        .iter()
        .map(|terms| {
            vec![
                terms.label.clone(),
                terms.pricing_mode.clone(),
                terms.signed_at.map(minute).unwrap_or_default(),
                terms.starts_on.to_string(),
            ]
        })
        .collect();
    section(&mut text, &["TERMS", "PRICING", "SIGNED (UTC)", "FROM"], &terms);
    if let Some(invoice) = &pack.invoice {
        let lines: Vec<_> = invoice
            .lines
            .iter()
            .map(|line| {
                vec![
                    line.kind.clone(),
                    line.description_code.clone(),
                    amount(line.amount_minor, &invoice.currency),
                ]
            })
            .collect();
        section(&mut text, &["BILLED FOR", "CODE", ">AMOUNT"], &lines);
    }
    let hours: Vec<_> = pack
        .time
        .iter()
        .map(|entry| {
            vec![
                entry.worked_on.to_string(),
                entry.minutes.to_string(),
                entry.approved_at.map(minute).unwrap_or_default(),
                entry.client_approved_at.map(minute).unwrap_or_default(),
            ]
        })
        .collect();
    section(
        &mut text,
        &["WORKED ON", ">MINUTES", "APPROVED (UTC)", "BY CLIENT (UTC)"],
        &hours,
    );
    let mandate: Vec<_> = pack
        .authorization
        .iter()
        .map(|event| vec![minute(event.at), event.action.clone(), event.actor.clone()])
        .collect();
    section(&mut text, &["WHEN (UTC)", "AUTHORIZATION", "BY"], &mandate);
    let told: Vec<_> = pack
        .timeline
        .iter()
        .map(|event| vec![minute(event.at), event.action.clone(), event.actor.clone()])
        .collect();
    section(&mut text, &["WHEN (UTC)", "WHAT HAPPENED", "BY"], &told);
    let history = &pack.history;
    text.push_str(&format!(
        "\nbefore: {} payment(s) by this client, {} with the same card, {} disputed\n",
        history.payments, history.payments_with_this_card, history.disputed
    ));
    text
}

/// A table with a blank line before it, where there is anything to show.
fn section(text: &mut String, headings: &[&str], rows: &[Vec<String>]) {
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(headings, rows));
    }
}
