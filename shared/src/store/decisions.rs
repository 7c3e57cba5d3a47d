//! Decision records: what was considered and how it came out, including why *not*. The same answer again only counts up.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{audit::Cause, error::Result};
use crate::ids::FirmId;

/// One decision to be recorded.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// `invoice`, `engagement`, `cycle` …
    pub subject_kind: &'a str,
    /// Which.
    pub subject: Uuid,
    /// `generate_package`, `charge`, `retry`, `match_event` … (checked by the table).
    pub kind: &'a str,
    /// What was decided: `charge`, `skip`, `wait` …
    pub outcome: &'a str,
    /// Why, as a code that has a text.
    pub reason_code: &'a str,
    /// `[{"name","ok","value"}]`, in the order evaluated.
    pub predicates: Value,
    /// Event, job or command.
    pub cause: &'a Cause,
}

impl Decision<'_> {
    /// Identifies "the same answer for the same reason": outcome, reason and the names of the predicates that failed,
    /// but not their values, which may hold times.
    fn reason_hash(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.kind, self.outcome, self.reason_code] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        for predicate in self.predicates.as_array().into_iter().flatten() {
            if predicate["ok"] == Value::Bool(false) {
                hash.update(predicate["name"].as_str().unwrap_or_default().as_bytes());
                hash.update([0]);
            }
        }
        hex::encode(&hash.finalize()[..16])
    }
}

/// Records a decision, or counts it up when the same one stands already.
///
/// # Errors
/// When the database is away.
pub async fn record(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    decision: &Decision<'_>,
) -> Result<()> {
    sqlx::query!(
        "insert into decisions (firm_id, subject_kind, subject_id, kind, outcome, reason_code, predicates, reason_hash, first_at, last_at, cause_kind, cause_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11)
         on conflict (firm_id, subject_kind, subject_id, kind, reason_hash)
         do update set last_at = excluded.last_at, times = decisions.times + 1, predicates = excluded.predicates",
        firm.0,
        decision.subject_kind,
        decision.subject,
        decision.kind,
        decision.outcome,
        decision.reason_code,
        decision.predicates,
        decision.reason_hash(),
        now,
        decision.cause.kind,
        decision.cause.id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
