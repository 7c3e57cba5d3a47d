//! What the documents name exists, and what exists is named: tests, jobs, event types, settings, files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use shared::domain::{
    alert::AlertType,
    explain::reasons::{self, REASONS},
};

/// Folders with sources of ours.
pub const SOURCES: [&str; 5] = ["ingress", "shared", "worker", "portal", "tests"];

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file of the repository.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All files below `folder` whose names end with `ending`.
pub fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

/// All sources of these folders, one after the other.
pub fn sources(folders: &[&str]) -> String {
    let mut found = Vec::new();
    for folder in folders {
        files(&root().join(folder), ".rs", &mut found);
    }
    found
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// README and everything in `docs/`.
pub fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    files(&root().join("docs"), ".md", &mut found);
    found
}

/// What stands between two marks, wherever both are on one line.
pub fn between(text: &str, open: char, close: char) -> impl Iterator<Item = &str> {
    text.lines().flat_map(move |line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            let (_, after) = rest.split_once(open)?;
            let (inside, after) = after.split_once(close)?;
            rest = after;
            Some(inside)
        })
    })
}

fn is_made_of(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(allowed)
}

#[test]
fn a_test_that_keeps_an_invariant_exists() {
    let code = sources(&SOURCES);
    let text = read("docs/ARCHITECTURE.md");
    let mut named = 0;
    for paragraph in text.split("\n\n").filter(|p| p.starts_with("**Invariant")) {
        let Some((_, kept_by)) = paragraph.split_once("ept by") else {
            assert!(
                paragraph.contains("By construction") || paragraph.contains("By the schema"),
                "names neither a test nor says that there is none: {paragraph}"
            );
            continue;
        };
        for name in between(kept_by, '`', '`') {
            named += 1;
            assert!(code.contains(&format!("fn {name}(")), "there is no test {name}");
        }
    }
    assert!(named > 20, "only {named} tests found in the document");
}

