//! Webhook endpoints, how badly events reach them, and what is still to be delivered. `sender` does the sending.
pub mod endpoints;
mod settings;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};

pub use settings::{Change, Settings};

/// Between two tries of one delivery: 200 ms, 400 ms, 800 ms … 10 s, of real time.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// Then the event stays undelivered.
const MAX_ATTEMPTS: u32 = 30;
/// "Up to three days": by the virtual clock, as everything that a merchant observes.
const GIVE_UP_AFTER_SECS: i64 = 3 * 24 * 3600;
/// Shuffled events are spread over this time, so that there is something to shuffle.
const SHUFFLE_WINDOW_MS: u64 = 250;

/// One event on its way to one endpoint.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub event: String,
    /// Tries so far.
    pub attempts: u32,
    /// The flush that it belongs to, which ignores `paused`.
    flush: Option<u64>,
    /// The flush that was the latest one when this try began.
    taken_in: u64,
}

/// One try, for the log.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryAttempt {
    pub endpoint: String,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// Why there was no answer.
    pub error: Option<String>,
}

impl DeliveryAttempt {
    /// Only 2xx counts; a redirect is a failure.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Where events go.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: String,
    pub created: i64,
    pub url: String,
    /// Several while a secret is rolled: every delivery carries a signature of each.
    pub secrets: Vec<String>,
    queue: BTreeMap<(Instant, u64), Delivery>,
}

/// What a sender should do next.
pub enum Next {
    /// Deliver this.
    Send(Delivery),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing until something changes.
    Idle,
    /// The endpoint is gone.
    Stop,
}

/// Totals of a flush.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Flush {
    /// Which flush it is; what an earlier one left over does not count.
    #[serde(skip)]
    round: u64,
    /// Still to be tried.
    pub left: usize,
    pub delivered: usize,
    pub failed: usize,
}

/// Endpoints, settings, queues.
pub struct Webhooks {
    pub settings: Settings,
    pub flush: Flush,
    endpoints: Vec<Endpoint>,
    /// Deliveries being made right now.
    in_flight: usize,
    /// Order among deliveries due at the same instant.
    next_turn: u64,
    seed: u64,
    dice: StdRng,
}

impl Default for Webhooks {
    fn default() -> Self {
        let seed = rand::random();
        Self {
            settings: Settings::default(),
            flush: Flush::default(),
            endpoints: Vec::new(),
            in_flight: 0,
            next_turn: 0,
            seed,
            dice: StdRng::seed_from_u64(seed),
        }
    }
}

impl Webhooks {
    /// Adds an endpoint; it gets the events made from now on.
    pub fn add_endpoint(&mut self, id: String, created: i64, url: String, secrets: Vec<String>) {
        self.endpoints.push(Endpoint {
            id,
            created,
            url,
            secrets,
            queue: BTreeMap::new(),
        });
    }

    /// Takes an endpoint away with everything queued for it.
    pub fn remove_endpoint(&mut self, id: &str) -> Option<Endpoint> {
        let position = self.endpoints.iter().position(|endpoint| endpoint.id == id)?;
        let endpoint = self.endpoints.remove(position);
        let round = Some(self.flush.round);
        let flushed = endpoint
            .queue
            .values()
            .filter(|delivery| delivery.flush == round)
            .count();
        self.flush.left -= flushed;
        Some(endpoint)
    }

    /// Gives an endpoint other secrets.
    pub fn roll_secrets(&mut self, id: &str, secrets: Vec<String>) -> Option<()> {
        let endpoint = self.endpoints.iter_mut().find(|endpoint| endpoint.id == id)?;
        endpoint.secrets = secrets;
        Some(())
    }

