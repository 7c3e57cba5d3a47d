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
    record_all(conn, firm, now, std::slice::from_ref(decision)).await
}

/// Records several decisions in one statement. No two of them may be the same.
///
/// # Errors
/// When the database is away.
pub async fn record_all(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    decisions: &[Decision<'_>],
) -> Result<()> {
    /// One column of text.
    fn text<'a, 'd: 'a>(
        decisions: &'a [Decision<'d>],
        f: impl Fn(&'a Decision<'d>) -> &'a str,
    ) -> Vec<String> {
        decisions.iter().map(|d| f(d).to_owned()).collect()
    }
    let subjects: Vec<Uuid> = decisions.iter().map(|d| d.subject).collect();
    let predicates: Vec<Value> = decisions.iter().map(|d| d.predicates.clone()).collect();
    let hashes: Vec<String> = decisions.iter().map(Decision::reason_hash).collect();
    sqlx::query!(
        "insert into decisions (firm_id, subject_kind, subject_id, kind, outcome, reason_code, predicates, reason_hash, first_at, last_at, cause_kind, cause_id)
         select $1, d.subject_kind, d.subject, d.kind, d.outcome, d.reason, d.predicates, d.hash, $2, $2, d.cause_kind, d.cause
         from unnest($3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[], $10::text[], $11::text[])
           as d(subject_kind, subject, kind, outcome, reason, predicates, hash, cause_kind, cause)
         on conflict (firm_id, subject_kind, subject_id, kind, reason_hash)
         do update set last_at = excluded.last_at, times = decisions.times + 1, predicates = excluded.predicates",
        firm.0,
        now,
        &text(decisions, |d| d.subject_kind),
        &subjects,
        &text(decisions, |d| d.kind),
        &text(decisions, |d| d.outcome),
        &text(decisions, |d| d.reason_code),
        &predicates,
        &hashes,
        &text(decisions, |d| d.cause.kind),
        &text(decisions, |d| &d.cause.id),
    )
    .execute(conn)
    .await?;
    Ok(())
}
