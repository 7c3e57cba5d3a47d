//! What a review of the portal's security found, each as the story that must not happen any more.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use reqwest::Method;
use serde_json::{Value, json};
use tests::world::{Login, World, WorldOptions};

use super::{
    client::{Browser, totp},
    logged_in, operator, token, two_firms,
};

/// A draft that acme has made for zebra.
async fn draft(world: &World) -> String {
    let make = [
        "invoice",
        "create",
        "--engagement",
        "eng-zebra",
        "--amount",
        "40.00",
    ];
    world.json(&make).await["id"].as_str().unwrap().to_owned()
}

/// Time of a user that waits for approval.
async fn handed_in(world: &World, engagement: &str, worker: &str, name: &str) {
    let today = crate::acme::today(world).await;
    let add = [
        "time",
        "add",
        "--engagement",
        engagement,
        "--worker",
        worker,
        "--worked-on",
        &today,
        "--minutes",
        "60",
        "--external-id",
        name,
    ];
    world.json(&add).await;
    world.json(&["time", "submit", name]).await;
}

/// What the firm's people write down for themselves has this word in it.
const WITHIN: &str = "hush";

#[tokio::test]
async fn r004_a_clients_user_is_shown_no_draft_and_nothing_of_how_the_firm_goes_about_it() {
    let world = two_firms().await;
    let draft = draft(&world).await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let within = |what: &str| format!("{WITHIN}: {what}");
    let refund = json!({"amount": "1.00", "to": "card", "reason": within("our mistake")});
    assert_eq!(
        admin
            .post("/api/v1/invoices/inv-zebra/refunds", &refund)
            .await
            .status,
        201
    );
    let credit = json!({"amount": "5.00", "reason": within("they wanted to leave")});
    assert_eq!(
        admin.post("/api/v1/clients/zebra/credits", &credit).await.status,
        201
    );
    let pause = json!({"client": "zebra", "reason": within("insolvent?")});
    assert_eq!(admin.post("/api/v1/autopay/pause", &pause).await.status, 200);
    let mut alice = operator(&world, "alice").await;
    let enter = json!({"firm": "acme", "reason": within("ticket 17"), "minutes": 60});
    assert_eq!(alice.post("/api/v1/break-glass", &enter).await.status, 201);
    world.settle().await;

    let mut ceo = logged_in(&world, "client-acme").await;
    for path in [
        format!("/api/v1/invoices/{draft}"),
        format!("/api/v1/invoices?cursor={draft}"),
    ] {
        assert_eq!(admin.get(&path).await.status, 200, "{path}");
        assert_eq!(ceo.get(&path).await.code(), "not_found", "{path}");
    }
    assert_eq!(ceo.get(&format!("/billing/invoices/{draft}")).await.status, 404);
    for path in ["/api/v1/invoices", "/api/v1/invoices?status=draft"] {
        let rows = ceo.get(path).await.json()["data"].as_array().unwrap().clone();
        assert!(rows.iter().all(|row| row["status"] != "draft"), "{rows:?}");
        let all = admin.get(path).await.text;
        assert!(all.contains("\"draft\""), "{all}");
    }
    for path in ["/billing/invoices", "/billing/invoices?status=draft"] {
        let page = ceo.get(path).await;
        assert!(page.status == 200 && !page.text.contains(&draft), "{}", page.text);
    }

    // What they may see tells neither what was said about them, nor ids and codes of Stripe's, nor who of the platform looks in.
    let mut told = Vec::new();
    for path in [
        "/api/v1/invoices",
        "/api/v1/invoices/inv-zebra",
        "/api/v1/clients/zebra",
        "/api/v1/clients/zebra/credit",
        "/api/v1/clients/zebra/credits",
        "/billing/invoices",
        "/billing/invoices/inv-zebra",
        "/billing/credits/zebra",
    ] {
        let (seen, whole) = (ceo.get(path).await, admin.get(path).await);
        assert_eq!((seen.status, whole.status), (200, 200), "{path}: {}", seen.text);
        for secret in [WITHIN, "ch_", "pi_", "cus_zebra", "admin-acme", "alice"] {
            assert!(
                !seen.text.contains(secret),
                "{path} tells {secret}: {}",
                seen.text
            );
            if whole.text.contains(secret) {
                told.push(secret);
            }
        }
    }
    for secret in [WITHIN, "ch_", "pi_", "cus_zebra", "alice"] {
        assert!(told.contains(&secret), "the firm itself is told {secret}");
    }
    let (seen, whole) = (
        ceo.get("/api/v1/invoices/inv-zebra").await.json(),
        admin.get("/api/v1/invoices/inv-zebra").await.json(),
    );
    assert_eq!(seen["attempts"], json!([]));
    assert_ne!(whole["attempts"], json!([]));
    assert_eq!(seen["refunded_minor"], whole["refunded_minor"]);

    // Time of another client's is not there either.
    for (engagement, name, answer) in [("eng-yak", "t-yak", 404), ("eng-zebra", "t-own", 200)] {
        handed_in(&world, engagement, "staff-acme", name).await;
        let approved = ceo
            .post_nothing(&format!("/api/v1/time/{name}/client-approve"))
            .await;
        assert_eq!(approved.status, answer, "{name}: {}", approved.text);
    }
}

