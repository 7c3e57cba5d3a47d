//! What a person may do to a job, and what a job that was given up needs.
//!
//! A job that runs, or has ended for good, is nobody's to touch: the first would be run twice, the second has had its effects
//! or was not wanted any more.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::words::word_enum;

word_enum!(
    /// Where a job stands: the words of the column `jobs.state`.
    JobState, "state":
    /// Waits for its time or its turn.
    Available = "available",
    /// Runs.
    Running = "running",
    /// Failed, and waits for its next attempt.
    Retryable = "retryable",
    /// Done.
    Completed = "completed",
    /// Given up: a person must look.
    Discarded = "discarded",
    /// No longer wanted.
    Canceled = "canceled",
);

/// What a person wants of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it runs again, now.
    Retry,
    /// That it never runs (again).
    Cancel,
}

/// Whether a worker is at it. A transactional job that runs does not say so in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// No worker.
    None,
    /// A worker has noted that it runs it.
    AtWork,
}

/// Why a wish is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It runs right now.
    Running,
    /// It is done.
    Done,
    /// It was canceled.
    Canceled,
    /// It has not failed: it runs by itself.
    Waits {
        /// When.
        run_at: DateTime<Utc>,
    },
}

impl Refusal {
    /// For scripts.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Running => "job_running",
            Refusal::Done => "job_done",
            Refusal::Canceled => "job_canceled",
            Refusal::Waits { .. } => "job_waits",
        }
    }

    /// For people.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Refusal::Running => {
                "is running right now: wait for its end; `quittance queue pause` lets no other begin".into()
            }
            Refusal::Done => "is done: what it was to do has happened".into(),
            Refusal::Canceled => {
                "was canceled: what is to be done after all is enqueued anew by its command or schedule"
                    .into()
            }
            Refusal::Waits { run_at } => format!(
                "has not failed: it runs by itself, due {}",
                run_at.format("%F %T UTC")
            ),
        }
    }
}

/// May a person have this?
///
/// # Errors
/// With why not.
pub fn may(wish: Wish, state: JobState, hands: Hands, run_at: DateTime<Utc>) -> Result<(), Refusal> {
    match state {
        JobState::Running => return Err(Refusal::Running),
        JobState::Completed => return Err(Refusal::Done),
        JobState::Canceled => return Err(Refusal::Canceled),
        JobState::Available | JobState::Retryable | JobState::Discarded => {}
    }
    match (wish, state, hands) {
        (_, JobState::Discarded, _) => Ok(()),
        (_, _, Hands::AtWork) => Err(Refusal::Running),
        (Wish::Retry, JobState::Available, Hands::None) => Err(Refusal::Waits { run_at }),
        (Wish::Retry | Wish::Cancel, _, Hands::None) => Ok(()),
    }
}

/// What `last_error` begins with where rescue gave the job up.
pub const QUARANTINED: &str = "quarantined:";

/// Why a job was given up, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// `failed_for_good`, `out_of_attempts` or `workers_died`.
    pub reason_code: &'static str,
    /// Why, in a sentence.
    pub why: String,
    /// What stands still until somebody has looked.
    pub meanwhile: &'static str,
    /// What to do, in this order.
    #[serde(rename = "do")]
    pub remedies: Vec<String>,
}

/// Explains a job that was given up after `attempt` of at most `most` attempts.
#[must_use]
pub fn given_up(id: &str, kind: &str, (attempt, most): (i32, i32), last_error: Option<&str>) -> GivenUp {
    let said = last_error.unwrap_or("nothing");
    let (reason_code, why) = if said.starts_with(QUARANTINED) {
        (
            "workers_died",
            format!("it took its workers down with it ({said})"),
        )
    } else if attempt >= most {
        (
            "out_of_attempts",
            format!("it failed {attempt} time(s), as often as it may; the last time: {said}"),
        )
    } else {
        (
            "failed_for_good",
            format!("attempt {attempt} of {most} failed in a way that no repeating mends: {said}"),
        )
    };
    let mut remedies = vec![match reason_code {
        "workers_died" => {
            "look at the logs of the workers, and at their memory, before it runs again".to_owned()
        }
        _ => "mend what the error tells of".to_owned(),
    }];
    remedies.push(format!(
        "then run it again: quittance jobs retry {id} --reason '…'"
    ));
    remedies.push(format!(
        "or, where it is not wanted any more: quittance jobs cancel {id} --reason '…'"
    ));
    GivenUp {
        reason_code,
        why,
        meanwhile: meanwhile(kind).unwrap_or("what it was to do is not done"),
        remedies,
    }
}

