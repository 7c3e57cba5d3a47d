//! A webhook endpoint that writes down what it gets and answers what it is told.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::until;

/// One delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub signature: String,
    pub raw: String,
    pub event: Value,
}

#[derive(Default)]
struct Notes {
    deliveries: Vec<Delivery>,
    answers: VecDeque<StatusCode>,
}

/// A running endpoint.
#[derive(Clone)]
pub struct Listener {
    pub url: String,
    notes: Arc<Mutex<Notes>>,
}

impl Listener {
    /// Listens; answers these first, then 200.
    pub async fn answering(answers: &[StatusCode]) -> Self {
        let notes = Arc::new(Mutex::new(Notes {
            answers: answers.iter().copied().collect(),
            ..Notes::default()
        }));
        let app = Router::new()
            .route("/hook", post(take))
            .with_state(Arc::clone(&notes));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(socket, app).await });
        Self { url, notes }
    }

    /// All deliveries so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.notes.lock().unwrap().deliveries.clone()
    }

    /// Types of all deliveries so far.
    pub fn types(&self) -> Vec<String> {
        self.deliveries()
            .iter()
            .map(|delivery| super::text(&delivery.event, "type").to_owned())
            .collect()
    }

    /// Waits for so many deliveries.
    pub async fn wait_for(&self, count: usize) -> Vec<Delivery> {
        until(&format!("{count} deliveries"), async || {
            Some(self.deliveries()).filter(|all| all.len() >= count)
        })
        .await
    }
}

async fn take(State(notes): State<Arc<Mutex<Notes>>>, headers: HeaderMap, raw: String) -> StatusCode {
    let signature = headers
        .get("stripe-signature")
        .map_or("", |value| value.to_str().unwrap())
        .to_owned();
    let event = serde_json::from_str(&raw).unwrap();
    let mut notes = notes.lock().unwrap();
    notes.deliveries.push(Delivery {
        signature,
        raw,
        event,
    });
    notes.answers.pop_front().unwrap_or(StatusCode::OK)
}

impl Delivery {
    /// `t` of the signature.
    pub fn signed_at(&self) -> i64 {
        self.part("t")[0].parse().unwrap()
    }

    /// The signatures.
    pub fn signatures(&self) -> Vec<&str> {
        self.part("v1")
    }

    fn part(&self, name: &str) -> Vec<&str> {
        self.signature
            .split(',')
            .filter_map(|part| part.strip_prefix(name)?.strip_prefix('='))
            .collect()
    }

    /// What the signature should be, by RFC 2104 and nothing that the simulator uses for it.
    pub fn expected_signature(&self, secret: &str) -> String {
        assert!(secret.len() <= 64, "longer keys are hashed first");
        let mut key = [0_u8; 64];
        key[..secret.len()].copy_from_slice(secret.as_bytes());
        let message = format!("{}.{}", self.signed_at(), self.raw);
        let inner = Sha256::new()
            .chain_update(key.map(|byte| byte ^ 0x36))
            .chain_update(message)
            .finalize();
        hex::encode(
            Sha256::new()
                .chain_update(key.map(|byte| byte ^ 0x5c))
                .chain_update(inner)
                .finalize(),
        )
    }
}