#[tokio::test]
async fn r205_what_another_system_raises_touches_no_alert_of_ours() {
    let world = two_firms().await;
    let ours = "insert into alerts (id, firm_id, alert_type, severity, dedupe_key, title, message, related_data, cause_kind, cause_id, created_at, last_seen_at)
                select gen_random_uuid(), id, 'DRIFT_DETECTED', 'critical', 'drift', 'Books differ', 'Look.', '{}', 'job', 'x', app.now(), app.now()
                  from firms where external_id = 'acme'";
    sqlx::query(ours).execute(&world.db).await.unwrap();
    let mut agents = token(&world, Some("acme"), "alerts").await;
    let masked = json!({"type": "DRIFT_DETECTED", "severity": "info", "title": "All is well", "message": "Nothing.", "dedupe_key": "drift"});
    for _ in 0..3 {
        let raised = agents.post("/api/alerts", &masked).await;
        assert_eq!(raised.status, 201, "{}", raised.text);
        assert_eq!(raised.json()["dedupe_key"], "drift", "as it was named");
    }
    let args = [
        "alert",
        "raise",
        "--firm-id",
        "acme",
        "--type",
        "DRIFT_DETECTED",
        "--severity",
        "info",
        "--title",
        "All is well",
        "--message",
        "Nothing.",
        "--dedupe-key",
        "drift",
    ];
    assert_eq!(world.json(&args).await["occurrences"], 4, "of theirs");
    let rows = "select format('%s %s %s', title, severity, occurrences) from alerts where firm_id = (select id from firms where external_id = 'acme')
                  and alert_type = 'DRIFT_DETECTED' order by created_at";
    assert_eq!(
        world.texts(rows).await,
        ["Books differ critical 1", "All is well info 4"]
    );
}

/// Where Stripe leads back to is not what a request says.
#[tokio::test]
async fn r212_where_stripes_pages_lead_back_to_is_a_setting_and_nobodys_word() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let price = "insert into subscription_prices values ('price_pro', 'PRO', now());
                 update subscription_tiers set stripe_price_id = 'price_pro' where tier = 'PRO'";
    sqlx::raw_sql(price).execute(&world.db).await.unwrap();
    let csrf = admin.csrf.clone();
    let asked = admin
        .request(Method::POST, "/api/billing/change-tier")
        .header("host", "evil.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("csrf={csrf}&tier=PRO"));
    let answer = admin.send(asked).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let base = world.portal_base().replace("127.0.0.1", "localhost");
    assert_eq!(
        world.texts("select return_url from platform_requests").await,
        [format!("{base}/api/billing/")]
    );
}

#[tokio::test]
async fn r212_a_portal_of_a_live_installation_is_told_where_browsers_find_it() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    let start = |url: &str| {
        let started = std::process::Command::new(world.portal_binary())
            .env("DATABASE_URL", world.database_url(Login::Portal))
            .env("PORTAL_ADDR", "127.0.0.1:0")
            .env("PORTAL_ADMIN_ADDR", "127.0.0.1:0")
            .env("PORTAL_URL", url)
            .output()
            .unwrap();
        (
            started.status.code(),
            String::from_utf8_lossy(&started.stderr).into_owned(),
        )
    };
    sqlx::query("update installation set livemode = true")
        .execute(&world.db)
        .await
        .unwrap();
    for url in [
        "",
        "http://billing.example.com",
        "billing.example.com",
        "https://billing.example.com/pages",
    ] {
        let (code, said) = start(url);
        assert_eq!(code, Some(1), "{url}: {said}");
        assert!(said.contains("PORTAL_URL"), "{url}: {said}");
    }
}

