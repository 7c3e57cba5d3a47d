//! What can go wrong in the harness itself, as opposed to what a test asserts.

use std::{io, path::PathBuf};

/// A fault of the test world or of one of its clients.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that `tests/run` provides is not there.
    #[error("{0}")]
    Setup(String),
    /// A program of ours cannot be run.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The binary.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The database refused a statement of the harness.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// An HTTP call of the harness did not come through.
    #[error("http: {0}")]
    Http(#[from] reqwest::Error),
    /// The simulator's control interface answered with an error.
    #[error("the simulator answered {status} to {what}: {body}")]
    Simulator {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// Body, as text.
        body: String,
    },
    /// A program printed something that is not the JSON it promised.
    #[error("{what} is not the JSON expected: {text}")]
    Shape {
        /// Where it came from.
        what: String,
        /// What it was.
        text: String,
    },
    /// Something that must happen within a limit did not.
    #[error("{0}")]
    Late(String),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Names what was tried when an IO call fails.
pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}

/// The value, or the end of the test.
pub(super) fn must<T>(what: &str, result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(fault) => broken(what, &fault),
    }
}

/// A fault of the harness is the end of the test; there is nobody to hand it to.
#[allow(clippy::panic)]
pub(super) fn broken(what: &str, fault: &Error) -> ! {
    panic!("{what}: {fault}")
}
