//! The sample firm, made to start on the day of the demo.

use std::{collections::BTreeMap, path::Path};

use ::tests::world::{Error, Result};
use chrono::{Months, NaiveDate};
use serde_json::Value;

/// Keys whose value is, or refers to, an id of the document's own.
const OUR_IDS: [&str; 4] = ["external_id", "firm", "client", "engagement"];

/// Keys whose value is an id at Stripe. The switch of autopay names its card by `payment_method`.
const STRIPE_IDS: [&str; 3] = ["stripe_customer_id", "stripe_payment_method_id", "payment_method"];

/// An import document.
#[derive(Debug)]
pub(crate) struct Document {
    json: Value,
    suffix: String,
}

/// A client of the document, as far as the demo cares.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) customer: Option<String>,
    pub(crate) card: Option<String>,
}

impl Document {
    /// Reads the sample; every engagement starts `today`, every id gets the suffix.
    pub(crate) fn load(path: &Path, today: NaiveDate, suffix: &str) -> Result<Self> {
        let broken = |fault: &dyn std::fmt::Display| Error::Setup(format!("{}: {fault}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|fault| broken(&fault))?;
        let mut json: Value = serde_json::from_str(&text).map_err(|fault| broken(&fault))?;
        let in_a_year = today
            .checked_add_months(Months::new(12))
            .ok_or_else(|| broken(&"the business clock is beyond all calendars"))?;
        adapt(&mut json, suffix, today, in_a_year);
        Ok(Self {
            json,
            suffix: suffix.to_owned(),
        })
    }

    /// What to import.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// What a client or firm of the sample is called in this run.
    pub(crate) fn id(&self, sample_id: &str) -> String {
        suffixed(sample_id, &self.suffix, '-')
    }

    /// The clients, by external id.
    pub(crate) fn clients(&self) -> BTreeMap<String, Client> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.json["clients"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|client| {
                let card = &client["payment_methods"][0]["stripe_payment_method_id"];
                Some((
                    text(&client["external_id"])?,
                    Client {
                        name: text(&client["name"])?,
                        customer: text(&client["stripe_customer_id"]),
                        card: text(card),
                    },
                ))
            })
            .collect()
    }
}

fn adapt(value: &mut Value, suffix: &str, today: NaiveDate, in_a_year: NaiveDate) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| adapt(item, suffix, today, in_a_year)),
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), &field) {
                    ("starts_on", _) => *field = today.to_string().into(),
                    ("ends_on", _) => *field = in_a_year.to_string().into(),
                    (key, Value::String(id)) if OUR_IDS.contains(&key) => {
                        *field = suffixed(id, suffix, '-').into()
                    }
                    (key, Value::String(id)) if STRIPE_IDS.contains(&key) => {
                        *field = suffixed(id, suffix, '_').into();
                    }
                    _ => adapt(field, suffix, today, in_a_year),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn suffixed(id: &str, suffix: &str, separator: char) -> String {
    if suffix.is_empty() {
        id.to_owned()
    } else {
        format!("{id}{separator}{suffix}")
    }
}
