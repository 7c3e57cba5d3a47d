//! All that the simulator knows, behind one mutex.
//!
//! Everything that decides is synchronous and runs under the lock; everything that waits (network, delays, barriers)
//! happens outside it. So a request takes effect at one instant, and no lock is ever held across an await.
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::billing::model::{Invoice, Price, Product, Session, Subscription};
use super::cards::Cards;
use super::chaos::Dice;
use super::clock::Clock;
use super::events::EventLog;
use super::faults::Faults;
use super::idempotency::Idempotency;
use super::ids::Ids;
use super::model::{BalanceTransaction, Charge, Customer, Dispute, PaymentIntent, PaymentMethod, Refund};
use super::objects::Shape;
use super::requests::RequestLog;
use super::table::Table;
use super::webhooks::Webhooks;

/// What is fixed when the simulator starts.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether unknown customers and payment methods are made when something refers to them.
    pub auto_create: bool,
    /// Deliveries to one endpoint at a time.
    pub webhook_concurrency: usize,
    /// Sign deliveries to endpoints that have no secrets of their own.
    pub webhook_secrets: Vec<String>,
}

/// The request on whose behalf the state is changing; events name it.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub request_id: Option<String>,
    pub idempotency_key: Option<String>,
}

/// The state.
pub struct State {
    pub rules: Rules,
    pub clock: Clock,
    pub ids: Ids,
    pub origin: Origin,
    /// Keys that somebody has revoked.
    pub revoked_keys: BTreeSet<String>,
    pub customers: Table<Customer>,
    pub payment_methods: Table<PaymentMethod>,
    pub intents: Table<PaymentIntent>,
    pub charges: Table<Charge>,
    pub refunds: Table<Refund>,
    pub disputes: Table<Dispute>,
    pub balance: Table<BalanceTransaction>,
    pub products: Table<Product>,
    pub prices: Table<Price>,
    pub subscriptions: Table<Subscription>,
    pub invoices: Table<Invoice>,
    pub sessions: Table<Session>,
    pub cards: Cards,
    /// The shape of API answers, where it does not follow from the version that a call asks for.
    pub answers: Option<Shape>,
    pub idempotency: Idempotency,
    pub faults: Faults,
    /// Trouble by a seed, where no rule of `faults` strikes.
    pub dice: Dice,
    pub events: EventLog,
    pub webhooks: Webhooks,
    pub requests: RequestLog,
}

impl State {
    /// Nothing has happened yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            clock: Clock::default(),
            ids: Ids::new(),
            origin: Origin::default(),
            revoked_keys: BTreeSet::new(),
            customers: Table::unbounded(),
            payment_methods: Table::unbounded(),
            intents: Table::unbounded(),
            charges: Table::unbounded(),
            refunds: Table::unbounded(),
            disputes: Table::unbounded(),
            balance: Table::unbounded(),
            products: Table::unbounded(),
            prices: Table::unbounded(),
            subscriptions: Table::unbounded(),
            invoices: Table::unbounded(),
            sessions: Table::unbounded(),
            cards: Cards::default(),
            answers: None,
            idempotency: Idempotency::default(),
            faults: Faults::default(),
            dice: Dice::default(),
            events: EventLog::default(),
            webhooks: Webhooks::default(),
            requests: RequestLog::default(),
        }
    }
}

/// The state and the two bells that wake who waits for it.
pub struct Sim {
    state: Mutex<State>,
    /// Rings when there may be something to deliver.
    pub wake: Notify,
    /// Rings after every attempt to deliver.
    pub progress: Notify,
    /// Delivers webhooks.
    pub client: reqwest::Client,
}

impl Sim {
    /// A simulator with this state.
    pub fn new(state: State, client: reqwest::Client) -> Self {
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
            progress: Notify::new(),
            client,
        }
    }

    /// The state, for one synchronous piece of work. A panic elsewhere leaves it usable: each change is small.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something that deliveries bring about is true; says whether it came true in time.
    pub async fn wait_until(&self, limit: Duration, is_true: impl Fn(&State) -> bool) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let bell = self.progress.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            if is_true(&self.lock()) {
                return true;
            }
            if tokio::time::timeout_at(deadline, bell).await.is_err() {
                return is_true(&self.lock());
            }
        }
    }
}
