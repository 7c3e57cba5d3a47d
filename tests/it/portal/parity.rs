//! What the commands do the API does too, by the same functions: invoices by hand, terms, automatic payment, runs, the clock.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::World;

use super::{logged_in, operator, token, two_firms};
use crate::cast::Payer;

/// Waits until the jobs that an answer names have ended.
async fn done(world: &World, answer: &Value) {
    for job in answer["jobs"].as_array().unwrap() {
        let ended = format!(
            "select count(*) from jobs where id = '{}' and state = 'completed'",
            job.as_str().unwrap()
        );
        world.until(&ended, 1, Duration::from_secs(30)).await;
    }
}

#[tokio::test]
async fn r026_a33_an_invoice_is_made_by_the_api_as_by_the_command_and_once() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let path = "/api/v1/invoices";
    let order = json!({"engagement": "eng-zebra", "amount": "40.00", "tax": "4.00", "no_autopay": true});
    let made = admin.post_keyed(path, "make-1", &order).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        (&made.json()["status"], &made.json()["total_minor"]),
        (&json!("draft"), &json!(4_400))
    );
    assert_eq!(admin.post_keyed(path, "make-1", &order).await.json(), made.json());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json(), world.json(&["invoice", "show", &id]).await);
    let count = "select count(*) from invoices where total_minor = 4400";
    assert_eq!(world.count(count).await, 1);
    let issued =
        json!({"client": "yak", "amount": "10.00", "reason": "workshop", "issue": true, "no_autopay": true});
    let issued = admin.post(path, &issued).await;
    assert_eq!(issued.json()["status"], "sent", "{}", issued.text);
    let used = "select actor_id || ' ' || (meta ->> 'override_by') || ' ' || (meta ->> 'reason') from audit_events where action = 'invoice.override_used'";
    assert_eq!(world.texts(used).await, ["admin-acme admin-acme workshop"]);
    // A system answers for nothing: without an engagement it takes somebody of the firm.
    let mut system = token(&world, Some("acme"), "admin").await;
    let alone = json!({"client": "yak", "amount": "10.00", "reason": "workshop"});
    assert_eq!(system.post(path, &alone).await.code(), "override_needs_admin");
    for (order, status, code) in [
        (json!({}), 400, "invalid_request"),
        (
            json!({"engagement": "eng-zebra", "client": "yak"}),
            400,
            "invalid_request",
        ),
        (
            json!({"client": "yak", "amount": "10.00"}),
            400,
            "invalid_request",
        ),
        (
            json!({"engagement": "eng-zebra", "amount": "x"}),
            400,
            "invalid_request",
        ),
        (
            json!({"engagement": "eng-wolf", "amount": "1.00"}),
            404,
            "not_found",
        ),
        (json!({"engagement": "eng-zebra"}), 409, "nothing_to_bill"),
    ] {
        let refused = admin.post(path, &order).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (status, code),
            "{order}"
        );
    }
    world.assert_books_balance().await;
}

