//! What keeps the enumeration complete: nothing has an effect except through `shared::failpoint`, every kind of effect that it
//! knows is used, and the stories run every handler.
//!
//! The source is read as text. That is coarse, and enough: whoever adds an effect next to the choke points is asked to go
//! through them, or to say here why not.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::MUST_PASS;

/// Lone statements that write and have no point, by file, and why.
const WITHOUT_A_POINT: [(&str, usize); 5] = [
    // Signs of life: losing one is what a crash is.
    ("worker/src/queue/heartbeat.rs", 2),
    // The lease extended: not getting there is a lost lease, which has its own tests (P5).
    ("worker/src/queue/claim.rs", 1),
    // Stamps taken back when Redis has failed: without it they expire.
    ("worker/src/queue/due.rs", 2),
    // The names of the schedules, and the mode of the installation: written at every start.
    ("worker/src/scheduler/fire.rs", 1),
    ("worker/src/commands/worker.rs", 1),
];

/// Calls of Redis that have no point: a greeting, and the tidying of what expires by itself.
const REDIS_WITHOUT_A_POINT: [(&str, usize); 3] = [
    ("worker/src/queue/gate.rs", 1),
    ("worker/src/queue/lane.rs", 2),
    ("worker/src/commands/doctor.rs", 1),
];

/// Where transactions begin: [`shared::store::Tx`] commits through its point, and so does the stamp.
const BEGINS: [(&str, usize); 2] = [("shared/src/store/db.rs", 3), ("worker/src/queue/due.rs", 1)];

/// Where HTTP is spoken: to receivers of alerts, and to Stripe. (The one between names the library's error.)
const HTTP: [&str; 3] = [
    "worker/src/delivery/webhook.rs",
    "worker/src/stripe/config.rs",
    "worker/src/stripe/transport.rs",
];
/// Where mails are sent.
const MAIL: [&str; 1] = ["worker/src/delivery/mail.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The product's source without its tests: path and text.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec!["worker/src".to_owned(), "ingress/src".into(), "shared/src".into()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if !path.contains("/tests") && !path.contains("_tests") && !path.contains("/test_") {
                let text = read(&path);
                let (code, _) = text.split_once("#[cfg(test)]\nmod tests").unwrap_or((&text, ""));
                sources.push((path, code.to_owned()));
            }
        }
    }
    sources
}

/// The statements that begin with this and end with the next `.await`.
fn statements<'a>(code: &'a str, beginning: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(beginning).map(|(at, _)| {
        let rest = &code[at..];
        &rest[..rest.find(".await").unwrap_or(rest.len())]
    })
}

fn writes_to_the_pool(statement: &str) -> bool {
    let on_the_pool = ["(pool)", "pool())"]
        .iter()
        .any(|executor| statement.contains(executor));
    let writes = ["insert into ", "update ", "delete from ", "pg_notify"];
    on_the_pool && writes.iter().any(|word| statement.contains(word))
}

/// Files with their counts, of those that are not zero.
fn counted(count: impl Fn(&str, &str) -> usize) -> BTreeSet<(String, usize)> {
    sources()
        .into_iter()
        .map(|(path, code)| (path.clone(), count(&path, &code)))
        .filter(|(_, found)| *found > 0)
        .collect()
}

fn listed(list: &[(&str, usize)]) -> BTreeSet<(String, usize)> {
    list.iter()
        .map(|(path, count)| ((*path).to_owned(), *count))
        .collect()
}

#[test]
fn p2_no_commit_goes_around_the_crash_points() {
    let begins =
        |_: &str, code: &str| code.matches("pool.begin()").count() + code.matches(".begin_with(").count();
    assert_eq!(counted(begins), listed(&BEGINS));
    let lone = |_: &str, code: &str| {
        statements(code, "sqlx::query")
            .filter(|statement| writes_to_the_pool(statement) && !statement.contains("failpoint::around("))
            .count()
    };
    assert_eq!(counted(lone), listed(&WITHOUT_A_POINT));
    // The door's one statement, which is a transaction by itself there.
    let committer = read("ingress/src/inbox/committer.rs");
    assert_eq!(committer.matches("insert(&mut kept.conn").count(), 1);
    assert!(committer.contains("failpoint::around(Effect::Commit, stored)"));
    let writes =
        |path: &str, code: &str| usize::from(path.starts_with("ingress/") && code.contains("insert into "));
    assert_eq!(counted(writes), listed(&[]));
}

#[test]
fn p3_no_call_of_stripe_or_redis_goes_around_the_crash_points() {
    let redis = |_: &str, code: &str| {
        let calls = ["query_async", "invoke_async", "push_all("];
        let calls = calls.iter().flat_map(|call| code.match_indices(call));
        calls
            .filter(|(at, _)| {
                // In the statement itself, or in the one that awaits it.
                let begin = code[..*at].rfind([';', '{']).unwrap_or(0);
                let end = code[*at..].find(".await").map_or(code.len(), |end| at + end);
                !code[begin..end].contains("failpoint::around(")
            })
            .count()
    };
    assert_eq!(counted(redis), listed(&REDIS_WITHOUT_A_POINT));
    let http = counted(|_, code| code.matches("reqwest::").count());
    let http: Vec<&str> = http.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(http, HTTP);
    let mail = counted(|_, code| code.matches("lettre::").count());
    let mail: Vec<&str> = mail.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(mail, MAIL);
    for (path, send) in [(HTTP[0], "request.send()"), (MAIL[0], "sending")] {
        let text = read(path);
        assert_eq!(text.matches(".send(").count(), 1, "{path}");
        assert!(
            text.contains(&format!("failpoint::around(Effect::Tell, {send})")),
            "{path}"
        );
    }
    let transport = read("worker/src/stripe/transport.rs");
    assert_eq!(transport.matches(".send(&exchange)").count(), 1);
    assert!(transport.contains("failpoint::around(Effect::Stripe, customized.send(&exchange))"));
}

/// `Effect`'s variants, as points name them.
fn effects() -> BTreeSet<String> {
    let text = read("shared/src/failpoint.rs");
    let (_, rest) = text.split_once("pub enum Effect {").unwrap();
    let (body, _) = rest.split_once('}').unwrap();
    let variants = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    variants.map(str::to_lowercase).collect()
}

/// Kinds of jobs: each has a file of its name.
fn kinds() -> BTreeSet<String> {
    let text = read("worker/src/jobs/mod.rs");
    let modules = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

#[test]
fn p2_the_stories_run_every_handler_and_pass_every_effect() {
    let passed: BTreeSet<&str> = MUST_PASS.iter().flat_map(|list| list.iter().copied()).collect();
    let kinds = kinds();
    assert!(kinds.len() >= 12, "{kinds:?}");
    let wanted = kinds.into_iter().chain(effects());
    let missing: Vec<String> = wanted.filter(|part| !passed.contains(part.as_str())).collect();
    assert!(
        missing.is_empty(),
        "no story in crash_points/mod.rs says that it passes {missing:?}"
    );
}
