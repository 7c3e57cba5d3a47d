//! P3: a worker dies at the worst moments of a charge, and another one goes on where it left off.

use serde_json::json;
use tests::world::{World, WorldOptions};

use crate::acme;

/// The points at which the worker stands when it dies: the call, and whether it took effect before or after the death.
const POINTS: [(&str, &str); 4] = [
    ("/v1/payment_intents", "hold_before"),
    ("/v1/payment_intents", "hold_after"),
    ("/v1/payment_intents/*/confirm", "hold_before"),
    ("/v1/payment_intents/*/confirm", "hold_after"),
];

/// B-01.
#[tokio::test]
async fn p3_kill_9_between_create_confirm_and_record_charges_once() {
    let options = WorldOptions {
        lease_secs: 5,
        ..WorldOptions::default()
    };
    let mut world = World::start(options).await;
    let clients = ["first", "second", "third", "fourth"];
    acme::open_alike(&world, &clients, &[]).await;
    // The first two creations and the first two confirmations stop, so each client stands at a point of its own.
    for (path, kind) in POINTS {
        let nth = if kind == "hold_before" { 1 } else { 2 };
        let hold = json!({ "method": "POST", "path": path, "kind": kind, "nth": nth });
        world.sim.fault(hold).await.unwrap();
    }
    // Nobody tells the second worker what the first one did.
    world.sim.pause_webhooks().await.unwrap();
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.until_held(4).await;
    world.add_worker().await;
    world.kill9(0).await;
    world.sim.release().await.unwrap();
    acme::wait_for(&world, &clients, "paid").await;
    for client in clients {
        let (_, intent) = acme::intent(&world, client).await;
        assert_eq!(intent["captured"], 100_000, "{client}");
        assert_eq!(acme::confirmations(&world, client).await.len(), 1, "{client}");
        acme::assert_outcomes(&world, &[(client, "paid succeeded: auto 0 succeeded")]).await;
    }
    acme::assert_books_agree(&world).await;

    world.sim.resume_webhooks().await.unwrap();
    world.settle().await;
    assert_eq!(world.count("select count(*) from payments").await, 4);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn p3_kill_9_while_stripe_still_works_is_not_answered_by_a_second_confirmation() {
    let options = WorldOptions {
        lease_secs: 5,
        ..WorldOptions::default()
    };
    let mut world = World::start(options).await;
    acme::open_accounts(&world, &[("globex", &[])]).await;
    acme::hold_confirmations(&world, "hold_before", 1).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.until_held(1).await;
    world.add_worker().await;
    world.kill9(0).await;
    // The second worker looks the charge up, sees nothing yet, and does not guess.
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "processing unknown: auto 0 unknown")]).await;
    world.sim.release().await.unwrap();
    acme::wait_for(&world, &["globex"], "paid").await;
    assert_eq!(acme::confirmations(&world, "globex").await.len(), 1);
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn b24_a11_a_failure_seen_late_and_without_its_error_keeps_its_class_and_its_time() {
    let mut world = World::start(WorldOptions {
        lease_secs: 5,
        ..WorldOptions::default()
    })
    .await;
    let clients = ["robbed", "poor"];
    acme::open_accounts(
        &world,
        &[("robbed", &["lost_card"]), ("poor", &["insufficient_funds"])],
    )
    .await;
    world.sim.webhooks(json!({ "paused": true })).await.unwrap();
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_after", "times": 2 });
    world.sim.fault(hold).await.unwrap();
    acme::bill(&world, &clients, "usd", "1000.00").await;
    world.until_held(2).await;
    // Both are declined, and the only worker dies without having heard of it. Somebody at Stripe's dashboard touches the
    // intents, which clears their errors; hours pass.
    world.kill9(0).await;
    for client in clients {
        let (intent, _) = acme::intent(&world, client).await;
        let url = format!("{}/v1/payment_intents/{intent}", world.sim.base());
        let touched = reqwest::Client::new()
            .post(url)
            .bearer_auth("sk_test_world")
            .body("metadata[looked_at]=yes")
            .header("content-type", "application/x-www-form-urlencoded")
            .send()
            .await
            .unwrap();
        assert_eq!(touched.status(), 200);
    }
    world.sim.release().await.unwrap();
    world.advance("5h").await;
    world.add_worker().await;
    let ended = "select count(*) from payment_attempts where state = 'declined'";
    world.until(ended, 2, std::time::Duration::from_secs(60)).await;
    acme::assert_outcomes(
        &world,
        &[
            ("robbed", "failed method_required: auto 0 declined"),
            ("poor", "failed retry_wait: auto 0 declined"),
        ],
    )
    .await;
    let told = "select a.failure_class || ' ' || a.failure_code || ' ' || a.decline_code || ' ' || a.network_decline_code
                  from payment_attempts a order by 1";
    assert_eq!(
        world.texts(told).await,
        [
            "hard card_declined lost_card 41",
            "soft card_declined insufficient_funds 51"
        ]
    );
    // The days count from the failure itself.
    let late = "select count(*) from collection_cycles c join payment_attempts a on a.cycle_id = c.id
                 where c.first_failed_at between a.sent_at and a.sent_at + interval '1 minute'
                   and a.resolved_at > c.first_failed_at + interval '4 hours'";
    assert_eq!(world.count(late).await, 2);
    let waits = "select extract(epoch from next_attempt_at - first_failed_at)::bigint from collection_cycles
                  where state = 'retry_wait'";
    assert_eq!(world.count(waits).await, 3 * 24 * 3600);
}
