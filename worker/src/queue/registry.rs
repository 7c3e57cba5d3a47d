//! Which handler runs which kind. One line per job; a kind that is not here is left for a newer worker.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use shared::store::{Tx, jobs::Queue};

use super::{
    job::{Claim, ExternalJob, Job, JobError, Outcome, TransactionalJob},
    retry::Retry,
};
use crate::context::Context;

/// The second half of a transactional job, holding what the first half prepared.
pub type Apply = Box<
    dyn for<'a> FnOnce(&'a Context, &'a mut Tx, &'a Job) -> BoxFuture<'a, Result<Outcome, JobError>> + Send,
>;

/// The first half of a transactional job.
pub type Prepare = for<'a> fn(&'a Context, &'a Job) -> BoxFuture<'a, Result<Apply, JobError>>;

/// An external job.
pub type Run = for<'a> fn(&'a Context, &'a Claim) -> BoxFuture<'a, Result<Outcome, JobError>>;

/// Which of the two contracts a handler keeps.
#[derive(Clone, Copy)]
pub enum Contract {
    /// See [`TransactionalJob`].
    Transactional(Prepare),
    /// See [`ExternalJob`].
    External(Run),
}

/// A handler without its type.
#[derive(Clone, Copy)]
pub struct Handler {
    /// The kind it handles.
    pub kind: &'static str,
    /// The lane that its jobs belong to.
    pub queue: Queue,
    /// When it is tried again.
    pub retry: Retry,
    /// Longest run.
    pub time_limit: Duration,
    /// Longest wait for one answer.
    pub silence: Duration,
    /// What to call.
    pub contract: Contract,
}

/// All handlers by kind.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: BTreeMap<&'static str, Handler>,
}

impl Registry {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a transactional job. A kind added twice keeps the later handler.
    #[must_use]
    pub fn transactional<J: TransactionalJob>(mut self) -> Self {
        self.handlers.insert(
            J::KIND,
            Handler {
                kind: J::KIND,
                queue: J::QUEUE,
                retry: J::RETRY,
                time_limit: J::TIME_LIMIT,
                silence: J::SILENCE,
                contract: Contract::Transactional(prepare::<J>),
            },
        );
        self
    }

    /// Adds an external job. A kind added twice keeps the later handler.
    #[must_use]
    pub fn external<J: ExternalJob>(mut self) -> Self {
        self.handlers.insert(
            J::KIND,
            Handler {
                kind: J::KIND,
                queue: J::QUEUE,
                retry: J::RETRY,
                time_limit: J::TIME_LIMIT,
                silence: J::SILENCE,
                contract: Contract::External(run::<J>),
            },
        );
        self
    }

    /// The handler of a kind.
    #[must_use]
    pub fn handler(&self, kind: &str) -> Option<&Handler> {
        self.handlers.get(kind)
    }

    /// Kinds of transactional jobs: their runs are noted, because they hold no lease.
    #[must_use]
    pub fn transactional_kinds(&self) -> Vec<String> {
        self.handlers
            .values()
            .filter(|handler| matches!(handler.contract, Contract::Transactional(_)))
            .map(|handler| handler.kind.to_owned())
            .collect()
    }

    /// Every kind, for the relay: a job that nobody here can run is not taken.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        self.handlers.keys().map(|&kind| kind.to_owned()).collect()
    }
}

fn prepare<'a, J: TransactionalJob>(cx: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<Apply, JobError>> {
    Box::pin(async move {
        let prepared = J::prepare(cx, job).await?;
        let apply: Apply = Box::new(move |cx, tx, job| Box::pin(J::apply(cx, tx, job, prepared)));
        Ok(apply)
    })
}

fn run<'a, J: ExternalJob>(cx: &'a Context, claim: &'a Claim) -> BoxFuture<'a, Result<Outcome, JobError>> {
    Box::pin(J::run(cx, claim))
}
