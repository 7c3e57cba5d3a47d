//! What the books say at one moment, read through the operator's command.

use std::collections::BTreeMap;

use ::tests::world::{Cli, Error, Result};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::Value;

/// An invoice, as `quittance invoice show --json` prints it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Invoice {
    pub(crate) number: String,
    pub(crate) firm: String,
    pub(crate) client: String,
    pub(crate) currency: String,
    pub(crate) status: String,
    pub(crate) total_minor: i64,
    pub(crate) paid_minor: i64,
    pub(crate) charged_back_minor: i64,
    pub(crate) due_date: NaiveDate,
    pub(crate) autopay: Autopay,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) disputes: Vec<Dispute>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Autopay {
    pub(crate) state: String,
    pub(crate) next_charge_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) state: String,
    pub(crate) failure_class: Option<String>,
    pub(crate) decline_code: Option<String>,
    pub(crate) stripe_payment_intent_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Dispute {
    pub(crate) id: String,
    pub(crate) amount_minor: i64,
    pub(crate) outcome: Option<String>,
    pub(crate) respond_by: Option<DateTime<Utc>>,
}

/// The invoices of one firm, by client.
pub(crate) type Books = BTreeMap<String, Invoice>;

/// Reads them all; the demo has one invoice per client.
pub(crate) async fn take(cli: &Cli, firm: &str) -> Result<Books> {
    let list = cli.json(&["invoice", "list", "--limit", "100"]).await?;
    let rows = list["data"].as_array().cloned().unwrap_or_default();
    let mut books = Books::new();
    for row in rows {
        let id = text(&row, "id")?;
        let shown = cli.json(&["invoice", "show", &id]).await?;
        let invoice: Invoice = serde_json::from_value(shown.clone()).map_err(|fault| Error::Shape {
            what: format!("invoice {id} ({fault})"),
            text: shown.to_string(),
        })?;
        if invoice.firm == firm {
            books.insert(invoice.client.clone(), invoice);
        }
    }
    Ok(books)
}

/// Business time.
pub(crate) async fn now(cli: &Cli) -> Result<DateTime<Utc>> {
    let clock = cli.json(&["clock", "show"]).await?;
    text(&clock, "now")?.parse().map_err(|_| Error::Shape {
        what: "the clock".into(),
        text: clock.to_string(),
    })
}

fn text(row: &Value, key: &str) -> Result<String> {
    row[key].as_str().map(str::to_owned).ok_or_else(|| Error::Shape {
        what: format!("{key} of a row"),
        text: row.to_string(),
    })
}

/// `123450` → `1,234.50 USD`. The sample firm's currency has two decimals.
pub(crate) fn money(minor: i64, currency: &str) -> String {
    let whole = (minor / 100).to_string();
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{:02} {}", minor % 100, currency.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn money_is_grouped_by_thousands() {
        assert_eq!(money(123_456_789, "usd"), "1,234,567.89 USD");
        assert_eq!(money(100_000, "usd"), "1,000.00 USD");
        assert_eq!(money(5, "usd"), "0.05 USD");
    }
}
