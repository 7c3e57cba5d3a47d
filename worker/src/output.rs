//! What a command says and how it ends: JSON on stdout, or text for people; errors in one line; one exit code.
//!
//! Scripts rely on the exit codes and the JSON keys, so both exist in one place only.

use std::{io::Write, process::ExitCode};

use serde::Serialize;
use serde_json::{Value, json};
use shared::{actions::Fault, config, store};

use crate::stripe::ConfigError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// An error.
    Error,
    /// Called wrongly.
    Usage,
    /// It ran and found something: drift, a failed check, a schema that is behind.
    Findings,
    /// A guard refused the change.
    Refused,
    /// Some firms failed, the others are done.
    PartlyFailed,
    /// Nothing is wrong, but it is not done yet: the same again later.
    TryAgain,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::Findings => 3,
            Exit::Refused => 4,
            Exit::PartlyFailed => 5,
            Exit::TryAgain => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// One fault among several, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// JSON path in the input, or the name of what was looked at.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// Why a command did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// For scripts.
    pub code: &'static str,
    /// For people: one line.
    pub message: String,
    /// Every single fault, where there may be several.
    pub details: Vec<Detail>,
}

impl Failure {
    /// An error without details.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// Something that was looked for and is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("not_found", message)
    }

    /// A refusal by a guard.
    pub fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            ..Self::new(code, message)
        }
    }

    /// A wrong call that the argument parser could not see.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new("usage", message)
        }
    }

    /// Nothing is wrong, but not done yet.
    pub fn try_again(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::TryAgain,
            ..Self::new(code, message)
        }
    }

    /// The same with every single fault.
    #[must_use]
    pub fn with_details(mut self, details: Vec<Detail>) -> Self {
        self.details = details;
        self
    }

    /// As on stdout with `--json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message, "details": self.details } })
    }

    /// As on stderr: one line, then one per fault.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        for detail in &self.details {
            text.push_str(&format!("  {}: {}\n", detail.path, detail.message));
        }
        text
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(fault) => fault.into(),
            Fault::NotFound(message) => Self::not_found(message),
            Fault::Ambiguous { message, things } => {
                let details = things.into_iter().map(|(path, message)| Detail { path, message });
                Self::new("ambiguous", message).with_details(details.collect())
            }
            Fault::Refused { code, message } => Self::refused(code, message),
            // What is named by its place has no option to be told of.
            Fault::Invalid { field: "id", message } => Self::usage(message),
            Fault::Invalid { field, message } => Self::usage(format!("--{field}: {message}")),
        }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::new("configuration", error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new("configuration", error.to_string())
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let message = error.to_string();
        match error {
            store::Error::Refused { .. } => Self::refused("refused", message),
            store::Error::Conflict { .. } => Self::new("conflict", message),
            store::Error::Unavailable(_) => Self::new("database_unavailable", message),
            store::Error::Lost { .. } | store::Error::Other(_) => Self::new("database_error", message),
        }
    }
}

/// For whom a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A person at a terminal.
    Human,
    /// A script: one JSON document on stdout.
    Json,
}

impl Format {
    /// Writes the result to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written. A reader that went away early (`| head`) is none.
    pub fn show<T: Serialize>(self, value: &T, human: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let mut text = match self {
            Format::Human => human(value),
            Format::Json => serde_json::to_string(value).map_err(|fault| {
                Failure::new("internal", format!("result cannot be written as JSON: {fault}"))
            })?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        write_all(std::io::stdout().lock(), &text)
    }

    /// Reports a failure where this reader looks for it.
    ///
    /// # Errors
    /// When neither can be written.
    pub fn show_failure(self, failure: &Failure) -> Result<(), Failure> {
        match self {
            Format::Human => write_all(std::io::stderr().lock(), &failure.to_text()),
            Format::Json => write_all(std::io::stdout().lock(), &format!("{}\n", failure.to_json())),
        }
    }
}

fn write_all(mut to: impl Write, text: &str) -> Result<(), Failure> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Ok(()) => Ok(()),
        Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(fault) => Err(Failure::new(
            "output",
            format!("cannot write the result: {fault}"),
        )),
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Give it as `--cursor` for the rows after these.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of `limit` rows out of up to `limit + 1`: the surplus row tells that there is more.
    pub fn of(mut rows: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = if more { rows.last().map(cursor) } else { None };
        Self {
            data: rows,
            next_cursor,
        }
    }

