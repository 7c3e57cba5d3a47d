//! What is asked of Stripe: customers, subscriptions, changes of tier, renewal, ends, links; and what is told of limits.

use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use shared::{
    domain::platform::Ask,
    ids::FirmId,
    store::{
        audit::{Actor, By, Cause},
        platform::ask,
    },
};
use uuid::Uuid;

use super::{alerts, assert_invoices_are_stripes, customer, later, stage, standing, subscribe};

/// R200, R201, R213, A-23: the tiers are there from the start, and an operator gives them their prices.
#[tokio::test]
async fn r200_r201_tiers_are_data_and_their_prices_an_operators_matter() {
    let world = stage(&["acme"]).await;
    let tiers = world.json(&["platform", "tiers"]).await;
    let row = |n: usize| {
        let tier = &tiers["data"][n];
        json!([
            tier["tier"],
            tier["monthly_cost_minor"],
            tier["max_employees"],
            tier["max_agents"],
            tier["max_storage_gb"],
            tier["retention_days"]
        ])
    };
    assert_eq!(row(0), json!(["FREE", 0, 5, 5, 10, 30]));
    assert_eq!(row(1), json!(["PRO", 2900, 50, 50, 100, 60]));
    assert_eq!(row(2), json!(["ENTERPRISE", 9900, null, null, 1000, 365]));
    let of_pro = tiers["data"][1]["stripe_price_id"].as_str().unwrap();
    let taken = world
        .cli(&[
            "platform",
            "set-price",
            "FREE",
            of_pro,
            "--reason",
            "in error",
            "--json",
        ])
        .await;
    assert_eq!(taken.code, 4, "{}", taken.stdout);
    let told = "select count(*) from audit_events where action = 'config.changed' and meta->>'setting' = 'tier_price'";
    // The first prices were set when there was no firm yet; this one is told to each.
    world
        .json(&[
            "platform",
            "set-price",
            "PRO",
            "price_of_2027",
            "--reason",
            "prices of 2027",
        ])
        .await;
    assert_eq!(world.count(told).await, 1);
    let known = "select count(*) from subscription_prices where tier = 'PRO'";
    assert_eq!(world.count(known).await, 2);
}

