//! Reconciliation (B-20): a world that agrees makes no finding, every kind of drift is found as exactly that, a repair records
//! what Stripe shows and nothing twice, and looking changes nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::world::{CliOutput, Login, Switch, World, WorldOptions};

use crate::{
    acme,
    cast::{self, Payer},
};

/// Switched off, what Stripe told nobody stays so: it would bring that in ten minutes before the daily comparison.
const BACKFILL: &str = "backfill_events";

/// `quittance reconcile ARGS --json`, which must end with this exit code.
async fn reconcile(world: &World, args: &[&str], code: i32) -> Value {
    let output = run(world, args).await;
    assert_eq!(output.code, code, "{output}");
    output.json().unwrap()
}

async fn run(world: &World, args: &[&str]) -> CliOutput {
    let args = [&["reconcile"], args, &["--json"]].concat();
    world.cli(&args).await
}

/// The kinds found, by firm; those of the account as a whole under `-`.
fn kinds(report: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for finding in report["findings"].as_array().unwrap() {
        let firm = finding["firm"].as_str().unwrap_or("-").to_owned();
        let kind = finding["kind"].as_str().unwrap().to_owned();
        found.entry(firm).or_default().insert(kind);
    }
    found
}

/// The finding of a firm, which must be the only one.
fn only<'r>(report: &'r Value, firm: &str) -> &'r Value {
    let findings = report["findings"].as_array().unwrap();
    let of_firm: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["firm"] == firm)
        .collect();
    assert_eq!(of_firm.len(), 1, "{of_firm:#?}");
    of_firm[0]
}

/// As somebody with the keys to the database can: no trigger, no foreign key.
async fn forge(world: &World, statements: &[String]) {
    let mut tx = world.db.begin().await.unwrap();
    sqlx::raw_sql("set local session_replication_role = replica")
        .execute(&mut *tx)
        .await
        .unwrap();
    for sql in statements {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut *tx)
            .await
            .unwrap();
        assert!(done.rows_affected() > 0, "changed nothing: {sql}");
    }
    tx.commit().await.unwrap();
}

