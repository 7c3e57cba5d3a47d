//! What the files for operators say of the programs is so: settings with their defaults, the time that a worker needs to stop. The rest
//! of `deploy/` is checked by `deploy/check`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use super::documents::{between, read, root, sources};

/// What an operator is led to, from the handbook.
const FOR_OPERATORS: [&str; 8] = [
    "INSTALL.md",
    "CONFIGURE.md",
    "STRIPE.md",
    "SECRETS.md",
    "UPGRADE.md",
    "BACKUP.md",
    "SIZING.md",
    "RUNBOOK.md",
];

/// One row of the table in `docs/CONFIGURE.md`.
struct Row {
    is_secret: bool,
    read_by: String,
    default: String,
}

fn configured() -> BTreeMap<String, Row> {
    let text = read("docs/CONFIGURE.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let cell = |n: usize| cells.get(n).copied();
        let (name, readers, default, meaning) = (cell(1)?, cell(2)?, cell(3)?, cell(4)?);
        assert!(!meaning.is_empty(), "{name} has no meaning");
        let row = Row {
            is_secret: name.ends_with('●'),
            read_by: readers.to_owned(),
            default: default.to_owned(),
        };
        Some((between(name, '`', '`').next()?.to_owned(), row))
    });
    rows.collect()
}