    /// An endpoint.
    pub fn endpoint(&self, id: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.id == id)
    }

    /// All endpoints, oldest first.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Ids of all endpoints.
    pub fn endpoint_ids(&self) -> Vec<String> {
        self.endpoints
            .iter()
            .map(|endpoint| endpoint.id.clone())
            .collect()
    }

    /// Changes the settings.
    pub fn change(&mut self, change: Change) {
        if let Some(seed) = change.seed {
            self.seed = seed;
            self.dice = StdRng::seed_from_u64(seed);
        }
        self.settings.apply(change);
    }

    /// The settings and how much is on its way.
    pub fn report(&self) -> Value {
        let queued: usize = self.endpoints.iter().map(|endpoint| endpoint.queue.len()).sum();
        let mut report = json!(self.settings);
        report["seed"] = json!(self.seed);
        report["queued"] = json!(queued);
        report["in_flight"] = json!(self.in_flight);
        report
    }

    /// Whether the next event, of this type, is to be lost; counts it.
    pub fn drops(&mut self, kind: &str) -> bool {
        if self.settings.drop_types.iter().any(|dropped| dropped == kind) {
            return true;
        }
        let drops = self.settings.drop_next > 0;
        self.settings.drop_next = self.settings.drop_next.saturating_sub(1);
        drops
    }

    /// Sends an event on its way to every endpoint.
    pub fn enqueue(&mut self, event: &str, now: Instant) {
        for index in 0..self.endpoints.len() {
            for _ in 0..=self.settings.duplicate {
                let spread = if self.settings.shuffle {
                    self.dice.random_range(0..=SHUFFLE_WINDOW_MS)
                } else {
                    0
                };
                let due = now + Duration::from_millis(self.settings.delay_ms + spread);
                let delivery = Delivery {
                    event: event.to_owned(),
                    attempts: 0,
                    flush: None,
                    taken_in: 0,
                };
                self.queue(index, due, delivery);
            }
        }
    }

    /// Takes what an endpoint's sender should do next.
    pub fn next(&mut self, endpoint: &str, now: Instant) -> Next {
        let Self {
            endpoints,
            dice,
            settings,
            flush,
            in_flight,
            ..
        } = self;
        let Some(endpoint) = endpoints.iter_mut().find(|row| row.id == endpoint) else {
            return Next::Stop;
        };
        let mut due = endpoint
            .queue
            .iter()
            .take_while(|((at, _), _)| *at <= now)
            .filter(|(_, delivery)| delivery.flush.is_some() || !settings.paused)
            .map(|(key, _)| *key);
        let key = if settings.shuffle {
            due.choose(dice)
        } else {
            due.next()
        };
        if let Some(mut delivery) = key.and_then(|key| endpoint.queue.remove(&key)) {
            delivery.taken_in = flush.round;
            *in_flight += 1;
            return Next::Send(delivery);
        }
        match endpoint.queue.keys().find(|(at, _)| *at > now) {
            Some((at, _)) if !settings.paused => Next::Wait(*at),
            _ => Next::Idle,
        }
    }

    /// A try is over. A failed one is queued again, later and later, until it is given up.
    pub fn settle(
        &mut self,
        endpoint: &str,
        mut delivery: Delivery,
        succeeded: bool,
        age_secs: i64,
        now: Instant,
    ) {
        self.in_flight -= 1;
        let began_before = delivery.taken_in < self.flush.round;
        if began_before || delivery.flush == Some(self.flush.round) {
            self.flush.left = self.flush.left.saturating_sub(1);
            self.flush.delivered += usize::from(succeeded);
            self.flush.failed += usize::from(!succeeded);
        }
        delivery.attempts += 1;
        delivery.flush = None;
        if !succeeded
            && delivery.attempts < MAX_ATTEMPTS
            && age_secs < GIVE_UP_AFTER_SECS
            && let Some(index) = self.endpoints.iter().position(|row| row.id == endpoint)
        {
            let due = now + retry_delay(delivery.attempts);
            self.queue(index, due, delivery);
        }
    }

    /// Makes everything that is queued due at once, even while paused. What is under way counts too.
    pub fn begin_flush(&mut self, now: Instant) {
        let round = self.flush.round + 1;
        let mut left = self.in_flight;
        for endpoint in &mut self.endpoints {
            for ((_, turn), mut delivery) in std::mem::take(&mut endpoint.queue) {
                delivery.flush = Some(round);
                left += 1;
                endpoint.queue.insert((now, turn), delivery);
            }
        }
        self.flush = Flush {
            round,
            left,
            ..Flush::default()
        };
    }

    /// Whether the flush is over, and with it every try that was under way when it began.
    pub fn is_flushed(&self) -> bool {
        self.flush.left == 0
    }

    fn queue(&mut self, endpoint: usize, due: Instant, delivery: Delivery) {
        self.next_turn += 1;
        let turn = self.next_turn;
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.queue.insert((due, turn), delivery);
        }
    }
}

