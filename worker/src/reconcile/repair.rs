//! Repairs: the object is read at Stripe again and shown to the reducers that the events go through. Facts are added; nothing is
//! rewritten, and nothing is done twice.

use serde_json::json;
use shared::{
    domain::{
        collection::{IntentSeen, Source},
        reconcile::{Action, Finding, Repair},
    },
    ids::{CycleId, FirmId},
    store::{
        Tx,
        audit::{self, Actor, By, Cause},
        cycles, jobs, reconcile as rows,
    },
};
use uuid::Uuid;

use super::tell;
use crate::{
    collection::{self, At},
    context::Context,
    events::{self, Unfetched, charge::SeenCharge, dispute::SeenDispute},
    queue::JobError,
};

/// What became of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// Recorded now.
    Now,
    /// Somebody had repaired this very finding before.
    Before,
}

/// An object as it is at Stripe now.
enum Object {
    Intent(IntentSeen, Option<CycleId>),
    Charge(SeenCharge),
    Dispute(Box<SeenDispute>),
    Lookup(CycleId, IntentSeen, chrono::DateTime<chrono::Utc>),
}

/// Repairs one finding of a firm, seen at `seen_at`; `actor` asked for it. What was repaired since then is not repaired again; a
/// difference that was repaired long ago and has come back is.
///
/// # Errors
/// When Stripe or the database is away, a guard refuses, or what Stripe shows cannot be recorded.
pub async fn repair(
    cx: &Context,
    firm: FirmId,
    finding: &Finding,
    repair: &Repair,
    seen_at: chrono::DateTime<chrono::Utc>,
    (actor, cause): (&Actor, &Cause),
) -> Result<Repaired, JobError> {
    let object = fetch(cx, firm, repair).await?;
    let id = finding.id(firm);
    let mut tx = cx.db.firm(firm).await?;
    rows::lock_repairs(&mut tx, firm).await?;
    let meta = tell::meta(finding);
    if audit::is_recorded(&mut tx, firm, id, "recon.repaired", &meta, Some(seen_at)).await? {
        tx.rollback().await?;
        return Ok(Repaired::Before);
    }
    let at = At {
        firm,
        now: tx.now(),
        cause,
    };
    let applied = match &object {
        Object::Intent(seen, cycle) => {
            let known = events::intent::apply(&mut tx, at, seen).await?;
            match cycle {
                Some(cycle) if !known => events::intent::apply_to_cycle(&mut tx, at, *cycle, seen).await?,
                _ => known,
            }
        }
        Object::Charge(seen) => events::charge::apply(&mut tx, at, seen).await?,
        Object::Dispute(seen) => events::dispute::apply(&mut tx, at, seen).await?,
        Object::Lookup(cycle, seen, asked_at) => look_up(&mut tx, at, *cycle, seen, *asked_at).await?,
    };
    if !applied {
        return Err(JobError::fail(format!(
            "{} belongs to nothing we know",
            repair.target
        )));
    }
    let by = By {
        actor,
        cause,
        at: at.now,
    };
    audit::record(
        &mut tx,
        firm,
        at.now,
        &by.entry("recon.repaired", "finding", id, meta),
    )
    .await?;
    rows::settle(&mut tx, firm, id, at.now).await?;
    tell::alert(&mut tx, firm, &by).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    Ok(Repaired::Now)
}

/// Reads what is to be shown; no transaction is open.
async fn fetch(cx: &Context, firm: FirmId, repair: &Repair) -> Result<Object, JobError> {
    let target = &repair.target;
    let gone = |unfetched| match unfetched {
        Unfetched::NotThere(message) => JobError::fail(message),
        Unfetched::Failed(fault) => fault,
    };
    Ok(match repair.action {
        Action::ApplyIntent => {
            let intent = cx.stripe.payment_intent(target).await?;
            let is_ours = intent.metadata.get("q_firm").map(String::as_str)
                == Some(firm.to_string().as_str())
                && intent.metadata.get("q_scope").map(String::as_str) == Some("client_billing");
            let cycle = intent.metadata.get("q_cycle").filter(|_| is_ours);
            let cycle = cycle.and_then(|cycle| cycle.parse::<Uuid>().ok()).map(CycleId);
            Object::Intent(collection::intent_seen(&intent)?, cycle)
        }
        Action::ApplyCharge => Object::Charge(events::charge::fetch(cx, target).await.map_err(gone)?),
        Action::ApplyDispute => {
            Object::Dispute(Box::new(events::dispute::fetch(cx, target).await.map_err(gone)?))
        }
        Action::LookUp => {
            let cycle = target
                .parse::<Uuid>()
                .map_err(|fault| JobError::fail(fault.to_string()))?;
            let mut tx = cx.db.firm(firm).await?;
            let found = cycles::look_at(&mut tx, firm, CycleId(cycle)).await?;
            let asked_at = tx.real_now();
            tx.rollback().await?;
            let intent = found.and_then(|cycle| cycle.intent);
            let intent =
                intent.ok_or_else(|| JobError::fail(format!("cycle {cycle} has no PaymentIntent")))?;
            let seen = collection::intent_seen(&cx.stripe.payment_intent(&intent).await?)?;
            Object::Lookup(CycleId(cycle), seen, asked_at)
        }
    })
}

/// As `reconcile_payment` does it: what a lookup late enough does not show has not happened.
async fn look_up(
    tx: &mut Tx,
    at: At<'_>,
    cycle: CycleId,
    seen: &IntentSeen,
    asked_at: chrono::DateTime<chrono::Utc>,
) -> Result<bool, JobError> {
    let Some(cycle) = cycles::lock(tx, at.firm, cycle).await? else {
        return Ok(false);
    };
    let applied = collection::apply(tx, at, &cycle, seen, Source::Lookup { asked_at }, None).await?;
    if !applied.changed && cycle.open_attempt().is_some() {
        return Err(JobError::retry(format!(
            "Stripe still shows nothing of {}: {:?}",
            seen.id, seen.status
        )));
    }
    Ok(true)
}

/// As a document shows it.
pub fn shown(finding: Uuid, repair: &Repair, done: Repaired) -> serde_json::Value {
    let state = match done {
        Repaired::Now => "repaired",
        Repaired::Before => "repaired before",
    };
    json!({"id": finding, "action": repair.action, "target": repair.target, "state": state})
}