/// Names of variables in the source: quoted, in capitals, with an underscore that is not the first of it.
fn is_setting(name: &&str) -> bool {
    name.len() > 3
        && name.contains('_')
        && !name.starts_with('_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// What libraries read under names of their own (`RUST_LOG`, `OTEL_…`) has a row too.
#[test]
fn every_setting_that_is_read_has_its_row_in_configure_and_every_row_a_reader() {
    let code = sources(&["ingress/src", "shared/src", "worker/src", "portal/src"]);
    let words = sources(&["shared/src/domain"]);
    let rows = configured();
    let settings: BTreeSet<&str> = between(&code, '"', '"')
        .filter(is_setting)
        .filter(|name| !name.starts_with("CARGO_") && !name.starts_with("QUITTANCE_TEST_"))
        .filter(|name| !words.contains(&format!("= \"{name}\",")))
        .collect();
    for name in &settings {
        assert!(
            rows.contains_key(*name),
            "docs/CONFIGURE.md has no row for {name}"
        );
    }
    for (name, row) in &rows {
        assert!(
            code.contains(&format!("\"{name}\"")) || name == "RUST_LOG" || name.starts_with("OTEL_"),
            "nobody reads {name}"
        );
        let letters = row
            .read_by
            .split(' ')
            .all(|letter| ["i", "w", "m", "c", "p"].contains(&letter));
        assert!(
            letters && !row.read_by.is_empty(),
            "{name} is read by {:?}",
            row.read_by
        );
    }
    assert!(rows.len() > 18, "only {} rows", rows.len());
}

#[test]
fn a_default_in_configure_is_the_one_of_the_source_and_of_the_help() {
    let code = sources(&["ingress/src", "shared/src", "worker/src", "portal/src"]);
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let after = |path: &str, constant: &str| {
        let help = read(path);
        let help = help.split_once(constant).unwrap().1;
        help.split_once("\";").unwrap().0.to_owned()
    };
    let helps = [
        ("i", after("ingress/src/config.rs", "pub const ENVIRONMENT")),
        ("w", after("worker/src/commands/worker.rs", "pub const HELP")),
    ];
    let mut compared = 0;
    for (name, row) in configured() {
        let default = row.default.trim_matches('`');
        if default.chars().all(|c| c.is_ascii_digit()) {
            compared += 1;
            assert!(
                code.contains(&format!("\"{name}\", {default}")),
                "the source has another default for {name} than {default}"
            );
        }
        for (reader, help) in &helps {
            let told = help
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{name} ")));
            if let Some(told) = told.and_then(|line| between(line, '[', ']').last()) {
                compared += 1;
                // The help names the program that the document has in a column of its own, and marks no words.
                assert_eq!(told, default.replace('`', ""), "{name} in the help of {reader}");
            }
            let reads = row.read_by.split(' ').any(|letter| letter == *reader);
            // What only names a program for others is left to the document.
            let is_for_others = name.starts_with("OTEL_SERVICE");
            assert!(
                told.is_some() == reads || is_for_others,
                "{name}: in the help of {reader}: {}, in docs/CONFIGURE.md: {reads}",
                told.is_some()
            );
        }
    }
    assert!(compared > 20, "only {compared} defaults were compared");
}

#[test]
fn what_may_come_from_a_file_is_the_same_in_configure_and_readme() {
    let readme = read("README.md");
    let marked: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .filter(|cell| cell.contains('●'))
        .filter_map(|cell| Some(between(cell, '`', '`').next()?.to_owned()))
        .collect();
    let secret: BTreeSet<String> = configured()
        .into_iter()
        .filter(|(_, row)| row.is_secret)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(secret, marked);
}

#[test]
fn the_handbook_leads_to_every_document_for_operators() {
    let index = read("docs/README.md");
    for document in FOR_OPERATORS {
        assert!(
            index.contains(&format!("({document})")),
            "docs/README.md does not lead to {document}"
        );
        assert!(
            read(format!("docs/{document}")).starts_with("# "),
            "{document} has no title"
        );
    }
}

/// `deploy/checks/manifests.py` holds every pod's grace period against what a program needs to stop; this holds that against the source.
#[test]
fn the_time_that_a_worker_needs_to_stop_is_what_the_manifests_are_checked_against() {
    let pool = read("worker/src/queue/pool.rs");
    let last_words = pool
        .split_once("const LAST_WORDS: Duration = Duration::from_secs(")
        .unwrap()
        .1;
    let last_words: u64 = last_words.split_once(')').unwrap().0.parse().unwrap();
    let drain = pool.split_once("pub async fn drain").unwrap().1;
    let drain = drain.split_once("sign_off").unwrap().0;
    assert_eq!(
        drain.matches("timeout(LAST_WORDS").count(),
        2,
        "the drain waits elsewhere too"
    );
    assert!(drain.contains("[&mut self.intake, &mut self.lanes, &mut self.upkeep]"));
    let telemetry = read("shared/src/telemetry.rs");
    let spans = telemetry
        .split_once("const LAST_SPANS: Duration = Duration::from_secs(")
        .unwrap()
        .1;
    let spans: u64 = spans.split_once(')').unwrap().0.parse().unwrap();
    // Once for jobs that were cut off, once for each of three kinds of loops; then the last spans.
    let afterwards = last_words * 4 + spans;
    let checked = read("deploy/checks/manifests.py");
    assert!(
        checked.contains(&format!(
            "AFTERWARDS = {{\"ingress\": {spans}, \"portal\": {spans}, \"worker\": {afterwards}}}"
        )),
        "a worker needs {afterwards} s after its grace"
    );
}

/// Scripts that documents tell operators to run can be run.
#[test]
fn every_script_for_operators_is_there_and_may_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut named = BTreeSet::new();
    for document in FOR_OPERATORS {
        let text = read(format!("docs/{document}"));
        for word in text.split(|c: char| c.is_whitespace() || "`()'\"".contains(c)) {
            let is_path = word.starts_with("deploy/") && !word.ends_with('/') && !word.contains(['*', '…']);
            // Those are put there by the operator.
            let is_path = is_path && !word.contains("/secrets/stripe_");
            if is_path {
                named.insert(word.trim_end_matches([',', '.', ';', ':']).to_owned());
            }
        }
    }
    assert!(named.contains("deploy/backup/drill"), "{named:?}");
    for path in named {
        let full = root().join(&path);
        let kind = full.metadata().unwrap_or_else(|e| panic!("{path}: {e}"));
        let is_script = kind.is_file() && full.extension().is_none() && !path.ends_with("Dockerfile");
        let runs = kind.permissions().mode() & 0o111 != 0;
        assert!(
            !is_script || runs || path.ends_with("crontab"),
            "{path} cannot be run"
        );
    }
}
