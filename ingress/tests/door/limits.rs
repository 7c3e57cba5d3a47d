//! Size, time and number: what one client may take, and what all may take together.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::{
    client::{Client, sign},
    house::{Database, Ingress, PATH, SECRET, command, deliver, event, now},
};

const MIB: usize = 1 << 20;

fn event_of_size(bytes: usize) -> Vec<u8> {
    let mut body = br#"{"id":"evt_large","type":"x","note":""#.to_vec();
    body.resize(bytes - 2, b'n');
    body.extend_from_slice(b"\"}");
    body
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_taken_and_one_byte_more_is_413() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    assert!(ingress.deliver(&event_of_size(MIB)).await.is_new());
    for size in [MIB + 1, 4 * MIB] {
        let answer = ingress.deliver(&event_of_size(size)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (413, "payload_too_large"),
            "{size}"
        );
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(database.stored().await, 1);
}

#[tokio::test]
async fn a_body_announced_as_too_large_is_rejected_before_it_is_sent() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let mut client = ingress.client().await;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: door\r\nexpect: 100-continue\r\ncontent-length: 5000000000\r\n\r\n"
    );
    client.write(head.as_bytes()).await.unwrap();
    assert_eq!(client.answer("POST").await.unwrap().status, 413);
}

#[tokio::test]
async fn a_chunked_body_is_taken_and_the_limit_holds_while_it_streams() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    for (size, status) in [(3000, 200), (MIB + 1, 413)] {
        let body = event_of_size(size);
        let mut client = ingress.client().await;
        let signature = sign(SECRET, now(), &body);
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: door\r\nstripe-signature: {signature}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        client.write(head.as_bytes()).await.unwrap();
        for chunk in body.chunks(1000) {
            client
                .write(format!("{:x}\r\n", chunk.len()).as_bytes())
                .await
                .unwrap();
            client.write(chunk).await.unwrap();
            client.write(b"\r\n").await.unwrap();
        }
        client.write(b"0\r\n\r\n").await.unwrap();
        assert_eq!(client.answer("POST").await.unwrap().status, status, "{size}");
    }
    assert_eq!(database.stored().await, 1);
}

#[tokio::test]
async fn a_head_that_dribbles_in_is_cut_off_after_five_seconds() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let started = Instant::now();
    let mut silent = ingress.client().await;
    let mut dribbling = ingress.client().await;
    dribbling
        .write(b"POST /webhooks/stripe HTTP/1.1\r\nhost: d")
        .await
        .unwrap();
    let (one, two) = futures::join!(silent.closed(), dribbling.closed());
    one.unwrap();
    two.unwrap();
    let took = started.elapsed().as_secs_f32();
    assert!((4.5..8.0).contains(&took), "{took} s");
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_408_after_ten_seconds() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let started = Instant::now();
    let mut client = ingress.client().await;
    client
        .write(format!("POST {PATH} HTTP/1.1\r\nhost: door\r\ncontent-length: 100\r\n\r\n{{").as_bytes())
        .await
        .unwrap();
    let answer = client.answer("POST").await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    let took = started.elapsed().as_secs_f32();
    assert!((9.5..14.0).contains(&took), "{took} s");
    client.closed().await.unwrap();
}

#[tokio::test]
async fn a_kept_alive_connection_outlives_the_limit_for_heads() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let mut client = ingress.client().await;
    for id in ["evt_1", "evt_2"] {
        let body = event(id);
        let signature = sign(SECRET, now(), &body);
        let answer = client
            .request("POST", PATH, &[("stripe-signature", &signature)], &body)
            .await
            .unwrap();
        assert!(answer.is_new(), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(5500)).await; // longer than a head may take
    }
}

#[tokio::test]
async fn when_saturated_the_rest_gets_503_at_once_and_those_inside_are_served() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut settings = command(&database.url());
    settings.env("INGRESS_MAX_IN_FLIGHT", "3");
    let ingress = Ingress::start_by(settings).await;
    let block = database.block_inserts().await;
    let addr = ingress.addr;
    let inside =
        tokio::spawn(join_all((0..3).map(move |n| async move {
            deliver(addr, &event(&format!("evt_{n}"))).await
        })));
    crate::house::until("three to wait", async || {
        ingress.metric("quittance_webhook_waiting").await == Some(3)
    })
    .await;
    let started = Instant::now();
    let rejected = ingress.deliver(&event("evt_9")).await;
    assert_eq!((rejected.status, rejected.code().as_str()), (503, "saturated"));
    assert!(rejected.header("retry-after").is_some());
    assert!(started.elapsed() < Duration::from_secs(2));
    ingress.until_logged(r#""in_flight""#).await;
    assert_eq!(ingress.refused("in_flight").await, 1);
    block.rollback().await.unwrap();
    assert!(inside.await.unwrap().iter().all(|answer| answer.is_new()));
    assert!(ingress.deliver(&event("evt_9")).await.is_new());
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut settings = command(&database.url());
    settings.env("INGRESS_MAX_CONNECTIONS", "2");
    let ingress = Ingress::start_by(settings).await;
    let (mut one, _two) = (ingress.client().await, ingress.client().await);
    crate::house::until("two connections", async || {
        ingress.metric("quittance_webhook_connections").await == Some(2)
    })
    .await;
    let addr = ingress.addr;
    let third = tokio::spawn(async move { deliver(addr, &event("evt_third")).await });
    crate::house::until("the third to wait in the kernel", async || {
        ingress.waiting_to_be_accepted() == 1
    })
    .await;
    // Whoever has a place is served meanwhile, again and again; the third is not even accepted.
    let inside = [
        "evt_1", "evt_2", "evt_3", "evt_4", "evt_5", "evt_6", "evt_7", "evt_8",
    ];
    for id in inside {
        let body = event(id);
        let signature = sign(SECRET, now(), &body);
        let headers = [("stripe-signature", signature.as_str())];
        let answer = one.request("POST", PATH, &headers, &body).await.unwrap();
        assert!(answer.is_new(), "{answer:?}");
    }
    assert_eq!(ingress.waiting_to_be_accepted(), 1);
    assert_eq!(database.stored().await, 8);
    drop(one);
    assert!(third.await.unwrap().is_new());
    let stored = "select dedupe_key from jobs order by seq desc limit 1";
    let last: String = sqlx::query_scalar(stored)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(last, "evt_third");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_rejected() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let large = "x".repeat(32 << 10);
    let answer = Client::connect(ingress.addr)
        .await
        .unwrap()
        .request("POST", PATH, &[("x-large", &large)], b"")
        .await;
    assert!(answer.is_err() || answer.is_ok_and(|a| a.status == 431));
    assert!(
        ingress.deliver(&event("evt_1")).await.is_new(),
        "the next one is served"
    );
}
