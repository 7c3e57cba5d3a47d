//! What a person does about jobs and queues by command: told why one was given up, run it again, give it up, hold a queue back.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::{
    acme,
    cast::{self, Payer},
};

/// A job fails within this, and a worker comes to a due one.
const SOON: Duration = Duration::from_secs(20);

/// A job of Acme's that cannot succeed, as its payload says nothing, and that is given up at once.
pub async fn hopeless(world: &World, key: &str) -> String {
    let made = world
        .texts(&format!(
            "insert into jobs (id, firm_id, queue, kind, dedupe_key, payload, run_at, created_at)
             select gen_random_uuid(), id, 'maintenance', 'expire_credit', '{key}', '{{}}', app.now(), app.now()
               from firms where external_id = 'acme' returning id::text"
        ))
        .await;
    let discarded = format!(
        "select count(*) from jobs where id = '{}' and state = 'discarded'",
        made[0]
    );
    world.until(&discarded, 1, SOON).await;
    made[0].clone()
}

/// What makes such jobs succeed.
pub async fn mend(world: &World) {
    let mended = "update jobs set payload = jsonb_build_object('firm_id', firm_id) where payload = '{}' and kind = 'expire_credit'
                  returning 'mended'";
    assert!(!world.texts(mended).await.is_empty());
}

async fn state(world: &World, job: &str) -> String {
    world
        .texts(&format!("select state from jobs where id = '{job}'"))
        .await
        .concat()
}