/// What stands still while a job of this kind is given up; a test asks for every kind that there is.
#[must_use]
pub fn meanwhile(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "process_stripe_event" => {
            "its event waits in the inbox; the daily backfill looks at the object by itself"
        }
        "generate_package_invoices" => "the firm's due invoices are not made; its next run makes them",
        "process_recurring_charges" => "nothing: the next sweep does the same",
        "collect_invoice" => "the invoice is not charged; the sweep enqueues another attempt within minutes",
        "reconcile_payment" => {
            "nobody looks how the charge ended; the sweep enqueues another look within minutes"
        }
        "cancel_payment_intent" => {
            "a PaymentIntent that is not wanted stays open at Stripe; the sweep enqueues another try"
        }
        "review_cycle" => "the collection stands still; the sweep looks at it again the next day",
        "refund_payment" => "the refund is not sent, or nobody knows how it ended: it waits for you",
        "platform_request" => {
            "what was asked of Stripe for the firm's own subscription is not done: it waits for you"
        }
        "deliver_alert" => "its destination is not told of that alert; the alert is in the lists as ever",
        "refresh_subscription" => {
            "the firm's subscription is not looked at; its next event, or the next look, does it"
        }
        "attach_card" => "the card is not the client's yet, and nothing is charged to it: ask for it again",
        "expire_credit" => "credit whose last day is over is not written off; the next date's run does it",
        "report_day" => "the firm is not told of that day; it is told of the next one",
        "backfill_events" => "events that never came are not looked for; the next day's run does it",
        "prune" => "old rows stay longer; the next hour's run removes them",
        "reconcile" => "our books and Stripe's are not compared; the next day's run does it",
        "seal_audit" => "new rows of the audit log are not in its chain yet; the next run takes them in",
        "expire_break_glass" => "the session is over all the same; only the log does not say so yet",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_done_or_was_canceled_is_refused_and_what_waits_is_not_retried() {
        let now = DateTime::UNIX_EPOCH;
        let ask = |wish, state, hands| may(wish, state, hands, now).map_err(Refusal::code);
        for wish in [Wish::Retry, Wish::Cancel] {
            for hands in [Hands::None, Hands::AtWork] {
                assert_eq!(ask(wish, JobState::Running, hands), Err("job_running"));
                assert_eq!(ask(wish, JobState::Completed, hands), Err("job_done"));
                assert_eq!(ask(wish, JobState::Canceled, hands), Err("job_canceled"));
                assert_eq!(ask(wish, JobState::Discarded, hands), Ok(()));
            }
            assert_eq!(ask(wish, JobState::Available, Hands::AtWork), Err("job_running"));
            assert_eq!(ask(wish, JobState::Retryable, Hands::AtWork), Err("job_running"));
            assert_eq!(ask(wish, JobState::Retryable, Hands::None), Ok(()));
        }
        assert_eq!(
            ask(Wish::Retry, JobState::Available, Hands::None),
            Err("job_waits")
        );
        assert_eq!(ask(Wish::Cancel, JobState::Available, Hands::None), Ok(()));
    }

    #[test]
    fn each_refusal_says_what_the_job_is_and_what_to_do() {
        let texts = [
            (Refusal::Running, "wait for its end"),
            (Refusal::Done, "has happened"),
            (Refusal::Canceled, "enqueued anew"),
            (
                Refusal::Waits {
                    run_at: DateTime::UNIX_EPOCH,
                },
                "due 1970-01-01 00:00:00 UTC",
            ),
        ];
        for (refusal, part) in texts {
            assert!(refusal.text().contains(part), "{refusal:?}: {}", refusal.text());
        }
    }

    #[test]
    fn each_kind_of_job_says_what_stands_still_while_it_is_given_up() {
        let kinds = [
            ("process_stripe_event", "inbox"),
            ("generate_package_invoices", "invoices are not made"),
            ("process_recurring_charges", "next sweep"),
            ("collect_invoice", "not charged"),
            ("reconcile_payment", "how the charge ended"),
            ("cancel_payment_intent", "stays open"),
            ("review_cycle", "collection stands still"),
            ("refund_payment", "waits for you"),
            ("deliver_alert", "not told"),
            ("expire_credit", "not written off"),
            ("attach_card", "not the client's yet"),
            ("report_day", "not told of that day"),
            ("backfill_events", "not looked for"),
            ("prune", "old rows"),
            ("reconcile", "not compared"),
            ("seal_audit", "not in its chain"),
            ("expire_break_glass", "session is over"),
        ];
        for (kind, part) in kinds {
            let told = meanwhile(kind).unwrap_or_default();
            assert!(told.contains(part), "{kind}: {told:?}");
        }
        assert_eq!(meanwhile("unheard_of"), None);
    }

    #[test]
    fn a_job_that_was_given_up_says_why_and_what_to_do() {
        let code = |attempts, error| given_up("id", "prune", attempts, error).reason_code;
        assert_eq!(code((3, 25), Some("payload does not parse")), "failed_for_good");
        assert_eq!(code((25, 25), Some("no answer")), "out_of_attempts");
        assert_eq!(
            code((0, 25), Some("quarantined: 5 workers died while running it")),
            "workers_died"
        );
        let told = given_up("id", "unheard_of", (1, 1), None);
        assert_eq!(told.meanwhile, "what it was to do is not done");
        assert!(
            told.remedies[1].contains("quittance jobs retry id --reason"),
            "{told:?}"
        );
    }
}
