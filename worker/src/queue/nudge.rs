//! Listens for the nudge that follows a commit and passes it to the lanes, to the relays of the queues in which something
//! waits, and to the scheduler where it says that the clock was moved. The end of a job of this process is a nudge for
//! the relays too. Best effort: their timer finds the rest.
//!
//! Who only listens never learns that its connection was cut without a word. So a quiet one is asked whether it is still there.

use std::{sync::Arc, time::Duration};

use shared::store::{
    self,
    jobs::{CLOCK_MOVED, NUDGE_CHANNEL, Queue},
    silence::{ANSWER, answered},
};
use sqlx::{
    Acquire as _, Connection as _, PgPool,
    postgres::{PgListener, PgNotification, PgPoolOptions},
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{bell::Bell, due};

/// Pause before listening again after the connection broke.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection without a nudge for so long is asked.
const QUIET: Duration = Duration::from_secs(10);

/// Between two looks at what the jobs of this process have enqueued: many that end together are one.
const BETWEEN: Duration = Duration::from_millis(20);

/// Who is told, and by whom.
#[derive(Debug)]
pub struct Listeners {
    /// The relays.
    pub relays: Vec<(Queue, watch::Sender<()>)>,
    /// The lanes.
    pub lanes: Vec<Arc<Bell>>,
    /// The scheduler.
    pub scheduler: Arc<Notify>,
    /// Notified when a job of this process has ended, which may have enqueued others.
    pub job_ended: Arc<Notify>,
}

impl Listeners {
    /// Wakes the relays of the queues in which something waits: a round of a relay asks Redis and writes, and one question tells
    /// which of them need one.
    async fn wake_relays(&self, pool: &PgPool) {
        let waiting = answered(ANSWER, due::waiting(pool)).await;
        for (queue, relay) in &self.relays {
            if waiting.as_ref().map_or(true, |waiting| waiting.contains(queue)) {
                relay.send_replace(());
            }
        }
    }
}

/// Listens until `stop`.
pub async fn listen(pool: PgPool, listeners: Listeners, stop: CancellationToken) {
    let forever = async {
        loop {
            if let Err(error) = pass_on(&pool, &listeners).await {
                tracing::debug!("no nudges for now: {error}");
            }
            sleep(PAUSE).await;
        }
    };
    // A job enqueues others without a nudge, because commits that notify wait for one another: its end is one.
    let after_jobs = async {
        loop {
            listeners.job_ended.notified().await;
            listeners.wake_relays(&pool).await;
            sleep(BETWEEN).await;
        }
    };
    tokio::select! {
        () = forever => {}
        () = after_jobs => {}
        () = stop.cancelled() => {}
    }
}

async fn pass_on(pool: &PgPool, to: &Listeners) -> store::Result<()> {
    // A pool of its own: a listener that is dropped waits for its connection's answer, and that of a dead one never comes.
    let own = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER)
        .connect_lazy_with(pool.connect_options().as_ref().clone());
    let mut listener = PgListener::connect_with(&own).await?;
    answered(ANSWER, listener.listen(NUDGE_CHANNEL)).await?;
    let clock_moved =
        |nudge: Option<&PgNotification>| nudge.is_none_or(|nudge| nudge.payload() == CLOCK_MOVED);
    // `None`: the connection was lost and is made anew; something may have been missed meanwhile, which is a nudge too.
    loop {
        let Ok(nudge) = timeout(QUIET, listener.try_recv()).await else {
            answered(ANSWER, async { listener.acquire().await?.ping().await }).await?;
            continue;
        };
        let nudge = nudge?;
        let mut moved = clock_moved(nudge.as_ref());
        // Those that came meanwhile are answered together.
        while let Some(further) = listener.next_buffered() {
            moved |= clock_moved(Some(&further));
        }
        if moved {
            to.scheduler.notify_one();
        }
        for bell in &to.lanes {
            bell.ring();
        }
        to.wake_relays(pool).await;
    }
}
