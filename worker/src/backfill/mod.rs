//! Finding what Stripe told nobody: events that were never delivered, and objects that the books do not show as they are.
//!
//! `events` reads Stripe's list of events, which goes back thirty days, and puts what is not in the inbox there. `objects`
//! reads charges, refunds and disputes, compares them with the books, and puts an event of our own into the inbox for each
//! that differs: so what is older than thirty days, or never was an event, is healed as well. Nothing is applied here: the
//! same job processes all of it, and a later delivery of an event that was found here is a duplicate.
//!
//! Both go on from where the last run ended, with an overlap, and may be broken off anywhere: what was put down is there,
//! and the next run reads the rest: how far one has come is noted after every day of events and every page of objects.
mod events;
mod objects;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::{
    domain::event::Event,
    store::{
        Db, Tx,
        backfill::{self, Pass, ReadList},
        inbox_insert::{self, Via},
    },
};

pub use events::{OLDEST, events};
pub use objects::objects;

use crate::queue::{Claim, JobError};

/// Ids that a report names; the rest is counted.
const NAMED: usize = 100;

/// What is done with what is found.
#[derive(Clone, Copy)]
pub enum Sink<'a> {
    /// Into the inbox, with its job, while this claim holds.
    Claimed(&'a Claim),
    /// Into the inbox of a database that nobody else works on.
    Inbox,
    /// It is only counted.
    Nowhere,
}

/// How much of a list was read, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// From when on it was read, by Stripe's clock.
    pub from: Option<DateTime<Utc>>,
    /// Pages read.
    pub pages: u64,
    /// Objects read.
    pub listed: u64,
    /// Those that were not here, or not as they are at Stripe.
    pub new: u64,
    /// The first hundred of these, by the ids they have in the inbox.
    pub ids: Vec<String>,
}

impl Found {
    fn from(at: DateTime<Utc>) -> Self {
        Self {
            from: Some(at),
            ..Self::default()
        }
    }

    fn add(&mut self, ids: Vec<String>) {
        self.new += u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let room = NAMED.saturating_sub(self.ids.len());
        self.ids.extend(ids.into_iter().take(room));
    }
}

impl Sink<'_> {
    /// Begins a transaction that may write, if this sink may.
    async fn begin(self, db: &Db) -> Result<Tx, JobError> {
        let mut tx = db.plain().await?;
        if let Sink::Claimed(claim) = self {
            claim.guard(&mut tx).await?;
        }
        Ok(tx)
    }

    /// Takes some events; returns the ids of those that were not there before.
    async fn take(self, db: &Db, events: &[Event]) -> Result<Vec<String>, JobError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin(db).await?;
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        match self {
            Sink::Nowhere => Ok(backfill::events_not_here(&mut tx, &ids).await?),
            Sink::Claimed(_) | Sink::Inbox => {
                let new =
                    inbox_insert::insert(&mut tx, &events.iter().collect::<Vec<_>>(), Via::Backfill).await?;
                tx.commit().await?;
                Ok(new)
            }
        }
    }

    /// The pass over this list that an earlier run has left unfinished, or a new one. `since` when a person named the time:
    /// then it is that command's alone.
    async fn pass(
        self,
        db: &Db,
        list: ReadList,
        since: Option<DateTime<Utc>>,
        new: Pass,
    ) -> Result<Pass, JobError> {
        let Sink::Claimed(claim) = self else {
            return Ok(new);
        };
        let mut tx = self.begin(db).await?;
        let of_job = since.map(|_| claim.job.id);
        let pass = backfill::take_up_pass(&mut tx, list, of_job, &new).await?;
        tx.commit().await?;
        Ok(pass)
    }

    /// Notes how far a pass has come.
    async fn reached(self, db: &Db, pass: &Pass) -> Result<(), JobError> {
        if let Sink::Claimed(_) = self {
            let mut tx = self.begin(db).await?;
            backfill::save_pass(&mut tx, pass).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Ends a pass.
    async fn end(self, db: &Db, pass: &Pass) -> Result<(), JobError> {
        if let Sink::Claimed(_) = self {
            let mut tx = self.begin(db).await?;
            backfill::end_pass(&mut tx, pass).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Notes that a list was read from `from` to `until`. Where a part before `from` was never read, there is nothing to
    /// note: the next run has to read it.
    async fn note(
        self,
        db: &Db,
        list: ReadList,
        (from, until): (DateTime<Utc>, DateTime<Utc>),
        due_from: DateTime<Utc>,
    ) -> Result<(), JobError> {
        if matches!(self, Sink::Nowhere) || from > due_from {
            return Ok(());
        }
        let mut tx = self.begin(db).await?;
        backfill::save_read_until(&mut tx, list, until).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The earlier of both clocks. Stripe's objects have Stripe's time, which is the real one; a simulator may follow the business
/// clock, which is ahead. To begin too early costs a page, to begin too late misses something.
fn by_stripes_clock(tx: &Tx) -> DateTime<Utc> {
    tx.now().min(tx.real_now())
}

/// A number of days, as a constant.
const fn days(count: i64) -> TimeDelta {
    match TimeDelta::try_days(count) {
        Some(delta) => delta,
        None => TimeDelta::MAX,
    }
}
