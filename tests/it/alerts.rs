//! Alerts: one per failure whoever tells of it (S19, B-23), raised with what caused them and settled by what ends it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use sqlx::PgPool;
use tests::world::{self, Login, World, WorldOptions};

use crate::{
    acme::{self, Autopay},
    cast::{self, Payer},
};

/// All alerts, as `TYPE severity open|settled times`, the oldest first.
async fn alerts(world: &World, of: &str) -> Vec<String> {
    world
        .texts(&format!(
            "select concat_ws(' ', alert_type, severity, case when is_resolved then 'settled' else 'open' end, occurrences)
               from alerts where {of} order by created_at, id"
        ))
        .await
}

fn of_invoice(client: &str) -> String {
    format!("invoice_id = (select id from invoices where external_id = '{client}-1')")
}

/// S19, B-23, A-26 for client billing, R076: the answer to our call, two webhooks of two ids for it, each delivered twice, and
/// three retries make one open alert, which counts the failures and nothing else.
#[tokio::test]
async fn s19_b23_one_failure_makes_one_alert_whoever_tells_of_it() {
    let world = World::start(WorldOptions::default()).await;
    let soft = "insufficient_funds";
    acme::open_accounts(
        &world,
        &[
            ("never", &[soft, "..."]),
            ("later", &[soft, "succeed"]),
            ("lost", &["lost_card", "..."]),
        ],
    )
    .await;
    // What is told of a whole day has a story of its own.
    let mut firm = acme::document(&[]);
    firm["firms"][0]["alert_failure_rate_percent"] = 0.into();
    firm["firms"][0]["alert_daily_summary"] = false.into();
    world.import(&firm).await;
    world
        .sim
        .webhooks(json!({ "double": true, "duplicate": 1 }))
        .await
        .unwrap();
    acme::bill(&world, &["never", "later", "lost"], "usd", "1000.00").await;
    world.settle().await;
    for client in ["never", "later"] {
        assert_eq!(
            alerts(&world, &of_invoice(client)).await,
            ["PAYMENT_FAILED info open 1"],
            "{client}"
        );
    }
    assert_eq!(
        alerts(&world, &of_invoice("lost")).await,
        ["PAYMENT_FAILED warning open 1"]
    );

    world.advance("3d").await;
    world.settle().await;
    assert_eq!(
        alerts(&world, &of_invoice("later")).await,
        ["PAYMENT_FAILED info settled 1"]
    );
    assert_eq!(
        alerts(&world, &of_invoice("never")).await,
        ["PAYMENT_FAILED info open 2"]
    );
    // Given up, nobody waits for a card.
    acme::switch_autopay(&world, "lost", Autopay::Off).await;
    assert_eq!(
        alerts(&world, &of_invoice("lost")).await,
        ["PAYMENT_FAILED warning settled 1"]
    );
    world.advance("4d").await;
    world.settle().await;
    // Three in a row are a warning.
    assert_eq!(
        alerts(&world, &of_invoice("never")).await,
        ["PAYMENT_FAILED warning open 3"]
    );
    world.advance("7d").await;
    world.settle().await;
    let exhausted = [
        "PAYMENT_FAILED warning settled 3",
        "RETRY_EXHAUSTED critical open 1",
    ];
    assert_eq!(alerts(&world, &of_invoice("never")).await, exhausted);
    world.advance("30d").await;
    world.settle().await;
    assert_eq!(alerts(&world, &of_invoice("never")).await, exhausted);

    // Paid by transfer, nobody need look any more.
    acme::pay_by_bank(&world, "never", 100_000).await;
    assert_eq!(alerts(&world, "not is_resolved").await, [""; 0]);
    assert_eq!(
        world
            .count("select count(*) from alerts where resolved_by = 'system'")
            .await,
        4
    );
}

