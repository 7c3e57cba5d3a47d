//! What the words of our states mean to people: a badge for each, never by colour alone.

use super::{Badge, Tone, text::spoken};

fn toned(word: &str, tone: Tone) -> Badge {
    Badge::new(spoken(word), tone)
}

/// The status of a client's invoice.
#[must_use]
pub fn invoice(status: &str, being_voided: bool) -> Badge {
    if being_voided {
        return Badge::new("Being voided", Tone::Busy);
    }
    let tone = match status {
        "paid" => Tone::Good,
        "processing" => Tone::Busy,
        "overdue" | "partial" | "refunded" => Tone::Warn,
        "failed" | "disputed" | "charged_back" => Tone::Bad,
        _ => Tone::Plain,
    };
    toned(status, tone)
}

/// The status of an invoice of the platform.
#[must_use]
pub fn platform_invoice(status: &str) -> Badge {
    let tone = match status {
        "PAID" => Tone::Good,
        "OPEN" => Tone::Warn,
        "UNCOLLECTIBLE" => Tone::Bad,
        _ => Tone::Plain,
    };
    toned(status, tone)
}

/// The status of a subscription.
#[must_use]
pub fn subscription(status: &str) -> Badge {
    let tone = match status {
        "ACTIVE" => Tone::Good,
        "PAST_DUE" => Tone::Bad,
        "INACTIVE" => Tone::Warn,
        _ => Tone::Plain,
    };
    toned(status, tone)
}

/// How much an alert matters.
#[must_use]
pub fn severity(severity: &str) -> Badge {
    let tone = match severity {
        "critical" => Tone::Bad,
        "warning" => Tone::Warn,
        _ => Tone::Plain,
    };
    toned(severity, tone)
}

/// Where collection by card stands, or an attempt.
#[must_use]
pub fn collection(state: &str) -> Badge {
    let tone = match state {
        "succeeded" => Tone::Good,
        "in_flight" | "scheduled" | "created" | "sent" | "processing" => Tone::Busy,
        "retry_wait" | "action_required" | "method_required" | "paused" | "technical" => Tone::Warn,
        "unknown" | "exhausted" | "declined" => Tone::Bad,
        _ => Tone::Plain,
    };
    toned(state, tone)
}

/// Where collection by card stands, in a few words.
#[must_use]
pub fn collecting(state: &str) -> String {
    match state {
        "none" => "Not by card",
        "scheduled" => "Scheduled",
        "in_flight" => "Being charged",
        "retry_wait" => "Waits for a retry",
        "action_required" => "Client must confirm",
        "method_required" => "Needs another card",
        "unknown" => "Outcome unknown",
        "paused" => "Paused",
        "succeeded" => "Collected",
        "exhausted" => "Given up after retries",
        "canceled" => "Stopped",
        other => return spoken(other),
    }
    .to_owned()
}

/// Where a time entry stands.
#[must_use]
pub fn time(state: &str) -> Badge {
    let tone = match state {
        "approved" => Tone::Good,
        "submitted" => Tone::Busy,
        "rejected" => Tone::Bad,
        _ => Tone::Plain,
    };
    toned(state, tone)
}

/// Where a dispute stands, or how it ended.
#[must_use]
pub fn dispute(status: &str, outcome: Option<&str>) -> Badge {
    match outcome {
        Some(outcome @ ("won" | "withdrawn" | "inquiry_closed")) => toned(outcome, Tone::Good),
        Some(outcome) => toned(outcome, Tone::Bad),
        None if status.ends_with("needs_response") => toned(status, Tone::Bad),
        None => toned(status, Tone::Busy),
    }
}

/// Where a job, an event or an occurrence stands.
#[must_use]
pub fn job(state: &str) -> Badge {
    let tone = match state {
        "completed" | "applied" | "fired" | "matched" => Tone::Good,
        "running" | "available" | "pending" | "due" => Tone::Busy,
        "retryable" | "parked" | "unmatched" | "skipped" => Tone::Warn,
        "discarded" => Tone::Bad,
        _ => Tone::Plain,
    };
    toned(state, tone)
}

/// Where an engagement stands.
#[must_use]
pub fn engagement(status: &str) -> Badge {
    let tone = if status == "signed" {
        Tone::Good
    } else {
        Tone::Plain
    };
    toned(status, tone)
}

/// What is said after something was done. The address carries the key, so nothing that a stranger wrote is ever shown.
#[must_use]
pub fn done(key: &str) -> Option<&'static str> {
    Some(match key {
        "read" => "Marked as read.",
        "all_read" => "All alerts are marked as read.",
        "resolved" => "Resolved.",
        "asked" => {
            "Asked for. Stripe is told within moments; this page shows the change when Stripe confirms it."
        }
        "link" => "The link to Stripe is being made. Load this page again in a moment.",
        "issued" => "The invoice is issued.",
        "voided" => "The invoice is void, or will be as soon as no charge is under way.",
        "written_off" => "The invoice is written off.",
        "discarded" => "The draft is gone.",
        "refunded" => "The refund is ordered.",
        "credited" => "Paid with credit.",
        "recorded" => "The payment is recorded.",
        "approved" => "Approved.",
        "rejected" => "Rejected.",
        "submitted" => "Submitted.",
        "credit" => "The credit is given.",
        "decided" => "Decided and recorded.",
        "retried" => "The jobs run again now.",
        "canceled" => "The jobs are canceled.",
        "replayed" => "The event is being applied once more.",
        "paused" => "Paused.",
        "resumed" => "Resumed.",
        "opened" => "The break-glass session is open. Everything that you look at is recorded.",
        "session_ended" => "The session has ended.",
        "revoked" => "The break-glass session has ended.",
        "reviewed" => "The review is recorded.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_says_itself_in_words() {
        assert_eq!(
            invoice("charged_back", false),
            Badge::new("Charged back", Tone::Bad)
        );
        assert_eq!(invoice("sent", true).text, "Being voided");
        assert_eq!(subscription("PAST_DUE"), Badge::new("Past due", Tone::Bad));
        assert_eq!(dispute("needs_response", None).tone, Tone::Bad);
        assert_eq!(dispute("under_review", None).tone, Tone::Busy);
        assert_eq!(dispute("lost", Some("lost")).tone, Tone::Bad);
        assert_eq!(done("<script>"), None);
    }
}
