//! Listens for the nudge that follows a commit and passes it to the relays and to the lanes, and to the scheduler where
//! it says that the clock was moved. Best effort: their timer finds the rest.

use std::{sync::Arc, time::Duration};

use shared::store::jobs::{CLOCK_MOVED, NUDGE_CHANNEL};
use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::bell::Bell;

/// Pause before listening again after the connection broke.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is told.
#[derive(Debug)]
pub struct Listeners {
    /// The relays.
    pub relays: watch::Sender<()>,
    /// The lanes.
    pub lanes: Vec<Arc<Bell>>,
    /// The scheduler.
    pub scheduler: Arc<Notify>,
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
    tokio::select! {
        () = forever => {}
        () = stop.cancelled() => {}
    }
}

async fn pass_on(pool: &PgPool, to: &Listeners) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(NUDGE_CHANNEL).await?;
    // `None`: the connection was lost and is made anew; something may have been missed meanwhile, which is a nudge too.
    loop {
        let nudge = listener.try_recv().await?;
        to.relays.send_replace(());
        for bell in &to.lanes {
            bell.ring();
        }
        if nudge.is_none_or(|nudge| nudge.payload() == CLOCK_MOVED) {
            to.scheduler.notify_one();
        }
    }
}
