//! The life cycle of external jobs against a model: any history of opening, claiming, renewing, settling, giving back,
//! expiring and rescuing leaves every row as the model says, and only the holder of the newest claim ever ends a run.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::json;
use shared::{ids::JobId, store::jobs::Queue};
use tokio::runtime::Runtime;

use super::{bench::Bench, kinds::CALL};
use crate::queue::{
    Claim, Job, JobError, Outcome,
    claim::{self, Opened},
    rescue,
    retry::{Attempts, Jitter, Retry, hours},
    settle::{self, Settled},
};

/// Two jobs of one order key, and one that is free of it.
const JOBS: usize = 3;
const WORKERS: [&str; 2] = ["a", "b"];
const LEASE: Duration = Duration::from_secs(3600);
const MAX_ATTEMPTS: i32 = 3;
const HISTORIES: u32 = 40;
const LONGEST: usize = 60;

/// What may happen to a job at any time, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A worker reads it, and may sit on what it read.
    Open,
    /// A worker claims what it read last, however long ago.
    Take,
    /// A worker lengthens the lease of the claim it had last.
    Renew,
    /// It gives that claim back.
    GiveBack,
    /// It writes down how the run of that claim ended.
    Settle(End),
    /// The lease runs out.
    Expire,
    /// Somebody looks for runs that nobody owns any more.
    Rescue,
    /// What waits for a later time is due.
    TimePasses,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Cancel,
    Snooze,
    Retry,
    RetryAfter,
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{Expire, GiveBack, Open, Renew, Rescue, Settle, Take, TimePasses};
    let end = prop::sample::select(
        &[
            End::Done,
            End::Cancel,
            End::Snooze,
            End::Retry,
            End::RetryAfter,
            End::Fail,
            End::Retry,
        ][..],
    );
    prop_oneof![
        6 => Just(Open), 6 => Just(Take), 1 => Just(Renew), 1 => Just(GiveBack), 3 => end.prop_map(Settle),
        2 => Just(Expire), 2 => Just(Rescue), 2 => Just(TimePasses),
    ]
}

/// What a row must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Model {
    state: &'static str,
    attempt: i32,
    fence: i64,
    crashes: i32,
    due: bool,
    expired: bool,
}

impl Model {
    const NEW: Self = Self {
        state: "available",
        attempt: 0,
        fence: 0,
        crashes: 0,
        due: true,
        expired: false,
    };

    fn waits(&self) -> bool {
        matches!(self.state, "available" | "retryable")
    }

    fn is_held_by(&self, fence: i64) -> bool {
        self.state == "running" && self.fence == fence
    }

    fn settle(&mut self, end: End) {
        let used_up = self.attempt >= MAX_ATTEMPTS;
        (self.state, self.due) = match end {
            End::Done => ("completed", self.due),
            End::Cancel => ("canceled", self.due),
            End::Fail => ("discarded", self.due),
            End::Retry if used_up => ("discarded", self.due),
            End::Retry | End::RetryAfter => ("retryable", false),
            End::Snooze => ("available", false),
        };
        if matches!(end, End::Snooze | End::RetryAfter) {
            self.attempt -= 1;
        }
    }
}

/// The rows as they are, the model of them, and what each worker believes.
struct History<'a> {
    bench: &'a Bench,
    ids: Vec<JobId>,
    model: [Model; JOBS],
    opened: [[Option<Job>; JOBS]; WORKERS.len()],
    claims: [[Option<Claim>; JOBS]; WORKERS.len()],
}

impl<'a> History<'a> {
    async fn begin(bench: &'a Bench, name: &str) -> Self {
        let mut ids = Vec::new();
        for n in 0..JOBS {
            let mut job = bench
                .job(Queue::Charges, CALL, &format!("{name}-{n}"), json!({}))
                .await;
            job.max_attempts = MAX_ATTEMPTS;
            if n < 2 {
                job = job.in_order_of(format!("customer:{name}"));
            }
            ids.push(bench.enqueue(job).await);
        }
        Self {
            bench,
            ids,
            model: [Model::NEW; JOBS],
            opened: Default::default(),
            claims: Default::default(),
        }
    }

    /// Whether an earlier or a running job of its key keeps it waiting.
    fn in_turn(&self, n: usize) -> bool {
        if n == 2 {
            return true;
        }
        let other = &self.model[1 - n];
        let earlier = n == 1 && other.waits() && other.due;
        other.state != "running" && !earlier
    }

