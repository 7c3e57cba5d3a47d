//! The API does what the commands do, in the same transaction as its audit entry, once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::json;

use super::{logged_in, operator, token, two_firms};

#[tokio::test]
async fn r212_a31_what_the_api_shows_is_what_the_command_shows() {
    let world = two_firms().await;
    let mut admin = token(&world, Some("acme"), "admin").await;
    for (path, command) in [
        ("/api/v1/invoices/inv-zebra", vec!["invoice", "show", "inv-zebra"]),
        ("/api/v1/clients/zebra", vec!["client", "show", "zebra"]),
        (
            "/api/v1/engagements/eng-zebra",
            vec!["engagement", "show", "eng-zebra"],
        ),
        ("/api/v1/clients/zebra/credit", vec!["credit", "balance", "zebra"]),
    ] {
        let shown = admin.get(path).await;
        assert_eq!(shown.status, 200, "{}", shown.text);
        assert_eq!(shown.json(), world.json(&command).await, "{path}");
    }
    let mut explained = admin.get("/api/v1/explain/inv-zebra").await.json();
    let mut told = world.json(&["explain", "inv-zebra"]).await;
    for answer in [&mut explained, &mut told] {
        answer.as_object_mut().unwrap().remove("checked");
    }
    assert_eq!(explained, told);
}

#[tokio::test]
async fn r212_lists_go_on_page_by_page_and_refuse_what_is_no_cursor() {
    let world = two_firms().await;
    let mut admin = token(&world, Some("acme"), "admin").await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/invoices?limit=1".to_owned();
    loop {
        let page = admin.get(&path).await.json();
        let rows = page["data"].as_array().unwrap().clone();
        assert!(rows.len() <= 1);
        seen.extend(
            rows.iter()
                .map(|row| row["external_id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/invoices?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    seen.sort();
    assert_eq!(seen, ["inv-yak", "inv-zebra"]);
    for (path, status) in [
        ("/api/v1/invoices?limit=0", 400),
        ("/api/v1/invoices?limit=x", 400),
        ("/api/v1/invoices?cursor=nothing", 404),
        ("/api/v1/jobs?cursor=nothing", 400),
        ("/api/v1/invoices?client=%00", 400),
        ("/api/v1/invoices?firm=%00", 400),
        ("/api/v1/invoices/%00", 404),
    ] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        answer.code();
    }
}

#[tokio::test]
async fn r212_the_same_key_does_it_once_and_answers_the_same_and_another_request_may_not_have_it() {
    let world = two_firms().await;
    let mut admin = token(&world, Some("acme"), "admin").await;
    let path = "/api/v1/clients/zebra/credits";
    let order = json!({"amount": "5.00", "reason": "spring"});
    let first = admin.post_keyed(path, "key-1", &order).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let again = admin.post_keyed(path, "key-1", &order).await;
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(world.count("select count(*) from credit_lots").await, 1);
    let other = admin
        .post_keyed(path, "key-1", &json!({"amount": "6.00", "reason": "spring"}))
        .await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "idempotency_key_reused")
    );
    // Keys are each caller's own.
    let mut owner = logged_in(&world, "owner-acme").await;
    assert_eq!(owner.post_keyed(path, "key-1", &order).await.status, 201);
    assert_eq!(world.count("select count(*) from credit_lots").await, 2);
    // Two at once: one does it, the other gets its answer.
    let (mut one, mut two) = (token(&world, Some("acme"), "admin").await, admin);
    let keyed = json!({"amount": "7.00", "reason": "race"});
    let (a, b) = tokio::join!(
        two.post_keyed(path, "key-2", &keyed),
        one.post_keyed(path, "key-3", &keyed)
    );
    assert_eq!((a.status, b.status), (201, 201));
    let mut racers = Vec::new();
    for _ in 0..4 {
        let request = two
            .request(reqwest::Method::POST, path)
            .header("idempotency-key", "key-4")
            .json(&keyed);
        racers.push(tokio::spawn(async move {
            request.send().await.unwrap().status().as_u16()
        }));
    }
    for racer in racers {
        assert_eq!(racer.await.unwrap(), 201);
    }
    let raced = "select count(*) from credit_lots where reason = 'race'";
    assert_eq!(world.count(raced).await, 3);
}

#[tokio::test]
async fn r212_a_refund_asked_for_by_the_api_is_made_by_a_worker_once_and_the_portal_has_no_key() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let order = json!({"amount": "25.00", "to": "card", "reason": "half a month unused"});
    let path = "/api/v1/invoices/inv-zebra/refunds";
    let ordered = admin.post_keyed(path, "refund-1", &order).await;
    assert_eq!(ordered.status, 201, "{}", ordered.text);
    assert_eq!(
        admin.post_keyed(path, "refund-1", &order).await.json(),
        ordered.json()
    );
    world.settle().await;
    let shown = admin.get("/api/v1/invoices/inv-zebra").await.json();
    assert_eq!(shown["refunded_minor"], 2_500, "{shown}");
    assert_eq!(shown["refunds"].as_array().unwrap().len(), 1);
    let who = "select distinct actor_kind || ' ' || actor_id || ' ' || cause_kind from audit_events where action = 'refund.requested'";
    assert_eq!(world.texts(who).await, ["user admin-acme request"]);
    let more = json!({"amount": "500.00", "to": "card", "reason": "too much"});
    assert_eq!(admin.post(path, &more).await.status, 409);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn r212_invoices_end_and_are_paid_by_the_api_as_by_the_commands() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let make = [
        "invoice",
        "create",
        "--engagement",
        "eng-yak",
        "--amount",
        "40.00",
        "--no-autopay",
    ];
    let draft = world.json(&make).await["id"].as_str().unwrap().to_owned();
    let path = |act: &str| format!("/api/v1/invoices/{draft}/{act}");
    let issued = admin.post_nothing(&path("issue")).await;
    assert_eq!(issued.status, 200, "{}", issued.text);
    assert_eq!(issued.json()["status"], "sent");
    assert_eq!(admin.post_nothing(&path("issue")).await.code(), "no_draft");
    let money = json!({"amount": "15.00", "reference": "transfer 1"});
    let paid = admin.post(&path("external-payments"), &money).await;
    assert_eq!(
        (paid.status, &paid.json()["open_minor"]),
        (201, &json!(2_500)),
        "{}",
        paid.text
    );
    let void = admin
        .post(&path("void"), &json!({"reason": "billed twice"}))
        .await;
    assert_eq!((void.status, void.code().as_str()), (409, "paid"));
    assert_eq!(
        admin.post(&path("void"), &json!({"reason": " "})).await.status,
        400
    );
    let gave_up = admin
        .post(&path("write-off"), &json!({"reason": "insolvent"}))
        .await;
    assert_eq!(gave_up.json()["state"], "written_off", "{}", gave_up.text);
    world.assert_books_balance().await;
    let other = world.json(&make).await["id"].as_str().unwrap().to_owned();
    let discard = format!("/api/v1/invoices/{other}/discard");
    let gone = admin
        .post_keyed(&discard, "d", &json!({"reason": "wrong month"}))
        .await;
    assert_eq!(gone.json()["discarded"], true, "{}", gone.text);
    let again = admin
        .post_keyed(&discard, "d", &json!({"reason": "wrong month"}))
        .await;
    assert_eq!(again.json(), gone.json());
}

