//! Who is told what by a nudge.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use shared::store::jobs::{self, Queue};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Bench, kinds};
use crate::queue::nudge::{self, Listeners};

/// Longest that a nudge may take on a busy machine, and between two where the first one came too early to be heard.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_job_wakes_the_relay_of_its_queue_alone_and_a_moved_clock_the_scheduler() {
    let Some(bench) = Bench::start().await else { return };
    let ((events, mut events_nudged), (charges, mut charges_nudged)) =
        (watch::channel(()), watch::channel(()));
    let (scheduler, job_ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let listeners = Listeners {
        relays: vec![(Queue::Events, events), (Queue::Charges, charges)],
        lanes: Vec::new(),
        scheduler: scheduler.clone(),
        job_ended: job_ended.clone(),
    };
    let stop = CancellationToken::new();
    let listening = tokio::spawn(nudge::listen(bench.admin.clone(), listeners, stop.clone()));
    let job = bench.job(Queue::Events, kinds::APPLY, "due", json!({})).await;
    bench.enqueue(job).await;
    let mut conn = bench.admin.acquire().await.unwrap();
    // Several times: it may not listen yet.
    loop {
        jobs::nudge(&mut conn).await.unwrap();
        if timeout(AGAIN, events_nudged.changed()).await.is_ok() {
            break;
        }
    }
    assert!(
        timeout(AGAIN, scheduler.notified()).await.is_err(),
        "a job is no business of the scheduler's"
    );
    assert!(
        timeout(AGAIN, charges_nudged.changed()).await.is_err(),
        "nothing is due in that queue"
    );
    jobs::nudge_of_clock(&mut conn).await.unwrap();
    timeout(PATIENCE, scheduler.notified()).await.unwrap();
    // What a job enqueued is found when it has ended, without a nudge of its own.
    events_nudged.mark_unchanged();
    job_ended.notify_one();
    timeout(PATIENCE, events_nudged.changed()).await.unwrap().unwrap();
    stop.cancel();
    listening.await.unwrap();
    drop(conn);
    bench.finish().await;
}
