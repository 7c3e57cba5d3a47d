//! Disputes: seen whomever they reach (S11), closed as what they are (S12), booked from balance transactions alone, the
//! same in any order of their events (P2), and never a reason to rewrite what an invoice is (R103).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::cast::{self, AMOUNT_MINOR, Payer};

/// Hundreds of jobs on a machine that may have two cores.
const MANY_JOBS: Duration = Duration::from_secs(120);

/// Payers that are played at a time.
const AT_A_TIME: usize = 8;

/// What Stripe keeps for a chargeback.
const FEE_MINOR: i64 = 1_500;

/// A dispute as the cardholder's bank plays it, and what it must come to.
struct Play {
    name: &'static str,
    kind: &'static str,
    moves: &'static [&'static str],
    /// Status of the invoice; status of the dispute, its kind, its outcome; the invoice's fence.
    ends: &'static str,
    /// What it did to the balance, fee included.
    net_minor: i64,
}

const PLAYS: [Play; 9] = [
    Play {
        name: "opened",
        kind: "chargeback",
        moves: &[],
        ends: "disputed needs_response chargeback open fenced",
        net_minor: -AMOUNT_MINOR - FEE_MINOR,
    },
    Play {
        name: "won",
        kind: "chargeback",
        moves: &["under_review", "win"],
        ends: "paid won chargeback won free",
        net_minor: -FEE_MINOR,
    },
    Play {
        name: "lost",
        kind: "chargeback",
        moves: &["under_review", "lose"],
        ends: "charged_back lost chargeback lost fenced",
        net_minor: -AMOUNT_MINOR - FEE_MINOR,
    },
    Play {
        name: "asked",
        kind: "inquiry",
        moves: &[],
        ends: "paid warning_needs_response inquiry open free",
        net_minor: 0,
    },
    Play {
        name: "answered",
        kind: "inquiry",
        moves: &["under_review", "close_inquiry"],
        ends: "paid warning_closed inquiry inquiry_closed free",
        net_minor: 0,
    },
    Play {
        name: "escalated",
        kind: "inquiry",
        moves: &["escalate"],
        ends: "disputed needs_response chargeback open fenced",
        net_minor: -AMOUNT_MINOR - FEE_MINOR,
    },
    Play {
        name: "escalatedlost",
        kind: "inquiry",
        moves: &["escalate", "lose"],
        ends: "charged_back lost chargeback lost fenced",
        net_minor: -AMOUNT_MINOR - FEE_MINOR,
    },
    Play {
        name: "prevented",
        kind: "chargeback",
        moves: &["prevent"],
        ends: "paid prevented chargeback withdrawn free",
        net_minor: 0,
    },
    Play {
        name: "withdrawn",
        kind: "inquiry",
        moves: &["withdraw"],
        ends: "paid warning_closed inquiry inquiry_closed free",
        net_minor: 0,
    },
];

async fn open(world: &World, payer: &Payer, kind: &str) -> String {
    let order = json!({ "payment_intent": payer.intent(world).await, "kind": kind });
    let dispute = world.sim.post("/disputes", order).await.unwrap();
    dispute["id"].as_str().unwrap().to_owned()
}

async fn act(world: &World, dispute: &str, action: &str) {
    let path = format!("/disputes/{dispute}");
    world.sim.post(&path, json!({ "action": action })).await.unwrap();
}

/// What became of a payer's dispute, in the words of [`Play::ends`].
async fn ends(world: &World, payer: &Payer) -> String {
    let sql = format!(
        "select concat_ws(' ', s.status, d.stripe_status, d.kind, coalesce(d.outcome, 'open'),
                          case i.fenced_reason when 'chargeback' then 'fenced' else 'free' end)
           from invoices i join invoice_status s using (firm_id, id) join payments p on p.invoice_id = i.id
           join disputes d on d.payment_id = p.id where i.id = {}",
        payer.invoice_sql()
    );
    world.texts(&sql).await.join("\n")
}

/// What is booked of a payer's disputes.
async fn net_minor(world: &World, payer: &Payer) -> i64 {
    let sql = format!(
        "select coalesce(sum(case when m.kind in ('reinstated', 'fee_refund') then m.amount_minor else -m.amount_minor end), 0)
           from dispute_movements m join disputes d on d.id = m.dispute_id join payments p on p.id = d.payment_id
          where p.invoice_id = {}",
        payer.invoice_sql()
    );
    world.count(&sql).await
}

