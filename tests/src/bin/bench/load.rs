//! Sends signed webhooks as fast as they are answered: each connection one after the other, as Stripe does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::tests::world::{Door, signature_header, wall_clock_secs};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::Outcome;

/// What one load came to.
#[derive(Debug, Default)]
pub struct Answered {
    /// Answers with status 200.
    pub ok: u64,
    /// How long each of them took, sorted.
    pub latencies: Vec<Duration>,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Answered {
    /// Answers in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let ok = self.ok as f64;
        ok / self.took.as_secs_f64()
    }

    /// The latency that so much of a hundred is below, in milliseconds.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies
            .get(at)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// One event in `one_in` is sent a second time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// For so long.
    pub seconds: u64,
    /// Of a hundred requests, how many repeat the one before.
    pub repeated_percent: u64,
}

/// Sends it to the door at `address`.
///
/// # Errors
/// When a connection breaks, or an answer is not 200.
pub async fn send(address: SocketAddr, secret: &str, load: Load) -> Outcome<Answered> {
    let template = Arc::new(Template::new(secret));
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
    let begun = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..load.connections {
        let (template, stop, next) = (template.clone(), stop.clone(), next.clone());
        senders.spawn(async move {
            one_connection(address, &template, &stop, &next, load.repeated_percent)
                .await
                .map_err(|fault| fault.to_string())
        });
    }
    tokio::time::sleep(Duration::from_secs(load.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Answered::default();
    while let Some(sender) = senders.join_next().await {
        let latencies = sender??;
        all.ok += u64::try_from(latencies.len())?;
        all.latencies.extend(latencies);
    }
    all.took = begun.elapsed();
    all.latencies.sort_unstable();
    Ok(all)
}

async fn one_connection(
    address: SocketAddr,
    template: &Template,
    stop: &AtomicBool,
    next: &AtomicU64,
    repeated_percent: u64,
) -> Outcome<Vec<Duration>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut latencies = Vec::new();
    let mut own = 0;
    while !stop.load(Ordering::Relaxed) {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        if own == 0 || turn % 100 >= repeated_percent {
            own = turn;
        }
        let (body, signature) = template.event(own);
        let request = Request::post(Door::PATH)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", signature)
            .body(Full::new(body))?;
        let asked = Instant::now();
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        latencies.push(asked.elapsed());
        if status != 200 {
            return Err(format!("the ingress answered {status}").into());
        }
    }
    Ok(latencies)
}

/// Bytes of an event, as those of charges have.
const SIZE: usize = 3_500;
/// What is put into the template.
const ID: &str = "@id@";
const CUSTOMER: &str = "@customer@";

/// A refund of which only the id and the customer change. Nobody knows the charge.
struct Template {
    text: String,
    secret: [String; 1],
    run: String,
}

impl Template {
    fn new(secret: &str) -> Self {
        let text = include_str!("../../../fixtures/stripe/2026-09-30/charge.refunded.json");
        let mut event: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        event["id"] = ID.into();
        event["data"]["object"]["id"] = "ch_bench".into();
        event["data"]["object"]["customer"] = CUSTOMER.into();
        let padding = SIZE.saturating_sub(event.to_string().len());
        event["data"]["object"]["description"] = "x".repeat(padding).into();
        Self {
            text: event.to_string(),
            secret: [secret.to_owned()],
            run: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// The n-th event and its signature header.
    fn event(&self, n: u64) -> (Bytes, String) {
        let id = format!("evt_{}{n:010}", self.run);
        let customer = format!("cus_{}", n % 1000);
        let body = self.text.replacen(ID, &id, 1).replacen(CUSTOMER, &customer, 1);
        let header = signature_header(&self.secret, body.as_bytes(), wall_clock_secs());
        (body.into(), header)
    }
}
