//! Makes the next attempt to collect an invoice.
//! Trigger: the invoice was issued, a step of the retry policy falls due, a card was replaced.
//! Effect: at most one confirmation of the cycle's PaymentIntent.
//! Idempotent: the attempt is written down before anything is sent; its key derives from its id; an attempt that was sent
//! and whose end is not known is looked up, never sent again; what could not be sent at once is not sent at all; one
//! PaymentIntent captures at most once whatever we do.
//! Gives up: a decline moves the cycle on; our own faults pause it for a person; the rest is tried again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::{
    domain::collection::{
        AttemptState, AttemptView, ChargeDecision, CycleState, IntentStatus, NO_EFFECT_AFTER, Source,
        decide_charge, decide_send,
    },
    domain::predicate::Predicate,
    ids::AttemptId,
    money::Money,
    sabotage::{self, Sabotage},
    store::{
        Tx,
        audit::{self, Actor, Entry, Severity},
        brakes,
        cycles::{self, AttemptOrder, Cycle, NewAttempt},
        decisions::{self, Decision},
        jobs::Queue,
    },
};

use super::cycle::CycleRun;
use crate::{
    brake::Brake,
    collection,
    context::Context,
    deadline::Deadline,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, secs},
    stripe::{self, CreateIntent, IdempotencyKey, PaymentIntent, Permit},
};

/// See the head of this file.
pub struct CollectInvoice;

/// How long an attempt waits while the client is paying the intent some other way.
const UNDER_WAY_REST: TimeDelta = TimeDelta::minutes(10);

/// Longest time from marking an attempt sent to its first byte on the wire; more than a turn and a connection take. With
/// the longest call behind it, it ends before anybody may conclude that it was never sent.
const SEND_WITHIN: Duration = Duration::from_secs(20);
const _: () = assert!(
    SEND_WITHIN.as_secs() + stripe::LONGEST_TIMEOUT.as_secs() < NO_EFFECT_AFTER.num_seconds().unsigned_abs()
);

/// Runs that prepare an attempt with the same key before it counts as technical.
const SAME_KEY_RUNS: i32 = 3;

impl ExternalJob for CollectInvoice {
    const KIND: &'static str = cycles::COLLECT;
    const QUEUE: Queue = Queue::Charges;
    const RETRY: Retry = Retry::exponential(Attempts(25), secs(10), hours(1));
    /// Three calls of at most 60 s with their waiting for a turn.
    const TIME_LIMIT: Duration = Duration::from_secs(240);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let run = CycleRun::of(cx, claim)?;
        match run.decide().await? {
            Begin::Nothing(outcome) => Ok(outcome),
            Begin::Lookup { cycle, asked_at } => run.look_up(&cycle, asked_at).await,
            Begin::Confirm { cycle, attempt } => run.charge(cycle, attempt).await,
        }
    }
}

/// What the first transaction found.
enum Begin {
    /// Nothing to send.
    Nothing(Outcome),
    /// An attempt was sent by a run that did not live to see its end.
    Lookup {
        cycle: Box<Cycle>,
        asked_at: DateTime<Utc>,
    },
    /// This attempt is written down and not sent.
    Confirm { cycle: Box<Cycle>, attempt: AttemptId },
}

