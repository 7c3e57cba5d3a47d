//! `time_entries` of a document.

use chrono::NaiveDate;

use super::reader::{Fields, date, integer, parsed, text};
use crate::domain::time::TimeState;

pub(super) const KEYS: &[&str] = &[
    "external_id",
    "engagement",
    "worker",
    "worked_on",
    "minutes",
    "state",
    "approved_by",
];

/// A day has no more minutes.
const MAX_MINUTES: i32 = 24 * 60;

/// Time worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Where in the document.
    pub path: String,
    /// Its id there and in every later document.
    pub external_id: String,
    /// Worked for.
    pub engagement: String,
    /// Worked by.
    pub worker: String,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// Whether it may be invoiced.
    pub state: TimeState,
    /// Who said so; with `approved` only.
    pub approved_by: Option<String>,
}

pub(super) fn read(fields: &Fields<'_>) -> Option<TimeEntry> {
    let external_id = fields.required("external_id", text);
    let engagement = fields.required("engagement", text);
    let worker = fields.required("worker", text);
    let worked_on = fields.required("worked_on", date);
    let minutes = fields.required("minutes", integer(1..=MAX_MINUTES));
    let state = fields.or("state", TimeState::Draft, parsed);
    let approved_by = fields.optional("approved_by", text);
    match (state, &approved_by) {
        (Some(TimeState::Approved), Some(None)) => {
            fields.fault("approved_by", "is missing: approved time needs its approver");
            return None;
        }
        (Some(TimeState::Draft | TimeState::Submitted | TimeState::Rejected), Some(Some(_))) => {
            fields.fault("approved_by", "goes with state approved only");
            return None;
        }
        (Some(TimeState::Approved), Some(Some(_)) | None)
        | (Some(TimeState::Draft | TimeState::Submitted | TimeState::Rejected), Some(None) | None)
        | (None, _) => {}
    }
    Some(TimeEntry {
        path: fields.path().to_owned(),
        external_id: external_id?,
        engagement: engagement?,
        worker: worker?,
        worked_on: worked_on?,
        minutes: minutes?,
        state: state?,
        approved_by: approved_by?,
    })
}
