//! Tells one destination of one alert.
//! Trigger: an alert opens, opens again or gets worse (migration 0031); `quittance alert destination test`.   Effect: one POST or mail.
//! Idempotent: what arrived is not sent again; where nobody knows whether it arrived it is, under the same id: at least once.
//! Gives up: a destination that refuses it, or 20 attempts within three days; its failure is never told to a destination that fails.

use std::time::Duration;

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::json;
use shared::{
    actions::{self, alert_destinations},
    domain::delivery::{DeliveryState, Edge},
    ids::{DeliveryId, FirmId},
    store::{
        Tx,
        audit::{Actor, By, Cause},
        delivery::{
            deliveries::{self, Order},
            destinations::{self, Hears},
        },
        jobs::Queue,
    },
};

use crate::{
    context::Context,
    delivery::{NotTold, Told},
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, hours, secs},
};

/// The span that `ALERT_DELIVERIES_PER_HOUR` is about.
const HOUR: TimeDelta = match TimeDelta::try_hours(1) {
    Some(delta) => delta,
    None => TimeDelta::MAX,
};
/// Between two looks at something that somebody has to set first; and the shortest wait for a place in the hour, so that a flood does
/// not look for one all the time.
const LOOK_AGAIN: TimeDelta = match TimeDelta::try_minutes(5) {
    Some(delta) => delta,
    None => TimeDelta::MAX,
};

/// See the head of this file.
pub struct DeliverAlert;

#[derive(Debug, Deserialize)]
struct Args {
    delivery_id: DeliveryId,
}

impl ExternalJob for DeliverAlert {
    const KIND: &'static str = deliveries::DELIVER;
    const QUEUE: Queue = Queue::Alerts;
    /// 30 s, 1 m, 2 m … 4 h 16 m, then every 6 h: three days in all.
    const RETRY: Retry = Retry::exponential(Attempts(20), secs(30), hours(6));
    /// One POST of 10 s, or one mail of 45 s.
    const TIME_LIMIT: Duration = Duration::from_secs(90);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let args: Args = claim.job.args()?;
        let run = Run {
            cx,
            claim,
            firm: claim.job.firm_id,
            id: args.delivery_id,
        };
        let order = match run.begin().await? {
            Begun::Order(order) => order,
            Begun::Over(outcome) => return Ok(outcome),
        };
        let notice = order.notice.clone();
        let told = cx
            .delivery
            .tell(&order.target, order.secret.as_deref(), notice)
            .await;
        run.record(&order, told).await
    }
}

/// What there is to do.
enum Begun {
    /// Send this.
    Order(Box<Order>),
    /// Nothing.
    Over(Outcome),
}

/// One run of the job.
struct Run<'a> {
    cx: &'a Context,
    claim: &'a Claim,
    firm: Option<FirmId>,
    id: DeliveryId,
}