impl CycleRun<'_> {
    /// Decides under the invoice's lock, and writes the attempt down.
    async fn decide(&self) -> Result<Begin, JobError> {
        let (mut tx, cycle) = self.begin().await?;
        if let Some(open) = cycle.open_attempt() {
            let attempt = open.id;
            return Ok(match open.state {
                AttemptState::Created => Begin::Confirm {
                    attempt,
                    cycle: Box::new(cycle),
                },
                AttemptState::Sent | AttemptState::Unknown => Begin::Lookup {
                    cycle: Box::new(cycle),
                    asked_at: tx.real_now(),
                },
                _ => Begin::Nothing(Outcome::AlreadyApplied("an attempt is under way")),
            });
        }
        let now = tx.now();
        cycles::take_turns(&mut tx, self.firm).await?;
        let facts = cycles::charge_facts(&mut tx, self.firm, cycle.id).await?;
        let (decision, checks) = decide_charge(&facts, self.args.due_at(cycle.version, now));
        let (outcome, reason) = (decision.outcome(), decision.reason_code());
        self.record_decision(&mut tx, &cycle, (outcome, reason), &checks)
            .await?;
        let begin = match decision {
            ChargeDecision::NotNow(reason) => Begin::Nothing(Outcome::AlreadyApplied(reason)),
            ChargeDecision::Cancel(reason) => {
                cycles::cancel(&mut tx, self.firm, &cycle, now, reason, &self.cause).await?;
                Begin::Nothing(Outcome::Done(json!({"canceled": reason})))
            }
            ChargeDecision::Hold { state, reason } => {
                let change = match state.when_waited_in_vain() {
                    Some(_) => cycle.view.wait_for_client(state, Some(reason), now),
                    None => cycle.view.change_to(state, Some(reason)),
                };
                cycles::update_cycle(&mut tx, self.firm, &cycle, &change).await?;
                if change.state == CycleState::Exhausted {
                    let (subject, why) = ((cycle.invoice, cycle.id), change.reason.as_deref());
                    cycles::tell_exhausted(&mut tx, self.firm, now, subject, why, &self.cause).await?;
                }
                let at = self.at(&tx);
                collection::alerts::of_change(&mut tx, at, &cycle, &change, Some(reason)).await?;
                Begin::Nothing(Outcome::Done(json!({"held": reason})))
            }
            ChargeDecision::Charge {
                method,
                amount,
                step,
                trigger,
            } => {
                let id = AttemptId::new();
                let attempt = NewAttempt {
                    id,
                    cycle: cycle.id,
                    seq: cycle.attempts.last().map_or(1, |a| a.seq + 1),
                    step,
                    trigger,
                    method,
                    amount,
                    idempotency_key: IdempotencyKey::confirm(id).as_str().to_owned(),
                };
                cycles::insert_attempt(&mut tx, self.firm, now, &attempt).await?;
                let in_flight = cycle.view.change_to(CycleState::InFlight, None);
                cycles::update_cycle(&mut tx, self.firm, &cycle, &in_flight).await?;
                let meta = json!({"attempt": id, "step": step, "trigger": trigger.as_str(), "amount_minor": amount.minor(),
                                  "currency": amount.currency().as_str()});
                let entry = Entry {
                    action: "payment.attempted",
                    severity: Severity::Info,
                    actor: Actor::System,
                    subject_kind: "invoice",
                    subject: cycle.invoice.0,
                    cause: &self.cause,
                    meta,
                };
                audit::record(&mut tx, self.firm, now, &entry).await?;
                Begin::Confirm {
                    cycle: Box::new(cycle),
                    attempt: id,
                }
            }
        };
        tx.commit().await?;
        Ok(begin)
    }

    /// Creates the intent where there is none (no money moves), or finds out how far it is; confirms it.
    async fn charge(&self, cycle: Box<Cycle>, attempt: AttemptId) -> Result<Outcome, JobError> {
        let order = {
            let mut tx = self.cx.db.firm(self.firm).await?;
            cycles::attempt_order(&mut tx, self.firm, attempt).await?
        };
        let ready = match &cycle.intent {
            Some(intent) => self.bring_in_step(intent, attempt, order.amount).await,
            None => self.create(&cycle, attempt, order.amount).await,
        };
        let intent = match ready {
            Ok(Ready::Confirm(intent)) => intent,
            Ok(Ready::UnderWay(seen)) => return self.under_way(&seen).await,
            Err(error) => return self.not_ready(error).await,
        };
        let permit = match self.mark_sent(attempt, &intent, &order).await? {
            Marked::Sent(permit) => permit,
            Marked::Unwanted(outcome) => return Ok(outcome),
        };
        let key = IdempotencyKey::parse(&order.idempotency_key).map_err(|e| JobError::fail(e.to_string()))?;
        let answer = self
            .cx
            .stripe
            .confirm_payment_intent(&intent, &order.stripe_payment_method, &key, &permit)
            .await;
        self.record(&intent, answer).await
    }

    async fn create(&self, cycle: &Cycle, attempt: AttemptId, amount: Money) -> Result<Ready, stripe::Error> {
        let metadata = [
            ("q_scope", "client_billing".to_owned()),
            ("q_firm", self.firm.to_string()),
            ("q_invoice", cycle.invoice.to_string()),
            ("q_cycle", cycle.id.to_string()),
        ];
        let customer = cycle.customer.as_deref().unwrap_or_default();
        let new = CreateIntent {
            amount,
            customer,
            metadata: &metadata,
        };
        let intent = self
            .cx
            .stripe
            .create_payment_intent(&new, &IdempotencyKey::create(attempt))
            .await?;
        asks_for(&intent, amount)?;
        Ok(Ready::Confirm(intent.id))
    }

    /// An intent that exists may have moved on since we last saw it, and what it asks for may not be what we think: an
    /// update whose answer was lost, a person at Stripe's dashboard. Reading it first costs little; confirming a wrong
    /// amount costs the client.
    async fn bring_in_step(
        &self,
        intent: &str,
        attempt: AttemptId,
        amount: Money,
    ) -> Result<Ready, stripe::Error> {
        let seen = self.cx.stripe.payment_intent(intent).await?;
        if !is_confirmable(&seen) {
            return Ok(Ready::UnderWay(Box::new(seen)));
        }
        if asks_for(&seen, amount).is_ok() {
            return Ok(Ready::Confirm(seen.id));
        }
        let key = IdempotencyKey::update(attempt, amount);
        match self
            .cx
            .stripe
            .update_payment_intent_amount(intent, amount, &key, &Permit::under(&self.claim.lease))
            .await
        {
            Ok(updated) => {
                asks_for(&updated, amount)?;
                Ok(Ready::Confirm(updated.id))
            }
            // it moved on this very moment
            Err(stripe::Error::UnexpectedState { .. }) => Ok(Ready::UnderWay(Box::new(
                self.cx.stripe.payment_intent(intent).await?,
            ))),
            Err(error) => Err(error),
        }
    }

    /// The intent is not ours to confirm now: it is paid, canceled, or somebody is paying it.
    async fn under_way(&self, seen: &PaymentIntent) -> Result<Outcome, JobError> {
        let seen = collection::intent_seen(seen)?;
        let (mut tx, cycle) = self.begin().await?;
        let at = self.at(&tx);
        let applied = collection::apply(&mut tx, at, &cycle, &seen, Source::Event, None).await?;
        tx.commit().await?;
        Ok(match (applied.attempt, cycle.open_attempt()) {
            (None, Some(_)) => Outcome::Snooze {
                until: at.now + UNDER_WAY_REST,
                reason: format!("the PaymentIntent is {:?}", seen.status),
            },
            (state, _) => Outcome::Done(json!({"attempt": state.map(AttemptState::as_str)})),
        })
    }

    /// Looks once more, under the invoice's lock, whether the attempt is still wanted as it was decided; an attempt may
    /// have waited here for days. From here on its outcome is looked up, never assumed, and it is sent soon or not at all.
    ///
    /// An attempt that is still `created` was never sent, whatever its age: its key is as new as on the first day.
    async fn mark_sent(
        &self,
        attempt: AttemptId,
        intent: &str,
        order: &AttemptOrder,
    ) -> Result<Marked, JobError> {
        let (mut tx, cycle) = self.begin().await?;
        let now = tx.now();
        cycles::set_intent(&mut tx, self.firm, cycle.id, intent).await?;
        cycles::set_amount(&mut tx, self.firm, cycle.id, order.amount).await?;
        let unsent = cycle
            .open_attempt()
            .filter(|a| a.id == attempt && a.state == AttemptState::Created);
        let Some(unsent) = unsent else {
            // Switched off or voided while the intent was being created: what stands at Stripe is canceled.
            if cycle.view.state == CycleState::Canceled {
                cycles::enqueue_cancel(&mut tx, self.firm, &cycle, now).await?;
            }
            tx.commit().await?;
            return Ok(Marked::Unwanted(Outcome::AlreadyApplied(
                "the attempt was settled before it was sent",
            )));
        };
        // Read first: a pause that the facts do not show yet changes it later.
        let brake = Brake::at(&self.cx.db, brakes::number(&mut tx).await?);
        let facts = cycles::charge_facts(&mut tx, self.firm, cycle.id).await?;
        let (send, checks) = decide_send(&facts, order.method, order.amount, now);
        let marked = match send {
            Ok(()) => {
                // Read before the row's own time, so that it ends before anybody's who counts from that.
                let deadline = Deadline::after(SEND_WITHIN);
                cycles::mark_sent(&mut tx, self.firm, attempt).await?;
                Marked::Sent(Permit::under(&self.claim.lease).by(deadline).until(brake))
            }
            Err(reason) => {
                self.record_decision(&mut tx, &cycle, ("take_back", reason), &checks)
                    .await?;
                cycles::take_back(&mut tx, self.firm, &cycle, unsent, now, reason, &self.cause).await?;
                Marked::Unwanted(Outcome::Done(json!({"superseded": reason})))
            }
        };
        tx.commit().await?;
        Ok(marked)
    }

    async fn record_decision(
        &self,
        tx: &mut Tx,
        cycle: &Cycle,
        (outcome, reason_code): (&str, &str),
        checks: &[Predicate],
    ) -> Result<(), JobError> {
        let decision = Decision {
            subject_kind: "invoice",
            subject: cycle.invoice.0,
            kind: "charge",
            outcome,
            reason_code,
            predicates: json!(checks),
            cause: &self.cause,
        };
        let now = tx.now();
        Ok(decisions::record(tx, self.firm, now, &decision).await?)
    }

    /// Nothing was confirmed: the same attempt is made again, or a person must look.
    async fn not_ready(&self, error: stripe::Error) -> Result<Outcome, JobError> {
        match error {
            // Creating and updating move no money, and are repeated with the same key; a server error that Stripe keeps
            // replaying for that key needs another attempt with another key.
            stripe::Error::Unknown { .. } if self.claim.job.attempt < SAME_KEY_RUNS => {
                Err(JobError::retry(error.to_string()))
            }
            stripe::Error::Unknown { .. }
            | stripe::Error::NotSent { .. }
            | stripe::Error::Unavailable { .. }
            | stripe::Error::Auth { .. } => self.settle(Settle::Technical, &error).await,
            stripe::Error::Declined(_)
            | stripe::Error::NotFound { .. }
            | stripe::Error::UnexpectedState { .. }
            | stripe::Error::Invalid { .. } => self.settle(|_| Settle::Hold, &error).await,
        }
    }

    /// Records the answer to the confirmation.
    async fn record(&self, intent: &str, answer: stripe::Call<PaymentIntent>) -> Result<Outcome, JobError> {
        match answer {
            Ok(seen) => self.observe(&seen, Source::Response).await,
            Err(stripe::Error::Declined(decline)) => match &decline.intent {
                Some(seen) if seen.last_payment_error.is_some() => self.observe(seen, Source::Response).await,
                _ => {
                    let seen = collection::declined_without_intent(intent, &decline);
                    self.apply(&seen, Source::Response, decline.request_id.as_deref())
                        .await
                }
            },
            Err(stripe::Error::UnexpectedState {
                intent: Some(seen), ..
            }) => {
                if seen.status == "succeeded" {
                    self.cx.metrics.double_charge_blocked.inc();
                }
                self.observe(&seen, Source::Event).await
            }
            Err(error @ stripe::Error::Unknown { .. }) if sabotage::is_on(Sabotage::P3AssumeNothing) => {
                self.settle(Settle::Technical, &error).await
            }
            Err(
                error @ (stripe::Error::Unknown { .. }
                | stripe::Error::UnexpectedState { .. }
                | stripe::Error::Unavailable { .. }),
            ) => self.settle(Settle::Unknown, &error).await,
            Err(error @ (stripe::Error::NotSent { .. } | stripe::Error::Auth { .. })) => {
                self.settle(Settle::Technical, &error).await
            }
            // the card is gone from Stripe: like a hard decline it waits for another one
            Err(stripe::Error::Invalid {
                param: Some(param),
                code,
                request_id,
                ..
            }) if param == "payment_method" && code == "resource_missing" => {
                self.apply(
                    &collection::method_gone(intent),
                    Source::Response,
                    request_id.as_deref(),
                )
                .await
            }
            Err(error @ (stripe::Error::Invalid { .. } | stripe::Error::NotFound { .. })) => {
                self.settle(|_| Settle::Hold, &error).await
            }
        }
    }

    async fn observe(&self, seen: &PaymentIntent, source: Source) -> Result<Outcome, JobError> {
        let request_id = seen.request_id.clone();
        self.apply(&collection::intent_seen(seen)?, source, request_id.as_deref())
            .await
    }

    async fn apply(
        &self,
        seen: &shared::domain::collection::IntentSeen,
        source: Source,
        request_id: Option<&str>,
    ) -> Result<Outcome, JobError> {
        let (mut tx, cycle) = self.begin().await?;
        let at = self.at(&tx);
        let applied = collection::apply(&mut tx, at, &cycle, seen, source, request_id).await?;
        // Nothing settled: the attempt is out there, and only another look will tell. One that an event has moved on
        // meanwhile is known to be under way.
        if let (Some(open), None) = (
            cycle
                .open_attempt()
                .filter(|a| matches!(a.state, AttemptState::Sent | AttemptState::Unknown)),
            applied.attempt,
        ) {
            collection::unknown(&mut tx, at, &cycle, open, request_id).await?;
        }
        tx.commit().await?;
        Ok(Outcome::Done(
            json!({"attempt": applied.attempt.map(AttemptState::as_str)}),
        ))
    }

    async fn settle(
        &self,
        how: impl Fn(AttemptView) -> Settle,
        error: &stripe::Error,
    ) -> Result<Outcome, JobError> {
        tracing::warn!(cycle.id = %self.args.cycle_id, error = %error, "a charge did not go through");
        let (mut tx, cycle) = self.begin().await?;
        // A webhook may have settled it meanwhile.
        let Some(open) = cycle.open_attempt().cloned() else {
            return Ok(Outcome::AlreadyApplied("settled by an event"));
        };
        let at = self.at(&tx);
        let request_id = error.request_id();
        let applied = match how(open) {
            Settle::Technical(open) => collection::technical(&mut tx, at, &cycle, &open, request_id).await?,
            Settle::Unknown(open) => collection::unknown(&mut tx, at, &cycle, &open, request_id).await?,
            Settle::Hold => {
                let code = match error {
                    stripe::Error::Invalid { code, .. } | stripe::Error::UnexpectedState { code, .. } => {
                        code.as_str()
                    }
                    stripe::Error::NotFound { .. } => "not_found",
                    _ => "rejected",
                };
                collection::hold(&mut tx, at, &cycle, code, request_id).await?
            }
        };
        tx.commit().await?;
        Ok(Outcome::Done(
            json!({"attempt": applied.attempt.map(AttemptState::as_str), "error": error.to_string()}),
        ))
    }

    /// A run before this one sent the attempt and did not live to record its end: ask, never send again.
    async fn look_up(&self, cycle: &Cycle, asked_at: DateTime<Utc>) -> Result<Outcome, JobError> {
        let Some(intent) = &cycle.intent else {
            return Err(JobError::fail("an attempt was sent without a PaymentIntent"));
        };
        let seen = self.cx.stripe.payment_intent(intent).await?;
        self.observe(&seen, Source::Lookup { asked_at }).await
    }
}