/// A PaymentIntent that somebody makes and confirms at Stripe, beside us.
async fn charge_beside_us(world: &World, payer: &Payer, metadata: &[(&str, String)]) {
    let mut form = format!(
        "amount=10000&currency=usd&customer={}&payment_method={}&confirm=true&off_session=true",
        payer.customer, payer.card
    );
    for (name, value) in metadata {
        form.push_str(&format!("&metadata[{name}]={value}"));
    }
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/payment_intents", world.sim.base()))
        .bearer_auth("sk_test_world")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

/// Something at Stripe to the one PaymentIntent of a payer; its id.
async fn at_stripe(world: &World, what: &str, payer: &Payer, mut order: Value) -> String {
    order["payment_intent"] = payer.intent(world).await.into();
    let made = world.sim.post(&format!("/{what}"), order).await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

/// The ids by which metadata says what a PaymentIntent is for.
async fn metadata(world: &World, payer: &Payer) -> Vec<(&'static str, String)> {
    let ids = format!(
        "select unnest(array[i.firm_id, i.id, c.id])::text from invoices i join collection_cycles c on c.invoice_id = i.id where i.id = {}",
        payer.invoice_sql()
    );
    let ids = world.texts(&ids).await;
    let names = ["q_firm", "q_invoice", "q_cycle"];
    std::iter::once(("q_scope", "client_billing".to_owned()))
        .chain(names.into_iter().zip(ids))
        .collect()
}

/// Clients alone in their firms, with what their cards do.
const CAST: [(&str, &[&str]); 16] = [
    ("paid", &[]),
    ("givenback", &[]),
    ("lost", &[]),
    ("dashboard", &["lost_card", "succeed"]),
    ("invented", &["lost_card"]),
    ("short", &[]),
    ("eurorefund", &[]),
    ("bounced", &[]),
    ("stray", &[]),
    ("twice", &[]),
    ("refunded", &[]),
    ("disputed", &[]),
    ("fee", &[]),
    ("mode", &[]),
    ("stuck", &[]),
    ("silent", &[]),
];

/// Everybody's invoice is charged; some of it is given back, contested and lost, paid by other means and by credit.
async fn agreeing_world() -> (World, BTreeMap<&'static str, Payer>) {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    world.switch(BACKFILL, Switch::Off).await;
    let payers: BTreeMap<&str, Payer> = CAST.iter().map(|(name, _)| (*name, Payer::alone(name))).collect();
    for (name, script) in CAST {
        let payer = &payers[name];
        world
            .sim
            .customer_with_card(&payer.customer, &payer.card, script)
            .await
            .unwrap();
    }
    let later = json!({ "payment_method": payers["fee"].card, "clears": "later" });
    world.sim.post("/cards", later).await.unwrap();
    let all: Vec<Payer> = payers.values().cloned().collect();
    world.import(&cast::document(&all)).await;
    world.settle().await;
    for name in ["givenback", "eurorefund", "bounced"] {
        at_stripe(&world, "refunds", &payers[name], json!({ "amount": 3_000 })).await;
    }
    let dispute = at_stripe(
        &world,
        "disputes",
        &payers["lost"],
        json!({ "kind": "chargeback" }),
    )
    .await;
    world.settle().await;
    let lose = json!({ "action": "lose" });
    world
        .sim
        .post(&format!("/disputes/{dispute}"), lose)
        .await
        .unwrap();

    // One that pays by transfer and by credit, another one whose hours were invoiced and voided.
    acme::open_accounts(&world, &[("globex", &["lost_card"])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;
    acme::pay_by_bank(&world, "globex", 25_000).await;
    let credit = [
        "credit",
        "issue",
        "globex",
        "--amount",
        "50.00",
        "--reason",
        "spring",
        "--source",
        "promotional",
        "--currency",
        "usd",
    ];
    world.json(&credit).await;
    world.json(&["credit", "apply", "globex-1"]).await;
    world
        .import(&json!({
            "firms": [{"external_id": "hours", "name": "Hours", "timezone": "UTC", "currency": "usd"}],
            "users": [{"external_id": "ada", "firm": "hours", "name": "ada", "role": "admin"}],
            "clients": [{"external_id": "initech", "firm": "hours", "name": "Initech"}],
            "engagements": [{"external_id": "initech-work", "client": "initech", "pricing_mode": "hourly", "currency": "usd",
                             "hourly_rate": "150.00", "starts_on": "2020-01-01", "signed": true}],
            "time_entries": [{"external_id": "t1", "engagement": "initech-work", "worker": "sam", "worked_on": "2020-01-05",
                              "minutes": 90, "state": "approved", "approved_by": "ada"}],
        }))
        .await;
    let made = world
        .json(&["invoice", "create", "--engagement", "initech-work", "--issue"])
        .await;
    let number = made["number"].as_str().unwrap();
    world
        .json(&["invoice", "void", number, "--reason", "made in error"])
        .await;
    world.settle().await;
    world.advance("1h").await;
    world.settle().await;
    (world, payers)
}

/// B-20: where all agree nothing is found, whoever looks, and looking changes nothing here or at Stripe.
#[tokio::test]
async fn b20_a_world_that_agrees_has_no_finding_and_looking_changes_nothing() {
    let (world, _) = agreeing_world().await;
    let (state, calls) = (world.state_text().await, world.sim.writes().await);
    let audit = world.count("select count(*) from audit_events").await;
    let report = reconcile(&world, &[], 0).await;
    assert_eq!(
        (&report["findings"], &report["ok"]),
        (&json!([]), &json!(true)),
        "{report:#}"
    );
    assert_eq!(report["firms"], CAST.len() + 2);
    // Every PaymentIntent, succeeded charge, refund, dispute and fee is somebody's.
    assert_eq!(report["not_ours"], 0);
    assert!(report["objects"].as_u64().unwrap() > 40, "{report}");

    // A login that can write nothing sees the same.
    let read_only = format!(
        "{}?options[default_transaction_read_only]=on",
        world.database_url(Login::Worker)
    );
    let command = world.command().with_env("DATABASE_URL", Some(&read_only));
    let output = command
        .run(&["reconcile", "--firm-id", "acme", "--since", "90d"])
        .await
        .unwrap();
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stdout.starts_with("nothing differs: 1 firm(s), "),
        "{output}"
    );
    let refused = command
        .run(&["client", "autopay", "off", "globex", "--reason", "x"])
        .await
        .unwrap();
    assert_ne!(refused.code, 0, "this login can write: {refused}");

    assert_eq!(world.state_text().await, state);
    assert_eq!(world.sim.writes().await, calls, "something was written at Stripe");
    assert_eq!(world.count("select count(*) from audit_events").await, audit);
}

/// What happens at Stripe while none of its events comes through.
async fn drift_at_stripe(world: &World, payers: &BTreeMap<&'static str, Payer>) {
    world.sim.webhooks(json!({ "drop_next": 100_000 })).await.unwrap();
    let pay = format!("/payment_intents/{}/pay", payers["dashboard"].intent(world).await);
    let card = json!({ "payment_method": payers["dashboard"].card });
    world.sim.post(&pay, card).await.unwrap();
    let refund = world
        .texts("select r.stripe_refund_id from refunds r join payments p on p.id = r.payment_id join clients c on c.id = p.client_id where c.external_id = 'bounced'")
        .await;
    world
        .sim
        .post(&format!("/refunds/{}", refund[0]), json!({ "status": "failed" }))
        .await
        .unwrap();
    at_stripe(world, "refunds", &payers["refunded"], json!({ "amount": 3_000 })).await;
    at_stripe(
        world,
        "disputes",
        &payers["disputed"],
        json!({ "kind": "chargeback" }),
    )
    .await;
    let charge = world
        .texts("select p.stripe_charge_id from payments p join clients c on c.id = p.client_id where c.external_id = 'fee'")
        .await;
    world
        .sim
        .post(&format!("/charges/{}/clear", charge[0]), json!({}))
        .await
        .unwrap();
    charge_beside_us(world, &payers["stray"], &[]).await;
    let names = metadata(world, &payers["twice"]).await;
    charge_beside_us(world, &payers["twice"], &names).await;

    // The network renews a card. And one whose answer never came.
    let renew = format!("/payment_methods/{}/update", payers["silent"].card);
    world.sim.post(&renew, json!({ "exp_year": 2040 })).await.unwrap();
    let lost = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "reset_before" });
    world.sim.fault(lost).await.unwrap();
    cast::enter(world, &[Payer::alone("unknown")], &[]).await;
    world.settle().await;
    world.sim.heal().await.unwrap();

    // Terms that nobody bills.
    let today = acme::today(world).await;
    world
        .import(&json!({
            "firms": [{"external_id": "forgetful", "name": "Forgetful", "timezone": "UTC", "currency": "usd"}],
            "clients": [{"external_id": "hooli", "firm": "forgetful", "name": "Hooli"}],
            "engagements": [{"external_id": "hooli-retainer", "client": "hooli", "pricing_mode": "package", "currency": "usd",
                             "package_fee": "500.00", "package_fee_schedule": "monthly", "starts_on": today,
                             "period_anchor": "anniversary", "signed": true}],
        }))
        .await;
}

/// What somebody with the keys to the database does. The ledger follows where it would otherwise tell first.
async fn drift_in_the_database(world: &World) {
    let firm = |name: &str| format!("(select id from firms where external_id = '{name}')");
    let payment = |name: &str, kind: &str| {
        format!(
            "(select j.id from journals j where j.firm_id = {} and j.kind = '{kind}')",
            firm(name)
        )
    };
    let mut tx = world.db.begin().await.unwrap();
    let sees = format!(
        "select set_config('app.firm_id', {}::text, true)",
        firm("firm-invented")
    );
    sqlx::query(AssertSqlSafe(sees)).execute(&mut *tx).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "insert into payments (firm_id, id, client_id, invoice_id, method, stripe_charge_id, amount_minor, currency, received_at,
                               recorded_at, cause)
         select firm_id, gen_random_uuid(), client_id, id, 'stripe', 'ch_invented', total_minor, currency,
                app.now() - interval '1 hour', app.now(), 'test' from invoices where firm_id = {}",
        firm("firm-invented")
    )))
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    forge(
        world,
        &[
            format!("update payments set amount_minor = amount_minor - 100 where firm_id = {}", firm("firm-short")),
            format!(
                "update postings set amount_minor = amount_minor - sign(amount_minor)::bigint * 100 where journal_id = {}",
                payment("firm-short", "payment")
            ),
            format!("update refunds set currency = 'eur' where firm_id = {}", firm("firm-eurorefund")),
            format!(
                "update postings set currency = 'eur' where journal_id = {}",
                payment("firm-eurorefund", "refund")
            ),
            format!(
                "update stripe_events set livemode = true where stripe_event_id = (
                   select min(stripe_event_id) from stripe_events where firm_id = {} and state = 'applied')",
                firm("firm-mode")
            ),
            format!(
                "update jobs set state = 'discarded' where firm_id = {} and kind = 'collect_invoice'",
                firm("firm-stuck")
            ),
            format!("update invoice_lines set released_at = null where firm_id = {}", firm("hours")),
        ],
    )
    .await;
}

