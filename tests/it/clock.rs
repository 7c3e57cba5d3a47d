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
