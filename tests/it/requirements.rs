//! The table of docs/REQUIREMENTS.md is true: every number is there once, its tests exist and bear it, its commands are ones.
//!
//! What a test proves a person must read; that the table leads to it, and that nobody renames it away, is checked here.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use tests::world::Binaries;

use crate::documents;

const TABLE: &str = "docs/REQUIREMENTS.md";

/// The numbers of the requirements: there are gaps between the chapters.
const REQUIREMENTS: [(u32, u32); 15] = [
    (1, 5),
    (10, 16),
    (20, 26),
    (30, 35),
    (40, 43),
    (50, 52),
    (60, 67),
    (70, 76),
    (80, 84),
    (90, 93),
    (100, 105),
    (110, 118),
    (200, 204),
    (206, 207),
    (209, 214),
];

/// Every number that the table has.
fn numbers() -> BTreeSet<String> {
    let requirements = REQUIREMENTS.iter().flat_map(|(first, last)| *first..=*last);
    requirements
        .map(|n| format!("R{n:03}"))
        .chain((1..=20).map(|n| format!("S{n}")))
        .chain((1..=24).map(|n| format!("B-{n:02}")))
        .chain((1..=33).map(|n| format!("A-{n:02}")))
        .collect()
}

/// A test with the numbers that it bears, in its name or its comment: `b16` for `b16_…` and for B-16.
#[derive(Debug)]
struct Proof {
    at: String,
    bears: BTreeSet<String>,
}

/// The words of a text; a hyphen is no end of a word, so that B-16 is one.
fn words(text: &str) -> impl Iterator<Item = String> {
    let text = text.replace('-', "").to_lowercase();
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

/// The tests of a source file: functions under `#[test]` or `#[tokio::test]`, in `proptest!` too.
fn tests_in(path: &str, source: &str) -> Vec<Proof> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let signature = line.strip_prefix("async ").unwrap_or(line);
        let Some((name, _)) = signature
            .strip_prefix("fn ")
            .and_then(|rest| rest.split_once('('))
        else {
            continue;
        };
        let above: Vec<&&str> = lines[..n]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#[") || line.starts_with("///"))
            .collect();
        let is_test = |line: &&&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if above.iter().any(is_test) {
            let comment = above.iter().filter_map(|line| line.strip_prefix("///"));
            found.push(Proof {
                at: format!("{path}::{name}"),
                bears: words(name).chain(comment.flat_map(words)).collect(),
            });
        }
    }
    found
}

/// Every test of the workspace, by its path and name.
fn every_test() -> BTreeMap<String, Proof> {
    let root = documents::root();
    let mut found = Vec::new();
    for folder in documents::SOURCES {
        let mut files: Vec<PathBuf> = Vec::new();
        documents::files(&root.join(folder), ".rs", &mut files);
        for file in files {
            let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            found.extend(tests_in(&path, &std::fs::read_to_string(&file).unwrap()));
        }
    }
    found.into_iter().map(|proof| (proof.at.clone(), proof)).collect()
}

/// A row of the table: `| number | what it asks | tests | commands |`.
#[derive(Debug)]
struct Row<'a> {
    number: &'a str,
    asks: &'a str,
    tests: Vec<&'a str>,
    commands: Vec<&'a str>,
}

/// The rows whose first cell is a number such as R001, S1, B-01 or A-01.
fn rows(text: &str) -> Vec<Row<'_>> {
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cells: Vec<&str> = line.trim_end().trim_end_matches('|').split(" | ").collect();
        let number = cells[0].trim();
        let is_digits = |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit());
        let digits = number
            .strip_prefix(['R', 'S'])
            .or_else(|| number.strip_prefix("A-"))
            .or_else(|| number.strip_prefix("B-"));
        if digits.is_some_and(is_digits) {
            let quoted = |n: usize| {
                let cell = cells.get(n).copied().unwrap_or_default();
                documents::between(cell, '`', '`').collect()
            };
            found.push(Row {
                number,
                asks: cells.get(1).copied().unwrap_or_default().trim(),
                tests: quoted(2),
                commands: quoted(3),
            });
        }
    }
    found
}

