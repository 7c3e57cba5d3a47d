//! Who is told what by a nudge.

use std::{sync::Arc, time::Duration};

use shared::store::jobs;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Bench;
use crate::queue::nudge::{self, Listeners};

/// Longest that a nudge may take on a busy machine, and between two where the first one came too early to be heard.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_moved_clock_wakes_the_scheduler_and_a_job_does_not() {
    let Some(bench) = Bench::start().await else { return };
    let (relays, mut nudged) = watch::channel(());
    let scheduler = Arc::new(Notify::new());
    let listeners = Listeners {
        relays,
        lanes: Vec::new(),
        scheduler: scheduler.clone(),
    };
    let stop = CancellationToken::new();
    let listening = tokio::spawn(nudge::listen(bench.admin.clone(), listeners, stop.clone()));
    let mut conn = bench.admin.acquire().await.unwrap();
    // Several times: it may not listen yet.
    loop {
        jobs::nudge(&mut conn).await.unwrap();
        if timeout(AGAIN, nudged.changed()).await.is_ok() {
            break;
        }
    }
    assert!(
        timeout(AGAIN, scheduler.notified()).await.is_err(),
        "a job is no business of the scheduler's"
    );
    jobs::nudge_of_clock(&mut conn).await.unwrap();
    timeout(PATIENCE, scheduler.notified()).await.unwrap();
    stop.cancel();
    listening.await.unwrap();
    drop(conn);
    bench.finish().await;
}
