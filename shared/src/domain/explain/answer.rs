//! The shape of every answer: the verdict first, then the chain, then the checks, then what to do, then the evidence.
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::reasons;
use crate::domain::predicate::Predicate;

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `invoice`, `client`, `event` …
    pub kind: &'static str,
    /// What people call it: a number, an `external_id`, a Stripe id.
    pub label: String,
}

/// One step of a chain of causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `attempt`, `cycle`, `line`, `engagement`, `origin` …
    pub what: &'static str,
    /// Its id, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// In words.
    pub text: String,
}

impl Link {
    /// A step in words.
    #[must_use]
    pub fn new(what: &'static str, text: impl Into<String>) -> Self {
        Self {
            what,
            id: None,
            at: None,
            text: text.into(),
        }
    }

    /// With its id.
    #[must_use]
    pub fn id(mut self, id: impl std::fmt::Display) -> Self {
        self.id = Some(id.to_string());
        self
    }

    /// With its time.
    #[must_use]
    pub fn at(mut self, at: impl Into<Option<DateTime<Utc>>>) -> Self {
        self.at = at.into();
        self
    }
}

/// When the conditions were looked at: by the job whose decision is on record, or just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Just now.
    pub at: DateTime<Utc>,
    /// How often a job has come to the same answer, and first when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
}

/// See [`Checked::decided`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// How often.
    pub times: i32,
    /// First when.
    pub first_at: DateTime<Utc>,
}

/// An answer. Its keys are a public contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What people call the thing asked about.
    pub subject: String,
    /// `why-not charge`, `why-not invoice`, `next` or `explain`, and what kind of thing.
    pub question: String,
    /// The answer in one sentence.
    pub verdict: String,
    /// The reason as a code, where there is one.
    pub reason_code: Option<String>,
    /// Since when it holds.
    pub since: Option<DateTime<Utc>>,
    /// What led to it, the latest first.
    pub chain: Vec<Link>,
    /// Every condition, as the job evaluates it.
    pub checks: Vec<Predicate>,
    /// When those were evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
    /// What a person can do.
    #[serde(rename = "do")]
    pub remedies: Vec<String>,
    /// Where it is written: audit entries, decisions, events, jobs.
    pub evidence: Vec<String>,
}

impl Answer {
    /// An answer that is a sentence so far.
    #[must_use]
    pub fn new(question: &'static str, subject: &Subject, verdict: impl Into<String>) -> Self {
        Self {
            subject: subject.label.clone(),
            question: format!("{question} {}", subject.kind),
            verdict: verdict.into(),
            reason_code: None,
            since: None,
            chain: Vec::new(),
            checks: Vec::new(),
            checked: None,
            remedies: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// With a reason, what to do about it, and since when it holds. `names` fill the places in a remedy.
    #[must_use]
    pub fn because(mut self, code: &str, since: Option<DateTime<Utc>>, names: &[(&str, &str)]) -> Self {
        self.reason_code = Some(code.to_owned());
        self.since = since;
        self.remedies = reasons::remedies(code, names);
        self
    }

    /// With a chain.
    #[must_use]
    pub fn chain(mut self, links: impl IntoIterator<Item = Link>) -> Self {
        self.chain.extend(links);
        self
    }

    /// With something to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }

    /// With evidence. The same twice is once.
    #[must_use]
    pub fn evidence(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        for piece in evidence {
            if !self.evidence.contains(&piece) {
                self.evidence.push(piece);
            }
        }
        self
    }
}
