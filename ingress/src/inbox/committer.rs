//! Takes what waits, writes it, tells everybody. A batch that fails because of one row is halved until that row stands
//! alone, so that the others are stored.

use std::{collections::HashSet, io, sync::Arc, time::Instant};

use prometheus::IntGauge;
use shared::{
    failpoint::{self, Effect},
    store::{
        Db, Error,
        inbox_insert::{Via, insert},
    },
    trace,
};
use sqlx::PgConnection;
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use tracing::Instrument as _;

use super::{
    COMMIT_DEADLINE,
    batch::{self, Row, Waiting},
};
use crate::{
    metrics::Metrics,
    refusals::Reason,
    reply::{Receipt, Rejection},
};

/// One of the few that write. Keeps its connection from batch to batch: giving it back to the pool and taking it again
/// would cost two round trips each time.
pub struct Committer {
    db: Db,
    metrics: Arc<Metrics>,
    conn: Option<Kept>,
}

impl Committer {
    /// Connects with its first batch.
    pub fn new(db: Db, metrics: Arc<Metrics>) -> Self {
        Self {
            db,
            metrics,
            conn: None,
        }
    }

    /// Works until the inbox is closed and empty.
    pub async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
        loop {
            // The lock is held while waiting: the others queue behind it, and whoever has it takes everything.
            let Some(taken) = batch::next(&mut *queue.lock().await).await else {
                return;
            };
            let rows = batch::rows(taken);
            if !rows.is_empty() {
                self.store(rows).await;
            }
        }
    }

    async fn store(&mut self, rows: Vec<Row>) {
        let mut parts = vec![rows];
        while let Some(mut rows) = parts.pop() {
            let started = Instant::now();
            match self.write(&rows).await {
                Ok(fresh) => {
                    self.metrics.commit.observe(started.elapsed().as_secs_f64());
                    self.metrics.batch_events.observe(count(rows.len()));
                    for row in rows {
                        let new = fresh.contains(&row.event.id);
                        row.answer(Ok(if new { Receipt::New } else { Receipt::Duplicate }));
                    }
                }
                Err(fault) if blames_a_row(&fault) && rows.len() > 1 => {
                    tracing::debug!(%fault, events = rows.len(), "a batch was refused and is halved");
                    let half = rows.split_off(rows.len() / 2);
                    parts.extend([half, rows]);
                }
                Err(fault) if blames_a_row(&fault) => {
                    for row in rows {
                        tracing::error!(event.id = row.event.id, event.type = row.event.kind, %fault, "an event was refused by Postgres");
                        row.answer(Err(Rejection::NotStored));
                    }
                }
                Err(fault) => {
                    tracing::error!(%fault, events = rows.len(), "events could not be committed; Stripe delivers them again");
                    for row in rows {
                        row.answer(Err(Rejection::Unavailable(Reason::CommitFailed)));
                    }
                }
            }
        }
    }

    /// Ids of the events that were not there before.
    ///
    /// The kept connection may have died since its last batch (a restart, a failover, an idle timeout on the way), so a
    /// batch that it fails is tried once more on a fresh one. What the first try did commit is a duplicate to the second.
    async fn write(&mut self, rows: &[Row]) -> Result<HashSet<String>, Error> {
        let kept = self.conn.is_some();
        let tries = async {
            match self.try_write(rows).await {
                Err(Error::Unavailable(fault)) if kept => {
                    tracing::info!(%fault, "the connection to Postgres was lost; trying a fresh one");
                    self.try_write(rows).await
                }
                settled => settled,
            }
        };
        match timeout(COMMIT_DEADLINE, tries).await {
            Ok(settled) => settled,
            Err(_elapsed) => {
                let silence = io::Error::new(io::ErrorKind::TimedOut, "no commit within 5 s");
                Err(Error::Unavailable(sqlx::Error::Io(silence)))
            }
        }
    }

    async fn try_write(&mut self, rows: &[Row]) -> Result<HashSet<String>, Error> {
        // Taken out, so that a connection on which an answer is outstanding is closed and never used again.
        let mut kept = match self.conn.take() {
            Some(kept) => kept,
            None => Kept::new(self.db.pool().acquire().await?.detach(), &self.metrics),
        };
        let events: Vec<_> = rows.iter().map(|row| &row.event).collect();
        let senders = rows.iter().filter_map(|row| row.event.traceparent.as_deref());
        let span = trace::storing(senders, rows.len());
        let stored = insert(&mut kept.conn, &events, Via::Webhook).instrument(span);
        let written = failpoint::within("ingress", failpoint::around(Effect::Commit, stored)).await;
        if !matches!(written, Err(Error::Unavailable(_))) {
            self.conn = Some(kept);
        }
        written.map(HashSet::from_iter)
    }
}

/// A connection out of the pool's hands, counted while it is open.
struct Kept {
    conn: PgConnection,
    gauge: IntGauge,
}

impl Kept {
    fn new(conn: PgConnection, metrics: &Metrics) -> Self {
        let gauge = metrics.committer_connections.clone();
        gauge.inc();
        Self { conn, gauge }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Whether one row may be at fault, so that the others deserve a try without it.
///
/// SQLSTATE classes 22 (data), 23 (constraint), 54 (limit), P0 (raised) and XX (internal, such as a damaged page).
/// Missing privileges, missing tables, a full disk and a lost connection concern all rows alike.
fn blames_a_row(fault: &Error) -> bool {
    match fault {
        Error::Refused { .. } | Error::Conflict { .. } | Error::Lost { .. } => true,
        Error::Unavailable(_) => false,
        Error::Other(sqlx::Error::Database(fault)) => fault.code().is_some_and(|code| {
            ["22", "23", "54", "P0", "XX"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        Error::Other(_) => false,
    }
}

/// At most [`batch::MAX_EVENTS`], so nothing is lost.
fn count(rows: usize) -> f64 {
    u16::try_from(rows).unwrap_or(u16::MAX).into()
}
