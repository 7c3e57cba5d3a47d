//! What Stripe really sends: public samples of events in old API versions, and an example of every resource of today's in
//! an event around it, signed by Stripe's own libraries and sent through the real programs. Each is taken, stored and
//! looked at to its end, whatever it is.
//!
//! The samples are other people's and not part of this repository: docs/CONTRIBUTING.md says where they are looked for.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tests::world::{Door, World, WorldOptions, event, wall_clock_secs};

use crate::{acme, documents, sdk::Sdk};

/// Where the samples are, if not beside the checkout.
const FOLDER_VARIABLE: &str = "QUITTANCE_TEST_STRIPE_EVENTS";
/// Published events at the time of writing. Fewer are a broken copy.
const PUBLISHED: usize = 71;
/// Resources of the API at the time of writing.
const RESOURCES: usize = 176;
/// Several hundred jobs on a machine that may have two cores.
const MANY_JOBS: Duration = Duration::from_secs(120);

/// An event as bytes, under an id that no other sample has.
struct Sample {
    /// File or resource, for messages.
    name: String,
    id: String,
    kind: String,
    /// What the event says of itself; the object in it may say otherwise.
    livemode: bool,
    body: String,
}

impl Sample {
    fn of(name: String, body: String) -> Self {
        let event: Value = serde_json::from_str(&body).unwrap();
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        Self {
            name,
            id: text("id"),
            kind: text("type"),
            livemode: event["livemode"].as_bool().unwrap(),
            body,
        }
    }
}

fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/stripe/events");
    let folder = named.unwrap_or_else(beside);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: no samples in {}; see {FOLDER_VARIABLE}",
        folder.display()
    );
    None
}

/// The published events, byte for byte.
fn originals(folder: &Path) -> Vec<Sample> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("stripe-sync-engine"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= PUBLISHED, "only {} files", files.len());
    let sample = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Sample::of(name, fs::read_to_string(path).unwrap())
    };
    files.iter().map(sample).collect()
}

/// The published events with two changes: every one gets an id of its own, since the publishers reused theirs and would
/// make most of them duplicates; and the one of live mode is of test mode, since an installation takes one mode only.
fn published(folder: &Path) -> Vec<Sample> {
    let sample = |(n, original): (usize, Sample)| {
        let own = format!("{}_{n}", original.id);
        let mut body = original
            .body
            .replacen(&format!("\"{}\"", original.id), &format!("\"{own}\""), 1);
        if original.livemode {
            body = body.replace("\"livemode\": true", "\"livemode\": false");
        }
        let sample = Sample::of(original.name, body);
        assert_eq!((sample.id.as_str(), sample.livemode), (own.as_str(), false));
        sample
    };
    originals(folder).into_iter().enumerate().map(sample).collect()
}

