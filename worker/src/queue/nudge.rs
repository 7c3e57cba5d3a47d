//! Listens for the nudge that follows a commit and passes it to the relays and to the lanes. Best effort: their timer finds the rest.

use std::{sync::Arc, time::Duration};

use shared::store::jobs::NUDGE_CHANNEL;
use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::bell::Bell;

/// Pause before listening again after the connection broke.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until `stop`.
pub async fn listen(pool: PgPool, nudge: watch::Sender<()>, bells: Vec<Arc<Bell>>, stop: CancellationToken) {
    let forever = async {
        loop {
            if let Err(error) = pass_on(&pool, &nudge, &bells).await {
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

async fn pass_on(pool: &PgPool, nudge: &watch::Sender<()>, bells: &[Arc<Bell>]) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(NUDGE_CHANNEL).await?;
    // `None`: the connection was lost and is made anew; something may have been missed meanwhile, which is a nudge too.
    loop {
        listener.try_recv().await?;
        nudge.send_replace(());
        for bell in bells {
            bell.ring();
        }
    }
}