#[tokio::test]
async fn r014_r015_terms_are_signed_billed_renewed_and_ended_by_the_api() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let today = crate::acme::today(&world).await;
    let (year, month) = (today[..4].parse::<i32>().unwrap(), &today[5..7]);
    let package = json!({"external_id": "pkg", "client": "yak", "pricing_mode": "package", "currency": "usd", "package_fee": "500.00",
        "package_fee_schedule": "monthly", "starts_on": format!("{year}-{month}-01"), "ends_on": format!("{}-{month}-01", year + 1)});
    world.import(&json!({ "engagements": [package] })).await;
    let path = |act: &str| format!("/api/v1/engagements/pkg/{act}");
    let signed = admin.post_nothing(&path("sign")).await;
    assert_eq!(
        (signed.status, &signed.json()["changed"], &signed.json()["status"]),
        (200, &json!(true), &json!("signed")),
        "{}",
        signed.text
    );
    assert_eq!(admin.post_nothing(&path("sign")).await.json()["changed"], false);

    // Runs: ordered by the answer, done by workers, on record.
    let why = json!({"reason": "the month is over"});
    let run = admin.post_keyed("/api/v1/runs/invoices", "run-1", &why).await;
    assert_eq!(run.status, 202, "{}", run.text);
    assert_eq!(
        admin
            .post_keyed("/api/v1/runs/invoices", "run-1", &why)
            .await
            .json(),
        run.json()
    );
    done(&world, &run.json()).await;
    let made = "select count(*) from invoices where total_minor = 50000 and doc_state = 'issued'";
    assert_eq!(world.count(made).await, 1);
    let charges = admin.post("/api/v1/runs/charges", &why).await;
    assert_eq!(charges.status, 202, "{}", charges.text);
    done(&world, &charges.json()).await;
    world.settle().await;
    let asked = "select action || ' ' || actor_id || ' ' || (meta ->> 'reason') from audit_events where action like '%.requested' and subject_kind = 'firm' order by id";
    assert_eq!(
        world.texts(asked).await,
        [
            "generation.requested admin-acme the month is over",
            "charging.requested admin-acme the month is over"
        ]
    );

    let next = json!({"ends_on": format!("{}-{month}-01", year + 2), "package_fee": "600.00"});
    let renewed = admin.post(&path("renew"), &next).await;
    assert_eq!(renewed.status, 201, "{}", renewed.text);
    assert_eq!(
        (&renewed.json()["external_id"], &renewed.json()["status"]),
        (&json!("pkg-v2"), &json!("draft"))
    );
    let worse = json!({"ends_on": format!("{}-{month}-01", year + 2), "package_fee": "a lot"});
    assert_eq!(admin.post(&path("renew"), &worse).await.status, 400);
    let end = json!({"on": format!("{year}-12-31"), "reason": "notice"});
    let ended = admin.post(&path("end"), &end).await;
    assert_eq!(
        (ended.status, &ended.json()["ends_on"]),
        (200, &json!(format!("{year}-12-31"))),
        "{}",
        ended.text
    );
    assert_eq!(
        admin.post("/api/v1/engagements/eng-wolf/end", &end).await.code(),
        "not_found"
    );
    world.assert_books_balance().await;
}

#[tokio::test]
async fn r061_automatic_payment_is_switched_by_the_api_as_by_the_command() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let why = json!({"reason": "pays by transfer"});
    let off = admin.post("/api/v1/clients/zebra/autopay/off", &why).await;
    assert_eq!(off.status, 200, "{}", off.text);
    assert_eq!(
        (&off.json()["changed"], &off.json()["autopay_enabled"]),
        (&json!(true), &json!(false))
    );
    let on = json!({"payment_method": "pm_zebra", "reason": "new mandate"});
    let on = admin.post("/api/v1/clients/zebra/autopay/on", &on).await;
    assert_eq!(
        (&on.json()["changed"], &on.json()["autopay_payment_method"]),
        (&json!(true), &json!("pm_zebra")),
        "{}",
        on.text
    );
    let other = json!({"payment_method": "pm_yak", "reason": "not theirs"});
    assert_eq!(
        admin
            .post("/api/v1/clients/zebra/autopay/on", &other)
            .await
            .code(),
        "not_found"
    );
    let told = "select action || ' ' || actor_id from audit_events where action in ('autopay.enabled', 'autopay.disabled') and cause_kind = 'request' order by id";
    assert_eq!(
        world.texts(told).await,
        ["autopay.disabled admin-acme", "autopay.enabled admin-acme"]
    );
}

