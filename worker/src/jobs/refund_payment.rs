//! Gives money back to the card that it came from.
//! Trigger: `quittance invoice refund --to card`.   Effect: at most one refund at Stripe.
//! Idempotent: the refund's row is there before anything is sent, and its id is key and metadata of the call; from the second
//! time on the charge's refunds are searched for it before it is sent again.
//! Gives up: a refusal by Stripe ends the refund; an outcome that nobody knows is looked up after 10 s, 1 m, 5 m, 1 h, 6 h, then
//! daily, for ever.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;
use shared::{
    domain::refund::{Destination, NotRefunded, RefundFacts, RefundState, decide_refund},
    ids::{FirmId, RefundId},
    store::{
        Tx,
        audit::{self, Actor, By, Cause, Severity},
        decisions::{self, Decision},
        jobs::Queue,
        payments::Payment,
        refunds::{self, Order},
    },
};

use super::firm_of;
use crate::{
    collection::At,
    context::Context,
    events::{charge, dispute},
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, secs},
    stripe::{self, Dispute, IdempotencyKey, NewRefund, Permit, Refund},
};

/// See the head of this file.
pub struct RefundPayment;

#[derive(Debug, Deserialize)]
struct Args {
    refund_id: RefundId,
}

impl ExternalJob for RefundPayment {
    const KIND: &'static str = refunds::REFUND;
    const QUEUE: Queue = Queue::Charges;
    const RETRY: Retry = Retry::exponential(Attempts(1000), secs(10), hours(1));
    /// Two calls of at most 60 s with their waiting for a turn.
    const TIME_LIMIT: Duration = Duration::from_secs(180);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let args: Args = claim.job.args()?;
        let run = Run {
            cx,
            claim,
            firm: firm_of(&claim.job)?,
            id: args.refund_id,
            cause: Cause::job(claim.job.id),
        };
        let (tx, order) = run.begin().await?;
        drop(tx);
        if order.state != RefundState::Requested {
            return Ok(Outcome::AlreadyApplied("the refund has an outcome"));
        }
        match order.sent_at {
            Some(_) => run.look_up_then_send(&order).await,
            None => run.make_sure_then_send(&order).await,
        }
    }
}

/// One run of the job.
struct Run<'a> {
    cx: &'a Context,
    claim: &'a Claim,
    firm: FirmId,
    id: RefundId,
    cause: Cause,
}