/// What the last look at an attempt came to.
enum Marked {
    /// It is marked sent, and may be sent while this holds.
    Sent(Permit),
    /// It must not be sent.
    Unwanted(Outcome),
}

/// What stands before the confirmation.
enum Ready {
    /// This intent asks for the right amount and can be confirmed.
    Confirm(String),
    /// It is paid, canceled, or somebody is paying it.
    UnderWay(Box<PaymentIntent>),
}

fn is_confirmable(intent: &PaymentIntent) -> bool {
    matches!(
        IntentStatus::from(intent.status.as_str()),
        IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation
    )
}

/// An intent that asks for anything but what we want is our fault or somebody's hand; it is not confirmed.
fn asks_for(intent: &PaymentIntent, amount: Money) -> Result<(), stripe::Error> {
    if intent.amount == amount.minor() && intent.currency == amount.currency().as_str() {
        return Ok(());
    }
    Err(stripe::Error::Invalid {
        code: "amount_mismatch".into(),
        param: Some("amount".into()),
        message: format!(
            "wanted {} {}, the PaymentIntent asks for {} {}",
            amount.minor(),
            amount.currency().as_str(),
            intent.amount,
            intent.currency
        ),
        request_id: intent.request_id.clone(),
    })
}

/// How an attempt without an answer ends.
enum Settle {
    /// No effect; again within minutes.
    Technical(AttemptView),
    /// Nobody knows; looked up.
    Unknown(AttemptView),
    /// Our fault; a person must look.
    Hold,
}
