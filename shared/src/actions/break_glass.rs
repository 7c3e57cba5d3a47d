//! Break-glass: a person of the platform looks into one firm, for a reason and a time, on the record.

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Fault, Result};
use crate::{
    ids::FirmId,
    store::{
        Tx,
        audit::{self, By},
        break_glass::{self, EXPIRE, NewSession, SUBJECT, Session},
        jobs::{self, NewJob, Queue},
    },
};

/// The schema allows no more.
pub const LONGEST: TimeDelta = TimeDelta::hours(24);

/// Opens a session for an operator. Who opens it is who acts.
///
/// # Errors
/// When it would be too long, or the database is away.
pub async fn open(
    tx: &mut Tx,
    firm: FirmId,
    (operator, opened_by, reason): (&str, &str, &str),
    expires_in: TimeDelta,
    by: &By<'_>,
) -> Result<Session> {
    if expires_in > LONGEST {
        return Err(Fault::refused(
            "too_long",
            "a break-glass session lasts a day at most: open another one tomorrow, if it is still needed",
        ));
    }
    let new = NewSession {
        id: Uuid::now_v7(),
        operator,
        reason,
        opened_by,
        opened_at: by.at,
        expires_at: by.at + expires_in,
    };
    break_glass::open(tx, firm, &new).await?;
    let meta = json!({"operator": operator, "expires_at": new.expires_at});
    record(tx, firm, "break_glass.activated", new.id, meta, by).await?;
    let expiry = NewJob::new(
        Queue::Maintenance,
        EXPIRE,
        new.id.to_string(),
        json!({"session_id": new.id}),
        new.expires_at,
    )
    .firm(firm);
    jobs::enqueue(tx, &expiry).await?;
    locked(tx, firm, new.id).await
}

/// Ends a session before its time.
///
/// # Errors
/// When there is none, it is over, or the database is away.
pub async fn revoke(
    tx: &mut Tx,
    firm: FirmId,
    id: Uuid,
    (who, reason): (&str, &str),
    by: &By<'_>,
) -> Result<Session> {
    let session = locked(tx, firm, id).await?;
    if session.state != "open" {
        return Err(Fault::refused(
            "session_over",
            format!(
                "the session is {} already: there is nothing to revoke",
                session.state
            ),
        ));
    }
    break_glass::revoke(tx, firm, id, (who, reason), by.at).await?;
    let meta = json!({"operator": session.operator, "accesses": session.accesses});
    record(tx, firm, "break_glass.revoked", id, meta, by).await?;
    locked(tx, firm, id).await
}

/// Records that somebody else looked at what was done in a session.
///
/// # Errors
/// When there is none, it is open, reviewed already or the reviewer's own, or the database is away.
pub async fn review(
    tx: &mut Tx,
    firm: FirmId,
    id: Uuid,
    (reviewer, note): (&str, &str),
    by: &By<'_>,
) -> Result<Session> {
    let session = locked(tx, firm, id).await?;
    if session.state == "open" {
        return Err(Fault::refused(
            "session_open",
            "the session is open: it is reviewed when it is over",
        ));
    }
    if let Some(earlier) = &session.reviewed_by {
        return Err(Fault::refused(
            "reviewed",
            format!("{earlier} has reviewed this session already"),
        ));
    }
    if [session.operator.as_str(), session.opened_by.as_str()].contains(&reviewer) {
        return Err(Fault::refused(
            "own_session",
            "a session is reviewed by somebody else than who opened or used it",
        ));
    }
    break_glass::review(tx, firm, id, (reviewer, note), by.at).await?;
    let meta = json!({"operator": session.operator, "reviewed_by": reviewer});
    record(tx, firm, "break_glass.reviewed", id, meta, by).await?;
    locked(tx, firm, id).await
}

async fn locked(tx: &mut Tx, firm: FirmId, id: Uuid) -> Result<Session> {
    let session = break_glass::lock(tx, firm, id).await?;
    session.ok_or_else(|| Fault::NotFound(format!("there is no break-glass session {id}")))
}

async fn record(tx: &mut Tx, firm: FirmId, action: &str, id: Uuid, meta: Value, by: &By<'_>) -> Result<()> {
    let entry = by.entry(action, SUBJECT, id, meta);
    Ok(audit::record(tx, firm, by.at, &entry).await?)
}