/// R076: a dispute is critical at once and names the day by which to answer; won, it is settled; lost, it stays open
/// until a person decides.
#[tokio::test]
async fn a26_a_new_dispute_is_a_critical_alert_until_it_is_won_or_decided() {
    let world = World::start(WorldOptions::default()).await;
    let payers = ["won", "lost", "asked"].map(|name| Payer::of("firm", name));
    cast::enter(&world, &payers, &[]).await;
    world.settle().await;
    let mut disputes = Vec::new();
    for (payer, kind) in payers.iter().zip(["chargeback", "chargeback", "inquiry"]) {
        let order = json!({ "payment_intent": payer.intent(&world).await, "kind": kind, "reason": "product_not_received" });
        disputes.push(world.sim.post("/disputes", order).await.unwrap());
    }
    world.settle().await;
    assert_eq!(
        alerts(&world, "true").await,
        ["DISPUTE_OPENED critical open 1"; 3]
    );
    let shown = world.json(&["alert", "list"]).await;
    for alert in shown["data"].as_array().unwrap() {
        assert!(alert["related_data"]["respond_by"].is_string(), "{alert}");
        assert!(
            alert["message"].as_str().unwrap().contains("Evidence is due by "),
            "{alert}"
        );
    }
    for (dispute, action) in disputes.iter().zip(["win", "lose", "escalate"]) {
        let path = format!("/disputes/{}", dispute["id"].as_str().unwrap());
        world.sim.post(&path, json!({ "action": action })).await.unwrap();
    }
    world.settle().await;
    let state = |payer: &Payer| format!("invoice_id = {}", payer.invoice_sql());
    assert_eq!(
        alerts(&world, &state(&payers[0])).await,
        ["DISPUTE_OPENED critical settled 1"]
    );
    for payer in &payers[1..] {
        assert_eq!(
            alerts(&world, &state(payer)).await,
            ["DISPUTE_OPENED critical open 2"]
        );
    }
    world
        .texts(
            "insert into dispute_resolutions (firm_id, dispute_id, kind, reason, resolved_by, resolved_at)
             select firm_id, id, 'write_off', 'not worth it', 'ann', app.now() from disputes
              where outcome = 'lost' and set_config('app.firm_id', firm_id::text, true) <> '' returning kind",
        )
        .await;
    assert_eq!(
        alerts(&world, &state(&payers[1])).await,
        ["DISPUTE_OPENED critical settled 2"]
    );
}

/// A lost dispute that is won after all at Stripe: the first end stands, and what contradicts it is another alert, which leaves
/// that of the lost one as it is.
#[tokio::test]
async fn b23_what_contradicts_a_disputes_end_is_an_alert_of_its_own() {
    let world = World::start(WorldOptions::default()).await;
    let payer = Payer::of("firm", "lost");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    let order = json!({ "payment_intent": payer.intent(&world).await, "kind": "chargeback", "reason": "product_not_received" });
    let dispute = world.sim.post("/disputes", order).await.unwrap();
    let path = format!("/disputes/{}", dispute["id"].as_str().unwrap());
    for action in ["lose", "overturn"] {
        world.settle().await;
        world.sim.post(&path, json!({ "action": action })).await.unwrap();
    }
    world.settle().await;
    assert_eq!(
        alerts(&world, "dedupe_key like 'dispute:%'").await,
        ["DISPUTE_OPENED critical open 2"]
    );
    let contradicts = alerts(&world, "dedupe_key like 'dispute\\_contradicts:%'").await;
    assert_eq!(contradicts.len(), 1, "{contradicts:?}");
    assert!(
        contradicts[0].starts_with("DRIFT_DETECTED critical open "),
        "{contradicts:?}"
    );
}

