//! Postgres away, slow, or silent: 503, nothing acknowledged, and everything well after it is back.

use std::time::{Duration, Instant};

use crate::{
    client::Answer,
    house::{Database, Ingress, command, deliver, event},
    proxy::{Proxy, Wire},
};

fn assert_try_again(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "unavailable"),
        "{answer:?}"
    );
    assert!(
        answer
            .header("retry-after")
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
}

#[tokio::test]
async fn p1_while_postgres_is_away_nothing_is_acknowledged_and_after_it_is_back_all_is_well() {
    let Some(database) = Database::create().await else {
        return;
    };
    let proxy = Proxy::before(database.server_addr()).await;
    let ingress = Ingress::start_by(command(&database.url_through(proxy.addr))).await;
    assert!(ingress.deliver(&event("evt_1")).await.is_new());

    proxy.set(Wire::Cut);
    let started = Instant::now();
    let (one, two) = (event("evt_2"), event("evt_3"));
    let (one, two) = futures::join!(ingress.deliver(&one), ingress.deliver(&two));
    assert_try_again(&one);
    assert_try_again(&two);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(database.stored().await, 1);
    let ready = ingress.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["checks"]["database"]["ok"]),
        (503, &false.into()),
        "{ready:?}"
    );
    assert_eq!(ingress.get("/livez").await.status, 200);

    proxy.set(Wire::Whole);
    assert!(
        ingress.deliver(&event("evt_2")).await.is_new(),
        "the rejected delivery left nothing behind"
    );
    assert_eq!(ingress.get("/readyz").await.status, 200);
    assert_eq!(database.stored().await, 2);
}

#[tokio::test]
async fn p1_an_unknown_commit_is_a_503_and_the_next_delivery_tells() {
    let Some(database) = Database::create().await else {
        return;
    };
    let proxy = Proxy::before(database.server_addr()).await;
    let mut settings = command(&database.url_through(proxy.addr));
    settings.env("INGRESS_COMMITTERS", "1"); // all on one connection
    let ingress = Ingress::start_by(settings).await;
    // The statement is prepared by now, so that the next one is sent whole before any answer to it is awaited.
    assert!(ingress.deliver(&event("evt_0")).await.is_new());
    let block = database.block_inserts().await;
    let addr = ingress.addr;
    let delivery = tokio::spawn(async move { deliver(addr, &event("evt_1")).await });
    database.until_blocked(1).await;
    proxy.set(Wire::Deaf);
    block.rollback().await.unwrap(); // the statement goes on and commits, and its answer is lost
    crate::house::until("the commit", async || database.stored().await == 2).await;
    assert_try_again(&delivery.await.unwrap());

    proxy.set(Wire::Cut);
    proxy.set(Wire::Whole);
    crate::house::until("a connection that works", async || {
        ingress.get("/readyz").await.status == 200
    })
    .await;
    assert!(ingress.deliver(&event("evt_1")).await.is_duplicate());
    assert_eq!(database.stored().await, 2);
}

#[tokio::test]
async fn p1_a_commit_that_takes_longer_than_five_seconds_is_a_503() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let block = database.block_inserts().await;
    let started = Instant::now();
    assert_try_again(&ingress.deliver(&event("evt_1")).await);
    let took = started.elapsed().as_secs_f32();
    assert!((4.5..7.0).contains(&took), "{took} s");
    block.rollback().await.unwrap();
    crate::house::until("a committer to be free", async || {
        ingress.deliver(&event("evt_2")).await.status == 200
    })
    .await;
    assert_eq!(
        database
            .count("select count(*) from stripe_events where stripe_event_id = 'evt_1'")
            .await,
        0
    );
}

/// Two workers once held the inbox's locks for seconds, and one delivery got a 503 that no line of the log explained:
/// its own five seconds had passed while the committer was still within its.
#[tokio::test]
async fn a_503_whose_commit_comes_late_is_explained_in_the_log_and_counted() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut settings = command(&database.url());
    settings.env("INGRESS_COMMITTERS", "1");
    let ingress = Ingress::start_by(settings).await;
    let block = database.block_inserts().await;
    let addr = ingress.addr;
    let first = tokio::spawn(async move { deliver(addr, &event("evt_1")).await });
    database.until_blocked(1).await;
    // Waits behind it, and is taken up when its time is over.
    let second = ingress.deliver(&event("evt_2")).await;
    assert_try_again(&first.await.unwrap());
    assert_try_again(&second);
    ingress.until_logged(r#""commit_late""#).await;
    let (late, failed) = (
        ingress.refused("commit_late").await,
        ingress.refused("commit_failed").await,
    );
    assert!(late >= 1, "the second one's own time was over");
    assert_eq!(late + failed, 2, "the first one's time is its committer's too");
    block.rollback().await.unwrap();
}

#[tokio::test]
async fn p1_a_backend_that_dies_under_a_first_batch_acknowledges_none_of_it() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let block = database.block_inserts().await;
    let addr = ingress.addr;
    let delivery = tokio::spawn(async move { deliver(addr, &event("evt_1")).await });
    database.until_blocked(1).await;
    database.run(TERMINATE).await;
    assert_try_again(&delivery.await.unwrap());
    block.rollback().await.unwrap();
    assert_eq!(database.stored().await, 0);
    assert!(
        ingress.deliver(&event("evt_1")).await.is_new(),
        "on a fresh connection"
    );
}

#[tokio::test]
async fn a_kept_connection_that_died_costs_no_delivery() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        assert!(ingress.deliver(&event(id)).await.is_new());
        database.run(TERMINATE).await;
    }
    assert!(ingress.deliver(&event("evt_3")).await.is_duplicate());
    assert_eq!(database.stored().await, 3);
}

const TERMINATE: &str = "select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'quittance-ingress'";

#[tokio::test]
async fn a_lost_privilege_is_a_503_for_all_and_no_reason_to_give_up_on_any() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    database.run("revoke insert on jobs from quittance_ingress").await;
    assert_try_again(&ingress.deliver(&event("evt_1")).await);
    assert_eq!(database.stored().await, 0);
    ingress.until_logged("permission denied").await;
    database.run("grant insert on jobs to quittance_ingress").await;
    assert!(ingress.deliver(&event("evt_1")).await.is_new());
}
