//! One business clock for everybody: moved by a command, followed by all.

use std::time::Duration;

use tests::world::{World, WorldOptions};
use tokio::time::{Instant, sleep};

const THREE_DAYS_SECS: i64 = 3 * 24 * 3600;

/// No programs of ours but the command.
fn bare() -> WorldOptions {
    WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    }
}

#[tokio::test]
async fn simulator_follows_the_business_clock_within_a_second() {
    let world = World::start(bare()).await;
    let before = world.sim.get("/clock").await.unwrap()["now"].as_i64().unwrap();
    world.advance("3d").await;
    let moved = Instant::now();
    loop {
        let now = world.sim.get("/clock").await.unwrap()["now"].as_i64().unwrap();
        if now >= before + THREE_DAYS_SECS {
            break;
        }
        assert!(
            moved.elapsed() < Duration::from_secs(1),
            "the simulator lags behind"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn clock_is_not_turned_back_and_says_so_with_exit_code_4() {
    let world = World::start(bare()).await;
    world.advance("3d").await;
    let refused = world
        .cli(&["clock", "set", "2020-01-01T00:00:00Z", "--json"])
        .await;
    assert_eq!(refused.code, 4, "{refused}");
    assert_eq!(refused.json().unwrap()["error"]["code"], "clock_backwards");
    let ahead_ms = world.count("select offset_ms from clock").await;
    assert_eq!(ahead_ms, THREE_DAYS_SECS * 1000);
}

/// Whoever moves the clock is on record with the reason, from when to when; whoever looks at it, or is refused, is not.
#[tokio::test]
async fn p7_who_moved_the_clock_is_on_record_with_the_reason() {
    let world = World::start(bare()).await;
    world.json(&["clock", "show"]).await;
    world
        .json(&["clock", "advance", "3d", "--reason", "the first retry"])
        .await;
    let now = world.json(&["clock", "show"]).await["now"].take();
    let ada = world.command().with_env("USER", Some("ada"));
    ada.json(&["clock", "set", "2099-01-01", "--reason", "a quiet year"])
        .await
        .unwrap();
    assert_eq!(world.cli(&["clock", "set", "2020-01-01"]).await.code, 4);
    world.json(&["clock", "reset"]).await;
    let kept = world
        .texts("select concat_ws(' ', action, reason, (cause_id <> '')::text) from installation_changes order by id")
        .await;
    assert_eq!(
        kept,
        [
            "clock.moved the first retry true",
            "clock.moved a quiet year true",
            "clock.moved none given true",
        ]
    );
    let shown = world.json(&["audit", "changes", "--limit", "2"]).await;
    let shown: Vec<_> = shown["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", row["reason"], row["changed_by"] == "ada"))
        .collect();
    assert_eq!(shown, ["\"none given\" false", "\"a quiet year\" true"]);
    let subjects = world
        .texts("select subject::text from installation_changes order by id")
        .await;
    let moves: Vec<serde_json::Value> = subjects
        .iter()
        .map(|subject| serde_json::from_str(subject).unwrap())
        .collect();
    assert_eq!(
        (&moves[0]["was_offset_ms"], &moves[0]["offset_ms"]),
        (&0.into(), &(THREE_DAYS_SECS * 1000).into())
    );
    assert!(moves[0]["is"].as_str() <= now.as_str(), "{moves:?} {now}");
    assert!(
        moves[1]["is"]
            .as_str()
            .unwrap()
            .starts_with("2099-01-01T00:00:00"),
        "{moves:?}"
    );
    assert_eq!(moves[2]["offset_ms"], 0);
    let text = world.cli(&["audit", "changes"]).await.stdout;
    assert!(
        text.contains("clock.moved") && text.contains("the first retry"),
        "{text}"
    );
}
