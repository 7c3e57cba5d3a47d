//! What is written down of a firm's business beside the business itself: nothing of what its events say in words, not even
//! at the most talkative setting of the logs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::json;
use tests::world::{Program, World, WorldOptions};

use crate::acme;

/// What an event says in words; only its signed bytes may hold it.
const CONTENT: &str = "hush-what-the-event-says";

/// What people are called; only the rows of firms, clients and users may hold it.
const NAME: &str = "hush-what-they-are-called";

/// Where names belong.
const NAMED: [&str; 3] = ["firms", "clients", "users"];

/// R002, R060, A-30, A-29: an event that is full of words, in a type that we handle and one that we do not, while the logs say all
/// that they can say.
#[tokio::test]
async fn r002_no_content_reaches_a_log_or_a_table() {
    let world = World::start(WorldOptions {
        env: vec![("RUST_LOG".into(), "debug".into())],
        ..WorldOptions::default()
    })
    .await;
    acme::open_accounts(&world, &[("globex", &[]), ("initech", &["insufficient_funds"])]).await;
    let clients = ["globex", "initech"];
    let mut document = acme::document(&clients);
    document["firms"][0]["name"] = NAME.into();
    for client in document["clients"].as_array_mut().unwrap() {
        client["name"] = NAME.into();
    }
    document["users"] = json!([{"external_id": "ada", "firm": "acme", "name": NAME, "role": "admin"}]);
    world.import(&document).await;
    acme::bill_as_known(&world, &clients, "1000.00").await;
    world.settle().await;
    let events = world.sim.events().await.unwrap();
    assert!(events.len() >= 2, "{events:?}");
    for (n, event) in events.iter().enumerate() {
        let mut told = event.clone();
        told.as_object_mut().unwrap().remove("sim");
        for (kind, id) in [
            (event["type"].clone(), "known"),
            (json!("thing.happened"), "unknown"),
        ] {
            told["id"] = format!("evt_{id}_{n}").into();
            told["type"] = kind;
            let object = &mut told["data"]["object"];
            for words in ["description", "receipt_email", "statement_descriptor"] {
                object[words] = format!("{CONTENT}@example.com").into();
            }
            object["billing_details"] =
                json!({ "name": CONTENT, "email": CONTENT, "address": { "line1": CONTENT } });
            object["metadata"]["note"] = CONTENT.into();
            world.deliver(&told).await;
        }
    }
    world.settle().await;
    let stored = format!(
        "select count(*) from stripe_event_bodies where position(convert_to('{CONTENT}', 'UTF8') in body) > 0"
    );
    assert!(world.count(&stored).await >= 4, "it did arrive");

    let talkative = |worker: &Program| worker.output().contains("DEBUG");
    assert!(world.workers.iter().all(talkative));
    for program in world.ingress.iter().chain(&world.workers) {
        let log = program.output();
        for word in [
            CONTENT,
            NAME,
            "cus_globex",
            "sk_test_",
            "whsec_",
            "4242424242424242",
        ] {
            let line = log.lines().find(|line| line.contains(word));
            assert_eq!(line, None, "{} tells {word}", program.name());
        }
    }
    let tables = world
        .texts("select c.relname::text from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')")
        .await;
    assert!(tables.len() > 20, "{tables:?}");
    for table in tables {
        for (word, is_home) in [(CONTENT, false), (NAME, NAMED.contains(&table.as_str()))] {
            let told = format!("select count(*) from {table} t where position('{word}' in t::text) > 0");
            assert_eq!(world.count(&told).await > 0, is_home, "{word} in {table}");
        }
    }
}

/// R084: one setting makes a part of the product talk, and nothing else; its calls are told without their content.
#[tokio::test]
async fn r084_a_setting_shows_every_call_to_stripe_and_no_secret() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    for (setting, calls) in [("info", 0), ("info,quittance::stripe=debug", 2)] {
        let command = world.command().with_env("RUST_LOG", Some(setting));
        let output = command.run(&["doctor"]).await.unwrap();
        let told: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| line.contains("DEBUG"))
            .collect();
        let answered = told
            .iter()
            .filter(|line| line.contains("Stripe answered"))
            .count();
        assert_eq!((answered, told.len()), (calls, calls), "{setting}: {output}");
        assert!(!output.stderr.contains("sk_test_"), "{output}");
    }
}