/// What must be found, firm by firm: the kind, and whether a repair can record it.
const DRIFT: [(&str, &str, bool); 16] = [
    ("firm-dashboard", "missing_here", true),
    ("firm-invented", "missing_there", false),
    ("firm-short", "amount_mismatch", false),
    ("firm-eurorefund", "currency_mismatch", false),
    ("firm-bounced", "state_mismatch", true),
    ("firm-stray", "orphan_charge", false),
    ("firm-twice", "duplicate_capture", false),
    ("firm-refunded", "refund_outside", true),
    ("firm-disputed", "dispute_outside", true),
    ("firm-fee", "fee_mismatch", true),
    ("firm-unknown", "stale_unknown", true),
    ("forgetful", "unbilled_period", false),
    ("hours", "unreleased_time", false),
    ("firm-mode", "mode_mismatch", false),
    ("firm-stuck", "stuck_work", false),
    ("firm-silent", "event_missing", false),
];

fn wanted(keep: impl Fn(bool) -> bool) -> BTreeMap<String, BTreeSet<String>> {
    DRIFT
        .iter()
        .filter(|(_, _, repairable)| keep(*repairable))
        .map(|(firm, kind, _)| ((*firm).to_owned(), BTreeSet::from([(*kind).to_owned()])))
        .collect()
}

