//! Waiting until nothing is left to do: no due job, no unprocessed event, no webhook on its way.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{Instant, sleep};

use super::{
    error::{Error, Result},
    schedules,
    sim::Sim,
};

/// How long a story may take to come to rest.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// Due jobs of the record, events not yet looked at, and schedule ticks whose jobs are not enqueued yet.
const OPEN_WORK: &str = "
    select 'job ' || kind || ' ' || state || ' attempt ' || attempt || coalesce(' after: ' || last_error, '')
      from jobs where state in ('available', 'running', 'retryable') and run_at <= app.now()
    union all
    select 'event ' || type || ' ' || stripe_event_id from stripe_events where state = 'pending'
    union all
    select 'schedule ' || schedule || ' due ' || due_at from schedule_occurrences where state = 'due'";

/// Between two looks: a tenth of what was waited so far, within these. A story that rests soon hardly waits for the look that
/// finds it so; one that works for long is not held up by being looked at.
const SHORTEST_PAUSE: Duration = Duration::from_millis(3);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Whether a story waits for the scheduler too; where no worker runs, it would wait in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schedules {
    /// Whatever they have come to.
    AsTheyAre,
    /// Until now.
    CaughtUp,
}

/// Polls until all is quiet, or says what is not.
pub(super) async fn settle(pool: &PgPool, sim: &Sim, schedules: Schedules, limit: Duration) -> Result<()> {
    let open_work = match schedules {
        Schedules::AsTheyAre => OPEN_WORK.to_owned(),
        Schedules::CaughtUp => format!("{OPEN_WORK} union all {}", schedules::ticks_left()),
    };
    let begun = Instant::now();
    let mut near = true;
    loop {
        // Webhooks before and after the look at the database: a job may cause a webhook, and a webhook a job. One that was on
        // its way before may have arrived just after that look. While jobs are due, the answer is known without asking.
        let before = match near {
            true => Some(sim.webhook_traffic().await?),
            false => None,
        };
        let work: Vec<String> = sqlx::query_scalar(AssertSqlSafe(open_work.as_str()))
            .fetch_all(pool)
            .await?;
        let mut webhooks = 0;
        if let Some(before) = &before {
            let after = sim.webhook_traffic().await?;
            webhooks = after.waiting;
            if work.is_empty() && before.waiting == 0 && webhooks == 0 && before.newest == after.newest {
                return Ok(());
            }
        }
        if begun.elapsed() >= limit {
            return Err(Error::Late(format!(
                "after {limit:?} there is still work left: {webhooks} webhooks and\n  {}",
                work.join("\n  ")
            )));
        }
        near = work.is_empty();
        if before.is_some() || !near {
            sleep((begun.elapsed() / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        }
    }
}
