//! What Stripe tells of subscriptions and invoices, and what is made of it.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};
use tests::world::{World, WorldOptions};

use super::{
    alerts, assert_invoices_are_stripes, customer, firms, id_of, later, prices, stage, standing, stripe,
    subscribe,
};
use crate::{
    cast::{self, Payer},
    documents,
};

/// S17, R209: a failed renewal is told, and the retry that succeeds ends it, tier and periods following.
#[tokio::test]
async fn s17_a_subscription_goes_past_due_and_heals() {
    let world = stage(&["acme"]).await;
    customer(&world, "acme", &["succeed", "insufficient_funds", "succeed"]).await;
    let subscribed = subscribe(&world, "acme", "PRO").await;
    assert_eq!(
        (&subscribed["state"], &subscribed["subscription"]["status"]),
        (&json!("done"), &json!("ACTIVE"))
    );
    assert_eq!(standing(&world, "acme").await, "ACTIVE PRO active");
    assert_eq!(alerts(&world, "acme").await, [""; 0]);

    later(&world, "32d").await;
    assert_eq!(standing(&world, "acme").await, "PAST_DUE PRO past_due");
    assert_eq!(alerts(&world, "acme").await, ["PAYMENT_FAILED 1"]);
    let shown = world.json(&["platform", "show", "acme"]).await;
    assert_eq!(shown["subscription"]["is_active"], false);

    later(&world, "3d").await;
    assert_eq!(standing(&world, "acme").await, "ACTIVE PRO active");
    assert_eq!(alerts(&world, "acme").await, ["PAYMENT_FAILED 1 over"]);
    assert_eq!(assert_invoices_are_stripes(&world, "acme").await, 2);
    let renewed = format!(
        "select count(*) from platform_subscriptions where firm_id = {} and current_period_start <= app.now() and current_period_end > app.now()",
        id_of("acme")
    );
    assert_eq!(world.count(&renewed).await, 1);
}

/// S17: the events of the payment alone heal it, though none tells of the subscription itself; and without any event at all the
/// look of the day does.
#[tokio::test]
async fn s17_a_past_due_subscription_heals_whichever_event_is_lost() {
    for (lost, firm) in [
        (
            json!([
                "customer.subscription.updated",
                "invoice.paid",
                "invoice.updated",
                "invoice.payment_succeeded"
            ]),
            "intents",
        ),
        (
            json!([
                "customer.subscription.updated",
                "payment_intent.succeeded",
                "charge.succeeded",
                "invoice.paid",
                "invoice.updated"
            ]),
            "invoices",
        ),
        (Value::Null, "nothing"),
    ] {
        let world = stage(&[firm]).await;
        customer(&world, firm, &["succeed", "insufficient_funds", "succeed"]).await;
        subscribe(&world, firm, "PRO").await;
        later(&world, "32d").await;
        assert_eq!(standing(&world, firm).await, "PAST_DUE PRO past_due", "{firm}");
        match &lost {
            Value::Null => world.sim.webhooks(json!({ "drop_next": 1000 })).await.unwrap(),
            types => world.sim.webhooks(json!({ "drop_types": types })).await.unwrap(),
        }
        later(&world, "3d").await;
        if lost.is_null() {
            later(&world, "1d").await;
        }
        assert_eq!(standing(&world, firm).await, "ACTIVE PRO active", "{firm}");
        assert_eq!(alerts(&world, firm).await, ["PAYMENT_FAILED 1 over"], "{firm}");
    }
}

