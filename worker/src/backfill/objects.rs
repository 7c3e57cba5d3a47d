//! Stripe's charges, refunds and disputes against the books; and the intents of attempts whose end is not known.
//!
//! Each that the books do not show as it is becomes an event of ours in the inbox (`sweep.charge` …), by which the usual job
//! fetches and applies it. The event's id holds what was seen: the same thing seen again is the same event, so a difference
//! that cannot be mended is not put down every day.
//!
//! A list is read in passes, from its newest object to its oldest. How far a pass has come is noted with every page, so that
//! an account with more objects than a run has time for is read by several of them.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::{
    clock::real_now,
    domain::{collection::IntentStatus, event::Event, refund::RefundState},
    ids::AttemptId,
    store::backfill::{self, OpenIntent, Pass, ReadList},
};
use uuid::Uuid;

use super::{Found, Sink, by_stripes_clock, days};
use crate::{
    context::Context,
    queue::JobError,
    stripe::{self, Charge, Dispute, List, Raw, Refund, ShapeError, StripeObject},
};

/// What came into being within the last hour is left to its webhook, which may be on its way.
const FRESH: TimeDelta = match TimeDelta::try_hours(1) {
    Some(delta) => delta,
    None => TimeDelta::MAX,
};
/// How far a first run goes back.
const FIRST: TimeDelta = days(90);
/// Charges are read again for a week: that long a fee may take to be known.
const CHARGES_AGAIN: TimeDelta = days(7);
/// Refunds are read again for as long as one may still fail after it had succeeded: thirty days, says Stripe.
const REFUNDS_AGAIN: TimeDelta = days(35);
/// Disputes are read again for as long as they usually take. There are few.
const DISPUTES_AGAIN: TimeDelta = days(120);
/// What is still open by our books is read again, however old, but no further than this.
const OPEN_AGAIN: TimeDelta = days(400);
/// An attempt without an end this long after it was sent is looked at.
const LOST_AFTER: TimeDelta = match TimeDelta::try_minutes(15) {
    Some(delta) => delta,
    None => TimeDelta::MAX,
};
/// Intents whose ids are read at a time; each is then asked for by itself.
const INTENTS_PAGE: i32 = 100;
/// A pass that an earlier run has left unfinished is followed by a new one when it leaves out this much; else tomorrow's run
/// is early enough.
const STALE: TimeDelta = match TimeDelta::try_hours(12) {
    Some(delta) => delta,
    None => TimeDelta::MAX,
};

/// What each sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Intents of attempts without an end.
    pub payment_intents: Found,
    /// Charges that are not in the books, or whose fee is not.
    pub charges: Found,
    /// Refunds that the books do not have, or have in another state.
    pub refunds: Found,
    /// Disputes that the books do not have, have with another status, or without all movements.
    pub disputes: Found,
}

impl Swept {
    /// How much was found in all.
    #[must_use]
    pub fn found(&self) -> u64 {
        [
            &self.payment_intents,
            &self.charges,
            &self.refunds,
            &self.disputes,
        ]
        .iter()
        .map(|found| found.new)
        .sum()
    }
}

/// Sweeps all objects created since `since`, or for as far back as each may still change.
///
/// # Errors
/// When Stripe or the database is away, or the claim is lost.
pub async fn objects(cx: &Context, sink: Sink<'_>, since: Option<DateTime<Utc>>) -> Result<Swept, JobError> {
    let mut tx = cx.db.plain().await?;
    let (now, business_now) = (by_stripes_clock(&tx), tx.now());
    let open = backfill::oldest_open(&mut tx).await?;
    let mut due_from = async |list, again, open: Option<DateTime<Utc>>| -> Result<DateTime<Utc>, JobError> {
        let read = backfill::read_until(&mut tx, list).await?;
        let usual = read.map_or(now - FIRST.max(again), |read| read.min(now) - again);
        Ok(open.map_or(usual, |open| usual.min(open - days(1)).max(now - OPEN_AGAIN)))
    };
    let charges_from = due_from(ReadList::Charges, CHARGES_AGAIN, None).await?;
    let refunds_from = due_from(ReadList::Refunds, REFUNDS_AGAIN, open.refund).await?;
    let disputes_from = due_from(ReadList::Disputes, DISPUTES_AGAIN, open.dispute).await?;
    tx.rollback().await?;
    let reach = |due_from| Reach {
        since,
        due_from,
        before: business_now - FRESH,
    };
    Ok(Swept {
        payment_intents: intents(cx, sink, since, business_now).await?,
        charges: sweep(cx, sink, Kind::Charge, reach(charges_from)).await?,
        refunds: sweep(cx, sink, Kind::Refund, reach(refunds_from)).await?,
        disputes: sweep(cx, sink, Kind::Dispute, reach(disputes_from)).await?,
    })
}

