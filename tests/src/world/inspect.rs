//! What stories look at: rows, the whole state as text, probes and metrics.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use tokio::time::{Instant, sleep};

use super::{
    World,
    error::{Error, Result, must},
    postgres::{Database, Login},
    state_text::{self, Attempts},
};

impl World {
    /// One number from the database.
    ///
    /// # Panics
    /// When the query fails.
    pub async fn count(&self, sql: &str) -> i64 {
        let row = sqlx::query_scalar(AssertSqlSafe(format!("select ({sql})::bigint")));
        must(sql, row.fetch_one(&self.db).await.map_err(Error::from))
    }

    /// One column of text from the database.
    ///
    /// # Panics
    /// When the query fails.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        must(sql, rows.fetch_all(&self.db).await.map_err(Error::from))
    }

    /// Every business table as text that another world's can be compared with.
    ///
    /// # Panics
    /// When a table cannot be read.
    pub async fn state_text(&self) -> String {
        self.state_text_since(self.started_at).await
    }

    /// As [`World::state_text`], with times told from another moment than the start of the world.
    ///
    /// # Panics
    /// When a table cannot be read.
    pub async fn state_text_since(&self, start: DateTime<Utc>) -> String {
        must(
            "the state cannot be read",
            state_text::render(&self.db, start, None, Attempts::All).await,
        )
    }

    /// As [`World::state_text`], but for attempts that proved to have had no effect and were made again.
    ///
    /// # Panics
    /// When a table cannot be read.
    pub async fn effects_text(&self) -> String {
        must(
            "the state cannot be read",
            state_text::render(&self.db, self.started_at, None, Attempts::WithEffect).await,
        )
    }

    /// As [`World::state_text`], of one firm only, named by its external id: many worlds in one.
    ///
    /// # Panics
    /// When a table cannot be read.
    pub async fn state_text_of(&self, firm: &str) -> String {
        must(
            "the state cannot be read",
            state_text::render(&self.db, self.started_at, Some(firm), Attempts::All).await,
        )
    }

    /// Polls a query until it gives `wanted`.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn until(&self, sql: &str, wanted: i64, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.count(sql).await;
            if found == wanted {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "after {limit:?} {sql} gives {found}, not {wanted}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where programs of this world reach its database.
    #[must_use]
    pub fn database_url(&self, login: Login) -> String {
        self.database.url(login, self.postgres)
    }

    /// A copy of this world's database as it is now, and where commands reach it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn backup(&self) -> (Database, String) {
        let copy = must("the database cannot be copied", self.database.backup().await);
        let url = copy.url(Login::Worker, self.postgres);
        (copy, url)
    }

    /// `GET` on the ingress's admin port: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn ingress_admin(&self, path: &str) -> (u16, String) {
        must(
            "the admin port is silent",
            get(self.ingress_admin_port, path).await,
        )
    }

    /// `GET` on the portal's admin port: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn portal_admin(&self, path: &str) -> (u16, String) {
        must(
            "the admin port is silent",
            get(self.portal_admin_port, path).await,
        )
    }

    /// `GET` on a worker's admin port: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn worker_admin(&self, worker: usize, path: &str) -> (u16, String) {
        must(
            "the admin port is silent",
            get(self.worker_admin_ports[worker], path).await,
        )
    }

    /// Polls a worker's admin port until it answers to `path` with `status`; returns the body.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn until_worker_says(&self, worker: usize, path: &str, status: u16, limit: Duration) -> String {
        until_says(self.worker_admin_ports[worker], path, status, limit).await
    }

    /// As [`World::until_worker_says`], of the ingress.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn until_ingress_says(&self, path: &str, status: u16, limit: Duration) -> String {
        until_says(self.ingress_admin_port, path, status, limit).await
    }

    /// As [`World::until_worker_says`], of the portal.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn until_portal_says(&self, path: &str, status: u16, limit: Duration) -> String {
        until_says(self.portal_admin_port, path, status, limit).await
    }

    /// Polls a worker's metrics until the one of this name, labels included, is at least `wanted`.
    ///
    /// # Panics
    /// When it is not within `limit`.
    pub async fn until_metric(&self, worker: usize, name: &str, wanted: f64, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let (_, metrics) = self.worker_admin(worker, "/metrics").await;
            let found = metrics
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
            if found.is_some_and(|found| found >= wanted) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "after {limit:?} {name} is {found:?}, not {wanted}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn until_says(port: u16, path: &str, status: u16, limit: Duration) -> String {
    let deadline = Instant::now() + limit;
    loop {
        let answer = get(port, path).await;
        match answer {
            Ok((found, body)) if found == status => return body,
            _ => assert!(
                Instant::now() < deadline,
                "after {limit:?} {path} gives {answer:?}, not {status}"
            ),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let response = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await?;
    Ok((response.status().as_u16(), response.text().await?))
}
