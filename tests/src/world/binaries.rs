//! Where the programs under test are: beside the test, where cargo put them.

use std::path::PathBuf;

use super::error::{Error, Result};

/// The real programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The operator's command and the worker.
    pub quittance: PathBuf,
    /// The webhook door.
    pub ingress: PathBuf,
    /// Pages and API.
    pub portal: PathBuf,
    /// The simulator.
    pub stripe_sim: PathBuf,
}

impl Binaries {
    /// Finds them in the folder of the running program, or the one above it (tests live in `deps/`).
    ///
    /// # Errors
    /// When one of them was not built.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().map_err(super::error::io("finding the running program"))?;
        let find = |name: &str| {
            own.ancestors()
                .skip(1)
                .take(2)
                .map(|folder| folder.join(name))
                .find(|path| path.is_file())
                .ok_or_else(|| {
                    Error::Setup(format!(
                        "{name} is not built: run cargo build --workspace, or tests/run"
                    ))
                })
        };
        Ok(Self {
            quittance: find("quittance")?,
            ingress: find("quittance-ingress")?,
            portal: find("quittance-portal")?,
            stripe_sim: find("stripe-sim")?,
        })
    }
}
