//! A charge that a person asks for: one attempt outside the retry policy, under every condition but the time and the firm's
//! limits.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    change::update_cycle,
    cycle::{Cycle, charge_facts, charge_facts_without_cycle, lock, order_key},
    enqueue::{COLLECT, enqueue_cancel},
    start::{Start, history, insert, last_step},
};
use crate::{
    domain::collection::{ChargeFacts, CycleState, CycleView, NextAttempt, Trigger, decide_by_hand},
    ids::{CycleId, FirmId, InvoiceId, JobId},
    money::Money,
    store::{
        audit::{self, By},
        decisions::{self, Decision},
        error::Result,
        jobs::{self, NewJob, Queue},
        payments,
    },
};

/// What became of the wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// This job charges so much.
    Charges(JobId, Money),
    /// The PaymentIntent of the collection that came to its end is being canceled: ask again when that has ended.
    Wait,
    /// Not to be charged, for this reason.
    Refuse(&'static str),
}

/// Makes an invoice due at once, on a person's word. A collection that came to its end without the money begins once more,
/// with what is left of its retry policy: after its last step, the attempt is the only one.
///
/// # Errors
/// When the database is away, or there is no such invoice.
pub async fn charge_by_hand(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<ByHand> {
    payments::lock_invoice(conn, firm, invoice).await?;
    let latest = match latest(conn, firm, invoice).await? {
        Some(id) => lock(conn, firm, id).await?,
        None => None,
    };
    let facts = match &latest {
        Some(cycle) => charge_facts(conn, firm, cycle.id).await?,
        None => charge_facts_without_cycle(conn, firm, invoice).await?,
    };
    if latest
        .as_ref()
        .is_some_and(|cycle| cycle.open_attempt().is_some())
    {
        return Ok(ByHand::Refuse("in_flight"));
    }
    let (decision, checks) = decide_by_hand(&facts, by.at);
    let (outcome, why) = match decision {
        Ok(()) => ("charge", "by_hand"),
        Err(reason) => ("refuse", reason),
    };
    let record = Decision {
        subject_kind: "invoice",
        subject: invoice.0,
        kind: "charge",
        outcome,
        reason_code: why,
        predicates: json!(checks),
        cause: by.cause,
    };
    decisions::record(conn, firm, by.at, &record).await?;
    if let Err(reason) = decision {
        return Ok(ByHand::Refuse(reason));
    }
    let live = latest.as_ref().filter(|cycle| !cycle.view.state.is_final());
    let (id, version) = match (live, &latest) {
        (Some(cycle), _) => go_on(conn, firm, cycle, by).await?,
        // What stands at Stripe could still be paid there, beside what we are about to charge.
        (None, Some(ended)) if ended.intent.is_some() && !ended.intent_closed => {
            enqueue_cancel(conn, firm, ended, by.at).await?;
            return Ok(ByHand::Wait);
        }
        (None, _) => begin(conn, firm, invoice, &facts, by).await?,
    };
    let meta = json!({"cycle": id, "trigger": "manual", "at": by.at, "reason": reason});
    let entry = by.entry("retry.scheduled", "invoice", invoice.0, meta);
    audit::record(conn, firm, by.at, &entry).await?;
    Ok(ByHand::Charges(job_of(conn, id, version).await?, facts.open))
}

async fn latest(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Option<CycleId>> {
    let id = sqlx::query_scalar!(
        "select id from collection_cycles where firm_id = $1 and invoice_id = $2 order by seq desc limit 1",
        firm.0,
        invoice.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(id.map(CycleId))
}

/// The attempt repeats the step that was made last, so that a decline is followed by the one after it; where none was made
/// and the first one's day lies ahead, by that.
async fn go_on(conn: &mut PgConnection, firm: FirmId, cycle: &Cycle, by: &By<'_>) -> Result<(CycleId, i32)> {
    let next = NextAttempt {
        at: by.at,
        step: last_step(conn, firm, cycle).await?,
        trigger: Trigger::Manual,
    };
    let change = cycle.view.wait_for_next(next, Some("by_hand"));
    update_cycle(conn, firm, cycle, &change).await?;
    Ok((cycle.id, cycle.version + 1))
}

async fn begin(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    facts: &ChargeFacts,
    by: &By<'_>,
) -> Result<(CycleId, i32)> {
    let owner = sqlx::query!(
        "select i.client_id, cl.stripe_customer_id, f.retry_policy
           from invoices i join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id join firms f on f.id = i.firm_id
          where i.firm_id = $1 and i.id = $2",
        firm.0,
        invoice.0
    )
    .fetch_one(&mut *conn)
    .await?;
    let earlier = history(conn, firm, invoice).await?;
    let step = earlier
        .iter()
        .flat_map(|(history, _)| &history.failures)
        .map(|failure| failure.step)
        .max();
    let next = NextAttempt {
        at: by.at,
        step: step.unwrap_or(0),
        trigger: Trigger::Manual,
    };
    let (first_failed_at, stored) = match &earlier {
        Some((history, stored)) => (history.first_failed_at, stored.clone()),
        None => (None, owner.retry_policy),
    };
    let view = CycleView {
        state: CycleState::Scheduled,
        first_failed_at,
        policy: super::words::policy(stored.clone())?,
        deadline: None,
        first_due: None,
    };
    let start = Start {
        change: view.wait_for_next(next, Some("by_hand")),
        policy: stored,
    };
    let id = CycleId::new();
    let open = (facts.open.minor(), facts.open.currency().as_str());
    insert(conn, firm, invoice, id, open, &start).await?;
    let key = order_key(owner.stripe_customer_id.as_deref(), owner.client_id.into());
    let job = NewJob::new(
        Queue::Charges,
        COLLECT,
        format!("{id}:v1"),
        json!({"cycle_id": id}),
        by.at,
    );
    jobs::enqueue(conn, &job.firm(firm).in_order_of(key)).await?;
    Ok((id, 1))
}

async fn job_of(conn: &mut PgConnection, cycle: CycleId, version: i32) -> Result<JobId> {
    let id = sqlx::query_scalar!(
        "select id from jobs where kind = $1 and dedupe_key = $2",
        COLLECT,
        format!("{cycle}:v{version}")
    )
    .fetch_one(conn)
    .await?;
    Ok(JobId(id))
}
