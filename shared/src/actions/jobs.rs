//! What a person does about jobs that failed, or are not wanted.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Fault, Result};
use crate::{
    domain::job_by_hand::{Refusal, Wish, may},
    ids::FirmId,
    store::{
        Tx,
        audit::By,
        jobs_by_hand::{self, Chosen, Filter},
    },
};

/// Jobs at a time: a wrong filter must not keep the workers busy for a day.
pub const MOST: i64 = 10_000;

/// A job that is left as it is.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Left {
    /// Which.
    pub id: Uuid,
    /// What it does.
    pub kind: String,
    /// Why, for scripts.
    pub code: String,
    /// Why, as the rest of a sentence.
    pub message: String,
}

/// What a wish comes to.
#[derive(Debug)]
pub struct Choice {
    /// Those that it is granted for.
    pub jobs: Vec<Chosen>,
    /// Those that run right now, or do not need it.
    pub left_alone: Vec<(Chosen, Refusal)>,
}

/// Which jobs a filter, or ids, mean, under lock, and which of them may have it.
///
/// # Errors
/// When an id is no job's, there are too many, or the database is away.
pub async fn choose(tx: &mut Tx, wish: Wish, filter: &Filter<'_>) -> Result<Choice> {
    let chosen = jobs_by_hand::choose(tx, filter, MOST + 1).await?;
    if i64::try_from(chosen.len()).unwrap_or(i64::MAX) > MOST {
        return Err(Fault::refused(
            "too_many_jobs",
            format!(
                "more than {MOST} jobs: narrow it down with --kind, --queue, --firm-id, --error, --since"
            ),
        ));
    }
    let unknown: Vec<String> = filter
        .ids
        .iter()
        .filter(|id| !chosen.iter().any(|job| job.id == **id))
        .map(ToString::to_string)
        .collect();
    if !unknown.is_empty() {
        return Err(Fault::NotFound(format!(
            "there is no job {} (any more)",
            unknown.join(", ")
        )));
    }
    let (mut jobs, mut left_alone) = (Vec::new(), Vec::new());
    for job in chosen {
        match may(wish, job.state, job.hands, job.run_at) {
            Ok(()) => jobs.push(job),
            Err(refusal) => left_alone.push((job, refusal)),
        }
    }
    Ok(Choice { jobs, left_alone })
}

/// Does it to all that were chosen, and puts it on record, the firms' own too.
///
/// # Errors
/// When one of them is not what it was, or the database is away.
pub async fn act(
    tx: &mut Tx,
    wish: Wish,
    jobs: &[Chosen],
    (reason, subject): (&str, &Value),
    by: &By<'_>,
) -> Result<()> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
    match wish {
        Wish::Retry => jobs_by_hand::retry(tx, &ids).await?,
        Wish::Cancel => jobs_by_hand::cancel(tx, &ids, reason, by).await?,
    }
    jobs_by_hand::record(tx, jobs_by_hand::action(wish), reason, subject, by).await?;
    crate::store::jobs::nudge(tx).await?;
    let mut firms: BTreeMap<Uuid, Vec<&Chosen>> = BTreeMap::new();
    for job in jobs {
        if let Some(firm) = job.firm_id {
            firms.entry(firm).or_default().push(job);
        }
    }
    for (firm, jobs) in firms {
        tx.set_firm(FirmId(firm)).await?;
        jobs_by_hand::record_for_firm(tx, FirmId(firm), wish, reason, &jobs, by).await?;
    }
    Ok(())
}
