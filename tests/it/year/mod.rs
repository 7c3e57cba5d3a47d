//! A generated year through the real programs: three firms in three time zones, forty clients, every pricing mode and cadence;
//! declines, disputes, refunds, renewals, credits, voids; the clock goes on day by day. After every day the books balance (P9),
//! Stripe's money is the ledger's, and no period is billed twice or missed.
//!
//! `plan` has what happens, `expected` what must have been billed by then, `acts` does it, `checks` looks. One seed is one year:
//! `tests/year` lives through as many as it is told, and names the seed that fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod acts;
mod checks;
mod expected;
mod plan;

use std::time::Instant;

use tests::world::{Switch, World, WorldOptions};

use self::{acts::Driver, expected::Expected, plan::DAYS};

/// Which year, and how many days of it; see `tests/year`.
const SEED: &str = "QUITTANCE_YEAR_SEED";
const LENGTH: &str = "QUITTANCE_YEAR_DAYS";
/// A file for the state at the end, by which two lives of one year can be compared.
const STATE: &str = "QUITTANCE_YEAR_STATE";

/// The schedules that take no part in billing, and cost half of the time.
const LOOK_BACK: [&str; 2] = ["backfill_events", "reconcile"];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test]
async fn load_p9_a_generated_year_balances_after_every_day_and_bills_every_period_once() {
    let (seed, days) = (number(SEED, 1), number(LENGTH, DAYS.into()));
    let begun = Instant::now();
    let mut world = World::start(WorldOptions {
        workers: 0,
        simulator_follows_clock: false,
        concurrency: 2, // there is little to do on a day, and each connection has every statement to prepare
        ..WorldOptions::default()
    })
    .await;
    // The schedules begin with the first worker, and it with the year.
    world.go_to(plan::at(0)).await;
    world.add_worker().await;

    // What these two compare day by day with Stripe's lists, the checks below compare with its books. They look at the end.
    for schedule in LOOK_BACK {
        world.switch(schedule, Switch::Off).await;
    }
    let plan = plan::plan(seed);
    let mut driver = Driver {
        world: &world,
        expected: Expected::new(&plan.terms),
    };
    driver.set_up(&plan).await;
    for (day, acts) in (1..=u32::try_from(days).unwrap()).zip(&plan.days[1..]) {
        eprintln!("seed {seed}, day {day} ({}): {acts:?}", plan::at(day));
        world.go_to(plan::at(day)).await;
        world.rest().await;
        driver.expected.step(day);
        for act in acts {
            driver.carry_out(day, act).await;
            world.rest().await;
        }
        checks::after_the_day(&world, &driver.expected, day).await;
    }
    for schedule in LOOK_BACK {
        world.switch(schedule, Switch::On).await;
    }
    world.go_to(plan::at(u32::try_from(days).unwrap() + 1)).await;
    world.rest().await;
    checks::at_the_end(&world).await;
    let (seconds, tally) = (begun.elapsed().as_secs_f64(), checks::tally(&world).await);
    eprintln!("year: seed {seed}, {days} days, {seconds:.1} s: {tally}");
    if let Ok(path) = std::env::var(STATE) {
        std::fs::write(path, world.state_text_since(plan::at(0)).await).unwrap();
    }
}