/// The code of a command's refusal, which must end with 4.
async fn refused(world: &World, args: &[&str]) -> String {
    let mut args = args.to_vec();
    args.push("--json");
    let output = world.cli(&args).await;
    assert_eq!(output.code, 4, "{output}");
    let error = output.json().unwrap()["error"].take();
    assert!(error["message"].as_str().unwrap().len() > 20, "{error}");
    error["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_job_that_was_given_up_says_why_and_runs_again_by_hand() {
    let world = World::start(WorldOptions::default()).await;
    world.import(&acme::document(&[])).await;
    let job = hopeless(&world, "by-hand-1").await;
    let open =
        "select count(*) from alerts where dedupe_key = 'job_discarded:expire_credit' and not is_resolved";
    assert_eq!(world.count(open).await, 1);

    let shown = world.json(&["jobs", "show", &job]).await;
    let told = &shown["given_up"];
    assert_eq!(told["reason_code"], "failed_for_good", "{told}");
    assert!(
        told["why"]
            .as_str()
            .unwrap()
            .contains("payload of expire_credit does not parse"),
        "{told}"
    );
    assert!(
        told["meanwhile"].as_str().unwrap().contains("not written off"),
        "{told}"
    );
    let again = format!("quittance jobs retry {job} --reason");
    assert!(told["do"][1].as_str().unwrap().contains(&again), "{told}");
    let text = world.cli(&["jobs", "show", &job]).await;
    assert!(
        text.stdout.contains("GIVEN UP: ") && text.stdout.contains(&again),
        "{text}"
    );
    let explained = world.json(&["explain", &job]).await;
    assert!(explained["do"].to_string().contains(&again), "{explained}");

    // Nobody does this without a word.
    let wordless = world.cli(&["jobs", "retry", &job]).await;
    assert_eq!(wordless.code, 2, "{wordless}");
    assert_eq!(world.cli(&["jobs", "retry", &job, "--reason", " "]).await.code, 2);
    assert_eq!(world.cli(&["jobs", "retry", "--reason", "x"]).await.code, 2);

    mend(&world).await;
    let retried = world
        .json(&["jobs", "retry", &job, "--reason", "payload mended"])
        .await;
    assert_eq!(retried["jobs"][0]["id"], job.as_str(), "{retried}");
    world.settle().await;
    let ended =
        format!("select state || ' after ' || attempt || ' ' || crashes from jobs where id = '{job}'");
    assert_eq!(world.texts(&ended).await, ["completed after 1 0"]);
    assert_eq!(world.count(open).await, 0, "the alert ends with its job");

    let run = retried["run_id"].as_str().unwrap();
    let audited = format!(
        "select concat_ws(' ', action, actor_kind, cause_kind, subject_kind, meta ->> 'reason', meta ->> 'was') from audit_events
          where cause_id = '{run}' and subject_id = '{job}' and actor_id <> ''"
    );
    assert_eq!(
        world.texts(&audited).await,
        ["job.retried operator command job payload mended discarded"]
    );
    let recorded =
        "select concat_ws(' ', action, reason, subject ->> 'jobs') from installation_changes order by id";
    assert_eq!(world.texts(recorded).await, ["job.retried payload mended 1"]);

    // What is done is done.
    for verb in ["retry", "cancel"] {
        assert_eq!(
            refused(&world, &["jobs", verb, &job, "--reason", "again"]).await,
            "job_done"
        );
    }
    assert_eq!(world.texts(recorded).await.len(), 1, "a refusal leaves no trace");
    let unknown = world
        .cli(&[
            "jobs",
            "retry",
            "01a1fda9-ea24-774d-b6db-b813fe0e38c4",
            "--reason",
            "x",
        ])
        .await;
    assert_eq!(unknown.code, 1, "{unknown}");
}

#[tokio::test]
async fn a_filter_shows_how_many_jobs_it_means_and_needs_a_yes() {
    let world = World::start(WorldOptions::default()).await;
    world.import(&acme::document(&[])).await;
    let mut jobs = Vec::new();
    for key in ["by-hand-1", "by-hand-2", "by-hand-3"] {
        jobs.push(hopeless(&world, key).await);
    }
    let filter = [
        "jobs",
        "retry",
        "--kind",
        "expire_credit",
        "--firm-id",
        "acme",
        "--error",
        "does not parse",
        "--reason",
        "mended",
    ];
    let unsure = world.cli(&filter).await;
    assert_eq!(unsure.code, 2, "{unsure}");
    assert!(
        unsure
            .stderr
            .contains("3 job(s) match (3 expire_credit): say --yes"),
        "{unsure}"
    );
    let dry = world.json(&[&filter[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry["jobs"].as_array().unwrap().len(), 3, "{dry}");
    for job in &jobs {
        assert_eq!(state(&world, job).await, "discarded", "nothing was changed");
    }
    mend(&world).await;
    world.json(&[&filter[..], &["--yes"]].concat()).await;
    world.settle().await;
    for job in &jobs {
        assert_eq!(state(&world, job).await, "completed");
    }
    let none = world.json(&[&filter[..], &["--yes"]].concat()).await;
    assert_eq!(none["jobs"], json!([]), "{none}");

    // Those that nobody wants are given up, each with its row in the firm's audit; their alert ends with them.
    for key in ["by-hand-4", "by-hand-5"] {
        jobs.push(hopeless(&world, key).await);
    }
    let canceled = world
        .json(&[
            "jobs",
            "cancel",
            "--kind",
            "expire_credit",
            "--state",
            "discarded",
            "--reason",
            "settled by hand",
            "--yes",
        ])
        .await;
    assert_eq!(canceled["jobs"].as_array().unwrap().len(), 2, "{canceled}");
    for job in &jobs[3..] {
        assert_eq!(state(&world, job).await, "canceled");
        assert_eq!(
            refused(&world, &["jobs", "retry", job, "--reason", "x"]).await,
            "job_canceled"
        );
    }
    let audited = "select count(*) from audit_events where action = 'job.canceled' and meta ->> 'reason' = 'settled by hand'";
    assert_eq!(world.count(audited).await, 2);
    let open =
        "select count(*) from alerts where dedupe_key = 'job_discarded:expire_credit' and not is_resolved";
    assert_eq!(world.count(open).await, 0);
}

/// A job that a worker has in its hands is refused, whether it says so in its state (a charge) or not (an event); what waits
/// needs no help. Afterwards everything has happened once.
#[tokio::test]
async fn p3_a_job_that_runs_is_left_to_its_worker() {
    let world = World::start(WorldOptions::default()).await;
    let payer = Payer::of("firm", "held");
    let hold = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "hold_before" });
    world.sim.fault(hold).await.unwrap();
    cast::enter(&world, std::slice::from_ref(&payer), &[]).await;
    world.until_held(1).await;
    let running = world
        .texts("select id::text from jobs where kind = 'collect_invoice'")
        .await;
    for verb in ["retry", "cancel"] {
        let args = ["jobs", verb, &running[0], "--reason", "impatient"];
        assert_eq!(refused(&world, &args).await, "job_running");
    }
    world.sim.release().await.unwrap();
    world.settle().await;

    // The event's job reads the charge's intent before its transaction begins: its row says available all the while.
    let hold = json!({ "method": "GET", "path": "/v1/payment_intents/*", "kind": "hold_before" });
    world.sim.fault(hold).await.unwrap();
    let mut events = cast::events_of(&world, &payer).await.into_iter();
    let mut again = events
        .find(|event| event["type"] == "payment_intent.succeeded")
        .unwrap();
    again["id"] = "evt_once_more".into();
    world.deliver(&again).await;
    world.until_held(1).await;
    let reading = world
        .texts("select id::text from jobs where dedupe_key = 'evt_once_more' and state = 'available'")
        .await;
    for verb in ["retry", "cancel"] {
        let args = ["jobs", verb, &reading[0], "--reason", "impatient"];
        assert_eq!(refused(&world, &args).await, "job_running");
    }
    world.sim.release().await.unwrap();
    world.settle().await;
    assert_eq!(payer.status(&world).await, "paid");
    assert_eq!(world.count("select count(*) from payments").await, 1);
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), cast::AMOUNT_MINOR);
    assert_eq!(world.count("select count(*) from installation_changes").await, 0);
}

/// Real time of the last begun charge job, counted from the pause.
const BEGUN_AFTER: &str = "select count(*) from jobs j join queue_pauses p on p.queue = j.queue
                            where j.queue = 'charges' and j.started_at > p.paused_at + interval '1 second'";