fn retry_delay(attempts: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(1 << (attempts - 1).min(16))
        .min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::settings::Count;
    use super::*;

    fn one_endpoint() -> (Webhooks, Instant) {
        let mut webhooks = Webhooks::default();
        webhooks.add_endpoint(
            "we_1".into(),
            0,
            "http://127.0.0.1:1/".into(),
            vec!["whsec_a".into()],
        );
        (webhooks, Instant::now())
    }

    fn taken(webhooks: &mut Webhooks, now: Instant) -> Vec<Delivery> {
        std::iter::from_fn(|| match webhooks.next("we_1", now) {
            Next::Send(delivery) => Some(delivery),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn deliveries_leave_in_order_of_creation() {
        let (mut webhooks, now) = one_endpoint();
        (0..20).for_each(|n| webhooks.enqueue(&format!("evt_{n}"), now));
        let order: Vec<String> = taken(&mut webhooks, now)
            .into_iter()
            .map(|delivery| delivery.event)
            .collect();
        assert_eq!(order, (0..20).map(|n| format!("evt_{n}")).collect::<Vec<_>>());
    }

    #[test]
    fn shuffled_deliveries_leave_in_another_order_but_completely() {
        let (mut webhooks, now) = one_endpoint();
        webhooks.change(Change {
            shuffle: Some(true),
            seed: Some(7),
            ..Change::default()
        });
        (0..20).for_each(|n| webhooks.enqueue(&format!("evt_{n:02}"), now));
        let later = now + Duration::from_secs(1);
        let mut order: Vec<String> = taken(&mut webhooks, later)
            .into_iter()
            .map(|delivery| delivery.event)
            .collect();
        let in_order: Vec<String> = (0..20).map(|n| format!("evt_{n:02}")).collect();
        assert_ne!(order, in_order);
        order.sort();
        assert_eq!(order, in_order);
    }

    #[test]
    fn a_pause_holds_everything_until_the_flush() {
        let (mut webhooks, now) = one_endpoint();
        webhooks.change(Change {
            paused: Some(true),
            duplicate: Some(Count::Switch(true)),
            ..Change::default()
        });
        webhooks.enqueue("evt_1", now);
        assert!(taken(&mut webhooks, now).is_empty());
        webhooks.begin_flush(now);
        let flushed = taken(&mut webhooks, now);
        assert_eq!(flushed.len(), 2, "the event and its duplicate");
        assert!(!webhooks.is_flushed());
        flushed
            .into_iter()
            .for_each(|delivery| webhooks.settle("we_1", delivery, true, 0, now));
        assert!(webhooks.is_flushed());
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_and_at_last_given_up() {
        let (mut webhooks, mut now) = one_endpoint();
        webhooks.enqueue("evt_1", now);
        let mut waits = Vec::new();
        loop {
            match webhooks.next("we_1", now) {
                Next::Send(delivery) => webhooks.settle("we_1", delivery, false, 0, now),
                Next::Wait(at) => {
                    waits.push((at - now).as_millis());
                    now = at;
                }
                Next::Idle | Next::Stop => break,
            }
        }
        assert_eq!(waits.len(), 29, "30 tries");
        assert_eq!(waits[..4], [200, 400, 800, 1600]);
        assert_eq!(waits.last(), Some(&10_000));
    }

    #[test]
    fn an_event_older_than_three_days_is_not_tried_again() {
        let (mut webhooks, now) = one_endpoint();
        webhooks.enqueue("evt_1", now);
        for delivery in taken(&mut webhooks, now) {
            webhooks.settle("we_1", delivery, false, GIVE_UP_AFTER_SECS, now);
        }
        assert!(matches!(webhooks.next("we_1", now), Next::Idle));
    }

    #[test]
    fn exactly_the_asked_number_of_events_is_lost() {
        let mut webhooks = Webhooks::default();
        webhooks.change(Change {
            drop_next: Some(2),
            ..Change::default()
        });
        assert_eq!(
            [webhooks.drops("a"), webhooks.drops("a"), webhooks.drops("a")],
            [true, true, false]
        );
    }
}
