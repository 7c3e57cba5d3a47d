//! What the programs are not made of: the public door and the portal link neither Stripe's client nor the job queue, and no release
//! build has a crash point or a deliberate bug.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::Path, process::Command};

use crate::documents;

/// What the ingress and the portal must do without, by the beginning of a package's name.
const ABSENT: [&str; 5] = ["async-stripe", "apalis", "redis", "reqwest", "worker"];

/// The packages that `package` is linked with, itself included.
fn packages(package: &str) -> Vec<String> {
    let tree = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args([
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}", "--locked", "--offline"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn the_ingress_and_the_portal_link_neither_a_stripe_client_nor_the_queue() {
    for program in ["ingress", "portal"] {
        let linked = packages(program);
        assert!(linked.iter().any(|name| name == "hyper"), "{linked:?}");
        for absent in ABSENT {
            assert!(
                !linked.iter().any(|name| name.starts_with(absent)),
                "{program} links {absent}"
            );
        }
    }
    // The worker has them: the names are right.
    let worker = packages("worker");
    for present in ABSENT {
        assert!(worker.iter().any(|name| name.starts_with(present)), "{present}");
    }
}

/// By which crash points and deliberate bugs are ordered.
const VARIABLES: &str = "QUITTANCE_TEST_";
/// The only files that read such a variable. Both are made of the standard library alone where nothing can be ordered.
const ARMED: [&str; 2] = ["shared/src/failpoint.rs", "shared/src/sabotage.rs"];

/// What the compiler makes of one of our files by itself: its code, without its comments.
fn compiled(file: &str, debug_assertions: &str) -> Result<Vec<u8>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::temp_dir().join(format!(
        "quittance-armed-{}-{debug_assertions}",
        std::process::id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let made = folder.join("made.o");
    let answer = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--crate-name",
            "armed",
        ])
        .args(["--emit", "obj", "--cap-lints", "allow"])
        .args(["-C", "codegen-units=1", "-C"])
        .arg(format!("debug-assertions={debug_assertions}"))
        .arg("-o")
        .arg(&made)
        .arg(root.join(file))
        .output()
        .unwrap();
    let bytes = std::fs::read(&made);
    std::fs::remove_dir_all(&folder).unwrap();
    match answer.status.success() {
        true => Ok(bytes.unwrap()),
        false => Err(String::from_utf8_lossy(&answer.stderr).into_owned()),
    }
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Without debug assertions, as in a release build, nothing can be ordered: the names are not even there. So it is in every
/// program, as no other file of theirs reads such a variable.
#[test]
fn no_release_build_has_a_crash_point_or_a_deliberate_bug() {
    for file in ARMED {
        let released = compiled(file, "no").unwrap();
        assert!(
            !has(&released, VARIABLES),
            "{file} can be armed in a release build"
        );
    }
    // The search is able to find them: with debug assertions they are there, or the file wants what only they need.
    assert!(has(
        &compiled(ARMED[1], "yes").unwrap(),
        "QUITTANCE_TEST_SABOTAGE"
    ));
    let armed = compiled(ARMED[0], "yes").unwrap_err();
    assert!(armed.contains("tokio"), "{armed}");

    let profiles = documents::read("Cargo.toml");
    let release = profiles.split("[profile.release]").nth(1).unwrap_or_default();
    let release = release.split("\n[").next().unwrap_or_default();
    assert!(!release.contains("debug-assertions"), "{release}");
    for program in ["ingress", "worker", "portal", "shared"] {
        let mut files = Vec::new();
        documents::files(&documents::root().join(program).join("src"), ".rs", &mut files);
        for file in files {
            let path = file
                .strip_prefix(documents::root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let is_a_test = path.contains("/tests/") || path.ends_with("tests.rs");
            if is_a_test || ARMED.contains(&path.as_str()) {
                continue;
            }
            assert!(
                !std::fs::read_to_string(&file).unwrap().contains(VARIABLES),
                "{path} reads a variable for tests"
            );
        }
    }
}
