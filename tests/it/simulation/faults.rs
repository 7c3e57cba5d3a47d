//! What the plan says about the machines, done to them.

use std::{process::Command, time::Duration};

use tests::world::World;
use tokio::time::{Instant, interval, timeout};

use super::plan::{Draw, Strike};

/// How long Redis is away.
const REDIS_IS_AWAY: Duration = Duration::from_millis(1500);

/// How long PostgreSQL may take to recover.
const RECOVERY: Duration = Duration::from_secs(60);

/// Between two looks at something.
const LOOK: Duration = Duration::from_millis(50);

/// Lets it happen, and sees to it that the world can go on.
pub async fn strike(world: &mut World, strike: Strike, draw: &mut Draw) {
    match strike {
        Strike::KillWorker => {
            kill_one(world, draw).await;
            world.add_worker().await;
        }
        Strike::LoseWorker => {
            kill_one(world, draw).await;
        }
        Strike::EmptyRedis => world.redis.flushall().await.unwrap(),
        Strike::RestartRedis => {
            world.redis.stop().await.unwrap();
            work_goes_on(world, usize::MAX, REDIS_IS_AWAY).await;
            world.redis.start().await.unwrap();
        }
        Strike::CrashPostgres => crash_postgres(world).await,
        Strike::MoveClock { hours } => world.advance(&format!("{hours}h")).await,
    }
}

/// Kills any of the workers that run; its process id.
pub async fn kill_one(world: &mut World, draw: &mut Draw) -> u32 {
    let alive: Vec<usize> = (0..world.workers.len())
        .filter(|worker| world.workers[*worker].is_running())
        .collect();
    let victim = alive[draw.below(alive.len())];
    let pid = world.workers[victim].pid();
    world.kill9(victim).await;
    pid
}

/// Waits until so many more jobs have ended, or until the time is over: strikes come in the middle of work.
pub async fn work_goes_on(world: &World, jobs: usize, limit: Duration) {
    let ended = "select count(*) from jobs where finished_at is not null";
    let wanted = world
        .count(ended)
        .await
        .saturating_add(i64::try_from(jobs).unwrap_or(i64::MAX));
    let work = async {
        let mut look = interval(LOOK);
        while world.count(ended).await < wanted {
            look.tick().await;
        }
    };
    drop(timeout(limit, work).await);
}

/// Kills one backend, which the server takes for memory gone bad: it throws every connection out, forgets what is not
/// in its log, and recovers. Nothing else of a crash is missing but the end of the first process. Other worlds on the
/// same server would suffer too, which is why whoever does this is named `load_…` and runs alone.
async fn crash_postgres(world: &World) {
    let mut conn = world.db.acquire().await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    let killed = Command::new("sh")
        .args(["-c", "kill -KILL \"$0\"", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
    drop(conn.close().await);
    let deadline = Instant::now() + RECOVERY;
    let mut look = interval(LOOK);
    while let Err(fault) = sqlx::query("select 1").execute(&world.db).await {
        assert!(Instant::now() < deadline, "PostgreSQL does not recover: {fault}");
        look.tick().await;
    }
}