#[tokio::test]
async fn r041_r050_a_person_with_a_session_and_a_token_is_one_person_and_a_system_is_none() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let order = json!({"name": "mine", "role": "admin", "days": 30});
    let made = admin.post("/api/v1/tokens", &order).await.json();
    let mut script = Browser::with_token(&world, made["token"].as_str().unwrap());
    let who = script.get("/api/v1/session").await.json();
    assert_eq!(
        (&who["label"], &who["via"]),
        (&json!("admin-acme"), &json!("token"))
    );
    assert_ne!(who["user"], Value::Null);
    handed_in(&world, "eng-zebra", "admin-acme", "t-own").await;
    let own = script.post_nothing("/api/v1/time/t-own/approve").await;
    assert_eq!((own.status, own.code().as_str()), (409, "self_approval"));
    let mut system = token(&world, Some("acme"), "admin").await;
    let nobody = system.post_nothing("/api/v1/time/t-own/approve").await;
    assert_eq!((nobody.status, nobody.code().as_str()), (409, "no_person"));
    let mut owner = logged_in(&world, "owner-acme").await;
    assert_eq!(owner.post_nothing("/api/v1/time/t-own/approve").await.status, 200);
    // Nobody gives another's word: credit that takes two people is not given on one's own.
    for (caller, code) in [(&mut admin, "needs_four_eyes"), (&mut script, "needs_four_eyes")] {
        let goodwill = json!({"amount": "5.00", "reason": "sorry", "source": "goodwill"});
        let refused = caller.post("/api/v1/clients/zebra/credits", &goodwill).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, code));
        let mut vouched = goodwill.clone();
        vouched["approved_by"] = json!("owner-acme");
        assert_eq!(
            caller
                .post("/api/v1/clients/zebra/credits", &vouched)
                .await
                .status,
            400
        );
    }
    // To look into a firm and to review that takes a person of the platform.
    let mut night = token(&world, None, "operator").await;
    let enter = json!({"firm": "acme", "reason": "ticket 17", "minutes": 30});
    assert_eq!(
        night.post("/api/v1/break-glass", &enter).await.code(),
        "no_person"
    );
}

#[tokio::test]
async fn r212_a_token_makes_no_token_does_no_more_than_its_person_and_ends_with_their_login() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let order = json!({"name": "mine", "role": "admin", "days": 30});
    let made = admin.post("/api/v1/tokens", &order).await.json();
    let mut script = Browser::with_token(&world, made["token"].as_str().unwrap());
    assert_eq!(script.get("/api/v1/tokens").await.status, 200);
    let another = script.post("/api/v1/tokens", &order).await;
    assert_eq!((another.status, another.code().as_str()), (403, "not_by_token"));
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        script
            .post_nothing(&format!("/api/v1/tokens/{id}/revoke"))
            .await
            .code(),
        "not_by_token"
    );
    let create = |role: &'static str, expires_in: &'static str| {
        [
            "user",
            "token",
            "create",
            "--firm-id",
            "acme",
            "--role",
            role,
            "--login",
            "admin-acme",
            "--name",
            "more",
            "--expires-in",
            expires_in,
        ]
    };
    let more = world.json(&create("owner", "1d")).await;
    let mut more = Browser::with_token(&world, more["token"].as_str().unwrap());
    assert_eq!(more.get("/api/v1/session").await.json()["role"], "admin");
    let alerts = world.json(&create("alerts", "1d")).await;
    let mut alerts = Browser::with_token(&world, alerts["token"].as_str().unwrap());
    let for_ever = world.command().run(&create("admin", "400d")).await.unwrap();
    assert_eq!(for_ever.code, 4, "{}", for_ever.stderr);
    let alert =
        json!({"type": "USAGE_HIGH", "severity": "info", "title": "x", "message": "x", "dedupe_key": "x"});
    assert_eq!(alerts.post("/api/alerts", &alert).await.status, 201);
    // A role that was taken away is taken from the token too.
    let demoted = json!({"users": [{"external_id": "admin-acme", "firm": "acme", "name": "admin of acme", "role": "staff"}]});
    world.import(&demoted).await;
    assert_eq!(script.get("/api/v1/session").await.json()["role"], "staff");
    world
        .json(&["user", "disable", "admin-acme", "--firm-id", "acme"])
        .await;
    for token in [&mut script, &mut more] {
        assert_eq!(token.get("/api/v1/session").await.status, 401);
    }
    assert_eq!(alerts.post("/api/alerts", &alert).await.status, 401);
    // The same for a person of the platform.
    let args = ["user", "operator", "alice", "--stdin", "--json"];
    let made = world
        .command()
        .run_with_input(&args, super::PASSWORD)
        .await
        .unwrap();
    assert_eq!(
        totp(
            made.success().unwrap().json().unwrap()["totp_secret"]
                .as_str()
                .unwrap()
        )
        .len(),
        6
    );
    let night = [
        "user",
        "token",
        "create",
        "--role",
        "operator",
        "--login",
        "alice",
        "--name",
        "night",
        "--expires-in",
        "1d",
    ];
    let night = world.json(&night).await;
    let mut night = Browser::with_token(&world, night["token"].as_str().unwrap());
    assert_eq!(night.get("/api/v1/session").await.json()["label"], "alice");
    world.json(&["user", "disable", "alice"]).await;
    assert_eq!(night.get("/api/v1/session").await.status, 401);
}
