//! Writes what an observation means: payment, attempt, cycle, audit and follow-up jobs, in the caller's transaction.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use shared::{
    domain::collection::{
        AttemptChange, AttemptState, AttemptView, CycleChange, CycleState, IntentSeen, IntentStatus, Note,
        Observed, REJECTED_REQUEST, Source, observe, technical as technical_change,
    },
    domain::decline::DeclineClass,
    ids::{FirmId, PaymentId},
    sabotage::{self, Sabotage},
    store::{
        audit::{self, Actor, By, Cause, Entry, Severity},
        corrections,
        cycles::{self, AttemptOutcome, Cycle},
        decisions::{self, Decision},
        payments::{self, NewPayment},
    },
};
use sqlx::PgConnection;

use super::alerts;
use crate::queue::JobError;

/// A payment that Stripe is still processing is looked up this much later, should the webhook be lost.
const PROCESSING_LOOKUP: Duration = Duration::hours(1);
/// First lookup of an unknown outcome: Stripe needs a moment to finish what it was doing.
const UNKNOWN_LOOKUP: Duration = Duration::seconds(10);

/// What an observation changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Something did.
    pub changed: bool,
    /// Where the open attempt stands now, if it was touched.
    pub attempt: Option<AttemptState>,
}

/// The firm, the time and the reason of a change.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Whose rows.
    pub firm: FirmId,
    /// Business time.
    pub now: DateTime<Utc>,
    /// Event or job.
    pub cause: &'a Cause,
}

impl<'a> At<'a> {
    /// The same, done by someone.
    #[must_use]
    pub fn by(&self, actor: &'a Actor) -> By<'a> {
        By {
            actor,
            cause: self.cause,
            at: self.now,
        }
    }
}

/// Applies a PaymentIntent that we saw to its cycle, which the caller holds locked.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn apply(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    seen: &IntentSeen,
    source: Source,
    request_id: Option<&str>,
) -> Result<Applied, JobError> {
    let observed = observe(
        &cycle.view,
        &cycle.attempts,
        match sabotage::is_on(Sabotage::P2CountAgain) {
            true => &[],
            false => &cycle.payments,
        },
        seen,
        source,
        at.now,
    );
    let applied = write(conn, at, cycle, Some(seen), &observed, request_id).await?;
    if seen.status == IntentStatus::Canceled {
        cycles::intent_closed(conn, at.firm, cycle, at.now, at.cause).await?;
    }
    // The payment may be long on record: Stripe often books a charge some time after it was captured.
    if let (Some(charge), Some(fee)) = (&seen.latest_charge, &seen.fee) {
        payments::record_fee(conn, at.firm, charge, fee).await?;
    }
    corrections::settle_void(conn, at.firm, cycle.invoice, &at.by(&at.cause.actor())).await?;
    Ok(applied)
}

/// Records that the open attempt had no effect, as Stripe's own answer shows; it is made again within minutes.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn technical(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    attempt: &AttemptView,
    request_id: Option<&str>,
) -> Result<Applied, JobError> {
    let observed = technical_change(&cycle.view, &cycle.attempts, attempt, at.now);
    let applied = write(conn, at, cycle, None, &observed, request_id).await?;
    corrections::settle_void(conn, at.firm, cycle.invoice, &at.by(&at.cause.actor())).await?;
    Ok(applied)
}

/// Records that nobody knows how the open attempt ended, and has it looked up. One that an event has seen under way
/// meanwhile keeps what is known of it.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn unknown(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    attempt: &AttemptView,
    request_id: Option<&str>,
) -> Result<Applied, JobError> {
    let is_unknown = matches!(attempt.state, AttemptState::Sent | AttemptState::Unknown);
    if attempt.state == AttemptState::Sent {
        let outcome = AttemptOutcome {
            request_id,
            ..AttemptOutcome::default()
        };
        cycles::update_attempt(conn, at.firm, attempt.id, AttemptState::Unknown, &outcome, at.now).await?;
        record_audit(
            conn,
            at,
            cycle,
            "payment.unknown",
            Severity::Warning,
            json!({"attempt": attempt.id}),
        )
        .await?;
    }
    if is_unknown && !cycle.view.state.is_final() && cycle.view.state != CycleState::Unknown {
        let change = cycle.view.change_to(CycleState::Unknown, None);
        cycles::update_cycle(conn, at.firm, cycle, &change).await?;
    }
    cycles::enqueue_reconcile(conn, at.firm, cycle, attempt.id, at.now + UNKNOWN_LOOKUP).await?;
    Ok(Applied {
        changed: true,
        attempt: Some(if is_unknown {
            AttemptState::Unknown
        } else {
            attempt.state
        }),
    })
}

