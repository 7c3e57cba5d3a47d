//! What no honest client sends: broken HTTP, two requests disguised as one, a crowd that never speaks. None of it stores
//! anything, and the honest delivery after it is taken as if nothing had been.

use futures::future::join_all;

use crate::{
    client::{Client, sign},
    house::{Database, Ingress, PATH, SECRET, command, event, now},
};

/// Requests that are no HTTP/1.1, each with a genuine signature over its body where it has one.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let body = event("evt_hostile");
    let signature = sign(SECRET, now(), &body);
    let length = body.len();
    let with = |head: String| [head.into_bytes(), body.clone()].concat();
    vec![
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(8)),
        ("no method", b"/webhooks/stripe HTTP/1.1\r\nhost: d\r\n\r\n".to_vec()),
        ("HTTP/0.9", format!("POST {PATH}\r\n\r\n").into_bytes()),
        ("a NUL in a header", with(format!("POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {signature}\0\r\ncontent-length: {length}\r\n\r\n"))),
        ("a space before the colon", with(format!("POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature : {signature}\r\ncontent-length: {length}\r\n\r\n"))),
        ("a length that is no number", with(format!("POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {signature}\r\ncontent-length: +{length}x\r\n\r\n"))),
        ("a negative length", with(format!("POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {signature}\r\ncontent-length: -1\r\n\r\n"))),
        ("two lengths", with(format!("POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {signature}\r\ncontent-length: {length}\r\ncontent-length: 1\r\n\r\n"))),
        ("a chunk of no size", format!("POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {signature}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n").into_bytes()),
        ("more headers than anybody needs", {
            let many = "x-a: b\r\n".repeat(1500);
            with(format!("POST {PATH} HTTP/1.1\r\nhost: d\r\n{many}stripe-signature: {signature}\r\ncontent-length: {length}\r\n\r\n"))
        }),
        ("bytes of no meaning", (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
    ]
}

#[tokio::test]
async fn malformed_http_is_refused_and_the_next_one_is_served() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let requests = malformed();
    let count = requests.len();
    for (n, (what, bytes)) in requests.into_iter().enumerate() {
        let mut client = ingress.client().await;
        // The other side may hang up while we still write: that is an answer too.
        client.write(&bytes).await.ok();
        match client.answer("POST").await {
            Ok(answer) => assert!((400..500).contains(&answer.status), "{what}: {answer:?}"),
            Err(fault) => assert_ne!(fault.kind(), std::io::ErrorKind::TimedOut, "{what}: it hangs"),
        }
        assert!(
            ingress.deliver(&event(&format!("evt_honest_{n}"))).await.is_new(),
            "after {what}"
        );
    }
    assert_eq!(database.stored().await, count as i64, "only the honest ones");
}

/// A proxy that reads one length and a server that reads the other would let a stranger's request ride on an honest
/// one's connection.
#[tokio::test]
async fn a_request_with_two_ends_smuggles_nothing_in() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let inner = event("evt_inner");
    let outer = event("evt_outer");
    let smuggled = format!(
        "POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
        sign(SECRET, now(), &inner),
        inner.len()
    );
    let tail = [smuggled.as_bytes(), &inner].concat();
    for (name, length, coding) in [
        ("the length ends first", outer.len(), "chunked"),
        ("the chunks end first", outer.len() + 5 + tail.len(), "chunked"),
        ("a coding in disguise", outer.len(), "xchunked"),
        ("a coding written twice", outer.len(), "chunked, identity"),
    ] {
        let mut client = ingress.client().await;
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {}\r\ncontent-length: {length}\r\ntransfer-encoding: {coding}\r\n\r\n",
            sign(SECRET, now(), &outer)
        );
        let chunk = [
            format!("{:x}\r\n", outer.len()).as_bytes(),
            &outer[..],
            b"\r\n0\r\n\r\n",
        ]
        .concat();
        client
            .write(&[head.as_bytes(), &chunk, &tail].concat())
            .await
            .ok();
        while let Ok(answer) = client.answer("POST").await {
            assert!(answer.status < 500, "{name}: {answer:?}");
        }
        let stored: Vec<String> = sqlx::query_scalar(
            "select stripe_event_id from stripe_events where stripe_event_id = 'evt_inner'",
        )
        .fetch_all(&database.pool)
        .await
        .unwrap();
        assert_eq!(
            stored,
            Vec::<String>::new(),
            "{name}: the hidden request was taken for one"
        );
    }
    // With one end only, the tail is a request of its own: the check above would have seen it.
    let mut client = ingress.client().await;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: d\r\nstripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
        sign(SECRET, now(), &outer),
        outer.len()
    );
    client
        .write(&[head.as_bytes(), &outer, &tail].concat())
        .await
        .unwrap();
    assert_eq!(client.answer("POST").await.unwrap().status, 200);
    assert!(client.answer("POST").await.unwrap().is_new());
}

#[tokio::test]
async fn a_crowd_that_never_speaks_keeps_nobody_out() {
    let Some(database) = Database::create().await else {
        return;
    };
    let mut settings = command(&database.url());
    settings.env("INGRESS_MAX_CONNECTIONS", "400");
    let ingress = Ingress::start_by(settings).await;
    // As many as there are places: a next one has to wait until the silent ones are sent away, five seconds later.
    let crowd: Vec<Client> = join_all((0..400).map(|_| ingress.client())).await;
    crate::house::until("the crowd to fill the house", async || {
        ingress.metric("quittance_webhook_connections").await == Some(400)
    })
    .await;
    assert!(ingress.deliver(&event("evt_honest")).await.is_new());
    assert!(ingress.deliver(&event("evt_honest")).await.is_duplicate());
    for mut silent in crowd {
        silent.closed().await.unwrap();
    }
}