#[tokio::test]
async fn r041_time_goes_its_way_by_the_api_and_staff_have_their_own_alone() {
    let world = two_firms().await;
    let mut staff = logged_in(&world, "staff-acme").await;
    let mut manager = logged_in(&world, "manager-acme").await;
    let mut ceo = logged_in(&world, "client-acme").await;
    let today = crate::acme::today(&world).await;
    let work = json!({"engagement": "eng-zebra", "worked_on": today, "minutes": 90, "external_id": "t1"});
    let added = staff.post("/api/v1/time", &work).await;
    assert_eq!(added.status, 201, "{}", added.text);
    assert_eq!(added.json()["worker"], "staff-acme");
    let mut others = work.clone();
    others["worker"] = json!("manager-acme");
    others["external_id"] = json!("t2");
    assert_eq!(staff.post("/api/v1/time", &others).await.code(), "not_own_time");
    assert_eq!(manager.post("/api/v1/time", &others).await.status, 201);
    assert_eq!(
        staff.post_nothing("/api/v1/time/t2/submit").await.code(),
        "not_own_time"
    );
    assert_eq!(
        staff.post_nothing("/api/v1/time/t1/submit").await.json()["state"],
        "submitted"
    );
    assert_eq!(staff.post_nothing("/api/v1/time/t1/approve").await.code(), "role");
    let approved = manager.post_nothing("/api/v1/time/t1/approve").await;
    assert_eq!(
        approved.json()["approved_by"],
        "manager-acme",
        "{}",
        approved.text
    );
    assert_eq!(
        ceo.post_nothing("/api/v1/time/t1/client-approve").await.status,
        200
    );
    let own = manager.post_nothing("/api/v1/time/t2/approve").await;
    assert_eq!(own.status, 409, "nobody approves their own: {}", own.text);
}

