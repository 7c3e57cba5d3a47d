//! Every secret is changed, and the schema grows, while webhooks come in, clients are charged and people are at the portal: two ingresses
//! and two portals behind balancers and two workers are replaced again and again, as a rollout does it, and nobody is refused, nothing is
//! lost and nothing runs twice.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};
use tests::world::{Balancer, Login, Replica, World, WorldOptions, event};

use crate::{
    cast::{self, Payer},
    deliveries::Deliveries,
    deployments::{self, EXPAND, EXPAND_INDEX},
    readers::{self, Readers},
};

/// Senders of webhooks at a time.
const SENDERS: usize = 2;

/// For whatever is awaited, on a machine that may have two cores.
const PATIENCE: Duration = Duration::from_secs(90);

/// The webhook secrets: the simulator and the stream begin with the first.
const SECRETS: [&str; 2] = ["whsec_world", "whsec_rolled"];

/// Stripe's keys.
const KEYS: [&str; 2] = ["sk_test_world", "sk_test_second"];

/// What replicas are started with from now on.
struct Settings {
    webhook_secrets: String,
    key: &'static str,
    logins: Logins,
}

/// A login of Postgres for each program, of this story alone: the worlds of other tests share theirs.
#[derive(Clone)]
struct Logins {
    ingress: String,
    worker: String,
    portal: String,
}

impl Logins {
    /// As `docs/SECRETS.md` has it: a login, then its role from `quittance migrate`.
    async fn create(world: &World) -> Self {
        let suffix = uuid::Uuid::new_v4().simple().to_string();
        let logins = Self {
            ingress: format!("ingress_{suffix}"),
            worker: format!("worker_{suffix}"),
            portal: format!("portal_{suffix}"),
        };
        for login in logins.all() {
            let create = format!("create role {login} login password 'of {login}'");
            world.db.execute(AssertSqlSafe(create)).await.unwrap();
        }
        let migrate = world
            .command()
            .with_env("MIGRATION_DATABASE_URL", Some(&world.database_url(Login::Owner)))
            .with_env("DATABASE_URL", None);
        let grants = [
            format!("ingress={}", logins.ingress),
            format!("worker={}", logins.worker),
            format!("portal={}", logins.portal),
        ];
        let args: Vec<&str> = grants.iter().flat_map(|grant| ["--grant", grant]).collect();
        migrate.json(&[&["migrate"][..], &args].concat()).await.unwrap();
        logins
    }

    fn all(&self) -> [&String; 3] {
        [&self.ingress, &self.worker, &self.portal]
    }

    fn url(world: &World, like: Login, login: &str) -> String {
        let theirs = format!("//{}:quittance@", like.name());
        let url = world.database_url(like);
        assert!(url.contains(&theirs));
        url.replace(&theirs, &format!("//{login}:of%20{login}@"))
    }

    async fn each(&self, world: &World, statement: fn(&str) -> String) {
        for login in self.all() {
            world.db.execute(AssertSqlSafe(statement(login))).await.unwrap();
        }
    }
}

/// What runs.
struct Fleet {
    settings: Settings,
    ingresses: Vec<Replica>,
    workers: Vec<Replica>,
    portals: Vec<Replica>,
    balancer: Balancer,
    of_portals: Balancer,
    /// For their logs.
    begun: usize,
}

impl Fleet {
    async fn begin(world: &World, settings: Settings) -> Self {
        let mut ingresses = Vec::new();
        let mut workers = Vec::new();
        let mut portals = Vec::new();
        for n in 0..2 {
            ingresses.push(
                world
                    .replica(
                        Login::Ingress,
                        &format!("ingress-{n}"),
                        &settings.of_ingress(world),
                    )
                    .await,
            );
            workers.push(
                world
                    .replica(Login::Worker, &format!("worker-{n}"), &settings.of_worker(world))
                    .await,
            );
            portals.push(
                world
                    .replica(Login::Portal, &format!("portal-{n}"), &settings.of_portal(world))
                    .await,
            );
        }
        let balancer = world.balance(ingresses.iter().map(Replica::address).collect());
        let of_portals = world.balance_portals(portals.iter().map(Replica::address).collect());
        Self {
            settings,
            ingresses,
            workers,
            portals,
            balancer,
            of_portals,
            begun: 2,
        }
    }

