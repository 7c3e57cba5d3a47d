//! One engagement from its signature to cash and a lost dispute, by the commands of the people who do it.
//!
//! Other stories try each turn in every way; this one shows that the turns fit together.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme;

/// The status of the one invoice, what is open on it, and the state of its collection.
async fn invoice(world: &World) -> (Value, String) {
    let number = world.texts("select number from invoices").await.concat();
    let shown = world.json(&["invoice", "show", &number]).await;
    let told = format!(
        "{} {} {}",
        shown["status"].as_str().unwrap(),
        shown["open_minor"],
        shown["autopay"]["state"].as_str().unwrap()
    );
    (shown, told)
}

/// R105, R025, R061, R066, R070, R071, R072, R074, R114: terms are signed, hours approved, a month is billed, the card is declined and then
/// pays, the bank takes the money back and keeps it, and a person gives it up. No turn rewrites what the turns before it left.
#[tokio::test]
async fn r105_from_a_signed_engagement_to_cash_and_a_lost_dispute() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds", "succeed"])]).await;
    let today = acme::today(&world).await;
    let mut document = acme::document(&["globex"]);
    document["users"] = json!([
        {"external_id": "ada", "firm": "acme", "name": "Ada", "role": "admin"},
        {"external_id": "sam", "firm": "acme", "name": "Sam", "role": "staff"},
    ]);
    document["engagements"] = json!([{
        "external_id": "retainer", "client": "globex", "pricing_mode": "mixed", "currency": "usd", "package_fee": "1000.00",
        "package_fee_schedule": "monthly", "period_anchor": "anniversary", "hourly_rate": "150.00", "starts_on": today,
    }]);
    world.import(&document).await;

    // The terms, the work, the bill.
    world.json(&["engagement", "sign", "retainer"]).await;
    let worked = [
        "time",
        "add",
        "--engagement",
        "retainer",
        "--worker",
        "sam",
        "--worked-on",
        &today,
    ];
    world
        .json(&[&worked[..], &["--minutes", "90", "--external-id", "t1"]].concat())
        .await;
    world.json(&["time", "submit", "t1", "--by", "sam"]).await;
    world.json(&["time", "approve", "t1", "--by", "ada"]).await;
    let run = world
        .json(&["generate-package-invoices", "--firm-id", "acme"])
        .await;
    assert_eq!(run["created"].as_array().unwrap().len(), 1, "{run}");
    world.settle().await;

    // Declined on the day, paid three days later.
    let (shown, told) = invoice(&world).await;
    assert_eq!(told, "failed 122500 retry_wait");
    assert_eq!(shown["autopay"]["opt_in"], true);
    let due = world
        .texts("select to_char(first_failed_at + interval '3 days', 'YYYY-MM-DD') from collection_cycles")
        .await
        .concat();
    let next = shown["autopay"]["next_charge_at"].as_str().unwrap();
    assert!(next.starts_with(&due), "{next} is not on {due}");
    let failures = world
        .texts("select concat_ws(' ', step, trigger, state, failure_class, decline_code, amount_minor) from payment_failures")
        .await;
    assert_eq!(failures, ["0 auto declined soft insufficient_funds 122500"]);
    world.advance("3d").await;
    world.settle().await;
    let (paid, told) = invoice(&world).await;
    assert_eq!(told, "paid 0 succeeded");
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 122_500);

    // The bank takes the money and keeps it; a person gives it up.
    let (intent, _) = acme::intent(&world, "globex").await;
    let order = json!({ "payment_intent": intent, "kind": "chargeback" });
    let dispute = world.sim.post("/disputes", order).await.unwrap();
    let dispute = dispute["id"].as_str().unwrap();
    world.settle().await;
    assert_eq!(invoice(&world).await.1, "disputed 0 succeeded");
    let lose = json!({ "action": "lose" });
    world
        .sim
        .post(&format!("/disputes/{dispute}"), lose)
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(invoice(&world).await.1, "charged_back 0 succeeded");
    let decided = [
        "dispute",
        "resolve",
        dispute,
        "--write-off",
        "--reason",
        "not worth a quarrel",
    ];
    world.json(&decided).await;
    world.advance("31d").await;
    world.settle().await;

    // Nobody was charged again, and lines, attempts and the payment are what they were.
    let (after, told) = invoice(&world).await;
    assert_eq!(told, "charged_back 0 succeeded");
    for part in ["number", "total_minor", "lines", "attempts", "payments"] {
        assert_eq!(after[part], paid[part], "{part}");
    }
    assert_eq!(acme::confirmations(&world, "globex").await.len(), 2);
    let log = world
        .json(&["audit", "list", "--since", "60d", "--limit", "1000"])
        .await;
    let mut actions: Vec<&str> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    actions.reverse();
    let turns = [
        "engagement.signed",
        "time.approved",
        "invoice.issued",
        "payment.attempted",
        "payment.failed",
        "payment.succeeded",
        "dispute.opened",
        "dispute.resolved",
    ];
    let order: Vec<Option<usize>> = turns
        .iter()
        .map(|turn| actions.iter().position(|action| action == turn))
        .collect();
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{actions:?}"
    );
    world.cli(&["ledger", "check"]).await.success().unwrap();
    acme::assert_books_agree(&world).await;
}
