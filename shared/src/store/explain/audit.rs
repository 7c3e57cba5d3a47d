//! The audit, decisions and jobs around something.
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::explain::{AuditFacts, DecisionFacts, JobFacts},
    ids::{FirmId, JobId},
    store::error::Result,
};

/// Entries that an answer looks at.
const MOST: i64 = 50;

/// What happened to these things, the latest first; of `client`, only what has to do with its automatic payment and its cards.
pub(super) async fn of_subjects(
    conn: &mut PgConnection,
    firm: FirmId,
    subjects: &[Uuid],
    client: Option<Uuid>,
) -> Result<Vec<AuditFacts>> {
    Ok(sqlx::query_as!(
        AuditFacts,
        r#"select id, at, action, coalesce(actor_id, actor_kind) as "actor!", subject_kind as subject, cause_kind, cause_id, meta
           from audit_events
           where firm_id = $1
             and (subject_id = any($2)
                  or subject_id = $3 and (action like 'autopay.%' or action like 'payment\_method.%' or action = 'config.changed'))
           order by id desc limit $4"#,
        firm.0,
        subjects,
        client,
        MOST
    )
    .fetch_all(conn)
    .await?)
}

/// What an event, a job or a command has changed, the latest first.
pub(super) async fn of_cause(conn: &mut PgConnection, firm: FirmId, cause: &str) -> Result<Vec<AuditFacts>> {
    Ok(sqlx::query_as!(
        AuditFacts,
        r#"select id, at, action, coalesce(actor_id, actor_kind) as "actor!", subject_kind as subject, cause_kind, cause_id, meta
           from audit_events where firm_id = $1 and cause_id = $2 order by id desc limit $3"#,
        firm.0,
        cause,
        MOST
    )
    .fetch_all(conn)
    .await?)
}

/// What a user did, by the name that the books have of it, and what was done to it, the latest first.
pub(super) async fn of_person(
    conn: &mut PgConnection,
    firm: FirmId,
    id: Uuid,
    label: &str,
) -> Result<Vec<AuditFacts>> {
    Ok(sqlx::query_as!(
        AuditFacts,
        r#"select id, at, action, coalesce(actor_id, actor_kind) as "actor!", subject_kind as subject, cause_kind, cause_id, meta
           from audit_events where firm_id = $1 and (subject_id = $2 or actor_id in ($2::text, $3)) order by id desc limit $4"#,
        firm.0,
        id,
        label,
        MOST
    )
    .fetch_all(conn)
    .await?)
}

/// What jobs decided about something, the latest first.
pub(super) async fn decisions(
    conn: &mut PgConnection,
    firm: FirmId,
    subject: Uuid,
) -> Result<Vec<DecisionFacts>> {
    Ok(sqlx::query_as!(
        DecisionFacts,
        "select id, kind, outcome, reason_code, first_at, last_at, times from decisions
          where firm_id = $1 and subject_id = $2 order by last_at desc, id desc limit $3",
        firm.0,
        subject,
        MOST
    )
    .fetch_all(conn)
    .await?)
}

/// A job; `None` when it has been pruned.
pub(super) async fn job(conn: &mut PgConnection, id: JobId) -> Result<Option<JobFacts>> {
    let row = sqlx::query!(
        r#"select j.id, j.kind, j.queue, j.state, j.attempt, j.max_attempts, j.last_error, j.run_at, j.finished_at, j.dedupe_key,
                  j.result, p.reason as "paused?"
           from jobs j left join queue_pauses p on p.queue = j.queue where j.id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| JobFacts {
        id: r.id.to_string(),
        kind: r.kind,
        queue: r.queue,
        state: r.state,
        tried: (r.attempt, r.max_attempts),
        last_error: r.last_error,
        run_at: r.run_at,
        finished_at: r.finished_at,
        key: r.dedupe_key,
        result: r.result,
        queue_paused: r.paused,
    }))
}
