//! Where a story is played: a world whose worker and ingress are kept running, at a time of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{sync::LazyLock, time::Duration};

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use serde_json::Value;
use tests::world::{Supervised, World, WorldOptions};
use tokio::time::{Instant, sleep};

use crate::acme;

/// How long one step may take to come to rest, with a crash in it, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(30);

/// What an interrupted step leaves to be done within minutes: looks at outcomes, and attempts that are made again.
const SOON: &str = "select count(*) from jobs where state in ('available', 'retryable') and run_at <= app.now() + interval '6 minutes'";
/// Business time that passes between two such looks, and how often at most.
const STEP: &str = "2m";
const STEPS: usize = 10;

/// A story's world.
pub struct Stage {
    // Before the world, whose folder they write into.
    supervised: Supervised,
    /// The rest of it.
    pub world: World,
}

/// Every story begins at noon of a second of the month to come, a minute past: no tick of a schedule is near, and two plays of
/// it have the same days.
#[allow(clippy::disallowed_methods)] // the world begins at real time, and a clock moves forward only
static NOON: LazyLock<DateTime<Utc>> = LazyLock::new(|| {
    let today = Utc::now().date_naive();
    let month = today.year() * 12 + i32::try_from(today.month0()).unwrap() + 1;
    let day = NaiveDate::from_ymd_opt(month / 12, u32::try_from(month % 12).unwrap() + 1, 2).unwrap();
    day.and_hms_opt(12, 1, 0).unwrap().and_utc()
});

impl Stage {
    /// With these `QUITTANCE_TEST_FAILPOINTS`.
    pub async fn set(failpoints: &str) -> Self {
        let mut world = World::start(WorldOptions {
            workers: 0,
            ingress: false,
            concurrency: 2,
            webhook_concurrency: 1,
            lease_secs: 30,
            ..WorldOptions::default()
        })
        .await;
        world.begin_at(*NOON).await;
        let supervised = world.supervise(failpoints).await;
        let stage = Self { supervised, world };
        stage.until_stripe_follows().await;
        stage
    }

    /// How often a program has crashed.
    pub fn crashes(&self) -> usize {
        assert!(
            self.supervised.is_keeping(),
            "a program ended otherwise than by an abort"
        );
        self.supervised.crashes()
    }

    /// Waits until nothing is left to do, and lets minutes pass where something is due soon: what a crash has left is looked up
    /// and made again before the story goes on.
    pub async fn rest(&self) {
        for _ in 0..STEPS {
            assert!(
                self.supervised.is_keeping(),
                "a program ended otherwise than by an abort"
            );
            self.until_schedules_are_up_to_date().await;
            self.world.settle_within(LIMIT).await;
            if self.world.count(SOON).await == 0 {
                return;
            }
            acme::age_calls(&self.world).await;
            self.advance(STEP).await;
        }
        let left = "select kind || ' ' || state || coalesce(' ' || result::text, '') || coalesce(' ' || last_error, '') from jobs
                     where state in ('available', 'retryable')";
        panic!("no rest: {:?}", self.world.texts(left).await);
    }

    /// Moves the clock, and Stripe's with it.
    pub async fn advance(&self, duration: &str) {
        self.world.advance(duration).await;
        self.until_stripe_follows().await;
    }

    async fn until_schedules_are_up_to_date(&self) {
        let deadline = Instant::now() + LIMIT;
        while self.world.schedules_behind().await > 0 {
            assert!(Instant::now() < deadline, "a schedule stays behind");
            sleep(EVERY).await;
        }
    }

    /// Stripe dates what it does by the same clock, which it reads a little later.
    async fn until_stripe_follows(&self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let ours = self.world.count("select extract(epoch from app.now())").await;
            let theirs = self.world.sim.get("/clock").await.unwrap();
            if theirs["now"].as_i64().unwrap().abs_diff(ours) < 5 {
                return;
            }
            assert!(Instant::now() < deadline, "Stripe's clock stays behind: {theirs}");
            sleep(EVERY).await;
        }
    }

    /// The state of every table, with what else may not depend on a crash; and what Stripe was made to do.
    pub async fn ends(&self) -> String {
        let world = &self.world;
        let mut text = world.effects_text().await;
        for more in [
            "select format('event %s %s', type, state) from stripe_events order by 1",
            // A reconciliation that saw a charge on its way, which is chance, waits for its second look.
            "select format('job %s %s', kind, state) from jobs where state not in ('completed', 'canceled') and kind <> 'prune'
                and (kind, state) <> ('reconcile', 'available') order by 1",
            "select format('break_glass %s %s', operator, expired_at is not null) from break_glass_sessions order by 1",
            // What is told of an attempt that had no effect goes with its row.
            "select format('audited %s %s', action, count(*)) from audit_events a
              where a.action <> 'payment.unknown' and a.meta ->> 'class' is distinct from 'technical'
                and not exists (select from payment_attempts t where t.state = 'technical' and t.id::text = a.meta ->> 'attempt')
              group by action order by 1",
        ] {
            for line in world.texts(more).await {
                text.push_str(&line);
                text.push('\n');
            }
        }
        let books = world.sim.books().await.unwrap();
        for name in [
            "captured_minor",
            "refunded_minor",
            "refunds_pending_minor",
            "disputed_net_minor",
        ] {
            text.push_str(&format!("stripe {name} {}\n", books[name]));
        }
        let mut intents: Vec<String> = books["by_payment_intent"]
            .as_object()
            .unwrap()
            .values()
            .map(|intent| {
                let charges: Vec<&Value> = intent["charges"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|c| &c["status"])
                    .collect();
                format!(
                    "stripe intent {} {} {} captured {} refunded {} charges {charges:?}\n",
                    intent["customer"],
                    intent["status"],
                    intent["amount"],
                    intent["captured"],
                    intent["refunded"]
                )
            })
            .collect();
        intents.sort();
        text.push_str(&intents.concat());
        // The only customer whose id Stripe has made up.
        let made = "select stripe_customer_id from platform_customers where stripe_customer_id is not null";
        for customer in world.texts(made).await {
            text = text.replace(&customer, "the firm's own");
        }
        text
    }
}