    /// One after the other: the new one is ready before the old one is asked to go.
    async fn roll_ingresses(&mut self, world: &World, stream: &Deliveries) {
        for n in 0..self.ingresses.len() {
            self.begun += 1;
            let name = format!("ingress-{}", self.begun);
            let new = world
                .replica(Login::Ingress, &name, &self.settings.of_ingress(world))
                .await;
            let old = std::mem::replace(&mut self.ingresses[n], new);
            self.balancer.replace(old.address(), self.ingresses[n].address());
            assert_eq!(old.stop().await, 0);
            stream.pass(10, PATIENCE).await;
        }
    }

    async fn roll_portals(&mut self, world: &World, people: &Readers) {
        for n in 0..self.portals.len() {
            self.begun += 1;
            let name = format!("portal-{}", self.begun);
            let new = world
                .replica(Login::Portal, &name, &self.settings.of_portal(world))
                .await;
            let old = std::mem::replace(&mut self.portals[n], new);
            self.of_portals.replace(old.address(), self.portals[n].address());
            assert_eq!(old.stop().await, 0);
            people.pass(10, PATIENCE).await;
        }
    }

    async fn roll_workers(&mut self, world: &World, stream: &Deliveries) {
        for n in 0..self.workers.len() {
            self.begun += 1;
            let name = format!("worker-{}", self.begun);
            let new = world
                .replica(Login::Worker, &name, &self.settings.of_worker(world))
                .await;
            let old = std::mem::replace(&mut self.workers[n], new);
            assert_eq!(old.stop().await, 0);
            stream.pass(10, PATIENCE).await;
        }
    }
}

