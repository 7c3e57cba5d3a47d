//! `client`: switching automatic payment by hand does what an import does.

use serde_json::json;

use super::{bare, document};

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