/// R202, R210, R214, A-24: customer, subscription, a change of tier with proration, renewal off and on again, and the end, each asked by
/// command and audited; a tier follows the price.
#[tokio::test]
async fn r210_r214_a_firm_subscribes_changes_its_tier_and_leaves() {
    let world = stage(&["acme"]).await;
    customer(&world, "acme", &[]).await;
    let shown = world.json(&["platform", "show", "acme"]).await;
    assert_eq!(
        json!([
            shown["customer"]["email_synced"],
            shown["customer"]["billing_email"],
            shown["subscription"]
        ]),
        json!([true, "billing@acme.example", null])
    );
    let twice = [
        "platform", "customer", "create", "acme", "--reason", "again", "--json",
    ];
    assert_eq!(world.cli(&twice).await.code, 4);

    subscribe(&world, "acme", "PRO").await;
    let again = [
        "platform",
        "subscribe",
        "acme",
        "PRO",
        "--reason",
        "again",
        "--json",
    ];
    let refused = world.cli(&again).await;
    assert_eq!(refused.code, 4, "{}", refused.stdout);
    later(&world, "10d").await;
    world
        .json(&[
            "platform",
            "change-tier",
            "acme",
            "ENTERPRISE",
            "--reason",
            "more people",
        ])
        .await;
    world.settle().await;
    assert_eq!(standing(&world, "acme").await, "ACTIVE ENTERPRISE active");

    // Some two thirds of the month at the difference, with the next month.
    later(&world, "25d").await;
    assert_eq!(assert_invoices_are_stripes(&world, "acme").await, 2);
    let last = "select amount_paid_minor from platform_invoices order by created_at desc limit 1";
    let paid = world.count(last).await;
    assert!((9900 + 4400..9900 + 5000).contains(&paid), "{paid}");

    world
        .json(&["platform", "auto-renewal", "acme", "off", "--reason", "leaves"])
        .await;
    world.settle().await;
    // Once per subscription and end of a period, whoever resolved it meanwhile.
    assert_eq!(alerts(&world, "acme").await, ["SUBSCRIPTION_EXPIRING 1"]);
    world
        .json(&["platform", "auto-renewal", "acme", "on", "--reason", "stays"])
        .await;
    world.settle().await;
    assert_eq!(alerts(&world, "acme").await, ["SUBSCRIPTION_EXPIRING 1 over"]);
    world
        .json(&["platform", "cancel", "acme", "--reason", "leaves after all"])
        .await;
    world.settle().await;
    assert_eq!(alerts(&world, "acme").await, ["SUBSCRIPTION_EXPIRING 1 over"]);
    assert_eq!(standing(&world, "acme").await, "ACTIVE ENTERPRISE active");
    later(&world, "31d").await;
    assert_eq!(standing(&world, "acme").await, "CANCELLED ENTERPRISE canceled");
    let told = alerts(&world, "acme").await;
    assert_eq!(told, ["SUBSCRIPTION_EXPIRING 1 over", "SUBSCRIPTION_CANCELLED 1"]);

    // A new one is another subscription, and ends the news of the old one.
    subscribe(&world, "acme", "PRO").await;
    assert_eq!(standing(&world, "acme").await, "ACTIVE PRO active");
    assert_eq!(alerts(&world, "acme").await[1], "SUBSCRIPTION_CANCELLED 1 over");
    world
        .json(&["platform", "cancel", "acme", "--now", "--reason", "closed"])
        .await;
    world.settle().await;
    assert_eq!(standing(&world, "acme").await, "CANCELLED PRO canceled");
    let asked = "select meta->>'kind' from audit_events where action = 'platform.asked' and actor_kind = 'operator' order by id";
    assert_eq!(
        world.texts(asked).await,
        [
            "customer",
            "subscribe",
            "change_tier",
            "auto_renewal",
            "auto_renewal",
            "auto_renewal",
            "subscribe",
            "cancel"
        ]
    );
    let done = "select count(*) from audit_events where action = 'platform.done'";
    assert_eq!(world.count(done).await, 8);
}

/// a card that ends before the renewal is told thirty days before it, once.
#[tokio::test]
async fn a27_a_card_that_expires_before_the_renewal_is_told_once() {
    let world = stage(&["acme"]).await;
    customer(&world, "acme", &[]).await;
    let this_month = world
        .texts("select to_char(app.now() at time zone 'UTC', 'FMMM YYYY')")
        .await
        .concat();
    let (month, year) = this_month.split_once(' ').unwrap();
    let card = json!({"id": "pm_of_acme", "exp_month": month.parse::<i64>().unwrap(), "exp_year": year.parse::<i64>().unwrap()});
    world.sim.tell("/payment_methods", card).await;
    subscribe(&world, "acme", "PRO").await;
    later(&world, "2d").await;
    let told = "select related_data->>'reason' || ' ' || occurrences from alerts where alert_type = 'SUBSCRIPTION_EXPIRING'";
    assert_eq!(world.texts(told).await, ["card_expires 1"]);
}

/// R206, R214: eighty percent of a limit is an alert, unlimited is none, and a higher tier ends it.
#[tokio::test]
async fn r206_usage_is_told_from_eighty_percent_on_and_a_higher_tier_ends_it() {
    let world = stage(&["acme"]).await;
    customer(&world, "acme", &[]).await;
    subscribe(&world, "acme", "PRO").await;
    let report = async |of: &str| world.json(&["platform", "usage", "acme", "--report", of]).await;
    report("agents=39").await;
    assert_eq!(alerts(&world, "acme").await, [""; 0]);
    report("agents=40").await;
    report("agents=41").await;
    assert_eq!(alerts(&world, "acme").await, ["USAGE_HIGH 1"]);
    world
        .json(&[
            "platform",
            "change-tier",
            "acme",
            "ENTERPRISE",
            "--reason",
            "more agents",
        ])
        .await;
    world.settle().await;
    assert_eq!(alerts(&world, "acme").await, ["USAGE_HIGH 1 over"]);
    let usage = report("agents=4000").await;
    assert_eq!(alerts(&world, "acme").await, ["USAGE_HIGH 1 over"]);
    // What was reported stands in the place of what we would have counted ourselves.
    let usage_of = |usage: &serde_json::Value, metric: &str| -> Vec<serde_json::Value> {
        let rows = usage["data"].as_array().unwrap().iter();
        rows.filter(|row| row["metric"] == metric)
            .map(|row| json!([row["used"], row["limit"]]))
            .collect()
    };
    assert_eq!(usage_of(&usage, "agents"), [json!([4000, null])]);
    assert_eq!(usage_of(&usage, "employees"), [json!([0, null])]);
    assert_eq!(
        usage_of(&report("employees=12").await, "employees"),
        [json!([12, null])]
    );
}