    async fn play(&mut self, n: usize, w: usize, step: Step) {
        let (pool, id, worker) = (self.bench.db.pool(), self.ids[n], WORKERS[w]);
        let before = self.model[n];
        match step {
            Step::Open => {
                let expected = before.waits() && before.due && self.in_turn(n);
                let opened = claim::open(pool, id, worker, &[]).await.unwrap();
                assert_eq!(matches!(opened, Opened::Ready { .. }), expected, "{opened:?}");
                if let Opened::Ready { job, .. } = opened {
                    assert_eq!(job.attempt, before.attempt + 1);
                    self.opened[w][n] = Some(*job);
                }
            }
            Step::Take => {
                let Some(job) = self.opened[w][n].take() else {
                    return;
                };
                let free = before.waits() && before.due && before.attempt == job.attempt - 1;
                let blocked = n < 2 && self.model[1 - n].state == "running";
                let attempt = job.attempt;
                match claim::take(pool, job, worker, LEASE).await {
                    Ok(claim) => {
                        assert_eq!(claim.is_some(), free && !blocked);
                        let Some(claim) = claim else { return };
                        let model = &mut self.model[n];
                        *model = Model {
                            state: "running",
                            attempt,
                            fence: before.fence + 1,
                            expired: false,
                            ..before
                        };
                        assert_eq!(claim.fence, model.fence);
                        self.claims[w][n] = Some(claim);
                    }
                    Err(error) => assert!(free && blocked && claim::is_out_of_turn(&error), "{error}"),
                }
            }
            Step::Renew => {
                let Some(claim) = &self.claims[w][n] else { return };
                let ours = before.is_held_by(claim.fence);
                assert_eq!(claim::renew(pool, claim, LEASE).await.unwrap(), ours);
                if ours {
                    self.model[n].expired = false;
                }
            }
            Step::GiveBack => {
                let Some(claim) = &self.claims[w][n] else { return };
                let ours = before.is_held_by(claim.fence);
                assert_eq!(claim::give_back(pool, claim).await.unwrap(), ours);
                if ours {
                    self.model[n].state = "available";
                    self.model[n].attempt -= 1;
                }
            }
            Step::Settle(end) => {
                let Some(claim) = &self.claims[w][n] else { return };
                let later = self.bench.db.now().await.unwrap() + hours(1);
                let job = &claim.job;
                let ended = |error| settle::of_error(job, &RETRY, error, Jitter::of(0)).unwrap();
                let verdict = match end {
                    End::Done => settle::of_outcome(job, Outcome::done()),
                    End::Cancel => settle::of_outcome(
                        job,
                        Outcome::Cancel {
                            reason: "not wanted".into(),
                        },
                    ),
                    End::Snooze => settle::of_outcome(
                        job,
                        Outcome::Snooze {
                            until: later,
                            reason: "not yet".into(),
                        },
                    ),
                    End::Retry => ended(JobError::retry("again")),
                    End::RetryAfter => ended(JobError::RetryAfter {
                        delay: hours(1),
                        message: "later".into(),
                    }),
                    End::Fail => ended(JobError::Fail {
                        message: "never".into(),
                    }),
                };
                let ours = before.is_held_by(claim.fence);
                let settled = settle::claimed(pool, claim, &verdict).await.unwrap();
                assert_eq!(settled != Settled::Stale, ours);
                if ours {
                    self.model[n].settle(end);
                }
            }
            Step::Expire => {
                sqlx::query("update jobs set lease_until = clock_timestamp() - interval '1 s' where id = $1 and state = 'running'")
                    .bind(id.0)
                    .execute(&self.bench.admin)
                    .await
                    .unwrap();
                self.model[n].expired = true;
            }
            Step::Rescue => {
                rescue::once(&self.bench.db).await.unwrap().unwrap();
                for model in &mut self.model {
                    if model.state == "running" && model.expired {
                        model.crashes += 1;
                        model.attempt -= 1;
                        model.state = if model.crashes >= rescue::MOST_CRASHES {
                            "discarded"
                        } else {
                            "available"
                        };
                    }
                }
            }
            Step::TimePasses => {
                sqlx::query("update jobs set run_at = app.now() - interval '1 s' where id = any($1) and run_at > app.now()")
                    .bind(self.ids.iter().map(|id| id.0).collect::<Vec<_>>())
                    .execute(&self.bench.admin)
                    .await
                    .unwrap();
                for model in &mut self.model {
                    model.due = true;
                }
            }
        }
    }

    async fn compare(&self) {
        for (id, model) in self.ids.iter().zip(&self.model) {
            let row = self.bench.row(*id).await;
            assert_eq!(
                (row.state.as_str(), row.attempt, row.fence, row.crashes),
                (model.state, model.attempt, model.fence, model.crashes)
            );
            if model.waits() {
                assert_eq!(row.due_in_secs <= 0.0, model.due, "{row:?}");
            }
        }
    }
}

const RETRY: Retry = Retry::exponential(Attempts(MAX_ATTEMPTS), hours(1), hours(1));

#[test]
fn p5_any_history_of_a_job_is_the_one_that_the_model_tells() {
    let runtime = Runtime::new().unwrap();
    let Some(bench) = runtime.block_on(Bench::start()) else {
        return;
    };
    let config = Config {
        cases: HISTORIES,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let counter = std::cell::Cell::new(0);
    let history = prop::collection::vec((0..JOBS, 0..WORKERS.len(), step()), 1..LONGEST);
    let found = TestRunner::new(config).run(&history, |steps| {
        counter.set(counter.get() + 1);
        let name = format!("history{}", counter.get());
        runtime.block_on(async {
            let mut history = History::begin(&bench, &name).await;
            for (n, worker, step) in steps {
                history.play(n, worker, step).await;
                history.compare().await;
            }
        });
        Ok(())
    });
    runtime.block_on(bench.finish());
    found.unwrap();
}