impl Run<'_> {
    /// A transaction of a claim that holds, and the delivery with its row locked.
    async fn order(&self) -> Result<(Tx, Order), JobError> {
        let mut tx = match self.firm {
            Some(firm) => self.cx.db.firm(firm).await?,
            None => self.cx.db.plain().await?,
        };
        self.claim.guard(&mut tx).await?;
        let order = deliveries::lock(&mut tx, self.id).await?;
        Ok((tx, order.ok_or_else(|| JobError::fail("no such delivery"))?))
    }

    /// Looks whether it is to be sent now, and notes that it is.
    async fn begin(&self) -> Result<Begun, JobError> {
        let (mut tx, order) = self.order().await?;
        let now = tx.now();
        let channel = order.target.channel;
        if order.state == DeliveryState::Delivered {
            return Ok(Begun::Over(Outcome::AlreadyApplied("it was delivered")));
        }
        if !order.is_wanted {
            let why = "the destination is told nothing any more";
            deliveries::note(&mut tx, self.id, DeliveryState::Dropped, now, Some(why)).await?;
            tx.commit().await?;
            self.count(&order, "dropped");
            return Ok(Begun::Over(Outcome::Cancel { reason: why.into() }));
        }
        if let Some(missing) = self.cx.delivery.is_missing(channel) {
            tracing::warn!(delivery.id = %self.id, channel = %channel, "an alert cannot be told: {missing}");
            let state = match order.notice.event {
                Edge::Test => DeliveryState::Failed,
                Edge::Opened | Edge::Reopened | Edge::Worsened => DeliveryState::Waiting,
            };
            deliveries::note(&mut tx, self.id, state, now, Some(missing)).await?;
            tx.commit().await?;
            self.count(&order, "waiting");
            return Ok(Begun::Over(match state {
                DeliveryState::Failed => Outcome::Done(json!({"told": false, "reason": missing})),
                _ => Outcome::Snooze {
                    until: now + LOOK_AGAIN,
                    reason: missing.into(),
                },
            }));
        }
        // What was sent before has its place in the hour already.
        if order.first_sent_at.is_none() && order.notice.event != Edge::Test {
            let most = (self.cx.delivery.most_per_hour(), HOUR);
            if let Some(until) = deliveries::full_until(&mut tx, order.destination, now, most).await? {
                self.count(&order, "held");
                return Ok(Begun::Over(Outcome::Snooze {
                    until: until.max(now + LOOK_AGAIN),
                    reason: format!("the destination was told {} times within an hour", most.0),
                }));
            }
        }
        deliveries::begin(&mut tx, self.id, now).await?;
        tx.commit().await?;
        Ok(Begun::Order(Box::new(order)))
    }

    /// Writes down what came of it.
    async fn record(&self, order: &Order, told: Result<Told, NotTold>) -> Result<Outcome, JobError> {
        let (mut tx, now_there) = self.order().await?;
        let now = tx.now();
        match told {
            Ok(Told::Taken) => {
                deliveries::note(&mut tx, self.id, DeliveryState::Delivered, now, None).await?;
                destinations::note(&mut tx, order.destination, Hears::Yes).await?;
                tx.commit().await?;
                self.count(order, "delivered");
                Ok(Outcome::Done(
                    json!({"told": true, "attempts": now_there.attempts}),
                ))
            }
            Ok(Told::Gone) => {
                let why = "its receiver answered 410: it wants no more";
                deliveries::note(&mut tx, self.id, DeliveryState::Dropped, now, Some(why)).await?;
                let cause = Cause::job(self.claim.job.id);
                let by = By {
                    actor: &Actor::System,
                    cause: &cause,
                    at: now,
                };
                alert_destinations::disable(&mut tx, self.firm, order.destination, why, &by)
                    .await
                    .map_err(of_action)?;
                tx.commit().await?;
                self.count(order, "gone");
                Ok(Outcome::Done(json!({"told": false, "reason": why})))
            }
            Err(NotTold::Later(why)) if order.notice.event != Edge::Test => {
                let is_last = self.claim.job.attempt >= self.claim.job.max_attempts.min(Self::attempts());
                self.failed(tx, order, &why, is_last).await?;
                Err(JobError::retry(why))
            }
            Err(NotTold::Never(why)) if order.notice.event != Edge::Test => {
                self.failed(tx, order, &why, true).await?;
                Err(JobError::fail(why))
            }
            // Whoever tries a destination looks on, and tries again.
            Err(NotTold::Later(why) | NotTold::Never(why)) => {
                deliveries::note(&mut tx, self.id, DeliveryState::Failed, now, Some(&why)).await?;
                tx.commit().await?;
                self.count(order, "failed");
                Ok(Outcome::Done(json!({"told": false, "reason": why})))
            }
        }
    }

    const fn attempts() -> i32 {
        DeliverAlert::RETRY.attempts.0
    }

    async fn failed(&self, mut tx: Tx, order: &Order, why: &str, is_last: bool) -> Result<(), JobError> {
        let now = tx.now();
        let (state, outcome) = match is_last {
            true => (DeliveryState::Failed, "failed"),
            false => (DeliveryState::Waiting, "retried"),
        };
        deliveries::note(&mut tx, self.id, state, now, Some(why)).await?;
        destinations::note(&mut tx, order.destination, Hears::NotAt(now)).await?;
        tx.commit().await?;
        self.count(order, outcome);
        Ok(())
    }

    fn count(&self, order: &Order, outcome: &str) {
        let channel = order.target.channel.as_str();
        self.cx
            .metrics
            .alert_deliveries
            .with_label_values(&[channel, outcome])
            .inc();
    }
}

/// Nothing is refused here: the action only fails with the database.
fn of_action(fault: actions::Fault) -> JobError {
    match fault {
        actions::Fault::Store(error) => error.into(),
        other => JobError::fail(other.to_string()),
    }
}