/// Every resource of the current API in an event of the current version; those that we handle, in one of each type.
fn current(folder: &Path) -> Vec<Sample> {
    let text = fs::read_to_string(folder.join("openapi-fixtures3.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let resources = document["resources"].as_object().unwrap();
    assert!(resources.len() >= RESOURCES, "only {}", resources.len());
    let handled = documents::handled_types();
    resources
        .iter()
        .flat_map(|(resource, object)| {
            types_of(resource, object, &handled)
                .into_iter()
                .map(|kind| Sample::of(resource.clone(), event(&kind, object.clone()).to_string()))
        })
        .collect()
}

/// The types of events that tell of a resource.
fn types_of(resource: &str, object: &Value, handled: &BTreeSet<String>) -> Vec<String> {
    let prefixes: &[&str] = match resource {
        "payment_intent" => &["payment_intent."],
        "charge" => &["charge.refunded"],
        "refund" => &["refund.", "charge.refund."],
        "dispute" => &["charge.dispute."],
        "payment_method" => &["payment_method."],
        "invoice" => &["invoice."],
        "subscription" => &["customer.subscription."],
        "checkout.session" => &["checkout.session."],
        _ => &[],
    };
    let of_resource = |kind: &&String| prefixes.iter().any(|prefix| kind.starts_with(prefix));
    let types: Vec<String> = handled.iter().filter(of_resource).cloned().collect();
    if !types.is_empty() {
        return types;
    }
    let object = object["object"].as_str().unwrap();
    let change = match resource.starts_with("deleted_") {
        true => "deleted",
        false => "updated",
    };
    vec![format!("{object}.{change}")]
}

async fn post(world: &World, sample: &Sample, header: &str) -> (u16, Value) {
    let answer = world
        .door
        .post(Door::PATH, sample.body.clone(), Some(header))
        .await
        .unwrap();
    (answer.status, answer.body)
}

/// Each is in the inbox with its type, its bytes and its one job.
async fn assert_stored(world: &World, samples: &[Sample]) {
    let column = |value: fn(&Sample) -> &str| samples.iter().map(value).collect::<Vec<_>>();
    let bodies: Vec<&[u8]> = samples.iter().map(|sample| sample.body.as_bytes()).collect();
    let missing: Vec<String> = sqlx::query_scalar(
        "select s.name || ' ' || s.kind from unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) as s (name, id, kind, body)
          where not exists (
            select from stripe_events e join stripe_event_bodies b using (stripe_event_id)
                   join jobs j on j.kind = 'process_stripe_event' and j.dedupe_key = stripe_event_id
             where stripe_event_id = s.id and e.type = s.kind and b.body = s.body)",
    )
    .bind(column(|sample| &sample.name))
    .bind(column(|sample| &sample.id))
    .bind(column(|sample| &sample.kind))
    .bind(bodies)
    .fetch_all(&world.db)
    .await
    .unwrap();
    assert_eq!(missing, Vec::<String>::new(), "taken and not stored");
    let events = i64::try_from(samples.len()).unwrap();
    assert_eq!(world.count("select count(*) from stripe_events").await, events);
}

/// Every event has come to an end, or waits for its next look, which a job of its own will take.
async fn assert_none_is_lost(world: &World) {
    let lost = world
        .texts(
            "select concat_ws(' ', e.type, e.object_id, e.state, e.state_reason, j.state, j.last_error)
               from stripe_events e left join jobs j on j.kind = 'process_stripe_event' and j.dedupe_key = stripe_event_id
              where not coalesce(case e.state
                      when 'unmatched' then j.state in ('available', 'retryable') and j.run_at > app.now()
                      when 'pending' then false
                      else j.state = 'completed' end, false)",
        )
        .await;
    assert_eq!(lost, Vec::<String>::new(), "neither at an end nor waiting");
    let failed = "select count(*) from jobs where state = 'discarded' or crashes > 0";
    assert_eq!(world.count(failed).await, 0);
}

/// The worker is the process that was started, was never replaced, and both programs are ready.
async fn assert_all_is_well(world: &mut World) {
    let worker = &mut world.workers[0];
    assert!(worker.is_running() && !worker.output().contains("panicked"));
    let pid = worker.pid().to_string();
    assert_eq!(world.texts("select pid::text from workers").await, [pid]);
    for (status, body) in [
        world.worker_admin(0, "/readyz").await,
        world.ingress_admin("/readyz").await,
    ] {
        assert_eq!(status, 200, "{body}");
    }
}

#[tokio::test]
async fn every_published_sample_signed_by_stripes_libraries_is_stored_and_comes_to_an_end() {
    let Some(folder) = folder() else { return };
    let sdks = Sdk::all();
    if sdks.is_empty() {
        return;
    }
    let samples = [published(&folder), current(&folder)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let kinds: BTreeSet<String> = samples.iter().map(|sample| sample.kind.clone()).collect();
    assert!(kinds.is_superset(&documents::handled_types()));

    let mut world = World::start(WorldOptions::default()).await;
    let bodies: Vec<&str> = samples.iter().map(|sample| sample.body.as_str()).collect();
    // The same bytes once by each library: for the second one each is a duplicate.
    for (turn, sdk) in sdks.iter().enumerate() {
        let wanted = match turn {
            0 => json!({ "received": true }),
            _ => json!({ "received": true, "duplicate": true }),
        };
        for (sample, header) in samples.iter().zip(sdk.sign("whsec_world", &bodies)) {
            let answer = post(&world, sample, &header).await;
            assert_eq!(
                answer,
                (200, wanted.clone()),
                "{} {} by {}",
                sample.name,
                sample.kind,
                sdk.name
            );
        }
    }
    assert_stored(&world, &samples).await;
    world.settle_within(MANY_JOBS).await;
    assert_none_is_lost(&world).await;
    assert_all_is_well(&mut world).await;

    // None of them is ours: those that we handle were never guessed, and are a person's after three days.
    world.advance("4d").await;
    world.settle_within(MANY_JOBS).await;
    assert_none_is_lost(&world).await;
    assert_all_is_well(&mut world).await;
    let ends = world
        .texts("select distinct state from stripe_events order by 1")
        .await;
    assert_eq!(ends, ["ignored", "parked"]);
    let handled: Vec<String> = documents::handled_types().into_iter().collect();
    let parked = world
        .texts("select distinct type from stripe_events where state = 'parked' order by 1")
        .await;
    assert_eq!(parked, handled);
}

/// As if all of them were ours, by our records, and Stripe knows none of them: whatever the worker makes of that, no event
/// is lost, and no worker ends.
#[tokio::test]
async fn samples_whose_objects_stripe_does_not_know_are_not_lost_and_crash_nothing() {
    let Some(folder) = folder() else { return };
    let handled = documents::handled_types();
    let mut samples = published(&folder);
    samples.extend(current(&folder));
    samples.retain(|sample| handled.contains(&sample.kind));

    let mut world = World::start(WorldOptions {
        workers: 0,
        ..WorldOptions::default()
    })
    .await;
    world.import(&acme::document(&["globex"])).await;
    for sample in &samples {
        let header = world.door.signature(sample.body.as_bytes(), wall_clock_secs());
        assert_eq!(post(&world, sample, &header).await.0, 200, "{}", sample.name);
    }
    assert_stored(&world, &samples).await;
    // An id with other characters than Stripe's is nobody's.
    let routed = world
        .texts(
            "insert into stripe_routes (stripe_id, kind, firm_id, our_id)
             select distinct s.id, 'payment_intent', f.id, f.id from firms f, stripe_events e
               cross join lateral (values (e.object_id), (e.facts->>'payment_intent'), (e.facts->>'charge')) as s (id)
              where s.id ~ '^[A-Za-z0-9_]+$' returning stripe_id",
        )
        .await;
    assert!(routed.len() > 10, "{routed:?}");
    world.add_worker().await;
    world.settle_within(MANY_JOBS).await;
    let unknown = world
        .sim
        .requests()
        .await
        .unwrap()
        .iter()
        .filter(|call| call["status"] == 404)
        .count();
    assert!(unknown > 10, "only {unknown} were looked for in vain");
    assert_none_is_lost(&world).await;
    assert_all_is_well(&mut world).await;
    world.advance("4d").await;
    world.settle_within(MANY_JOBS).await;
    assert_none_is_lost(&world).await;
    assert_all_is_well(&mut world).await;
}

#[tokio::test]
async fn samples_of_live_mode_are_refused_by_an_installation_in_test_mode() {
    let Some(folder) = folder() else { return };
    let mut live = originals(&folder);
    live.retain(|sample| sample.livemode);
    assert!(!live.is_empty());
    let world = World::start(WorldOptions {
        workers: 0,
        ..WorldOptions::default()
    })
    .await;
    for sample in &live {
        let header = world.door.signature(sample.body.as_bytes(), wall_clock_secs());
        let (status, body) = post(&world, sample, &header).await;
        let wanted = (400, &json!("wrong_mode"));
        assert_eq!((status, &body["error"]["code"]), wanted, "{}", sample.name);
    }
    assert_eq!(world.count("select count(*) from stripe_events").await, 0);
}
