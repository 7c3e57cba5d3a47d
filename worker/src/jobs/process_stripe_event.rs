//! Applies one event of the inbox.
//! Trigger: the ingress or the backfill stored it; `quittance events replay`.   Effect: rows only; Stripe is read, never written.
//! Idempotent: the object is fetched and applied through monotone reducers; every fact has a natural key.
//! Gives up: an event that belongs to nothing we know, or whose object Stripe does not know, is looked at again after 1 m,
//! 5 m … 1 d, and parked after 3 days.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;
use shared::{
    domain::{
        alert::{AlertType, Topic},
        collection::IntentSeen,
    },
    ids::{CycleId, FirmId},
    store::{
        Tx,
        alerts::{self, NewAlert},
        audit::{Cause, Severity},
        inbox::{self, EventState, InboxEvent},
        jobs::Queue,
        routes,
    },
};
use uuid::Uuid;

use crate::{
    collection::At,
    context::Context,
    events::{
        self, Family, Unfetched,
        charge::SeenCharge,
        dispute::SeenDispute,
        platform::{self, SeenPlatform},
    },
    queue::{Attempts, Job, JobError, Outcome, Retry, TransactionalJob, hours, secs},
    stripe::PaymentMethod,
};

/// See the head of this file.
pub struct ProcessStripeEvent;

#[derive(Deserialize)]
struct Args {
    event_id: String,
    /// The run of the command that wants it done again, though it was settled before.
    replay: Option<Uuid>,
}

/// An event with its object as it is at Stripe now.
pub struct Prepared {
    event: InboxEvent,
    found: Found,
    pass: Pass,
}

/// Why an event is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// It came in, and is looked at until it is settled or parked.
    First,
    /// Somebody wants to have it looked at again, once.
    Replay,
}

enum Found {
    /// Applied or ignored by an earlier run.
    Settled,
    /// Of a type that we leave alone.
    Ignored,
    /// Belongs to nothing that we know.
    Unmatched,
    /// Ours, and its object.
    Ours(FirmId, Box<Object>),
    /// A firm's own, as a customer of the platform.
    OfPlatform(Box<SeenPlatform>),
    /// Ours by our records, and Stripe does not know it.
    NotThere(FirmId, String),
}

enum Object {
    Intent(IntentSeen),
    /// An intent whose creation is not recorded yet; its metadata names the cycle.
    NewIntent(CycleId, IntentSeen),
    Charge(SeenCharge),
    Dispute(Box<SeenDispute>),
    PaymentMethod(PaymentMethod),
}

impl TransactionalJob for ProcessStripeEvent {
    const KIND: &'static str = "process_stripe_event";
    const QUEUE: Queue = Queue::Events;
    const RETRY: Retry = Retry::exponential(Attempts(25), secs(2), hours(1));
    const TIME_LIMIT: Duration = Duration::from_secs(120);
    type Prepared = Prepared;

    async fn prepare(cx: &Context, job: &Job) -> Result<Prepared, JobError> {
        let args: Args = job.args()?;
        let mut conn = cx.db.pool().acquire().await.map_err(shared::store::Error::from)?;
        let Some(event) = inbox::load(&mut conn, &args.event_id).await? else {
            return Err(JobError::fail(format!(
                "event {} is not in the inbox",
                args.event_id
            )));
        };
        let pass = match args.replay {
            None => Pass::First,
            Some(_) => Pass::Replay,
        };
        if pass == Pass::First && event.is_settled() {
            return Ok(Prepared {
                event,
                found: Found::Settled,
                pass,
            });
        }
        let Some(family) = events::family(&event.event_type) else {
            return Ok(Prepared {
                event,
                found: Found::Ignored,
                pass,
            });
        };
        let route = routes::find(&mut conn, &events::known_by(&event, family)).await?;
        let owner = match route {
            Some((known_by, route)) if route.scope == "client_billing" => Some((route.firm, known_by, None)),
            Some(_) => None,
            None => {
                named_by_metadata(&event, family).map(|(firm, cycle, intent)| (firm, intent, Some(cycle)))
            }
        };
        // What is a client's is never a firm's own, whatever else it names (S20).
        let of_platform = match owner {
            Some(_) => None,
            None => platform::owner(&mut conn, &event).await?,
        };
        drop(conn);
        if let Some(owner) = of_platform {
            let found = match platform::fetch(cx, owner, &event).await {
                Ok(seen) => Found::OfPlatform(Box::new(seen)),
                Err(Unfetched::NotThere(message)) => Found::NotThere(owner.firm(), message),
                Err(Unfetched::Failed(error)) => return Err(error),
            };
            return Ok(Prepared { event, found, pass });
        }
        let Some((firm, known_by, cycle)) = owner else {
            return Ok(Prepared {
                event,
                found: Found::Unmatched,
                pass,
            });
        };
        let found = match fetch(cx, &event, family, &known_by, cycle).await {
            Ok(object) => Found::Ours(firm, Box::new(object)),
            Err(Unfetched::NotThere(message)) => Found::NotThere(firm, message),
            Err(Unfetched::Failed(error)) => return Err(error),
        };
        Ok(Prepared { event, found, pass })
    }

