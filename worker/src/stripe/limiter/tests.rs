//! The limiter against a Redis of its own, with two workers and with a Redis that goes and comes back.
use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    num::NonZeroU32,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use shared::config::Mode;
use tokio::task::JoinSet;

use super::*;

const OPERATION: Operation = Operation::ConfirmPaymentIntent;

fn rates(per_sec: u32) -> Rates {
    Rates::of(Mode::Test, NonZeroU32::new(per_sec))
}

/// A private redis-server that keeps nothing on disk and ends with the test.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self {
            port,
            process: Self::spawn(port),
        }
    }

    fn spawn(port: u16) -> Child {
        let process = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
                &port.to_string(),
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed for this test");
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                std::time::Instant::now() < deadline,
                "redis-server did not start on port {port}"
            );
            std::thread::yield_now();
        }
        process
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = Self::spawn(self.port);
    }

    fn limiter(&self, rates: Rates) -> Limiter {
        Limiter::shared(&format!("redis://127.0.0.1:{}/", self.port), rates).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The most grants within any one second.
fn busiest_second(mut granted_at_us: Vec<u64>) -> usize {
    granted_at_us.sort_unstable();
    let within = |i: usize, start: &u64| {
        granted_at_us[i..]
            .iter()
            .take_while(|at| **at < start + 1_000_000)
            .count()
    };
    granted_at_us
        .iter()
        .enumerate()
        .map(|(i, start)| within(i, start))
        .max()
        .unwrap_or(0)
}

/// Takes tokens as fast as they come, for this long, and says when (by Redis's clock) it got them.
async fn take_for(limiter: Arc<Limiter>, operation: Operation, how_long: Duration) -> Vec<u64> {
    let (end, mut granted) = (Instant::now() + how_long, Vec::new());
    while Instant::now() < end {
        match limiter.shared.as_ref().unwrap().take_at(operation).await.unwrap() {
            (Turn::Granted, at) => granted.push(at),
            (Turn::NotBefore(wait), _) => sleep(wait).await,
        }
    }
    granted
}

#[tokio::test]
async fn two_workers_together_never_exceed_the_rate() {
    let redis = Redis::start();
    let workers = [
        Arc::new(redis.limiter(rates(20))),
        Arc::new(redis.limiter(rates(20))),
    ];
    let mut takers = JoinSet::new();
    for worker in workers {
        for operation in [Operation::ConfirmPaymentIntent, Operation::RetrieveCharge] {
            takers.spawn(take_for(worker.clone(), operation, Duration::from_secs(3)));
        }
    }
    let granted = takers.join_all().await.concat();
    assert!(
        granted.len() > 30,
        "the rate is not used: {} in three seconds",
        granted.len()
    );
    assert!(busiest_second(granted) <= 20);
}

#[tokio::test]
async fn one_endpoint_never_exceeds_its_own_rate() {
    let redis = Redis::start();
    let limiter = Arc::new(redis.limiter(Rates::of(Mode::Live, None)));
    let (one, other) = tokio::join!(
        take_for(limiter.clone(), OPERATION, Duration::from_secs(2)),
        take_for(limiter.clone(), Operation::RetrieveCharge, Duration::from_secs(2)),
    );
    assert!(
        one.len() > 20 && other.len() > 20,
        "{} and {}",
        one.len(),
        other.len()
    );
    assert!(busiest_second(one) <= 20 && busiest_second(other) <= 20);
}

#[tokio::test]
async fn without_redis_a_worker_goes_on_alone_and_returns() {
    let mut redis = Redis::start();
    let limiter = redis.limiter(rates(40));
    limiter.acquire(OPERATION).await.unwrap();
    assert_eq!(*limiter.lock(), State::Together);

    redis.stop();
    let started = Instant::now();
    limiter.acquire(OPERATION).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert!(matches!(*limiter.lock(), State::Alone { .. }));

    redis.restart();
    let deadline = Instant::now() + Duration::from_secs(10);
    while *limiter.lock() != State::Together {
        assert!(Instant::now() < deadline, "it does not notice that Redis is back");
        limiter.acquire(OPERATION).await.unwrap();
    }
}

#[tokio::test]
async fn redis_that_hangs_costs_little() {
    // Accepts connections and never answers.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    let limiter = Limiter::shared(&url, rates(40)).unwrap();
    let started = Instant::now();
    for _ in 0..3 {
        limiter.acquire(OPERATION).await.unwrap();
    }
    // One wait for Redis, then two tokens of the local share of ten a second.
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn alone_a_worker_takes_only_its_share() {
    let limiter = Limiter::local(rates(20).share_without_redis());
    let (end, mut granted) = (Instant::now() + Duration::from_secs(10), 0);
    while Instant::now() < end {
        limiter.acquire(OPERATION).await.unwrap();
        granted += 1;
    }
    assert!(
        (45..=51).contains(&granted),
        "{granted} in ten seconds at a share of five a second"
    );
}

/// How many turns each of these gets, when all ask as fast as they can for ten seconds at twenty a second.
async fn turns<const N: usize>(operations: [Operation; N]) -> [u32; N] {
    let limiter = Limiter::local(rates(20));
    let end = Instant::now() + Duration::from_secs(10);
    let asking = operations.map(async |operation| {
        let mut granted = 0;
        while Instant::now() < end {
            granted += u32::from(limiter.acquire(operation).await.is_ok());
        }
        granted
    });
    futures::future::join_all(asking).await.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_in_bulk_leaves_three_quarters_to_those_who_pay() {
    let [events, charges] = turns([Operation::ListEvents, Operation::ListCharges]).await;
    assert!(
        (45..=52).contains(&(events + charges)),
        "{events} and {charges} at five a second for both"
    );
    let [_, _, paying] = turns([Operation::ListEvents, Operation::ListCharges, OPERATION]).await;
    assert!(
        paying >= 130,
        "{paying} in ten seconds of what is left of twenty a second"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_limit() {
    let limiter = Arc::new(Limiter::local(rates(1)));
    let mut waiting = JoinSet::new();
    for _ in 0..30 {
        let limiter = limiter.clone();
        waiting.spawn(async move { limiter.acquire(OPERATION).await });
    }
    let started = Instant::now();
    let results = waiting.join_all().await;
    let granted = results.iter().filter(|result| result.is_ok()).count();
    assert!((10..=11).contains(&granted), "{granted}");
    assert!(started.elapsed() <= MAX_WAIT);
}
