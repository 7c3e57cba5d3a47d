//! Logging in: argon2, the second factor, the throttle, sessions, CSRF, headers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tests::world::{World, WorldOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    PASSWORD,
    client::{Browser, between, totp},
    give_password, logged_in, operator, two_firms,
};
use crate::cast::{self, Payer};

#[tokio::test]
async fn r212_a_session_begins_with_the_right_password_and_ends_with_the_logout() {
    let world = two_firms().await;
    give_password(&world, "admin-acme").await;
    let kept = world
        .texts("select password_hash from logins where name = 'admin-acme'")
        .await
        .concat();
    assert!(kept.starts_with("$argon2id$"), "{kept}");
    let mut browser = Browser::at(&world);
    let away = browser.get("/api/billing/").await;
    assert_eq!(
        (away.status, away.header("location")),
        (303, "/login?next=/api/billing/")
    );
    assert_eq!(browser.log_in("admin-acme", "wrong horse battery", "").await, 401);
    assert!(browser.cookie("__Host-quittance").is_none());
    assert_eq!(
        browser.log_in("ADMIN-acme", PASSWORD, "").await,
        303,
        "names have no case"
    );
    let page = browser.get("/billing/invoices").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(
        page.text.contains("zebra") && !page.text.contains("wolf"),
        "{}",
        page.text
    );
    // What is kept of a session opens none.
    let token = browser.cookie("__Host-quittance").unwrap().to_owned();
    let as_kept = "select count(*) from portal_sessions where encode(token_sha256, 'hex') = ";
    assert_eq!(world.count(&format!("{as_kept}'{token}'")).await, 0);
    assert_eq!(world.count("select count(*) from portal_sessions").await, 1);
    let csrf = browser.csrf.clone();
    assert_eq!(browser.submit("/logout", &[("csrf", &csrf)]).await.status, 303);
    assert!(browser.cookie("__Host-quittance").is_none());
    assert_eq!(world.count("select count(*) from portal_sessions").await, 0);
    let said = world
        .texts("select action || ' ' || coalesce(actor_id, '') from audit_events where category = 'auth' order by id")
        .await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("login.password_set"), "{said:?}");
    assert_eq!(said[1], "login.succeeded admin-acme");
}

#[tokio::test]
async fn r212_a_new_password_and_a_shut_login_end_what_was_open() {
    let world = two_firms().await;
    let mut browser = logged_in(&world, "owner-acme").await;
    let taken = [
        "user",
        "password",
        "admin-other",
        "--login",
        "owner-ACME",
        "--stdin",
    ];
    let taken = world.command().run_with_input(&taken, PASSWORD).await.unwrap();
    assert_eq!(taken.code, 4, "{}", taken.stderr);
    let short = [
        "user",
        "password",
        "owner-acme",
        "--login",
        "owner-acme",
        "--stdin",
    ];
    let short = world.command().run_with_input(&short, "short").await.unwrap();
    assert_eq!(short.code, 2, "{}", short.stderr);
    assert_eq!(browser.get("/api/v1/session").await.status, 200);
    give_password(&world, "owner-acme").await;
    assert_eq!(browser.get("/api/v1/session").await.status, 401);
    assert_eq!(browser.log_in("owner-acme", PASSWORD, "").await, 303);
    world
        .json(&["user", "disable", "owner-acme", "--firm-id", "acme"])
        .await;
    assert_eq!(browser.get("/api/v1/session").await.status, 401);
    assert_eq!(browser.log_in("owner-acme", PASSWORD, "").await, 401);
}

#[tokio::test]
async fn r212_an_operator_needs_a_code_and_each_code_opens_once() {
    let world = two_firms().await;
    let args = ["user", "operator", "alice", "--stdin", "--json"];
    let made = world.command().run_with_input(&args, PASSWORD).await.unwrap();
    let made = made.success().unwrap().json().unwrap();
    let secret = made["totp_secret"].as_str().unwrap();
    let mut browser = Browser::at(&world);
    assert_eq!(browser.log_in("alice", PASSWORD, "").await, 401);
    assert_eq!(browser.log_in("alice", PASSWORD, "000000").await, 401);
    let code = totp(secret);
    assert_eq!(browser.log_in("alice", PASSWORD, &code).await, 303);
    let mut thief = Browser::at(&world);
    assert_eq!(
        thief.log_in("alice", PASSWORD, &code).await,
        401,
        "seen over a shoulder"
    );
}