#[tokio::test]
async fn r205_a25_other_systems_raise_alerts_by_token_and_do_nothing_else() {
    let world = two_firms().await;
    let mut agents = token(&world, Some("acme"), "alerts").await;
    let alert = json!({"type": "AGENT_OFFLINE", "severity": "warning", "title": "Agent offline",
        "message": "No sign of life since 09:00 UTC.", "dedupe_key": "agent-offline:17", "related_data": {"agent": 17}});
    let first = agents.post("/api/alerts", &alert).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let second = agents.post("/api/alerts", &alert).await;
    assert_eq!(second.json()["occurrences"], 2);
    assert_eq!(second.json()["id"], first.json()["id"]);
    let mut nonsense = alert.clone();
    nonsense["type"] = json!("NONSENSE");
    assert_eq!(agents.post("/api/alerts", &nonsense).await.status, 400);
    assert_eq!(agents.get("/api/v1/alerts").await.code(), "role");
    let mut admin = logged_in(&world, "admin-acme").await;
    let list = admin
        .get("/api/v1/alerts?unread=true&type=AGENT_OFFLINE")
        .await
        .json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let read = admin.post_nothing(&format!("/api/v1/alerts/{id}/read")).await;
    assert_eq!(read.json()["is_read"], true, "{}", read.text);
    let path = format!("/api/v1/alerts/{id}/resolve");
    let unsaid = admin.post(&path, &json!({"reason": " "})).await;
    assert_eq!(unsaid.status, 400, "{}", unsaid.text);
    let resolved = admin.post(&path, &json!({"reason": "it is back"})).await;
    assert_eq!(resolved.json()["resolved_by"], "admin-acme");
    // The same function as the command's, so the same is on record.
    let kept = format!(
        "select concat_ws(' ', action, actor_kind, actor_id, cause_kind, meta ->> 'reason') from audit_events
          where subject_id = '{id}' order by id"
    );
    assert_eq!(
        world.texts(&kept).await,
        [
            "alert.read user admin-acme request none given",
            "alert.resolved user admin-acme request it is back",
        ]
    );
    let mut strangers = token(&world, Some("other"), "admin").await;
    assert_eq!(
        strangers
            .post_nothing(&format!("/api/v1/alerts/{id}/read"))
            .await
            .code(),
        "not_found"
    );
    world.json(&["user", "token", "list", "--firm-id", "acme"]).await;
}

#[tokio::test]
async fn r212_a_token_is_shown_once_and_opens_nothing_once_revoked_or_expired() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let order = json!({"name": "ci", "role": "staff", "days": 30});
    let made = admin.post("/api/v1/tokens", &order).await.json();
    let word = made["token"].as_str().unwrap();
    let mut script = super::Browser::with_token(&world, word);
    assert_eq!(script.get("/api/v1/session").await.json()["role"], "staff");
    let list = admin.get("/api/v1/tokens").await;
    assert!(!list.text.contains(word), "{}", list.text);
    let dump = world
        .texts("select to_jsonb(t)::text from api_tokens t")
        .await
        .concat();
    assert!(!dump.contains(word.trim_start_matches("qt_")), "{dump}");
    assert_eq!(
        admin
            .post(
                "/api/v1/tokens",
                &json!({"name": "x", "role": "owner", "days": 1})
            )
            .await
            .code(),
        "role",
        "no more than oneself"
    );
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        admin
            .post_nothing(&format!("/api/v1/tokens/{id}/revoke"))
            .await
            .status,
        200
    );
    assert_eq!(script.get("/api/v1/session").await.status, 401);
    let mut late = token(&world, Some("acme"), "admin").await;
    sqlx::query("update api_tokens set expires_at = clock_timestamp() - interval '1 second'")
        .execute(&world.db)
        .await
        .unwrap();
    assert_eq!(late.get("/api/v1/session").await.status, 401);
}

