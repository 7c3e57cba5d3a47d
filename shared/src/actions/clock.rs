//! Moving the business clock, on record: everything that is due follows it.

use chrono::SecondsFormat;
use serde_json::json;

use super::Result;
use crate::store::{
    Tx,
    audit::{By, NO_REASON},
    business_clock::{self, Reading},
    jobs, jobs_by_hand,
};

/// Sets how far the clock is ahead, which the caller has locked and decided. What falls due by that starts at once.
///
/// # Errors
/// When the database is away; a refusal (`QT001`) in live mode.
pub async fn set(
    tx: &mut Tx,
    was: &Reading,
    offset_ms: i64,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<Reading> {
    business_clock::set_offset(tx, offset_ms).await?;
    let is = business_clock::read(tx).await?;
    let shown = |clock: &Reading| clock.now.to_rfc3339_opts(SecondsFormat::Millis, true);
    let subject = json!({
        "was": shown(was), "is": shown(&is), "was_offset_ms": was.offset_ms, "offset_ms": is.offset_ms,
    });
    let reason = reason.unwrap_or(NO_REASON);
    jobs_by_hand::record(tx, "clock.moved", reason, &subject, by).await?;
    jobs::nudge_of_clock(tx).await?;
    Ok(is)
}
