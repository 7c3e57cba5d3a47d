//! SIGTERM: no request is cut off, everything acknowledged is there, exit 0 within the grace time.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    client::{Client, sign},
    house::{Database, Ingress, PATH, SECRET, command, deliver, event, now},
};

/// Delivers on kept-alive connections until no new connection is accepted. How many were acknowledged.
async fn keep_delivering(addr: std::net::SocketAddr, name: usize, stopping: Arc<AtomicBool>) -> u32 {
    let mut acknowledged = 0;
    loop {
        let mut client = match Client::connect(addr).await {
            Ok(client) => client,
            // Reset, where the kernel took the connection between the last accept and the close: no request was sent on it.
            Err(refused) => {
                let kinds = [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset];
                assert!(kinds.contains(&refused.kind()), "{refused}");
                assert!(stopping.load(Ordering::SeqCst), "refused before the end");
                return acknowledged;
            }
        };
        loop {
            let body = event(&format!("evt_{name}_{acknowledged}"));
            let signature = sign(SECRET, now(), &body);
            let answer = client
                .request("POST", PATH, &[("stripe-signature", &signature)], &body)
                .await;
            let answer = answer.unwrap_or_else(|fault| {
                panic!("request {acknowledged} of client {name} was cut off: {fault}")
            });
            assert!(answer.is_new(), "{answer:?}");
            acknowledged += 1;
            if answer.header("connection") == Some("close") {
                assert!(stopping.load(Ordering::SeqCst), "closed before the end");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_cuts_no_request_off_and_loses_nothing_acknowledged() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut ingress = Ingress::start(&database).await;
    let stopping = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|name| tokio::spawn(keep_delivering(ingress.addr, name, Arc::clone(&stopping))))
        .collect();
    crate::house::until("some load", async || {
        database.count("select count(*) from stripe_events").await > 50
    })
    .await;
    stopping.store(true, Ordering::SeqCst);
    ingress.signal("TERM");
    let (code, took) = ingress.exit().await;
    assert_eq!(code, Some(0), "{}", ingress.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    let mut acknowledged = 0;
    for client in clients {
        acknowledged += client.await.unwrap();
    }
    assert_eq!(database.stored().await, i64::from(acknowledged));
}

#[tokio::test]
async fn a_request_under_way_is_finished_and_probes_say_so_meanwhile() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut ingress = Ingress::start(&database).await;
    let mut idle = ingress.client().await;
    let block = database.block_inserts().await;
    let addr = ingress.addr;
    let delivery = tokio::spawn(async move { deliver(addr, &event("evt_1")).await });
    database.until_blocked(1).await;
    ingress.signal("TERM");
    crate::house::until("readiness to end", async || {
        ingress.get("/readyz").await.status == 503
    })
    .await;
    assert_eq!(
        ingress.get("/readyz").await.json()["checks"]["draining"]["ok"],
        false
    );
    assert_eq!(ingress.get("/livez").await.status, 200);
    idle.closed().await.unwrap(); // an idle connection is closed, and by then no new one is accepted
    assert!(Client::connect(addr).await.is_err());
    assert!(!delivery.is_finished());
    block.rollback().await.unwrap();
    let answer = delivery.await.unwrap();
    assert!(answer.is_new(), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(ingress.exit().await.0, Some(0), "{}", ingress.log());
    assert_eq!(database.stored().await, 1);
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut ingress = Ingress::start(&database).await;
    let _block = database.block_inserts().await;
    let addr = ingress.addr;
    let delivery = tokio::spawn(async move {
        let mut client = Client::connect(addr).await.unwrap();
        let body = event("evt_1");
        let signature = sign(SECRET, now(), &body);
        client
            .request("POST", PATH, &[("stripe-signature", &signature)], &body)
            .await
    });
    database.until_blocked(1).await;
    ingress.signal("TERM");
    ingress.until_logged("draining").await;
    ingress.signal("INT");
    let (code, took) = ingress.exit().await;
    assert_eq!(code, Some(1));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let answer = delivery.await.unwrap();
    assert!(
        answer.as_ref().map_or(true, |a| a.status == 503),
        "acknowledged: {answer:?}"
    );
}

#[tokio::test]
async fn a_drain_ends_with_the_grace_time() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut settings = command(&database.url());
    settings.env("SHUTDOWN_GRACE_SECS", "1");
    let mut ingress = Ingress::start_by(settings).await;
    let mut stuck = ingress.client().await;
    stuck
        .write(format!("POST {PATH} HTTP/1.1\r\nhost: d\r\ncontent-length: 9\r\n\r\n").as_bytes())
        .await
        .unwrap();
    crate::house::until("one in flight", async || {
        ingress.metric("quittance_webhook_in_flight").await == Some(1)
    })
    .await;
    let started = Instant::now();
    ingress.signal("TERM");
    let (code, _) = ingress.exit().await;
    assert_eq!(code, Some(1), "something was cut off, and the exit code says so");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}