/// Which part of a list is read.
#[derive(Clone, Copy)]
struct Reach {
    /// From when on, where a person says so.
    since: Option<DateTime<Utc>>,
    /// From where on it has to be read, so that nothing is left out.
    due_from: DateTime<Utc>,
    before: DateTime<Utc>,
}

/// What is swept by a list.
#[derive(Clone, Copy)]
enum Kind {
    Charge,
    Refund,
    Dispute,
}

/// What is compared of one object, and the words that stand for it.
struct Compared {
    seen: Value,
    fingerprint: String,
}

impl Kind {
    fn list(self) -> (ReadList, List) {
        match self {
            // With the balance transaction, because only there is the fee.
            Kind::Charge => (
                ReadList::Charges,
                List::charges().expand("data.balance_transaction"),
            ),
            Kind::Refund => (ReadList::Refunds, List::refunds()),
            Kind::Dispute => (ReadList::Disputes, List::disputes()),
        }
    }

    fn event_type(self) -> &'static str {
        match self {
            Kind::Charge => "sweep.charge",
            Kind::Refund => "sweep.refund",
            Kind::Dispute => "sweep.dispute",
        }
    }

    /// What is compared of an object; `None` where it has no part in the books.
    fn compared(self, object: &Value) -> Result<Option<Compared>, ShapeError> {
        Ok(match self {
            Kind::Charge => {
                let charge = Charge::parse(object)?;
                let captured = charge.status == "succeeded" && charge.amount_captured > 0;
                let failed = charge.status == "failed";
                let fee = charge.balance_transaction.as_ref().is_some_and(|txn| txn.fee > 0);
                charge.payment_intent.map(|intent| Compared {
                    fingerprint: format!("{captured}|{failed}|{fee}"),
                    seen: json!({"id": charge.id, "intent": intent, "captured": captured, "failed": failed, "fee": fee}),
                })
            }
            Kind::Refund => {
                let refund = Refund::parse(object)?;
                // A word that we do not know is no state of ours: the job says so, to a person.
                let state = RefundState::from_stripe(&refund.status).map_or("unknown", RefundState::as_str);
                Some(Compared {
                    fingerprint: refund.status.clone(),
                    seen: json!({"id": refund.id, "charge": refund.charge, "intent": refund.payment_intent, "state": state}),
                })
            }
            Kind::Dispute => {
                let dispute = Dispute::parse(object)?;
                let movements =
                    dispute.balance_transactions.len() + dispute.unread_balance_transactions.len();
                Some(Compared {
                    fingerprint: format!("{}|{movements}", dispute.status),
                    seen: json!({"id": dispute.id, "charge": dispute.charge, "intent": dispute.payment_intent,
                                 "status": dispute.status, "movements": movements}),
                })
            }
        })
    }
}

/// Reads one list and puts down what the books do not show as it is: first what an earlier run has left of it.
async fn sweep(cx: &Context, sink: Sink<'_>, kind: Kind, reach: Reach) -> Result<Found, JobError> {
    let (name, _) = kind.list();
    let mut found = Found::default();
    loop {
        let new = Pass::new(reach.since.unwrap_or(reach.due_from), reach.before);
        let pass = sink.pass(&cx.db, name, reach.since, new).await?;
        found.from = found.from.or(Some(pass.from));
        let is_stale = pass.before < reach.before - STALE;
        let pass = read(cx, sink, kind, pass, &mut found).await?;
        let until = pass.newest.unwrap_or(pass.from);
        sink.note(&cx.db, name, (pass.from, until), reach.due_from)
            .await?;
        sink.end(&cx.db, &pass).await?;
        if !is_stale {
            return Ok(found);
        }
    }
}