    /// The rows as a table, and how to see the next page.
    pub fn to_text(&self, headings: &[&str], row: impl Fn(&T) -> Vec<String>) -> String {
        if self.data.is_empty() {
            return "none\n".to_owned();
        }
        let mut text = table(headings, &self.data.iter().map(row).collect::<Vec<_>>());
        if let Some(cursor) = &self.next_cursor {
            text.push_str(&format!("more: --cursor {cursor}\n"));
        }
        text
    }
}

/// Columns aligned with spaces; a column whose heading begins with `>` is aligned to the right.
#[must_use]
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .chain([headings[column].trim_start_matches('>').chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.take(headings.len()).enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let gap = if column == 0 { "" } else { "  " };
            if headings[column].starts_with('>') {
                text.push_str(&format!("{gap}{pad}{cell}"));
            } else {
                text.push_str(&format!("{gap}{cell}{pad}"));
            }
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(&mut headings.iter().map(|h| h.trim_start_matches('>')));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_end_has_the_promised_number() {
        let codes = [
            Exit::Done,
            Exit::Error,
            Exit::Usage,
            Exit::Findings,
            Exit::Refused,
            Exit::PartlyFailed,
            Exit::TryAgain,
        ]
        .map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 75]);
    }

    #[test]
    fn a_refusal_of_a_database_guard_ends_with_4() {
        let refused = store::Error::Refused {
            code: "QT013".into(),
            message: "frozen".into(),
        };
        let failure = Failure::from(refused);
        assert_eq!((failure.exit, failure.code), (Exit::Refused, "refused"));
        let overlap = store::Error::Refused {
            code: "23P01".into(),
            message: "billed already".into(),
        };
        let failure = Failure::from(overlap);
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(failure.to_text(), "error: billed already\n");
        let away = store::Error::Unavailable(sqlx::Error::PoolTimedOut);
        let failure = Failure::from(away);
        assert_eq!(
            (failure.exit, failure.code),
            (Exit::Error, "database_unavailable")
        );
    }

    #[test]
    fn a_failure_lists_each_fault_with_its_path() {
        let failure = Failure::new("invalid_import", "2 faults; nothing was imported").with_details(vec![
            Detail {
                path: "$.firms[0].name".into(),
                message: "is missing".into(),
            },
            Detail {
                path: "$.clients".into(),
                message: "is no list".into(),
            },
        ]);
        assert_eq!(
            failure.to_json(),
            json!({"error": {"code": "invalid_import", "message": "2 faults; nothing was imported",
                "details": [{"path": "$.firms[0].name", "message": "is missing"},
                            {"path": "$.clients", "message": "is no list"}]}})
        );
        assert_eq!(
            failure.to_text(),
            "error: 2 faults; nothing was imported\n  $.firms[0].name: is missing\n  $.clients: is no list\n"
        );
    }

    #[test]
    fn a_page_tells_where_the_next_one_begins_only_if_there_is_one() {
        let page = Page::of(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!((page.data, page.next_cursor.as_deref()), (vec![1, 2], Some("2")));
        let page = Page::of(vec![1, 2], 2, ToString::to_string);
        assert_eq!((page.data, page.next_cursor), (vec![1, 2], None));
    }

    #[test]
    fn a_table_aligns_its_columns() {
        let rows = vec![
            vec!["a".into(), "1.00".into()],
            vec!["long".into(), "10.00".into()],
        ];
        assert_eq!(
            table(&["name", ">total"], &rows),
            "name  total\na      1.00\nlong  10.00\n"
        );
    }
}
