//! Is everything there that a request needs? Asked by `/readyz`; what had to be so at the start is told by `/startupz`.

use std::{
    sync::{self, PoisonError},
    time::Duration,
};

use shared::{
    probe::Check,
    store::{
        Db, Error, Result,
        migrations::{self, SchemaState},
    },
};
use tokio::{sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

/// Names of the checks of `/readyz`.
pub const CHECKS: [&str; 3] = ["database", "schema", "draining"];
/// What had to be so for anything to listen at all (`start.rs`): settings that make sense, a database that answers, a schema that is
/// not behind, a login that is held to one firm.
const STARTED: [&str; 4] = ["configuration", "database", "schema", "login"];

/// A probe that waits longer than this has its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// After which it is looked for so long why there is none.
const WHY_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers probes.
pub struct Health {
    db: Db,
    draining: CancellationToken,
    /// One probe at a time: probes must never take the connections of requests.
    one_at_a_time: Mutex<()>,
    /// The checks that the log last said fail.
    told: sync::Mutex<Vec<String>>,
}

impl Health {
    /// Nothing is asked before the first probe.
    pub fn new(db: Db, draining: CancellationToken) -> Self {
        Self {
            db,
            draining,
            one_at_a_time: Mutex::new(()),
            told: sync::Mutex::default(),
        }
    }

    /// What the start has found to be so. It stays so, also while draining and while Postgres is away: a restart would help with neither.
    pub fn startup(&self) -> Vec<Check> {
        STARTED.map(|name| (name.to_owned(), Ok(None))).into()
    }

    /// May traffic be sent here? Each check of [`CHECKS`].
    pub async fn readiness(&self) -> Vec<Check> {
        let looked = {
            let _turn = self.one_at_a_time.lock().await;
            timeout(PROBE_TIMEOUT, look(&self.db)).await
        };
        let unknown = || Err("unknown while the database does not answer".to_owned());
        let (database, schema) = match looked {
            // Who asks does not wait as long as the pool does, and the pool would only say that it waited.
            Err(_) | Ok(Err(Error::Unavailable(_))) => (Err(self.db.why_away(WHY_TIMEOUT).await), unknown()),
            Ok(Err(fault)) => (Err(fault.to_string()), unknown()),
            Ok(Ok(state)) => (Ok(None), schema(state)),
        };
        let draining = if self.draining.is_cancelled() {
            Err("shutting down".to_owned())
        } else {
            Ok(None)
        };
        let results = [database, schema, draining];
        let checks: Vec<Check> = CHECKS.map(str::to_owned).into_iter().zip(results).collect();
        self.tell(&checks);
        checks
    }

    /// Says in the log what fails, whenever that is something else than before: probes come every few seconds.
    fn tell(&self, checks: &[Check]) {
        let failing: Vec<String> = failing(checks).map(|(name, _)| name.to_owned()).collect();
        // Whoever panicked with it held left it whole.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == failing {
            return;
        }
        if failing.is_empty() {
            tracing::info!("ready again");
        }
        for (check, message) in self::failing(checks) {
            tracing::warn!(check, message, "not ready");
        }
        *told = failing;
    }

    /// The pool, for the metrics.
    pub fn pool(&self) -> &sqlx::PgPool {
        self.db.pool()
    }
}

/// What fails, and why.
pub fn failing(checks: &[Check]) -> impl Iterator<Item = (&str, &str)> {
    checks
        .iter()
        .filter_map(|(name, result)| Some((name.as_str(), result.as_ref().err()?.as_str())))
}

async fn look(db: &Db) -> Result<SchemaState> {
    let mut conn = db.pool().acquire().await?;
    migrations::check(&mut conn).await
}

/// One that is behind lacks what requests need. One that is ahead does not: migrations only expand what an older build uses.
fn schema(state: SchemaState) -> std::result::Result<Option<String>, String> {
    match state {
        SchemaState::Current | SchemaState::Ahead { .. } => Ok(None),
        SchemaState::Behind { have, want, .. } => Err(format!(
            "the database schema is behind (version {have}, this build needs {want}): run `quittance migrate`"
        )),
    }
}
