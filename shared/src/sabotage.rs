//! Deliberate bugs, one for each promise, so that its tests can be seen to fail (`tests/sabotage`, `docs/GUARANTEES.md`).
//!
//! `QUITTANCE_TEST_SABOTAGE` names the one that is on. A release build has none of them: there [`is_on`] is `false`, whatever the
//! environment says. See `docs/decisions/0023-crash-points.md`.

/// A realistic mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The ingress answers when it has read the event, not when it is committed.
    P1AnswerBeforeCommit,
    /// A payment is known by whoever told of it, not by its charge.
    P2CountAgain,
    /// A refund's idempotency key is drawn anew for every call.
    P3KeyPerCall,
    /// A charge whose answer never came is taken for one that was never sent.
    P3AssumeNothing,
    /// What was given to Redis is taken for done: nothing is handed over again.
    P4TrustRedis,
    /// Whoever lost its claim writes all the same.
    P5IgnoreFence,
    /// Ticks that were missed for longer than an hour are forgotten.
    P6ForgetMissed,
    /// A migration forgets the guard of an append-only table.
    P7ForgetGuard,
    /// A migration forgets row-level security on a table.
    P8ForgetPolicy,
    /// A migration forgets to post a kind of fact.
    P9ForgetPosting,
}

/// Whether this one was asked for.
#[must_use]
pub fn is_on(which: Sabotage) -> bool {
    #[cfg(debug_assertions)]
    return armed::is_on(which);
    #[cfg(not(debug_assertions))]
    {
        let _: Sabotage = which;
        false
    }
}

/// What a sabotaged `quittance migrate` undoes when all migrations have run.
#[must_use]
pub fn of_schema() -> Option<&'static str> {
    [
        (
            Sabotage::P7ForgetGuard,
            "drop trigger append_only on audit_events; grant update, delete on audit_events to quittance_worker",
        ),
        (
            Sabotage::P8ForgetPolicy,
            "alter table payments disable row level security",
        ),
        (Sabotage::P9ForgetPosting, "drop trigger post_refund on refunds"),
    ]
    .into_iter()
    .find_map(|(which, statement)| is_on(which).then_some(statement))
}

#[cfg(debug_assertions)]
mod armed {
    //! The part that a release build has not.

    use std::sync::LazyLock;

    use super::Sabotage;

    const VARIABLE: &str = "QUITTANCE_TEST_SABOTAGE";

    const ALL: [(&str, Sabotage); 10] = [
        ("p1_answer_before_commit", Sabotage::P1AnswerBeforeCommit),
        ("p2_count_again", Sabotage::P2CountAgain),
        ("p3_key_per_call", Sabotage::P3KeyPerCall),
        ("p3_assume_nothing", Sabotage::P3AssumeNothing),
        ("p4_trust_redis", Sabotage::P4TrustRedis),
        ("p5_ignore_fence", Sabotage::P5IgnoreFence),
        ("p6_forget_missed", Sabotage::P6ForgetMissed),
        ("p7_forget_guard", Sabotage::P7ForgetGuard),
        ("p8_forget_policy", Sabotage::P8ForgetPolicy),
        ("p9_forget_posting", Sabotage::P9ForgetPosting),
    ];

    static CHOSEN: LazyLock<Option<Sabotage>> = LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        let known = ALL.iter().find(|(known, _)| *known == name);
        let Some((_, which)) = known else {
            eprintln!("{VARIABLE} names no sabotage: {name}");
            std::process::abort();
        };
        eprintln!("{VARIABLE}: {name} is on");
        Some(*which)
    });

    pub(super) fn is_on(which: Sabotage) -> bool {
        *CHOSEN == Some(which)
    }
}