/// B-20: each kind of drift, in a firm of its own, is found as exactly that; a plan repairs what can be, once; what cannot stays.
#[tokio::test]
async fn b20_every_kind_of_drift_is_found_as_what_it_is_and_repaired_once() {
    let (world, payers) = agreeing_world().await;
    let clean = reconcile(&world, &[], 0).await;
    drift_at_stripe(&world, &payers).await;
    world.advance("3d").await;
    world.settle().await;
    drift_in_the_database(&world).await;

    let (state, calls) = (world.state_text().await, world.sim.writes().await);
    let report = reconcile(&world, &[], 3).await;
    assert_eq!(kinds(&report), wanted(|_| true), "{report:#}");
    for (firm, _, repairable) in DRIFT {
        let finding = only(&report, firm);
        assert_eq!(finding["repair"].is_object(), repairable, "{finding:#}");
        assert!(
            finding["remedy"]
                .as_str()
                .is_some_and(|remedy| !remedy.is_empty())
        );
    }
    let short = only(&report, "firm-short");
    assert_eq!(
        (
            &short["ours"]["amount_minor"],
            &short["stripe"]["amount_minor"],
            &short["delta_minor"],
            &short["stripe"]["currency"]
        ),
        (&json!(9_900), &json!(10_000), &json!(100), &json!("usd"))
    );
    let again = reconcile(&world, &[], 3).await;
    assert_eq!(again["plan_hash"], report["plan_hash"]);
    let ids = |report: &Value| -> Vec<Value> {
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["id"].clone())
            .collect()
    };
    assert_eq!(ids(&again), ids(&report), "the same difference has the same id");
    assert_eq!(world.state_text().await, state);
    assert_eq!(world.sim.writes().await, calls);

    // A plan of something else is refused, and nothing is done.
    for stale in [clean["plan_hash"].as_str().unwrap(), &"0".repeat(64)] {
        let refused = run(&world, &["--repair", stale]).await;
        assert_eq!(refused.code, 4, "{refused}");
        assert_eq!(refused.json().unwrap()["error"]["code"], "plan_changed");
    }
    assert_eq!(world.state_text().await, state);

    // The unknown call is old enough by now for a look to prove that it had no effect.
    acme::age_calls(&world).await;
    let file = std::env::temp_dir().join(format!("quittance-plan-{}.json", std::process::id()));
    std::fs::write(&file, report.to_string()).unwrap();
    let plan = file.to_str().unwrap();
    let repaired = reconcile(&world, &["--repair", plan], 3).await;
    let count = DRIFT.iter().filter(|(_, _, repairable)| *repairable).count();
    assert_eq!(
        repaired["repaired"].as_array().unwrap().len(),
        count,
        "{repaired:#}"
    );
    assert_eq!(repaired["failed"], json!([]));
    assert_eq!(world.sim.writes().await, calls, "a repair only reads at Stripe");
    let told = "select count(*) from audit_events where action = 'recon.repaired'";
    assert_eq!(world.count(told).await, i64::try_from(count).unwrap());
    let statuses = [
        ("dashboard", "paid"),
        ("bounced", "paid"),
        ("refunded", "paid"),
        ("disputed", "disputed"),
    ];
    for (name, status) in statuses {
        assert_eq!(payers[name].status(&world).await, status, "{name}");
    }
    world.assert_books_balance().await;

    let left = reconcile(&world, &[], 3).await;
    assert_eq!(kinds(&left), wanted(|repairable| !repairable), "{left:#}");
    let facts = "select (select count(*) from payments) + (select count(*) from refunds) + (select count(*) from disputes)
                      + (select count(*) from processor_fees) + (select count(*) from dispute_movements)";
    let before = world.count(facts).await;
    let twice = run(&world, &["--repair", plan]).await;
    assert_eq!(
        twice.code, 4,
        "a plan that was carried out is out of date: {twice}"
    );
    assert_eq!(world.count(facts).await, before);
    assert_eq!(world.count(told).await, i64::try_from(count).unwrap());
    std::fs::remove_file(&file).unwrap();

    // The ledger last: from here on the books are wrong.
    forge(
        &world,
        &["update postings set amount_minor = amount_minor + 1 where account = 'receivable' and amount_minor < 0
             and firm_id = (select id from firms where external_id = 'firm-paid')".to_owned()],
    )
    .await;
    let books = reconcile(&world, &["--firm-id", "firm-paid"], 3).await;
    assert_eq!(
        kinds(&books),
        BTreeMap::from([(
            "firm-paid".to_owned(),
            BTreeSet::from(["ledger_imbalance".to_owned()])
        )])
    );
    // And the endpoint, which is the account's.
    let endpoints = world.sim.get("/webhook_endpoints").await.unwrap();
    let path = format!(
        "/webhook_endpoints/{}",
        endpoints["data"][0]["id"].as_str().unwrap()
    );
    world
        .sim
        .call(reqwest::Method::DELETE, &path, Value::Null)
        .await
        .unwrap();
    let silent = reconcile(&world, &["--firm-id", "acme"], 3).await;
    assert_eq!(
        kinds(&silent),
        BTreeMap::from([("-".to_owned(), BTreeSet::from(["endpoint_unfit".to_owned()]))])
    );
}