impl Run<'_> {
    /// A transaction of a claim that holds, and the refund with its invoice locked.
    async fn begin(&self) -> Result<(Tx, Order), JobError> {
        let mut tx = self.cx.db.firm(self.firm).await?;
        self.claim.guard(&mut tx).await?;
        let order = refunds::lock_order(&mut tx, self.firm, self.id).await?;
        Ok((
            tx,
            order.ok_or_else(|| JobError::fail("no such refund to a card"))?,
        ))
    }

    /// Nothing was sent yet. A dispute may be younger than anything that we have heard of it, so Stripe is asked first: a
    /// refund beside a chargeback would cost the money twice (B-09).
    async fn make_sure_then_send(&self, order: &Order) -> Result<Outcome, JobError> {
        let disputes = self.cx.stripe.disputes_of_charge(&order.charge).await?;
        let (mut tx, order) = self.begin().await?;
        if order.state != RefundState::Requested || order.sent_at.is_some() {
            return Ok(Outcome::AlreadyApplied("the refund was sent"));
        }
        let order = self.heed(&mut tx, order, disputes).await?;
        let facts = RefundFacts {
            to: Destination::Card,
            amount: order.part.amount,
            issued: true,
            chargeback_open: order.paid.chargeback_open,
            payments: order
                .paid
                .payments
                .iter()
                .filter(|p| p.payment == order.part.payment)
                .copied()
                .collect(),
        };
        let (decided, checks) = decide_refund(&facts);
        let refused = decided.err();
        let now = tx.now();
        let decision = Decision {
            subject_kind: "invoice",
            subject: order.paid.invoice.0,
            kind: "refund",
            outcome: if refused.is_some() { "cancel" } else { "send" },
            reason_code: refused.map_or("ordered", NotRefunded::code),
            predicates: json!(checks),
            cause: &self.cause,
        };
        decisions::record(&mut tx, self.firm, now, &decision).await?;
        if let Some(why) = refused {
            self.end(&mut tx, &order, RefundState::Canceled, why.code())
                .await?;
            tx.commit().await?;
            return Ok(Outcome::Done(json!({"refund": "canceled", "reason": why.code()})));
        }
        refunds::mark_sent(&mut tx, self.firm, self.id).await?;
        tx.commit().await?;
        self.send(&order).await
    }

    /// Records what Stripe says of the charge's disputes, and reads again what is left of the payment.
    async fn heed(&self, tx: &mut Tx, order: Order, disputes: Vec<Dispute>) -> Result<Order, JobError> {
        if disputes.is_empty() {
            return Ok(order);
        }
        let at = self.at(tx);
        for seen in disputes {
            dispute::apply(tx, at, &dispute::SeenDispute::of_known_payment(seen)).await?;
        }
        let order = refunds::lock_order(tx, self.firm, self.id).await?;
        order.ok_or_else(|| JobError::fail("no such refund to a card"))
    }

    /// Stripe may have heard of it: what is there already is recorded and not made again. A key that Stripe still
    /// remembers keeps a second call harmless beyond that; one that it has forgotten is a day old, and by then the search
    /// shows whatever came of it.
    async fn look_up_then_send(&self, order: &Order) -> Result<Outcome, JobError> {
        let refunds = self.cx.stripe.refunds_of_charge(&order.charge).await?;
        let ours = self.id.to_string();
        match refunds
            .iter()
            .find(|seen| seen.metadata.get("q_refund") == Some(&ours))
        {
            Some(seen) => self.record(seen).await,
            None => self.send(order).await,
        }
    }

    async fn send(&self, order: &Order) -> Result<Outcome, JobError> {
        let metadata = [
            ("q_scope", "client_billing".to_owned()),
            ("q_firm", self.firm.to_string()),
            ("q_invoice", order.paid.invoice.to_string()),
            ("q_refund", self.id.to_string()),
        ];
        let new = NewRefund {
            charge: &order.charge,
            amount: order.part.amount,
            metadata: &metadata,
        };
        let key = IdempotencyKey::refund(self.id);
        match self
            .cx
            .stripe
            .create_refund(&new, &key, &Permit::under(&self.claim.lease))
            .await
        {
            Ok(seen) => self.record(&seen).await,
            Err(error) => match refusal(&error) {
                Some(code) => self.refused(code, &error).await,
                None if matches!(error, stripe::Error::Unknown { .. }) => self.unknown(&error).await,
                None => Err(error.into()),
            },
        }
    }

    /// The answer, or what a search found, goes the way that events go.
    async fn record(&self, seen: &Refund) -> Result<Outcome, JobError> {
        let (mut tx, order) = self.begin().await?;
        let payment = Payment {
            id: order.part.payment,
            invoice: Some(order.paid.invoice),
            amount: order.part.amount,
        };
        let at = self.at(&tx);
        let state = charge::record_refund(&mut tx, at, &payment, seen).await?;
        tx.commit().await?;
        Ok(Outcome::Done(
            json!({"refund": state, "stripe_refund_id": seen.id}),
        ))
    }

    /// Stripe wants to give nothing back: the refund ends, and its amount can be refunded otherwise.
    async fn refused(&self, code: &str, error: &stripe::Error) -> Result<Outcome, JobError> {
        tracing::warn!(refund.id = %self.id, error = %error, "Stripe refused a refund");
        let (mut tx, order) = self.begin().await?;
        // An event may have brought the refund meanwhile.
        if order.state != RefundState::Requested {
            return Ok(Outcome::AlreadyApplied("the refund has an outcome"));
        }
        self.end(&mut tx, &order, RefundState::Failed, code).await?;
        tx.commit().await?;
        Ok(Outcome::Done(json!({"refund": "failed", "reason": code})))
    }

    /// Nobody knows what came of it; it is looked up.
    async fn unknown(&self, error: &stripe::Error) -> Result<Outcome, JobError> {
        let (tx, order) = self.begin().await?;
        let now = tx.now();
        Ok(Outcome::Snooze {
            until: next_look(order.sent_at.unwrap_or(now), now),
            reason: error.to_string(),
        })
    }

    async fn end(&self, tx: &mut Tx, order: &Order, state: RefundState, code: &str) -> Result<(), JobError> {
        refunds::end(tx, self.firm, self.id, state, code).await?;
        let by = By {
            actor: &Actor::System,
            cause: &self.cause,
            at: tx.now(),
        };
        let meta = json!({"refund": self.id, "amount_minor": order.part.amount.minor(), "currency": order.part.amount.currency(),
                          "status": state, "failure": code});
        let mut entry = by.entry("refund.failed", "invoice", order.paid.invoice.0, meta);
        entry.severity = Severity::Warning;
        Ok(audit::record(tx, self.firm, by.at, &entry).await?)
    }

    fn at(&self, tx: &Tx) -> At<'_> {
        At {
            firm: self.firm,
            now: tx.now(),
            cause: &self.cause,
        }
    }
}

/// Codes of refusals that are ours, not Stripe's: they say nothing about the refund.
const NOT_STRIPES: [&str; 6] = [
    "missing_field",
    "livemode_mismatch",
    "malformed_id",
    "endless_list",
    "refused_by_us",
    // The key was used for another refund: a fault of ours that a person must look at, never answered by another key.
    "idempotency_error",
];

/// Stripe's code for a refusal that is final and had no effect.
fn refusal(error: &stripe::Error) -> Option<&str> {
    match error {
        stripe::Error::Invalid { code, .. } if !NOT_STRIPES.contains(&code.as_str()) => Some(code),
        stripe::Error::NotFound { .. } => Some("no_such_charge"),
        _ => None,
    }
}

/// 10 s, 1 m, 5 m, 1 h and 6 h after it was sent, then every day.
fn next_look(sent_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    [
        TimeDelta::seconds(10),
        TimeDelta::minutes(1),
        TimeDelta::minutes(5),
        TimeDelta::hours(1),
        TimeDelta::hours(6),
    ]
    .into_iter()
    .map(|after| sent_at + after)
    .find(|at| *at > now)
    .unwrap_or(now + TimeDelta::days(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b15_an_unknown_refund_is_looked_at_for_ever() {
        let sent = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut now = sent;
        let mut looks = Vec::new();
        for _ in 0..7 {
            now = next_look(sent, now);
            looks.push((now - sent).num_seconds());
        }
        assert_eq!(looks, [10, 60, 300, 3_600, 21_600, 108_000, 194_400]);
    }

    #[test]
    fn only_a_refusal_of_stripes_own_ends_a_refund() {
        let invalid = |code: &str| stripe::Error::Invalid {
            code: code.into(),
            param: None,
            message: String::new(),
            request_id: None,
        };
        for code in [
            "charge_disputed",
            "charge_already_refunded",
            "invalid_request_error",
        ] {
            assert_eq!(refusal(&invalid(code)), Some(code));
        }
        for code in NOT_STRIPES {
            assert_eq!(refusal(&invalid(code)), None, "{code}");
        }
        let unknown = stripe::Error::Unknown {
            reason: "timed out".into(),
            request_id: None,
        };
        assert_eq!(refusal(&unknown), None);
    }
}