/// S18, A-04, B-22: the history fills from events alone, in the old and the new shape of Stripe's API, and already from the events
/// of the contract's list.
#[tokio::test]
async fn s18_invoices_appear_in_the_history_from_events_alone_in_either_shape() {
    let world = stage(&["old", "new"]).await;
    for shape in ["old", "new"] {
        world.sim.webhooks(json!({ "shape": shape })).await.unwrap();
        world.sim.tell("/answers", json!({ "shape": shape })).await;
        let customer = customer(&world, shape, &["succeed", "insufficient_funds", "succeed"]).await;
        // In the dashboard: nobody here has asked for it.
        let price = "select stripe_price_id from subscription_tiers where tier = 'PRO'";
        let price = world.texts(price).await.concat();
        let fields = [("customer", customer.as_str()), ("items[0][price]", &price)];
        // Of the first invoice no more than one event of the contract arrives.
        let told = json!([
            "customer.subscription.created",
            "customer.subscription.updated",
            "invoice.created",
            "invoice.finalized",
            "invoice.paid",
            "invoice.updated",
            "payment_intent.succeeded"
        ]);
        world.sim.webhooks(json!({ "drop_types": told })).await.unwrap();
        stripe(&world, "/subscriptions", &fields).await;
        world.settle().await;
        world.sim.webhooks(json!({ "drop_types": [] })).await.unwrap();
        assert_eq!(standing(&world, shape).await, "ACTIVE PRO active", "{shape}");
        assert_eq!(assert_invoices_are_stripes(&world, shape).await, 1, "{shape}");
        let dated = format!(
            "select count(*) from platform_invoices where firm_id = {} and paid_at is not null and period_end > period_start
                and hosted_invoice_url is not null and pdf_url is not null and number is not null",
            id_of(shape)
        );
        assert_eq!(world.count(&dated).await, 1, "{shape}");
    }
    // The renewals of both are declined, and paid three days later.
    later(&world, "32d").await;
    later(&world, "4d").await;
    for firm in ["old", "new"] {
        assert_eq!(standing(&world, firm).await, "ACTIVE PRO active", "{firm}");
        assert_eq!(assert_invoices_are_stripes(&world, firm).await, 2, "{firm}");
    }
    let page = world
        .json(&["platform", "invoices", "new", "--status", "PAID", "--limit", "1"])
        .await;
    assert_eq!(
        (page["data"].as_array().unwrap().len(), &page["total"]),
        (1, &json!(2))
    );
    assert_eq!(
        page["summary"],
        json!([{"currency": "usd", "total_minor": 5800, "paid_minor": 5800, "outstanding_minor": 0}])
    );
}

/// Makes a firm a customer of the platform, as if it had been for long.
async fn known(world: &World, firm: &str, customer: &str) {
    let mut tx = world.db.begin().await.unwrap();
    for sql in [
        format!("select set_config('app.firm_id', id::text, true) from firms where external_id = '{firm}'"),
        format!(
            "insert into platform_customers (firm_id, stripe_customer_id, created_at) select app.firm(), '{customer}', now()"
        ),
        format!(
            "insert into stripe_routes (stripe_id, scope, kind, firm_id, our_id)
             select '{customer}', 'platform_billing', 'platform_customer', app.firm(), app.firm()"
        ),
    ] {
        tx.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// R209, B-22: each type of event by itself, in either shape, brings the subscription and its invoice.
#[tokio::test]
async fn r209_every_type_of_event_alone_fills_the_mirror_in_either_shape() {
    let world = World::start(WorldOptions::default()).await;
    prices(&world).await;
    let price = "select stripe_price_id from subscription_tiers where tier = 'PRO'";
    let price = world.texts(price).await.concat();
    // Nothing is told but what the test tells.
    world
        .sim
        .webhooks(json!({ "drop_next": 1_000_000 }))
        .await
        .unwrap();
    let mut played = Vec::new();
    for shape in ["old", "new"] {
        world.sim.webhooks(json!({ "shape": shape })).await.unwrap();
        for (n, kind) in documents::platform_types().into_iter().enumerate() {
            let firm = format!("{shape}-{n}");
            let customer = format!("cus_{shape}{n}");
            firms(&world, &[&firm]).await;
            known(&world, &firm, &customer).await;
            world.sim.tell("/customers", json!({ "id": customer })).await;
            let method = json!({ "id": format!("pm_{shape}{n}"), "customer": customer });
            world.sim.tell("/payment_methods", method).await;
            let card = json!({ "payment_method": format!("pm_{shape}{n}") });
            world.sim.tell(&format!("/customers/{customer}/card"), card).await;
            let fields = [("customer", customer.as_str()), ("items[0][price]", &price)];
            let made = stripe(&world, "/subscriptions", &fields).await;
            played.push((firm, kind, made["id"].as_str().unwrap().to_owned(), shape));
        }
    }
    let made = world.sim.events().await.unwrap();
    for (_, kind, subscription, shape) in &played {
        let (source, named) = match kind.split('.').next().unwrap() {
            "invoice" => ("invoice.paid", "subscription"),
            _ => ("customer.subscription.updated", "id"),
        };
        let of_subscription = |event: &&Value| {
            let object = &event["data"]["object"];
            let parent = &object["parent"]["subscription_details"]["subscription"];
            event["type"] == source && (object[named] == *subscription || parent == subscription)
        };
        let mut object = made.iter().rfind(of_subscription).unwrap()["data"]["object"].clone();
        if kind == "checkout.session.completed" {
            object = json!({"id": "cs_test_1", "object": "checkout.session", "subscription": subscription, "customer": object["customer"]});
        }
        let version = if *shape == "old" {
            "2020-03-02"
        } else {
            "2026-09-30.endive"
        };
        world.sim.tell("/answers", json!({ "shape": shape })).await;
        let event = json!({"type": kind, "object": object, "api_version": version, "deliver": false});
        let event = world.sim.tell("/events", event).await;
        let deliver = format!("/events/{}/deliver", event["id"].as_str().unwrap());
        world.sim.tell(&deliver, json!({})).await;
        world.settle().await;
    }
    for (firm, kind, _, _) in &played {
        assert_eq!(
            standing(&world, firm).await,
            "ACTIVE PRO active",
            "{kind} of {firm}"
        );
        assert_eq!(
            assert_invoices_are_stripes(&world, firm).await,
            1,
            "{kind} of {firm}"
        );
    }
}

/// S19, B-23: one failure is one alert, though every event comes under two ids, twice each, and shuffled.
#[tokio::test]
async fn s19_one_failed_invoice_of_the_platform_is_one_alert_whoever_tells_of_it() {
    let world = World::start(WorldOptions {
        webhook_concurrency: 4,
        ..WorldOptions::default()
    })
    .await;
    prices(&world).await;
    firms(&world, &["acme"]).await;
    customer(&world, "acme", &["succeed", "insufficient_funds", "..."]).await;
    let noise = json!({ "double": true, "duplicate": 1, "shuffle": true });
    world.sim.webhooks(noise).await.unwrap();
    subscribe(&world, "acme", "PRO").await;
    later(&world, "32d").await;
    assert_eq!(alerts(&world, "acme").await, ["PAYMENT_FAILED 1"]);

    // Three retries, and Stripe gives up: the same invoice counts on, and the end of the subscription is told once.
    for retry in ["4d", "6d", "8d"] {
        later(&world, retry).await;
    }
    assert_eq!(standing(&world, "acme").await, "CANCELLED PRO canceled");
    let told = alerts(&world, "acme").await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], "SUBSCRIPTION_CANCELLED 1");
    assert!(told[0].starts_with("PAYMENT_FAILED"), "{told:?}");
    let kinds = "select count(*) from alerts where alert_type not in (
        'AGENT_OFFLINE', 'AGENT_NEVER_SYNCED', 'PAYMENT_FAILED', 'SUBSCRIPTION_EXPIRING', 'USAGE_HIGH', 'POLICY_CHANGED', 'SYSTEM_ERROR',
        'SUBSCRIPTION_CANCELLED', 'DISPUTE_OPENED', 'RETRY_EXHAUSTED', 'DRIFT_DETECTED', 'DAILY_SUMMARY')";
    assert_eq!(world.count(kinds).await, 0);
    let ends = "select count(*) from audit_events where action = 'subscription.cancelled'";
    assert_eq!(world.count(ends).await, 1);
}

