//! The guided demo of `deploy/local/up`: plays two weeks of billing through the real programs and tells what happens.
//!
//! It does nothing that an operator and the outside world could not do: it runs `quittance` commands, and it tells the
//! simulator how cards, cardholders and banks behave. What it prints was read from the books.

mod closing;
mod document;
mod narrate;
mod scenes;
mod snapshot;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use ::tests::world::{Binaries, Cli, Result, Sim};
use clap::Parser;

/// Plays the demo against programs that run already; their addresses come from the environment.
#[derive(Debug, Parser)]
struct Args {
    /// The import document of the sample firm.
    #[arg(long)]
    sample: PathBuf,
    /// Where the simulator listens.
    #[arg(long)]
    simulator: String,
    /// Appended to every id of the sample, for a database in which a demo was played before.
    #[arg(long, default_value = "")]
    suffix: String,
}

/// What a `quittance` command may need from the environment of this one.
const PASSED_ON: [&str; 8] = [
    "DATABASE_URL",
    "REDIS_URL",
    "STRIPE_SECRET_KEY",
    "STRIPE_MODE",
    "STRIPE_API_BASE",
    "STRIPE_TIMEOUT_SECS",
    "RUST_LOG",
    "HOME",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(fault) => {
            eprintln!("the demo stopped: {fault}");
            ExitCode::from(1)
        }
    }
}

/// Plays it; whether the books agree in the end.
async fn run(args: Args) -> Result<bool> {
    let env = PASSED_ON
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    let cli = Cli::new(Binaries::find()?.quittance, env);
    let sim = Sim::new(args.simulator);
    let start = snapshot::now(&cli).await?;
    let document = document::Document::load(&args.sample, start.date_naive(), &args.suffix)?;
    say("\nAcme Advisory has seven customers. Two weeks of its billing, in a minute:");
    let books = scenes::play(&cli, &sim, &document).await?;
    closing::table(&document, &books);
    closing::compare(&sim, &books).await
}

/// One line of the story, on stdout. A reader that went away does not end the demo.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}
