//! The audit log as it is listed. The keys are a public contract.
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Result;
use crate::{domain::audit_action::Category, ids::FirmId};

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRow {
    /// Order of insertion.
    pub id: i64,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// When, business time.
    pub at: DateTime<Utc>,
    /// `billing`, `break_glass` …
    pub category: String,
    /// `payment.succeeded` …
    pub action: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `user`, `system`, `stripe` or `operator`.
    pub actor_kind: String,
    /// Who.
    pub actor_id: Option<String>,
    /// What kind of thing it happened to.
    pub subject_kind: String,
    /// Which.
    pub subject_id: Option<Uuid>,
    /// `event`, `job`, `command` …
    pub cause_kind: String,
    /// Which.
    pub cause_id: String,
    /// Ids, amounts and codes.
    pub meta: Value,
}

/// Which rows of a firm to list.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    /// Of this category.
    pub category: Category,
    /// Not older than this.
    pub since: DateTime<Utc>,
    /// About one of these things only.
    pub subjects: Option<&'a [Uuid]>,
    /// Those listed after this one.
    pub before: Option<(DateTime<Utc>, i64)>,
}

/// The newest rows of a firm, `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    filter: &Filter<'_>,
    most: i64,
) -> Result<Vec<AuditRow>> {
    let (before_at, before_id) = filter.before.unzip();
    Ok(sqlx::query_as!(
        AuditRow,
        r#"select a.id, coalesce(f.external_id, f.id::text) as "firm!", a.at, a.category, a.action, a.severity, a.actor_kind, a.actor_id,
                  a.subject_kind, a.subject_id, a.cause_kind, a.cause_id, a.meta
             from audit_events a join firms f on f.id = a.firm_id
            where a.firm_id = $1 and a.category = $2 and a.at >= $3 and ($4::uuid[] is null or a.subject_id = any($4))
              and ($5::timestamptz is null or (a.at, a.id) < ($5, $6::bigint))
            order by a.at desc, a.id desc limit $7"#,
        firm.0,
        filter.category.as_str(),
        filter.since,
        filter.subjects,
        before_at,
        before_id,
        most
    )
    .fetch_all(conn)
    .await?)
}
