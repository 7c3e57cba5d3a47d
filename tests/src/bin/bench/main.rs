//! The benchmark of `tests/bench`: what the product does in a second and what it costs, beside the plainest way there is to do the
//! same in the same PostgreSQL, in the same run. Figures of two runs are not comparable, nor those of two machines; ratios are.
//!
//! Each part starts a world of release builds of its own and ends with a check that all of the work was really done.
#![allow(clippy::float_arithmetic, reason = "rates and ratios, no money")]

mod backlog;
mod charges;
mod ingest;
mod invoices;
mod load;
mod meter;
mod portal;
mod queue;
mod report;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use self::report::Report;

/// What a part ends with when something is wrong with it.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Measures the release builds beside this program.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything unless said.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often each part is measured; its figure is the median.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// A small amount of everything: shows that it runs, and no figure that means anything.
    #[arg(long)]
    quick: bool,
    /// A file for the figures of every run.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Signed webhooks until they are stored.
    Ingest,
    /// Jobs that do nothing, through the whole queue.
    Queue,
    /// Invoices of a period.
    Invoices,
    /// Invoices that are collected.
    Charges,
    /// All of that on full tables.
    Backlog,
    /// Pages of the portal, with a hundred thousand invoices.
    Portal,
}

const PARTS: [Part; 6] = [
    Part::Ingest,
    Part::Queue,
    Part::Invoices,
    Part::Charges,
    Part::Backlog,
    Part::Portal,
];

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("the benchmark stopped: {fault}");
            ExitCode::from(1)
        }
    }
}

async fn run(args: &Args) -> Outcome {
    let wanted = if args.only.is_empty() {
        &PARTS[..]
    } else {
        &args.only
    };
    let mut report = Report::default();
    for round in 1..=args.runs {
        for part in wanted {
            eprintln!("round {round} of {}: {part:?}", args.runs);
            match part {
                Part::Ingest => ingest::measure(&mut report, args.quick).await?,
                Part::Queue => queue::measure(&mut report, args.quick).await?,
                Part::Invoices => invoices::measure(&mut report, args.quick).await?,
                Part::Charges => charges::measure(&mut report, args.quick).await?,
                Part::Backlog => backlog::measure(&mut report, args.quick).await?,
                Part::Portal => portal::measure(&mut report, args.quick).await?,
            }
        }
    }
    report.print();
    match &args.json {
        Some(path) => report.write(path),
        None => Ok(()),
    }
}