/// Ends the open attempt (if any) as our own fault and stops the cycle until a person has looked.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn hold(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    code: &str,
    request_id: Option<&str>,
) -> Result<Applied, JobError> {
    if let Some(attempt) = cycle.open_attempt() {
        let outcome = AttemptOutcome {
            request_id,
            class: Some("bug"),
            codes: [Some(code), None, None, None],
            charge: None,
        };
        cycles::update_attempt(
            conn,
            at.firm,
            attempt.id,
            AttemptState::Declined,
            &outcome,
            at.now,
        )
        .await?;
    }
    if !cycle.view.state.is_final() {
        let reason = format!("{REJECTED_REQUEST}:{code}");
        let change = cycle.view.change_to(CycleState::Paused, Some(&reason));
        cycles::update_cycle(conn, at.firm, cycle, &change).await?;
        alerts::of_change(conn, at, cycle, &change, Some(code)).await?;
    }
    record_audit(
        conn,
        at,
        cycle,
        "payment.failed",
        Severity::Critical,
        json!({"class": "bug", "code": code}),
    )
    .await?;
    Ok(Applied {
        changed: true,
        attempt: Some(AttemptState::Declined),
    })
}

async fn write(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    seen: Option<&IntentSeen>,
    observed: &Observed,
    request_id: Option<&str>,
) -> Result<Applied, JobError> {
    if let (Some((charge, amount)), Some(seen)) = (&observed.payment, seen) {
        let charge = &match sabotage::is_on(Sabotage::P2CountAgain) {
            true => format!("{charge}_{}", at.cause.id),
            false => charge.clone(),
        };
        let new = NewPayment {
            client: cycle.client,
            invoice: cycle.invoice,
            intent: &seen.id,
            charge,
            amount: *amount,
        };
        if let Some(payment) = payments::record(conn, at.firm, at.now, &new, at.cause).await? {
            let meta = json!({"charge": charge, "amount_minor": amount.minor(), "currency": amount.currency().as_str()});
            record_audit(conn, at, cycle, "payment.succeeded", Severity::Info, meta).await?;
            tell_unapplied(conn, at, cycle, payment, charge).await?;
        }
    }
    if let Some(change) = &observed.attempt {
        write_attempt(conn, at, cycle, change, request_id).await?;
    }
    if let Some(change) = &observed.cycle {
        cycles::update_cycle(conn, at.firm, cycle, change).await?;
        tell_cycle(conn, at, cycle, observed, change).await?;
    }
    if let (Some(note), Some(seen)) = (observed.note, seen) {
        tell_note(conn, at, cycle, seen, note).await?;
    }
    // A card that was replaced while its predecessor was being declined need not wait for anyone.
    if let Some(change) = observed
        .attempt
        .as_ref()
        .filter(|a| a.class == Some(DeclineClass::Hard))
        && cycles::method_refused(conn, at.firm, change.id).await?
        && let Some(cycle) = cycles::lock(conn, at.firm, cycle.id).await?
    {
        cycles::try_new_card(conn, at.firm, &cycle, at.now, at.cause).await?;
    }
    Ok(Applied {
        changed: !observed.is_nothing(),
        attempt: observed.attempt.as_ref().map(|a| a.state),
    })
}

/// A charge that was sent before its invoice was paid by other means, voided or written off takes its money all the same:
/// what was not open any more is the client's credit, and a person should know.
async fn tell_unapplied(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    payment: PaymentId,
    charge: &str,
) -> Result<(), JobError> {
    let unapplied = payments::tell_unapplied(conn, at.firm, payment, &at.by(&at.cause.actor())).await?;
    if let Some(credit) = unapplied {
        let meta = json!({"note": "money_unapplied", "cycle": cycle.id, "charge": charge, "credit_lot": credit.lot,
                          "amount_minor": credit.amount.minor(), "currency": credit.amount.currency().as_str()});
        record_audit(conn, at, cycle, "payment.resolved", Severity::Critical, meta).await?;
        alerts::of_unapplied(conn, at, cycle, charge, credit.amount).await?;
    }
    Ok(())
}