/// Everything that is wrong with the table. `command` says what is wrong with a command line.
fn faults(
    text: &str,
    numbers: &BTreeSet<String>,
    tests: &BTreeMap<String, Proof>,
    command: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let rows = rows(text);
    let mut faults = Vec::new();
    for number in numbers {
        let times = rows.iter().filter(|row| row.number == number).count();
        if times != 1 {
            faults.push(format!("{number} has {times} rows"));
        }
    }
    for row in &rows {
        let number = row.number;
        if !numbers.contains(number) {
            faults.push(format!("{number} is no number"));
        }
        if row.asks.len() < 20 {
            faults.push(format!("{number} does not say what it asks"));
        }
        // What is settled for a part of the product that is not there yet has nothing to show.
        let is_pending = number.starts_with('A') && row.asks.contains("not yet");
        if row.tests.is_empty() && !is_pending {
            faults.push(format!("{number} names no test"));
        }
        if row.commands.is_empty() && !number.starts_with('A') {
            faults.push(format!("{number} names no command"));
        }
        let key = number.replace('-', "").to_lowercase();
        for test in &row.tests {
            match tests.get(*test) {
                None => faults.push(format!("{number}: there is no test {test}")),
                Some(proof) if !proof.bears.contains(&key) => {
                    faults.push(format!(
                        "{number} stands neither in the name nor in the comment of {test}"
                    ));
                }
                Some(_) => {}
            }
        }
        for line in &row.commands {
            faults.extend(command(line).map(|fault| format!("{number}: `{line}`: {fault}")));
        }
    }
    faults
}

/// In place of a shell's variable.
const ANY_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The words of a command line; what stands in quotes is one, and what the shell would read itself ends it.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (None, '#' | '|' | ';' | '<' | '>' | '&') => break,
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    let variable = |word: String| {
        if word.starts_with('$') {
            ANY_ID.to_owned()
        } else {
            word
        }
    };
    words.into_iter().map(variable).collect()
}

/// What is wrong with a command line, by the programs themselves: `--help` behind it answers only where the rest can be read.
fn command_fault(line: &str) -> Option<String> {
    let words = shell_words(line);
    let (program, args) = words.split_first()?;
    let binaries = Binaries::find().unwrap();
    let binary = match program.as_str() {
        "quittance" => binaries.quittance,
        "quittance-ingress" => binaries.ingress,
        script if Path::new(script).components().count() > 1 && documents::root().join(script).is_file() => {
            return None;
        }
        _ => return Some("no program of ours".to_owned()),
    };
    // The one id that has a form of its own.
    let a_job = uuid::Uuid::nil().to_string();
    let args = args.iter().map(|arg| if arg == "JOB" { &a_job } else { arg });
    let answer = Command::new(binary)
        .args(args)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&answer.stderr);
    (!answer.status.success()).then(|| told.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn every_number_leads_to_tests_that_bear_it_and_to_a_command() {
    let text = documents::read(TABLE);
    let faults = faults(&text, &numbers(), &every_test(), command_fault);
    assert!(faults.is_empty(), "{TABLE}:\n{}", faults.join("\n"));
}

/// The commands of a document: whole ones from its consoles, one a line behind `$ `; and from its sentences the words that
/// lead to a command, without whatever stands for an id or an option.
fn commands_in(text: &str) -> Vec<String> {
    let is_word = |word: &&str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || c == '-' || c == '_')
            && !word.starts_with('-')
    };
    let consoles = text
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(str::to_owned);
    let sentences = documents::between(text, '`', '`').map(|quoted| {
        let words: Vec<&str> = quoted.split(' ').take_while(is_word).collect();
        words.join(" ")
    });
    let of_ours = |line: &String| line.starts_with("quittance ");
    consoles.chain(sentences).filter(of_ours).collect()
}

