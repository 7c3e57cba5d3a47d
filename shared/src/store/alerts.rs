//! Alerts: raised in the transaction of their cause, counted up while they are open, resolved by what settles them or by a
//! person.
//!
//! Most are resolved by triggers of migrations 0014 and 0019: a success, the end of a collection, a balance of nothing, a
//! decision about a lost dispute, the end of a pause. Callers resolve only what those cannot know. That a job was discarded is
//! raised by a trigger too, as many places discard one.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{Cause, Severity},
    error::Result,
};
use crate::{
    domain::alert::{AlertType, NAMED, Topic},
    ids::{AlertId, FirmId, InvoiceId},
};

/// An alert to be raised.
#[derive(Clone, Debug)]
pub struct NewAlert<'a> {
    /// Its type.
    pub kind: AlertType,
    /// How much it matters. An open alert only gets worse; seen by then, it counts as unread again.
    pub severity: Severity,
    /// What is wrong: the same topic again is the same alert.
    pub topic: Topic<'a>,
    /// A few words.
    pub title: &'a str,
    /// What happened and what comes next. Codes, amounts and times; no names of people.
    pub message: &'a str,
    /// The invoice that it is about, if any.
    pub invoice: Option<InvoiceId>,
    /// Ids, amounts, codes, times.
    pub related: Value,
    /// Why.
    pub cause: &'a Cause,
}

/// Raises an alert, or counts up the open one of the same topic. Without a firm it is the installation's own. Returns its id.
///
/// # Errors
/// When the database is away.
pub async fn raise(
    conn: &mut PgConnection,
    firm: impl Into<Option<FirmId>>,
    now: DateTime<Utc>,
    new: &NewAlert<'_>,
) -> Result<AlertId> {
    let id = sqlx::query_scalar!(
        r#"insert into alerts (id, firm_id, alert_type, severity, dedupe_key, title, message, invoice_id, related_data,
                               cause_kind, cause_id, created_at, last_seen_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
           on conflict (firm_id, dedupe_key) where not is_resolved do update set
             occurrences = alerts.occurrences + 1, last_seen_at = excluded.last_seen_at,
             title = excluded.title, message = excluded.message, related_data = excluded.related_data,
             cause_kind = excluded.cause_kind, cause_id = excluded.cause_id,
             severity = app.worse(alerts.severity, excluded.severity),
             is_read = alerts.is_read and app.worse(alerts.severity, excluded.severity) = alerts.severity,
             read_at = case when app.worse(alerts.severity, excluded.severity) = alerts.severity then alerts.read_at end,
             read_by = case when app.worse(alerts.severity, excluded.severity) = alerts.severity then alerts.read_by end
           returning id as "id!""#,
        AlertId::new().0,
        firm.into().map(|f| f.0),
        new.kind.as_str(),
        new.severity.as_str(),
        new.topic.key(),
        new.title,
        new.message,
        new.invoice.map(|i| i.0),
        new.related,
        new.cause.kind,
        new.cause.id,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(AlertId(id))
}

/// Resolves the open alerts of these topics, if there are any. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn resolve(
    conn: &mut PgConnection,
    firm: impl Into<Option<FirmId>>,
    now: DateTime<Utc>,
    topics: &[Topic<'_>],
    by: &str,
) -> Result<u64> {
    let keys: Vec<String> = topics.iter().map(Topic::key).collect();
    let done = sqlx::query!(
        "update alerts set is_resolved = true, resolved_at = $3, resolved_by = $4
          where firm_id is not distinct from $1 and not is_resolved and dedupe_key = any($2)",
        firm.into().map(|f| f.0),
        &keys,
        now,
        by,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Resolves the open alerts of a firm that are about earlier days: topics with this beginning, but for one.
///
/// # Errors
/// When the database is away.
pub async fn resolve_others(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    (beginning, but_for): (&str, &Topic<'_>),
) -> Result<u64> {
    let done = sqlx::query!(
        "update alerts set is_resolved = true, resolved_at = $4, resolved_by = 'system'
          where firm_id = $1 and not is_resolved and starts_with(dedupe_key, $2) and dedupe_key <> $3",
        firm.0,
        beginning,
        but_for.key(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Resolves the open alerts of a firm whose topics have this beginning.
///
/// # Errors
/// When the database is away.
pub async fn resolve_all(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    beginning: &str,
) -> Result<u64> {
    resolve_others(conn, firm, now, (beginning, &Topic::Named(""))).await
}

/// Whether an alert of this topic was ever raised, however it ended.
///
/// # Errors
/// When the database is away.
pub async fn was_raised(conn: &mut PgConnection, firm: FirmId, topic: &Topic<'_>) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from alerts where firm_id = $1 and dedupe_key = $2) as "raised!""#,
        firm.0,
        topic.key()
    )
    .fetch_one(conn)
    .await?)
}

/// Whether an alert of this topic is open.
///
/// # Errors
/// When the database is away.
pub async fn is_open(conn: &mut PgConnection, firm: FirmId, topic: &Topic<'_>) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from alerts where firm_id = $1 and dedupe_key = $2 and not is_resolved) as "open!""#,
        firm.0,
        topic.key()
    )
    .fetch_one(conn)
    .await?)
}

/// An alert as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertRow {
    /// Its id.
    pub id: Uuid,
    /// The firm, by its `external_id` where it has one; none for the installation's own.
    pub firm: Option<String>,
    /// Its type.
    pub alert_type: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// A few words.
    pub title: String,
    /// What happened and what comes next.
    pub message: String,
    /// The number of the invoice that it is about.
    pub invoice: Option<String>,
    /// Ids, amounts, codes, times.
    pub related_data: Value,
    /// Names what is wrong, as whoever raised it does.
    pub dedupe_key: String,
    /// How often it was seen.
    pub occurrences: i32,
    /// Whether anybody has read it.
    pub is_read: bool,
    /// When.
    pub read_at: Option<DateTime<Utc>>,
    /// Whether it is over.
    pub is_resolved: bool,
    /// Since when.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Who resolved it; `system` where that which settles it did.
    pub resolved_by: Option<String>,
    /// When it was raised.
    pub created_at: DateTime<Utc>,
    /// When it was seen last.
    pub last_seen_at: DateTime<Utc>,
}

/// Which alerts to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Resolved ones too.
    pub resolved_too: bool,
    /// Only those that nobody has read.
    pub unread_only: bool,
    /// Of this type only.
    pub kind: Option<&'a str>,
    /// This one only.
    pub id: Option<AlertId>,
    /// Those listed after this one.
    pub after: Option<AlertId>,
}

/// Alerts of one firm (or the installation's own), the newest first, `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    filter: &Filter<'_>,
    most: i64,
) -> Result<Vec<AlertRow>> {
    Ok(sqlx::query_as!(
        AlertRow,
        r#"select a.id, coalesce(f.external_id, f.id::text) as firm, a.alert_type, a.severity, a.title, a.message,
                  coalesce(i.number, i.id::text) as invoice, a.related_data,
                  regexp_replace(a.dedupe_key, '^' || $8, '') as "dedupe_key!", a.occurrences,
                  a.is_read, a.read_at, a.is_resolved, a.resolved_at, a.resolved_by, a.created_at, a.last_seen_at
           from alerts a
           left join firms f on f.id = a.firm_id
           left join invoices i on i.firm_id = a.firm_id and i.id = a.invoice_id
           where a.firm_id is not distinct from $1 and ($2 or not a.is_resolved) and (not $3 or not a.is_read)
             and ($4::text is null or a.alert_type = $4) and ($5::uuid is null or a.id = $5)
             and ($6::uuid is null
                  or (a.created_at, a.id) < (select created_at, id from alerts where firm_id is not distinct from $1 and id = $6))
           order by a.created_at desc, a.id desc limit $7"#,
        firm.map(|f| f.0),
        filter.resolved_too,
        filter.unread_only,
        filter.kind,
        filter.id.map(|a| a.0),
        filter.after.map(|a| a.0),
        most,
        NAMED
    )
    .fetch_all(conn)
    .await?)
}

