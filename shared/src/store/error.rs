//! What can go wrong with the database, and what it deserves.

/// Result of a store function.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed statement or connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A guard in the database refused the change (SQLSTATE `QT…`, or a rule about days that may not overlap). The message is
    /// meant for people.
    #[error("{message}")]
    Refused {
        /// `QT010` history, `QT011` signed engagement, `QT013` issued invoice … (see the migrations), `23P01` an overlap.
        code: String,
        /// What the guard said.
        message: String,
    },
    /// A unique constraint holds already.
    #[error("conflict with {constraint}")]
    Conflict {
        /// The constraint's name.
        constraint: String,
    },
    /// The database cannot be reached, is shutting down, or gave up a lock: the same again may succeed.
    #[error("database is not available: {}", reason(.0))]
    Unavailable(#[source] sqlx::Error),
    /// Exactly one row should have changed and did not.
    #[error("{what}: expected to change one row, changed {changed}")]
    Lost {
        /// Which statement.
        what: &'static str,
        /// How many it changed.
        changed: u64,
    },
    /// Anything else: a bug of ours or a broken database.
    #[error("database error: {}", reason(.0))]
    Other(#[source] sqlx::Error),
}

impl Error {
    /// A stored word or number that is none of ours: the database was changed behind our back.
    #[must_use]
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Error::Other(sqlx::Error::Decode(what.to_string().into()))
    }

    /// Whether Postgres gave this transaction up for another one: the same again, at once, may succeed.
    #[must_use]
    pub fn is_contention(&self) -> bool {
        match self {
            Error::Unavailable(sqlx::Error::Database(fault)) => fault
                .code()
                .is_some_and(|code| ["40001", "40P01"].contains(&code.as_ref())),
            _ => false,
        }
    }

    /// Whether the database had no connection, no room or no time for us, whatever we asked: the fault is nobody's who asked, and it
    /// passes when somebody mends it. A connection that breaks within a statement is not among it, as the statement may be
    /// what broke it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Error::Unavailable(sqlx::Error::PoolTimedOut) => true,
            // Disk full, too many connections, shut down by an operator, starting up.
            Error::Unavailable(sqlx::Error::Database(fault)) => fault
                .code()
                .is_some_and(|code| ["53100", "53300", "57P01", "57P03"].contains(&code.as_ref())),
            _ => false,
        }
    }

    /// Whether the same work may succeed later without anyone's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }
}

/// What the server or the library said, without the line of the server's own source that sqlx adds.
#[must_use]
pub fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(said) => said.message().to_owned(),
        other => other.to_string(),
    }
}

/// SQLSTATEs after which the same again may succeed: connection failures (08), out of resources (53), operator
/// intervention and timeouts (57), serialization, deadlock, lock not available, idle-in-transaction timeout.
fn is_transient_sqlstate(code: &str) -> bool {
    ["08", "53", "57"].iter().any(|class| code.starts_with(class))
        || ["40001", "40P01", "55P03", "25P03"].contains(&code)
}

/// What an exclusion constraint forbids, for people.
fn overlap(constraint: &str) -> String {
    match constraint {
        "engagement_terms_overlap" => {
            "these days are in the terms of another signed version of the engagement already: end that one first".into()
        }
        "billing_periods_overlap" => "some of these days of the engagement are billed already".into(),
        other => format!("it would overlap with what is there already ({other})"),
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Database(db) => {
                let code = db.code().unwrap_or_default().into_owned();
                if code.starts_with("QT") {
                    Error::Refused {
                        code,
                        message: db.message().to_owned(),
                    }
                } else if code == "23P01" {
                    Error::Refused {
                        code,
                        message: overlap(db.constraint().unwrap_or_default()),
                    }
                } else if code == "23505" {
                    Error::Conflict {
                        constraint: db.constraint().unwrap_or("a constraint").to_owned(),
                    }
                } else if is_transient_sqlstate(&code) {
                    Error::Unavailable(error)
                } else {
                    Error::Other(error)
                }
            }
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::Protocol(_) => {
                Error::Unavailable(error)
            }
            _ => Error::Other(error),
        }
    }
}

/// Checks that exactly one row changed.
///
/// # Errors
/// When another number did.
pub fn one_row(what: &'static str, changed: u64) -> Result<()> {
    if changed == 1 {
        Ok(())
    } else {
        Err(Error::Lost { what, changed })
    }
}
