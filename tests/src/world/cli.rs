//! The operator's command, run for real: arguments in; exit code and output out.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::error::{Error, Result, io};

/// `quittance` with the environment of one installation.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    /// The whole environment: nothing of the caller's leaks in.
    env: Vec<(String, String)>,
}

/// What one run of a command left behind.
#[derive(Clone, Debug)]
pub struct CliOutput {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; minus the signal's number when a signal ended it.
    pub code: i32,
    /// Its answer.
    pub stdout: String,
    /// Its logs.
    pub stderr: String,
}

impl Cli {
    /// The command at `program` with this environment.
    #[must_use]
    pub fn new(program: PathBuf, env: Vec<(String, String)>) -> Self {
        Self { program, env }
    }

    /// The same command with one variable set differently (or removed, by `None`).
    #[must_use]
    pub fn with_env(&self, name: &str, value: Option<&str>) -> Self {
        let mut changed = self.clone();
        changed.env.retain(|(existing, _)| existing != name);
        if let Some(value) = value {
            changed.env.push((name.to_owned(), value.to_owned()));
        }
        changed
    }

    /// Runs it and waits for its end.
    ///
    /// # Errors
    /// When the program cannot be run; a failing command is no error here.
    pub async fn run(&self, args: &[&str]) -> Result<CliOutput> {
        self.run_with_input(args, "").await
    }

    /// Runs it with `input` on its standard input.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub async fn run_with_input(&self, args: &[&str], input: &str) -> Result<CliOutput> {
        let mut child = Command::new(&self.program)
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Run {
                program: self.program.clone(),
                source,
            })?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(fault) = stdin.write_all(input.as_bytes()).await
            && fault.kind() != std::io::ErrorKind::BrokenPipe
        {
            // A closed pipe only says that the command did not care for its input.
            return Err(io("writing to the command")(fault));
        }
        let output = child
            .wait_with_output()
            .await
            .map_err(io("waiting for the command"))?;
        Ok(CliOutput {
            line: format!("quittance {}", args.join(" ")),
            code: std::os::unix::process::ExitStatusExt::signal(&output.status)
                .map_or_else(|| output.status.code().unwrap_or_default(), |signal| -signal),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it with `--json`, expects exit code 0, and reads its answer.
    ///
    /// # Errors
    /// When it fails in any way; the message holds everything it printed.
    pub async fn json(&self, args: &[&str]) -> Result<Value> {
        let mut with_json = args.to_vec();
        with_json.push("--json");
        self.run(&with_json).await?.success()?.json()
    }
}

impl CliOutput {
    /// Itself, if the exit code is 0.
    ///
    /// # Errors
    /// With everything it printed, if not.
    pub fn success(self) -> Result<Self> {
        if self.code == 0 {
            Ok(self)
        } else {
            Err(Error::Setup(self.to_string()))
        }
    }

    /// Its answer as JSON.
    ///
    /// # Errors
    /// When stdout is not exactly one JSON document.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).map_err(|_| Error::Shape {
            what: format!("the output of {}", self.line),
            text: self.to_string(),
        })
    }
}

impl std::fmt::Display for CliOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} ended with exit code {}", self.line, self.code)?;
        writeln!(f, "stdout: {}", self.stdout.trim_end())?;
        write!(f, "stderr: {}", self.stderr.trim_end())
    }
}
