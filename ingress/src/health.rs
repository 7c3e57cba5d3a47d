//! Is everything there that an event needs to be stored? Asked at start, and by `/readyz`.

use std::{
    sync::{self, PoisonError},
    time::Duration,
};

use serde::Serialize;
use shared::{
    config::Mode,
    store::{
        Db, Error, Result,
        migrations::{self, SchemaState},
    },
};
use tokio::{sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

/// Names of the checks of a probe.
pub const CHECKS: [&str; 4] = ["database", "schema", "mode", "draining"];

/// A probe that waits longer than this has its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// After which it is looked for so long why there is none.
const WHY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its schema, compared with ours.
    pub schema: SchemaState,
    /// The Stripe mode it belongs to, once a program with a key has said so.
    pub livemode: Option<bool>,
    /// Whether a commit survives a crash of the machine: `fsync`.
    pub durable: bool,
}

/// One check of a probe.
#[derive(Debug, Serialize)]
pub struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// The answer to `/readyz`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// All checks are.
    pub ok: bool,
    checks: Checks,
}

#[derive(Debug, Serialize)]
struct Checks {
    database: Check,
    schema: Check,
    mode: Check,
    draining: Check,
}

/// Answers probes.
pub struct Health {
    db: Db,
    mode: Mode,
    draining: CancellationToken,
    /// One probe at a time: probes must never take the committers' connections.
    one_at_a_time: Mutex<()>,
    /// The checks that the log last said fail.
    told: sync::Mutex<Vec<&'static str>>,
}

/// Asks the database about itself, in the ingress's own role.
///
/// # Errors
/// When it is away, or this login may not ask.
pub async fn look(db: &Db) -> Result<Database> {
    let mut conn = db.pool().acquire().await?;
    let schema = migrations::check(&mut conn).await?;
    if let SchemaState::Behind { .. } = schema {
        // The tables asked about below may be missing.
        return Ok(Database {
            schema,
            livemode: None,
            durable: true,
        });
    }
    let row =
        sqlx::query!(r#"select livemode, current_setting('fsync') = 'on' as "durable!" from installation"#)
            .fetch_one(&mut *conn)
            .await?;
    Ok(Database {
        schema,
        livemode: row.livemode,
        durable: row.durable,
    })
}

impl Readiness {
    /// Each check, for people.
    pub fn checks(&self) -> impl Iterator<Item = (&'static str, std::result::Result<Option<&str>, &str>)> {
        let Checks {
            database,
            schema,
            mode,
            draining,
        } = &self.checks;
        CHECKS
            .into_iter()
            .zip([database, schema, mode, draining])
            .map(|(name, check)| match (check.ok, check.message.as_deref()) {
                (true, told) => (name, Ok(told)),
                (false, why) => (name, Err(why.unwrap_or_default())),
            })
    }

    /// What fails, and why.
    pub fn failing(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.checks()
            .filter_map(|(name, result)| Some((name, result.err()?)))
    }
}

impl Health {
    /// Nothing is asked before the first probe.
    pub fn new(db: Db, mode: Mode, draining: CancellationToken) -> Self {
        Self {
            db,
            mode,
            draining,
            one_at_a_time: Mutex::new(()),
            told: sync::Mutex::default(),
        }
    }

    /// May traffic be sent here?
    pub async fn readiness(&self) -> Readiness {
        let looked = {
            let _turn = self.one_at_a_time.lock().await;
            timeout(PROBE_TIMEOUT, look(&self.db)).await
        };
        let unknown = || Check::failed("unknown while the database does not answer".to_owned());
        let (database, schema, mode) = match looked {
            // Who asks does not wait as long as the pool does, and the pool would only say that it waited.
            Err(_) | Ok(Err(Error::Unavailable(_))) => (
                Check::failed(self.db.why_away(WHY_TIMEOUT).await),
                unknown(),
                unknown(),
            ),
            Ok(Err(fault)) => (Check::failed(fault.to_string()), unknown(), unknown()),
            Ok(Ok(database)) => (
                Check::ok(),
                Check::of(schema_fault(database.schema)),
                Check::of(mode_fault(database.livemode, self.mode)),
            ),
        };
        let draining = Check::of(self.draining.is_cancelled().then(|| "shutting down".to_owned()));
        let readiness = Readiness {
            ok: database.ok && schema.ok && mode.ok && draining.ok,
            checks: Checks {
                database,
                schema,
                mode,
                draining,
            },
        };
        self.tell(&readiness);
        readiness
    }

    /// Says in the log what fails, whenever that is something else than before: probes come every few seconds.
    fn tell(&self, readiness: &Readiness) {
        let failing: Vec<_> = readiness.failing().map(|(name, _)| name).collect();
        // Whoever panicked with it held left it whole.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == failing {
            return;
        }
        if failing.is_empty() {
            tracing::info!("ready again");
        }
        for (check, message) in readiness.failing() {
            tracing::warn!(check, message, "not ready");
        }
        *told = failing;
    }

    /// The pool, for the metrics.
    pub fn pool(&self) -> &sqlx::PgPool {
        self.db.pool()
    }
}

/// A schema that is behind cannot take events. One that is ahead can: migrations only expand what an older build uses.
pub fn schema_fault(schema: SchemaState) -> Option<String> {
    match schema {
        SchemaState::Behind { have, want, .. } => Some(format!(
            "the database schema is behind (version {have}, this build needs {want}): run `quittance migrate`"
        )),
        SchemaState::Current | SchemaState::Ahead { .. } => None,
    }
}

/// A database that has not been claimed yet takes either mode.
pub fn mode_fault(livemode: Option<bool>, ours: Mode) -> Option<String> {
    let theirs = livemode.filter(|livemode| *livemode != ours.livemode())?;
    let name = |livemode| if livemode { "live" } else { "test" };
    Some(format!(
        "the database belongs to Stripe's {} mode and this program runs in {} mode: check STRIPE_MODE and DATABASE_URL",
        name(theirs),
        name(ours.livemode())
    ))
}

impl Check {
    fn ok() -> Self {
        Self {
            ok: true,
            message: None,
        }
    }

    fn failed(message: String) -> Self {
        Self {
            ok: false,
            message: Some(message),
        }
    }

    fn of(fault: Option<String>) -> Self {
        fault.map_or_else(Self::ok, Self::failed)
    }
}
