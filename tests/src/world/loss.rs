//! A database that is lost and comes back from a backup, by the scripts that operators have for it (`deploy/backup`).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    World,
    error::{Error, Result, io, must},
};

impl World {
    /// Writes a file beside the logs of this world's programs; it goes with them.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn keep(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.0.join(name);
        let written = std::fs::write(&path, text).map_err(io(format!("writing {name}")));
        must("a file cannot be kept", written);
        path
    }

    /// Backs the database up by `deploy/backup/dump`; returns the file.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn dump(&self) -> PathBuf {
        let file = self.folder.0.join("backup.dump");
        let mut dump = script("dump");
        dump.arg(&file)
            .env("BACKUP_DATABASE_URL", self.database.superuser_url());
        must("the backup fails", run(&mut dump));
        file
    }

    /// Destroys the database with everything in it. Whoever is connected is not any more.
    ///
    /// # Panics
    /// When it cannot be destroyed.
    pub async fn lose_database(&self) {
        must("the database cannot be dropped", self.database.destroy().await);
    }

    /// Brings the database back by `deploy/backup/restore`, under its name.
    ///
    /// # Panics
    /// When it fails.
    pub fn restore(&self, file: &Path) {
        let mut restore = script("restore");
        restore
            .arg(file)
            .arg(self.database.name())
            .env("ADMIN_DATABASE_URL", self.database.admin_url());
        must("the restore fails", run(&mut restore));
    }
}

fn script(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy/backup")
            .join(name),
    )
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(io("running a script"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Setup(format!(
        "{} ended with {}: {said}",
        command.get_program().display(),
        output.status
    )))
}