/// Marks an alert as read. `false` when it was already.
///
/// # Errors
/// When the database is away.
pub async fn mark_read(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    id: AlertId,
    now: DateTime<Utc>,
    by: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "update alerts set is_read = true, read_at = $3, read_by = $4
          where firm_id is not distinct from $1 and id = $2 and not is_read",
        firm.map(|f| f.0),
        id.0,
        now,
        by
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks all open alerts as read. Returns those that nobody had read.
///
/// # Errors
/// When the database is away.
pub async fn mark_all_read(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    now: DateTime<Utc>,
    by: &str,
) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "update alerts set is_read = true, read_at = $2, read_by = $3
          where firm_id is not distinct from $1 and not is_read and not is_resolved returning id",
        firm.map(|f| f.0),
        now,
        by
    )
    .fetch_all(conn)
    .await?)
}

/// Marks an alert as over, on a person's word. `false` when it was already.
///
/// # Errors
/// When the database is away.
pub async fn mark_resolved(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    id: AlertId,
    now: DateTime<Utc>,
    by: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "update alerts set is_resolved = true, resolved_at = $3, resolved_by = $4
          where firm_id is not distinct from $1 and id = $2 and not is_resolved",
        firm.map(|f| f.0),
        id.0,
        now,
        by
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The firm of an alert; `None` when there is no such alert, `Some(None)` when it is the installation's own.
///
/// # Errors
/// When the database is away.
pub async fn firm_of(conn: &mut PgConnection, id: AlertId) -> Result<Option<Option<FirmId>>> {
    let firm = sqlx::query_scalar!(
        "select firm_id from app.resolve_fact($1) where kind = 'alert'",
        id.to_string()
    )
    .fetch_optional(conn)
    .await?;
    Ok(firm.map(|firm| firm.map(FirmId)))
}