/// S20, A-01: a client's declined charge leaves the firm's own subscription alone, and the firm's declined payment its clients.
#[tokio::test]
async fn s20_neither_billing_touches_the_other() {
    let world = stage(&["acme", "beta"]).await;
    customer(&world, "acme", &[]).await;
    subscribe(&world, "acme", "PRO").await;
    let platform = async || {
        world
            .texts(
                "select to_jsonb(s)::text from platform_subscriptions s union all select to_jsonb(i)::text from platform_invoices i order by 1",
            )
            .await
    };
    let clients = async || {
        let mut rows = Vec::new();
        for table in [
            "invoices",
            "collection_cycles",
            "payment_attempts",
            "payments",
            "clients",
            "journals",
        ] {
            rows.extend(
                world
                    .texts(&format!("select to_jsonb(t)::text from {table} t order by 1"))
                    .await,
            );
        }
        rows
    };

    let before = platform().await;
    let payer = Payer::of("acme", "globex");
    let declines = ["insufficient_funds", "..."];
    world
        .sim
        .customer_with_card(&payer.customer, &payer.card, &declines)
        .await
        .unwrap();
    world.import(&cast::document(std::slice::from_ref(&payer))).await;
    world.settle().await;
    assert_eq!(payer.status(&world).await, "failed");
    assert_eq!(platform().await, before);
    assert_eq!(standing(&world, "acme").await, "ACTIVE PRO active");
    let of_subscription =
        "select count(*) from alerts where dedupe_key like 'platform%' or dedupe_key like 'subscription%'";
    assert_eq!(world.count(of_subscription).await, 0);

    // Beta has a client whose retry is planned, and no card of its own that pays.
    let payer = Payer::of("beta", "umbrella");
    world
        .sim
        .customer_with_card(&payer.customer, &payer.card, &declines)
        .await
        .unwrap();
    world.import(&cast::document(std::slice::from_ref(&payer))).await;
    customer(&world, "beta", &["insufficient_funds", "..."]).await;
    world.settle().await;
    let before = clients().await;
    subscribe(&world, "beta", "PRO").await;
    assert_eq!(standing(&world, "beta").await, "INACTIVE PRO incomplete");
    assert_eq!(clients().await, before);
    let of_platform = "select count(*) from alerts where dedupe_key like 'platform_payment_failed:%' and invoice_id is null";
    assert_eq!(world.count(of_platform).await, 1);

    // All that Stripe told has found its owner, and nobody compares the platform's money with the firm's books.
    let lost = "select count(*) from stripe_events where state in ('unmatched', 'parked')";
    assert_eq!(world.count(lost).await, 0);
    let compared = world.cli(&["reconcile", "--since", "2d", "--json"]).await;
    assert_eq!(compared.code, 0, "{}", compared.stdout);
}

