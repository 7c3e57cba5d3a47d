//! Time entries as people read them.

use shared::{actions::time::Changed, store::time_read::TimeRow};

use super::invoice_text::amount;
use crate::output::{Page, table};

const HEADINGS: [&str; 9] = [
    "TIME",
    "ENGAGEMENT",
    "WORKER",
    "WORKED ON",
    ">MINUTES",
    "STATE",
    ">AMOUNT",
    "APPROVED BY",
    "INVOICE",
];

/// The rows of a list.
pub fn describe_page(page: &Page<TimeRow>) -> String {
    page.to_text(&HEADINGS, cells)
}

/// One entry after a change.
pub fn describe(changed: &Changed) -> String {
    format!(
        "{}\n{}",
        changed.change,
        table(&HEADINGS, &[cells(&changed.entry)])
    )
}

fn cells(row: &TimeRow) -> Vec<String> {
    let client = row
        .client_approved_by
        .as_ref()
        .map(|name| format!("{name} (client)"));
    let approvers: Vec<String> = row.approved_by.iter().cloned().chain(client).collect();
    vec![
        row.external_id.clone().unwrap_or_else(|| row.id.to_string()),
        row.engagement.clone(),
        row.worker.clone(),
        row.worked_on.to_string(),
        row.minutes.to_string(),
        row.state.clone(),
        row.amount_minor
            .map(|minor| amount(minor, &row.currency))
            .unwrap_or_default(),
        approvers.join(", "),
        row.invoice.clone().unwrap_or_default(),
    ]
}
