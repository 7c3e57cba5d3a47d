//! The end of the demo: one table, and the comparison of our books with Stripe's.

use std::collections::BTreeMap;

use ::tests::world::{Result, Sim};
use serde_json::Value;

use crate::{
    document::Document,
    narrate, say,
    snapshot::{Books, Invoice, money},
};

const HEADINGS: [&str; 8] = [
    "customer",
    "invoice",
    "status",
    "total",
    "paid",
    "charged back",
    "tries",
    "next",
];

/// Prints where every invoice stands.
pub(crate) fn table(document: &Document, books: &Books) {
    let clients = document.clients();
    let rows: Vec<[String; 8]> = books
        .iter()
        .map(|(id, invoice)| {
            let name = clients.get(id).map_or(id.clone(), |client| client.name.clone());
            row(name, invoice)
        })
        .collect();
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .fold(HEADINGS[column].len(), usize::max)
        })
        .collect();
    say("");
    say(&line(&HEADINGS.map(str::to_owned), &widths));
    say(&widths
        .iter()
        .map(|width| "─".repeat(*width))
        .collect::<Vec<_>>()
        .join("  "));
    for row in &rows {
        say(&line(row, &widths));
    }
}

fn row(name: String, invoice: &Invoice) -> [String; 8] {
    let next = match (invoice.autopay.state.as_str(), invoice.autopay.next_charge_at) {
        ("succeeded" | "none", _) => String::new(),
        (_, Some(at)) => format!("charge on {}", narrate::day(at)),
        ("exhausted", None) => "a person must act".into(),
        (state, None) => state.replace('_', " "),
    };
    let or_blank = |minor: i64| match minor {
        0 => String::new(),
        some => money(some, &invoice.currency),
    };
    [
        name,
        invoice.number.clone(),
        invoice.status.replace('_', " "),
        money(invoice.total_minor, &invoice.currency),
        or_blank(invoice.paid_minor),
        or_blank(invoice.charged_back_minor),
        invoice.attempts.len().to_string(),
        next,
    ]
}

fn line(cells: &[String; 8], widths: &[usize]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let pad = " ".repeat(width - cell.chars().count());
        // Amounts and counts to the right, words to the left.
        let padded = if (3..=6).contains(&column) {
            pad + cell
        } else {
            cell.clone() + &pad
        };
        text.push_str(&padded);
        text.push_str("  ");
    }
    text.trim_end().to_owned()
}

/// Compares what our books call paid with what the simulator captured, in all and intent by intent; says what differs.
pub(crate) async fn compare(sim: &Sim, books: &Books) -> Result<bool> {
    let theirs = sim.books().await?;
    let mut ours: BTreeMap<&str, i64> = BTreeMap::new();
    let mut differences = Vec::new();
    for invoice in books.values() {
        *ours.entry(&invoice.currency).or_default() += invoice.paid_minor;
        let mut intents: Vec<&str> = invoice
            .attempts
            .iter()
            .filter_map(|attempt| attempt.stripe_payment_intent_id.as_deref())
            .collect();
        intents.sort_unstable();
        intents.dedup();
        let captured: i64 = intents
            .iter()
            .map(|intent| minor(&theirs["by_payment_intent"][intent]["captured"]))
            .sum();
        if captured != invoice.paid_minor {
            differences.push(format!(
                "{}: our books say {}, Stripe captured {}",
                invoice.number,
                money(invoice.paid_minor, &invoice.currency),
                money(captured, &invoice.currency)
            ));
        }
    }
    say("");
    for (currency, minor_units) in &ours {
        let captured = minor(&theirs["captured_minor"][currency]);
        say(&format!(
            "Paid in our books: {}.  Captured at Stripe: {}.",
            money(*minor_units, currency),
            money(captured, currency)
        ));
        if captured != *minor_units {
            differences.push(format!("the totals in {} differ", currency.to_uppercase()));
        }
    }
    for difference in &differences {
        say(&format!("  DIFFERENT  {difference}"));
    }
    if differences.is_empty() {
        say("The books agree, invoice by invoice.");
    }
    Ok(differences.is_empty())
}

fn minor(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}