    async fn apply(_: &Context, tx: &mut Tx, job: &Job, prepared: Prepared) -> Result<Outcome, JobError> {
        let Prepared { event, found, pass } = prepared;
        let now = tx.now();
        match found {
            Found::Settled => Ok(Outcome::AlreadyApplied("the event was settled before")),
            Found::Ignored => settle(tx, &event, None, EventState::Ignored).await,
            Found::Unmatched => wait(tx, job, &event, pass, WaitsFor::Owner).await,
            Found::NotThere(firm, message) => {
                wait(tx, job, &event, pass, WaitsFor::Object { firm, message }).await
            }
            Found::Ours(firm, object) => {
                tx.set_firm(firm).await?;
                let cause = Cause::event(&event.id);
                let at = At {
                    firm,
                    now,
                    cause: &cause,
                };
                let applied = match &*object {
                    Object::Intent(seen) => events::intent::apply(tx, at, seen).await?,
                    Object::NewIntent(cycle, seen) => {
                        events::intent::apply_to_cycle(tx, at, *cycle, seen).await?
                    }
                    Object::Charge(seen) => events::charge::apply(tx, at, seen).await?,
                    Object::Dispute(seen) => events::dispute::apply(tx, at, seen).await?,
                    Object::PaymentMethod(seen) => events::payment_method::apply(tx, at, seen).await?,
                };
                end(tx, job, &event, pass, (firm, applied)).await
            }
            Found::OfPlatform(seen) => {
                let firm = seen.firm();
                tx.set_firm(firm).await?;
                let cause = Cause::event(&event.id);
                let at = At {
                    firm,
                    now,
                    cause: &cause,
                };
                let applied = platform::apply(tx, at, &seen).await?;
                end(tx, job, &event, pass, (firm, applied)).await
            }
        }
    }
}

/// The end of an event that was looked at: it took effect, or belongs to somebody who is not there yet.
async fn end(
    tx: &mut Tx,
    job: &Job,
    event: &InboxEvent,
    pass: Pass,
    (firm, applied): (FirmId, bool),
) -> Result<Outcome, JobError> {
    if !applied {
        return wait(tx, job, event, pass, WaitsFor::Owner).await;
    }
    let outcome = settle(tx, event, Some(firm), EventState::Applied).await?;
    // A replay may have begun before the event was parked.
    if event.state == "parked" || pass == Pass::Replay {
        settle_parked(tx, event, firm).await?;
    }
    Ok(outcome)
}

async fn fetch(
    cx: &Context,
    event: &InboxEvent,
    family: Family,
    known_by: &str,
    new_cycle: Option<CycleId>,
) -> Result<Object, Unfetched> {
    let object_id = event.object_id.as_deref().unwrap_or(known_by);
    Ok(match family {
        Family::Intent | Family::StripeInvoice => {
            let seen = events::intent::fetch(cx, known_by).await?;
            match new_cycle {
                Some(cycle) => Object::NewIntent(cycle, seen),
                None => Object::Intent(seen),
            }
        }
        Family::Charge => {
            let charge = event.facts["charge"].as_str().unwrap_or(object_id);
            Object::Charge(events::charge::fetch(cx, charge).await?)
        }
        Family::Dispute => Object::Dispute(Box::new(events::dispute::fetch(cx, object_id).await?)),
        Family::PaymentMethod => Object::PaymentMethod(events::payment_method::fetch(cx, object_id).await?),
        Family::Subscription => {
            return Err(JobError::fail("a subscription is nobody's in client billing").into());
        }
    })
}

/// A PaymentIntent that we created and whose id is not recorded yet says in its metadata what it is for.
fn named_by_metadata(event: &InboxEvent, family: Family) -> Option<(FirmId, CycleId, String)> {
    if family != Family::Intent {
        return None;
    }
    let metadata = &event.facts["metadata"];
    if metadata["q_scope"] != "client_billing" {
        return None;
    }
    let id = |name: &str| metadata[name].as_str()?.parse::<Uuid>().ok();
    Some((
        FirmId(id("q_firm")?),
        CycleId(id("q_cycle")?),
        event.object_id.clone()?,
    ))
}