#[tokio::test]
async fn r212_guessing_is_throttled_by_name_whoever_guesses_and_says_until_when() {
    let world = two_firms().await;
    give_password(&world, "admin-acme").await;
    let mut guesser = Browser::at(&world);
    for _ in 0..5 {
        assert_eq!(guesser.log_in("admin-acme", "not the password", "").await, 401);
    }
    let locked = guesser.try_log_in("admin-acme", "not the password", "").await;
    assert_eq!(locked.status, 429, "{}", locked.text);
    assert!(locked.text.contains("try again in"), "{}", locked.text);
    let mut owner = Browser::at(&world);
    assert_eq!(
        owner.log_in("admin-acme", PASSWORD, "").await,
        429,
        "also the right one"
    );
    give_password(&world, "owner-acme").await;
    assert_eq!(owner.log_in("owner-acme", PASSWORD, "").await, 303, "nobody else");
    for _ in 0..5 {
        assert_eq!(guesser.log_in("nobody-at-all", "not the password", "").await, 401);
    }
    assert_eq!(
        guesser.log_in("nobody-at-all", "not the password", "").await,
        429,
        "a name that nobody has tells nothing"
    );
    let (_, metrics) = world.portal_admin("/metrics").await;
    assert!(
        metrics.contains("quittance_portal_logins_total{result=\"locked\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn r212_a_write_of_a_session_needs_its_csrf_token_and_a_foreign_form_none_logs_in() {
    let world = two_firms().await;
    let mut browser = logged_in(&world, "admin-acme").await;
    let mut other = logged_in(&world, "owner-acme").await;
    let body = json!({ "reason": "billed twice" });
    let path = "/api/v1/autopay/pause";
    for csrf in ["", "0123", &other.csrf] {
        let request = browser
            .request(Method::POST, path)
            .header("x-csrf-token", csrf)
            .json(&body);
        let answer = browser.send(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "csrf"), "{csrf:?}");
    }
    let bare = browser.request(Method::POST, path).json(&body);
    assert_eq!(browser.send(bare).await.code(), "csrf");
    assert_eq!(browser.submit("/logout", &[("csrf", "0123")]).await.status, 403);
    assert_eq!(
        world
            .count("select count(*) from firms where autopay_paused_at is not null")
            .await,
        0
    );
    assert_eq!(browser.post(path, &body).await.status, 200);
    // The form to log in belongs to the browser that loaded it.
    let mut fresh = Browser::at(&world);
    let forged = [("csrf", other.csrf.as_str()), ("name", "x"), ("password", "y")];
    assert_eq!(fresh.submit("/login", &forged).await.status, 403);
    assert_eq!(other.get("/api/v1/session").await.status, 200);
}

#[tokio::test]
async fn r212_every_answer_says_what_browsers_may_do_with_it_and_no_page_has_a_script_or_a_key() {
    let world = two_firms().await;
    let mut browser = logged_in(&world, "admin-acme").await;
    for path in [
        "/login",
        "/api/billing/",
        "/api/v1/invoices",
        "/api/v1/nothing",
        "/nothing",
        "/assets/style.css",
        "/api/openapi.json",
    ] {
        let answer = browser.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert!(
            answer
                .header("strict-transport-security")
                .contains("max-age=31536000"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        for forbidden in ["<script", "style=", "onclick", "sk_test_", "whsec_", "$argon2id"] {
            assert!(!answer.text.contains(forbidden), "{path}: {forbidden}");
        }
    }
    let (status, ready) = world.portal_admin("/readyz").await;
    assert_eq!(status, 200, "{ready}");
}

#[tokio::test]
async fn r092_an_operator_sees_a_firm_under_break_glass_alone_and_every_look_is_in_its_log() {
    let world = two_firms().await;
    let mut alice = operator(&world, "alice").await;
    let invoices = "/api/v1/invoices?firm=acme";
    assert_eq!(alice.get("/api/v1/invoices").await.code(), "break_glass_required");
    assert_eq!(alice.get(invoices).await.code(), "break_glass_required");
    let session = alice
        .post(
            "/api/v1/break-glass",
            &json!({"firm": "acme", "reason": "ticket 17", "minutes": 30}),
        )
        .await;
    assert_eq!(session.status, 201, "{}", session.text);
    let seen = alice.get(invoices).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert_eq!(seen.json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        alice.get("/api/v1/invoices?firm=other").await.code(),
        "break_glass_required"
    );
    let mut bob = operator(&world, "bob").await;
    assert_eq!(
        bob.get(invoices).await.code(),
        "break_glass_required",
        "not theirs"
    );
    // To look is not to act.
    let void = "/api/v1/invoices/inv-zebra/void?firm=acme";
    assert_eq!(alice.post(void, &json!({"reason": "x"})).await.code(), "role");
    let mut admin = logged_in(&world, "admin-acme").await;
    let page = admin.get("/api/billing/").await;
    assert!(
        page.text.contains("alice may look into this firm"),
        "{}",
        page.text
    );
    let looks =
        "select count(*) from audit_events where action = 'break_glass.accessed' and actor_id = 'alice'
                  and meta ->> 'request' = 'GET /api/v1/invoices'";
    assert_eq!(world.count(looks).await, 1);
    let id = session.json()["id"].as_str().unwrap().to_owned();
    let end = format!("/api/v1/break-glass/{id}/revoke");
    assert_eq!(admin.post(&end, &json!({"reason": "enough"})).await.status, 200);
    assert_eq!(alice.get(invoices).await.code(), "break_glass_required");
}

/// What its login may not do even where somebody else sends the statements: no route does any of this.
#[tokio::test]
async fn r212_p8_the_portals_login_opens_no_door_and_says_nothing_of_money_that_stripe_has_not_said() {
    let world = two_firms().await;
    give_password(&world, "admin-acme").await;
    operator(&world, "alice").await;
    let firm = world
        .texts("select id::text from firms where external_id = 'acme'")
        .await
        .concat();
    let mut conn = world.db.acquire().await.unwrap().detach();
    let run = async |conn: &mut sqlx::PgConnection, sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(conn).await
    };
    run(&mut conn, "set role quittance_portal".into()).await.unwrap();
    let payment = "insert into payments (firm_id, id, client_id, invoice_id, method, stripe_charge_id, external_ref, amount_minor, currency,
                                         received_at, recorded_at, cause)
                   select firm_id, gen_random_uuid(), client_id, null";
    let cases = [
        ("", "update logins set password_hash = password_hash".to_owned()),
        ("", "update logins set totp_secret = totp_secret".to_owned()),
        ("", "delete from logins".to_owned()),
        (
            "",
            "insert into api_tokens (id, firm_id, name, role, token_sha256, created_by, created_at, expires_at)
             values (gen_random_uuid(), null, 'x', 'operator', 'x', 'x', now(), now())"
                .to_owned(),
        ),
        (&firm, "update api_tokens set role = 'owner'".to_owned()),
        (&firm, "update portal_sessions set expires_at = now() + interval '1 year'".to_owned()),
        (
            &firm,
            format!("{payment}, 'stripe', 'ch_made_up', null, 1, currency, now(), now(), 'x' from payments limit 1"),
        ),
        (
            &firm,
            "insert into refunds (firm_id, id, payment_id, amount_minor, currency, destination, state, created_at)
             select firm_id, gen_random_uuid(), id, 1, currency, 'card', 'succeeded', now() from payments limit 1"
                .to_owned(),
        ),
        (
            &firm,
            format!("insert into payment_attempts (firm_id, id, state) values ('{firm}', gen_random_uuid(), 'succeeded')"),
        ),
        // Stopped by the guard of a cycle that has ended before its policy is asked.
        (&firm, "update collection_cycles set state = 'succeeded'".to_owned()),
    ];
    for (of, forbidden) in cases {
        run(
            &mut conn,
            format!("select set_config('app.firm_id', '{of}', false)"),
        )
        .await
        .unwrap();
        run(&mut conn, "begin".into()).await.unwrap();
        let refused = run(&mut conn, forbidden.clone()).await.expect_err(&forbidden);
        let refused = refused.into_database_error().unwrap();
        let code = refused.code().unwrap_or_default().into_owned();
        assert!(
            ["42501", "QT010"].contains(&code.as_str()),
            "{forbidden}: {refused}"
        );
        run(&mut conn, "rollback".into()).await.unwrap();
    }
}

/// Logs in from an address, as the proxy in front says it; the status of the answer.
async fn from_address(browser: &mut Browser, address: &str, password: &str) -> u16 {
    let form = browser.get("/login").await;
    let csrf = between(&form.text, "name=\"csrf\" value=\"", "\"");
    let password = password.replace(' ', "+");
    let request = browser
        .request(Method::POST, "/login")
        .header("x-forwarded-for", address)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("csrf={csrf}&name=admin-acme&password={password}"));
    browser.send(request).await.status
}