/// S11, S12, R103, R072, R074, R104: what each course of a dispute comes to, told live, and told only by the last of its events.
#[tokio::test]
async fn s11_s12_a_dispute_is_seen_and_ends_as_what_it_is() {
    let world = World::start(WorldOptions::default()).await;
    let live: Vec<Payer> = PLAYS.iter().map(|play| Payer::of("live", play.name)).collect();
    let late: Vec<Payer> = PLAYS
        .iter()
        .map(|play| Payer::of("late", &format!("{}late", play.name)))
        .collect();
    cast::enter(&world, &[&live[..], &late].concat(), &[]).await;
    world.settle().await;

    let mut opened = Vec::new();
    for (play, payer) in PLAYS.iter().zip(&live) {
        opened.push(open(&world, payer, play.kind).await);
    }
    world.settle().await;
    // R103: what is disputed is not open again: nobody charges it a second time.
    assert_eq!(world.count("select sum(open_minor) from invoice_status").await, 0);
    for step in 0..2 {
        for (play, dispute) in PLAYS.iter().zip(&opened) {
            if let Some(action) = play.moves.get(step) {
                act(&world, dispute, action).await;
            }
        }
        world.settle().await;
    }

    // Everything but the last event is lost.
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    for (play, payer) in PLAYS.iter().zip(&late) {
        let dispute = open(&world, payer, play.kind).await;
        for action in play.moves {
            act(&world, &dispute, action).await;
        }
        let events = cast::events_of(&world, payer).await;
        cast::deliver(&world, events.last().unwrap()).await;
    }
    world.settle().await;

    for payers in [&live, &late] {
        for (play, payer) in PLAYS.iter().zip(payers) {
            assert_eq!(ends(&world, payer).await, play.ends, "{}", payer.name);
            assert_eq!(net_minor(&world, payer).await, play.net_minor, "{}", payer.name);
        }
    }
    let booked = 2 * PLAYS.iter().map(|play| play.net_minor).sum::<i64>();
    assert_eq!(
        world.sim.books().await.unwrap()["disputed_net_minor"]["usd"],
        booked
    );
    // The payments stand as they were made, and nothing is charged again, not even in a month.
    let invoices = i64::try_from(live.len() + late.len()).unwrap();
    world.advance("31d").await;
    world.settle().await;
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        invoices * AMOUNT_MINOR
    );
    assert_eq!(
        world.count("select sum(amount_minor) from payments").await,
        invoices * AMOUNT_MINOR
    );
}

/// The events of a dispute, oldest first.
async fn events_of(world: &World, dispute: &str) -> Vec<Value> {
    let path = format!("/events?object={dispute}");
    let Value::Array(events) = world.sim.get(&path).await.unwrap()["data"].take() else {
        unreachable!("a list")
    };
    events
}

/// B-03: all orders of a chargeback's five events and of an escalated inquiry's four; each event comes again backwards.
#[tokio::test]
async fn load_p2_a_disputes_events_end_the_same_in_every_order_with_duplicates() {
    let world = World::start(WorldOptions {
        workers: 2,
        ..WorldOptions::default()
    })
    .await;
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    for (kind, moves, kinds) in [
        (
            "chargeback",
            ["under_review", "win"],
            &[
                "created",
                "funds_withdrawn",
                "updated",
                "closed",
                "funds_reinstated",
            ][..],
        ),
        (
            "inquiry",
            ["escalate", "lose"],
            &["created", "updated", "funds_withdrawn", "closed"],
        ),
    ] {
        let orders = cast::permutations(&(0..kinds.len()).collect::<Vec<_>>());
        let live = Payer::alone(&format!("{kind}live"));
        let payers: Vec<Payer> = (0..orders.len())
            .map(|n| Payer::alone(&format!("{kind}{n:03}")))
            .collect();
        cast::enter(&world, &[&payers[..], std::slice::from_ref(&live)].concat(), &[]).await;
        world.settle_within(MANY_JOBS).await;

        let mut told = 0;
        let dispute = open(&world, &live, kind).await;
        for action in ["", moves[0], moves[1]] {
            if !action.is_empty() {
                act(&world, &dispute, action).await;
            }
            let events = events_of(&world, &dispute).await;
            for event in &events[told..] {
                cast::deliver(&world, event).await;
                world.settle().await;
            }
            told = events.len();
        }
        let wanted = live.state(&world).await;

        stream::iter(payers.iter().zip(&orders))
            .for_each_concurrent(AT_A_TIME, |(payer, order)| {
                let world = &world;
                async move {
                    let dispute = open(world, payer, kind).await;
                    for action in moves {
                        act(world, &dispute, action).await;
                    }
                    let events = events_of(world, &dispute).await;
                    let found: Vec<&str> = events
                        .iter()
                        .filter_map(|event| event["type"].as_str()?.strip_prefix("charge.dispute."))
                        .collect();
                    assert_eq!(found, kinds);
                    for n in order.iter().chain(order.iter().rev()) {
                        cast::deliver(world, &events[*n]).await;
                    }
                }
            })
            .await;
        world.settle_within(MANY_JOBS).await;
        for (payer, order) in payers.iter().zip(&orders) {
            assert_eq!(payer.state(&world).await, wanted, "{kind} {order:?}");
        }
    }
}
