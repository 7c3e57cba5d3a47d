//! Waiting until nothing is left to do: no due job, no unprocessed event, no webhook on its way.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::{
    error::{Error, Result},
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

/// Polls until all is quiet, or says what is not.
pub(super) async fn settle(pool: &PgPool, sim: &Sim, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        // Webhooks before and after the look at the database: a job may cause a webhook, and a webhook a job. One that was on
        // its way before may have arrived just after that look.
        let before = sim.webhook_traffic().await?;
        let work: Vec<String> = sqlx::query_scalar(OPEN_WORK).fetch_all(pool).await?;
        let after = sim.webhook_traffic().await?;
        let quiet = before.waiting == 0 && after.waiting == 0 && before.newest == after.newest;
        if work.is_empty() && quiet {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Late(format!(
                "after {limit:?} there is still work left: {} webhooks and\n  {}",
                after.waiting,
                work.join("\n  ")
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
}
