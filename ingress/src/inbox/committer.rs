//! Takes what waits, writes it, tells everybody. A batch that fails because of one row is halved until that row stands
//! alone, so that the others are stored.

use std::{collections::HashSet, io, sync::Arc, time::Instant};

use shared::store::{Db, Error};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};

use super::{
    COMMIT_DEADLINE,
    batch::{self, Row, Waiting},
    insert::insert,
};
use crate::{
    metrics::Metrics,
    reply::{Receipt, Rejection},
};

/// Works until the inbox is closed and empty.
pub async fn run(db: Db, queue: Arc<Mutex<mpsc::Receiver<Waiting>>>, metrics: Arc<Metrics>) {
    loop {
        // The lock is held while waiting: the other committers queue behind it, and whoever has it takes everything.
        let Some(taken) = batch::next(&mut *queue.lock().await).await else {
            return;
        };
        let rows = batch::rows(taken);
        if !rows.is_empty() {
            store(&db, rows, &metrics).await;
        }
    }
}

async fn store(db: &Db, rows: Vec<Row>, metrics: &Metrics) {
    let mut parts = vec![rows];
    while let Some(mut rows) = parts.pop() {
        let started = Instant::now();
        match write(db, &rows).await {
            Ok(fresh) => {
                metrics.commit.observe(started.elapsed().as_secs_f64());
                metrics.batch_events.observe(count(rows.len()));
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
                    row.answer(Err(Rejection::Unavailable));
                }
            }
        }
    }
}

/// Ids of the events that were not there before.
async fn write(db: &Db, rows: &[Row]) -> Result<HashSet<String>, Error> {
    let mut conn = db.pool().acquire().await?;
    let events: Vec<_> = rows.iter().map(|row| &row.event).collect();
    match timeout(COMMIT_DEADLINE, insert(&mut conn, &events)).await {
        Ok(Ok(fresh)) => Ok(fresh.into_iter().collect()),
        Ok(Err(fault)) => Err(fault),
        Err(_elapsed) => {
            // Its answer may still come, or never: nobody else may be given this connection.
            drop(conn.detach());
            let silence = io::Error::new(io::ErrorKind::TimedOut, "no answer to the statement within 5 s");
            Err(Error::Unavailable(sqlx::Error::Io(silence)))
        }
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