/// B-20, B-23: two repairers at a time record a thing once, and say so once.
#[tokio::test]
async fn b20_two_repairs_at_a_time_are_one() {
    let world = World::start(WorldOptions::default()).await;
    world.switch(BACKFILL, Switch::Off).await;
    let payer = Payer::alone("globex");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    world.sim.webhooks(json!({ "drop_next": 1_000 })).await.unwrap();
    at_stripe(&world, "refunds", &payer, json!({ "amount": 3_000 })).await;
    world.advance("1h").await;
    world.settle().await;
    let report = reconcile(&world, &[], 3).await;
    let plan = report["plan_hash"].as_str().unwrap();
    let args = ["--repair", plan];
    let (one, other) = tokio::join!(run(&world, &args), run(&world, &args));
    // The slower one may look after the faster one has repaired: then its plan is out of date.
    for output in [&one, &other] {
        assert!([0, 4].contains(&output.code), "{output}");
    }
    assert!([one.code, other.code].contains(&0));
    assert_eq!(world.count("select count(*) from refunds").await, 1);
    assert_eq!(
        world
            .count("select count(*) from audit_events where action = 'recon.repaired'")
            .await,
        1
    );
    assert_eq!(
        world
            .count("select count(*) from journals where kind = 'refund'")
            .await,
        1
    );
    reconcile(&world, &[], 0).await;
    world.assert_books_balance().await;
}

/// A day passes, and the comparison of that day is made; a second time, should something have differed.
async fn daily_run(world: &World) {
    // A tick that was due before must not be taken for this day's.
    world.rest().await;
    let fired = "select count(*) from schedule_occurrences where schedule = 'reconcile' and state = 'fired'";
    let before = world.count(fired).await;
    world.advance("1d").await;
    world.until(fired, before + 1, Duration::from_secs(20)).await;
    world.settle().await;
    world.advance("15m").await;
    world.settle().await;
}

