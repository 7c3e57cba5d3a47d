//! People at the portal while something happens to it: a browser that looks and writes all the time, and a script, neither of whom may
//! be refused or cut off once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tests::world::World;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::portal::{client::Browser, logged_in, token};

/// Between two requests of one of them: the load, not a wait for anything.
const PACE: Duration = Duration::from_millis(20);

/// What a browser looks at, page by page.
const PAGES: [&str; 4] = [
    "/billing/",
    "/billing/invoices",
    "/billing/credits",
    "/api/v1/invoices",
];

/// Requests on their way until [`Readers::end`].
pub struct Readers {
    all: JoinSet<Asked>,
    stop: CancellationToken,
    answered: Arc<AtomicUsize>,
}

/// What one of them asked.
#[derive(Debug, Default)]
pub struct Asked {
    /// Requests that were answered as they should be.
    pub well: usize,
    /// Of those, what was written.
    pub written: usize,
    /// What was not: request, and the status or the fault.
    pub ill: Vec<String>,
}

impl Readers {
    /// An admin of this firm in a browser, and a script with a token of the firm's that raises alerts.
    pub async fn begin(world: &World, firm: &str) -> Self {
        let user = format!("admin-{firm}");
        world
            .import(&json!({ "users": [
                {"external_id": user, "firm": firm, "name": "Admin", "role": "admin"},
            ] }))
            .await;
        let browser = logged_in(world, &user).await;
        let script = token(world, Some(firm), "alerts").await;
        let (stop, answered) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let mut all = JoinSet::new();
        all.spawn(look(browser, stop.clone(), answered.clone()));
        all.spawn(write(script, stop.clone(), answered.clone()));
        Self { all, stop, answered }
    }

    /// Waits until this many more have been answered, whatever the answer.
    pub async fn pass(&self, more: usize, limit: Duration) {
        let wanted = self.answered.load(Ordering::SeqCst) + more;
        let reached = async {
            let mut look = interval(PACE);
            while self.answered.load(Ordering::SeqCst) < wanted {
                look.tick().await;
            }
        };
        tokio::time::timeout(limit, reached)
            .await
            .expect("requests to be answered");
    }

    /// Lets each finish what it has begun: what all of them asked.
    pub async fn end(mut self) -> Asked {
        self.stop.cancel();
        let mut together = Asked::default();
        while let Some(asked) = self.all.join_next().await {
            let asked = asked.unwrap();
            together.well += asked.well;
            together.written += asked.written;
            together.ill.extend(asked.ill);
        }
        together
    }
}

async fn look(mut browser: Browser, stop: CancellationToken, answered: Arc<AtomicUsize>) -> Asked {
    let mut asked = Asked::default();
    let mut pace = paced();
    for page in PAGES.into_iter().cycle() {
        if stop.is_cancelled() {
            break;
        }
        pace.tick().await;
        match browser.try_get(page).await {
            Ok(200) => asked.well += 1,
            Ok(status) => asked.ill.push(format!("GET {page}: {status}")),
            Err(fault) => asked.ill.push(format!("GET {page}: {fault:?}")),
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
    asked
}

async fn write(mut script: Browser, stop: CancellationToken, answered: Arc<AtomicUsize>) -> Asked {
    let mut asked = Asked::default();
    let mut pace = paced();
    while !stop.is_cancelled() {
        pace.tick().await;
        let alert = json!({"type": "AGENT_OFFLINE", "severity": "info", "title": "Agent offline", "message": "",
                           "dedupe_key": format!("agent:{}", asked.written)});
        match script.try_post("/api/alerts", &alert).await {
            Ok(201) => {
                asked.well += 1;
                asked.written += 1;
            }
            Ok(status) => asked.ill.push(format!("POST: {status}")),
            Err(fault) => asked.ill.push(format!("POST: {fault:?}")),
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
    asked
}

fn paced() -> tokio::time::Interval {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// Nobody was refused or cut off, and everything that was said to be written is there, once.
pub async fn assert_nobody_noticed(world: &World, asked: &Asked) {
    assert!(
        asked.ill.is_empty(),
        "{} were not served: {:#?}",
        asked.ill.len(),
        asked.ill
    );
    assert!(
        asked.well > 100 && asked.written > 40,
        "that was no load: {asked:?}"
    );
    let kept = "select count(*) from alerts where alert_type = 'AGENT_OFFLINE' and occurrences = 1";
    assert_eq!(world.count(kept).await, i64::try_from(asked.written).unwrap());
}