/// S20: a customer of a client's never becomes a firm's, and what names none of ours waits.
#[tokio::test]
async fn s20_a_clients_customer_is_never_taken_for_the_firms_own() {
    let world = stage(&["acme"]).await;
    let payer = Payer::of("acme", "globex");
    world
        .sim
        .customer_with_card(&payer.customer, &payer.card, &[])
        .await
        .unwrap();
    world.import(&cast::document(std::slice::from_ref(&payer))).await;
    world.settle().await;
    let firm = world
        .texts(
            &id_of("acme")
                .replace("(select id", "select id::text")
                .replace(')', ""),
        )
        .await
        .concat();
    let event = json!({
        "type": "customer.subscription.updated",
        "object": {"id": "sub_foreign", "object": "subscription", "customer": payer.customer, "status": "past_due",
                   "metadata": {"q_scope": "client_billing", "q_firm": firm}},
    });
    world.sim.tell("/events", event).await;
    world.settle().await;
    let told = "select state from stripe_events where object_id = 'sub_foreign'";
    assert_eq!(world.texts(told).await, ["unmatched"]);
    assert_eq!(
        world.count("select count(*) from platform_subscriptions").await,
        0
    );
    assert_eq!(world.count("select count(*) from platform_customers").await, 0);
}

/// R203, R204, B-03: all events of a subscription's life at once, each twice and in any order, end in what Stripe has.
#[tokio::test]
async fn r203_b03_events_in_any_order_and_number_end_in_what_stripe_has() {
    let world = World::start(WorldOptions {
        webhook_concurrency: 4,
        ..WorldOptions::default()
    })
    .await;
    prices(&world).await;
    firms(&world, &["acme"]).await;
    customer(
        &world,
        "acme",
        &["succeed", "insufficient_funds", "succeed", "succeed"],
    )
    .await;
    subscribe(&world, "acme", "PRO").await;
    world.sim.pause_webhooks().await.unwrap();
    later(&world, "32d").await;
    later(&world, "3d").await;
    let subscription = "select stripe_subscription_id from platform_subscriptions";
    let subscription = world.texts(subscription).await.concat();
    let price = "select stripe_price_id from subscription_tiers where tier = 'ENTERPRISE'";
    let price = world.texts(price).await.concat();
    let change = format!("/subscriptions/{subscription}");
    world.sim.tell(&change, json!({ "price": price })).await;
    later(&world, "30d").await;
    world.sim.tell(&change, json!({ "auto_renewal": false })).await;
    later(&world, "31d").await;
    world
        .sim
        .webhooks(json!({ "shuffle": true, "duplicate": 1, "paused": false, "seed": 11 }))
        .await
        .unwrap();
    world.settle_within(std::time::Duration::from_secs(120)).await;
    assert_eq!(standing(&world, "acme").await, "CANCELLED ENTERPRISE canceled");
    assert_eq!(assert_invoices_are_stripes(&world, "acme").await, 3);
    // Once more, by whatever was told first.
    let before = world
        .texts("select to_jsonb(i)::text from platform_invoices i order by 1")
        .await
        .len();
    let events = world.sim.events().await.unwrap();
    for event in events
        .iter()
        .filter(|event| event["type"].as_str().unwrap().starts_with("invoice."))
        .take(5)
    {
        let again = format!("/events/{}/deliver", event["id"].as_str().unwrap());
        world.sim.tell(&again, json!({})).await;
    }
    world.settle().await;
    assert_eq!(
        world.count("select count(*) from platform_invoices").await,
        i64::try_from(before).unwrap()
    );
    let told = "select count(*) from alerts where alert_type = 'SUBSCRIPTION_CANCELLED'";
    assert_eq!(world.count(told).await, 1);
}
