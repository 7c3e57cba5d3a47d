//! What the public door is not made of: it links neither Stripe's client nor the job queue.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::Path, process::Command};

/// What the ingress must do without, by the beginning of a package's name.
const ABSENT: [&str; 4] = ["async-stripe", "apalis", "redis", "worker"];

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
fn the_ingress_links_neither_a_stripe_client_nor_the_queue() {
    let linked = packages("ingress");
    assert!(linked.iter().any(|name| name == "hyper"), "{linked:?}");
    for absent in ABSENT {
        assert!(
            !linked.iter().any(|name| name.starts_with(absent)),
            "the ingress links {absent}"
        );
    }
    // The worker has them: the names are right.
    let worker = packages("worker");
    for present in ABSENT {
        assert!(worker.iter().any(|name| name.starts_with(present)), "{present}");
    }
}
