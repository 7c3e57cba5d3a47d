//! `client`: switching automatic payment by hand does what an import does.

use serde_json::json;
use tests::world::{World, WorldOptions};

use super::{bare, document};
use crate::acme;

/// R061.
#[tokio::test]
async fn switching_off_gives_up_what_is_planned_and_switching_on_plans_it_again() {
    let world = bare().await;
    world.import(&document()).await;
    let planned = "select count(*) from collection_cycles where state = 'scheduled'";
    let off = world
        .json(&[
            "client",
            "autopay",
            "off",
            "globex",
            "--reason",
            "pays by transfer",
        ])
        .await;
    assert_eq!(
        (&off["changed"], &off["autopay_enabled"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(world.count(planned).await, 0);
    let again = world.json(&["client", "autopay", "off", "globex"]).await;
    assert_eq!(again["changed"], false);
    let on = world.json(&["client", "autopay", "on", "cus_1"]).await;
    assert_eq!(on["autopay_payment_method"], "pm_1");
    assert_eq!(world.count(planned).await, 1);
    assert_eq!(
        world
            .texts("select meta ->> 'reason' from audit_events where action = 'autopay.disabled'")
            .await,
        ["pays by transfer"]
    );
}

/// R060.
#[tokio::test]
async fn only_a_card_that_stripe_keeps_for_this_client_can_be_added() {
    let world = bare().await;
    world.import(&document()).await;
    world
        .sim
        .customer_with_card("cus_1", "pm_new", &["succeed"])
        .await
        .unwrap();
    world
        .sim
        .customer_with_card("cus_other", "pm_other", &["succeed"])
        .await
        .unwrap();
    let unknown = world
        .cli(&["client", "autopay", "on", "globex", "--payment-method", "pm_new"])
        .await;
    assert_eq!(unknown.code, 1, "{unknown}");
    let foreign = world
        .cli(&["client", "payment-method", "add", "globex", "pm_other"])
        .await;
    assert_eq!(foreign.code, 4, "{foreign}");

    assert_eq!(
        world
            .json(&["client", "payment-method", "add", "globex", "pm_new"])
            .await["changed"],
        true
    );
    assert_eq!(
        world
            .json(&["client", "payment-method", "add", "globex", "pm_new"])
            .await["changed"],
        false
    );
    let on = world
        .json(&["client", "autopay", "on", "globex", "--payment-method", "pm_new"])
        .await;
    assert_eq!(on["autopay_payment_method"], "pm_new");
}

/// B-24: what waits for a card, or was refused because of it, goes on with the card that a person adds; but no card is charged
/// that was not said to be charged, and none that was refused for good is tried twice.
#[tokio::test]
async fn b24_a_card_that_is_added_by_hand_lets_go_on_what_waited_for_it() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(
        &world,
        &[
            ("lost", &["lost_card", "lost_card"]),
            ("faulty", &["testmode_decline", "succeed"]),
        ],
    )
    .await;
    acme::bill(&world, &["lost", "faulty"], "usd", "1000.00").await;
    world.settle().await;
    let waits = "failed method_required: auto 0 declined";
    acme::assert_outcomes(
        &world,
        &[("lost", waits), ("faulty", "sent paused: auto 0 declined")],
    )
    .await;
    let card = world.sim.customer_with_card("cus_lost", "pm_second", &[]);
    card.await.unwrap();
    let add = |client, card| ["client", "payment-method", "add", client, card];

    let added = world.json(&add("lost", "pm_second")).await;
    assert_eq!(
        json!([added["changed"], added["resumed"], added["waiting"]]),
        json!([true, 0, 1])
    );
    assert_eq!(added["autopay_payment_method"], "pm_lost");
    let said = world.cli(&add("lost", "pm_second")).await;
    assert!(
        said.stdout
            .contains("1 collection(s) wait for another card: `quittance client autopay on lost"),
        "{said}"
    );
    // The one that was refused is added once more: its description is new, and then nothing is.
    world.json(&add("lost", "pm_lost")).await;
    world.settle().await;
    let again = world.json(&add("lost", "pm_lost")).await;
    assert_eq!(json!([again["changed"], again["resumed"]]), json!([false, 0]));

    let used = world
        .json(&["client", "payment-method", "add", "lost", "pm_second", "--use"])
        .await;
    assert_eq!(
        json!([used["changed"], used["resumed"], used["waiting"]]),
        json!([true, 1, 0])
    );
    assert_eq!(used["autopay_payment_method"], "pm_second");
    let mended = world.json(&add("faulty", "pm_faulty")).await;
    assert_eq!(mended["resumed"], 1);
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[("faulty", "paid succeeded: auto 0 declined, auto 0 succeeded")],
    )
    .await;
    let lost = acme::outcome(&world, "lost").await;
    assert!(
        lost.starts_with("paid succeeded") && lost.ends_with("method_updated 0 succeeded"),
        "{lost}"
    );
    acme::assert_books_agree(&world).await;
}
