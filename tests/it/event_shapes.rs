//! One event of every type that we handle, in an old API version's shape and in today's, with Stripe answering in the same
//! shape: both have the same effect. Endpoints keep the version they were made with, so a product meets both.
//!
//! Every payer plays one event. Stripe's own events are held back, so that the event from `tests/fixtures/stripe` is all
//! that tells of what happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::world::{Door, World, WorldOptions, wall_clock_secs};

use crate::{
    cast::{self, Payer},
    documents,
};

/// Some forty payers on a machine that may have two cores.
const MANY_JOBS: Duration = Duration::from_secs(120);

/// A folder of fixtures, and the shape in which the simulator answers meanwhile.
const VERSIONS: [(&str, &str); 2] = [("2020-03-02", "old"), ("2026-09-30", "new")];

/// What the answer to our confirmation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Arrived,
    /// So that only the event can tell how the charge ended.
    Lost,
}

/// One event and what it must come to.
struct Play {
    kind: &'static str,
    card: &'static [&'static str],
    answer: Answer,
    /// Invoice, collection and fence; attempts; payments; refunds; disputes; movements; what the audit says of the event.
    ends: &'static str,
}

/// The event tells how a charge ended.
const fn ended(kind: &'static str, card: &'static [&'static str], ends: &'static str) -> Play {
    Play {
        kind,
        card,
        answer: Answer::Lost,
        ends,
    }
}

/// The event tells what happened after a charge whose end is known.
const fn happened(kind: &'static str, card: &'static [&'static str], ends: &'static str) -> Play {
    Play {
        kind,
        card,
        answer: Answer::Arrived,
        ends,
    }
}

const PLAYS: [Play; 19] = [
    ended(
        "payment_intent.succeeded",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; told: payment.succeeded",
    ),
    ended(
        "payment_intent.payment_failed",
        &["insufficient_funds"],
        "failed retry_wait free; auto declined soft insufficient_funds; \
         told: payment.failed retry.scheduled",
    ),
    ended(
        "payment_intent.processing",
        &["processing"],
        "processing in_flight free; auto processing",
    ),
    ended(
        "payment_intent.requires_action",
        &["authenticate"],
        "failed action_required free; auto action_required; told: payment.action_required",
    ),
    ended(
        "payment_intent.canceled",
        &["insufficient_funds"],
        "sent canceled free; auto canceled; told: payment.resolved retry.superseded",
    ),
    ended(
        "invoice.payment_succeeded",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; told: payment.succeeded",
    ),
    ended(
        "invoice.payment_failed",
        &["insufficient_funds"],
        "failed retry_wait free; auto declined soft insufficient_funds; \
         told: payment.failed retry.scheduled",
    ),
    ended(
        "charge.updated",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; told: payment.succeeded",
    ),
    happened(
        "charge.refunded",
        &[],
        "refunded succeeded free; auto succeeded; paid 10000; refund succeeded 10000; \
         told: refund.succeeded",
    ),
    happened(
        "refund.created",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; refund pending 3000; told: refund.requested",
    ),
    happened(
        "refund.updated",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; refund succeeded 3000; told: refund.succeeded",
    ),
    happened(
        "refund.failed",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; refund failed 3000; told: refund.failed",
    ),
    happened(
        "charge.refund.updated",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; refund canceled 3000; told: refund.failed",
    ),
    happened(
        "charge.dispute.created",
        &[],
        "disputed succeeded chargeback; auto succeeded; paid 10000; \
         chargeback needs_response fraudulent 10.4; fee 1500, withdrawn 10000; \
         told: dispute.opened chargeback.received autopay.paused",
    ),
    happened(
        "charge.dispute.updated",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; inquiry warning_under_review fraudulent 10.4; \
         told: dispute.opened",
    ),
    happened(
        "charge.dispute.funds_withdrawn",
        &[],
        "disputed succeeded chargeback; auto succeeded; paid 10000; \
         chargeback needs_response fraudulent 10.4; fee 1500, withdrawn 10000; \
         told: dispute.opened chargeback.received autopay.paused",
    ),
    happened(
        "charge.dispute.funds_reinstated",
        &[],
        "paid succeeded free; auto succeeded; paid 10000; chargeback won won fraudulent 10.4; \
         fee 1500, reinstated 10000, withdrawn 10000; \
         told: dispute.opened dispute.resolved chargeback.received chargeback.reversed",
    ),
    happened(
        "charge.dispute.closed",
        &[],
        "charged_back succeeded chargeback; auto succeeded; paid 10000; \
         chargeback lost lost fraudulent 10.4; fee 1500, withdrawn 10000; \
         told: dispute.opened dispute.resolved chargeback.received autopay.paused",
    ),
    happened(
        "payment_method.automatically_updated",
        &["expired_card", "succeed"],
        "paid succeeded free; auto declined hard, method_updated succeeded; paid 10000; \
         told: payment_method.updated retry.scheduled",
    ),
];

/// Each play in each version, by a payer of its own.
struct Role {
    play: &'static Play,
    version: &'static str,
    payer: Payer,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stripe")
}

fn roles() -> Vec<Role> {
    let role = |play: &'static Play, version: &'static str| {
        let letters = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "");
        Role {
            play,
            version,
            payer: Payer::alone(&format!("{}at{}", letters(play.kind), letters(version))),
        }
    };
    let of_version = |(version, _)| PLAYS.iter().map(move |play| role(play, version));
    VERSIONS.into_iter().flat_map(of_version).collect()
}

/// What happens at Stripe after the charge; the object that came of it, by its placeholder.
async fn happen(world: &World, role: &Role, intent: &str) -> Option<(&'static str, String)> {
    let sim = &world.sim;
    let refund = async |outcome: &str, moved: Option<&str>| {
        let amount = match role.play.kind {
            "charge.refunded" => 10_000,
            _ => 3_000,
        };
        let order = json!({ "payment_intent": intent, "amount": amount, "outcome": outcome });
        let id = id_of(&sim.post("/refunds", order).await.unwrap());
        if let Some(status) = moved {
            let path = format!("/refunds/{id}");
            sim.post(&path, json!({ "status": status })).await.unwrap();
        }
        Some(("$refund", id))
    };
    let dispute = async |kind: &str, actions: &[&str]| {
        let order = json!({ "payment_intent": intent, "kind": kind });
        let id = id_of(&sim.post("/disputes", order).await.unwrap());
        for action in actions {
            let path = format!("/disputes/{id}");
            sim.post(&path, json!({ "action": action })).await.unwrap();
        }
        Some(("$dispute", id))
    };
    match role.play.kind {
        "payment_intent.requires_action" => {
            let path = format!("/payment_intents/{intent}/pay");
            sim.post(&path, json!({ "outcome": "authenticate" }))
                .await
                .unwrap();
            None
        }
        "payment_intent.canceled" => {
            cancel(world, intent).await;
            None
        }
        "charge.refunded" => refund("succeeded", None).await,
        "refund.created" => refund("pending", None).await,
        "refund.updated" => refund("pending", Some("succeeded")).await,
        "refund.failed" => refund("pending", Some("failed")).await,
        "charge.refund.updated" => refund("pending", Some("canceled")).await,
        "charge.dispute.created" => dispute("chargeback", &[]).await,
        "charge.dispute.updated" => dispute("inquiry", &["under_review"]).await,
        "charge.dispute.funds_withdrawn" => dispute("inquiry", &["escalate"]).await,
        "charge.dispute.funds_reinstated" => dispute("chargeback", &["under_review", "win"]).await,
        "charge.dispute.closed" => dispute("chargeback", &["under_review", "lose"]).await,
        "payment_method.automatically_updated" => {
            let path = format!("/payment_methods/{}/update", role.payer.card);
            let renewed = json!({ "exp_year": 2039, "last4": "1881" });
            sim.post(&path, renewed).await.unwrap();
            None
        }
        _ => None,
    }
}

fn id_of(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

/// Somebody cancels an intent at the dashboard.
async fn cancel(world: &World, intent: &str) {
    let url = format!("{}/v1/payment_intents/{intent}/cancel", world.sim.base());
    let call = reqwest::Client::new().post(url).bearer_auth("sk_test_dashboard");
    let answer = call.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// The fixture with this story's ids.
async fn fixture(world: &World, role: &Role) -> String {
    let payer = &role.payer;
    let intent = payer.intent(world).await;
    let came_of_it = happen(world, role, &intent).await;
    let books = world.sim.books().await.unwrap();
    let charges = books["by_payment_intent"][&intent]["charges"].as_array().unwrap();
    let mut ids = BTreeMap::from([
        ("$event", format!("evt_{}", payer.name)),
        ("$payment_intent", intent),
        ("$charge", id_of(charges.last().unwrap())),
        ("$customer", payer.customer.clone()),
        ("$payment_method", payer.card.clone()),
    ]);
    ids.extend(came_of_it);
    let path = folder()
        .join(role.version)
        .join(format!("{}.json", role.play.kind));
    let mut text = fs::read_to_string(path).unwrap();
    for (placeholder, id) in ids {
        text = text.replace(placeholder, &id);
    }
    assert!(!text.contains('$'), "{text}");
    text
}

/// Delivers these bytes as Stripe would.
async fn deliver(world: &World, body: &str) {
    let header = world.door.signature(body.as_bytes(), wall_clock_secs());
    let answer = world.door.post(Door::PATH, body.to_owned(), Some(&header)).await;
    assert_eq!(answer.unwrap().status, 200);
}

/// What became of a payer, in the words of [`Play::ends`].
async fn ends(world: &World, payer: &Payer) -> String {
    let sql = format!(
        "select concat_ws('; ', s.status || ' ' || s.autopay_state || ' ' || coalesce(i.fenced_reason, 'free'),
           (select string_agg(concat_ws(' ', a.trigger, a.state, a.failure_class, a.decline_code), ', ' order by y.seq, a.seq)
              from payment_attempts a join collection_cycles y on y.id = a.cycle_id where y.invoice_id = i.id),
           (select string_agg('paid ' || p.amount_minor, ', ') from payments p where p.invoice_id = i.id),
           (select string_agg(concat_ws(' ', 'refund', r.state, r.amount_minor), ', ')
              from refunds r join payments p on p.id = r.payment_id where p.invoice_id = i.id),
           (select string_agg(concat_ws(' ', d.kind, d.stripe_status, d.outcome, d.reason, d.network_reason_code), ', ')
              from disputes d join payments p on p.id = d.payment_id where p.invoice_id = i.id),
           (select string_agg(m.kind || ' ' || m.amount_minor, ', ' order by m.kind)
              from dispute_movements m join disputes d on d.id = m.dispute_id join payments p on p.id = d.payment_id
             where p.invoice_id = i.id),
           (select 'told: ' || string_agg(e.action, ' ' order by e.id) from audit_events e
             where e.firm_id = i.firm_id and e.cause_kind = 'event'))
           from invoices i join invoice_status s using (firm_id, id) where i.id = {}",
        payer.invoice_sql()
    );
    world.texts(&sql).await.concat()
}

/// All rows about a payer, but for the fingerprint of its card, which the simulator makes of the card's id.
async fn state(world: &World, payer: &Payer) -> String {
    let words = payer.state(world).await;
    let words = words.split(' ').filter(|word| !word.starts_with("fingerprint="));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_handled_type_has_a_fixture_in_both_shapes_and_is_played() {
    // Those of platform billing alone are played where it is: a subscription and an invoice have many types and two shapes.
    let of_platform = documents::platform_types();
    let mut handled = documents::handled_types();
    handled.retain(|kind| !of_platform.contains(kind));
    let played: BTreeSet<String> = PLAYS.iter().map(|play| play.kind.to_owned()).collect();
    assert_eq!(played, handled);
    for (version, _) in VERSIONS {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(folder().join(version)).unwrap() {
            let path = entry.unwrap().path();
            let event: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let kind = event["type"].as_str().unwrap();
            assert_eq!(path.file_stem().unwrap(), kind);
            assert!(event["api_version"].as_str().unwrap().starts_with(version));
            found.insert(kind.to_owned());
        }
        assert_eq!(found, handled, "{version}");
    }
}

/// R081, B-22.
#[tokio::test]
async fn every_handled_event_has_the_same_effect_in_an_old_shape_and_in_todays() {
    let world = World::start(WorldOptions::default()).await;
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    // A charge whose answer was lost is looked up ten seconds later. Here the event has to tell.
    let later = "
        create function public.look_up_later() returns trigger language plpgsql as $$ begin
          if new.kind = 'reconcile_payment' then new.run_at := new.run_at + interval '1 day'; end if; return new;
        end $$;
        create trigger look_up_later before insert on jobs for each row execute function public.look_up_later()";
    sqlx::raw_sql(AssertSqlSafe(later.to_owned()))
        .execute(&world.db)
        .await
        .unwrap();
    let roles = roles();
    for answer in [Answer::Lost, Answer::Arrived] {
        if answer == Answer::Lost {
            let lost =
                json!({ "path": "/v1/payment_intents/*/confirm", "kind": "reset_after", "times": 1_000 });
            world.sim.fault(lost).await.unwrap();
        }
        let mut payers = Vec::new();
        for role in roles.iter().filter(|role| role.play.answer == answer) {
            let (customer, card) = (&role.payer.customer, &role.payer.card);
            let script = role.play.card;
            world
                .sim
                .customer_with_card(customer, card, script)
                .await
                .unwrap();
            payers.push(role.payer.clone());
        }
        world.import(&cast::document(&payers)).await;
        world.settle_within(MANY_JOBS).await;
        world.sim.heal().await.unwrap();
    }

    for (version, shape) in VERSIONS {
        world
            .sim
            .post("/answers", json!({ "shape": shape }))
            .await
            .unwrap();
        for role in roles.iter().filter(|role| role.version == version) {
            let event = fixture(&world, role).await;
            let before = role.payer.state(&world).await;
            assert!(!before.is_empty());
            deliver(&world, &event).await;
            world.settle().await;
            assert_ne!(
                role.payer.state(&world).await,
                before,
                "{} told nothing",
                role.play.kind
            );
        }
    }

    let unapplied = "select type || ' ' || state from stripe_events where state <> 'applied'";
    assert_eq!(world.texts(unapplied).await, Vec::<String>::new());
    let events = i64::try_from(roles.len()).unwrap();
    assert_eq!(world.count("select count(*) from stripe_events").await, events);
    for role in &roles {
        eprintln!(
            "{} {}: {}",
            role.version,
            role.play.kind,
            ends(&world, &role.payer).await
        );
    }
    for role in &roles {
        let found = ends(&world, &role.payer).await;
        assert_eq!(found, role.play.ends, "{} {}", role.version, role.play.kind);
    }
    let (old, new) = roles.split_at(PLAYS.len());
    for (old, new) in old.iter().zip(new) {
        let (old_state, new_state) = (state(&world, &old.payer).await, state(&world, &new.payer).await);
        assert_eq!(old_state, new_state, "{}", old.play.kind);
    }
}