/// P3 for platform billing: a call whose answer is lost is asked for with the same key, and never makes a second subscription.
#[tokio::test]
async fn r210_a_lost_answer_makes_no_second_customer_or_subscription() {
    let world = stage(&["acme"]).await;
    for path in ["/v1/customers", "/v1/subscriptions"] {
        let lost = json!({"method": "POST", "path": path, "kind": "reset_after", "nth": 1, "times": 1});
        world.sim.fault(lost).await.unwrap();
    }
    let create = [
        "platform",
        "customer",
        "create",
        "acme",
        "--reason",
        "signed",
        "--no-wait",
    ];
    world.json(&create).await;
    let made = "select count(*) from platform_customers where stripe_customer_id is not null";
    acme_until(&world, made).await;
    let customer = "select stripe_customer_id from platform_customers";
    let customer = world.texts(customer).await.concat();
    world
        .sim
        .tell(
            "/payment_methods",
            json!({"id": "pm_of_acme", "customer": customer}),
        )
        .await;
    world
        .sim
        .tell(
            &format!("/customers/{customer}/card"),
            json!({"payment_method": "pm_of_acme"}),
        )
        .await;
    let subscribe = [
        "platform",
        "subscribe",
        "acme",
        "PRO",
        "--reason",
        "signed",
        "--no-wait",
    ];
    world.json(&subscribe).await;
    acme_until(
        &world,
        "select count(*) from platform_requests where kind = 'subscribe' and state = 'done'",
    )
    .await;
    world.settle().await;
    let billing = world.sim.get("/billing").await.unwrap();
    assert_eq!(billing["subscriptions"].as_array().unwrap().len(), 1);
    assert_eq!(
        world.count("select count(*) from platform_subscriptions").await,
        1
    );
    let customers = world.sim.requests().await.unwrap();
    let keys: std::collections::BTreeSet<String> = customers
        .iter()
        .filter(|call| call["method"] == "POST" && call["path"] == "/v1/customers")
        .map(|call| call["idempotency_key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 1);
}

/// What was asked is tried again some seconds of business time after a lost answer.
async fn acme_until(world: &tests::world::World, sql: &str) {
    for _ in 0..60 {
        if world.count(sql).await == 1 {
            return;
        }
        world.advance("30s").await;
        world.settle().await;
    }
    panic!("{sql} gives nothing");
}

/// R207: links to Stripe's pages, whose address is the firm's alone and goes away; a checkout ends in a subscription.
#[tokio::test]
async fn r207_links_lead_to_stripes_pages_and_a_checkout_ends_in_a_subscription() {
    let world = stage(&["acme", "other"]).await;
    let back = "https://app.example/api/billing/";
    let too_early = [
        "platform",
        "link",
        "acme",
        "--return-url",
        back,
        "--reason",
        "card",
        "--json",
    ];
    assert_eq!(world.cli(&too_early).await.code, 4);
    let checkout = world
        .json(&[
            "platform",
            "link",
            "acme",
            "--checkout",
            "PRO",
            "--return-url",
            back,
            "--reason",
            "first",
        ])
        .await;
    let url = checkout["url"].as_str().unwrap();
    let session = url.rsplit('/').next().unwrap();
    world.sim.tell("/payment_methods", json!({"id": "pm_new"})).await;
    world
        .sim
        .tell(
            &format!("/checkout_sessions/{session}"),
            json!({"payment_method": "pm_new"}),
        )
        .await;
    world.settle().await;
    assert_eq!(standing(&world, "acme").await, "ACTIVE PRO active");
    assert_eq!(assert_invoices_are_stripes(&world, "acme").await, 1);
    let billing = world
        .json(&[
            "platform",
            "link",
            "acme",
            "--return-url",
            back,
            "--reason",
            "new card",
        ])
        .await;
    assert!(
        billing["url"].as_str().unwrap().starts_with("https://billing."),
        "{billing}"
    );
    later(&world, "10m").await;
    let request = billing["id"].as_str().unwrap();
    let works = format!(
        "select count(*) from platform_links where request_id = '{request}' and expires_at > app.now()"
    );
    assert_eq!(world.count(&works).await, 0);
    // Nowhere else: not in the log of requests, nor in the audit.
    let leaked = format!(
        "select (select count(*) from audit_events where meta::text like '%{session}%')
              + (select count(*) from jobs where coalesce(result::text, '') like '%{session}%')"
    );
    assert_eq!(world.count(&leaked).await, 0);
}

/// R211, P8: the portal asks for its own firm, in one transaction with its audit row, and can neither ask for another nor write what
/// only Stripe says.
#[tokio::test]
async fn r211_p8_the_portal_asks_for_its_own_firm_and_writes_nothing_else() {
    let world = stage(&["acme", "other"]).await;
    customer(&world, "acme", &[]).await;
    let id = async |firm: &str| -> FirmId {
        let sql = format!("select id::text from firms where external_id = '{firm}'");
        FirmId(world.texts(&sql).await.concat().parse().unwrap())
    };
    let (acme, other) = (id("acme").await, id("other").await);
    let mut conn = world.db.acquire().await.unwrap().detach();
    sqlx::query("set role quittance_portal")
        .execute(&mut conn)
        .await
        .unwrap();
    let (actor, cause) = (Actor::User("ada".into()), Cause::command(Uuid::now_v7()));
    let mut tx = conn.begin().await.unwrap();
    set_firm(&mut tx, acme).await;
    let at = sqlx::query_scalar("select app.now()")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    let by = By {
        actor: &actor,
        cause: &cause,
        at,
    };
    let pro = Ask::Subscribe { tier: "PRO".into() };
    ask::ask(&mut tx, acme, &pro, None, &by).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    world.settle().await;
    assert_eq!(standing(&world, "acme").await, "ACTIVE PRO active");
    let audited = "select count(*) from audit_events where action = 'platform.asked' and actor_kind = 'user' and actor_id = 'ada'";
    assert_eq!(world.count(audited).await, 1);

    let mut tx = conn.begin().await.unwrap();
    set_firm(&mut tx, acme).await;
    let foreign = ask::ask(&mut tx, other, &pro, None, &by).await;
    assert!(foreign.is_err(), "{foreign:?}");
    tx.rollback().await.unwrap();
    for forbidden in [
        "update platform_subscriptions set stripe_status = 'active'",
        "insert into platform_invoices (firm_id, id, stripe_invoice_id, stripe_status, currency, amount_due_minor, amount_paid_minor,
           amount_remaining_minor, created_at, fetched_at) select firm_id, gen_random_uuid(), 'in_x', 'paid', 'usd', 1, 1, 0, now(), now()
           from platform_customers",
        "update platform_requests set state = 'done'",
        "update platform_customers set stripe_customer_id = 'cus_x'",
        "update subscription_tiers set monthly_cost_minor = 0",
        // Its API enqueues work of its own firm, and of no other.
        "insert into jobs (id, firm_id, queue, kind, dedupe_key, run_at, created_at)
           select gen_random_uuid(), gen_random_uuid(), 'charges', 'collect_invoice', 'x', now(), now() from platform_customers",
    ] {
        let mut tx = conn.begin().await.unwrap();
        set_firm(&mut tx, acme).await;
        let refused = sqlx::query(forbidden).execute(&mut *tx).await.expect_err(forbidden);
        let refused = refused.into_database_error().unwrap();
        assert_eq!(refused.code().as_deref(), Some("42501"), "{forbidden}: {refused}");
        tx.rollback().await.unwrap();
    }
}

async fn set_firm(conn: &mut PgConnection, firm: FirmId) {
    sqlx::query("select set_config('app.firm_id', $1, true)")
        .bind(firm.to_string())
        .execute(conn)
        .await
        .unwrap();
}