#[test]
fn every_command_in_the_documents_is_one() {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for document in documents::documents() {
        for line in commands_in(&std::fs::read_to_string(&document).unwrap()) {
            if seen.insert(line.clone()) {
                faults.extend(
                    command_fault(&line).map(|fault| format!("{}: {line}: {fault}", document.display())),
                );
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen.len() > 40, "only {} found", seen.len());
}

/// The filters of a text: what stands in quotes behind `-E` or `filter =`.
fn filters_in(text: &str) -> Vec<&str> {
    let behind = |mark: &'static str, quote: char| {
        text.split(mark)
            .skip(1)
            .filter_map(move |rest| rest.split_once(quote).map(|(filter, _)| filter))
    };
    behind("-E '", '\'').chain(behind("filter = \"", '"')).collect()
}

/// The `test(…)` of a filter, without their parentheses.
fn test_parts(filter: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, mark) in filter.match_indices("test(") {
        let rest = &filter[at + mark.len()..];
        let mut depth = 1;
        let end = rest.find(|c: char| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        found.extend(end.map(|end| &rest[..end]));
    }
    found
}

/// The texts that a pattern of ours stands for: groups of alternatives, and `^` at the beginning. Nothing else of a regular
/// expression is used in a filter.
fn alternatives(pattern: &str) -> Result<Vec<String>, String> {
    if let Some((before, rest)) = pattern.split_once('(') {
        let (group, after) = rest.split_once(')').ok_or("a group has no end")?;
        let mut found = Vec::new();
        let (outside, before) = before
            .rsplit_once('|')
            .map_or((None, before), |(a, b)| (Some(a), b));
        let (after, further) = after.split_once('|').map_or((after, None), |(a, b)| (a, Some(b)));
        for one in group.split('|') {
            found.extend(alternatives(&format!("{before}{one}{after}"))?);
        }
        for rest in [outside, further].into_iter().flatten() {
            found.extend(alternatives(rest)?);
        }
        return Ok(found);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_:^".contains(c);
    match pattern.chars().find(|c| !plain(*c) && *c != '|') {
        Some(odd) => Err(format!("{odd:?} is more than this check reads")),
        None => Ok(pattern.split('|').map(str::to_owned).collect()),
    }
}

/// What is wrong with a filter: a part that no test's name matches, as cargo-nextest would read it.
fn filter_faults(filter: &str, names: &BTreeSet<String>) -> Vec<String> {
    let matches = |text: &str| match text.strip_prefix('^') {
        Some(beginning) => names.iter().any(|name| name.starts_with(beginning)),
        None => names.iter().any(|name| name.contains(text)),
    };
    let mut faults = Vec::new();
    for part in test_parts(filter) {
        let pattern = part.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let texts = pattern.map_or_else(|| Ok(vec![part.to_owned()]), alternatives);
        match texts {
            Ok(texts) if texts.iter().any(|text| matches(text)) => {}
            Ok(_) => faults.push(format!("no test matches test({part})")),
            Err(fault) => faults.push(format!("test({part}): {fault}")),
        }
    }
    faults
}

/// Names as cargo-nextest has them: modules and function.
fn names_of(tests: &BTreeMap<String, Proof>) -> BTreeSet<String> {
    let name = |at: &str| {
        let (path, function) = at.split_once("::").unwrap();
        let (_, modules) = ["/src/", "/it/", "/tests/"]
            .iter()
            .find_map(|folder| path.split_once(folder))
            .unwrap();
        let modules: Vec<&str> = modules
            .trim_end_matches(".rs")
            .split('/')
            .filter(|module| !["mod", "main", "lib"].contains(module))
            .collect();
        [modules, vec![function]].concat().join("::")
    };
    let mut names: BTreeSet<String> = tests.keys().map(|at| name(at)).collect();
    // Those of the crash points are made by a macro from its table.
    let table = documents::read("tests/it/crash_points/mod.rs");
    let made = table.lines().filter_map(|line| {
        let (name, _) = line.trim_start().split_once(": ")?;
        name.contains("crash_points_of_")
            .then(|| format!("crash_points::{name}"))
    });
    names.extend(made);
    names
}

#[test]
fn every_filter_that_a_document_or_a_script_names_finds_a_test() {
    let names = names_of(&every_test());
    let mut files = documents::documents();
    for script in [
        ".config/nextest.toml",
        "tests/year",
        "tests/soak",
        "tests/crash-points",
    ] {
        files.push(documents::root().join(script));
    }
    let (mut seen, mut faults) = (0, Vec::new());
    for file in files {
        for filter in filters_in(&std::fs::read_to_string(&file).unwrap()) {
            // A placeholder, or a variable of the script.
            if filter.contains("NAME") || filter.contains('$') {
                continue;
            }
            seen += test_parts(filter).len();
            let wrong = filter_faults(filter, &names);
            faults.extend(
                wrong
                    .iter()
                    .map(|fault| format!("{}: {filter}: {fault}", file.display())),
            );
        }
    }
    // Each deliberate bug with the test that must find it.
    for line in documents::read("tests/sabotage").lines() {
        let cells: Vec<&str> = line.split('|').collect();
        let is_bug = |bug: &str| bug.starts_with('p') && bug[1..].starts_with(|c: char| c.is_ascii_digit());
        if let [bug, test, _, ..] = cells[..]
            && is_bug(bug)
        {
            seen += 1;
            if !names.iter().any(|name| name.rsplit("::").next() == Some(test)) {
                faults.push(format!("tests/sabotage: {bug}: there is no test {test}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 50, "only {seen} found");
}

#[test]
fn a_filter_that_finds_nothing_is_found() {
    let names: BTreeSet<String> = ["queue::tests::p4_it", "ladder::s8_it", "load_it"]
        .map(str::to_owned)
        .into();
    for sound in [
        "test(s8_) + test(p4_)",
        "test(ladder)",
        "package(worker) & test(/^(queue|scheduler)::tests::/) & !test(p4_it)",
        "test(/(^|::)load_|_under_load/)",
        "package(worker)",
    ] {
        assert_eq!(filter_faults(sound, &names), [""; 0], "{sound}");
    }
    for (wrong, faults) in [
        ("test(s8_) + test(s9_)", &["no test matches test(s9_)"][..]),
        ("test(/^tests::/)", &["no test matches test(/^tests::/)"]),
        (
            "test(/s8_.*/)",
            &["test(/s8_.*/): '.' is more than this check reads"],
        ),
    ] {
        assert_eq!(filter_faults(wrong, &names), faults, "{wrong}");
    }
    let text = "`tests/run -E 'test(s8_)'` and\nfilter = \"test(p4_)\"\n";
    assert_eq!(filters_in(text), ["test(s8_)", "test(p4_)"]);
}

/// The check is able to fail.
#[test]
fn a_wrong_row_is_found_whatever_is_wrong_with_it() {
    let source = "/// R001, B-02: what it is about.\n#[tokio::test]\nasync fn s3_it_holds() {\n}\nfn r001_helper() {\n}\n";
    let tests: BTreeMap<String, Proof> = tests_in("it/a.rs", source)
        .into_iter()
        .map(|proof| (proof.at.clone(), proof))
        .collect();
    assert_eq!(
        tests.keys().collect::<Vec<_>>(),
        ["it/a.rs::s3_it_holds"],
        "a helper is no test"
    );
    let wanted: BTreeSet<String> = ["R001", "S3", "B-02", "A-28"].map(str::to_owned).into();
    let sound = "| R001 | asks for something or other | `it/a.rs::s3_it_holds` | `go on` |\n\
                 | S3 | asks for something or other | `it/a.rs::s3_it_holds` | `go on` |\n\
                 | B-02 | asks for something or other | `it/a.rs::s3_it_holds` | `go on` |\n\
                 | A-28 | the portal, which is not yet there | – |\n";
    let check = |text: &str| {
        faults(text, &wanted, &tests, |line| {
            (line != "go on").then(|| "what?".to_owned())
        })
        .join("; ")
    };
    assert_eq!(check(sound), "");
    let changed = |from: &str, to: &str| {
        assert!(sound.contains(from));
        check(&sound.replacen(from, to, 1))
    };
    let row = sound.lines().next().unwrap();
    assert_eq!(changed(&format!("{row}\n"), ""), "R001 has 0 rows");
    assert_eq!(changed(row, &format!("{row}\n{row}")), "R001 has 2 rows");
    assert_eq!(
        changed("| R001 |", "| R002 |"),
        "R001 has 0 rows; R002 is no number; \
        R002 stands neither in the name nor in the comment of it/a.rs::s3_it_holds"
    );
    assert_eq!(
        changed("s3_it_holds", "s3_it_held"),
        "R001: there is no test it/a.rs::s3_it_held"
    );
    assert_eq!(
        changed("it/a.rs", "it/b.rs"),
        "R001: there is no test it/b.rs::s3_it_holds"
    );
    assert_eq!(changed("`it/a.rs::s3_it_holds`", "none"), "R001 names no test");
    assert_eq!(changed("`go on`", "none"), "R001 names no command");
    assert_eq!(changed("`go on`", "`go away`"), "R001: `go away`: what?");
    assert_eq!(
        changed("asks for something or other", "asks"),
        "R001 does not say what it asks"
    );
    assert_eq!(changed("not yet", "never"), "A-28 names no test");
}

#[test]
fn a_wrong_command_is_found() {
    for sound in [
        "quittance invoice void PKG-1 --reason 'wrong hours' # why",
        "quittance import - < file",
        "tests/run -E 'test(p3_)'",
        "quittance-ingress",
    ] {
        assert_eq!(command_fault(sound), None, "{sound}");
    }
    for wrong in [
        "quittance invoice undo PKG-1",
        "quittance invoice void PKG-1 --because x",
        "quittance invoice refund PKG-1 --to nobody",
        "tests/ran",
        "quittance-portal",
        "curl -s http://127.0.0.1",
    ] {
        assert!(command_fault(wrong).is_some(), "{wrong}");
    }
    let text = "so `quittance invoice undo ID --why` and `invoice show ID`:\n$ quittance jobs list --state lost # or not\n";
    assert_eq!(
        commands_in(text),
        [
            "quittance jobs list --state lost # or not",
            "quittance invoice undo"
        ]
    );
}
