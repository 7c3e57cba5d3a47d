//! A program of ours as a child process: its output in a file, signals by name, a bounded wait for its end.

use std::{
    fs::File,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            net::{SocketAddr, UnixListener},
            process::ExitStatusExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::error::{Error, Result, io};

/// How much of a log is shown when a test fails.
const LOG_LINES_SHOWN: usize = 120;

/// The signals that stories send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Please stop: drain and exit 0.
    Term,
    /// Dies on the spot.
    Kill,
    /// Freezes.
    Stop,
    /// Wakes from [`Signal::Stop`].
    Cont,
}

/// One running child. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    frozen: bool,
    ended: Option<ExitStatus>,
}

impl Program {
    /// Starts `command` with stdout and stderr appended to `DIR/NAME.log`.
    ///
    /// # Errors
    /// When the binary cannot be run or the log cannot be opened.
    pub fn spawn(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(io(format!("opening {}", log.display())))?;
        let both = file.try_clone().map_err(io("sharing a log file"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(both)
            .spawn()
            .map_err(|source| Error::Run {
                program: command.get_program().into(),
                source,
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            frozen: false,
            ended: None,
        })
    }

    /// The name given at start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal. One that has ended already is left alone.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        let flag = match signal {
            Signal::Term => "-TERM",
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Cont => "-CONT",
        };
        // The shell's own `kill`: the separate program is not on every machine.
        let status = Command::new("sh")
            .args(["-c", "kill \"$0\" \"$1\"", flag, &self.pid().to_string()])
            .status()
            .map_err(io("running kill"))?;
        if status.success() || !self.is_running() {
            self.frozen = match signal {
                Signal::Stop => true,
                Signal::Cont => false,
                Signal::Term | Signal::Kill => self.frozen,
            };
            Ok(())
        } else {
            Err(Error::Late(format!("{} could not be sent {signal:?}", self.name)))
        }
    }

    /// Whether it still runs (a frozen one does).
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// Whether it runs and was not frozen by us.
    pub fn is_awake(&mut self) -> bool {
        !self.frozen && self.is_running()
    }

    /// Waits for the end: the exit code, or minus the number of the signal that killed it.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Result<i32> {
        let deadline = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() >= deadline {
                return Err(Error::Late(format!("{} still runs after {limit:?}", self.name)));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let status = self.ended.unwrap_or_default();
        Ok(status
            .code()
            .unwrap_or_else(|| -status.signal().unwrap_or_default()))
    }

    /// Prints the end of its log to stderr.
    pub(super) fn show_log(&self) {
        show(&self.name, &self.log);
    }
}

/// Prints the end of a log to stderr.
pub(super) fn show(name: &str, log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    eprintln!("---- {name} (last {} of {} lines)", shown.len(), lines.len());
    for line in shown {
        eprintln!("{line}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            // Both can only fail when it has ended in between, which is what is wanted.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// The ports of this process: a socket each, with a name that no other process can bind while it lives.
static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that is free, below the range from which outgoing connections take theirs. No other story is given it while this process
/// lives: between being chosen and being listened on lies the start of a program.
///
/// # Errors
/// When no port is found in a thousand tries.
pub fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let port = rand::random_range(10_000..32_000);
        let name = SocketAddr::from_abstract_name(format!("quittance-test-port-{port}"));
        let Ok(reserved) = name.and_then(|name| UnixListener::bind_addr(&name)) else {
            continue;
        };
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            RESERVED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(reserved);
            return Ok(port);
        }
    }
    Err(Error::Setup("no free port on 127.0.0.1".into()))
}
