//! What stories do: run commands, move the clock, deliver events, wait until all is quiet.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::store::jobs;
use tokio::time::{Instant, sleep};

use super::{
    World,
    cli::{Cli, CliOutput},
    error::{Error, must},
    postgres::Login,
    settle::{self, Schedules},
};

/// How long calls may take until they are held.
const HOLD_LIMIT: Duration = Duration::from_secs(10);

impl World {
    /// The operator's command with this world's environment, for runs that need it changed.
    #[must_use]
    pub fn command(&self) -> Cli {
        Cli::new(
            self.binaries.quittance.clone(),
            self.env_beside_gates(Login::Worker),
        )
    }

    /// Runs `quittance ARGS`; the exit code is for the test to look at.
    ///
    /// # Panics
    /// When the program cannot be run.
    pub async fn cli(&self, args: &[&str]) -> CliOutput {
        must("a command cannot be run", self.command().run(args).await)
    }

    /// Runs `quittance ARGS --json`, which must succeed, and returns its answer.
    ///
    /// # Panics
    /// When it does not end with 0 and one JSON document.
    pub async fn json(&self, args: &[&str]) -> Value {
        must("a command failed", self.command().json(args).await)
    }

    /// Imports a document, which must be without fault.
    ///
    /// # Panics
    /// When the import is refused.
    pub async fn import(&self, document: &Value) -> Value {
        let run = self
            .command()
            .run_with_input(&["import", "-", "--json"], &document.to_string())
            .await;
        must(
            "the import failed",
            run.and_then(CliOutput::success).and_then(|output| output.json()),
        )
    }

    /// Moves the business clock forward: `world.advance("3d")`.
    ///
    /// # Panics
    /// When the clock refuses.
    pub async fn advance(&self, duration: &str) {
        self.json(&["clock", "advance", duration]).await;
    }

    /// Sets both clocks to a moment, the simulator's first, so that nothing happens at Stripe before it is due here. Without the
    /// command, which a story that lives through many days has no time for. The simulator must not follow by itself
    /// ([`WorldOptions::simulator_follows_clock`](super::WorldOptions)).
    ///
    /// # Panics
    /// When one of them refuses.
    pub async fn go_to(&self, time: DateTime<Utc>) {
        let now = json!({ "now": time.timestamp() });
        must("the simulator's clock stands", self.sim.post("/clock", now).await);
        let moved = sqlx::query(
            "with moved as (update clock set offset_ms = (extract(epoch from $1 - clock_timestamp()) * 1000)::bigint,
                                             changed_at = clock_timestamp() returning true)
             select pg_notify($2, $3) from moved",
        )
        .bind(time)
        .bind(jobs::NUDGE_CHANNEL)
        .bind(jobs::CLOCK_MOVED)
        .execute(&self.db)
        .await;
        must("the clock stands", moved.map_err(Error::from));
    }

    /// Sets the business clock, and counts the times of [`World::state_text`] from there: two worlds that begin at the same
    /// time differ in nothing that depends on it.
    ///
    /// # Panics
    /// When the clock refuses.
    pub async fn begin_at(&mut self, time: DateTime<Utc>) {
        self.json(&["clock", "set", &time.to_rfc3339()]).await;
        self.started_at = time;
    }

    /// Waits until nothing is left to do; thirty seconds at most.
    ///
    /// # Panics
    /// When there is still work then; the message lists it.
    pub async fn settle(&self) {
        self.settle_within(settle::LIMIT).await;
    }

    /// Waits until the schedules have caught up and nothing is left to do. Looks at no books: for a story that comes to rest
    /// hundreds of times and looks at them itself.
    ///
    /// # Panics
    /// When there is still work after thirty seconds; the message lists it.
    pub async fn rest(&self) {
        let settled = settle::settle(&self.db, &self.sim, Schedules::CaughtUp, settle::LIMIT);
        must("the world does not come to rest", settled.await);
    }

    /// As [`World::settle`] with a limit of its own. At rest the books balance (P9), whatever the story is about.
    ///
    /// # Panics
    /// When there is still work then, the ledger is wrong, the audit log has a name that is on no list, or a reason has no
    /// text.
    pub async fn settle_within(&self, limit: Duration) {
        must(
            "the world does not settle",
            settle::settle(&self.db, &self.sim, Schedules::AsTheyAre, limit).await,
        );
        self.assert_books_balance().await;
        self.assert_audit_names().await;
        self.assert_reasons_have_texts().await;
    }

    /// Waits until so many API calls are held at the simulator (faults `hold_before` and `hold_after`).
    ///
    /// # Panics
    /// When they are not within ten seconds.
    pub async fn until_held(&self, calls: u64) {
        let deadline = Instant::now() + HOLD_LIMIT;
        loop {
            let held = must("the simulator does not answer", self.sim.held().await);
            if held == calls {
                return;
            }
            assert!(Instant::now() < deadline, "{held} calls are held, not {calls}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Delivers an event of the test's own making; it must be accepted.
    ///
    /// # Panics
    /// When the ingress does not answer 200.
    pub async fn deliver(&self, event: &Value) {
        let answer = must("the ingress does not answer", self.door.deliver(event).await);
        assert_eq!(
            answer.status, 200,
            "the ingress refused {}: {}",
            event["type"], answer.body
        );
    }
}
