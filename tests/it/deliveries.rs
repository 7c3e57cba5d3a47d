//! A steady stream of webhooks while something happens to the product: who was told what about which event.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tests::world::{Answer, Door, Error, World, event, signature_header, wall_clock_secs};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Between two webhooks of one sender: the load, not a wait for anything.
const PACE: Duration = Duration::from_millis(20);

/// Webhooks on their way until [`Deliveries::end`].
pub struct Deliveries {
    senders: JoinSet<Vec<Told>>,
    stop: CancellationToken,
    answered: Arc<AtomicUsize>,
    secrets: Arc<Mutex<Vec<String>>>,
}

/// One event and what came of its delivery.
pub struct Told {
    /// As it was sent.
    pub event: Value,
    /// What the ingress said, or why it said nothing.
    pub answer: Result<Answer, Error>,
}

impl Told {
    /// The event's id.
    pub fn id(&self) -> &str {
        self.event["id"].as_str().unwrap()
    }

    /// Whether the ingress took responsibility.
    pub fn is_acknowledged(&self) -> bool {
        matches!(&self.answer, Ok(answer) if answer.status == 200)
    }
}

/// An event of a type that nobody handles, of one of a hundred customers.
pub fn beside_the_point(n: usize) -> Value {
    let object = json!({ "id": format!("cus_{}", n % 100), "object": "customer" });
    event("customer.updated", object)
}

impl Deliveries {
    /// This many senders at a time, each with its own connection, until told to stop.
    pub fn begin(world: &World, senders: usize) -> Self {
        Self::begin_with(world, senders, beside_the_point)
    }

    /// As [`Deliveries::begin`], with events of the test's own making: the first, the second …
    pub fn begin_with(world: &World, senders: usize, make: fn(usize) -> Value) -> Self {
        let (stop, answered) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::new(AtomicUsize::new(0));
        let secrets = Arc::new(Mutex::new(vec!["whsec_world".to_owned()]));
        let mut all = JoinSet::new();
        for _ in 0..senders {
            let sender = Sender {
                door: Door::new(world.door.base().to_owned(), Vec::new()),
                secrets: secrets.clone(),
                make,
                stop: stop.clone(),
                count: count.clone(),
                answered: answered.clone(),
            };
            all.spawn(sender.send());
        }
        Self {
            senders: all,
            stop,
            answered,
            secrets,
        }
    }

    /// Has a signature of each of these secrets from the next webhook on, as Stripe while one is rolled.
    pub fn sign_with(&self, secrets: &[&str]) {
        *self.secrets.lock().unwrap() = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    }

    /// Waits until this many more have been answered, whatever the answer.
    pub async fn pass(&self, more: usize, limit: Duration) {
        let wanted = self.answered.load(Ordering::SeqCst) + more;
        let reached = async {
            let mut look = interval(PACE);
            while self.answered.load(Ordering::SeqCst) < wanted {
                look.tick().await;
            }
        };
        tokio::time::timeout(limit, reached)
            .await
            .expect("the webhooks to be answered");
    }

    /// Lets every sender finish what it has begun.
    pub async fn end(mut self) -> Vec<Told> {
        self.stop.cancel();
        let mut told = Vec::new();
        while let Some(sender) = self.senders.join_next().await {
            told.extend(sender.unwrap());
        }
        told
    }
}

struct Sender {
    door: Door,
    secrets: Arc<Mutex<Vec<String>>>,
    make: fn(usize) -> Value,
    stop: CancellationToken,
    count: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

impl Sender {
    async fn send(self) -> Vec<Told> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Vec::new();
        while !self.stop.is_cancelled() {
            pace.tick().await;
            let event = (self.make)(self.count.fetch_add(1, Ordering::SeqCst));
            let body = event.to_string();
            let secrets = self.secrets.lock().unwrap().clone();
            let header = signature_header(&secrets, body.as_bytes(), wall_clock_secs());
            let answer = self.door.post(Door::PATH, body, Some(&header)).await;
            self.answered.fetch_add(1, Ordering::SeqCst);
            told.push(Told { event, answer });
        }
        told
    }
}

/// Every event that was acknowledged is in the inbox with its signed body and its one job. Returns how many were.
pub async fn assert_acknowledged_is_stored(world: &World, told: &[Told]) -> usize {
    let acknowledged: Vec<&str> = told
        .iter()
        .filter(|told| told.is_acknowledged())
        .map(Told::id)
        .collect();
    let missing: Vec<String> = sqlx::query_scalar(
        "select told from unnest($1::text[]) as told
          where not exists (select from stripe_events e where e.stripe_event_id = told)
             or not exists (select from stripe_event_bodies b where b.stripe_event_id = told)
             or not exists (select from jobs j where j.kind = 'process_stripe_event' and j.dedupe_key = told)",
    )
    .bind(&acknowledged)
    .fetch_all(&world.db)
    .await
    .unwrap();
    assert_eq!(missing, Vec::<String>::new(), "acknowledged and not stored");
    acknowledged.len()
}

/// Every stored event was looked at to its end; those of a [`Deliveries`] are nobody's.
pub async fn assert_every_event_ended(world: &World) {
    let open = world
        .texts(
            "select stripe_event_id || ' ' || e.state || ' ' || j.state
               from stripe_events e join jobs j on j.kind = 'process_stripe_event' and j.dedupe_key = stripe_event_id
              where e.state not in ('applied', 'ignored') or j.state <> 'completed'",
        )
        .await;
    assert_eq!(open, Vec::<String>::new());
}

/// No job was begun a second time: none was counted twice, and none has cost a worker.
pub async fn assert_every_job_ran_once(world: &World) {
    let again = world
        .texts(
            "select format('%s %s %s attempt %s crashes %s', kind, dedupe_key, state, attempt, crashes)
               from jobs where attempt > 1 or crashes > 0",
        )
        .await;
    assert_eq!(again, Vec::<String>::new());
}
