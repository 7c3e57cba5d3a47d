//! Which alert an outcome of collecting an invoice deserves: one per invoice and failure, whoever tells of it (B-23).

use serde_json::{Value, json};
use shared::{
    domain::{
        alert::{AlertType, Topic},
        collection::{AttemptState, CycleChange, CycleState, Note, TOO_MANY_CHARGES},
    },
    money::Money,
    store::{
        alerts::{self, NewAlert},
        audit::Severity,
        cycles::Cycle,
        day_report,
    },
};
use sqlx::PgConnection;

use super::At;
use crate::queue::JobError;

/// Raises what a change of a cycle calls for. `code` is why the attempt failed, where one did.
///
/// # Errors
/// When the database is away.
pub async fn of_change(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    change: &CycleChange,
    code: Option<&str>,
) -> Result<(), JobError> {
    let why = code.map_or_else(String::new, |code| format!(" ({code})"));
    let declined = cycle
        .attempts
        .iter()
        .filter(|a| a.state == AttemptState::Declined)
        .count();
    let failures_in_a_row = declined + 1;
    match change.state {
        // Scheduled: what was charged by hand ahead of the day on which it is due.
        CycleState::RetryWait | CycleState::Scheduled => {
            let next = change
                .next
                .as_ref()
                .map(|next| next.at.format("%F %H:%M UTC").to_string());
            // A soft decline, which is retried by itself, is more than information only in a row.
            let row = day_report::failures_in_row(conn, at.firm).await?;
            let row = row.and_then(|row| usize::try_from(row).ok());
            let severity = match row {
                Some(row) if failures_in_a_row >= row => Severity::Warning,
                Some(_) | None => Severity::Info,
            };
            let message = format!(
                "The charge was declined{why}. It is tried again on {}.",
                next.unwrap_or_default()
            );
            payment_failed(conn, at, cycle, severity, ("Payment declined", &message), code).await
        }
        CycleState::MethodRequired => {
            let message =
                format!("The charge cannot succeed with the client's card{why}. It waits for another card.");
            payment_failed(
                conn,
                at,
                cycle,
                Severity::Warning,
                ("A new card is needed", &message),
                code,
            )
            .await
        }
        CycleState::ActionRequired => {
            let message = format!("The client must act before the charge can succeed{why}.");
            payment_failed(
                conn,
                at,
                cycle,
                Severity::Warning,
                ("The client must act", &message),
                code,
            )
            .await
        }
        CycleState::Paused => match change.reason.as_deref() {
            // the dispute has an alert of its own
            Some("invoice_fenced" | "open_dispute") => Ok(()),
            Some(TOO_MANY_CHARGES) => too_many_charges(conn, at, cycle).await,
            reason => stopped(conn, at, cycle, reason.or(code).unwrap_or_default()).await,
        },
        CycleState::InFlight
        | CycleState::Unknown
        // told by `cycles::tell_exhausted`, whoever finds out
        | CycleState::Exhausted
        | CycleState::Succeeded
        | CycleState::Canceled => Ok(()),
    }
}

/// The collection of an invoice is stopped, and only a person gets it going.
///
/// # Errors
/// When the database is away.
pub async fn stopped(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    reason: &str,
) -> Result<(), JobError> {
    let message = format!(
        "The collection of this invoice is stopped ({reason}) until a person has looked: `quittance why-not charge` says what to do."
    );
    let alert = about(
        at,
        cycle,
        (
            AlertType::SystemError,
            Severity::Critical,
            Topic::CollectionStopped(cycle.invoice),
        ),
        ("Collection stopped", &message),
        json!({ "reason": reason }),
    );
    raise(conn, at, &alert).await
}

/// The firm's limit for a day is reached. One alert, whose occurrences count the invoices that wait.
async fn too_many_charges(conn: &mut PgConnection, at: At<'_>, cycle: &Cycle) -> Result<(), JobError> {
    let alert = NewAlert {
        kind: AlertType::SystemError,
        severity: Severity::Critical,
        topic: Topic::TooManyCharges,
        title: "The day's limit of charges is reached",
        message: "Further charges wait until a person has looked: `quittance resume autopay --firm-id FIRM --reason R` lets them go on, within \
                  the limit as it is then.",
        invoice: None,
        related: json!({ "last_cycle": cycle.id }),
        cause: at.cause,
    };
    raise(conn, at, &alert).await
}

/// Something about an intent that a person should know.
///
/// # Errors
/// When the database is away.
pub async fn of_note(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    note: Note,
    charge: Option<&str>,
) -> Result<(), JobError> {
    let charge = charge.unwrap_or_default();
    let (kind, topic, title, message) = match note {
        // somebody else's try: the client sees its outcome, and ours goes on
        Note::FailureWithoutAttempt => return Ok(()),
        Note::MoneyAfterEnd => (
            AlertType::DriftDetected,
            Topic::LateMoney(charge),
            "Money came after the collection was given up",
            format!("{charge} succeeded although this invoice was no longer to be collected. The money is recorded; refund it or keep it."),
        ),
        Note::UnexpectedStatus => (
            AlertType::SystemError,
            Topic::CollectionStopped(cycle.invoice),
            "A PaymentIntent is in a state that we never ask for",
            "Somebody may have changed it at Stripe's dashboard; the invoice is not charged until it is settled there.".to_owned(),
        ),
    };
    let alert = about(
        at,
        cycle,
        (kind, Severity::Critical, topic),
        (title, &message),
        json!({ "charge": charge }),
    );
    raise(conn, at, &alert).await
}

/// Money came by card for an invoice that was not open any more, or not for so much: it is the client's credit.
///
/// # Errors
/// When the database is away.
pub async fn of_unapplied(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    charge: &str,
    credit: Money,
) -> Result<(), JobError> {
    let message = format!(
        "{charge} brought {credit} more than was open on this invoice. It is the client's credit: leave it there, or give it back."
    );
    let alert = about(
        at,
        cycle,
        (
            AlertType::DriftDetected,
            Severity::Critical,
            Topic::LateMoney(charge),
        ),
        ("More money came than was open", &message),
        json!({ "charge": charge, "credit_minor": credit.minor() }),
    );
    raise(conn, at, &alert).await
}

async fn payment_failed(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    severity: Severity,
    text: (&str, &str),
    code: Option<&str>,
) -> Result<(), JobError> {
    let topic = Topic::PaymentFailed(cycle.invoice);
    let alert = about(
        at,
        cycle,
        (AlertType::PaymentFailed, severity, topic),
        text,
        json!({ "code": code }),
    );
    raise(conn, at, &alert).await
}

fn about<'a>(
    at: At<'a>,
    cycle: &Cycle,
    (kind, severity, topic): (AlertType, Severity, Topic<'a>),
    (title, message): (&'a str, &'a str),
    mut related: Value,
) -> NewAlert<'a> {
    related["cycle"] = json!(cycle.id);
    related["amount_minor"] = json!(cycle.amount.minor());
    related["currency"] = json!(cycle.amount.currency().as_str());
    NewAlert {
        kind,
        severity,
        topic,
        title,
        message,
        invoice: Some(cycle.invoice),
        related,
        cause: at.cause,
    }
}

async fn raise(conn: &mut PgConnection, at: At<'_>, alert: &NewAlert<'_>) -> Result<(), JobError> {
    alerts::raise(conn, at.firm, at.now, alert).await?;
    Ok(())
}