impl Settings {
    fn of_ingress(&self, world: &World) -> [(&'static str, String); 2] {
        [
            ("STRIPE_WEBHOOK_SECRET", self.webhook_secrets.clone()),
            (
                "DATABASE_URL",
                Logins::url(world, Login::Ingress, &self.logins.ingress),
            ),
        ]
    }

    /// All come from one address here.
    fn of_portal(&self, world: &World) -> [(&'static str, String); 2] {
        [
            ("PORTAL_RATE_PER_MIN", "1000000".to_owned()),
            (
                "DATABASE_URL",
                Logins::url(world, Login::Portal, &self.logins.portal),
            ),
        ]
    }

    fn of_worker(&self, world: &World) -> [(&'static str, String); 2] {
        [
            ("STRIPE_SECRET_KEY", self.key.to_owned()),
            (
                "DATABASE_URL",
                Logins::url(world, Login::Worker, &self.logins.worker),
            ),
        ]
    }
}

/// Stripe signs with these from now on: the simulator's own webhooks, and the stream.
async fn stripe_signs_with(world: &World, stream: &Deliveries, secrets: &[&str]) {
    let endpoints = world.sim.get("/webhook_endpoints").await.unwrap();
    let path = format!(
        "/webhook_endpoints/{}",
        endpoints["data"][0]["id"].as_str().unwrap()
    );
    world
        .sim
        .call(Method::POST, &path, json!({ "secrets": secrets }))
        .await
        .unwrap();
    stream.sign_with(secrets);
    stream.pass(20, PATIENCE).await;
}

/// The steps are those of `docs/SECRETS.md` and `docs/UPGRADE.md`, in their order.
#[tokio::test]
async fn load_every_secret_and_the_schema_change_under_load_and_nobody_is_refused() {
    let mut world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        grace_secs: 15,
        ..WorldOptions::default()
    })
    .await;
    deployments::slow_charges(&world).await;
    let (first, second) = (Logins::create(&world).await, Logins::create(&world).await);
    let payers = Payer::crowd("acme", 60);
    let mut batches = payers.chunks(10);
    let mut enter = async |world: &World| cast::enter(world, batches.next().unwrap(), &[]).await;
    let settings = Settings {
        webhook_secrets: SECRETS[0].into(),
        key: KEYS[0],
        logins: first.clone(),
    };
    let mut fleet = Fleet::begin(&world, settings).await;
    let stream = Deliveries::begin(&world, SENDERS);
    enter(&world).await;
    stream.pass(20, PATIENCE).await;
    let people = Readers::begin(&world, "acme").await;
    people.pass(20, PATIENCE).await;

    // The webhook secret. Stripe signs with both; the ingresses take both; the old one ends; they take the new one alone.
    stripe_signs_with(&world, &stream, &[SECRETS[1], SECRETS[0]]).await;
    fleet.settings.webhook_secrets = format!("{},{}", SECRETS[1], SECRETS[0]);
    enter(&world).await;
    fleet.roll_ingresses(&world, &stream).await;
    stripe_signs_with(&world, &stream, &[SECRETS[1]]).await;
    fleet.settings.webhook_secrets = SECRETS[1].into();
    fleet.roll_ingresses(&world, &stream).await;
    let late = event(
        "customer.updated",
        json!({ "id": "cus_old", "object": "customer" }),
    );
    let refused = world.door.deliver(&late).await.unwrap();
    assert_eq!(
        (refused.status, refused.error_code()),
        (400, "invalid_signature"),
        "the old secret is of no use any more"
    );

    // Stripe's key. Both are good; the workers take the second; the first is revoked.
    fleet.settings.key = KEYS[1];
    enter(&world).await;
    fleet.roll_workers(&world, &stream).await;
    world
        .sim
        .post("/keys/revoke", json!({ "key": KEYS[0] }))
        .await
        .unwrap();
    let before = world.sim.writes().await;
    enter(&world).await;

    // A release: the schema grows under the old programs, and then they are replaced.
    let migrations = deployments::later(&world, 8000, &[EXPAND, EXPAND_INDEX], deployments::expand).await;
    deployments::migrate(&world, &migrations).await;
    enter(&world).await;
    people.pass(20, PATIENCE).await; // the old build on the new schema
    fleet.roll_ingresses(&world, &stream).await;
    fleet.roll_workers(&world, &stream).await;
    fleet.roll_portals(&world, &people).await;
    assert!(world.sim.writes().await > before, "the second key charges");

    // The logins of Postgres: others beside them, everybody moves, the first may not log in any more.
    fleet.settings.logins = second.clone();
    fleet.roll_ingresses(&world, &stream).await;
    fleet.roll_workers(&world, &stream).await;
    fleet.roll_portals(&world, &people).await;
    first
        .each(&world, |login| format!("alter role {login} nologin"))
        .await;
    let theirs = format!(
        "select count(*) from pg_stat_activity where usename in ('{}', '{}', '{}')",
        first.ingress, first.worker, first.portal
    );
    world.until(&theirs, 0, PATIENCE).await;
    enter(&world).await;
    stream.pass(20, PATIENCE).await;
    people.pass(20, PATIENCE).await;

    let told = stream.end().await;
    let asked = people.end().await;
    deployments::assert_nobody_noticed(&mut world, &payers, &told).await;
    readers::assert_nobody_noticed(&world, &asked).await;
    // Each of Stripe's own deliveries was taken, and none was answered in any other way. (A connection that idles for the whole second in
    // which its ingress drains may be closed just as it is used: then nothing was answered, and Stripe comes again.)
    let events = world.sim.events().await.unwrap();
    let is_taken = |event: &&Value| {
        let tries = event["sim"]["attempts"].as_array().unwrap();
        let mut answers = tries
            .iter()
            .map(|tried| &tried["status"])
            .filter(|status| !status.is_null());
        answers.next() == Some(&json!(200)) && answers.next().is_none()
    };
    let failed: Vec<&Value> = events.iter().filter(|event| !is_taken(event)).collect();
    assert!(
        events.len() > payers.len() && failed.is_empty(),
        "{} of {}: {failed:?}",
        failed.len(),
        events.len()
    );
    let calls = world.sim.requests().await.unwrap();
    let refused: Vec<&Value> = calls.iter().filter(|call| call["status"] == 401).collect();
    assert!(refused.is_empty(), "{refused:?}");

    let rest = fleet.ingresses.drain(..).chain(fleet.workers.drain(..));
    for stopped in rest.chain(fleet.portals.drain(..)) {
        assert_eq!(stopped.stop().await, 0);
    }
    for logins in [first, second] {
        logins.each(&world, |login| format!("drop role {login}")).await;
    }
}
