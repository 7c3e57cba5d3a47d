//! Schemathesis makes requests out of the description of the API, sensible ones and others, and compares what is answered with what is
//! promised: no failure of ours, no status, type or shape that is not described. Seeded and bounded; `QUITTANCE_TEST_FUZZ_EXAMPLES` says
//! how many requests of each kind it makes up.
//!
//! `tests/run` installs it and says where (`QUITTANCE_TEST_PYTHON`). Where it cannot be had, the story says so and is left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;
use tests::world::World;

use super::{
    matrix::{self, Things},
    token, two_firms,
};
use crate::cast::Payer;

/// What must hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,ignored_auth";
/// Requests that are made up for each operation, besides those that try every limit of its schema.
const EXAMPLES: &str = "3";
/// The same requests every time.
const SEED: &str = "1";
/// In this world the clock stands still, so that what is made up twice is the same.
const MOVES_THE_CLOCK: &str = "/api/v1/clock";
/// Who asks. An operator's words reach what is of no firm.
const CALLERS: [(&str, Option<&str>); 2] = [("owner", Some("acme")), ("operator", None)];

/// A file of settings: most requests about one thing name one that is there.
fn settings(world: &World, things: &Things, dispute: &str) -> String {
    let (mut names, mut operations) = (String::new(), String::new());
    for (n, route) in matrix::routes(world).iter().enumerate() {
        if route.kind != "api" || !route.path.contains("{id}") {
            continue;
        }
        let id = match route.path.contains("/disputes/") {
            true => dispute,
            false => things.id(route),
        };
        writeln!(names, "[dictionaries.d{n}]\nvalues = [{id:?}]").unwrap();
        writeln!(
            operations,
            "[[operations]]\ninclude-path = {:?}\ninclude-method = {:?}\nparameters = {{ \"path.id\" = {{ dictionary = \"d{n}\", probability = 0.7 }} }}",
            route.path, route.method
        )
        .unwrap();
    }
    names + &operations
}

/// The Python that has it.
fn python() -> Option<OsString> {
    let python = std::env::var_os("QUITTANCE_TEST_PYTHON")?;
    let probe = Command::new(&python)
        .args(["-c", "import schemathesis"])
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success()).then_some(python)
}

fn run(python: &OsStr, world: &World, settings: &Path, token: &str) -> (bool, String) {
    let examples = std::env::var("QUITTANCE_TEST_FUZZ_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let done = Command::new(python)
        .current_dir(settings.parent().unwrap()) // it leaves files where it runs
        .args(["-m", "schemathesis.cli"])
        .arg("--config-file")
        .arg(settings)
        .args([
            "--no-color",
            "run",
            &format!("{}/api/openapi.json", world.portal_base()),
        ])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args([
            "--checks",
            CHECKS,
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            &examples,
        ])
        .args([
            "--seed",
            SEED,
            "--workers",
            "2",
            "--no-shrink",
            "--exclude-path",
            MOVES_THE_CLOCK,
            "--continue-on-failure",
        ])
        .args([
            "--generation-database",
            "none",
            "--warnings",
            "off",
            "--suppress-health-check",
            "all",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), said)
}

/// What a client paid is taken back, for good: somebody may decide about it. The dispute.
async fn lose(world: &World, client: &str) -> String {
    let payer = Payer::of("acme", client);
    let order = json!({"payment_intent": payer.intent(world).await, "kind": "chargeback"});
    let dispute = world.sim.tell("/disputes", order).await;
    let dispute = dispute["id"].as_str().unwrap().to_owned();
    world
        .sim
        .tell(&format!("/disputes/{dispute}"), json!({"action": "lose"}))
        .await;
    world.settle().await;
    dispute
}

#[tokio::test]
async fn r212_a31_no_request_makes_the_api_fail_or_answer_what_it_does_not_promise() {
    let Some(python) = python() else {
        eprintln!("skipped: schemathesis is not there; tests/run installs it");
        return;
    };
    let world = two_firms().await;
    let things = Things::of(&world).await;
    let dispute = lose(&world, "yak").await;
    let folder = std::env::temp_dir().join(format!("quittance-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("settings.toml");
    std::fs::write(&file, settings(&world, &things, &dispute)).unwrap();
    let mut failed = String::new();
    for (role, firm) in CALLERS {
        let caller = token(&world, firm, role).await;
        let (ok, said) = run(&python, &world, &file, caller.token());
        eprintln!(
            "{role}: {}",
            said.lines()
                .rev()
                .take(25)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n")
        );
        if !ok {
            failed.push_str(&format!("as {role}: {said}\n"));
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(failed.is_empty(), "{failed}");
    // Whatever was asked: the books are right, and every word is on its list.
    world.settle().await;
}