#[tokio::test]
async fn r212_an_operator_starts_the_comparison_and_moves_the_clock_of_a_test_installation() {
    let world = two_firms().await;
    let mut alice = operator(&world, "alice").await;
    let why = json!({"reason": "after the outage"});
    let run = alice.post("/api/v1/runs/reconciliation", &why).await;
    assert_eq!(run.status, 202, "{}", run.text);
    assert_eq!(run.json()["jobs"].as_array().unwrap().len(), 1);
    done(&world, &run.json()).await;
    assert_eq!(
        world.count("select count(*) from recon_runs").await,
        2,
        "one for each firm"
    );
    let moved = json!({"advance_secs": 3_600, "reason": "an hour later"});
    let moved = alice.post("/api/v1/clock", &moved).await;
    assert_eq!(moved.json()["offset_ms"], 3_600_000, "{}", moved.text);
    assert_eq!(alice.get("/api/v1/clock").await.json()["offset_ms"], 3_600_000);
    let back = json!({"to": "2020-01-01T00:00:00Z", "reason": "to see"});
    assert_eq!(alice.post("/api/v1/clock", &back).await.code(), "clock_backwards");
    for odd in [
        json!({"reason": "x"}),
        json!({"advance_secs": 1, "reset": true, "reason": "x"}),
        json!({"advance_secs": -1, "reason": "x"}),
    ] {
        assert_eq!(alice.post("/api/v1/clock", &odd).await.status, 400, "{odd}");
    }
    let record = "select action || ' ' || changed_by || ' ' || reason from installation_changes where action in ('clock.moved', 'reconcile.requested') order by id";
    assert_eq!(
        world.texts(record).await,
        [
            "reconcile.requested alice after the outage",
            "clock.moved alice an hour later"
        ]
    );
}

/// R060, R061: the portal asks Stripe nothing; a worker does, and says what became of it.
#[tokio::test]
async fn r060_a_card_is_named_by_the_api_and_attached_by_a_worker() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let card = world.sim.customer_with_card("cus_zebra", "pm_zebra_2", &[]);
    card.await.unwrap();
    let path = "/api/v1/clients/zebra/payment-methods";
    let order = json!({"payment_method": "pm_zebra_2", "charge_it": true});
    let asked = admin.post_keyed(path, "card-1", &order).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    assert_eq!(
        admin.post_keyed(path, "card-1", &order).await.json(),
        asked.json()
    );
    world.settle().await;
    let shown = admin.get("/api/v1/clients/zebra").await.json();
    assert_eq!(shown["autopay"]["payment_method"], "pm_zebra_2", "{shown}");
    let who = "select distinct actor_kind || ' ' || actor_id || ' ' || cause_kind from audit_events where action = 'payment_method.attached'
                and cause_kind = 'job'";
    assert_eq!(world.texts(who).await, ["user admin-acme job"]);
    // The simulator knows any card that it is asked for, unless it is told otherwise.
    let nobodys = json!({ "method": "GET", "path": "/v1/payment_methods/pm_nobodys", "kind": "404", "times": 1_000_000 });
    world.sim.fault(nobodys).await.unwrap();
    for (card, why) in [("pm_yak", "other_customer"), ("pm_nobodys", "unknown_card")] {
        let asked = admin.post(path, &json!({ "payment_method": card })).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        world.settle().await;
        let job = asked.json()["job"].as_str().unwrap().to_owned();
        let job = admin.get(&format!("/api/v1/jobs/{job}")).await;
        assert!(
            job.json()["state"] == "canceled" && job.text.contains(why),
            "{}",
            job.text
        );
    }
    let odd = json!({"payment_method": "../customers"});
    assert_eq!(admin.post(path, &odd).await.status, 400);
}

/// What becomes of a lost dispute is decided under a lock of its row, which nobody but a worker changes.
#[tokio::test]
async fn r073_what_a_lost_dispute_took_is_decided_by_the_api() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    for (client, decision) in [("zebra", "write_off"), ("yak", "rebill")] {
        let payer = Payer::of("acme", client);
        let order = json!({ "payment_intent": payer.intent(&world).await, "kind": "chargeback" });
        let dispute = world.sim.post("/disputes", order).await.unwrap();
        let dispute = dispute["id"].as_str().unwrap();
        let lose = json!({ "action": "lose" });
        world
            .sim
            .post(&format!("/disputes/{dispute}"), lose)
            .await
            .unwrap();
        world.settle().await;
        let path = format!("/api/v1/disputes/{dispute}/resolve");
        let order = json!({"decision": decision, "reason": "small"});
        let decided = admin.post_keyed(&path, client, &order).await;
        assert_eq!(decided.status, 200, "{}", decided.text);
        assert_eq!(
            decided.json()["invoice"].is_string(),
            decision == "rebill",
            "{}",
            decided.text
        );
        assert_eq!(admin.post(&path, &order).await.status, 409);
    }
    world.settle().await;
    world.assert_books_balance().await;
}