#[tokio::test]
async fn r212_strangers_who_guess_lock_nobody_out_and_get_an_attempt_a_minute_between_them() {
    let world = World::start(WorldOptions {
        portal: true,
        env: vec![
            ("PORTAL_RATE_PER_MIN".into(), "1000000".into()),
            ("PORTAL_PROXIES".into(), "1".into()),
        ],
        ..WorldOptions::default()
    })
    .await;
    cast::enter(&world, &[Payer::of("acme", "zebra")], &[]).await;
    let admin = json!({"external_id": "admin-acme", "firm": "acme", "name": "Admin", "role": "admin"});
    world.import(&json!({"users": [admin]})).await;
    give_password(&world, "admin-acme").await;
    let (office, phone) = ("2001:db8:1:2::1", "2001:db8:9:9::1");
    let mut owner = Browser::at(&world);
    assert_eq!(from_address(&mut owner, office, PASSWORD).await, 303);
    // One stranger is stopped by their address, whichever of its /64 they take.
    let mut stranger = Browser::at(&world);
    for host in 1..=5 {
        let address = format!("2001:db8:66:66::{host}");
        assert_eq!(from_address(&mut stranger, &address, "a guess").await, 401);
    }
    let (same, next) = ("2001:db8:66:66:ffff::1", "2001:db8:66:67::1");
    assert_eq!(from_address(&mut stranger, same, PASSWORD).await, 429);
    assert_eq!(
        from_address(&mut owner, office, PASSWORD).await,
        303,
        "not locked out"
    );
    // Many strangers are slowed down together.
    assert_eq!(from_address(&mut stranger, next, "a guess").await, 401);
    for n in 0..14 {
        let address = format!("10.0.{n}.1");
        assert_eq!(from_address(&mut stranger, &address, "a guess").await, 401, "{n}");
    }
    assert_eq!(from_address(&mut stranger, "10.0.99.1", "a guess").await, 429);
    assert_eq!(
        from_address(&mut owner, office, PASSWORD).await,
        303,
        "from where they usually come"
    );
    assert_eq!(
        from_address(&mut owner, phone, PASSWORD).await,
        429,
        "from elsewhere they wait as well"
    );
    let waits =
        "select count(*) from login_throttle where locked_until > clock_timestamp() + interval '61 seconds'";
    assert_eq!(world.count(waits).await, 0, "a minute at most");
}