/// A-26, R076: a firm is told of a day on which too many of its charges failed, and of what it invoiced; each once, and no longer
/// than until a better day, or the next one. Both as the firm wants it.
#[tokio::test]
async fn a26_a_day_is_told_of_once_when_too_many_charges_failed_and_what_was_invoiced() {
    let world = World::start(WorldOptions::default()).await;
    world.to_noon().await;
    let payers = [
        Payer::of("usual", "usualbad"),
        Payer::of("usual", "usualgood"),
        Payer::of("calm", "calmbad"),
        Payer::of("calm", "calmgood"),
        Payer::of("quiet", "quietbad"),
    ];
    let mut firms = cast::document(&payers)["firms"].take();
    for firm in firms.as_array_mut().unwrap() {
        match firm["external_id"].as_str().unwrap() {
            "calm" => firm["alert_failure_rate_percent"] = 50.into(),
            "quiet" => {
                firm["alert_failure_rate_percent"] = 0.into();
                firm["alert_daily_summary"] = false.into();
            }
            _ => {}
        }
    }
    world.import(&json!({ "firms": firms })).await;
    let (bad, good): (Vec<Payer>, Vec<Payer>) =
        payers.into_iter().partition(|payer| payer.name.ends_with("bad"));
    cast::enter(&world, &bad, &["insufficient_funds", "succeed"]).await;
    cast::enter(&world, &good, &[]).await;
    world.settle().await;
    let told = async |beginning: &str| {
        world
            .texts(&format!(
                "select concat_ws(' ', f.external_id, alert_type, a.severity, occurrences, case when is_resolved then 'settled' else 'open' end)
                   from alerts a join firms f on f.id = a.firm_id where dedupe_key like '{beginning}%' order by f.external_id, a.created_at"
            ))
            .await
    };
    assert_eq!(told("failure\\_rate:").await, [""; 0], "the day is not over");
    world.advance("1d").await;
    world.rest().await;
    // Half of two is no more than a half.
    assert_eq!(
        told("failure\\_rate:").await,
        ["usual PAYMENT_FAILED warning 1 open"]
    );
    let summaries = ["calm", "usual"].map(|firm| format!("{firm} DAILY_SUMMARY info 1 open"));
    assert_eq!(told("daily\\_summary:").await, summaries);
    let shown = world
        .json(&["alert", "list", "--firm-id", "usual", "--type", "DAILY_SUMMARY"])
        .await;
    assert_eq!(shown["data"][0]["related_data"]["invoices"], 2, "{shown}");
    assert_eq!(
        shown["data"][0]["related_data"]["totals"],
        json!([{ "currency": "usd", "minor": 2 * cast::AMOUNT_MINOR }])
    );
    // A day without charges is no better one; the day of the retry, which succeeds, is.
    world.advance("1d").await;
    world.rest().await;
    assert_eq!(
        told("failure\\_rate:").await,
        ["usual PAYMENT_FAILED warning 1 open"]
    );
    let settled = ["calm", "usual"].map(|firm| format!("{firm} DAILY_SUMMARY info 1 settled"));
    assert_eq!(told("daily\\_summary:").await, settled);
    // Day by day: a clock that jumps over the retry has it made on a later day.
    for _ in 0..2 {
        world.advance("1d").await;
        world.rest().await;
    }
    assert_eq!(
        told("failure\\_rate:").await,
        ["usual PAYMENT_FAILED warning 1 settled"]
    );
}

/// Money that comes although its collection was given up, a charge that may be a second one, and an event that belongs
/// to nothing we know: each is told once, to whom it concerns.
#[tokio::test]
async fn b23_what_only_a_person_can_settle_is_told_once() {
    let world = World::start(WorldOptions::default()).await;
    acme::open_accounts(
        &world,
        &[("flying", &[]), ("doubled", &["duplicate_transaction"])],
    )
    .await;
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_before" });
    world.sim.fault(hold).await.unwrap();
    acme::bill(&world, &["flying"], "usd", "1000.00").await;
    world.until_held(1).await;
    acme::switch_autopay(&world, "flying", Autopay::Off).await;
    world.sim.release().await.unwrap();
    world.settle().await;
    assert_eq!(
        alerts(&world, &of_invoice("flying")).await,
        ["DRIFT_DETECTED critical open 1"]
    );

    // The bank thinks that this was paid already: nothing more is tried until a person has looked.
    acme::bill(&world, &["doubled"], "usd", "1000.00").await;
    world.settle().await;
    assert_eq!(
        alerts(&world, &of_invoice("doubled")).await,
        ["SYSTEM_ERROR critical open 1"]
    );
    acme::switch_autopay(&world, "doubled", Autopay::Off).await;
    assert_eq!(
        alerts(&world, &of_invoice("doubled")).await,
        ["SYSTEM_ERROR critical settled 1"]
    );

    let foreign = world::event(
        "charge.refunded",
        json!({ "id": "ch_foreign", "object": "charge", "payment_intent": "pi_foreign" }),
    );
    world.deliver(&foreign).await;
    world.deliver(&foreign).await;
    world.settle().await;
    assert_eq!(alerts(&world, "firm_id is null").await, [""; 0]);
    for _ in 0..8 {
        world.advance("12h").await;
        world.settle().await;
    }
    assert_eq!(
        alerts(&world, "firm_id is null").await,
        ["SYSTEM_ERROR critical open 1"]
    );
    let shown = world.json(&["alert", "list"]).await;
    let first = &shown["data"][0];
    assert_eq!(
        json!([first["firm"], first["related_data"]["event"]]),
        json!([null, foreign["id"]])
    );
}

