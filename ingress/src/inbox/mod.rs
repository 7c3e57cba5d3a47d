//! The inbox: group commit.
//!
//! Concurrent deliveries wait in one bounded queue; whichever committer is free takes all that wait and writes them
//! with one statement and one commit. So an idle ingress answers at once, and under load the price of an fsync is
//! shared by many. Each delivery is answered for itself.
mod batch;
mod committer;

use std::{sync::Arc, time::Duration};

use shared::{
    domain::event::Event,
    sabotage::{self, Sabotage},
    store::Db,
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::{
    metrics::{Counted, Metrics},
    refusals::Reason,
    reply::{Receipt, Rejection},
};
use batch::Waiting;
use committer::Committer;

/// What Postgres has to commit an event. Later it is a 503, and Stripe delivers again.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(5);

/// Where handlers put events. The committers end when the last of these is gone and the queue is empty.
pub struct Inbox {
    queue: mpsc::Sender<Waiting>,
    metrics: Arc<Metrics>,
}

impl Inbox {
    /// Starts the committers. The tasks end only with the inbox; one that ends before that has panicked.
    pub fn open(db: &Db, committers: usize, capacity: usize, metrics: &Arc<Metrics>) -> (Self, JoinSet<()>) {
        let (queue, waiting) = mpsc::channel(capacity);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut tasks = JoinSet::new();
        for _ in 0..committers {
            let committer = Committer::new(db.clone(), Arc::clone(metrics));
            tasks.spawn(committer.run(Arc::clone(&waiting)));
        }
        let metrics = Arc::clone(metrics);
        (Self { queue, metrics }, tasks)
    }

    /// Returns once the event and its job are committed, by this delivery or an earlier one.
    ///
    /// # Errors
    /// When they are not, or when nobody knows: then the next delivery will tell.
    pub async fn store(&self, event: Event) -> Result<Receipt, Rejection> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .try_send(Waiting { event, answer })
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => Rejection::Saturated(Reason::Queue),
                mpsc::error::TrySendError::Closed(_) => Rejection::Unavailable(Reason::Closed),
            })?;
        if sabotage::is_on(Sabotage::P1AnswerBeforeCommit) {
            return Ok(Receipt::New);
        }
        let _counted = Counted::new(&self.metrics.waiting);
        match timeout(COMMIT_DEADLINE, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_gone)) => Err(Rejection::Unavailable(Reason::CommitterGone)),
            Err(_elapsed) => Err(Rejection::Unavailable(Reason::CommitLate)),
        }
    }
}
