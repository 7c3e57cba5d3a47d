//! Break-glass sessions: a person's permission to look into one firm, for a reason and a time (A-22).
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{Result, one_row};
use crate::ids::FirmId;

/// Kind of the job that notices the end of a session.
pub const EXPIRE: &str = "expire_break_glass";

/// What an audit entry about a session calls it.
pub const SUBJECT: &str = "break_glass_session";

/// A session as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// Who may look.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// Who opened it.
    pub opened_by: String,
    /// When.
    pub opened_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// `open`, `expired` or `revoked`.
    pub state: String,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// Why.
    pub revoke_reason: Option<String>,
    /// When its end was noticed.
    pub expired_at: Option<DateTime<Utc>>,
    /// When somebody looked at what was done in it.
    pub reviewed_at: Option<DateTime<Utc>>,
    /// Who.
    pub reviewed_by: Option<String>,
    /// What they say.
    pub review_note: Option<String>,
    /// How often it was used, by the audit log.
    pub accesses: i64,
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// Its id.
    pub id: Uuid,
    /// Who may look.
    pub operator: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Who opens it.
    pub opened_by: &'a str,
    /// When.
    pub opened_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// Opens a session.
///
/// # Errors
/// When the database is away, or the session is longer than a day.
pub async fn open(conn: &mut PgConnection, firm: FirmId, new: &NewSession<'_>) -> Result<()> {
    sqlx::query!(
        "insert into break_glass_sessions (firm_id, id, operator, reason, opened_by, opened_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        firm.0,
        new.id,
        new.operator,
        new.reason,
        new.opened_by,
        new.opened_at,
        new.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The firm that a session belongs to, over all firms.
///
/// # Errors
/// When the database is away.
pub async fn firm_of(conn: &mut PgConnection, session: Uuid) -> Result<Option<FirmId>> {
    let firm = sqlx::query_scalar!("select app.break_glass_firm($1)", session)
        .fetch_one(conn)
        .await?;
    Ok(firm.map(FirmId))
}

/// A session that is open now, of any firm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Whose rows may be seen.
    pub firm: FirmId,
    /// Its id.
    pub id: Uuid,
    /// By whom.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// Every session that is open now.
///
/// # Errors
/// When the database is away.
pub async fn all_open(conn: &mut PgConnection) -> Result<Vec<Open>> {
    let rows = sqlx::query!(
        r#"select firm_id as "firm!", session_id as "id!", operator as "operator!", reason as "reason!", expires_at as "expires_at!"
             from app.open_break_glass()"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Open {
            firm: FirmId(row.firm),
            id: row.id,
            operator: row.operator,
            reason: row.reason,
            expires_at: row.expires_at,
        })
        .collect())
}

/// Which sessions of a firm to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// This one only.
    pub id: Option<Uuid>,
    /// Those that nobody has reviewed, and that are over.
    pub unreviewed: bool,
}

/// The sessions of a firm, the newest first. They are few: a person opens each.
///
/// # Errors
/// When the database is away.
pub async fn list(conn: &mut PgConnection, firm: FirmId, filter: Filter, most: i64) -> Result<Vec<Session>> {
    Ok(sqlx::query_as!(
        Session,
        r#"select s.id, coalesce(f.external_id, f.id::text) as "firm!", s.operator, s.reason, s.opened_by, s.opened_at, s.expires_at,
                  case when s.revoked_at is not null then 'revoked' when s.expires_at <= app.now() then 'expired' else 'open' end as "state!",
                  s.revoked_at, s.revoked_by, s.revoke_reason, s.expired_at, s.reviewed_at, s.reviewed_by, s.review_note,
                  (select count(*) from audit_events a
                    where a.firm_id = s.firm_id and a.subject_id = s.id and a.action = 'break_glass.accessed') as "accesses!"
             from break_glass_sessions s join firms f on f.id = s.firm_id
            where s.firm_id = $1 and ($2::uuid is null or s.id = $2)
              and (not $3 or (s.reviewed_at is null and (s.revoked_at is not null or s.expires_at <= app.now())))
            order by s.opened_at desc, s.id desc limit $4"#,
        firm.0,
        filter.id,
        filter.unreviewed,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// Locks a session and shows it.
///
/// # Errors
/// When the database is away.
pub async fn lock(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<Session>> {
    sqlx::query!(
        "select id from break_glass_sessions where firm_id = $1 and id = $2 for update",
        firm.0,
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let filter = Filter {
        id: Some(id),
        unreviewed: false,
    };
    Ok(list(conn, firm, filter, 1).await?.pop())
}

/// Ends an open session before its time.
///
/// # Errors
/// When the database is away, or the session is over.
pub async fn revoke(
    conn: &mut PgConnection,
    firm: FirmId,
    id: Uuid,
    (by, reason): (&str, &str),
    now: DateTime<Utc>,
) -> Result<()> {
    let done = sqlx::query!(
        "update break_glass_sessions set revoked_at = $3, revoked_by = $4, revoke_reason = $5 where firm_id = $1 and id = $2",
        firm.0,
        id,
        now,
        by,
        reason
    )
    .execute(conn)
    .await?;
    one_row("revoke break-glass", done.rows_affected())
}

/// Notes that a session's time is over.
///
/// # Errors
/// When the database is away, or it is not.
pub async fn expire(conn: &mut PgConnection, firm: FirmId, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    let done = sqlx::query!(
        "update break_glass_sessions set expired_at = $3 where firm_id = $1 and id = $2",
        firm.0,
        id,
        now
    )
    .execute(conn)
    .await?;
    one_row("expire break-glass", done.rows_affected())
}

/// Records that somebody else looked at what was done in a session.
///
/// # Errors
/// When the database is away, the session is open, or it is the operator's own.
pub async fn review(
    conn: &mut PgConnection,
    firm: FirmId,
    id: Uuid,
    (by, note): (&str, &str),
    now: DateTime<Utc>,
) -> Result<()> {
    let done = sqlx::query!(
        "update break_glass_sessions set reviewed_at = $3, reviewed_by = $4, review_note = $5 where firm_id = $1 and id = $2",
        firm.0,
        id,
        now,
        by,
        note
    )
    .execute(conn)
    .await?;
    one_row("review break-glass", done.rows_affected())
}

/// The signed bytes of an event with their hash; `None` when they are not kept any more.
///
/// # Errors
/// When the database is away.
pub async fn event_body(conn: &mut PgConnection, event: &str) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let row = sqlx::query!(
        "select b.body, e.body_sha256 from stripe_event_bodies b join stripe_events e using (stripe_event_id) where b.stripe_event_id = $1",
        event
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.body, row.body_sha256)))
}