/// B-09: a payment that was given back and is disputed all the same has one alert, which says what to do about it.
#[tokio::test]
async fn b09_a_refunded_payment_that_is_disputed_says_so_in_its_alert() {
    let world = World::start(WorldOptions::default()).await;
    let payer = Payer::of("firm", "refunded");
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.settle().await;
    let intent = payer.intent(&world).await;
    let order = json!({ "payment_intent": intent, "amount": 100 });
    world.sim.post("/refunds", order).await.unwrap();
    world.settle().await;
    let order = json!({ "payment_intent": intent, "kind": "chargeback", "reason": "product_not_received" });
    world.sim.post("/disputes", order).await.unwrap();
    world.settle().await;
    let shown = world.json(&["alert", "list"]).await;
    let shown = shown["data"].as_array().unwrap();
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(shown[0]["title"], "A payment that was given back is disputed");
    assert_eq!(shown[0]["related_data"]["refunded_before"], true);
    assert_eq!(alerts(&world, "true").await, ["DISPUTE_OPENED critical open 1"]);
}

/// R074: automatic payment that stops by itself is told once per client, and settled when it goes on; not where the firm does
/// not want it.
#[tokio::test]
async fn r074_a_pause_for_fraud_is_told_until_it_ends_and_can_be_switched_off() {
    let world = World::start(WorldOptions::default()).await;
    let payers = [Payer::of("wary", "paused"), Payer::of("calm", "charged")];
    let mut firms = cast::document(&payers)["firms"].take();
    for firm in firms.as_array_mut().unwrap() {
        firm["pause_client_on_fraud"] = (firm["external_id"] == "wary").into();
    }
    world.import(&json!({ "firms": firms })).await;
    cast::enter(&world, &payers, &[]).await;
    world.settle().await;
    let brake = "select brake from installation";
    let before = world.count(brake).await;
    for payer in &payers {
        let order = json!({ "payment_intent": payer.intent(&world).await, "kind": "chargeback", "reason": "fraudulent" });
        world.sim.post("/disputes", order).await.unwrap();
    }
    world.settle().await;
    let paused = "select external_id from clients where autopay_paused_at is not null";
    assert_eq!(world.texts(paused).await, ["paused"]);
    assert_eq!(
        world.count(brake).await,
        before + 1,
        "whoever is about to charge has to look again"
    );
    let of_pauses = "dedupe_key like 'client\\_paused:%'";
    assert_eq!(alerts(&world, of_pauses).await, ["SYSTEM_ERROR warning open 1"]);
    world
        .json(&[
            "resume",
            "autopay",
            "--client-id",
            "paused",
            "--reason",
            "a story",
        ])
        .await;
    assert_eq!(
        alerts(&world, of_pauses).await,
        ["SYSTEM_ERROR warning settled 1"]
    );
}

