//! Stopping automatic charging, and letting it go on.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::Result;
use crate::{
    domain::alert::Topic,
    store::{
        Tx, alerts,
        audit::By,
        brakes::{self, Scope},
        cycles,
        jobs::{self, NewJob, Queue},
    },
};

/// Cycles that are made due again at once; the sweep takes the rest.
const MOST: i32 = 100_000;

/// A charge that was being decided while the pause ended may have seen it still: it is found by another look this much later.
const LATE_LOOK: TimeDelta = TimeDelta::seconds(5);

/// Kind of the job that sweeps what is due.
const SWEEP: &str = "process_recurring_charges";

/// What letting it go on came to.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// Whether it was stopped.
    pub changed: bool,
    /// Charges that are due again.
    pub enqueued: usize,
    /// Of those, collections that a limit had stopped.
    pub released: Option<usize>,
}

/// Lets automatic charging go on; what fell due meanwhile is charged at once.
///
/// # Errors
/// When the database is away.
pub async fn resume(tx: &mut Tx, scope: Scope, reason: &str, by: &By<'_>) -> Result<Resumed> {
    let run = Uuid::now_v7();
    let changed = brakes::resume(tx, scope, reason, by).await?;
    let released = match scope {
        // A person has looked: what a limit stopped is decided anew, within the limits as they are now.
        Scope::Firm(firm) => {
            alerts::resolve(tx, firm, by.at, &[Topic::TooManyCharges], by.actor.name()).await?;
            Some(cycles::release_limited(tx, firm, by.at, by.cause).await?)
        }
        Scope::All | Scope::Client(..) => None,
    };
    let due = cycles::enqueue_due(tx, scope.firm(), by.at, &run.to_string(), MOST).await?;
    let mut sweep = NewJob::new(
        Queue::Maintenance,
        SWEEP,
        format!("resume:{run}"),
        json!({}),
        by.at + LATE_LOOK,
    );
    sweep.firm = scope.firm();
    jobs::enqueue(tx, &sweep).await?;
    Ok(Resumed {
        changed,
        enqueued: due.len(),
        released,
    })
}
