//! A receiver of webhooks: keeps what is posted, and answers as it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use tokio::{net::TcpListener, sync::watch, time::Instant};

/// How long a story waits for something to arrive.
const LIMIT: Duration = Duration::from_secs(20);

/// One POST that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// `Quittance-Delivery`.
    pub delivery: String,
    /// `Quittance-Signature`.
    pub signature: String,
    /// The bytes.
    pub body: String,
    /// Which path.
    pub path: String,
}

/// Listens until its runtime ends. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hook {
    url: String,
    kept: Arc<Mutex<Vec<Posted>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    held: watch::Sender<bool>,
}

impl Hook {
    /// Listens on a free port, and answers 200 to everything.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let hook = Self {
            url: format!("http://{}/hook", listener.local_addr()?),
            kept: Arc::default(),
            answers: Arc::default(),
            held: watch::Sender::new(false),
        };
        let routes = Router::new()
            .route("/{*path}", post(take))
            .with_state(hook.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(hook)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers these from now on and nothing that was said before, one after the other, then 200 again. A redirect leads to the receiver itself.
    pub fn answer(&self, statuses: &[u16]) {
        *lock(&self.answers) = statuses.iter().copied().collect();
    }

    /// Answers nobody until [`Hook::release`]; what comes is kept all the same.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Answers again.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// What came, in order.
    #[must_use]
    pub fn posted(&self) -> Vec<Posted> {
        lock(&self.kept).clone()
    }

    /// Waits until so many came, which may have been answered or not.
    ///
    /// # Panics
    /// When they do not.
    pub async fn until(&self, posts: usize) {
        let begun = Instant::now();
        while lock(&self.kept).len() < posts {
            assert!(
                begun.elapsed() < LIMIT,
                "{} of {posts} came",
                lock(&self.kept).len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn take(State(hook): State<Hook>, uri: axum::http::Uri, headers: HeaderMap, body: String) -> Response {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    lock(&hook.kept).push(Posted {
        delivery: header("quittance-delivery"),
        signature: header("quittance-signature"),
        body,
        path: uri.path().to_owned(),
    });
    let mut held = hook.held.subscribe();
    // A sender that is gone holds nobody.
    if held.wait_for(|held| !held).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let status = lock(&hook.answers).pop_front().unwrap_or(200);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    match status.is_redirection() {
        true => (status, [("location", "/elsewhere")]).into_response(),
        // A body that nobody reads.
        false => (status, "x".repeat(100_000)).into_response(),
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
