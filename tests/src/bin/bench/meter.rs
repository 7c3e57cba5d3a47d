//! What processes take of the machine, read from `/proc`.

use std::{fs, path::Path};

use crate::Outcome;

/// The variable by which `tests/bench` says which process is the private PostgreSQL.
const POSTGRES: &str = "QUITTANCE_BENCH_POSTGRES_PID";
/// Of the times in `/proc`, on every Linux that is in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process, and of PostgreSQL with all its backends, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    program: f64,
    postgres: f64,
}

impl Cpu {
    /// Now, of the process `pid`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Outcome<Self> {
        Ok(Self {
            program: seconds(pid)?,
            postgres: postgres()?,
        })
    }

    /// Microseconds per unit since then, of the program and of PostgreSQL.
    ///
    /// # Errors
    /// As for [`Cpu::of`].
    pub fn per_unit_since(self, pid: u32, units: f64) -> Outcome<(f64, f64)> {
        let now = Self::of(pid)?;
        let micros = |seconds: f64| seconds * 1e6 / units;
        Ok((
            micros(now.program - self.program),
            micros(now.postgres - self.postgres),
        ))
    }
}

/// Resident memory at its highest, in MB.
///
/// # Errors
/// When the process is gone.
pub fn peak_resident_mb(pid: u32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line.unwrap_or("0 kB").trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

fn seconds(pid: u32) -> Outcome<f64> {
    Ok(Stat::read(Path::new(&format!("/proc/{pid}/stat")))?.own)
}

/// The server, the backends that it has, and those that it had.
fn postgres() -> Outcome<f64> {
    let server: u32 = std::env::var(POSTGRES)?.parse()?;
    let of_server = Stat::read(Path::new(&format!("/proc/{server}/stat")))?;
    let mut sum = of_server.own + of_server.children;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_process = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
        // One that ends meanwhile is counted with the server's children from now on.
        if is_process
            && let Ok(stat) = Stat::read(&path.join("stat"))
            && stat.parent == server
        {
            sum += stat.own;
        }
    }
    Ok(sum)
}

/// What of `/proc/PID/stat` is wanted: see proc(5).
struct Stat {
    parent: u32,
    own: f64,
    children: f64,
}

impl Stat {
    fn read(path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(path)?;
        // The name of the program stands in parentheses and may hold anything.
        let (_, rest) = text.rsplit_once(") ").ok_or("not a stat file")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |n: usize| -> Outcome<f64> { Ok(fields.get(n).ok_or("a short stat file")?.parse()?) };
        Ok(Self {
            parent: fields.get(1).ok_or("a short stat file")?.parse()?,
            own: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            children: (ticks(13)? + ticks(14)?) / TICKS_PER_SECOND,
        })
    }
}
