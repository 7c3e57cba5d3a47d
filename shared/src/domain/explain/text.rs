//! An answer as people read it: verdict, chain, checks, what to do, evidence.
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::answer::{Answer, Link};
use crate::domain::predicate::Predicate;

/// A time, to the minute.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%F %H:%M UTC").to_string()
}

/// The whole answer. Of the chain, so many links as asked for.
#[must_use]
pub fn to_text(answer: &Answer, depth: usize) -> String {
    let mut text = headline(answer);
    let width = answer
        .chain
        .iter()
        .take(depth)
        .map(|link| link.what.len())
        .max()
        .unwrap_or(0);
    for link in answer.chain.iter().take(depth) {
        text.push_str(&format!("  {:width$}  {}\n", link.what, told(link)));
    }
    if answer.chain.len() > depth {
        text.push_str(&format!("  … and {} more: --depth\n", answer.chain.len() - depth));
    }
    if !answer.checks.is_empty() {
        text.push_str(&checked(answer));
        let width = answer
            .checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or(0);
        for check in &answer.checks {
            let (mark, name, value) = (mark(check), spoken(check.name), value(&check.value));
            let line = format!("  {mark} {name:width$}  {value}");
            text.push_str(&format!("{}\n", line.trim_end()));
        }
    }
    listed(&mut text, "DO", &answer.remedies);
    if !answer.evidence.is_empty() {
        text.push_str(&format!("EVIDENCE  {}\n", answer.evidence.join(", ")));
    }
    text
}

/// The verdict, its first words loud, with since when it holds.
fn headline(answer: &Answer) -> String {
    let since = answer
        .since
        .map_or_else(String::new, |at| format!(" since {}", time(at)));
    match answer.verdict.split_once(": ") {
        Some((head, rest)) => format!("{}{since}: {rest}\n", head.to_uppercase()),
        None => format!("{}{since}\n", answer.verdict),
    }
}

fn told(link: &Link) -> String {
    let at = link.at.map_or_else(String::new, |at| format!("{}  ", time(at)));
    let id = link
        .id
        .as_ref()
        .map_or_else(String::new, |id| format!("  [{id}]"));
    format!("{at}{}{id}", link.text)
}

fn checked(answer: &Answer) -> String {
    let Some(checked) = answer.checked else {
        return "CHECKS\n".to_owned();
    };
    let decided = checked.decided.map_or_else(String::new, |decided| {
        format!(
            "; decided so {} time(s) since {}",
            decided.times,
            time(decided.first_at)
        )
    });
    format!("CHECKS (evaluated {}{decided})\n", time(checked.at))
}

fn mark(check: &Predicate) -> &'static str {
    match check.ok {
        Some(true) => "ok  ",
        Some(false) => "FAIL",
        None => "-   ",
    }
}

fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, v)| format!("{name} {}", self::value(v)))
                .collect();
            fields.join(", ")
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(self::value).collect();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

fn listed(text: &mut String, heading: &str, lines: &[String]) {
    for (position, line) in lines.iter().enumerate() {
        let heading = if position == 0 { heading } else { "" };
        text.push_str(&format!("{heading:4}{line}\n"));
    }
}

/// A JSON object as a remark behind something; nothing for an empty one.
pub(super) fn detail(details: &Value) -> String {
    match details {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        other => format!(": {}", value(other)),
    }
}
