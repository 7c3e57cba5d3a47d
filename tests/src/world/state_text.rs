//! The state of every business table as text that two worlds can be compared by.
//!
//! Two runs of one story differ in ids, in the wall clock, and in which event or job did a thing first; none of that is
//! state. So our ids and Stripe's are replaced by names (`invoices-1`, `pi-1`), times by their distance from the start
//! of the world in whole hours (`T+72h`), dates likewise (`D+3`), and columns that only tell how a row came to be
//! are left out. Rows are sorted by their text. The wording of a difference shows in an ordinary diff.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgPool};

use super::error::Result;

/// Parents first, so that a child row can be told by its parent's name.
const TABLES: [&str; 21] = [
    "firms",
    "clients",
    "payment_methods",
    "engagements",
    "time_entries",
    "invoices",
    "invoice_status",
    "invoice_lines",
    "billing_periods",
    "collection_cycles",
    "payment_attempts",
    "payments",
    "refunds",
    "disputes",
    "credit_lots",
    "credit_applications",
    "journals",
    // These have no id of their own to name; everything they refer to is named by then.
    "dispute_movements",
    "processor_fees",
    "credit_balances",
    "postings",
];

/// Columns that tell how or when a row was written, not what holds.
const NOT_STATE: [&str; 11] = [
    "cause",
    "created_at",
    "derivation",
    "number",
    "posted_at",
    "real_sent_at",
    "recorded_at",
    "resolved_at",
    "sent_at",
    "stripe_request_id",
    "version",
];

/// Prefixes of ids that Stripe makes up. Customers and cards are named by the test itself and stay.
const STRIPE_PREFIXES: [&str; 6] = ["pi_", "ch_", "py_", "re_", "dp_", "txn_"];

/// Which attempts of a payment are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempts {
    /// All.
    All,
    /// Those that had an effect: one that proved to have had none is made again, and only its row tells of it.
    WithEffect,
}

/// Reads all tables and renders them, or one firm's part of them; `start` is the zero of all times.
pub(super) async fn render(
    pool: &PgPool,
    start: DateTime<Utc>,
    firm: Option<&str>,
    attempts: Attempts,
) -> Result<String> {
    let mut names = Names::default();
    let mut text = String::new();
    for table in TABLES {
        let key = if table == "firms" { "id" } else { "firm_id" };
        let columns = match table {
            // The number of a journal counts those of all firms; its time is that of its fact, which is a row above.
            "journals" => "to_jsonb(t) - '{seq,effective_at}'::text[]",
            // By Stripe's clock, which follows ours with a delay.
            "processor_fees" => "to_jsonb(t) - 'at'",
            // What tells invoices apart that one run has made alike.
            "invoices" => {
                "to_jsonb(t) || jsonb_build_object('period', (select min(b.period_start) from billing_periods b where b.invoice_id = t.id))"
            }
            "payment_attempts" if attempts == Attempts::WithEffect => "to_jsonb(t) - 'seq'",
            _ => "to_jsonb(t)",
        };
        let told = match (table, attempts) {
            ("payment_attempts", Attempts::WithEffect) => "and state <> 'technical'",
            _ => "",
        };
        let statement = format!(
            "select {columns} from {table} t
              where ($1::text is null or {key} = (select id from firms where external_id = $1)) {told}"
        );
        let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(firm)
            .fetch_all(pool)
            .await?;
        let mut rows: Vec<(String, Map<String, Value>)> = rows
            .into_iter()
            .filter_map(|row| match row {
                Value::Object(columns) => Some(columns),
                _ => None,
            })
            .map(|mut columns| {
                columns.retain(|name, value| !value.is_null() && !NOT_STATE.contains(&name.as_str()));
                for value in columns.values_mut() {
                    relative(value, start);
                }
                (names.masked(&columns), columns)
            })
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        for (position, (_, columns)) in rows.iter().enumerate() {
            if let Some(Value::String(id)) = columns.get("id") {
                names.give(id, || format!("{table}-{}", position + 1));
            }
        }
        for (_, columns) in rows {
            text.push_str(table);
            for (name, value) in &columns {
                let shown = match value {
                    Value::String(plain) => names.replace(plain, Names::name_of),
                    other => names.replace(&other.to_string(), Names::name_of),
                };
                text.push_str(&format!(" {name}={shown}"));
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// Times and dates (whole strings only) become distances from the start.
fn relative(value: &mut Value, start: DateTime<Utc>) {
    match value {
        Value::String(text) => {
            if let Ok(at) = DateTime::parse_from_rfc3339(text) {
                // To the nearest hour: stories move by hours and days, and take seconds.
                let minutes = (at.with_timezone(&Utc) - start).num_minutes();
                *text = format!("T{:+}h", (minutes + 30).div_euclid(60));
            } else if let Ok(day) = text.parse::<NaiveDate>() {
                *text = format!("D{:+}", (day - start.date_naive()).num_days());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| relative(item, start)),
        Value::Object(fields) => fields.values_mut().for_each(|field| relative(field, start)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Ids seen so far and what they are called.
#[derive(Default)]
struct Names {
    by_id: BTreeMap<String, String>,
    counts: BTreeMap<String, usize>,
}

impl Names {
    fn give(&mut self, id: &str, name: impl FnOnce() -> String) {
        self.by_id.entry(id.to_owned()).or_insert_with(name);
    }

    /// The row as text in which known ids have their names and unknown ones are all alike: the order of rows must not
    /// depend on ids.
    fn masked(&mut self, columns: &Map<String, Value>) -> String {
        let text = Value::Object(columns.clone()).to_string();
        self.replace(&text, |names, id| {
            names.by_id.get(id).cloned().unwrap_or_else(|| "?".into())
        })
    }

    /// The name of an id; an id met for the first time gets the next number of its kind.
    fn name_of(&mut self, id: &str) -> String {
        if let Some(name) = self.by_id.get(id) {
            return name.clone();
        }
        let kind = id.split_once('_').map_or("uuid", |(prefix, _)| prefix).to_owned();
        let count = self.counts.entry(kind.clone()).or_insert(0);
        *count += 1;
        let name = format!("{kind}-{count}");
        self.by_id.insert(id.to_owned(), name.clone());
        name
    }

    /// Replaces every id in a text, also inside of longer keys (`confirm:0193…`).
    fn replace(&mut self, text: &str, mut name: impl FnMut(&mut Self, &str) -> String) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_word) {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            if is_id(word) {
                out.push_str(&name(self, word));
            } else {
                out.push_str(word);
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }
}

fn is_id(word: &str) -> bool {
    (word.len() == 36 && uuid::Uuid::try_parse(word).is_ok())
        || STRIPE_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_get_names_in_the_order_in_which_they_appear() {
        let mut names = Names::default();
        let text = "a pi_9x b ch_1 pi_9x confirm:00000000-0000-4000-8000-000000000001 cus_7";
        let shown = names.replace(text, Names::name_of);
        assert_eq!(shown, "a pi-1 b ch-1 pi-1 confirm:uuid-1 cus_7");
    }

    #[test]
    fn times_are_distances_from_the_start() {
        let start = DateTime::parse_from_rfc3339("2026-01-01T10:00:00Z")
            .unwrap()
            .to_utc();
        let mut row = serde_json::json!({
            "later": "2026-01-04T10:00:09.5+00:00", "day": "2025-12-31", "text": "2026 was fine"
        });
        relative(&mut row, start);
        assert_eq!(
            row,
            serde_json::json!({ "later": "T+72h", "day": "D-1", "text": "2026 was fine" })
        );
    }
}
