//! Compares our books with Stripe's and with themselves, for all firms.
//! Trigger: schedule `reconcile`, daily.   Effect: rows in `recon_runs` and `recon_findings`, audit, alerts. Reads Stripe only.
//! Idempotent: a finding has one open row; a run that comes again finds the same.
//! Gives up: after 5 attempts; the next day's run compares the same and more.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use shared::{
    actions::runs,
    store::{
        audit::{Actor, By, Cause},
        jobs::Queue,
        reconcile as rows,
    },
};
use uuid::Uuid;

use crate::{
    commands::firms::every_firm,
    context::Context,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, minutes},
    reconcile::{self, Open, Window, tell},
};

/// The job's kind.
pub const KIND: &str = runs::RECONCILE;

/// What differs at first may have been on its way: it is told if it still differs this much later.
const SECOND_LOOK: TimeDelta = TimeDelta::minutes(10);

/// See the head of this file.
pub struct Reconcile;

impl ExternalJob for Reconcile {
    const KIND: &'static str = KIND;
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(5), minutes(5), hours(1));
    const TIME_LIMIT: Duration = hours(6);
    // It compares the books in one statement, which is given half an hour (`store::reconcile::findings`).
    const SILENCE: Duration = minutes(31);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let now = cx.db.now().await?;
        let firms = every_firm(&cx.db).await?;
        let mut open = Open::new();
        for firm in &firms {
            let mut tx = cx.db.snapshot(*firm).await?;
            open.insert(*firm, rows::times_of_open(&mut tx, *firm).await?);
            tx.rollback().await?;
        }
        let window = Window::back_to(&open, now);
        let survey = reconcile::survey(&cx.db, &cx.stripe, &firms, window, &open).await?;
        let told_from = claim.job.created_at + SECOND_LOOK;
        if survey.count() > 0 && now < told_from {
            return Ok(Outcome::Snooze {
                until: told_from,
                reason: format!(
                    "{} difference(s), which may be on their way: looks again",
                    survey.count()
                ),
            });
        }
        let cause = Cause::job(claim.job.id);
        let (mut findings, mut new) = (0, 0);
        for (firm, found) in &survey.firms {
            let mut tx = cx.db.firm(*firm).await?;
            claim.guard(&mut tx).await?;
            let by = By {
                actor: &Actor::System,
                cause: &cause,
                at: tx.now(),
            };
            let run = rows::NewRun {
                id: Uuid::now_v7(),
                since: window.since,
                until: window.until,
                objects: i64::try_from(found.objects).unwrap_or(i64::MAX),
                cause: cause.to_string(),
                at: by.at,
            };
            let added = rows::keep(&mut tx, *firm, &run, &found.findings, !found.truncated).await?;
            tell::of_drift(&mut tx, *firm, &found.findings, &added, &by).await?;
            tx.commit().await?;
            findings += found.findings.len();
            new += added.len();
        }
        let mut tx = cx.db.plain().await?;
        claim.guard(&mut tx).await?;
        let by = By {
            actor: &Actor::System,
            cause: &cause,
            at: tx.now(),
        };
        let of_account = i64::try_from(survey.account.len()).unwrap_or(i64::MAX);
        tell::alert_of(&mut tx, None, of_account, &by).await?;
        tx.commit().await?;
        Ok(Outcome::Done(json!({
            "firms": survey.firms.len(), "findings": findings, "new": new, "account": survey.account, "since": window.since,
        })))
    }
}