#[tokio::test]
async fn r093_automatic_charging_is_stopped_and_queues_are_held_by_whom_they_belong_to() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let why = json!({"reason": "checking March"});
    let stopped = admin.post("/api/v1/autopay/pause", &why).await.json();
    assert_eq!(
        (&stopped["scope"], &stopped["changed"]),
        (&json!("firm"), &json!(true))
    );
    let paused = "select external_id from firms where autopay_paused_at is not null";
    assert_eq!(world.texts(paused).await, ["acme"]);
    let resumed = admin.post("/api/v1/autopay/resume", &why).await;
    assert_eq!(resumed.json()["changed"], true, "{}", resumed.text);
    let client = json!({"client": "zebra", "reason": "dunning on hold"});
    assert_eq!(
        admin.post("/api/v1/autopay/pause", &client).await.json()["scope"],
        "client"
    );
    let foreign = json!({"client": "wolf", "reason": "not mine"});
    assert_eq!(
        admin.post("/api/v1/autopay/pause", &foreign).await.code(),
        "not_found"
    );
    let mut alice = operator(&world, "alice").await;
    let all = alice.post("/api/v1/autopay/pause", &why).await;
    assert_eq!(all.json()["scope"], "all", "{}", all.text);
    assert_eq!(alice.post("/api/v1/autopay/resume", &why).await.status, 200);
    let queue = alice.post("/api/v1/queues/charges/pause", &why).await;
    assert_eq!(queue.json()["paused"]["by"], "alice", "{}", queue.text);
    let status = world.json(&["queue", "status"]).await;
    let queues = alice.get("/api/v1/queues").await.json();
    for (ours, theirs) in queues["data"]
        .as_array()
        .unwrap()
        .iter()
        .zip(status["data"].as_array().unwrap())
    {
        assert_eq!(
            (&ours["queue"], &ours["paused"]),
            (&theirs["queue"], &theirs["paused"])
        );
    }
    assert_eq!(
        alice.post("/api/v1/queues/charges/resume", &why).await.status,
        200
    );
    assert_eq!(
        alice.get("/api/v1/workers").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(alice.get("/api/v1/schedules").await.status, 200);
}

#[tokio::test]
async fn r212_a_job_that_was_given_up_and_an_event_are_run_again_by_the_api() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let job = "select id::text from jobs where kind = 'collect_invoice' and state = 'completed'
                and firm_id = (select id from firms where external_id = 'acme') limit 1";
    let job = world.texts(job).await.concat();
    let done = admin
        .post(&format!("/api/v1/jobs/{job}/retry"), &json!({"reason": "x"}))
        .await;
    assert_eq!((done.status, done.code().as_str()), (409, "job_done"));
    // As if it had been given up: a job that has ended stays so, unless the guard looks away.
    let mut tx = world.db.begin().await.unwrap();
    for sql in [
        "set local session_replication_role = replica".to_owned(),
        format!("update jobs set state = 'discarded', last_error = 'invented' where id = '{job}'"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let again = admin
        .post(&format!("/api/v1/jobs/{job}/retry"), &json!({"reason": "mended"}))
        .await;
    assert_eq!(again.status, 200, "{}", again.text);
    world
        .until(
            &format!("select count(*) from jobs where id = '{job}' and state = 'completed'"),
            1,
            Duration::from_secs(20),
        )
        .await;
    let event = "select stripe_event_id from stripe_events where firm_id = (select id from firms where external_id = 'acme') limit 1";
    let event = world.texts(event).await.concat();
    let replay = admin
        .post(
            &format!("/api/v1/events/{event}/replay"),
            &json!({"reason": "to be sure"}),
        )
        .await;
    assert_eq!(replay.status, 202, "{}", replay.text);
    world.settle().await;
    let ran = replay.json()["job"].as_str().unwrap().to_owned();
    let shown = admin.get(&format!("/api/v1/jobs/{ran}")).await.json();
    assert_eq!(shown["state"], "completed", "{shown}");
    world.assert_books_balance().await;
}

#[tokio::test]
async fn r212_a_caller_in_a_hurry_is_told_to_slow_down() {
    let world = tests::world::World::start(tests::world::WorldOptions {
        portal: true,
        workers: 0,
        ingress: false,
        env: vec![("PORTAL_RATE_PER_MIN".into(), "30".into())],
        ..tests::world::WorldOptions::default()
    })
    .await;
    let mut hurried = super::Browser::at(&world);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let answer = hurried.get("/api/v1/session").await;
        if answer.status == 429 {
            assert_eq!(answer.code(), "rate_limited");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
}
