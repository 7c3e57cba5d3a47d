//! Where a test may have the process die: before and after every effect.
//!
//! Whatever changes something outside of the process (a commit, a call to Stripe or to Redis, an acknowledgement) goes
//! through [`around`] or [`pass`]. A point is named by who acts, what it does, for the how-manieth time in this run, and the side:
//! `collect_invoice.stripe.2.after`. So no list of points is kept by hand: a run of a story records the points that it
//! passes, and the test then crashes at each of them (`tests/it/crash_points`). See `docs/decisions/0023-crash-points.md`.
//!
//! `QUITTANCE_TEST_FAILPOINTS` arms it: `record=FILE` appends the name of every point that is passed; `POINT=abort@N` ends the
//! process, as a signal would, when it passes the point for the N-th time. In a release build none of this exists.

use std::future::Future;

/// What has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A transaction is committed.
    Commit,
    /// A transactional run is noted in `job_runs`.
    Note,
    /// An external job is claimed.
    Claim,
    /// The end of a run is written down outside of its transaction, or its job is put back.
    Settle,
    /// Stripe is called.
    Stripe,
    /// A turn is taken from the rate limit, in Redis.
    Turn,
    /// The lease on a lane is taken, in Redis.
    Gate,
    /// Jobs are stamped as handed over, in Postgres.
    Stamp,
    /// Ids are pushed into a lane, in Redis.
    Push,
    /// Finished ids are swept out of a lane, in Redis.
    Sweep,
    /// apalis acknowledges an id, in Redis.
    Ack,
    /// A destination of alerts is told.
    Tell,
}

/// Which side of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has not happened.
    Before,
    /// It has, and nobody was told.
    After,
}

/// Performs an effect between its two points.
pub async fn around<F: Future>(effect: Effect, perform: F) -> F::Output {
    #[cfg(debug_assertions)]
    let turn = armed::begin(effect);
    let output = perform.await;
    #[cfg(debug_assertions)]
    armed::pass(effect, turn, Side::After);
    #[cfg(not(debug_assertions))]
    let _: Effect = effect;
    output
}

/// Passes one side of an effect that somebody else performs.
pub fn pass(effect: Effect, side: Side) {
    #[cfg(debug_assertions)]
    armed::pass(effect, 1, side);
    #[cfg(not(debug_assertions))]
    let _: (Effect, Side) = (effect, side);
}

/// Runs something in which the points are named after `who`, and counted from one.
pub async fn within<F: Future>(who: &'static str, run: F) -> F::Output {
    #[cfg(debug_assertions)]
    return armed::within(who, run).await;
    #[cfg(not(debug_assertions))]
    {
        let _: &str = who;
        run.await
    }
}

#[cfg(debug_assertions)]
mod armed {
    //! The part that a release build has not.

    use std::{
        cell::Cell,
        fs::{File, OpenOptions},
        future::Future,
        io::Write as _,
        sync::{
            LazyLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::{Effect, Side};

    const VARIABLE: &str = "QUITTANCE_TEST_FAILPOINTS";

    static PLAN: LazyLock<Plan> = LazyLock::new(|| match std::env::var(VARIABLE) {
        Ok(text) => Plan::parse(&text).unwrap_or_else(|| {
            eprintln!("{VARIABLE} is neither record=FILE nor POINT=abort@N: {text}");
            std::process::abort();
        }),
        Err(_) => Plan::Off,
    });

    /// What was ordered.
    enum Plan {
        Off,
        Record(File),
        Abort {
            point: String,
            nth: u32,
            passed: AtomicU32,
        },
    }

    /// Who acts, and what it did so far. Effects are counted each for itself, so that a call more or less of one kind
    /// does not rename the points of another.
    struct Run {
        who: &'static str,
        turns: [Cell<u32>; 16],
    }

    tokio::task_local! {
        static RUN: Run;
    }

    pub(super) async fn within<F: Future>(who: &'static str, run: F) -> F::Output {
        let turns = Default::default();
        RUN.scope(Run { who, turns }, run).await
    }

    /// Counts an effect and passes the point before it.
    pub(super) fn begin(effect: Effect) -> u32 {
        let turn = RUN.try_with(|run| {
            run.turns.get(effect as usize).map_or(1, |turns| {
                turns.set(turns.get() + 1);
                turns.get()
            })
        });
        let turn = turn.unwrap_or(1);
        pass(effect, turn, Side::Before);
        turn
    }

    pub(super) fn pass(effect: Effect, turn: u32, side: Side) {
        if matches!(*PLAN, Plan::Off) {
            return;
        }
        let who = RUN.try_with(|run| run.who).unwrap_or("process");
        let point = format!("{who}.{effect:?}.{turn}.{side:?}").to_lowercase();
        PLAN.pass(&point);
    }

    impl Plan {
        fn parse(text: &str) -> Option<Self> {
            let (name, order) = text.split_once('=')?;
            if name == "record" {
                let file = OpenOptions::new().create(true).append(true).open(order).ok()?;
                return Some(Self::Record(file));
            }
            Some(Self::Abort {
                point: name.to_owned(),
                nth: order.strip_prefix("abort@")?.parse().ok()?,
                passed: AtomicU32::new(0),
            })
        }

        fn pass(&self, here: &str) {
            match self {
                Self::Off => {}
                Self::Record(file) => {
                    // One write, so that lines of two tasks do not mix.
                    if let Err(fault) = (&*file).write_all(format!("{here}\n").as_bytes()) {
                        eprintln!("{here} was passed and could not be recorded: {fault}");
                        std::process::abort();
                    }
                }
                Self::Abort { point, nth, passed } => {
                    if here == point && passed.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
                        eprintln!("{VARIABLE}: aborted at {here}, passed for time {nth}");
                        std::process::abort();
                    }
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_order_is_a_file_to_record_in_or_a_point_to_abort_at() {
            for text in [
                "",
                "record",
                "a.commit.1.before",
                "a=abort",
                "a=abort@",
                "a=abort@x",
                "a=die@1",
            ] {
                assert!(Plan::parse(text).is_none(), "{text:?}");
            }
            let plan = Plan::parse("a.commit.1.before=abort@2");
            assert!(matches!(plan, Some(Plan::Abort { nth: 2, .. })));
        }

        #[tokio::test]
        async fn effects_are_counted_each_for_itself_and_anew_in_every_run() {
            for _ in 0..2 {
                let turns = within("a_handler", async {
                    [Effect::Commit, Effect::Stripe, Effect::Commit, Effect::Commit].map(begin)
                });
                assert_eq!(turns.await, [1, 1, 2, 3]);
            }
        }
    }
}
