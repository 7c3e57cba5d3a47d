//! Events, jobs and alerts, with what came of them.
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit;
use crate::{
    domain::explain::{AlertFacts, AuditFacts, DeliveryFacts, EventFacts, JobFacts},
    ids::{AlertId, FirmId, JobId},
    store::{
        delivery::deliveries::{self, Filter},
        error::Result,
    },
};

/// Destinations are few, and an alert gets worse twice at most.
const MOST_TOLD: i64 = 100;

/// A thing that an id may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    /// As in [`crate::store::resolve::Found`]; also `alert`, `cycle`, `attempt`, `journal`.
    pub kind: String,
    /// Whose; nobody's for an alert of the installation.
    pub firm: Option<FirmId>,
    /// Our id of it.
    pub id: Uuid,
}

/// Everything that an id may mean, over all firms.
///
/// # Errors
/// When the database is away.
pub async fn things(conn: &mut PgConnection, reference: &str) -> Result<Vec<Thing>> {
    let rows = sqlx::query!(
        r#"select kind as "kind!", firm_id, id as "id!" from app.resolve($1)
           union select kind, firm_id, id from app.resolve_fact($1)"#,
        reference
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Thing {
            kind: r.kind,
            firm: r.firm_id.map(FirmId),
            id: r.id,
        })
        .collect())
}

/// Reads an event of the inbox, without what came of it, and whose it is; `None` when it never came in.
///
/// # Errors
/// When the database is away.
pub async fn event(conn: &mut PgConnection, id: &str) -> Result<Option<(EventFacts, Option<FirmId>)>> {
    let row = sqlx::query!(
        "select type as kind, state, state_reason, object_id, received_at, applied_at, firm_id from stripe_events where stripe_event_id = $1",
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let job = sqlx::query_scalar!(
        "select id from jobs where kind = 'process_stripe_event' and dedupe_key = $1",
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let facts = EventFacts {
        id: id.to_owned(),
        kind: row.kind,
        state: row.state,
        reason: row.state_reason,
        object: row.object_id,
        received_at: row.received_at,
        applied_at: row.applied_at,
        job: match job {
            Some(job) => audit::job(conn, JobId(job)).await?,
            None => None,
        },
        effects: Vec::new(),
    };
    Ok(Some((facts, row.firm_id.map(FirmId))))
}

/// Reads a job and whose it is; `None` when there is none, or it has been pruned.
///
/// # Errors
/// When the database is away.
pub async fn job(conn: &mut PgConnection, id: JobId) -> Result<Option<(JobFacts, Option<FirmId>)>> {
    let Some(facts) = audit::job(conn, id).await? else {
        return Ok(None);
    };
    let firm = sqlx::query_scalar!("select firm_id from jobs where id = $1", id.0)
        .fetch_one(conn)
        .await?;
    Ok(Some((facts, firm.map(FirmId))))
}

/// What an event, a job or a command has changed of a firm's, the latest first.
///
/// # Errors
/// When the database is away.
pub async fn effects_of(conn: &mut PgConnection, firm: FirmId, cause: &str) -> Result<Vec<AuditFacts>> {
    audit::of_cause(conn, firm, cause).await
}

/// Reads an alert; `None` when there is none such.
///
/// # Errors
/// When the database is away.
pub async fn alert(conn: &mut PgConnection, firm: Option<FirmId>, id: AlertId) -> Result<Option<AlertFacts>> {
    let row = sqlx::query!(
        r#"select a.alert_type, a.severity, a.title, a.message, a.occurrences, a.created_at, a.last_seen_at, a.read_by, a.resolved_by,
                  a.resolved_at, a.cause_kind, a.cause_id, coalesce(i.number, i.external_id, i.id::text) as invoice
           from alerts a left join invoices i on i.firm_id = a.firm_id and i.id = a.invoice_id
           where a.firm_id is not distinct from $1 and a.id = $2"#,
        firm.map(|f| f.0),
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(r) = row else { return Ok(None) };
    let of_it = Filter {
        alert: Some(id),
        ..Filter::default()
    };
    let told = deliveries::list(conn, firm, &of_it, MOST_TOLD).await?;
    Ok(Some(AlertFacts {
        id: id.to_string(),
        kind: r.alert_type,
        severity: r.severity,
        title: r.title,
        message: r.message,
        occurrences: r.occurrences,
        seen: (r.created_at, r.last_seen_at),
        read_by: r.read_by,
        resolved: r.resolved_by.zip(r.resolved_at),
        cause: (r.cause_kind, r.cause_id),
        invoice: r.invoice,
        deliveries: told
            .into_iter()
            .map(|row| DeliveryFacts {
                id: row.id.to_string(),
                to: (row.kind, row.target),
                edge: row.edge,
                state: row.state,
                attempts: row.attempts,
                error: row.last_error,
                at: row.created_at,
            })
            .collect(),
    }))
}
