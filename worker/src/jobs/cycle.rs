//! What the jobs about one collection cycle share: their payload, and how each of their transactions begins.

use chrono::{DateTime, Utc};
use shared::{
    ids::{CycleId, FirmId},
    store::{
        Tx,
        audit::Cause,
        cycles::{self, Cycle},
    },
};

use super::firm_of;
use crate::{
    collection::At,
    context::Context,
    queue::{Claim, JobError},
};

/// The payload.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub struct CycleArgs {
    /// Which.
    pub cycle_id: CycleId,
    /// The time an operator asked about, instead of now.
    #[serde(default)]
    pub as_of: Option<DateTime<Utc>>,
    /// The cycle's version that the operator's question was about. A job that comes back finds a later one, and asks
    /// about now: an early charge is ordered once.
    #[serde(default)]
    pub version: Option<i32>,
}

impl CycleArgs {
    /// The time that decides what is due.
    pub fn due_at(&self, version: i32, now: DateTime<Utc>) -> DateTime<Utc> {
        self.as_of
            .filter(|_| self.version == Some(version))
            .unwrap_or(now)
    }
}

/// One run of such a job.
pub struct CycleRun<'a> {
    /// What handlers may use.
    pub cx: &'a Context,
    /// The claim under which it runs.
    pub claim: &'a Claim,
    /// Whose cycle.
    pub firm: FirmId,
    /// The payload.
    pub args: CycleArgs,
    /// The job, as the reason of what it changes.
    pub cause: Cause,
}

impl<'a> CycleRun<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn of(cx: &'a Context, claim: &'a Claim) -> Result<Self, JobError> {
        Ok(Self {
            cx,
            claim,
            firm: firm_of(&claim.job)?,
            args: claim.job.args()?,
            cause: Cause::job(claim.job.id),
        })
    }

    /// Begins a transaction: the claim still holds, and the cycle is locked.
    ///
    /// # Errors
    /// When the claim is lost, there is no such cycle, or the database is away.
    pub async fn begin(&self) -> Result<(Tx, Cycle), JobError> {
        let mut tx = self.cx.db.firm(self.firm).await?;
        self.claim.guard(&mut tx).await?;
        let cycle = cycles::lock(&mut tx, self.firm, self.args.cycle_id).await?;
        let cycle = cycle.ok_or_else(|| JobError::fail("no such collection cycle"))?;
        Ok((tx, cycle))
    }

    /// Whose rows a transaction changes, when, and why.
    pub fn at(&self, tx: &Tx) -> At<'_> {
        At {
            firm: self.firm,
            now: tx.now(),
            cause: &self.cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_charge_is_ordered_for_one_version_of_the_cycle() {
        let now: DateTime<Utc> = "2026-03-01T03:00:00Z".parse().unwrap();
        let asked = now + chrono::Duration::days(3);
        let args = CycleArgs {
            cycle_id: CycleId::new(),
            as_of: Some(asked),
            version: Some(4),
        };
        assert_eq!(args.due_at(4, now), asked);
        assert_eq!(args.due_at(5, now), now, "an attempt was made since");
        let old = CycleArgs {
            version: None,
            ..args
        };
        assert_eq!(old.due_at(4, now), now);
    }
}