/// Jobs of one kind that are given up are one alert of their firm, which ends when none of them is left; the workers' own login
/// may write it.
#[tokio::test]
async fn b23_jobs_that_are_given_up_are_one_alert_until_none_is_left() {
    let world = World::start(WorldOptions {
        workers: 0,
        ..WorldOptions::default()
    })
    .await;
    let payers = ["one", "two"].map(|name| Payer::of("firm", name));
    cast::enter(&world, &payers, &[]).await;
    let worker = PgPool::connect(&world.database_url(Login::Worker)).await.unwrap();
    let set = async |change: &str, kind: &str| {
        let sql = format!(
            "update jobs set {change} where id = (select id from jobs where kind = '{kind}' and state <> 'completed' order by state <> 'discarded', seq limit 1)"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&worker)
            .await
            .unwrap();
        assert_eq!(done.rows_affected(), 1, "{change}");
    };
    let of_jobs = "alert_type = 'SYSTEM_ERROR'";
    let give_up = "state = 'discarded', finished_at = app.now(), last_error = 'no'";
    for id in world
        .texts("select id::text from jobs where kind = 'collect_invoice'")
        .await
    {
        let sql = format!("update jobs set {give_up} where id = '{id}'");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&worker)
            .await
            .unwrap();
    }
    assert_eq!(alerts(&world, of_jobs).await, ["SYSTEM_ERROR critical open 2"]);
    let shown = world.json(&["alert", "list", "--firm-id", "firm"]).await;
    assert_eq!(shown["data"][0]["related_data"]["kind"], "collect_invoice");
    let again = "state = 'available', finished_at = null";
    set(again, "collect_invoice").await;
    assert_eq!(alerts(&world, of_jobs).await, ["SYSTEM_ERROR critical open 2"]);
    set(again, "collect_invoice").await;
    assert_eq!(alerts(&world, of_jobs).await, ["SYSTEM_ERROR critical settled 2"]);
}

/// A schedule that nobody fired for hours is told when somebody does at last, and settled when it fires in time again.
#[tokio::test]
async fn a_schedule_that_fired_late_is_told_until_it_fires_in_time() {
    let world = World::start(WorldOptions::default()).await;
    world.settle().await;
    let late = "dedupe_key = 'schedule_late:sweep_due_charges'";
    for change in [
        "update clock set changed_at = changed_at - interval '3 hours' returning 'x'",
        "update schedules set watermark_at = watermark_at - interval '2 hours' where name = 'sweep_due_charges' returning name",
    ] {
        world.texts(change).await;
    }
    let told = format!("select count(*) from alerts where {late}");
    world.until(&told, 1, std::time::Duration::from_secs(30)).await;
    assert_eq!(alerts(&world, late).await, ["SYSTEM_ERROR critical open 1"]);
    world.advance("10m").await;
    let settled = format!("select count(*) from alerts where {late} and is_resolved");
    world.until(&settled, 1, std::time::Duration::from_secs(30)).await;
}

/// R205, A-25: raised for another system, listed, read, resolved; and refused where the database would refuse it too.
#[tokio::test]
async fn r205_an_alert_is_raised_read_and_resolved_by_command() {
    let options = WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    };
    let world = World::start(options).await;
    world
        .import(&json!({ "firms": [
            { "external_id": "acme", "name": "Acme", "timezone": "UTC", "currency": "usd" },
            { "external_id": "other", "name": "Other", "timezone": "UTC", "currency": "usd" },
        ] }))
        .await;
    let raise = async |firm: &str, severity: &str| {
        let mut args = vec![
            "alert",
            "raise",
            "--type",
            "AGENT_OFFLINE",
            "--severity",
            severity,
        ];
        args.extend([
            "--title",
            "Agent offline",
            "--message",
            "Since 09:00 UTC.",
            "--dedupe-key",
            "agent:17",
        ]);
        if !firm.is_empty() {
            args.extend(["--firm-id", firm]);
        }
        world.json(&args).await
    };
    let first = raise("acme", "info").await;
    let id = first["id"].as_str().unwrap();
    let read = world.json(&["alert", "read", id]).await;
    assert_eq!(read["data"][0]["is_read"], true);
    assert_eq!(
        world.json(&["alert", "list", "--unread"]).await["data"],
        json!([])
    );
    // The same again is the same alert; only when it gets worse is it news.
    for (severity, occurrences, is_read) in [("info", 2, true), ("critical", 3, false), ("info", 4, false)] {
        let again = raise("acme", severity).await;
        assert_eq!(
            json!([again["id"], again["occurrences"], again["is_read"]]),
            json!([id, occurrences, is_read])
        );
    }
    // Neither another firm's nor the installation's own is the same.
    let other = raise("other", "warning").await;
    let own = raise("", "warning").await;
    assert_eq!(json!([other["occurrences"], own["occurrences"]]), json!([1, 1]));
    assert_eq!(own["firm"], Value::Null);
    let listed = async |args: &[&str]| {
        let page = world.json(&[&["alert", "list"], args].concat()).await;
        page["data"].as_array().unwrap().len()
    };
    assert_eq!(listed(&[]).await, 3);
    assert_eq!(listed(&["--firm-id", "acme"]).await, 1);
    assert_eq!(listed(&["--type", "USAGE_HIGH"]).await, 0);
    let page = world.json(&["alert", "list", "--limit", "2"]).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(listed(&["--cursor", cursor]).await, 1);

    let resolved = world.json(&["alert", "resolve", id]).await;
    assert_eq!(resolved["data"][0]["is_resolved"], true);
    assert_eq!(
        (listed(&[]).await, listed(&["--all", "--firm-id", "acme"]).await),
        (2, 1)
    );
    let new = raise("acme", "info").await;
    assert_ne!(new["id"], first["id"]);

    let missing = world
        .cli(&["alert", "read", "00000000-0000-4000-8000-000000000000"])
        .await;
    assert_eq!(missing.code, 1, "{missing}");
    let wrong = world
        .cli(&[
            "alert",
            "raise",
            "--type",
            "FIRE",
            "--severity",
            "info",
            "--title",
            "x",
            "--message",
            "x",
            "--dedupe-key",
            "x",
        ])
        .await;
    assert_eq!(wrong.code, 2, "{wrong}");
    assert!(wrong.stderr.contains("AGENT_OFFLINE"), "{wrong}");
    // A resolved alert is history.
    let rewritten =
        sqlx::query("update alerts set title = 'nothing happened' where is_resolved").execute(&world.db);
    let refused = rewritten.await.unwrap_err();
    assert_eq!(
        refused.as_database_error().and_then(|e| e.code()).as_deref(),
        Some("QT010")
    );
}

