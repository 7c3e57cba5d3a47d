//! A world of its own for every story: database, Redis, simulator, ingress and workers, all real and all private.
//!
//! ```ignore
//! let mut world = World::start(WorldOptions::default()).await;
//! world.sim.customer_with_card("cus_1", "pm_1", &["insufficient_funds", "succeed"]).await.unwrap();
//! world.import(&document).await;
//! world.cli(&["generate-package-invoices"]).await.success().unwrap();
//! world.settle().await;
//! world.advance("3d").await;
//! world.settle().await;
//! assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 100_000);
//! ```
//!
//! Stories drive the real binaries and count effects where they happen: at the simulator and in the database. A fault of
//! the harness ends the test at once, with the logs of every program.

mod at_rest;
mod balancer;
mod binaries;
mod cli;
mod door;
mod drive;
mod error;
mod gate;
mod inspect;
mod loss;
mod options;
mod otlp;
mod postgres;
mod processes;
mod program;
mod redis;
mod replica;
mod schedules;
mod settle;
mod sim;
mod start;
mod state_text;
mod supervised;

pub use self::{
    balancer::Balancer,
    binaries::Binaries,
    cli::{Cli, CliOutput},
    door::{Answer, Door, event, signature_header, v1, wall_clock_secs},
    error::{Error, Result},
    gate::{Gate, Gates, Passage},
    options::WorldOptions,
    otlp::{Collector, Span, tree},
    postgres::{Database, Login, SERVER_VARIABLE, Server},
    program::{Program, Signal, free_port},
    redis::Redis,
    replica::Replica,
    schedules::{RHYTHMS, Switch},
    sim::Sim,
    start::World,
    supervised::Supervised,
};
