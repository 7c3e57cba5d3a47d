//! Logging in and out.
//!
//! An attempt is checked against the throttle first ([`Counted`]); then the password, for which a name that nobody has takes
//! as long as one that somebody has; then the second factor where there is one. What was wrong is not told.

use std::{net::IpAddr, sync::LazyLock, time::Duration};

use axum::http::StatusCode;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared::{
    clock::real_now,
    ids::FirmId,
    password,
    store::{
        self, Db,
        access::{
            logins, sessions,
            throttle::{self, Limit},
        },
        audit::{self, Actor, By, Cause},
        jobs_by_hand,
    },
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{guard, totp};
use crate::{app::App, problem::Problem};

/// Of one name from one address: whoever forgot their password, or guesses.
const OF_PAIR: Limit = Limit {
    free: 5,
    longest_secs: 15 * 60,
};
/// From one address, whatever the name: an office has one address.
const OF_ADDRESS: Limit = Limit {
    free: 30,
    longest_secs: 15 * 60,
};
/// Of one name from all addresses together where nobody has got in under it lately. Slows down, and does not lock out: strangers who
/// guess from many places get one attempt a minute between them, some 1,500 a day.
const OF_NAME: Limit = Limit {
    free: 20,
    longest_secs: 60,
};

/// Attempts at a time: each takes 19 MiB and a core.
static CHECKS: Semaphore = Semaphore::const_new(2);

/// The hash that is checked where there is no login: a password that nobody knows.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| password::hash(&password::random_word()).unwrap_or_default());

/// What somebody typed.
pub struct Attempt<'a> {
    /// The name.
    pub name: &'a str,
    /// The password.
    pub password: &'a str,
    /// The code of the second factor, if any was typed.
    pub code: &'a str,
    /// From where.
    pub address: IpAddr,
}

/// What the failures of an attempt count by.
struct Counted {
    /// The name from this address; who knows the password is free of it again.
    pair: Vec<u8>,
    /// That somebody got in like this: no stranger's guesses stand in their way from where they usually come.
    known: Vec<u8>,
    /// The address, whatever the name.
    address: Vec<u8>,
    /// The name, whatever the address.
    name: Vec<u8>,
}

impl Counted {
    fn of(name: &str, address: IpAddr) -> Self {
        let network = guard::network(address);
        let key = |text: String| Sha256::digest(text).to_vec();
        Self {
            pair: key(format!("pair:{network}:{name}")),
            known: key(format!("known:{network}:{name}")),
            address: key(format!("address:{network}")),
            name: key(format!("name:{name}")),
        }
    }

    fn limits(&self, is_known: bool) -> Vec<(&[u8], Limit)> {
        let mut limits = vec![(&self.pair[..], OF_PAIR), (&self.address[..], OF_ADDRESS)];
        if !is_known {
            limits.push((&self.name[..], OF_NAME));
        }
        limits
    }
}

/// Checks an attempt and opens a session. Returns its token, which only the cookie gets.
///
/// # Errors
/// When it is wrong, or there were too many.
pub async fn log_in(app: &App, attempt: &Attempt<'_>) -> Result<String, Problem> {
    let name = attempt.name.trim().to_lowercase();
    let counted = Counted::of(&name, attempt.address);
    // Held until what came of it is noted: whoever asks many times at once is counted like one who asks one by one.
    let _place = CHECKS.acquire().await.map_err(|fault| Problem::bug(&fault))?;
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let is_known = throttle::is_remembered(&mut conn, &counted.known).await?;
    for (key, _) in counted.limits(is_known) {
        if let Some(wait) = throttle::locked_for(&mut conn, key).await? {
            app.metrics.logins.with_label_values(&["locked"]).inc();
            return Err(locked(wait));
        }
    }
    let found = logins::find(&mut conn, &name).await?;
    drop(conn);
    let hash = found
        .as_ref()
        .map_or_else(|| NOBODY.clone(), |login| login.password_hash.clone());
    let is_right = check(attempt.password.to_owned(), hash).await?;
    let step = found
        .as_ref()
        .and_then(|login| login.totp_secret.as_ref().map(|secret| (login, secret)))
        .map(|(login, secret)| totp::step_of(attempt.code, secret, real_now().timestamp(), login.totp_step));
    match (found, step) {
        (Some(login), None | Some(Some(_))) if is_right => {
            if let Some(token) = enter(&app.db, &login, step.flatten()).await? {
                let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
                throttle::succeeded(&mut conn, &counted.pair).await?;
                throttle::remember(&mut conn, &counted.known).await?;
                app.metrics.logins.with_label_values(&["succeeded"]).inc();
                return Ok(token);
            }
        }
        (Some(_) | None, _) => {}
    }
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    for (key, limit) in counted.limits(is_known) {
        throttle::failed(&mut conn, key, limit).await?;
    }
    app.metrics.logins.with_label_values(&["failed"]).inc();
    tracing::info!(address = %attempt.address, "a login failed");
    Err(Problem::new(
        StatusCode::UNAUTHORIZED,
        "login_failed",
        "name, password or code is wrong",
    ))
}

fn locked(wait: Duration) -> Problem {
    Problem::too_many(
        "locked",
        format!("too many attempts: try again in {} s", wait.as_secs().max(1)),
        wait.as_secs(),
    )
}

/// On a thread of its own: hashing is meant to be slow.
async fn check(typed: String, hash: String) -> Result<bool, Problem> {
    tokio::task::spawn_blocking(move || password::is_right(&typed, &hash))
        .await
        .map_err(|fault| Problem::bug(&fault))
}

/// Opens the session and records it. `None` when the code was used meanwhile.
async fn enter(
    db: &Db,
    login: &logins::Credentials,
    step: Option<i64>,
) -> Result<Option<String>, store::Error> {
    let mut tx = begin(db, login.firm).await?;
    if let Some(step) = step
        && !logins::use_totp_step(&mut tx, login.id, step).await?
    {
        return Ok(None);
    }
    let token = password::random_word();
    let now = tx.real_now();
    let session = sessions::open(&mut tx, login.firm, login.id, &password::fingerprint(&token), now).await?;
    let cause = Cause::request(Uuid::now_v7());
    match login.firm {
        Some(firm) => {
            let found = sessions::find(&mut tx, &password::fingerprint(&token)).await?;
            let actor = Actor::User(found.map_or_else(|| login.id.to_string(), |found| found.label));
            let by = By {
                actor: &actor,
                cause: &cause,
                at: tx.now(),
            };
            let entry = by.entry(
                "login.succeeded",
                "login",
                login.id,
                json!({ "session": session }),
            );
            audit::record(&mut tx, firm, by.at, &entry).await?;
        }
        None => {
            let found = sessions::find(&mut tx, &password::fingerprint(&token)).await?;
            let actor = Actor::Operator(found.map_or_else(|| login.id.to_string(), |found| found.label));
            let by = By {
                actor: &actor,
                cause: &cause,
                at: tx.now(),
            };
            let subject = json!({ "login": login.id, "session": session });
            jobs_by_hand::record(&mut tx, "login.succeeded", "logged in", &subject, &by).await?;
        }
    }
    tx.commit().await?;
    Ok(Some(token))
}

/// A transaction of a firm, or of none.
///
/// # Errors
/// When the database is away.
pub async fn begin(db: &Db, firm: Option<FirmId>) -> store::Result<store::Tx> {
    match firm {
        Some(firm) => db.firm(firm).await,
        None => db.plain().await,
    }
}