/// What an event needs that is not there yet.
enum WaitsFor {
    /// Somebody whose it is.
    Owner,
    /// Its object, which Stripe's answer says it does not know.
    Object { firm: FirmId, message: String },
}

impl WaitsFor {
    fn firm(&self) -> Option<FirmId> {
        match self {
            Self::Owner => None,
            Self::Object { firm, .. } => Some(*firm),
        }
    }

    fn while_waiting(&self) -> String {
        match self {
            Self::Owner => "belongs to nothing we know yet".to_owned(),
            Self::Object { message, .. } => format!("its object is not at Stripe yet: {message}"),
        }
    }

    fn in_the_end(&self) -> String {
        match self {
            Self::Owner => "belonged to nothing we know for 3 days".to_owned(),
            Self::Object { message, .. } => format!("its object was not at Stripe for 3 days: {message}"),
        }
    }
}

/// The event's end. One that had this end before keeps the time of it.
async fn settle(
    tx: &mut Tx,
    event: &InboxEvent,
    firm: Option<FirmId>,
    end: EventState,
) -> Result<Outcome, JobError> {
    let now = tx.now();
    if event.state != end.as_str() {
        inbox::mark(tx, &event.id, firm, end, None, now).await?;
    }
    Ok(Outcome::Done(json!({ "event": end.as_str() })))
}

/// Never guessed, and never given up at once: looked at again for three days, then a person must. A replay is such a person's
/// look: it finds out whether the event can be applied by now, and leaves it as it is where it cannot.
async fn wait(
    tx: &mut Tx,
    job: &Job,
    event: &InboxEvent,
    pass: Pass,
    what: WaitsFor,
) -> Result<Outcome, JobError> {
    let now = tx.now();
    if pass == Pass::Replay {
        return Ok(Outcome::Done(
            json!({ "event": event.state, "not_applied": what.while_waiting() }),
        ));
    }
    match next_look(job.created_at, now) {
        Some(until) => {
            let reason = what.while_waiting();
            let unmatched = EventState::Unmatched;
            if !inbox::mark(tx, &event.id, what.firm(), unmatched, Some(&reason), now).await? {
                return Ok(settled_meanwhile());
            }
            Ok(Outcome::Snooze { until, reason })
        }
        None => {
            let reason = what.in_the_end();
            if let Some(firm) = what.firm() {
                tx.set_firm(firm).await?;
            }
            if !park(tx, event, what.firm(), &reason).await? {
                return Ok(settled_meanwhile());
            }
            Ok(Outcome::Done(json!({"parked": reason})))
        }
    }
}

fn settled_meanwhile() -> Outcome {
    Outcome::AlreadyApplied("a replay has settled the event meanwhile")
}

/// Leaves an event to a person, and tells somebody. `false` when a replay has settled it meanwhile.
async fn park(tx: &mut Tx, event: &InboxEvent, firm: Option<FirmId>, why: &str) -> Result<bool, JobError> {
    let now = tx.now();
    if !inbox::mark(tx, &event.id, firm, EventState::Parked, Some(why), now).await? {
        return Ok(false);
    }
    let alert = NewAlert {
        kind: AlertType::SystemError,
        severity: Severity::Critical,
        topic: Topic::EventParked(&event.id),
        title: "An event of Stripe's was not applied",
        message: &format!(
            "{} {}: {why}. What it tells may be missing in our books.",
            event.event_type, event.id
        ),
        invoice: None,
        related: json!({"event": event.id, "type": event.event_type, "object": event.object_id}),
        cause: &Cause::event(&event.id),
    };
    alerts::raise(tx, firm, now, &alert).await?;
    Ok(true)
}

/// An event that was parked is applied after all. Its alert may be from when its firm was not known yet.
async fn settle_parked(tx: &mut Tx, event: &InboxEvent, firm: FirmId) -> Result<(), JobError> {
    let (now, topic) = (tx.now(), [Topic::EventParked(&event.id)]);
    alerts::resolve(tx, firm, now, &topic, "system").await?;
    alerts::resolve(tx, None, now, &topic, "system").await?;
    Ok(())
}

/// 1 m, 5 m, 30 m, 2 h, 8 h, 1 d, 2 d, 3 d after it came.
fn next_look(came_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    [1, 5, 30, 120, 480, 1_440, 2_880, 4_320]
        .into_iter()
        .map(|m| came_at + TimeDelta::minutes(m))
        .find(|at| *at > now)
}