/// Every test of a promise, every deliberate bug and its test are there, and `tests/sabotage` has the same bugs and tests.
#[test]
fn every_guarantee_names_tests_and_deliberate_bugs_that_exist() {
    let code = sources(&SOURCES);
    let text = read("docs/GUARANTEES.md");
    let made_by_a_macro = read("tests/it/crash_points/mod.rs");
    let promises: Vec<&str> = text.split("\n## P").skip(1).collect();
    assert_eq!(promises.len(), 10);
    let is_name = |text: &&str| {
        text.len() > 24 && is_made_of(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let mut sabotages = BTreeSet::new();
    for promise in promises {
        let (number, _) = promise.split_once('.').unwrap();
        let names: Vec<&str> = between(promise, '`', '`').filter(is_name).collect();
        assert!(!names.is_empty(), "P{number} names no test");
        for name in names {
            assert!(
                code.contains(&format!("fn {name}(")) || made_by_a_macro.contains(&format!(" {name}: ")),
                "there is no test {name}"
            );
        }
        for bug in promise.split("Deliberate bug `").skip(1) {
            let (name, rest) = bug.split_once('`').unwrap();
            let found_by = between(rest, '`', '`').find(is_name).unwrap();
            assert!(
                name.starts_with(&format!("p{number}_")),
                "{name} is not P{number}'s"
            );
            sabotages.insert((name.to_owned(), found_by.to_owned()));
        }
    }
    let played: BTreeSet<(String, String)> = read("tests/sabotage")
        .lines()
        .filter_map(|line| {
            let mut parts = line.split('|');
            let (bug, test) = (parts.next()?, parts.next()?);
            bug.starts_with('p').then(|| (bug.to_owned(), test.to_owned()))
        })
        .collect();
    assert_eq!(sabotages, played);
    let armed = read("shared/src/sabotage.rs");
    for (bug, _) in &played {
        assert!(
            armed.contains(&format!("(\"{bug}\", Sabotage::")),
            "there is no {bug}"
        );
    }
    assert_eq!(armed.matches("\", Sabotage::").count(), played.len());
}

#[test]
fn a_test_that_shows_a_guard_met_by_a_command_exists() {
    let code = sources(&SOURCES);
    let text = read("docs/GUARDS.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells: String = rows
        .map(|row| format!("{}\n", row.rsplit_once(" | ").unwrap().1))
        .collect();
    let is_test = |name: &&str| {
        name.matches('_').count() > 3 && is_made_of(name, |c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut named = 0;
    for name in between(&cells, '`', '`').filter(is_test) {
        named += 1;
        assert!(code.contains(&format!("fn {name}(")), "there is no test {name}");
    }
    assert!(named > 10, "only {named} tests found in the document");
}

#[test]
fn every_job_has_an_entry_and_every_entry_a_job() {
    let code = sources(&["worker/src", "shared/src"]);
    let described: BTreeSet<_> = read("docs/JOBS.md")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("### `")?.strip_suffix('`')?.to_owned()))
        .collect();
    for kind in &described {
        assert!(code.contains(&format!("= \"{kind}\";")), "there is no job {kind}");
    }
    let registered = read("worker/src/jobs/mod.rs");
    let registered =
        registered.matches("transactional::<").count() + registered.matches("external::<").count();
    assert_eq!(described.len(), registered, "described: {described:?}");
}

fn is_event_type(text: &&str) -> bool {
    text.contains('.') && is_made_of(text, |c| c.is_ascii_lowercase() || c == '_' || c == '.')
}

/// The event types that the worker does something about, from its source.
pub fn handled_types() -> BTreeSet<String> {
    let code = read("worker/src/events/mod.rs");
    let family = code.split_once("pub fn family").unwrap().1;
    let family = family.split_once("_ => return None").unwrap().0;
    between(family, '"', '"')
        .filter(is_event_type)
        .map(str::to_owned)
        .collect()
}

/// The types in one of the lists that a backfill asks Stripe for.
fn asked_types(list: &str) -> BTreeSet<String> {
    let code = read("worker/src/events/mod.rs");
    let types = code.split_once(&format!("pub const {list}")).unwrap().1;
    let types = types.split_once("];").unwrap().0;
    between(types, '"', '"').map(str::to_owned).collect()
}

/// The types that only platform billing has; `platform/events.rs` plays them.
pub fn platform_types() -> BTreeSet<String> {
    asked_types("OF_PLATFORM")
}

#[test]
fn every_handled_event_type_is_in_the_table_and_no_other() {
    let text = read("docs/EVENTS.md");
    let rows: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    let first_cells: String = rows
        .iter()
        .map(|row| format!("`{}\n", row.split_once('|').unwrap().0))
        .collect();
    let described: BTreeSet<_> = between(&first_cells, '`', '`')
        .filter(is_event_type)
        .map(str::to_owned)
        .collect();
    assert_eq!(described, handled_types());
}

#[test]
fn a_backfill_asks_for_every_handled_type_and_for_no_more_than_stripe_allows() {
    let mut asked = BTreeSet::new();
    for list in ["HANDLED", "OF_PLATFORM"] {
        let types = asked_types(list);
        assert!(types.len() <= 20, "Stripe takes twenty types per call");
        asked.extend(types);
    }
    assert_eq!(asked, handled_types());
}

#[test]
fn every_setting_that_is_read_is_in_the_configuration_table() {
    let code = sources(&["ingress/src", "shared/src", "worker/src", "portal/src"]);
    let readme = read("README.md");
    let words = [
        "shared/src/domain/alert.rs",
        "shared/src/domain/platform/status.rs",
    ]
    .map(read)
    .concat();
    let settings: BTreeSet<_> = between(&code, '"', '"')
        .filter(|text| {
            text.contains('_')
                && text.starts_with(|c: char| c.is_ascii_uppercase())
                && is_made_of(text, |c| c.is_ascii_uppercase() || c == '_')
        })
        .filter(|name| !name.starts_with("CARGO_") && !name.starts_with("QUITTANCE_TEST_"))
        .filter(|name| !words.contains(&format!("= \"{name}\",")))
        .collect();
    assert!(settings.contains("STRIPE_WEBHOOK_SECRET"), "{settings:?}");
    for name in settings {
        assert!(
            readme.contains(&format!("`{name}`")),
            "README.md does not explain {name}"
        );
    }
}

#[test]
fn every_source_file_that_is_named_exists() {
    let mut code = Vec::new();
    for folder in SOURCES.iter().chain(&["migrations"]) {
        files(&root().join(folder), "", &mut code);
    }
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for named in between(&text, '`', '`').filter(|t| t.ends_with(".rs") || t.ends_with(".sql")) {
            let is_pattern = named.contains(['{', '*']) || named.chars().any(|c| c.is_ascii_uppercase());
            let ending = format!("/{named}");
            assert!(
                is_pattern || code.iter().any(|path| path.to_string_lossy().ends_with(&ending)),
                "{}: there is no {named}",
                document.display()
            );
        }
    }
}

#[test]
fn every_link_leads_to_a_file() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.0.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{}: {target} does not exist", document.display());
        }
    }
}