async fn write_attempt(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    change: &AttemptChange,
    request_id: Option<&str>,
) -> Result<(), JobError> {
    let class = cycles::class_word(change.state, change.class);
    let codes = change.codes.as_ref();
    let outcome = AttemptOutcome {
        charge: change.charge.as_deref(),
        request_id,
        class,
        codes: [
            codes.and_then(|c| c.code.as_deref()),
            codes.and_then(|c| c.decline_code.as_deref()),
            codes.and_then(|c| c.advice_code.as_deref()),
            codes.and_then(|c| c.network_decline_code.as_deref()),
        ],
    };
    cycles::update_attempt(conn, at.firm, change.id, change.state, &outcome, at.now).await?;
    let meta = json!({"attempt": change.id, "charge": change.charge, "class": class, "rule": change.rule,
                      "code": outcome.codes[0], "decline_code": outcome.codes[1]});
    match change.state {
        AttemptState::Declined => {
            record_audit(conn, at, cycle, "payment.failed", Severity::Warning, meta).await?;
        }
        AttemptState::Technical => {
            record_audit(conn, at, cycle, "payment.failed", Severity::Info, meta).await?;
        }
        AttemptState::ActionRequired => {
            record_audit(
                conn,
                at,
                cycle,
                "payment.action_required",
                Severity::Warning,
                meta,
            )
            .await?;
        }
        AttemptState::Processing => {
            cycles::enqueue_reconcile(conn, at.firm, cycle, change.id, at.now + PROCESSING_LOOKUP).await?;
        }
        // Somebody canceled its intent, and nothing was taken.
        AttemptState::Canceled => {
            let meta = json!({"attempt": change.id, "note": "intent_canceled"});
            record_audit(conn, at, cycle, "payment.resolved", Severity::Info, meta).await?;
        }
        AttemptState::Succeeded | AttemptState::Created | AttemptState::Sent | AttemptState::Unknown => {}
    }
    Ok(())
}

/// What the cycle does next, as audit and as a decision that `why-not` can show.
async fn tell_cycle(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    observed: &Observed,
    change: &CycleChange,
) -> Result<(), JobError> {
    let class = observed
        .attempt
        .as_ref()
        .and_then(|a| cycles::class_word(a.state, a.class));
    match (&change.next, change.state) {
        (Some(next), _) => {
            let meta = json!({"cycle": cycle.id, "step": next.step, "trigger": next.trigger.as_str(), "at": next.at, "class": class});
            record_audit(conn, at, cycle, "retry.scheduled", Severity::Info, meta).await?;
        }
        (None, CycleState::Exhausted) => {
            let subject = (cycle.invoice, cycle.id);
            cycles::tell_exhausted(conn, at.firm, at.now, subject, change.reason.as_deref(), at.cause)
                .await?;
        }
        (None, CycleState::Canceled) => {
            let meta = json!({"cycle": cycle.id, "reason": change.reason});
            record_audit(conn, at, cycle, "retry.superseded", Severity::Warning, meta).await?;
        }
        (None, _) => {}
    }
    // One that had no effect is made again within minutes, and is nobody's concern until then.
    if let Some(ended) = observed
        .attempt
        .as_ref()
        .filter(|a| matches!(a.state, AttemptState::Declined | AttemptState::ActionRequired))
    {
        let codes = ended.codes.as_ref();
        let code = codes.and_then(|c| c.decline_code.as_deref().or(c.code.as_deref()));
        alerts::of_change(conn, at, cycle, change, code).await?;
    }
    if observed
        .attempt
        .as_ref()
        .is_some_and(|a| matches!(a.state, AttemptState::Declined | AttemptState::Technical))
    {
        let rule = observed.attempt.as_ref().and_then(|a| a.rule);
        let decision = Decision {
            subject_kind: "invoice",
            subject: cycle.invoice.0,
            kind: "retry",
            outcome: change.state.as_str(),
            reason_code: class.unwrap_or("technical"),
            predicates: json!([
                {"name": "failure_class", "ok": null, "value": {"class": class, "rule": rule}},
                {"name": "next_attempt", "ok": change.next.is_some(), "value": change.next.as_ref().map(|n| json!({"at": n.at, "step": n.step}))},
            ]),
            cause: at.cause,
        };
        decisions::record(conn, at.firm, at.now, &decision).await?;
    }
    Ok(())
}

/// Told once, however many events tell of it: nothing but the note itself remembers it.
async fn tell_note(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    seen: &IntentSeen,
    told: Note,
) -> Result<(), JobError> {
    let (action, severity, note) = match told {
        Note::MoneyAfterEnd => ("payment.resolved", Severity::Critical, "money_after_cancel"),
        Note::FailureWithoutAttempt => ("payment.failed", Severity::Info, "failure_without_attempt"),
        Note::UnexpectedStatus => ("payment.unknown", Severity::Critical, "unexpected_intent_status"),
    };
    let meta = json!({"cycle": cycle.id, "note": note, "charge": seen.latest_charge});
    if audit::is_recorded(conn, at.firm, cycle.invoice.0, action, &meta, None).await? {
        return Ok(());
    }
    record_audit(conn, at, cycle, action, severity, meta).await?;
    alerts::of_note(conn, at, cycle, told, seen.latest_charge.as_deref()).await
}

async fn record_audit(
    conn: &mut PgConnection,
    at: At<'_>,
    cycle: &Cycle,
    action: &str,
    severity: Severity,
    meta: Value,
) -> Result<(), JobError> {
    let actor = at.cause.actor();
    let entry = Entry {
        action,
        severity,
        actor,
        subject_kind: "invoice",
        subject: cycle.invoice.0,
        cause: at.cause,
        meta,
    };
    Ok(audit::record(conn, at.firm, at.now, &entry).await?)
}
