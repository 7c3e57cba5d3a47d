//! Alerts go out (R206, A-25, A-26): once per failure to each place that was named, however the way there fails.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use shared::{
    clock::real_now,
    domain::alert::{AlertType, Topic},
    ids::FirmId,
    store::{
        alerts::{self, NewAlert},
        audit::{Cause, Severity},
    },
};
use tests::{
    receivers::{Hook, Mailbox, Posted},
    world::{CliOutput, World, WorldOptions},
};

use crate::{acme, sdk::Sdk};

/// How much alerts matter, from little to most.
const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];

/// A world with the firms acme and bolt, in which nothing happens by itself that would be told of.
async fn world(env: Vec<(String, String)>) -> World {
    let world = World::start(WorldOptions {
        lease_secs: 5,
        env,
        ..WorldOptions::default()
    })
    .await;
    let mut firms = acme::document(&[]);
    let mut bolt = firms["firms"][0].clone();
    bolt["external_id"] = "bolt".into();
    firms["firms"].as_array_mut().unwrap().push(bolt);
    for firm in firms["firms"].as_array_mut().unwrap() {
        firm["alert_failure_rate_percent"] = 0.into();
        firm["alert_daily_summary"] = false.into();
    }
    world.import(&firms).await;
    world
}

/// Adds a destination: its answer.
async fn add(world: &World, firm: &str, more: &[&str]) -> Value {
    let mut args = vec!["alert", "destination", "add", "--reason", "a story"];
    if !firm.is_empty() {
        args.extend(["--firm-id", firm]);
    }
    args.extend(more);
    world.json(&args).await
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

/// Raises an alert of the firm, or of the platform; returns its id.
async fn raise(world: &World, firm: &str, severity: &str, key: &str) -> String {
    let mut args = vec![
        "alert",
        "raise",
        "--type",
        "AGENT_OFFLINE",
        "--severity",
        severity,
        "--title",
        "Agent offline",
        "--message",
        "No sign of life.",
        "--dedupe-key",
        key,
    ];
    if !firm.is_empty() {
        args.extend(["--firm-id", firm]);
    }
    let id = id(&world.json(&args).await);
    world.settle().await;
    id
}

/// All deliveries, as `edge severity state attempts`, in the order in which they were called for.
async fn deliveries(world: &World) -> Vec<String> {
    world
        .texts("select concat_ws(' ', edge, severity, state, attempts) from alert_deliveries order by created_at, edge")
        .await
}

fn body(posted: &Posted) -> Value {
    serde_json::from_str(&posted.body).unwrap()
}

fn refused(output: &CliOutput, code: i32, part: &str) {
    assert_eq!(output.code, code, "{output}");
    assert!(
        format!("{}{}", output.stdout, output.stderr).contains(part),
        "{output}"
    );
}

/// R206, R209, A-25, A-26, B-23: a declined charge is told once by webhook and once by mail, with nothing of the client in it; the
/// same failure again is not told again; that it got worse is.
#[tokio::test]
async fn r206_a_declined_charge_is_told_once_by_webhook_and_once_by_mail() {
    let (hook, mailbox) = (Hook::start().await.unwrap(), Mailbox::start().await.unwrap());
    let mut env = mailbox.env();
    env.push(("PORTAL_URL".into(), "https://billing.example.com/".into()));
    let world = world(env).await;
    add(&world, "acme", &["--webhook", hook.url()]).await;
    add(&world, "acme", &["--email", "billing@example.com"]).await;
    acme::open_accounts(&world, &[("globex", &["insufficient_funds", "..."])]).await;
    acme::bill(&world, &["globex"], "usd", "1000.00").await;
    world.settle().await;

    let posted = hook.posted();
    assert_eq!(posted.len(), 1, "{posted:?}");
    let told = body(&posted[0]);
    let alert = world.json(&["alert", "list", "--firm-id", "acme"]).await["data"][0].clone();
    for (ours, theirs) in [
        ("id", "id"),
        ("type", "alert_type"),
        ("severity", "severity"),
        ("title", "title"),
        ("message", "message"),
        ("firm", "firm"),
        ("dedupe_key", "dedupe_key"),
    ] {
        assert_eq!(told[ours], alert[theirs], "{ours}");
    }
    assert_eq!(told["event"], "opened");
    assert_eq!(told["url"], "https://billing.example.com/api/alerts/");
    assert_eq!(told["delivery"], posted[0].delivery.as_str());

    let mails = mailbox.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(mails[0].to, ["billing@example.com"]);
    let subject = mails[0].header("Subject").unwrap();
    assert!(subject.starts_with("[info] PAYMENT_FAILED: "), "{subject}");
    for text in [&posted[0].body, &mails[0].text] {
        for name in ["cus_", "pm_", "4242"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }

    // The second failure in a row is only counted; the third is a warning.
    world.advance("3d").await;
    world.settle().await;
    assert_eq!((hook.posted().len(), mailbox.mails().len()), (1, 1));
    world.advance("4d").await;
    world.settle().await;
    assert_eq!((hook.posted().len(), mailbox.mails().len()), (2, 2));
    let worse = body(&hook.posted()[1]);
    assert_eq!(
        (&worse["event"], &worse["severity"]),
        (&json!("worsened"), &json!("warning"))
    );
    assert_eq!(worse["id"], told["id"]);
    assert_eq!(
        deliveries(&world).await,
        [
            "opened info delivered 1",
            "opened info delivered 1",
            "worsened warning delivered 1",
            "worsened warning delivered 1"
        ]
    );
}

/// R206: a receiver in trouble is asked again, later and later, for the same message; once it has taken it, never again.
#[tokio::test]
async fn r206_a_receiver_in_trouble_is_told_the_same_again_until_it_takes_it() {
    let (hook, mailbox) = (Hook::start().await.unwrap(), Mailbox::start().await.unwrap());
    let world = world(mailbox.env()).await;
    let added = add(&world, "acme", &["--webhook", hook.url()]).await;
    add(&world, "acme", &["--email", "billing@example.com"]).await;
    hook.answer(&[500, 503]);
    mailbox.answer(&[451, 452]);
    let alert = raise(&world, "acme", "warning", "agent:1").await;
    assert_eq!(deliveries(&world).await, ["opened warning waiting 1"; 2]);
    let listed = world
        .json(&["alert", "destination", "list", "--firm-id", "acme"])
        .await;
    assert!(listed["data"][0]["failing_since"].is_string(), "{listed}");
    for (wait, attempts) in [("35s", 2), ("70s", 3)] {
        world.advance(wait).await;
        world.settle().await;
        assert_eq!((hook.posted().len(), mailbox.mails().len()), (attempts, attempts));
    }
    assert_eq!(deliveries(&world).await, ["opened warning delivered 3"; 2]);
    world.advance("1d").await;
    world.settle().await;
    let posted = hook.posted();
    assert_eq!(posted.len(), 3);
    assert!(
        posted
            .iter()
            .all(|post| (&post.delivery, &post.body) == (&posted[0].delivery, &posted[0].body))
    );
    let mails = mailbox.mails();
    let ids: Vec<&str> = mails
        .iter()
        .map(|mail| mail.header("Message-ID").unwrap())
        .collect();
    assert_eq!(ids, [ids[0]; 3], "a mail that is sent again is the same mail");
    assert!(ids[0].ends_with("@quittance.example>"), "{ids:?}");
    let listed = world
        .json(&["alert", "destination", "list", "--firm-id", "acme"])
        .await;
    assert_eq!(listed["data"][0]["failing_since"], Value::Null);
    let shown = world.json(&["alert", "deliveries", "--alert", &alert]).await;
    assert_eq!(shown["data"].as_array().unwrap().len(), 2, "{shown}");

    // Over, and there again: a new alert, and told.
    world.json(&["alert", "resolve", &alert]).await;
    raise(&world, "acme", "warning", "agent:1").await;
    assert_eq!(body(&hook.posted()[3])["event"], "reopened");

    // The signature is what Stripe's own libraries verify, made when it was sent.
    let secret = added["secret"].as_str().unwrap();
    for sdk in Sdk::all() {
        let post = &hook.posted()[3];
        let genuine = (post.body.as_str(), post.signature.as_str());
        let changed = post.body.replace("Agent", "Agents");
        let verified = sdk.verify(secret, &[genuine, (changed.as_str(), post.signature.as_str())]);
        let id = body(post)["id"].as_str().unwrap().to_owned();
        assert_eq!(verified, [Some(id), None], "Stripe's library for {}", sdk.name);
        assert_eq!(sdk.verify("whsec_other", &[genuine]), [None]);
    }
}

/// R206, P5: whoever dies between sending and writing it down has it sent again, under the same id, by which the receiver knows it.
#[tokio::test]
async fn r206_p5_a_worker_that_dies_right_after_it_sent_sends_the_same_delivery_again() {
    let hook = Hook::start().await.unwrap();
    let mut world = world(Vec::new()).await;
    add(&world, "acme", &["--webhook", hook.url()]).await;
    hook.hold();
    let raised = [
        "alert",
        "raise",
        "--firm-id",
        "acme",
        "--type",
        "AGENT_OFFLINE",
        "--severity",
        "critical",
        "--title",
        "Agent offline",
        "--message",
        "No sign of life.",
        "--dedupe-key",
        "agent:1",
    ];
    world.json(&raised).await;
    hook.until(1).await;
    world.kill9(0).await;
    hook.release();
    world.add_worker().await;
    hook.until(2).await;
    world.settle().await;
    let posted = hook.posted();
    assert_eq!(
        (&posted[0].delivery, &posted[0].body),
        (&posted[1].delivery, &posted[1].body)
    );
    assert_eq!(posted.len(), 2);
    assert_eq!(deliveries(&world).await, ["opened critical delivered 2"]);
}

/// R206: a receiver that says that it is gone is left alone, on record, until somebody switches it on again.
#[tokio::test]
async fn r206_a_receiver_that_is_gone_is_told_no_more_until_somebody_says_so() {
    let hook = Hook::start().await.unwrap();
    let world = world(Vec::new()).await;
    let destination = id(&add(&world, "acme", &["--webhook", hook.url()]).await);
    hook.answer(&[410]);
    raise(&world, "acme", "warning", "agent:1").await;
    raise(&world, "acme", "warning", "agent:2").await;
    assert_eq!(hook.posted().len(), 1);
    assert_eq!(deliveries(&world).await, ["opened warning dropped 1"]);
    let listed = world
        .json(&["alert", "destination", "list", "--firm-id", "acme"])
        .await;
    assert_eq!(
        listed["data"][0]["disabled_reason"],
        "its receiver answered 410: it wants no more"
    );
    let of_it = [&destination, "--firm-id", "acme"];
    let test = world
        .cli(&[&["alert", "destination", "test"], &of_it[..]].concat())
        .await;
    refused(&test, 4, "it is told nothing");
    let enable = [
        &["alert", "destination", "enable"],
        &of_it[..],
        &["--reason", "is back"],
    ]
    .concat();
    world.json(&enable).await;
    refused(&world.cli(&enable).await, 4, "already");
    raise(&world, "acme", "warning", "agent:3").await;
    assert_eq!(hook.posted().len(), 2);
    world
        .json(&[&["alert", "destination", "test"], &of_it[..]].concat())
        .await;
    assert_eq!(body(&hook.posted()[2])["type"], "TEST");
    let remove = [
        &["alert", "destination", "remove"],
        &of_it[..],
        &["--reason", "closed"],
    ]
    .concat();
    world.json(&remove).await;
    refused(&world.cli(&remove).await, 1, "there is no destination");
    raise(&world, "acme", "warning", "agent:4").await;
    assert_eq!(hook.posted().len(), 3);
    let actions = "select action from audit_events where action like 'alert_destination.%' order by id";
    assert_eq!(
        world.texts(actions).await,
        ["added", "disabled", "enabled", "tested", "removed"].map(|what| format!("alert_destination.{what}"))
    );
}

/// R206, S19: one that refuses for good is given up with its reason, in `jobs`, `doctor` and on the alert. That is an alert, which is
/// told to the others, and never to a place that cannot be told: there is no end to that.
#[tokio::test]
async fn r206_s19_a_failed_delivery_is_told_to_the_others_and_never_in_a_circle() {
    let (bad, good, platform) = (
        Hook::start().await.unwrap(),
        Hook::start().await.unwrap(),
        Hook::start().await.unwrap(),
    );
    let world = world(Vec::new()).await;
    add(&world, "acme", &["--webhook", bad.url()]).await;
    add(
        &world,
        "acme",
        &["--webhook", good.url(), "--min-severity", "critical"],
    )
    .await;
    add(&world, "", &["--webhook", platform.url()]).await;
    bad.answer(&[404; 20]);
    let alert = raise(&world, "acme", "warning", "agent:1").await;
    assert_eq!(bad.posted().len(), 1);
    let told: Vec<Value> = good.posted().iter().map(body).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["dedupe_key"], "job_discarded:deliver_alert");
    let discarded = world.json(&["jobs", "list", "--state", "discarded"]).await;
    let job = discarded["data"][0]["id"].as_str().unwrap().to_owned();
    let shown = world.cli(&["jobs", "show", &job]).await;
    refused(&shown, 0, "the receiver answers 404");
    let doctor = world.cli(&["doctor"]).await;
    refused(&doctor, 3, "alert_destinations");
    let explained = world.cli(&["explain", &alert]).await;
    refused(&explained, 0, "the receiver answers 404");

    // Failing again and again, resolved in between: the place that fails hears of its own failure never.
    for key in ["agent:2", "agent:3"] {
        let open = world
            .texts("select id::text from alerts where dedupe_key like 'job_discarded:%' and not is_resolved")
            .await;
        for alert in &open {
            world.json(&["alert", "resolve", alert]).await;
        }
        raise(&world, "acme", "warning", key).await;
    }
    world
        .json(&["jobs", "retry", &job, "--reason", "once more"])
        .await;
    world.settle().await;
    let about_itself = |hook: &Hook| {
        hook.posted()
            .iter()
            .filter(|post| post.body.contains("job_discarded"))
            .count()
    };
    assert_eq!((about_itself(&bad), about_itself(&platform)), (0, 0));
    assert_eq!(bad.posted().len(), 4, "three alerts, and one once more");
    // It mends: what was given up is sent, and the alert about it ends.
    bad.answer(&[]);
    world
        .json(&[
            "jobs",
            "retry",
            "--kind",
            "deliver_alert",
            "--yes",
            "--reason",
            "mended",
        ])
        .await;
    world.settle().await;
    assert_eq!(
        world
            .count("select count(*) from alert_deliveries where state <> 'delivered'")
            .await,
        0
    );
    assert_eq!(
        world
            .count("select count(*) from alerts where dedupe_key like 'job_discarded:%' and not is_resolved")
            .await,
        0
    );
    assert!(platform.posted().is_empty());
}

/// R206, P8: a firm's destinations hear of that firm, the platform's of what is nobody's; each of what it asked for.
#[tokio::test]
async fn r206_p8_a_firms_destination_hears_of_no_other_firm() {
    let hooks = [
        Hook::start().await.unwrap(),
        Hook::start().await.unwrap(),
        Hook::start().await.unwrap(),
    ];
    let world = world(Vec::new()).await;
    let [of_acme, of_bolt, of_nobody] = &hooks;
    add(&world, "acme", &["--webhook", of_acme.url()]).await;
    add(
        &world,
        "bolt",
        &[
            "--webhook",
            of_bolt.url(),
            "--min-severity",
            "critical",
            "--type",
            "AGENT_OFFLINE",
        ],
    )
    .await;
    add(&world, "", &["--webhook", of_nobody.url()]).await;
    for firm in ["acme", "bolt", ""] {
        for severity in ["info", "critical"] {
            raise(&world, firm, severity, &format!("{firm}:{severity}")).await;
        }
    }
    let heard = |hook: &Hook| -> Vec<String> {
        hook.posted()
            .iter()
            .map(|post| body(post)["dedupe_key"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(heard(of_acme), ["acme:info", "acme:critical"]);
    assert_eq!(heard(of_bolt), ["bolt:critical"]);
    assert_eq!(heard(of_nobody), [":info", ":critical"]);
    assert_eq!(body(&of_nobody.posted()[0])["firm"], Value::Null);
    let listed = world
        .json(&["alert", "destination", "list", "--firm-id", "bolt"])
        .await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let all = world.json(&["alert", "destination", "list"]).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 3);
    // Another firm's is none.
    let theirs = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["firm"] == "bolt")
        .unwrap();
    let remove = [
        "alert",
        "destination",
        "remove",
        theirs["id"].as_str().unwrap(),
        "--firm-id",
        "acme",
        "--reason",
        "x",
    ];
    refused(&world.cli(&remove).await, 1, "there is no destination");
}

/// R206: what is no destination is refused when it is named, and so is who may name none; a secret is shown once.
#[tokio::test]
async fn r206_an_address_inside_a_stranger_and_a_second_time_are_refused() {
    let world = world(Vec::new()).await;
    let hook = Hook::start().await.unwrap();
    world
        .import(&json!({"users": [
            {"external_id": "ada", "firm": "acme", "name": "Ada", "role": "admin"},
            {"external_id": "sam", "firm": "acme", "name": "Sam", "role": "staff"}]}))
        .await;
    let add = [
        "alert",
        "destination",
        "add",
        "--firm-id",
        "acme",
        "--reason",
        "a story",
    ];
    for (more, code, part) in [
        (
            &["--webhook", "https://10.0.0.1/"][..],
            4,
            "this address is private",
        ),
        (
            &["--webhook", "https://169.254.169.254/latest"],
            4,
            "this address is private",
        ),
        (
            &["--webhook", "http://hooks.example.com/"],
            2,
            "give an https:// URL",
        ),
        (
            &["--webhook", "https://me:secret@hooks.example.com/"],
            2,
            "leave user and password out",
        ),
        (&["--email", "billing"], 2, "give the address of one mailbox"),
        (
            &["--email", "a@example.com", "--webhook", "https://b.example.com"],
            2,
            "cannot be used with",
        ),
        (&[], 2, "--webhook"),
        (
            &["--email", "a@example.com", "--by", "sam"],
            4,
            "only an owner or an admin",
        ),
        (
            &["--email", "a@example.com", "--type", "NONE"],
            2,
            "unknown alert type",
        ),
    ] {
        refused(&world.cli(&[&add[..], more].concat()).await, code, part);
    }
    let without_reason = ["alert", "destination", "add", "--email", "a@example.com"];
    refused(&world.cli(&without_reason).await, 2, "--reason");
    let good = [&add[..], &["--webhook", hook.url(), "--by", "ada"]].concat();
    let added = world.json(&good).await;
    let secret = added["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{added}");
    refused(&world.cli(&good).await, 4, "alerts go there already");
    for shown in [
        &["alert", "destination", "list"][..],
        &["audit", "list", "--firm-id", "acme", "--category", "config"],
    ] {
        let shown = world.cli(shown).await;
        assert!(
            shown.stdout.contains("ada") && !shown.stdout.contains(secret),
            "{shown}"
        );
    }
    // Allowed by whoever runs the installation.
    let inside = world
        .command()
        .with_env("ALERT_PRIVATE_NETWORKS", Some("10.0.0.0/8"));
    let inside = inside
        .json(&[&add[..], &["--webhook", "https://10.0.0.1/"]].concat())
        .await;
    inside.unwrap();
    // The worker has a mind of its own.
    raise(&world, "acme", "warning", "agent:1").await;
    let failed = "select last_error from alert_deliveries where state = 'failed'";
    assert_eq!(
        world.texts(failed).await,
        ["its host leads to a private address, which ALERT_PRIVATE_NETWORKS does not allow"]
    );
    // No redirect is followed, to wherever.
    hook.answer(&[302]);
    raise(&world, "acme", "warning", "agent:2").await;
    assert!(hook.posted().iter().all(|post| post.path == "/hook"));
    assert_eq!(
        world
            .count(
                "select count(*) from alert_deliveries where last_error like '%redirects are not followed%'"
            )
            .await,
        1
    );
}

/// R206: without a mail server mails wait, and `doctor` says what is missing; with one they go out.
#[tokio::test]
async fn r206_mails_wait_for_a_mail_server_and_doctor_says_so() {
    let mailbox = Mailbox::start().await.unwrap();
    let mut world = world(Vec::new()).await;
    let destination = id(&add(&world, "acme", &["--email", "billing@example.com"]).await);
    raise(&world, "acme", "warning", "agent:1").await;
    assert_eq!(deliveries(&world).await, ["opened warning waiting 0"]);
    let doctor = world.cli(&["doctor"]).await;
    refused(&doctor, 3, "SMTP_HOST");
    let test = world
        .cli(&["alert", "destination", "test", &destination, "--firm-id", "acme"])
        .await;
    refused(&test, 1, "no mail server is set");
    let waiting = world
        .json(&["alert", "deliveries", "--firm-id", "acme", "--state", "waiting"])
        .await;
    assert!(
        waiting["data"][0]["last_error"]
            .as_str()
            .unwrap()
            .contains("SMTP_HOST"),
        "{waiting}"
    );
    world.sigterm(0).await;
    world.set_env(mailbox.env());
    world.add_worker().await;
    world.advance("10m").await;
    world.settle().await;
    assert_eq!(mailbox.mails().len(), 1);
    world
        .json(&["alert", "destination", "test", &destination, "--firm-id", "acme"])
        .await;
    assert_eq!(mailbox.mails().len(), 2);
    let doctor = world.cli(&["doctor", "--json"]).await.json().unwrap();
    let mail = doctor["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "alert_mail")
        .unwrap();
    assert_eq!(mail["ok"], true, "{doctor}");
    // One that is refused for good is not sent again.
    mailbox.answer(&[550]);
    raise(&world, "acme", "warning", "agent:2").await;
    assert_eq!(mailbox.mails().len(), 3);
    let failed = world
        .json(&["alert", "deliveries", "--firm-id", "acme", "--state", "failed"])
        .await;
    assert_eq!(
        failed["data"].as_array().unwrap().len(),
        2,
        "that, and the first test: {failed}"
    );
    assert!(
        failed["data"][0]["last_error"].as_str().unwrap().contains("550"),
        "{failed}"
    );
}

/// R206: a flood is told piece by piece: what is above the hour's number waits for the next hour, and nothing is lost.
#[tokio::test]
async fn r206_a_flood_is_held_back_and_not_lost() {
    let hook = Hook::start().await.unwrap();
    let world = world(vec![("ALERT_DELIVERIES_PER_HOUR".into(), "2".into())]).await;
    add(&world, "acme", &["--webhook", hook.url()]).await;
    for key in 0..5 {
        raise(&world, "acme", "critical", &format!("agent:{key}")).await;
    }
    assert_eq!(hook.posted().len(), 2);
    for told in [4, 5] {
        world.advance("61m").await;
        world.settle().await;
        assert_eq!(hook.posted().len(), told);
    }
    let delivered = world
        .texts("select distinct concat_ws(' ', state, attempts) from alert_deliveries")
        .await;
    assert_eq!(delivered, ["delivered 1"]);
    world
        .until_metric(
            0,
            "quittance_alert_deliveries_total{channel=\"webhook\",outcome=\"delivered\"}",
            5.0,
            Duration::from_secs(5),
        )
        .await;
}

/// R206, B-23: every sequence of four among being raised at each severity and being resolved, against a model of a few lines: each
/// destination is told of each edge that concerns it once, and of nothing else.
#[tokio::test]
async fn r206_b23_whatever_happens_to_an_alert_each_edge_is_told_once_to_whom_it_concerns() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    world.import(&acme::document(&[])).await;
    for severity in SEVERITIES {
        let address = format!("{severity}@example.com");
        add(&world, "acme", &["--email", &address, "--min-severity", severity]).await;
    }
    let mut conn = world.db.acquire().await.unwrap();
    let firm = sqlx::query_scalar("select id from firms")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    let (firm, now) = (FirmId(firm), real_now());
    sqlx::query("select set_config('app.firm_id', $1, false)")
        .bind(firm.to_string())
        .execute(&mut *conn)
        .await
        .unwrap();
    let steps = SEVERITIES.len() + 1;
    for number in 0..steps.pow(4) {
        let sequence: Vec<usize> = (0..4).map(|place| number / steps.pow(place) % steps).collect();
        let key = format!("sequence:{sequence:?}");
        let mut wanted = Vec::new();
        let (mut open, mut before) = (None::<usize>, false);
        for step in &sequence {
            if *step == SEVERITIES.len() {
                alerts::resolve(&mut conn, firm, now, &[Topic::Named(&key)], "a story")
                    .await
                    .unwrap();
                open = None;
                continue;
            }
            let raised = NewAlert {
                kind: AlertType::AgentOffline,
                severity: [Severity::Info, Severity::Warning, Severity::Critical][*step],
                topic: Topic::Named(&key),
                title: "Agent offline",
                message: "",
                invoice: None,
                related: json!({}),
                cause: &Cause::command(uuid::Uuid::nil()),
            };
            alerts::raise(&mut conn, firm, now, &raised).await.unwrap();
            let edge = match open {
                None if before => "reopened",
                None => "opened",
                Some(was) if *step > was => "worsened",
                Some(_) => continue,
            };
            (open, before) = (Some(*step), true);
            wanted.extend(
                (0..=*step)
                    .map(|told| format!("{edge} {} to {}@example.com", SEVERITIES[*step], SEVERITIES[told])),
            );
        }
        let told = format!(
            "select y.edge || ' ' || y.severity || ' to ' || d.target from alert_deliveries y
               join alerts a on a.id = y.alert_id join alert_destinations d on d.id = y.destination_id
               join jobs j on j.kind = 'deliver_alert' and j.dedupe_key = y.id::text and j.order_key = 'destination:' || d.id
              where a.dedupe_key in ('{key}', 'named:{key}')"
        );
        let mut told = world.texts(&told).await;
        told.sort();
        wanted.sort();
        assert_eq!(told, wanted, "{key}");
    }
}