/// The daily job: looks twice before it tells, tells once, keeps what it found, and settles it when it is gone.
#[tokio::test]
async fn b20_b23_the_daily_run_keeps_what_it_finds_tells_once_and_settles_it() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    world.switch(BACKFILL, Switch::Off).await;
    let payer = Payer::alone("globex");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    world.sim.webhooks(json!({ "drop_next": 1_000 })).await.unwrap();
    at_stripe(&world, "refunds", &payer, json!({ "amount": 3_000 })).await;
    world.advance("1h").await;
    world.settle().await;
    let calls = world.sim.writes().await;
    let open = "select count(*) from recon_findings where settled_at is null";
    let told = "select count(*) from audit_events where action = 'recon.finding'";
    let alerts = "select format('%s %s %s', alert_type, occurrences > 1, is_resolved) from alerts where dedupe_key = 'drift'";
    let doctor = async || {
        let output = world.cli(&["doctor", "--json"]).await.json().unwrap();
        let checks = output["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|check| check["name"] == "open_findings")
            .unwrap()
    };
    for day in 1..=3 {
        daily_run(&world).await;
        assert_eq!(
            (world.count(open).await, world.count(told).await),
            (1, 1),
            "day {day}"
        );
    }
    // One alert, counted up day by day.
    assert_eq!(world.texts(alerts).await, ["DRIFT_DETECTED t f"]);
    assert!(world.count("select count(*) from recon_runs").await >= 3);
    let kept = world.texts("select concat_ws(' ', layer, kind, subject, stripe ->> 'state', repair ->> 'action') from recon_findings").await;
    assert_eq!(
        kept,
        ["L2 refund_outside invoice INV-0001-000001 succeeded apply_charge"]
    );
    let check = doctor().await;
    assert_eq!(
        (&check["ok"], &check["value"]),
        (&json!(false), &json!("1 in firm-globex"))
    );
    assert_eq!(
        world.sim.writes().await,
        calls,
        "the daily run only reads at Stripe"
    );

    // The event comes in after all; the next run does not find it any more.
    for event in world.sim.events().await.unwrap() {
        if event["type"] == "charge.refunded" || event["type"] == "refund.created" {
            cast::deliver(&world, &event).await;
        }
    }
    world.settle().await;
    daily_run(&world).await;
    assert_eq!((world.count(open).await, world.count(told).await), (0, 1));
    assert_eq!(world.texts(alerts).await, ["DRIFT_DETECTED t t"]);
    assert_eq!(doctor().await["ok"], json!(true));
}

/// A difference that nobody mends for months makes no run read months of everything, and is not forgotten either.
#[tokio::test]
async fn b20_a_difference_older_than_the_longest_window_stays_open_until_it_is_gone() {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    world.switch(BACKFILL, Switch::Off).await;
    let payer = Payer::alone("globex");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    world.sim.webhooks(json!({ "drop_next": 1_000 })).await.unwrap();
    at_stripe(&world, "refunds", &payer, json!({ "amount": 3_000 })).await;
    world.advance("1h").await;
    world.settle().await;
    daily_run(&world).await;
    let open = "select count(*) from recon_findings where settled_at is null";
    assert_eq!(world.count(open).await, 1);
    world.advance("120d").await;
    world.settle().await;
    let calls = world.sim.requests().await.unwrap().len();
    daily_run(&world).await;
    assert_eq!(world.count(open).await, 1);
    let now = world.count("select extract(epoch from app.now())::bigint").await;
    let (mut spans, mut singles) = (0, 0);
    for call in &world.sim.requests().await.unwrap()[calls..] {
        let second = |name: &str| {
            call["params"][name]
                .as_str()
                .and_then(|text| text.parse::<i64>().ok())
        };
        let (Some(from), Some(before)) = (second("created[gte]"), second("created[lt]")) else {
            continue;
        };
        if before - from == 1 {
            singles += 1;
        } else {
            assert!(now - from < 93 * 24 * 3600, "{call}");
            spans += 1;
        }
    }
    assert!(spans > 0 && singles > 0, "{spans} {singles}");
    for event in world.sim.events().await.unwrap() {
        if event["type"] == "charge.refunded" || event["type"] == "refund.created" {
            cast::deliver(&world, &event).await;
        }
    }
    world.settle().await;
    daily_run(&world).await;
    assert_eq!(world.count(open).await, 0);
}