/// A pause lets no charge begin from a second after it on, on any worker, also one that starts later; webhooks are stored and
/// applied; probes, status and doctor tell of it. Resumed, everybody is charged once.
#[tokio::test]
async fn a_paused_queue_lets_no_job_begin_survives_restarts_and_stops_no_ingestion() {
    let mut world = World::start(WorldOptions {
        workers: 2,
        env: vec![("STRIPE_RATE_PER_SEC".into(), "20".into())],
        ..WorldOptions::default()
    })
    .await;
    let crowd = Payer::crowd("firm", 40);
    cast::enter(&world, &crowd, &[]).await;
    world
        .until(
            "select least(5, count(*)) from payments",
            5,
            Duration::from_secs(60),
        )
        .await;
    let paused = world
        .json(&["queue", "pause", "charges", "--reason", "looking at the totals"])
        .await;
    assert_eq!(
        json!([paused["paused"], paused["changed"]]),
        json!([true, true]),
        "{paused}"
    );
    // What had begun ends, and nothing else begins.
    let running = "select count(*) from jobs where queue = 'charges' and state = 'running'";
    world.until(running, 0, Duration::from_secs(60)).await;
    assert_eq!(world.count(BEGUN_AFTER).await, 0);
    let captured = world.sim.captured_minor("usd").await.unwrap();
    let all = i64::try_from(crowd.len()).unwrap() * cast::AMOUNT_MINOR;
    assert!(captured < all, "everybody was charged before the pause");

    // All workers die, others come: they hold it back too.
    for worker in 0..2 {
        world.kill9(worker).await;
    }
    let worker = world.add_worker().await;
    let (status, ready) = world.worker_admin(worker, "/readyz").await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(
        status, 200,
        "a worker that does what it was told is ready: {ready}"
    );
    let said = ready["checks"]["queue_charges"]["message"].as_str().unwrap();
    assert!(
        said.starts_with("paused since") && said.ends_with("looking at the totals"),
        "{said}"
    );
    let (status, lines) = world.worker_admin(worker, "/readyz?verbose").await;
    let line = format!("[+]queue_charges ok: {said}\n");
    assert!(
        status == 200 && lines.contains(&line) && lines.ends_with("readyz check passed\n"),
        "{lines}"
    );

    // What Stripe tells meanwhile is stored and applied.
    let paid = world
        .texts("select stripe_payment_intent_id from payments order by 1 limit 1")
        .await;
    let refund = json!({ "payment_intent": paid[0], "amount": 100 });
    world.sim.post("/refunds", refund).await.unwrap();
    world
        .until("select count(*) from refunds", 1, Duration::from_secs(60))
        .await;
    assert_eq!(world.count(BEGUN_AFTER).await, 0);
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), captured);

    let status = world.json(&["queue", "status"]).await;
    let charges = status["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["queue"] == "charges")
        .unwrap();
    assert_eq!(charges["paused"]["reason"], "looking at the totals", "{charges}");
    assert!(charges["due"].as_i64().unwrap() > 0, "{charges}");
    let text = world.cli(&["queue", "status"]).await;
    assert!(text.stdout.contains("looking at the totals"), "{text}");
    let doctor = world.cli(&["doctor", "--json"]).await;
    assert_eq!(doctor.code, 3);
    let checks = doctor.json().unwrap()["checks"].take();
    let check = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "paused_queues")
        .unwrap()
        .clone();
    assert_eq!(check["ok"], false);
    assert!(
        check["value"].as_str().unwrap().contains("looking at the totals"),
        "{check}"
    );
    assert!(
        check["do"].as_str().unwrap().contains("quittance queue resume"),
        "{check}"
    );
    world
        .until_metric(worker, "quittance_queue_paused{queue=\"charges\"}", 1.0, SOON)
        .await;

    // Again is no change; the first reason stands. A queue that there is not is a wrong call.
    let again = world
        .json(&["queue", "pause", "charges", "--reason", "really"])
        .await;
    assert_eq!(again["changed"], false);
    assert_eq!(
        world.texts("select reason from queue_pauses").await,
        ["looking at the totals"]
    );
    for wrong in [
        &["queue", "pause", "charges"][..],
        &["queue", "pause", "refunds", "--reason", "x"],
        &["queue", "resume", "charges", "--reason", ""],
    ] {
        assert_eq!(world.cli(wrong).await.code, 2, "{wrong:?}");
    }

    let resumed = world
        .json(&["queue", "resume", "charges", "--reason", "they are right"])
        .await;
    assert_eq!(
        json!([resumed["paused"], resumed["changed"]]),
        json!([false, true]),
        "{resumed}"
    );
    world.settle_within(Duration::from_secs(120)).await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), all);
    assert_eq!(
        world.count("select count(*) from payments").await,
        i64::try_from(crowd.len()).unwrap()
    );
    let changes = "select concat_ws(' ', action, subject ->> 'queue', reason, (changed_by <> '')::text) from installation_changes order by id";
    assert_eq!(
        world.texts(changes).await,
        [
            "queue.paused charges looking at the totals true",
            "queue.resumed charges they are right true"
        ]
    );
    let idle = world
        .json(&["queue", "resume", "charges", "--reason", "once more"])
        .await;
    assert_eq!(idle["changed"], false);
}