#[tokio::test]
async fn r212_somebody_sees_where_they_are_logged_in_and_ends_what_is_theirs() {
    let world = two_firms().await;
    let mut desk = logged_in(&world, "admin-acme").await;
    let mut phone = Browser::at(&world);
    assert_eq!(phone.log_in("admin-acme", PASSWORD, "").await, 303);
    let mut other = logged_in(&world, "owner-acme").await;
    let list = desk.get("/api/v1/sessions").await.json();
    let ids: Vec<String> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2, "a second login ends no other session: {list}");
    let page = desk.get("/account").await;
    let forms = page.text.matches("action=\"/account/sessions/").count();
    assert_eq!(forms, 1, "{}", page.text);
    assert!(page.text.contains("This one"), "{}", page.text);
    // The latest comes first: the phone's.
    let end = format!("/api/v1/sessions/{}/end", ids[0]);
    assert_eq!(other.post_nothing(&end).await.code(), "not_found");
    assert_eq!(phone.get("/api/v1/session").await.status, 200);
    let csrf = desk.csrf.clone();
    let form = format!("/account/sessions/{}/end", ids[0]);
    let ended = desk
        .submit(&form, &[("csrf", csrf.as_str()), ("back", "/account")])
        .await;
    assert_eq!(
        (ended.status, ended.header("location")),
        (303, "/account?done=session_ended"),
        "{}",
        ended.text
    );
    assert_eq!(phone.get("/api/v1/session").await.status, 401);
    assert_eq!(desk.get("/api/v1/session").await.status, 200);
    let mut alice = operator(&world, "alice").await;
    let own = alice.get("/api/v1/sessions").await.json();
    assert_eq!(own["data"].as_array().unwrap().len(), 1, "{own}");
    let gone = format!("/api/v1/sessions/{}/end", own["data"][0]["id"].as_str().unwrap());
    assert_eq!(alice.post_nothing(&gone).await.status, 200);
    assert_eq!(alice.get("/api/v1/session").await.status, 401);
}

/// What a connection says until it is closed, or nothing for as long as that may take.
async fn until_closed(world: &World, sent: &[u8]) -> (String, f32) {
    let started = Instant::now();
    let address = world.portal_base().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut said = Vec::new();
    timeout(Duration::from_secs(25), stream.read_to_end(&mut said))
        .await
        .unwrap()
        .unwrap_or_default(); // reset is closed as well
    (
        String::from_utf8_lossy(&said).into_owned(),
        started.elapsed().as_secs_f32(),
    )
}

#[tokio::test]
async fn r212_whoever_dribbles_a_head_or_a_body_is_not_waited_for() {
    let world = World::start(WorldOptions {
        portal: true,
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    let body = b"POST /api/alerts HTTP/1.1\r\nhost: p\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let ((head, head_took), (silence, silent_took), (body, body_took)) = tokio::join!(
        until_closed(&world, b"GET /login HTTP/1.1\r\nhost: p"),
        until_closed(&world, b""),
        until_closed(&world, body),
    );
    assert_eq!((head.as_str(), silence.as_str()), ("", ""));
    assert!(
        (4.5..10.0).contains(&head_took) && (4.5..10.0).contains(&silent_took),
        "{head_took} {silent_took}"
    );
    assert!(
        body.starts_with("HTTP/1.1 408") && body.contains("request_timeout"),
        "{body}"
    );
    assert!((9.5..16.0).contains(&body_took), "{body_took}");
}
