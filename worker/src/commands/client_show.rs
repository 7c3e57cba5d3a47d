//! `quittance client show`: what a person asks about a client before writing to it.

use shared::store::{
    Db,
    clients_read::{self, ClientView},
};

use super::{find::find_client, invoice_text::amount};
use crate::output::{Exit, Failure, Format, table};

/// Runs `client show`.
///
/// # Errors
/// When there is no such client, or the database is away.
pub async fn run(db: &Db, reference: &str, out: Format) -> Result<Exit, Failure> {
    let (firm, client) = find_client(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let shown = clients_read::show(&mut tx, firm, client).await?;
    let shown = shown.ok_or_else(|| Failure::not_found(format!("there is no client {reference:?}")))?;
    out.show(&shown, describe)?;
    Ok(Exit::Done)
}

fn describe(client: &ClientView) -> String {
    let label = client
        .external_id
        .clone()
        .unwrap_or_else(|| client.id.to_string());
    let mut text = format!("{label}  {}\n", client.name);
    let autopay = match (&client.autopay.paused_reason, client.autopay.enabled) {
        (Some(reason), _) => format!("paused ({reason})"),
        (None, true) => "on".to_owned(),
        (None, false) => "off".to_owned(),
    };
    let credit = client
        .credit
        .iter()
        .map(|credit| amount(credit.minor, &credit.currency));
    let facts = [
        ("id", client.id.to_string()),
        ("firm", client.firm.clone()),
        (
            "customer",
            client
                .stripe_customer_id
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
        ),
        ("autopay", autopay),
        (
            "card",
            client
                .autopay
                .payment_method
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
        ),
        ("credit", or_none(credit.collect())),
        ("disputes", or_none(client.disputes.clone())),
    ];
    for (name, value) in facts {
        text.push_str(&format!("  {name:<9}  {value}\n"));
    }
    let cards: Vec<_> = client
        .payment_methods
        .iter()
        .map(|card| {
            let expires = match (card.exp_month, card.exp_year) {
                (Some(month), Some(year)) => format!("{month:02}/{year}"),
                (Some(_) | None, Some(_) | None) => String::new(),
            };
            vec![
                card.stripe_payment_method_id.clone(),
                card.brand.clone().unwrap_or_default(),
                card.last4.clone().unwrap_or_default(),
                expires,
                card.status.clone(),
            ]
        })
        .collect();
    section(
        &mut text,
        &["CARD", "BRAND", "LAST 4", "EXPIRES", "STATUS"],
        &cards,
    );
    let unapplied: Vec<_> = client
        .unapplied
        .iter()
        .map(|money| {
            vec![
                money
                    .stripe_charge_id
                    .clone()
                    .or_else(|| money.reference.clone())
                    .unwrap_or_default(),
                money.invoice.clone().unwrap_or_default(),
                money.source.clone(),
                amount(money.amount_minor, &money.currency),
                amount(money.remaining_minor, &money.currency),
            ]
        })
        .collect();
    section(
        &mut text,
        &["NOT OWED", "CAME FOR", "SOURCE", ">AMOUNT", ">LEFT"],
        &unapplied,
    );
    let invoices: Vec<_> = client
        .open_invoices
        .iter()
        .map(|invoice| {
            vec![
                invoice.number.clone().unwrap_or_else(|| invoice.id.to_string()),
                invoice.status.clone(),
                amount(invoice.open_minor, &invoice.currency),
                invoice.due_date.map(|date| date.to_string()).unwrap_or_default(),
                invoice.autopay_state.clone(),
            ]
        })
        .collect();
    section(
        &mut text,
        &["OPEN INVOICE", "STATUS", ">OPEN", "DUE", "AUTOPAY"],
        &invoices,
    );
    text
}

/// A table with a blank line before it, where there is anything to show.
fn section(text: &mut String, headings: &[&str], rows: &[Vec<String>]) {
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(headings, rows));
    }
}

fn or_none(items: Vec<String>) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
