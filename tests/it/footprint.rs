//! What is shipped as the public door: how little it takes on disk and of memory, and that no crash point and no deliberate bug is
//! in it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tests::world::{Binaries, World, WorldOptions, event};

use crate::deliveries::{Deliveries, assert_acknowledged_is_stored};

/// Of the stripped binary.
const MAX_BINARY_BYTES: u64 = 10_000_000;
/// Resident, at the worst moment.
const MAX_RESIDENT_KIB: u64 = 20_000_000 / 1024;
/// Connections that deliver at a time: Stripe's busiest customers see fewer.
const CONNECTIONS: usize = 64;
/// Deliveries between two looks, and looks.
const DELIVERIES: usize = 1_000;
const LOOKS: usize = 4;
/// For so many deliveries, on a machine that may have two cores.
const LIMIT: Duration = Duration::from_secs(60);

/// Builds the ingress as it is shipped, and says where it is. Cargo does nothing where that was done before.
fn release_build() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    // What the test runner says of this package would be taken for a change by the build scripts of others.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let built = command
        .args([
            "build",
            "--release",
            "--package",
            "ingress",
            "--bin",
            "quittance-ingress",
        ])
        .args(["--locked", "--message-format", "json-render-diagnostics"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("SQLX_OFFLINE", "true")
        .env_remove("DATABASE_URL")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the release build failed");
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().unwrap()
}

/// A line of `/proc/PID/status`, in KiB.
fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// A refund of some customer's charge, as large as Stripe's events of charges are.
fn of_usual_size(n: usize) -> Value {
    let text = include_str!("../fixtures/stripe/2026-09-30/charge.refunded.json");
    let mut fixture: Value = serde_json::from_str(text).unwrap();
    let mut charge = fixture["data"]["object"].take();
    charge["id"] = format!("ch_{n}").into();
    charge["customer"] = format!("cus_{}", n % 100).into();
    event("charge.refunded", charge)
}

#[tokio::test]
async fn load_the_release_build_of_the_ingress_is_below_10_mb_on_disk_and_20_mb_in_memory() {
    let binary = release_build();
    let bytes = fs::metadata(&binary).unwrap().len();
    assert!(bytes < MAX_BINARY_BYTES, "{bytes} bytes");

    let world = World::start(WorldOptions {
        workers: 0,
        ingress_binary: Some(binary.clone()),
        ..WorldOptions::default()
    })
    .await;
    let pid = world.ingress.as_ref().unwrap().pid();
    let running = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(
        running,
        binary.canonicalize().unwrap(),
        "another binary was started"
    );
    let idle = memory_kib(pid, "VmRSS");

    let deliveries = Deliveries::begin_with(&world, CONNECTIONS, of_usual_size);
    let mut resident = Vec::new();
    for _ in 0..LOOKS {
        deliveries.pass(DELIVERIES, LIMIT).await;
        resident.push(memory_kib(pid, "VmRSS"));
        let (_, metrics) = world.ingress_admin("/metrics").await;
        let open = format!("\nquittance_webhook_connections {CONNECTIONS}\n");
        assert!(
            metrics.contains(&open),
            "not {CONNECTIONS} connections: {metrics}"
        );
    }
    let told = deliveries.end().await;
    let (after, most) = (memory_kib(pid, "VmRSS"), memory_kib(pid, "VmHWM"));
    eprintln!(
        "{bytes} bytes on disk; resident KiB: {idle} idle, {resident:?} under load, {after} after, {most} at most"
    );
    assert!(told.iter().all(|told| told.is_acknowledged()));
    let stored = assert_acknowledged_is_stored(&world, &told).await;
    assert!(stored >= LOOKS * DELIVERIES, "only {stored}");
    assert!(most < MAX_RESIDENT_KIB, "{most} KiB at most");
}

/// What arms crash points (`shared::failpoint`) and deliberate bugs (`shared::sabotage`), and what is printed when one is met.
const ARMS: [&str; 4] = [
    "QUITTANCE_TEST_FAILPOINTS",
    "QUITTANCE_TEST_SABOTAGE",
    "abort@",
    "p1_answer_before_commit",
];

fn contains(binary: &[u8], text: &str) -> bool {
    binary.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn load_the_release_build_has_no_crash_point_and_no_sabotage_whatever_the_environment_says() {
    let release = release_build();
    let bytes = fs::read(&release).unwrap();
    let debug = fs::read(Binaries::find().unwrap().ingress).unwrap();
    for arm in ARMS {
        assert!(contains(&debug, arm), "{arm} would not be found");
        assert!(!contains(&bytes, arm), "{arm} is in the release build");
    }
    for (name, order) in [
        ("QUITTANCE_TEST_FAILPOINTS", "ingress.commit.1.before=abort@1"),
        ("QUITTANCE_TEST_FAILPOINTS", "nonsense"),
        ("QUITTANCE_TEST_SABOTAGE", "p1_answer_before_commit"),
    ] {
        let mut world = World::start(WorldOptions {
            workers: 0,
            ingress_binary: Some(release.clone()),
            env: vec![(name.to_owned(), order.to_owned())],
            ..WorldOptions::default()
        })
        .await;
        world.deliver(&of_usual_size(1)).await;
        assert_eq!(world.count("select count(*) from stripe_events").await, 1);
        assert!(world.ingress.as_mut().unwrap().is_running(), "{name}={order}");
    }
}