/// R205, P7: who says that an alert is read or over is on record, with the run of the command and the reason: a firm's in its audit log,
/// the platform's own beside what else is done to everybody. Whoever says it again changes nothing, and leaves no row.
#[tokio::test]
async fn r205_who_reads_or_resolves_an_alert_is_on_record_with_the_reason() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    world
        .import(&json!({ "firms": [
            {"external_id": "acme", "name": "Acme", "timezone": "UTC", "currency": "usd"},
        ] }))
        .await;
    let raise = async |firm: &[&str]| {
        let mut args = vec![
            "alert",
            "raise",
            "--type",
            "AGENT_OFFLINE",
            "--severity",
            "warning",
        ];
        args.extend([
            "--title",
            "Agent offline",
            "--message",
            "",
            "--dedupe-key",
            "agent:17",
        ]);
        args.extend(firm);
        world.json(&args).await["id"].as_str().unwrap().to_owned()
    };
    let (firms, own) = (raise(&["--firm-id", "acme"]).await, raise(&[]).await);
    for _ in 0..2 {
        world.json(&["alert", "read", &firms, &own]).await;
        let over = ["alert", "resolve", &firms, &own, "--reason", "it is back"];
        world.json(&over).await;
    }
    assert_eq!(
        world.cli(&["alert", "resolve", &own, "--reason", " "]).await.code,
        2,
        "a reason says something"
    );

    let of_firm = format!(
        "select concat_ws(' ', action, actor_kind, (actor_id <> '')::text, cause_kind, subject_kind, meta ->> 'reason')
           from audit_events where subject_id = '{firms}' order by id"
    );
    assert_eq!(
        world.texts(&of_firm).await,
        [
            "alert.read operator true command alert none given",
            "alert.resolved operator true command alert it is back",
        ]
    );
    let of_platform = "select concat_ws(' ', action, (changed_by <> '')::text, (cause_id <> '')::text, subject ->> 'alert', reason)
                         from installation_changes order by id";
    assert_eq!(
        world.texts(of_platform).await,
        [
            format!("alert.read true true {own} none given"),
            format!("alert.resolved true true {own} it is back"),
        ]
    );
    let listed = world.json(&["audit", "list", "--subject", &firms]).await;
    let listed: Vec<&Value> = listed["data"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let verified = world.cli(&["audit", "verify"]).await;
    assert_eq!(verified.code, 0, "{verified}");
}
