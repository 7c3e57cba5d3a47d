//! The only place that reads a clock.
//!
//! Two times exist. *Real* time dates deliveries, signatures, leases and heartbeats. *Business* time decides what is
//! due; it is the real time plus an offset kept in Postgres (`quittance clock advance 3d`), always read from there
//! (`app.now()`, see [`crate::store::Db::firm`]), so that every process agrees on it.

use chrono::{DateTime, Utc};

/// The machine's wall clock. For signatures, `received_at`, logs; never for deciding what is due.
#[allow(clippy::disallowed_methods)] // this is the one place
#[must_use]
pub fn real_now() -> DateTime<Utc> {
    Utc::now()
}
