//! Ten thousand jobs that fall due in the same second drain, and Redis never holds more of them than it can bear.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use tests::world::{World, WorldOptions};
use tokio::time::{Instant, interval};

/// How many.
const JOBS: i64 = 10_000;

/// Where the queue in Redis is known to break down for good is at twice as many.
const MOST_IN_LANE: usize = 4_000;

/// On a machine that may have two cores and runs debug builds.
const DRAINS_WITHIN: Duration = Duration::from_secs(240);

/// Events of a type that nobody handles, of a thousand customers, as the ingress stores them, and their jobs.
const FILL: &str = "
    with event as (
      insert into stripe_events (stripe_event_id, type, livemode, object_type, object_id, created_at, received_at, body_sha256, facts)
      select 'evt_due' || n, 'customer.updated', false, 'customer', 'cus_' || n % 1000, clock_timestamp(), clock_timestamp(),
             sha256('x'), '{}' from generate_series(1, 10000) n
      returning stripe_event_id, object_id)
    insert into jobs (id, queue, kind, dedupe_key, order_key, payload, run_at, created_at)
    select gen_random_uuid(), 'events', 'process_stripe_event', stripe_event_id, 'customer:' || object_id,
           jsonb_build_object('event_id', stripe_event_id), date_trunc('second', app.now()), app.now() from event";

#[tokio::test]
async fn load_10000_jobs_due_in_the_same_second_drain_and_never_crowd_the_lane() {
    let mut world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    world.texts(FILL).await;
    let (open, began) = (
        "select count(*) from jobs where state <> 'completed'",
        Instant::now(),
    );
    assert_eq!(world.count(open).await, JOBS);
    world.add_worker().await;
    world.add_worker().await;

    let mut redis = world.redis.connect().await.unwrap();
    let mut look = interval(Duration::from_millis(20));
    let (mut looks, mut most, mut left) = (0, 0, JOBS);
    while left > 0 {
        look.tick().await;
        let (scheduled, active): (usize, usize) = redis::pipe()
            .zcard("quittance-events:scheduled")
            .llen("quittance-events:active")
            .query_async(&mut redis)
            .await
            .unwrap();
        most = most.max(scheduled + active);
        looks += 1;
        if looks % 25 == 0 {
            left = world.count(open).await;
            assert!(
                began.elapsed() < DRAINS_WITHIN,
                "{left} jobs are left after {DRAINS_WITHIN:?}"
            );
        }
    }
    let rate = f64::from(i32::try_from(JOBS).unwrap()) / began.elapsed().as_secs_f64();
    eprintln!(
        "{JOBS} jobs in {:?} ({rate:.0} a second); at most {most} ids in the lane",
        began.elapsed()
    );
    assert!(most > 0 && most <= MOST_IN_LANE, "{most} ids in the lane");
    assert_eq!(
        world
            .count("select count(*) from stripe_events where state = 'ignored'")
            .await,
        JOBS
    );
    assert_eq!(
        world
            .count("select count(*) from jobs where attempt <> 1 or crashes > 0")
            .await,
        0,
        "none was run twice"
    );
}