#[test]
fn every_decision_is_in_the_list() {
    let list = read("docs/decisions/README.md");
    let mut decisions = Vec::new();
    files(&root().join("docs/decisions"), ".md", &mut decisions);
    for decision in decisions {
        let name = decision.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            name == "README.md" || list.contains(&format!("({name})")),
            "{name} is not listed"
        );
    }
}

/// The rows of a document's tables whose first cell begins with a word in quotes: the word and the second cell.
fn rows(document: &str) -> BTreeMap<String, String> {
    let text = read(document);
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| {
        let (word, rest) = row.split_once('`')?;
        let second = rest.split('|').nth(1)?;
        Some((word.to_owned(), second.trim().to_owned()))
    });
    cells.collect()
}

#[test]
fn p10_every_reason_is_in_the_table_with_its_text_and_no_other() {
    let described = rows("docs/EXPLAIN.md");
    let written: BTreeMap<String, String> = REASONS
        .iter()
        .map(|reason| (reason.code.to_owned(), reason.text.to_owned()))
        .collect();
    assert_eq!(described, written);
}

/// Reasons that other documents name are reasons.
#[test]
fn p10_a_reason_that_a_job_is_said_to_give_is_one() {
    let text = read("docs/JOBS.md");
    let outcomes = text
        .lines()
        .filter(|line| line.contains("why nothing was charged") || line.contains("what followed"));
    let named: String = outcomes
        .flat_map(|line| line.split('(').skip(1))
        .filter_map(|rest| Some(format!("{}\n", rest.split_once(')')?.0)))
        .collect();
    let codes: Vec<&str> = between(&named, '`', '`')
        .filter(|word| is_made_of(word, |c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    assert!(codes.contains(&"autopay_paused"), "{codes:?}");
    let unknown: Vec<&&str> = codes
        .iter()
        .filter(|code| reasons::find(code).is_none())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_alert_is_in_the_table_and_every_type_is_named() {
    let described: BTreeSet<String> = rows("docs/ALERTS.md").into_keys().collect();
    let code = read("shared/src/domain/alert.rs");
    let keys = code.split_once("pub fn key").unwrap().1;
    let mut raised: BTreeSet<String> = between(keys, '"', '"')
        .map(|key| key.split(':').next().unwrap().to_owned())
        .collect();
    let triggers = read("migrations/0019_alerts_of_jobs_and_pauses.sql");
    assert!(triggers.contains("'job_discarded:'"));
    raised.insert("job_discarded".to_owned());
    assert_eq!(described, raised);
    let text = read("docs/ALERTS.md");
    for kind in AlertType::ALL {
        assert!(
            text.contains(&format!("`{kind}`")),
            "docs/ALERTS.md does not name {kind}"
        );
    }
}

/// The chapters of the handbook, in its order.
const CHAPTERS: [&str; 10] = [
    "DATA-MODEL.md",
    "DEFAULTS.md",
    "ONCE.md",
    "TERMS-AND-TIME.md",
    "CREDITS.md",
    "AUTOPAY.md",
    "DISPUTES.md",
    "RENEWALS.md",
    "TESTS.md",
    "SCOPE.md",
];

/// R052, R117: the handbook leads to ten chapters, each of which shows commands; the README leads to the handbook and to them.
#[test]
fn r052_r117_the_ten_chapters_of_the_handbook_are_there_in_order() {
    let (index, readme) = (read("docs/README.md"), read("README.md"));
    assert!(
        readme.contains("(docs/README.md)"),
        "the README does not lead to the handbook"
    );
    let rows: Vec<&str> = index
        .lines()
        .filter(|line| line.starts_with('|') && line[2..].starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(rows.len(), CHAPTERS.len(), "{rows:#?}");
    for (n, (row, chapter)) in rows.iter().zip(CHAPTERS).enumerate() {
        let number = format!("| {} | [", n + 1);
        assert!(
            row.starts_with(&number) && row.contains(&format!("]({chapter}")),
            "{chapter}: {row}"
        );
        assert!(
            readme.contains(&format!("(docs/{chapter})")),
            "README.md does not list {chapter}"
        );
        let text = read(format!("docs/{chapter}"));
        let shows = text.lines().filter(|line| line.starts_with("$ ")).count();
        assert!(text.starts_with("# ") && shows > 0, "{chapter} shows no command");
    }
}