/// Reads what is left of a pass.
async fn read(
    cx: &Context,
    sink: Sink<'_>,
    kind: Kind,
    mut pass: Pass,
    found: &mut Found,
) -> Result<Pass, JobError> {
    let (_, list) = kind.list();
    // Stripe counts whole seconds: the one that was reached may have had more than was read of it.
    let before = pass
        .reached
        .map_or(pass.before, |reached| reached + TimeDelta::seconds(1));
    let mut pages = cx
        .stripe
        .pages::<Raw>(list.created_from(pass.from).created_before(before));
    while let Some(page) = pages.next().await? {
        found.pages += 1;
        found.listed += u64::try_from(page.len()).unwrap_or(u64::MAX);
        let mut compared = Vec::with_capacity(page.len());
        for Raw(object) in &page {
            let at = created(object);
            pass.newest = pass.newest.max(at);
            pass.reached = at.or(pass.reached);
            let one = kind
                .compared(object)
                .map_err(|fault| JobError::fail(format!("{} cannot be read: {fault}", kind.event_type())))?;
            compared.extend(one.map(|one| (one, object)));
        }
        let differing = differing(cx, kind, &compared).await?;
        let events = compared
            .iter()
            .filter(|(one, _)| {
                one.seen["id"]
                    .as_str()
                    .is_some_and(|id| differing.iter().any(|d| d == id))
            })
            .map(|(one, object)| swept(cx, kind.event_type(), object, &one.fingerprint))
            .collect::<Result<Vec<Event>, JobError>>()?;
        found.add(sink.take(&cx.db, &events).await?);
        sink.reached(&cx.db, &pass).await?;
    }
    Ok(pass)
}

async fn differing(
    cx: &Context,
    kind: Kind,
    compared: &[(Compared, &Value)],
) -> Result<Vec<String>, JobError> {
    if compared.is_empty() {
        return Ok(Vec::new());
    }
    let seen = Value::Array(compared.iter().map(|(one, _)| one.seen.clone()).collect());
    let mut conn = cx.db.pool().acquire().await?;
    Ok(match kind {
        Kind::Charge => backfill::charges_to_look_at(&mut conn, &seen).await?,
        Kind::Refund => backfill::refunds_to_look_at(&mut conn, &seen).await?,
        Kind::Dispute => backfill::disputes_to_look_at(&mut conn, &seen).await?,
    })
}

/// Asks for the intents of all attempts whose end nobody has told us, the oldest first. Put down is each that tells more than
/// the books, or whose attempt should have had its answer by now.
async fn intents(
    cx: &Context,
    sink: Sink<'_>,
    since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Found, JobError> {
    let list = ReadList::PaymentIntents;
    let new = Pass::new(DateTime::UNIX_EPOCH, now - LOST_AFTER);
    let mut pass = sink.pass(&cx.db, list, since, new).await?;
    let mut found = Found::default();
    // Where an earlier run has stopped, its last one is asked for again.
    let mut after = pass.reached.map(|reached| (reached, AttemptId(Uuid::nil())));
    loop {
        let mut conn = cx.db.pool().acquire().await?;
        let page = backfill::open_intents(&mut conn, pass.before, after, INTENTS_PAGE).await?;
        drop(conn);
        let Some(last) = page.last() else { break };
        after = Some((last.since, last.attempt));
        pass.reached = Some(last.since);
        found.pages += 1;
        let mut events = Vec::new();
        for open in &page {
            found.listed += 1;
            events.extend(told_by(cx, open).await?);
        }
        found.add(sink.take(&cx.db, &events).await?);
        sink.reached(&cx.db, &pass).await?;
    }
    sink.end(&cx.db, &pass).await?;
    Ok(found)
}

/// The event of an intent that tells more than the books.
async fn told_by(cx: &Context, open: &OpenIntent) -> Result<Option<Event>, JobError> {
    let intent = match cx.stripe.payment_intent(&open.id).await {
        Ok(intent) => intent,
        // Its lookup goes on by itself, and tells.
        Err(stripe::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if open.state.is_told_by(&IntentStatus::from(intent.status.as_str())) {
        return Ok(None);
    }
    let charge = intent.latest_charge.as_ref().map(|charge| charge.id.as_str());
    let object = json!({"id": intent.id, "object": "payment_intent", "status": intent.status,
                        "customer": intent.customer, "latest_charge": charge});
    let fingerprint = format!("{}|{}", intent.status, charge.unwrap_or_default());
    swept(cx, "sweep.payment_intent", &object, &fingerprint).map(Some)
}

/// The event of ours that says: look at this object.
fn swept(cx: &Context, event_type: &str, object: &Value, fingerprint: &str) -> Result<Event, JobError> {
    let id = object["id"].as_str().unwrap_or_default();
    let seen = hex::encode(Sha256::digest(fingerprint.as_bytes()));
    let event = json!({
        "id": format!("sweep_{id}_{}", &seen[..16]), "object": "event", "type": event_type,
        "created": object["created"], "livemode": cx.stripe.mode().livemode(), "data": {"object": object},
    });
    Event::parse(Bytes::from(event.to_string()), cx.stripe.mode(), real_now())
        .map_err(|fault| JobError::fail(format!("{event_type} of {id}: {fault}")))
}

fn created(object: &Value) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(object["created"].as_i64()?, 0)
}
