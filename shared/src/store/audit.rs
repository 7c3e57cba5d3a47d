//! The audit log: metadata only, append-only, every row with its cause.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Result;
use crate::{counts, domain::audit_action::category, ids::FirmId, trace};

/// Why something happened: the event, job, command or request behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `event`, `job`, `command` or `request`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

impl Cause {
    /// A Stripe event.
    #[must_use]
    pub fn event(id: &str) -> Self {
        Self {
            kind: "event",
            id: id.to_owned(),
        }
    }

    /// A job.
    #[must_use]
    pub fn job(id: crate::ids::JobId) -> Self {
        Self {
            kind: "job",
            id: id.to_string(),
        }
    }

    /// A run of a command.
    #[must_use]
    pub fn command(run_id: Uuid) -> Self {
        Self {
            kind: "command",
            id: run_id.to_string(),
        }
    }

    /// A request to the portal.
    #[must_use]
    pub fn request(id: Uuid) -> Self {
        Self {
            kind: "request",
            id: id.to_string(),
        }
    }

    /// Who acts where no person does: Stripe, in what an event led to; else the system.
    #[must_use]
    pub fn actor(&self) -> Actor {
        if self.kind == "event" {
            Actor::Stripe
        } else {
            Actor::System
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The system, on its own schedule.
    System,
    /// Stripe, through an event or an object we fetched.
    Stripe,
    /// A person at the command line.
    Operator(String),
    /// A user of the firm, in whose name a command acts.
    User(String),
}

impl Actor {
    /// Who, by name, where it is a person.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.columns().1
    }

    /// Its name, for columns that have no room for more.
    #[must_use]
    pub fn name(&self) -> &str {
        let (kind, name) = self.columns();
        name.unwrap_or(kind)
    }

    fn columns(&self) -> (&'static str, Option<&str>) {
        match self {
            Actor::System => ("system", None),
            Actor::Stripe => ("stripe", None),
            Actor::Operator(name) => ("operator", Some(name)),
            Actor::User(name) => ("user", Some(name)),
        }
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Info,
    /// Someone may want to look.
    Warning,
    /// Someone must look.
    Critical,
}

impl Severity {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// One audit row.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// `payment.succeeded`, `invoice.issued` …: one of [`crate::domain::audit_action::ACTIONS`].
    pub action: &'a str,
    /// How much it matters.
    pub severity: Severity,
    /// Who.
    pub actor: Actor,
    /// What kind of thing `subject` is: `invoice`, `cycle`, `dispute` …
    pub subject_kind: &'a str,
    /// Which.
    pub subject: Uuid,
    /// Why.
    pub cause: &'a Cause,
    /// Ids, amounts, codes. Never names, texts or card data.
    pub meta: Value,
}

/// The reason on record where a person may give one and gave none.
pub const NO_REASON: &str = "none given";

/// Who does something, why and when (business time): what all rows of one command have in common.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// Why.
    pub cause: &'a Cause,
    /// When.
    pub at: DateTime<Utc>,
}

impl<'a> By<'a> {
    /// An audit row of the usual severity.
    #[must_use]
    pub fn entry(&self, action: &'a str, subject_kind: &'a str, subject: Uuid, meta: Value) -> Entry<'a> {
        Entry {
            action,
            severity: Severity::Info,
            actor: self.actor.clone(),
            subject_kind,
            subject,
            cause: self.cause,
            meta,
        }
    }
}

/// Appends one row.
///
/// # Errors
/// When the database is away.
pub async fn record(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    entry: &Entry<'_>,
) -> Result<()> {
    let (actor_kind, actor_id) = entry.actor.columns();
    sqlx::query!(
        "insert into audit_events (firm_id, at, category, action, severity, actor_kind, actor_id, subject_kind, subject_id, cause_kind,
                                   cause_id, meta)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        firm.0,
        now,
        category(entry.action).as_str(),
        entry.action,
        entry.severity.as_str(),
        actor_kind,
        actor_id,
        entry.subject_kind,
        entry.subject,
        entry.cause.kind,
        entry.cause.id,
        entry.meta,
    )
    .execute(conn)
    .await?;
    counts::audited(entry.action, 1);
    trace::effect(entry.action, entry.subject_kind, entry.subject);
    Ok(())
}

/// Appends one row to each firm's log, about that firm: what is changed for everybody. In the transaction of the change, so that
/// no firm is left out.
///
/// # Errors
/// When the database is away.
pub async fn record_for_every_firm(
    conn: &mut PgConnection,
    by: &By<'_>,
    action: &str,
    meta: &Value,
) -> Result<()> {
    let (actor_kind, actor_id) = by.actor.columns();
    sqlx::query_scalar!(
        r#"select app.audit_every_firm($1, $2, $3, $4, $5, $6, $7, $8, $9) as "told!""#,
        by.at,
        category(action).as_str(),
        action,
        Severity::Info.as_str(),
        actor_kind,
        actor_id,
        by.cause.kind,
        by.cause.id,
        meta,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Appends one row for each of several subjects of one kind, in one statement.
///
/// # Errors
/// When the database is away.
pub async fn record_all(
    conn: &mut PgConnection,
    firm: FirmId,
    by: &By<'_>,
    (action, subject_kind): (&str, &str),
    subjects: &[Uuid],
    metas: &[Value],
) -> Result<()> {
    let (actor_kind, actor_id) = by.actor.columns();
    sqlx::query!(
        "insert into audit_events (firm_id, at, category, action, actor_kind, actor_id, subject_kind, subject_id, cause_kind, cause_id, meta)
         select $1, $2, $3, $4, $5, $6, $7, a.subject, $8, $9, a.meta
         from unnest($10::uuid[], $11::jsonb[]) with ordinality as a(subject, meta, nth) order by a.nth",
        firm.0,
        by.at,
        category(action).as_str(),
        action,
        actor_kind,
        actor_id,
        subject_kind,
        by.cause.kind,
        by.cause.id,
        subjects,
        metas,
    )
    .execute(conn)
    .await?;
    counts::audited(action, subjects.len());
    for subject in subjects {
        trace::effect(action, subject_kind, *subject);
    }
    Ok(())
}

/// Whether this very thing is in the log already.
///
/// # Errors
/// When the database is away.
pub async fn is_recorded(
    conn: &mut PgConnection,
    firm: FirmId,
    subject: Uuid,
    action: &str,
    meta: &Value,
    since: Option<DateTime<Utc>>,
) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from audit_events
             where firm_id = $1 and subject_id = $2 and action = $3 and meta = $4 and at >= coalesce($5, at)) as "recorded!""#,
        firm.0,
        subject,
        action,
        meta,
        since
    )
    .fetch_one(conn)
    .await?)
}
